"""A small decoder-only transformer that knows one made-up language and is to learn a dialect of it.

The languages are Markov chains of order 2. Token t follows (a, b) with probability softmax(near[b] + far[a])[t]; the
dialect has other `far` for half of the tokens.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from partialgrad.benchmarks.pretraining import pretrain
from partialgrad.benchmarks.task import Task
from partialgrad.dropbp import Branches, named
from partialgrad.rules import Rule

_SHARPNESS = (
    2.0  # of the tables' normal numbers: 1.47 nats a token are left of the 3.47 of equal chances
)


class Attention(nn.Module):
    """Causal self-attention with its norm in front."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) to the same."""
        x = self.norm(x)
        query, key, value = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Sequential):
    """Norm, four times as wide, GELU, and back."""

    def __init__(self, width: int) -> None:
        layers = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        super().__init__(nn.LayerNorm(width), *layers)


class Block(nn.Module):
    """Two residual branches."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention, self.feed_forward = Attention(width, heads), FeedForward(width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) to the same."""
        x = x + self.attention(x)
        return x + self.feed_forward(x)


class Transformer(nn.Module):
    """Token ids (batch, tokens) to logits (batch, tokens, vocabulary)."""

    def __init__(self, vocabulary: int, tokens: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.layers = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, ids: Tensor) -> Tensor:
        """See the class."""
        return self.head(self.norm(self.layers(self.embedding(ids) + self.positions)))


def transformer() -> Task:
    """0.8 million weights, 512 tokens a step, pretrained."""
    generator = torch.Generator().manual_seed(0)
    vocabulary, tokens = 32, 64
    tables = _SHARPNESS * torch.randn(3, vocabulary, vocabulary, generator=generator)
    near, far = tables[:2]
    dialect = torch.where(torch.arange(vocabulary)[:, None] % 2 == 0, far, tables[2])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Transformer(vocabulary, tokens, width=128, heads=4, layers=4)
    pretrain(model, next_token_loss, [_text(near, far, 8, tokens, generator) for _ in range(500)])
    return Task(
        "transformer",
        model,
        next_token_loss,
        training=[_text(near, dialect, 8, tokens, generator) for _ in range(100)],
        validation=[_text(near, dialect, 64, tokens, generator)],
        test=[_text(near, dialect, 64, tokens, generator)],
        rules=RULES,
        head=("head",),
        branches=_branches,
        learning_rates=(2e-3, 8e-3, 3.2e-2),
        note="0.8 million weights, 512 tokens a step; loss: cross-entropy in nats",
    )


def wide_transformer() -> Task:
    """6.4 million weights in layers of usual width, 1024 tokens a step: for time and memory only."""
    generator = torch.Generator().manual_seed(0)
    model = Transformer(64, 128, width=512, heads=8, layers=2)
    batches = [torch.randint(0, 64, (8, 129), generator=generator) for _ in range(4)]
    return Task(
        "wide transformer",
        model,
        next_token_loss,
        batches,
        RULES,
        head=("head",),
        branches=_branches,
        note="6.4 million weights, width 512, 1024 tokens a step; not trained, for time and memory",
    )


RULES = (Rule("layers.*", r=16, types=(nn.Linear,)),)


def _branches(model: nn.Module) -> Branches:
    return named(model, "layers.*.attention", "layers.*.feed_forward")


def next_token_loss(model: nn.Module, ids: Tensor) -> Tensor:
    """Cross-entropy of each token after the first, in nats.

    Args:
        model: a `Transformer`.
        ids: (batch, tokens + 1).
    """
    return F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())


def _text(near: Tensor, far: Tensor, batch: int, tokens: int, generator: torch.Generator) -> Tensor:
    """(batch, tokens + 1) ids."""
    ids = [torch.randint(0, len(near), (batch,), generator=generator) for _ in range(2)]
    for _ in range(tokens - 1):
        probabilities = (near[ids[-1]] + far[ids[-2]]).softmax(1)
        ids.append(torch.multinomial(probabilities, 1, generator=generator)[:, 0])
    return torch.stack(ids, 1)
