"""Graphs of one frame behind our interface: what they would do to nothing is nothing, in step."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from truenet import peer_graphs
from truenet.fifo import Samples
from truenet.peer_graphs import FrameGraph
from truenet.peers import PEERS, PeerEnhance
from truenet.verification import CHECK_RECORDING

pytest.importorskip("onnx", reason="needs onnx to write graphs")
from truenet_export.builder import GraphBuilder

LENGTHS = (1, 255, 1_000, 2_048)


def graph(folder: Path, shape: list[int], output: list[int] | None = None) -> FrameGraph:
    """Gives back a frame, or the start of it."""
    b = GraphBuilder()
    b.node("Identity", "state", outputs=("next",))
    start = b.slice("x", len(shape) - 1, 0, (output or shape)[-1])
    b.node("Identity", start, outputs=("y",))
    model = b.model({"x": shape, "state": [1, 1]}, {"y": output or shape, "next": [1, 1]})
    path = folder / f"{'x'.join(map(str, shape))}.onnx"
    path.write_bytes(model.SerializeToString())
    return FrameGraph(path)


def noise(length: int) -> Samples:
    return np.random.default_rng(0).standard_normal(length).astype(np.float32)


@pytest.mark.parametrize("length", LENGTHS)
def test_gtcrn_splits_and_joins(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = graph(tmp_path, [1, 257, 1, 2])
    monkeypatch.setattr(peer_graphs, "graph_of", lambda *_: identity)
    output = PEERS["gtcrn"].run(noise(length), 16_000)
    np.testing.assert_allclose(output, noise(length), atol=1e-5)


@pytest.mark.parametrize("length", LENGTHS)
def test_dtln_splits_and_joins(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its second graph learned that four frames overlap; the one here changes nothing, so they add up."""
    graphs = iter([all_pass, graph(tmp_path, [1, 1, 512])])
    monkeypatch.setattr(peer_graphs, "graph_of", lambda *_: next(graphs))
    output = PEERS["dtln"].run(noise(length), 16_000)
    np.testing.assert_allclose(output, 4 * noise(length), atol=1e-4)


def all_pass(magnitudes: NDArray[np.float64]) -> NDArray[np.float64]:
    assert magnitudes.shape == (257,)
    assert (magnitudes >= 0).all()
    return np.ones_like(magnitudes)


@pytest.mark.parametrize("length", LENGTHS)
def test_fastenhancer_is_a_hop_late(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_half = graph(tmp_path, [1, 512], [1, 256])
    monkeypatch.setattr(peer_graphs, "graph_of", lambda *_: first_half)
    output = PEERS["fastenhancer"].run(noise(length), 16_000)
    np.testing.assert_array_equal(output, np.pad(noise(length), (256, 0))[:length])


@pytest.mark.parametrize("name", ["gtcrn", "dtln", "fastenhancer"])
def test_a_missing_package_names_the_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> None:
        raise peer_graphs.importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(peer_graphs.importlib.metadata, "distribution", missing)
    package = PEERS[name].package
    with pytest.raises(ImportError, match=f"{package} is not installed; .*--no-deps {package}"):
        PEERS[name].run(noise(512), 16_000)


@pytest.mark.parametrize("name", ["gtcrn", "dtln", "fastenhancer"])
def test_the_real_ones_keep_a_voice(name: str) -> None:
    peer = PeerEnhance(name)
    try:
        peer.facts()
    except ImportError as error:
        pytest.skip(str(error))
    voice = soundfile.read(CHECK_RECORDING, dtype="float32")[0][:, 1]
    assert np.corrcoef(peer(voice, 16_000), voice)[0, 1] > 0.9
