"""Speech enhancement that fits on the edge: a noisy, echoing voice in, the voice out.

Importing this package loads neither torch nor onnxruntime: every name below is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from truenet.config import TRUNetConfig
    from truenet.enhancer import Enhancer

__all__ = ["Enhancer", "TRUNetConfig"]
__version__ = "0.1.0"

_HOMES = {"Enhancer": "truenet.enhancer", "TRUNetConfig": "truenet.config"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'truenet' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
