"""Rules say what of a model is trained; the plan says what that means for this model, before anything runs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from torch import nn

from partialgrad.classes import own_class
from partialgrad.convolution import PartialConvolution, PartialTransposedConvolution
from partialgrad.embedding import PartialEmbedding
from partialgrad.layers import PartialLayer, PartialLinear, Reading
from partialgrad.recurrent import PartialRecurrent
from partialgrad.selection import Given, Random, Selector
from partialgrad.sharding import fully_sharded, is_sharded

_KINDS: tuple[type[PartialLayer], ...] = (
    PartialLinear,
    PartialConvolution,
    PartialTransposedConvolution,
    PartialEmbedding,
    PartialRecurrent,
)

Training = Literal["columns", "bias", "all", "nothing"]


@dataclass(frozen=True)
class Rule:
    """What to train in the layers of matching name and type. The first rule that matches a layer holds.

    Attributes:
        pattern: layer names as in `named_modules`, with * and ? as in file names; "*" is every layer.
        types: only layers of these types; empty means any.
        r: how many input columns (rows of an embedding) of each weight; within each group of a grouped convolution.
        fraction: instead of r, the share of a weight's columns, in (0, 1]; at least one column. With `Given` indices,
            leave both out.
        select: which columns, see `partialgrad.selection`.
        bias: train the layer's bias too (of recurrent layers, the input side's). It keeps no activation.
        train: chosen "columns", only the "bias", "all" parameters of the module itself, or "nothing".
        side: leave the weight untouched and add a side branch, as is done by itself for tied, sharded and quantized
            weights.
    """

    pattern: str
    r: int | None = None
    fraction: float | None = None
    types: tuple[type[nn.Module], ...] = ()
    select: Selector = field(default_factory=Random)
    bias: bool = False
    train: Training = "columns"
    side: bool = False

    def __post_init__(self) -> None:
        if self.train not in ("columns", "bias", "all", "nothing"):
            raise ValueError(f"train={self.train!r}: take 'columns', 'bias', 'all' or 'nothing'")
        if self.train != "columns":
            if self.r is not None or self.fraction is not None:
                raise ValueError(f"{self}: r and fraction only go with train='columns'")
        else:
            given = isinstance(self.select, Given)
            if given + (self.r is not None) + (self.fraction is not None) != 1:
                raise ValueError(f"{self}: give r, or fraction, or indices (select=Given(...))")
        if self.r is not None and (type(self.r) is not int or self.r < 1):
            raise ValueError(
                f"r={self.r!r}: take a whole number of at least one, or train='nothing'"
            )
        if not isinstance(self.types, tuple | type):
            raise ValueError(f"types={self.types!r}: take a tuple of layer types, (nn.Linear,)")
        if not callable(self.select):
            raise ValueError(f"select={self.select!r}: take Random(), Blocks() or another selector")
        if self.fraction is not None and not 0 < self.fraction <= 1:
            raise ValueError(f"fraction={self.fraction}: take a share in (0, 1]")

    def matches(self, name: str, layer: nn.Module) -> bool:
        """Whether this rule is about the layer."""
        return fnmatchcase(name, self.pattern) and (not self.types or isinstance(layer, self.types))

    def count(self, name: str, columns: int) -> int:
        """How many of the columns of a weight of this name to train.

        Raises:
            ValueError: more than there are.
        """
        if self.fraction is not None:
            return max(1, round(self.fraction * columns))
        if isinstance(self.select, Given):
            return len(self.select((name,), (), 0))
        assert self.r is not None
        if self.r > columns:
            raise ValueError(
                f"r={self.r} is more than the {columns} columns of {name}: "
                "lower r, give a fraction, or put another rule for this layer first"
            )
        return self.r


@dataclass(frozen=True)
class Row:
    """What becomes of one layer.

    Attributes:
        name, kind: of the layer.
        trained, total: number of its own parameters.
        kept, channels: input channels that the trained part keeps for the backward pass, and that there are.
        detail: how it is trained, or why not.
    """

    name: str
    kind: str
    trained: int
    total: int
    kept: int
    channels: int
    detail: str


@dataclass(frozen=True)
class Choice:
    """A layer, the rule that holds for it, and how it is to be trained."""

    name: str
    layer: nn.Module
    rule: Rule
    mixin: type[PartialLayer] | None
    train: Training
    side: bool
    counts: tuple[int, ...]
    detail: str

    @property
    def readings(self) -> list[Reading]:
        """What the layer's weights read."""
        assert self.mixin is not None
        return self.mixin.readings(self.layer)

    @property
    def biases(self) -> list[str]:
        """Names of the biases to train."""
        if self.mixin is None or not (self.rule.bias or self.train == "bias"):
            return []
        names = [
            name for name, value in self.layer.named_parameters(recurse=False) if value.dim() == 1
        ]
        return [name for name in names if name.startswith("bias") and "_hh" not in name]

    def row(self) -> Row:
        """The line of the table."""
        sizes = {n: p.numel() for n, p in self.layer.named_parameters(recurse=False)}
        trained = sum(sizes[name] for name in self.biases) if self.train != "nothing" else 0
        kept = channels = 0
        if self.train == "columns":
            for reading, count in zip(self.readings, self.counts, strict=True):
                columns, weights = reading.columns, reading.weights
                trained += sum(sizes[name] // columns * count for name in weights)
                kept, channels = kept + count * reading.groups, channels + columns * reading.groups
        elif self.train == "all":
            trained = sum(sizes.values())
        kind = own_class(self.layer).__name__
        return Row(self.name, kind, trained, sum(sizes.values()), kept, channels, self.detail)


@dataclass(frozen=True)
class Plan:
    """What `wrap` will do; `print` it."""

    choices: tuple[Choice, ...]

    @property
    def rows(self) -> list[Row]:
        """One for every module that has parameters of its own."""
        return [choice.row() for choice in self.choices]

    def __str__(self) -> str:
        header = ("layer", "type", "trained", "of", "kept channels", "how")
        lines = [header, *map(_cells, self.rows), _cells(self._sum())]
        widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if i in (0, 1, 5) else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )

    def _sum(self) -> Row:
        def total(name: str) -> int:
            return sum(getattr(row, name) for row in self.rows)

        return Row(
            "sum", "", total("trained"), total("total"), total("kept"), total("channels"), ""
        )


