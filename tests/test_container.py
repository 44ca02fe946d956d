"""Containers through PyAV, or a word about how to get it."""

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from truenet.audio import open_audio

Noise = Callable[..., NDArray[np.float32]]


def test_without_pyav_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == "av":
            raise ImportError(name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    (tmp_path / "a.m4a").write_bytes(b"anything")
    with pytest.raises(ValueError, match=r"a.m4a: .m4a files need PyAV; .*'.\[av\]'"):
        open_audio(tmp_path / "a.m4a")


@pytest.mark.parametrize(
    ("name", "codec"), [("a.m4a", "aac"), ("a.mkv", "pcm_s16le"), ("a.mov", "alac")]
)
def test_the_audio_track_is_read(tmp_path: Path, noise: Noise, name: str, codec: str) -> None:
    av = pytest.importorskip("av", reason="needs PyAV: pip install '.[av]'")
    time = np.arange(48_000) / 48_000
    tone = (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    audio = np.stack([tone, -tone], axis=1)
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=48_000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(
            np.rint(audio * 32_767).astype(np.int16).reshape(1, -1), format="s16", layout="stereo"
        )
        frame.sample_rate, frame.pts = 48_000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with open_audio(tmp_path / name) as reader:
        info = reader.info
        read = np.concatenate(list(reader.blocks(1000)))
    assert (info.sample_rate_hz, info.channels, info.format) == (48_000, 2, "WAV")
    assert info.seconds == pytest.approx(1.0, abs=0.05)
    assert len(read) == pytest.approx(48_000, abs=2048)
    np.testing.assert_allclose(read[4000:40_000], audio[4000:40_000], atol=0.02)


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_what_is_no_container(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("av", reason="needs PyAV: pip install '.[av]'")
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.mp4: not a file that can be read"):
        open_audio(tmp_path / "a.mp4")
