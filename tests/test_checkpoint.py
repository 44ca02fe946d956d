"""The trainable form of the small file: the same file from it, the same sound in PyTorch, its scales after training."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch
from conftest import TINY
from typer.testing import CliRunner

from truenet.grids import GRIDS, Grids, attach
from truenet.modelfile import SHIPPED_MODEL, ModelFile
from truenet.streaming import StreamingTRUNet
from truenet.validation import enhance
from truenet.verification import CHECK_RECORDING, snr_db, voice_alone
from truenet.weights import load_weights, save_weights, weights_sha256
from truenet_apps.main import app
from truenet_export import int8
from truenet_export.checkpoint import write_checkpoint
from truenet_export.int8 import export_int8
from truenet_export.quantize import Weight
from truenet_export.weights_int import WIDTHS

SHIPPED_CHECKPOINT = SHIPPED_MODEL.with_suffix(".int8.safetensors")
SMALL = dataclasses.replace(  # wide enough for convolutions in whole numbers
    TINY,
    encoder_channels=(32, 40, 40, 40, 40, 40),
    decoder_channels=(32, 32, 32, 32, 32),
    bottleneck_channels=32,
)


@dataclasses.dataclass
class Files:
    weights: Path
    model: Path
    checkpoint: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Weights of every width, their small file and its checkpoint; widths are given, which takes no scan."""
    folder = tmp_path_factory.mktemp("small")
    files = Files(*(folder / name for name in ("w.safetensors", "w.onnx", "w.int8.safetensors")))
    torch.manual_seed(0)
    model = StreamingTRUNet(SMALL)
    for tensor in model.state_dict().values():  # batch norms that change something
        if tensor.dim() == 1 and tensor.is_floating_point():
            tensor.add_(0.1 * torch.rand_like(tensor))
    with torch.no_grad():  # masks that differ from frame to frame
        model.network.decoder[-1].transposed.weight.mul_(30)
    save_weights(model, files.weights, {"hours_seen": "1"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8, "scan", any_errors)
        patch.setattr(int8, "fit", any_widths)
        quantized = export_int8(files.weights, files.model)
    write_checkpoint(files.weights, quantized.rounding, files.checkpoint)
    return files


def any_errors(
    graph: onnx.ModelProto, found: list[Weight], *_: object
) -> dict[str, dict[int, float]]:
    return {weight.name: dict.fromkeys(WIDTHS, 0.0) for weight in found}


def any_widths(
    graph: onnx.ModelProto,
    found: list[Weight],
    errors: object,
    largest_bytes: int,
    rewrite: object,
    most_bits: dict[str, int],
) -> dict[str, int]:
    return {
        weight.name: min(WIDTHS[1 + i % 3], most_bits.get(weight.name, 8))
        for i, weight in enumerate(found)
    }


def graph_bytes(path: Path) -> bytes:
    return onnx.load(path).graph.SerializeToString()


def noisy() -> np.ndarray:
    return soundfile.read(CHECK_RECORDING, dtype="float32")[0][:16_000, 0]


def test_it_exports_to_the_same_graph_without_calibration(files: Files, tmp_path: Path) -> None:
    export_int8(files.checkpoint, tmp_path / "again.onnx")
    assert graph_bytes(tmp_path / "again.onnx") == graph_bytes(files.model)
    metadata = ModelFile(tmp_path / "again.onnx").metadata
    assert metadata["weight_bits"] == ModelFile(files.model).metadata["weight_bits"]
    assert load_weights(files.checkpoint)[1]["made_from"] == weights_sha256(files.weights)


def test_the_shipped_checkpoint_is_the_shipped_file(tmp_path: Path) -> None:
    made_from = load_weights(SHIPPED_CHECKPOINT)[1]["made_from"]
    assert made_from == ModelFile(SHIPPED_MODEL).info.weights_sha256
    export_int8(SHIPPED_CHECKPOINT, tmp_path / "again.onnx")
    outputs = [voice_alone(ModelFile(f), noisy()) for f in (SHIPPED_MODEL, tmp_path / "again.onnx")]
    assert snr_db(*outputs) > 90


def test_in_pytorch_it_sounds_as_the_small_file_does(files: Files) -> None:
    small = voice_alone(ModelFile(files.model), noisy())
    model, facts = load_weights(files.checkpoint)
    samples = torch.from_numpy(noisy().copy())
    without_signals = enhance(model, samples).numpy()
    attach(model, Grids.from_text(facts[GRIDS]))
    found = enhance(model, samples).numpy()
    # Not more: where a signal lies between two steps, rounding noise of 1e-7 decides.
    assert snr_db(small, found) > max(40, snr_db(small, without_signals))


@pytest.mark.parametrize(("rate", "changes"), [(0.0, False), (1e-9, False), (1e-2, True)])
def test_steps_of_training_under_its_scales(
    files: Files, tmp_path: Path, rate: float, changes: bool
) -> None:
    model, facts = load_weights(files.checkpoint)
    attach(model, Grids.from_text(facts[GRIDS]))
    model.train()
    optimizer = torch.optim.Adam([p for n, p in model.named_parameters() if "original" in n], rate)
    audio = torch.from_numpy(noisy()[None, :3200].copy())
    for _ in range(3):
        optimizer.zero_grad()
        parts, _ = model.parts(audio, model.initial_state(1))
        parts.abs().mean().backward()
        optimizer.step()
    trained, small = tmp_path / "t.safetensors", tmp_path / "t.onnx"
    save_weights(model, trained, facts)
    export_int8(trained, small)
    assert (graph_bytes(small) != graph_bytes(files.model)) is changes
    assert small.stat().st_size == pytest.approx(files.model.stat().st_size, abs=64)
    assert load_weights(trained)[1][GRIDS] == facts[GRIDS]


def test_weights_alone_can_be_computed_in_float(files: Files, tmp_path: Path) -> None:
    export_int8(files.checkpoint, tmp_path / "m.onnx", weights_only=True)
    assert not any(
        node.op_type == "QLinearConv" for node in onnx.load(tmp_path / "m.onnx").graph.node
    )
    model, _ = load_weights(files.checkpoint)
    expected = enhance(model, torch.from_numpy(noisy().copy())).numpy()
    assert snr_db(expected, voice_alone(ModelFile(tmp_path / "m.onnx"), noisy())) > 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--int8", "--report", "report"], "scales fixed"),
        (["--int8", "--max-bytes", "1000"], "1,000 allowed"),
        (["--checkpoint", "c.safetensors"], "belong to --int8"),
    ],
)
def test_bad_input_is_one_line(
    files: Files, arguments: list[str], message: str, working_folder: Path
) -> None:
    result = CliRunner().invoke(app, ["export", str(files.checkpoint), "-o", "m.onnx", *arguments])
    assert result.exit_code == 1
    assert message in result.output


def test_the_command_writes_a_checkpoint(files: Files, working_folder: Path) -> None:
    arguments = ["export", str(files.checkpoint), "-o", "m.onnx", "--int8", "--checkpoint"]
    result = CliRunner().invoke(app, [*arguments, "c.safetensors"])
    assert result.exit_code == 0, result.output
    assert load_weights(Path("c.safetensors"))[1][GRIDS] == load_weights(files.checkpoint)[1][GRIDS]
    assert CliRunner().invoke(app, ["info", "c.safetensors"]).output.count("scales") == 0
