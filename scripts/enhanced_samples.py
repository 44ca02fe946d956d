"""Make samples/enhanced: what the model in the package makes of samples/, as sound and as pictures before and after.

    python scripts/enhanced_samples.py

With the default faders. Sound in Opus, pictures in few colours, to be small enough for the repository. `scripts/score`
runs it.
"""

import argparse
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

from truenet import Enhancer
from truenet_apps.metering import LevelMeter
from truenet_apps.plot import Panel, write_plot
from truenet_apps.spectrogram import Spectrogram

SAMPLES = Path(__file__).parents[1] / "samples"
WIDTH_PIXELS, COLOURS = 720, 32
COMPRESSION = 0.85  # in libsndfile's range: about 45 kbit/s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=SAMPLES / "enhanced")
    folder = parser.parse_args().folder
    folder.mkdir(exist_ok=True)
    for path in sorted(SAMPLES.glob("*.flac")):
        noisy, rate_hz = soundfile.read(path, dtype="float32")
        enhanced = Enhancer().enhance(noisy, rate_hz)
        sound = folder / f"{path.stem}.opus"
        soundfile.write(
            sound, enhanced, rate_hz, "OPUS", format="OGG", compression_level=COMPRESSION
        )
        signals = {"before": noisy, "after": enhanced}
        picture = folder / f"{path.stem}.png"
        write_plot(picture, [panel(title, each, rate_hz) for title, each in signals.items()])
        shrink(picture)


def panel(title: str, samples: NDArray[np.float32], rate_hz: int) -> Panel:
    spectrogram, meter = Spectrogram(rate_hz), LevelMeter(rate_hz)
    for measure in (spectrogram, meter):
        measure.add(samples[:, np.newaxis])
    return Panel(title, spectrogram, meter.level_dbfs, meter.snr_db)


def shrink(picture: Path) -> None:
    """Fewer pixels and colours, in place."""
    with Image.open(picture) as opened:
        whole = opened.convert("RGB")
    height = round(whole.height * WIDTH_PIXELS / whole.width)
    small = whole.resize((WIDTH_PIXELS, height), Image.Resampling.LANCZOS)
    small.quantize(COLOURS, dither=Image.Dither.NONE).save(picture, optimize=True)


if __name__ == "__main__":
    main()
