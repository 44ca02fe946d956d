"""Booleans survive packing, in any shape and memory layout."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from partialgrad.bits import pack_bits, unpack_bits


@settings(max_examples=60)
@given(st.lists(st.integers(0, 9), max_size=4), st.integers(0, 99), st.randoms())
def test_there_and_back(shape: list[int], seed: int, order: st.DataObject) -> None:
    generator = torch.Generator().manual_seed(seed)
    dims = list(range(len(shape)))
    order.shuffle(dims)  # type: ignore[attr-defined]
    truth = (torch.randn(shape, generator=generator) > 0).permute(dims)
    packed = pack_bits(truth)
    assert packed.nbytes == -(-truth.numel() // 8)
    assert torch.equal(unpack_bits(packed, truth.shape, truth.stride()).bool(), truth)


def test_all_bytes() -> None:
    truth = (torch.arange(256)[:, None] >> torch.arange(8)) % 2 == 1
    packed = pack_bits(truth)
    assert len(packed.unique()) == 256
    assert torch.equal(unpack_bits(packed, truth.shape, truth.stride()).bool(), truth)
