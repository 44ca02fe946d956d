"""Perfect reconstruction, delay, and frames that do not depend on how the stream is cut."""

import pytest
import torch

from truenet.stft import STFT


@pytest.mark.parametrize("hop", [128, 256])
def test_synthesis_of_analysis_is_the_input_delayed(hop: int) -> None:
    torch.manual_seed(0)
    stft = STFT(512, hop)
    audio = torch.randn(2, hop * 20, dtype=torch.float64)
    stft.double()
    start = torch.zeros(2, stft.overlap_samples, dtype=torch.float64)
    real, imaginary, _ = stft.analyse(audio, start)
    output, _ = stft.synthesise(real, imaginary, start)
    delay = stft.overlap_samples
    torch.testing.assert_close(output[:, delay:], audio[:, :-delay], rtol=0, atol=1e-6)


@pytest.mark.parametrize("pieces", [[1] * 12, [5, 7], [2, 1, 9]])
def test_pieces_equal_the_whole(pieces: list[int]) -> None:
    torch.manual_seed(0)
    stft = STFT(512, 128).double()
    audio = torch.randn(1, 128 * 12, dtype=torch.float64)
    zero = torch.zeros(1, 384, dtype=torch.float64)
    real, imaginary, last = stft.analyse(audio, zero)
    whole, tail = stft.synthesise(real, imaginary, zero)
    analysis = synthesis = zero
    outputs = []
    for piece in audio.split([128 * n for n in pieces], dim=1):
        real, imaginary, analysis = stft.analyse(piece, analysis)
        output, synthesis = stft.synthesise(real, imaginary, synthesis)
        outputs.append(output)
    torch.testing.assert_close(torch.cat(outputs, dim=1), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(synthesis, tail, rtol=0, atol=1e-12)
    assert torch.equal(analysis, last)


def test_frames_are_those_of_torch() -> None:
    torch.manual_seed(0)
    stft = STFT(512, 128)
    audio = torch.randn(1, 128 * 10)
    real, imaginary, _ = stft.analyse(audio, torch.zeros(1, 384))
    padded = torch.nn.functional.pad(audio, (384, 0))
    expected = torch.stft(padded, 512, 128, window=stft.window, center=False, return_complex=True)
    torch.testing.assert_close(
        torch.complex(real, imaginary), expected.transpose(1, 2), rtol=0, atol=1e-4
    )
