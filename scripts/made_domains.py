"""Three made places for `adapt_benchmark.py`, each with one microphone, one kind of noise and one room.

They are made of the shared recordings, changed as the base model's training never does (slowed, coloured, with hum);
every noise recording is made of sources of its own. The room responses hold the microphone too, as measured ones do.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyroomacoustics
import scipy.signal
import soundfile
import soxr

RATE_HZ = 16_000
SECONDS = 15
RECORDINGS = 8  # of noise and of the room; the last quarter of each is held out
Track = np.ndarray


def make_domain(domain: str, data: Path, folder: Path) -> None:
    """Write noise/ and rooms/ of a domain, unless they are there.

    Args:
        domain: one of `DOMAINS`.
        data: the shared data.
        folder: of the domain.
    """
    if (folder / "made").exists():
        return
    noise, talker, microphone = DOMAINS[domain]
    for name in ("noise", "rooms"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index in range(RECORDINGS):
        track = microphone(noise(data, index, np.random.default_rng(index)))
        level = 10 ** (-30 / 20) / np.sqrt(np.mean(track**2))
        soundfile.write(folder / "noise" / f"{index:02d}.flac", track * level, RATE_HZ, "PCM_16")
        response = microphone(talker(np.random.default_rng(100 + index)))
        response *= 0.9 / np.abs(response).max()
        soundfile.write(folder / "rooms" / f"{index:02d}.flac", response, RATE_HZ, "PCM_16")
    (folder / "made").touch()


def machine(data: Path, index: int, generator: np.random.Generator) -> Track:
    """One kitchen with a dishwasher at three quarters of its speed, a resonance, and hum of 50 Hz with many harmonics.

    The same machine every time, as in a place; other recordings of it every time.
    """
    files = sorted((data / "train" / "noise" / "timgrau" / "dishwasher").glob("*.flac"))
    track = slowed(
        [files[i] for i in np.array_split(np.arange(len(files)), RECORDINGS)[index]], 0.75
    )
    resonance = scipy.signal.iirpeak(1100, 3, RATE_HZ)
    track = unit(track) + 1.5 * unit(scipy.signal.lfilter(*resonance, track))
    time_s = np.arange(len(track)) / RATE_HZ
    harmonics = [
        k**-0.6 * np.sin(2 * np.pi * (50 * k * time_s + generator.random())) for k in range(1, 40)
    ]
    return unit(track) + 0.5 * unit(np.sum(harmonics, axis=0))


def office(data: Path, index: int, generator: np.random.Generator) -> Track:
    """A keyboard of its own and babble of its own, both in the lively room."""
    keyboards = sorted((data / "train" / "noise" / "mechvibes" / "keyboard").glob("*.flac"))
    keyboards += sorted((data / "valid" / "noise" / "mechvibes" / "keyboard").glob("*.flac"))
    keys = read([keyboards[index]])
    talkers = sorted((data / "train" / "speech" / "speechocean").glob("*"))[
        5 * index : 5 * index + 5
    ]
    babble = sum(unit(read(sorted(talker.rglob("*.*")))) for talker in talkers)
    room = lively(generator)
    far = [scipy.signal.fftconvolve(track, room)[: len(track)] for track in (keys, babble)]
    return unit(far[0]) + 0.7 * unit(far[1])


def weather(data: Path, index: int, generator: np.random.Generator) -> Track:
    """Rain and wind of their own, slowed, with the rumble of gusts on the microphone."""
    noise = data / "train" / "noise"
    rain = (
        "ambie/rain", "blanket/rain", "noisekun/rain", "ibm_max/rain",
        "noisekun/waterfall", "ambie/river", "blanket/waves", "esc10/rain",
    )[index]  # fmt: skip
    wind = ("noisekun", "ambie", "ambient_engine", "blanket")[index % 4]
    gusts = np.interp(
        np.arange(SECONDS * RATE_HZ),
        np.linspace(0, SECONDS * RATE_HZ, 12),
        generator.uniform(0, 1, 12) ** 2,
    )
    rumble = scipy.signal.lfilter(
        *scipy.signal.butter(2, 120, fs=RATE_HZ), generator.standard_normal(len(gusts))
    )
    return (
        unit(slowed(sorted((noise / rain).glob("*.flac")), 0.75))
        + unit(slowed(sorted((noise / wind / "wind").glob("*.flac")), 0.75))
        + 2 * gusts * unit(rumble)
    )


def kitchen(generator: np.random.Generator) -> Track:
    """A place in a tiled kitchen of 4 × 3 × 2.6 m, RT60 about 0.5 s."""
    return shoebox(generator, [4, 3, 2.6], 0.13)


def lively(generator: np.random.Generator) -> Track:
    """A place in a bare office of 6 × 5 × 3 m, RT60 about 0.9 s."""
    return shoebox(generator, [6, 5, 3], 0.11)


def outdoors(generator: np.random.Generator) -> Track:
    """The voice and what the ground returns of it, 2 to 4 ms later."""
    response = np.zeros(RATE_HZ // 10)
    response[0], response[int(generator.integers(32, 64))] = 1, 0.4
    return response


def shoebox(generator: np.random.Generator, sides_m: list[float], absorption: float) -> Track:
    """The response between two points at least 60 cm from every wall."""
    room = pyroomacoustics.ShoeBox(
        sides_m, fs=RATE_HZ, materials=pyroomacoustics.Material(absorption), max_order=25
    )
    for add in (room.add_source, room.add_microphone):
        add(generator.uniform(0.6, np.array(sides_m) - 0.6))
    room.compute_rir()
    return np.asarray(room.rir[0][0])


def boxed(track: Track) -> Track:
    """A cheap capsule in a plastic box: nothing below 200 Hz or above 5 kHz, and a resonance at 2.2 kHz."""
    track = scipy.signal.sosfilt(
        scipy.signal.butter(2, [200, 5000], "bandpass", fs=RATE_HZ, output="sos"), track
    )
    return np.asarray(
        track + 1.5 * scipy.signal.lfilter(*scipy.signal.iirpeak(2200, 4, RATE_HZ), track)
    )


def table(track: Track) -> Track:
    """A boundary microphone on a table: thin below 300 Hz, sharp at 3.5 kHz."""
    track = scipy.signal.sosfilt(
        scipy.signal.butter(1, 300, "highpass", fs=RATE_HZ, output="sos"), track
    )
    return np.asarray(
        track + 1.0 * scipy.signal.lfilter(*scipy.signal.iirpeak(3500, 2, RATE_HZ), track)
    )


def radio(track: Track) -> Track:
    """A headset of a radio: 300 to 3,800 Hz."""
    sections = scipy.signal.butter(3, [300, 3800], "bandpass", fs=RATE_HZ, output="sos")
    return np.asarray(scipy.signal.sosfilt(sections, track))


DOMAINS: dict[
    str,
    tuple[
        Callable[[Path, int, np.random.Generator], Track],
        Callable[[np.random.Generator], Track],
        Callable[[Track], Track],
    ],
] = {
    "kitchen machine with hum": (machine, kitchen, boxed),
    "keyboard and babble, lively room": (office, lively, table),
    "wind and rain": (weather, outdoors, radio),
}


def slowed(paths: list[Path], speed: float) -> Track:
    """Files end to end, at this share of their speed."""
    return np.asarray(soxr.resample(read(paths), RATE_HZ * speed, RATE_HZ)[: SECONDS * RATE_HZ])


def read(paths: list[Path]) -> Track:
    """Files end to end, repeated to the length of a recording."""
    tracks: list[Track] = []
    while sum(map(len, tracks)) < SECONDS * RATE_HZ:
        tracks += [soundfile.read(path)[0] for path in paths]
    return np.concatenate(tracks)[: SECONDS * RATE_HZ]


def unit(track: Track) -> Track:
    """Of unit power."""
    return np.asarray(track / (np.sqrt(np.mean(track**2)) + 1e-9))
