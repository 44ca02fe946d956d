"""An optimizer for networks whose parameters are mostly matrices: Muon for these, AdamW for the rest.

Muon (Jordan et al. 2024, `torch.optim.Muon`) replaces the momentum of a weight matrix by the nearest matrix with
orthonormal rows or columns, so that a step moves all directions alike. Where a step is dear and the network small,
its Newton-Schulz iterations cost nothing beside the gradients.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_SMALLEST_SIDE = 8  # below, too few directions: depthwise kernels, layers of one row
_GATES = 3  # of a GRU, whose weights are as many matrices, one above the other


class MatrixOptimizer:
    """Muon on every weight that is a matrix of 8 × 8 or more, AdamW on all others.

    A convolution's weight is the matrix (first dimension × all others). The network's two-dimensional weights are those
    of GRUs: a matrix for each of three gates. A learning rate means the same to both: Muon's steps are scaled to
    the size that AdamW's have (Liu et al. 2025, arXiv 2502.16982).

    Args:
        parameters: what is trained.
        learning_rate, weight_decay: of both.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float
    ) -> None:
        parameters = list(parameters)
        self._places = [
            (parameter, piece)
            for parameter in parameters
            if _is_matrix(parameter)
            for piece in _pieces(parameter)
        ]
        self._matrices = [nn.Parameter(_matrix(*place)) for place in self._places]
        self._muon = torch.optim.Muon(
            self._matrices, learning_rate, weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        self._adamw = torch.optim.AdamW(
            [parameter for parameter in parameters if not _is_matrix(parameter)],
            learning_rate,
            weight_decay=weight_decay,
        )

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of both, whose `lr` may be set between steps."""
        return self._muon.param_groups + self._adamw.param_groups

    @torch.no_grad()
    def step(self) -> None:
        """Change the parameters by their gradients."""
        for matrix, (parameter, piece) in zip(self._matrices, self._places, strict=True):
            assert parameter.grad is not None
            matrix.copy_(_matrix(parameter, piece))
            matrix.grad = _matrix(parameter.grad, piece)
        self._muon.step()
        self._adamw.step()
        for matrix, (parameter, piece) in zip(self._matrices, self._places, strict=True):
            parameter[piece] = matrix.view_as(parameter[piece])

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds: the momenta, not the parameters."""
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._muon.load_state_dict(saved["muon"])
        self._adamw.load_state_dict(saved["adamw"])


def _is_matrix(parameter: Tensor) -> bool:
    return parameter.ndim > 1 and min(len(parameter), parameter[0].numel()) >= _SMALLEST_SIDE


def _pieces(parameter: Tensor) -> list[slice]:
    count = _GATES if parameter.ndim == 2 else 1
    rows = len(parameter) // count
    return [slice(first, first + rows) for first in range(0, len(parameter), rows)]


def _matrix(tensor: Tensor, piece: slice) -> Tensor:
    return tensor.detach()[piece].flatten(1).clone()
