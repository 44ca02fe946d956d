"""Show that `truenet live` can run for hours: two clocks, constant delay, constant memory, no drift.

The engine and the shipped model between simulated devices (a microphone at 48 kHz, an output at 44.1 kHz
whose clock runs 200 ppm fast), in simulated time, as fast as the machine goes:
python scripts/two_hours_live.py [--minutes 120]
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from simulated_devices import Devices  # beside the tests that use it too

from truenet.enhancer import Enhancer

INPUT_HZ, OUTPUT_HZ = 48_000, 44_100
SETTLED_SECONDS = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--apart-ppm", type=float, default=200.0)
    arguments = parser.parse_args()
    generator = np.random.default_rng(0)
    noise = (0.05 * generator.standard_normal(60 * INPUT_HZ)).astype(np.float32)
    devices = Devices(
        Enhancer(whole_frames=True),
        lambda places: noise[places % len(noise)],
        INPUT_HZ,
        OUTPUT_HZ,
        arguments.apart_ppm,
    )
    started, latencies, told = time.perf_counter(), [], SETTLED_SECONDS
    first_level = None
    for block in devices.run(arguments.minutes * 60):
        if devices.seconds < told:
            continue
        told += 60
        status = devices.engine.status()
        first_level = status.output_db if first_level is None else first_level
        latencies.append(status.latency_ms)
        if not np.isfinite(block).all():
            raise SystemExit("the output is no sound any more")
        print(
            f"{devices.seconds / 60:6.0f} min: latency {status.latency_ms:.1f} ms, clocks {status.drift_ppm:+.0f} ppm, "
            f"dropouts {status.dropouts}, output {status.output_db - first_level:+.1f} dB against the first minute, "
            f"memory {_memory_mb():.0f} MB",
            flush=True,
        )
    speed = devices.seconds / (time.perf_counter() - started)
    print(f"latency {min(latencies):.1f} to {max(latencies):.1f} ms; {speed:.1f}× real time")


def _memory_mb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()
