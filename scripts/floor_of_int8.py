"""How fast the small file could be at best on this machine, and how far it is from that, on one thread.

    python scripts/floor_of_int8.py

Times one large convolution in float and in whole numbers, whose speed no layer of the network can exceed by much, and
the shipped file at one frame a call and at 100, all in turns, and takes the least processor time of each: what the
machine can do when nothing else runs. The floor is the network's multiply-accumulates at those speeds: convolutions
in whole numbers, GRUs in float.
"""

import time
from collections.abc import Callable

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from truenet.config import TRUNetConfig
from truenet.cost import count_macs_per_frame
from truenet.modelfile import SHIPPED_MODEL, ModelFile
from truenet_export.builder import OPSET, GraphBuilder

CHANNELS, POSITIONS, ROUNDS = 128, 1024, 60
MACS = CHANNELS * CHANNELS * POSITIONS


def main() -> None:
    whole, rest = macs_a_frame()
    runs = {"float": layer(False), "int8": layer(True), "1": shipped(1), "100": shipped(100)}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            begin = time.process_time()
            run()
            seconds[name].append(time.process_time() - begin)
    least = {name: min(taken) for name, taken in seconds.items()}
    floor_ms = 1e3 * (whole * least["int8"] + rest * least["float"]) / MACS
    for name in ("float", "int8"):
        print(f"{name}: {MACS / least[name] / 1e9:.0f} G multiply-accumulates a second")
    print(f"a frame: {whole / 1e6:.1f} M in whole numbers, {rest / 1e6:.1f} M in float")
    print(f"floor {floor_ms:.3f} ms a frame")
    for frames in (1, 100):
        frame_ms = 1e3 * least[str(frames)] / frames
        print(
            f"{frames} frames a call: {frame_ms:.3f} ms a frame, {frame_ms / floor_ms:.1f} floors"
        )


def macs_a_frame() -> tuple[float, float]:
    """Of the network: in convolutions, and in recurrent layers."""
    macs = count_macs_per_frame(TRUNetConfig())
    recurrent = sum(count for name, count in macs.items() if "gru" in name)
    return sum(macs.values()) - recurrent, recurrent


def layer(integer: bool) -> Callable[[], object]:
    """A pointwise convolution of 128 channels to as many."""
    generator = np.random.default_rng(0)
    b = GraphBuilder()
    shape = (CHANNELS, CHANNELS, 1, 1)
    if integer:
        weight = b.constant(generator.integers(-63, 64, shape, np.int8))
        scale, zero = b.floats(0.01), b.constant(np.array(0, np.uint8))
        inputs = ("x", scale, zero, weight, scale, b.constant(np.array(0, np.int8)), scale, zero)
        b.node("QLinearConv", *inputs, outputs=("y",))
        x = generator.integers(0, 255, (1, CHANNELS, 1, POSITIONS), np.uint8)
    else:
        weight = b.constant(generator.standard_normal(shape, np.float32))
        b.node("Conv", "x", weight, outputs=("y",))
        x = generator.standard_normal((1, CHANNELS, 1, POSITIONS), np.float32)
    kind = TensorProto.UINT8 if integer else TensorProto.FLOAT
    values = [helper.make_tensor_value_info(name, kind, None) for name in ("x", "y")]
    graph = helper.make_graph(b.nodes, "g", values[:1], values[1:], [*b.initializers.values()])
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return lambda: session.run(None, {"x": x})


def shipped(frames: int) -> Callable[[], object]:
    """A call of the shipped file."""
    file = ModelFile(SHIPPED_MODEL)
    audio = 0.1 * np.random.default_rng(0).standard_normal((1, frames * 128), np.float32)
    state, faders = file.first_state(1), np.array([[1, 0, 0]], np.float32)
    return lambda: file.run(audio, state, faders)


if __name__ == "__main__":
    main()
