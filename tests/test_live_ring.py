"""The bounded queue: first in, first out, the oldest lost first."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from truenet_apps.live_ring import Ring


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=30))
def test_it_is_a_list_of_the_newest_samples(steps: list[tuple[int, int]]) -> None:
    ring, expected, count = Ring(20), np.zeros(0, np.float32), 0
    for put, taken in steps:
        block = np.arange(count, count + put, dtype=np.float32)
        count += put
        lost = ring.put(block)
        joined = np.concatenate([expected, block])
        assert lost == max(0, len(joined) - 20)
        expected = joined[lost:]
        np.testing.assert_array_equal(ring.take(taken), expected[:taken])
        expected = expected[taken:]
        assert len(ring) == len(expected)
