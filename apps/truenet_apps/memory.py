"""How a command that trains takes memory from the system."""

import os
import sys

# Fresh activations of 100 MB and more cost most of the time in page faults unless glibc keeps its memory and takes
# it in huge pages: measured 1.2 times faster together. glibc reads this once, before the process starts.
_TUNABLES = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=34359738368:glibc.malloc.trim_threshold=34359738368"


def keep_memory() -> None:
    """Start this process anew with settings that let it keep its memory; nothing where they are set, or not Linux."""
    if sys.platform != "linux" or "GLIBC_TUNABLES" in os.environ:
        return
    arguments = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, arguments, {**os.environ, "GLIBC_TUNABLES": _TUNABLES})
