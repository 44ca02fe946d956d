"""Whole-number weights: packed and unpacked to the bit, chosen to fit, and never left in float unasked."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
from conftest import FLOAT32_MODEL
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from truenet.modelfile import SHIPPED_MODEL, ModelFile
from truenet.verification import CHECK_RECORDING, snr_db, voice_alone
from truenet.weights import weights_sha256
from truenet_apps.main import app
from truenet_export.activations import (
    IntegerConvolutions,
    find_convolutions,
    measure_ranges,
    signal_grid,
)
from truenet_export.builder import GraphBuilder
from truenet_export.constants import ConstantNodes
from truenet_export.model_file import float_graph
from truenet_export.quantize import Weight, find_weights, quantize, with_rounded_weights
from truenet_export.weights_int import WIDTHS, largest_code, packed_bytes, round_rows
from truenet_export.widths import fit, read_recordings

LARGEST_BYTES = 370_688


@pytest.fixture(scope="module")
def shipped() -> onnx.ModelProto:
    return onnx.load(FLOAT32_MODEL)


@pytest.fixture(scope="module")
def weights(shipped: onnx.ModelProto) -> list[Weight]:
    return find_weights(shipped.graph)


def run_constants(head: ConstantNodes, names: list[str]) -> list[np.ndarray]:
    empty = helper.make_graph(
        [], "g", [], [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names]
    )
    model = helper.make_model(empty, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    data = head.before(model).SerializeToString()
    session = onnxruntime.InferenceSession(data, None, ["CPUExecutionProvider"])
    return session.run(names, {})


@settings(max_examples=20)
@given(st.sampled_from(WIDTHS), st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_onnxruntime_unpacks_what_was_packed(bits: int, sizes: list[int]) -> None:
    generator = np.random.default_rng(sum(sizes))
    top = largest_code(bits)
    codes = {f"t{i}": generator.integers(-top, top + 1, n, np.int8) for i, n in enumerate(sizes)}
    head = ConstantNodes()
    names = head.unpacked(codes, bits)
    for expected, found in zip(
        codes.values(), run_constants(head, list(names.values())), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("bits", "per_group"), [(4, (1, 2)), (6, (3, 4)), (7, (7, 8)), (8, (1, 1))]
)
def test_bytes_of_a_width(bits: int, per_group: tuple[int, int]) -> None:
    assert packed_bytes(56 * 10, bits) == 56 * 10 * per_group[0] // per_group[1]


@pytest.mark.parametrize("bits", WIDTHS)
def test_rounding_is_no_worse_than_the_plain_scale_and_knows_zeros(bits: int) -> None:
    rows = np.random.default_rng(0).standard_normal((5, 64), np.float32)
    rows[2] = 0
    codes, scales = round_rows(rows, bits)
    top = largest_code(bits)
    plain = np.maximum(np.abs(rows).max(axis=1, keepdims=True) / top, 1e-9)
    plain_error = np.square(np.rint(rows / plain) * plain - rows).sum(axis=1)
    assert (np.square(codes * scales - rows).sum(axis=1) <= plain_error * 1.05 + 1e-9).all()
    assert np.abs(codes).max() <= top
    assert (codes[2] == 0).all()
    np.testing.assert_array_equal(scales, scales.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("mixed", [False, True])
def test_the_packed_graph_is_the_float_graph_with_rounded_weights(
    shipped: onnx.ModelProto, weights: list[Weight], mixed: bool, tmp_path: Path
) -> None:
    widths = WIDTHS if mixed else (8,)
    bits = {weight.name: widths[i % len(widths)] for i, weight in enumerate(weights)}
    packed, rounded = tmp_path / "packed.onnx", tmp_path / "rounded.onnx"
    packed.write_bytes(quantize(shipped, weights, bits).SerializeToString())
    rounded.write_bytes(with_rounded_weights(shipped, weights, bits).SerializeToString())
    noisy = soundfile.read(CHECK_RECORDING, dtype="float32")[0][:16_000, 0]
    outputs = [voice_alone(ModelFile(path), noisy) for path in (rounded, packed)]
    assert snr_db(*outputs) > 60  # biases are float16


def test_every_weight_is_found_and_taps_that_do_not_exist_are_not_stored(
    weights: list[Weight],
) -> None:
    assert sum(weight.count for weight in weights) < 375_000  # 374,132 and 100 zeros
    assert sum(weight.operator == "GRU" for weight in weights) == 4
    assert any(weight.segments for weight in weights)
    assert {weight.values.dtype for weight in weights} == {np.dtype(np.float32)}


def test_the_shipped_small_file_fits_and_is_made_of_the_shipped_weights() -> None:
    assert SHIPPED_MODEL.stat().st_size <= LARGEST_BYTES
    info = ModelFile(SHIPPED_MODEL).info
    assert info.precision == "int8"
    assert info.weights_sha256 == weights_sha256(SHIPPED_MODEL.with_suffix(".safetensors"))
    graph = onnx.load(SHIPPED_MODEL)
    assert {opset.domain for opset in graph.opset_import} == {""}
    assert max(opset.version for opset in graph.opset_import) <= 18
    assert not any(node.doc_string or len(node.metadata_props) for node in graph.graph.node)


def test_the_shipped_small_file_follows_the_float_one_however_it_is_cut() -> None:
    noisy = soundfile.read(CHECK_RECORDING, dtype="float32")[0][:, 0]
    small = ModelFile(SHIPPED_MODEL)
    many = voice_alone(small, noisy)
    assert snr_db(voice_alone(ModelFile(FLOAT32_MODEL), noisy), many) > 35  # 25 is asked
    assert snr_db(many, voice_alone(small, noisy, frames_per_call=1)) > 90
    assert snr_db(many, voice_alone(small, noisy, frames_per_call=7)) > 90


def test_it_is_folded_when_it_is_loaded_and_cannot_saturate(tmp_path: Path) -> None:
    """No operation on constants is left for run time; products of pairs fit into 16 bits."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "folded.onnx")
    onnxruntime.InferenceSession(str(SHIPPED_MODEL), options, ["CPUExecutionProvider"])
    folded = onnx.load(tmp_path / "folded.onnx").graph
    constants = {tensor.name: tensor for tensor in folded.initializer}
    for node in folded.node:
        assert not {name for name in node.input if name} <= constants.keys()
    integer = [node for node in folded.node if node.op_type == "QLinearConv"]
    assert len(integer) > 15
    for node in integer:
        assert np.abs(numpy_helper.to_array(constants[node.input[3]])).max() <= 63


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("groups", [1, 32])
def test_an_integer_convolution_is_the_float_one_to_its_bits(relu: bool, groups: int) -> None:
    generator = np.random.default_rng(0)
    values = generator.standard_normal((32, 32 // groups, 1, 3), np.float32)
    bias = generator.standard_normal(32, np.float32)
    layer = helper.make_node(
        "Conv", ["x", "w", "b"], ["c"], name="n", group=groups, pads=[0, 1, 0, 1]
    )
    last = helper.make_node("Relu" if relu else "Identity", ["c"], ["y"], name="r")
    graph = helper.make_graph(
        [layer, last],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 32, 1, 64))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    found = find_weights(model.graph)
    convolutions = find_convolutions(model.graph, found)
    x = generator.uniform(-1, 1, (1, 32, 1, 64)).astype(np.float32)
    expected = run(model, x)
    output = convolutions["w"].output
    grids = {"x": signal_grid(-1.0, 1.0), output: signal_grid(expected.min(), expected.max())}
    rewrite = IntegerConvolutions(convolutions, grids)
    whole = quantize(model, found, {"w": 7}, rewrite)
    assert "QLinearConv" in {node.op_type for node in whole.graph.node}
    assert snr_db(expected, run(whole, x)) > 30


@pytest.mark.parametrize("same", [True, False])
def test_what_is_joined_is_joined_in_whole_numbers(same: bool) -> None:
    """Two convolutions, joined and moved, then a third: one grid for both takes no rounding between."""
    generator = np.random.default_rng(0)
    b = GraphBuilder()
    for y in ("first", "second"):
        b.node("Conv", "x", *random_layer(b, generator, 32), outputs=(y,))
    joined = b.transpose(b.node("Concat", "first", "second", axis=1), 0, 1, 3, 2)
    b.node("Conv", joined, *random_layer(b, generator, 64), outputs=("y",))
    model = b.model({"x": (1, 32, 8, 4)}, {"y": (1, 32, 4, 8)})
    found = find_weights(model.graph)
    convolutions = find_convolutions(model.graph, found)
    x = generator.uniform(-1, 1, (1, 32, 8, 4)).astype(np.float32)
    ranges = dict.fromkeys(("x", "y", "first", "second", joined), (-4.0, 4.0))
    ranges["first"] = (-4.0, 4.0) if same else (-3.5, 4.2)
    grids = {name: signal_grid(*ends) for name, ends in ranges.items()}
    whole = quantize(
        model, found, {w.name: 7 for w in found}, IntegerConvolutions(convolutions, grids)
    )
    operators = [node.op_type for node in whole.graph.node]
    assert operators.count("QuantizeLinear") == (1 if same else 2)
    assert operators.count("DequantizeLinear") == (1 if same else 2)
    assert snr_db(run(model, x), run(whole, x)) > 30


def random_layer(b: GraphBuilder, generator: np.random.Generator, inputs: int) -> tuple[str, str]:
    values = 0.1 * generator.standard_normal((32, inputs, 1, 1))
    return b.floats(values), b.floats(generator.standard_normal(32))


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), None, ["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


def test_ranges_hold_what_calibration_heard() -> None:
    joined = float_graph(SHIPPED_MODEL.with_suffix(".safetensors"), whole_numbers=True)
    weights = find_weights(joined.graph)
    convolutions = find_convolutions(joined.graph, weights)
    noisy = soundfile.read(CHECK_RECORDING, dtype="float32")[0][:16_000, 0]
    ranges = measure_ranges(joined, convolutions, [noisy])
    assert len({ranges[convolution.output] for convolution in convolutions.values()}) < 18
    for convolution in convolutions.values():
        low, high = ranges[convolution.output]
        assert low <= 0 < high
        assert low == 0 or not convolution.relu


@pytest.mark.parametrize("largest_bytes", [340_000, 370_688, 500_000])
def test_widths_fit_the_size_and_spare_what_is_sensitive(
    shipped: onnx.ModelProto, weights: list[Weight], largest_bytes: int
) -> None:
    errors = {w.name: {b: w.count * 4.0**-b for b in WIDTHS} for w in weights}
    sensitive = max(weights, key=lambda weight: weight.count)
    errors[sensitive.name] = {bits: 1e6 * error for bits, error in errors[sensitive.name].items()}
    bits = fit(shipped, weights, errors, largest_bytes)
    assert quantize(shipped, weights, bits).ByteSize() <= largest_bytes
    assert bits[sensitive.name] == 8
    narrow = fit(shipped, weights, errors, largest_bytes, most_bits={sensitive.name: 7})
    assert narrow[sensitive.name] == 7
    if largest_bytes == 500_000:
        assert set(bits.values()) == {8}


def test_a_size_that_cannot_be_reached(shipped: onnx.ModelProto, weights: list[Weight]) -> None:
    errors = {weight.name: dict.fromkeys(WIDTHS, 1.0) for weight in weights}
    with pytest.raises(ValueError, match=r"more than the 100,000 allowed"):
        fit(shipped, weights, errors, 100_000)


def graph_of(operator: str, constant: bool, **attributes: object) -> onnx.GraphProto:
    value = numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), "w")
    node = helper.make_node(operator, ["x", "w"], ["y"], name="layer", **attributes)
    return helper.make_graph([node], "g", [], [], [value] if constant else [])


