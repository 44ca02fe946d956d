"""The shipped model file does what the PyTorch model does, in any pieces, for as long as one likes."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch
from conftest import FLOAT32_MODEL

import truenet
from truenet.config import Feature
from truenet.metrics import si_sdr_db
from truenet.modelfile import SHIPPED_MODEL, ModelFile
from truenet.verification import run_calls
from truenet.weights import load_weights, save_weights, weights_sha256
from truenet_export.model_file import export, fold_batch_norm

WEIGHTS = SHIPPED_MODEL.with_suffix(".safetensors")
SAMPLES = Path(__file__).parents[1] / "samples"
NAMES = ("cafe", "machine", "room", "quiet")
FRAMES_PER_CALL = 100
Audio = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


@pytest.fixture(scope="module")
def model_file() -> ModelFile:
    return ModelFile()


@pytest.fixture(scope="module")
def minute() -> Audio:
    """Two rows of a minute of noisy speech: the samples, again and again."""
    pieces = [soundfile.read(SAMPLES / f"{name}.flac", dtype="float32")[0] for name in NAMES]
    once = np.concatenate(pieces)
    rows = np.stack([np.resize(once, 7500 * 128), np.resize(once[::-1], 7500 * 128)])
    return rows.astype(np.float32)


def residual_db(signal: Audio, other: Audio) -> float:
    power = np.mean((signal - other).astype(np.float64) ** 2) / np.mean(
        signal.astype(np.float64) ** 2
    )
    return float(10 * np.log10(power + 1e-30))


VOICE = np.array([[1, 0, 0]], np.float32)
BOTH = np.array([[1, 0, 0], [0.5, 0.2, 0.7]], np.float32)


def test_the_shipped_file_is_made_of_the_shipped_weights(model_file: ModelFile) -> None:
    assert model_file.info.weights_sha256 == weights_sha256(WEIGHTS)
    assert model_file.info.sample_rate_hz == 16_000
    assert model_file.info.latency_samples == 384


def test_it_stands_alone() -> None:
    graph = onnx.load(SHIPPED_MODEL, load_external_data=False)
    assert all(
        tensor.data_location == onnx.TensorProto.DEFAULT for tensor in graph.graph.initializer
    )
    assert {opset.domain for opset in graph.opset_import} == {""}
    assert not any(node.doc_string or len(node.metadata_props) for node in graph.graph.node)
    assert b"/work" not in SHIPPED_MODEL.read_bytes()
    state = json.loads({p.key: p.value for p in graph.metadata_props}["state_layout"])
    assert sum(size for _, size in state) == ModelFile().info.state_size


def test_onnxruntime_equals_torch_over_a_minute(minute: Audio) -> None:
    model, _ = load_weights(WEIGHTS)
    found, state = run_calls(ModelFile(FLOAT32_MODEL), minute[:1], VOICE)
    with torch.no_grad():
        expected, expected_state = model(
            torch.from_numpy(minute[:1]), model.initial_state(1), torch.from_numpy(VOICE)
        )
    assert residual_db(expected.numpy(), found) < -90
    np.testing.assert_allclose(state, expected_state.numpy(), atol=2e-3)


def test_one_frame_a_call_equals_many(model_file: ModelFile, minute: Audio) -> None:
    many, state = run_calls(model_file, minute, BOTH)
    one, other_state = run_calls(model_file, minute, BOTH, frames_per_call=1)
    assert residual_db(many, one) < -90
    np.testing.assert_allclose(state, other_state, atol=2e-3)


def test_a_batch_of_two_equals_two_runs(model_file: ModelFile, minute: Audio) -> None:
    both, _ = run_calls(model_file, minute, BOTH)
    for row in range(2):
        alone, _ = run_calls(model_file, minute[row : row + 1], BOTH[row : row + 1])
        assert residual_db(both[row : row + 1], alone) < -90


def test_in_float64_pieces_equal_the_whole(minute: Audio) -> None:
    model, _ = load_weights(WEIGHTS)
    model = fold_batch_norm(model).double()
    audio = torch.from_numpy(minute[:, : 1000 * 128]).double()
    faders = torch.from_numpy(BOTH).double()
    with torch.no_grad():
        whole, _ = model(audio, model.initial_state(2), faders)
        state, outputs = model.initial_state(2), []
        for block in audio.split(7 * 128, dim=1):
            output, state = model(block, state, faders)
            outputs.append(output)
        alone, _ = model(audio[1:], model.initial_state(1), faders[1:])
    torch.testing.assert_close(torch.cat(outputs, dim=1), whole, rtol=0, atol=1e-9)
    torch.testing.assert_close(alone, whole[1:], rtol=0, atol=1e-9)


def test_faders_at_one_return_the_input_and_stems_add_up(
    model_file: ModelFile, minute: Audio
) -> None:
    audio, latency = minute[:1], model_file.info.latency_samples
    together, _ = run_calls(model_file, audio, np.ones((1, 3), np.float32))
    assert np.abs(together[:, latency:] - audio[:, :-latency]).max() < 1e-5
    stems, _ = run_calls(model_file, audio.repeat(3, axis=0), np.eye(3, dtype=np.float32))
    assert np.abs(stems.sum(axis=0) - together[0]).max() < 1e-5
    assert all(np.sqrt(np.mean(stem**2)) > 1e-3 for stem in stems)


def test_an_impulse_comes_out_where_the_latency_says(model_file: ModelFile) -> None:
    audio = np.zeros((1, 20 * 128), np.float32)
    audio[0, 1000] = 0.5
    output, _ = run_calls(model_file, audio, np.ones((1, 3), np.float32))
    assert np.abs(output[0]).argmax() == 1000 + model_file.info.latency_samples
    assert output[0].max() == pytest.approx(0.5, abs=1e-5)


@pytest.mark.slow
def test_ten_hard_minutes_leave_the_model_as_good_as_fresh(model_file: ModelFile) -> None:
    """Digital silence, noise at −100 dBFS and full scale, ten minutes each, then speech."""
    generator = np.random.default_rng(0)
    kinds = (
        lambda shape: np.zeros(shape, np.float32),
        lambda shape: generator.standard_normal(shape, np.float32) * np.float32(1e-5),
        lambda shape: np.sign(generator.standard_normal(shape, np.float32)),
    )
    noisy, clean = (
        np.concatenate(
            [soundfile.read(folder / f"{name}.flac", dtype="float32")[0] for name in NAMES[:2]]
        )
        for folder in (SAMPLES, SAMPLES / "clean")
    )
    noisy, clean = np.resize(noisy, 7500 * 128), np.resize(clean, 7500 * 128)
    state = model_file.first_state(3)
    faders = VOICE.repeat(3, axis=0)
    smallest = np.finfo(np.float32).tiny
    for _ in range(75_000 // FRAMES_PER_CALL):
        block = np.stack([kind(FRAMES_PER_CALL * model_file.info.hop_samples) for kind in kinds])
        output, state = run_calls(model_file, block, faders, state=state)
        assert np.isfinite(output).all()
    assert np.isfinite(state).all()
    for values in (state, output):
        assert not ((values != 0) & (np.abs(values) < smallest)).any()
    after, _ = run_calls(model_file, noisy[None].repeat(3, axis=0), faders, state=state)
    fresh, _ = run_calls(model_file, noisy[None], VOICE)
    latency = model_file.info.latency_samples
    # Full scale is 30 dB louder than the speech: its last window and the level's memory take two seconds to leave.
    settled = 2 * model_file.info.sample_rate_hz
    reference = clean[settled:-latency]
    expected = si_sdr_db(reference, fresh[0, settled + latency :])
    for row in after:
        assert si_sdr_db(reference, row[settled + latency :]) > expected - 0.3


@pytest.mark.parametrize(
    "features",
    [
        ("log_magnitude", "pcen", "demodulated_phase"),
        ("log_magnitude", "pcen", "phase_advance"),
        ("pcen", "log_magnitude"),
        ("demodulated_phase", "phase_advance"),
    ],
)
def test_export_of_other_weights(tmp_path: Path, features: tuple[Feature, ...]) -> None:
    """A variant goes the same way; the file says what it is; the target appears only when complete."""
    torch.manual_seed(0)
    config = truenet.TRUNetConfig(
        hop_samples=256,
        features=features,
        encoder_channels=(8,) * 6,
        decoder_channels=(8,) * 5,
    )
    from truenet.streaming import StreamingTRUNet

    model = StreamingTRUNet(config)
    weights, target = tmp_path / "w.safetensors", tmp_path / "m.onnx"
    save_weights(model, weights, {"hours_seen": "7", "pesq_wb": "1.5"})
    export(weights, target)
    opened = ModelFile(target)
    assert (opened.info.hop_samples, opened.info.latency_samples) == (256, 256)
    assert opened.info.scores == {"pesq_wb": 1.5}
    audio = np.random.default_rng(0).standard_normal((2, 256 * 20), np.float32) * np.float32(0.1)
    found, _ = run_calls(opened, audio, BOTH, frames_per_call=3)
    with torch.no_grad():
        expected, _ = model.eval()(
            torch.from_numpy(audio), model.initial_state(2), torch.from_numpy(BOTH)
        )
    assert residual_db(expected.numpy(), found) < -90
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "w.safetensors"]