def _cells(row: Row) -> tuple[str, ...]:
    kept = f"{row.kept} of {row.channels}" if row.channels else ""
    return row.name, row.kind, f"{row.trained:,}", f"{row.total:,}", kept, row.detail


def plan(model: nn.Module, rules: Sequence[Rule]) -> Plan:
    """What the rules mean for this model. Changes nothing.

    Raises:
        ValueError: no rule; one that matches nothing or only layers that cannot be trained so; r larger than a layer.
    """
    if isinstance(rules, Rule) or not rules or not all(isinstance(rule, Rule) for rule in rules):
        raise ValueError("give a list of one or more rules: [Rule(...)]")
    tied = tied_parameters(model)
    foreign = _computed_in_parts(model)
    choices, used = [], dict.fromkeys(range(len(rules)), 0)
    refused: dict[int, list[str]] = {number: [] for number in used}
    inside_attention = {
        id(child)
        for module in model.modules()
        if isinstance(module, nn.MultiheadAttention)
        for child in module.modules()
    }
    for name, layer in model.named_modules():
        if not any(True for _ in layer.parameters(recurse=False)):
            continue
        number = next((n for n, rule in enumerate(rules) if rule.matches(name, layer)), None)
        if number is None:
            nothing = Rule("*", train="nothing")
            choices.append(
                Choice(name, layer, nothing, None, "nothing", False, (), "no rule: frozen")
            )
            continue
        choice = _choose(name, layer, rules[number], tied, foreign, id(layer) in inside_attention)
        choices.append(choice)
        if choice.train != "nothing" or rules[number].train == "nothing":
            used[number] += 1
        else:
            refused[number].append(f"{name or 'the model'}: {choice.detail}")
    for number, count in used.items():
        if not count:
            raise ValueError(_useless(rules, number, refused[number], model))
    return Plan(tuple(choices))


def tied_parameters(model: nn.Module) -> set[int]:
    """Ids of parameters that several layers use."""
    counts = Counter(id(p) for module in model.modules() for p in module.parameters(recurse=False))
    return {parameter for parameter, count in counts.items() if count > 1}


def _computed_in_parts(model: nn.Module) -> set[int]:
    """Ids of parameters that are sharded otherwise than by `fully_shard`, which gathers them for the forward pass."""
    sharded = {id(parameter) for parameter in model.parameters() if is_sharded(parameter)}
    return set() if fully_sharded(model) else sharded


def _useless(rules: Sequence[Rule], number: int, refused: list[str], model: nn.Module) -> str:
    if refused:
        return f"{rules[number]} can train none of the layers it matches. " + "; ".join(refused)
    rule = rules[number]
    if any(rule.matches(name, layer) for name, layer in model.named_modules()):
        return f"{rule} matches only layers without parameters, or that an earlier rule has taken"
    names = ", ".join(n for n, m in model.named_modules() if any(True for _ in m.parameters(False)))
    return f"{rule} matches no layer. Layers with parameters: {names}"


def _choose(
    name: str, layer: nn.Module, rule: Rule, tied: set[int], foreign: set[int], in_attention: bool
) -> Choice:
    def choice(
        train: Training,
        detail: str,
        mixin: type[PartialLayer] | None = None,
        side: bool = False,
        counts: tuple[int, ...] = (),
    ) -> Choice:
        return Choice(name, layer, rule, mixin, train, side, counts, detail)

    if rule.train in ("all", "nothing"):
        return choice(rule.train, "trained in full" if rule.train == "all" else "frozen by a rule")
    mixin = next((kind for kind in _KINDS if isinstance(layer, kind.own_types)), None)
    if mixin is None:
        known = ", ".join(own.__name__ for kind in _KINDS for own in kind.own_types)
        return choice(
            "nothing", f"frozen: unknown layer type {type(layer).__name__} (known: {known})"
        )
    if in_attention:
        return choice("nothing", "frozen: MultiheadAttention reads its weight without calling it")
    own = dict(layer.named_parameters(recurse=False))
    if any(id(parameter) in foreign for parameter in own.values()):
        return choice(
            "nothing",
            "frozen: sharded, but not by fully_shard in this model (tensor parallelism does not work with trained "
            "columns): wrap the whole model, before anything is sharded",
        )
    reason = mixin.refusal(layer)
    if reason is not None and not (rule.train == "bias" and reason.startswith("depthwise")):
        return choice("nothing", f"frozen: {reason}")
    side = rule.side or any(id(p) in tied or is_sharded(p) for p in own.values())
    if rule.train == "bias":
        biased = any(name.startswith("bias") for name in own)
        return choice("bias" if biased else "nothing", "bias" if biased else "no bias", mixin, side)
    counts = tuple(
        rule.count(f"{name}.{reading.weights[0]}".lstrip("."), reading.columns)
        for reading in mixin.readings(layer)
    )
    detail = f"columns {'in a side branch' if side else 'in place'}, {rule.select}"
    return choice("columns", detail, mixin, side=side, counts=counts)
