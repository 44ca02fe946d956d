"""Number types, shapes and bad samples."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from truenet.samples import BadSamples, as_float, check_shape


@pytest.mark.parametrize("kind", ["u1", "i1", "i2", "u2", "i4", "f2", "f4", "f8", ">i2", ">f4"])
def test_full_scale_of_every_type(kind: str) -> None:
    is_float = np.dtype(kind).kind == "f"
    limits: Any = (-1.0, 1.0) if is_float else (np.iinfo(kind).min, np.iinfo(kind).max)
    low, high = as_float(np.array(limits).astype(kind))
    assert low == -1.0
    assert high == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("values", [np.array([True]), np.array([1j]), np.array(["a"])])
def test_what_is_no_sample(values: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="give floats within ±1, or integers"):
        as_float(values)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((), "give"), ((1, 2, 3), "give"), ((2, 48_000), "transpose"), ((5, 0), "0 channels")],
)
def test_shapes_that_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_shape(np.zeros(shape))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_bad_samples_become_silence_and_are_found(bad: float) -> None:
    guard = BadSamples()
    block = np.full((10, 2), 0.5, np.float32)
    guard.replace(block)
    block[3, 1] = block[7, 0] = bad
    clean = guard.replace(block)
    assert guard.count == 2
    assert guard.first == (13, 1)
    assert clean[3, 1] == clean[7, 0] == 0
    assert np.count_nonzero(clean) == 18
    assert not np.array_equal(clean, block)  # the caller's block is not written to