@pytest.mark.parametrize(
    ("operator", "constant", "message"),
    [
        ("Conv", False, "the weight w of Conv .layer. is no constant"),
        ("ConvTranspose", False, "the weight w of ConvTranspose .layer. is no constant"),
        ("LSTM", True, "LSTM .layer. has no rule"),
    ],
)
def test_no_weight_stays_in_float_unasked(operator: str, constant: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_weights(graph_of(operator, constant))


@pytest.mark.parametrize(
    ("operator", "shape", "attributes"),
    [
        ("ConvTranspose", (6, 4, 1, 3), {}),
        ("MatMul", (6, 8), {}),
        ("Gemm", (8, 6), {"transB": 1}),
        ("Conv", (8, 6, 1, 3), {}),
    ],
)
def test_every_kind_of_layer_is_restored(
    operator: str, shape: tuple[int, ...], attributes: dict[str, int]
) -> None:
    values = np.random.default_rng(0).standard_normal(shape, np.float32)
    x = (1, 6, 1, 5) if len(shape) == 4 else (2, 6)
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"], name="n", **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    found = find_weights(model.graph)
    bits = {"w": 7}
    inputs = np.random.default_rng(1).standard_normal(x).astype(np.float32)
    models = (with_rounded_weights(model, found, bits), quantize(model, found, bits))
    outputs = [run(each, inputs) for each in models]
    np.testing.assert_allclose(outputs[1], outputs[0], atol=1e-5)
    assert np.abs(found[0].rounded(7) - values).max() < np.abs(values).max() / 60


def test_bad_calibration_folders(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no audio"):
        read_recordings(tmp_path)
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000, np.float32), 16_000)
    with pytest.raises(ValueError, match=r"silent\.wav is silent"):
        read_recordings(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--calibration", "."], "belong to --int8"),
        (["--int8", "--calibration", "."], "has no audio"),
        (["--int8"], "no weights"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str, working_folder: Path) -> None:
    result = CliRunner().invoke(app, ["export", "none.safetensors", "-o", "m.onnx", *arguments])
    assert result.exit_code == 1
    assert message in result.output
    assert not list(working_folder.iterdir())
