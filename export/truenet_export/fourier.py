"""The transform of a frame and back as matrix products, which take less than half the time of ONNX's DFT.

With n = columns · n₁ + n₂ and k = 1 + k₁ + rows · k₂, e^(−2πi kn/N) is a factor of k₁ and n₁, one of k₁ and n₂, and one
of k₂ and n₂ (Cooley and Tukey, 1965): a product, a multiplication, a product. Bins are 1 to N/2; DC is left to the
caller. onnxruntime makes the matrices of a few vectors when it loads the file.
"""

import math

import numpy as np

from truenet_export.builder import Array, GraphBuilder


class Fourier:
    """Both directions for real frames of one length, which are (batch, frames, rows, columns).

    Args:
        b: the graph to write into.
        length: N.
    """

    def __init__(self, b: GraphBuilder, length: int) -> None:
        bins = length // 2
        self._b, self._length = b, length
        self.rows = rows = max(n for n in range(1, math.isqrt(bins) + 1) if bins % n == 0)
        self.columns = columns = length // rows
        # In quarter turns: 0 is cos, 1 is −sin, −1 is sin. A complex product, of four real ones: with the real and the
        # imaginary part of the result, two each.
        first, second = np.array([0, 1, 1, 0]), np.array([0, -1, 0, 1])
        third = np.array([[0, 1], [0, 1], [-1, 0], [-1, 0]])
        k1, n1 = np.arange(1, rows + 1).reshape(-1, 1, 1), np.arange(rows)
        k2, n2 = np.arange(bins // rows), np.arange(columns)
        self._first = self._cosines(k1, columns * n1, first[:, None], 4 * rows, rows)
        self._second = self._cosines(k1, n2, second[:, None], 4 * rows, columns)
        self._third = self._cosines(
            rows * k2, n2.reshape(-1, 1, 1), third[:, None, :, None], 4 * columns, columns
        )

    def forward(self, frames: str) -> str:
        """Real and imaginary parts of bins 1 to N/2: (batch, frames, 2, bins)."""
        b = self._b
        x = b.node("Mul", b.node("MatMul", self._first, frames), self._second)
        x = b.node("MatMul", b.reshape(x, 0, 0, self.rows, 4 * self.columns), self._third)
        return b.reshape(b.transpose(x, 0, 1, 3, 2), 0, 0, 2, self._length // 2)

    def inverse(self, spectrum: str) -> str:
        """N times the frames of a spectrum without DC."""
        b = self._b
        twice = np.full((2, self._length // 2), 2)
        twice[:, -1] = 1  # bin N/2 has no mirror image
        x = b.reshape(b.node("Mul", spectrum, b.floats(twice)), 0, 0, self.columns, self.rows)
        x = b.node("MatMul", b.transpose(x, 0, 1, 3, 2), b.transpose(self._third, 1, 0))
        x = b.node("Mul", b.reshape(x, 0, 0, 4 * self.rows, self.columns), self._second)
        return str(b.node("MatMul", b.transpose(self._first, 1, 0), x))

    def _cosines(self, k: Array, n: Array, quarters: Array, *shape: int) -> str:
        """cos 2π (kn / N + quarters / 4); the whole number is taken modulo N first, or float32 would not do."""
        b = self._b
        steps = b.node("Mul", b.floats(k), b.floats(n))
        steps = b.node("Add", steps, b.floats(self._length / 4 * quarters))
        steps = b.node("Mod", steps, b.floats(float(self._length)), fmod=1)
        turn = b.node("Mul", steps, b.floats(2 * math.pi / self._length))
        return b.reshape(b.node("Cos", turn), *shape)
