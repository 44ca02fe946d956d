"""Show that `enhance` needs no more memory for an hour than for a minute.

Makes a 48 kHz stereo recording in a temporary folder, enhances it, and prints the peak of resident
memory and the speed. On Linux and macOS: python scripts/memory_of_an_hour.py [--minutes 60]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

SAMPLE_RATE_HZ = 48_000
COMMAND = [sys.executable, "-c", "from truenet_apps.enhance import run; run()"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--channels", type=int, default=2)
    parser.add_argument("options", nargs="*", help="options of enhance, after --")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "recording.wav"
        make_recording(recording, arguments.minutes, arguments.channels)
        command = [*COMMAND, str(recording), "--json", "--quiet", *arguments.options]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    bytes_a_unit = 1 if sys.platform == "darwin" else 1024
    (result,) = json.loads(done.stdout)["files"]
    print(f"{result['seconds'] / 60:.1f} min, {arguments.channels} channels at {SAMPLE_RATE_HZ} Hz")
    print(f"peak resident memory {peak * bytes_a_unit / 1e6:.0f} MB")
    print(f"{result['times_real_time']:.1f}× real time")


def make_recording(path: Path, minutes: float, channels: int) -> None:
    """Noise that swells and fades like syllables, as 16-bit WAV."""
    generator = np.random.default_rng(0)
    swell = 0.1 * np.sin(np.linspace(0, 4 * np.pi, SAMPLE_RATE_HZ)) ** 2
    with soundfile.SoundFile(path, "w", SAMPLE_RATE_HZ, channels, "PCM_16") as file:
        for _ in range(round(minutes * 60)):
            noise = generator.standard_normal((SAMPLE_RATE_HZ, channels))
            file.write(swell[:, np.newaxis] * noise)


if __name__ == "__main__":
    main()
