"""Trained input columns of GRU and LSTM.

The input side W_i x + b_i of a recurrent layer is a pointwise layer over all time steps, computed here outside the
recurrence as a partial operator; a frozen recurrence with identity input weights follows, whose input gradient is
the gradient of the gates. This is exact on every back end. It costs one square product of the gates' width per
step and keeps the gates' inputs instead of the layer's: activation memory falls only where the input is wider than
the gates (3 or 4 times the hidden size, twice that for two directions). The hidden side has no saving and is frozen.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from partialgrad.layers import PartialLayer, Reading, beside, operator_with_columns
from partialgrad.operators import Dense


class PartialRecurrent(PartialLayer):
    """`nn.GRU` and `nn.LSTM` of any number of layers and directions."""

    own_types = (nn.GRU, nn.LSTM)
    mode: str
    num_layers: int
    bidirectional: bool
    batch_first: bool
    dropout: float
    bias: bool
    hidden_size: int

    @staticmethod
    def readings(layer: Any) -> list[Reading]:
        """The input of every layer of the stack, read by one or two directions."""
        return [
            Reading(
                tuple(f"weight_ih_l{level}{end}" for end in _ends(layer.bidirectional)),
                1,
                getattr(layer, f"weight_ih_l{level}").shape[1],
            )
            for level in range(layer.num_layers)
        ]

    @classmethod
    def refusal(cls, layer: Any) -> str | None:
        """Projected LSTMs and subclasses with a forward pass of their own."""
        if layer.proj_size:
            return "proj_size is not supported"
        return super().refusal(layer)

    def forward(self, x: Any, hx: Any = None) -> Any:
        """As the layer's own: x is (batch and time in either order, inputs), unbatched or packed."""
        self.begin()
        columns = [columns for _, columns in self.each() if columns.enabled]
        if not columns or not (torch.is_grad_enabled() or any(map(beside, columns))):
            return super().forward(x, hx)
        packed = isinstance(x, PackedSequence)
        data, batch_sizes = (x.data, x.batch_sizes) if packed else (x, None)
        unbatched = not packed and data.dim() == 2
        if unbatched:
            batch_dim = 0 if self.batch_first else 1
            data, hx = data.unsqueeze(batch_dim), _each(hx, lambda h: h.unsqueeze(1))
        if packed and x.sorted_indices is not None:
            hx = _each(hx, lambda h: h.index_select(1, x.sorted_indices))
        data, last = self._stack(data, batch_sizes, hx)
        if unbatched:
            return data.squeeze(batch_dim), _each(last, lambda h: h.squeeze(1))
        if not packed:
            return data, last
        if x.unsorted_indices is not None:
            last = _each(last, lambda h: h.index_select(1, x.unsorted_indices))
        return PackedSequence(data, batch_sizes, x.sorted_indices, x.unsorted_indices), last

    def _stack(self, x: Tensor, batch_sizes: Tensor | None, hx: Any) -> tuple[Tensor, Any]:
        """All layers, one after the other, with dropout between them."""
        directions = 2 if self.bidirectional else 1
        lasts = []
        for level in range(self.num_layers):
            if level and self.dropout:
                x = F.dropout(x, self.dropout, self.training)
            span = slice(level * directions, (level + 1) * directions)
            x, *last = self._level(x, batch_sizes, _each(hx, lambda h, span=span: h[span]), level)
            lasts.append(last)
        joined = tuple(torch.cat(parts) for parts in zip(*lasts, strict=True))
        return x, joined if self.mode == "LSTM" else joined[0]

    def _level(self, x: Tensor, batch_sizes: Tensor | None, hx: Any, level: int) -> Any:
        """One layer: the input side as partial operators, then the recurrence on their outputs."""
        ends = _ends(self.bidirectional)
        gates = torch.cat([self._input_side(x, f"_l{level}{end}") for end in ends], dim=-1)
        identity = torch.eye(gates.shape[-1], dtype=gates.dtype, device=gates.device)
        weights = []
        for own, end in zip(identity.chunk(len(ends)), ends, strict=True):
            weights += [own, self.get_parameter(f"weight_hh_l{level}{end}").to(gates.dtype)]
            if self.bias:
                hidden = self.get_parameter(f"bias_hh_l{level}{end}").to(gates.dtype)
                weights += [torch.zeros_like(hidden), hidden]
        if hx is None:
            hx = self._zeros(gates, batch_sizes)
        states = list(hx) if self.mode == "LSTM" else hx
        run: Any = torch.lstm if self.mode == "LSTM" else torch.gru
        options = (self.bias, 1, 0.0, self.training, self.bidirectional)
        if batch_sizes is not None:
            return run(gates, batch_sizes, states, weights, *options)
        if not self.batch_first:
            return run(gates, states, weights, *options, False)
        # Of steps that are not in order in memory, PyTorch's CPU kernels copy the identity once for each.
        y, *last = run(gates.transpose(0, 1).contiguous(), states, weights, *options, False)
        return y.transpose(0, 1), *last

    def _input_side(self, x: Tensor, suffix: str) -> Tensor:
        weight = self.get_parameter(f"weight_ih{suffix}")
        columns, bias = self.columns(f"weight_ih{suffix}"), self.columns(f"bias_ih{suffix}")
        own_bias = self.get_parameter(f"bias_ih{suffix}") if self.bias else None
        own = (weight, columns), (own_bias, bias)
        return operator_with_columns(
            Dense(), x, *own, self.gather, lambda x: F.linear(x, weight, own_bias)
        )

    def _zeros(self, gates: Tensor, batch_sizes: Tensor | None) -> Any:
        batch = gates.shape[0 if self.batch_first else 1] if batch_sizes is None else batch_sizes[0]
        directions = 2 if self.bidirectional else 1
        zeros = gates.new_zeros(directions, int(batch), self.hidden_size)
        return (zeros, zeros) if self.mode == "LSTM" else zeros


def _ends(bidirectional: bool) -> tuple[str, ...]:
    return ("", "_reverse") if bidirectional else ("",)


def _each(states: Any, function: Any) -> Any:
    """Apply to a state, to both states of an LSTM, or to none."""
    if states is None:
        return None
    return tuple(map(function, states)) if isinstance(states, tuple) else function(states)
