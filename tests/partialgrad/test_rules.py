"""Rules say clearly what they do and what they cannot do."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from partialgrad import Given, Random, Rule, plan, wrap


class Net(nn.Module):
    """Layers of many kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 6, 3, groups=2)
        self.depthwise = nn.Conv2d(6, 6, 3, groups=6)
        self.norm = nn.BatchNorm2d(6)
        self.out = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def test_the_table() -> None:
    rules = [
        Rule("out.2", train="all"),
        Rule("*", r=2, types=(nn.Linear,)),
        Rule("*", fraction=0.5, bias=True),
    ]
    made = plan(Net(), rules)
    rows = {row.name: row for row in made.rows}
    assert (rows["conv"].trained, rows["conv"].total) == (6 * 2 * 9 + 6, 6 * 4 * 9 + 6)
    assert (rows["conv"].kept, rows["conv"].channels) == (4, 8)
    assert (rows["out.0"].trained, rows["out.2"].trained) == (5 * 2, 5 * 3 + 3)
    assert rows["depthwise"].trained == rows["norm"].trained == 0
    assert "depthwise" in rows["depthwise"].detail
    assert "unknown layer type BatchNorm2d" in rows["norm"].detail
    text = str(made)
    assert text.splitlines()[-1].split()[:2] == ["sum", f"{6 * 18 + 6 + 10 + 18}"]
    assert "4 of 8" in text


def test_the_plan_is_what_happens() -> None:
    net = Net()
    made = wrap(net, [Rule("conv", r=2, bias=True), Rule("depthwise", train="bias")])
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    assert trained == sum(row.trained for row in made.rows) > 0


def test_the_first_matching_rule_holds() -> None:
    rows = plan(Net(), [Rule("out.0", train="nothing"), Rule("out.*", r=1)]).rows
    assert {row.name: row.trained for row in rows if row.trained} == {"out.2": 3}


class Codes(Tensor):
    """What others quantize weights to."""


def coded(precision: torch.dtype, kind: type[Tensor]) -> nn.Linear:
    layer = nn.Linear(4, 4)
    codes = torch.zeros(4, 4, dtype=precision).as_subclass(kind)
    layer.weight = nn.Parameter(codes, requires_grad=False)
    return layer


BAD = [
    (lambda: Rule("*", r=0), "at least one"),
    (lambda: Rule("*", r=2.5), "r=2.5: take a whole number"),  # type: ignore[arg-type]
    (lambda: Rule("*"), "give r, or fraction"),
    (lambda: Rule("*", r=1, fraction=0.5), "give r, or fraction"),
    (lambda: Rule("*", r=1, select=Given({})), "give r, or fraction"),
    (lambda: Rule("*", fraction=1.5), "in \\(0, 1\\]"),
    (lambda: Rule("*", train="some"), "take 'columns'"),  # type: ignore[arg-type]
    (lambda: Rule("*", r=2, train="all"), "only go with"),
    (lambda: plan(Net(), []), "one or more rules"),
    (lambda: plan(Net(), Rule("*", r=1)), "a list of one or more"),  # type: ignore[arg-type]
    (lambda: plan(Net(), ["*"]), "a list of one or more rules"),  # type: ignore[list-item]
    (lambda: Rule("*", r=1, types=[nn.Linear]), "a tuple of layer types"),  # type: ignore[arg-type]
    (lambda: Rule("*", r=1, select="norm"), "another selector"),  # type: ignore[arg-type]
    (lambda: wrap(Net(), [Rule("*", r=1)], ["conv"]), "groups of names"),
    (lambda: plan(nn.LazyLinear(4), [Rule("*", r=1)]), "run the model once"),
    (lambda: plan(nn.Linear(4, 4, device="meta"), [Rule("*", r=1)]), "load the weights first"),
    (lambda: plan(coded(torch.int8, Tensor), [Rule("*", r=1)]), "of torch.int8: .*quantize_base"),
    (lambda: plan(coded(torch.float32, Codes), [Rule("*", r=1)]), "is a Codes of .*quantize_base"),
    (lambda: wrap(Net(), [Rule("out.*", r=1)], [["out.0", "typo"]]), "typo cannot share"),
    (lambda: plan(Net(), [Rule("nowhere", r=1)]), "matches no layer.*conv, depthwise"),
    (lambda: plan(Net(), [Rule("out", r=1)]), "without parameters"),
    (lambda: plan(Net(), [Rule("*", r=1), Rule("conv", r=1)]), "earlier rule"),
    (lambda: plan(Net(), [Rule("depthwise", r=1)]), "depthwise: .*train='bias'"),
    (lambda: plan(Net(), [Rule("norm", r=1)]), "unknown layer type BatchNorm2d .known: Linear"),
    (lambda: plan(Net(), [Rule("conv", r=5)]), "r=5 is more than the 4 columns of conv"),
    (lambda: plan(nn.Conv1d(4, 4, 3, padding_mode="circular"), [Rule("*", r=1)]), "F.pad"),
    (lambda: plan(nn.Conv1d(4, 4, 2, padding="same"), [Rule("*", r=1)]), "F.pad"),
    (lambda: plan(nn.Embedding(4, 4, max_norm=1.0), [Rule("*", r=1)]), "max_norm"),
    (lambda: plan(nn.LSTM(4, 4, proj_size=2), [Rule("*", r=1)]), "proj_size"),
    (
        lambda: plan(parametrizations.weight_norm(nn.Linear(4, 4)), [Rule("*", r=1)]),
        "parametrization",
    ),
    (
        lambda: plan(nn.MultiheadAttention(4, 2), [Rule("out_proj", r=1)]),
        "MultiheadAttention reads its weight",
    ),
    (lambda: plan(nn.Linear(4, 4, bias=False), [Rule("*", train="bias")]), "no bias"),
    (lambda: wrap(nn.Linear(4, 4), [Rule("*", select=Given({"weight": [1, 1]}))]), "distinct"),
    (lambda: wrap(nn.Linear(4, 4), [Rule("*", select=Given({"weight": [4]}))]), "columns 0 to 3"),
    (lambda: wrap(nn.Linear(4, 4), [Rule("*", select=Given({"other": [1]}))]), "no indices given"),
]


@pytest.mark.parametrize(("action", "message"), BAD)
def test_bad_input_says_what_to_do(action: object, message: str) -> None:
    assert callable(action)
    with pytest.raises(ValueError, match=message):
        action()


def test_a_refused_wrap_changes_nothing() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with pytest.raises(ValueError, match="more than the 4 columns"):
        wrap(net, [Rule("0", r=2), Rule("1", r=5)])

    def two_rows(names: object, weights: object, r: int) -> torch.Tensor:
        return torch.zeros(r, dtype=torch.int64)

    with pytest.raises(ValueError, match="distinct"):
        wrap(net, [Rule("0", r=2), Rule("1", r=2, select=two_rows)])
    assert all(parameter.requires_grad for parameter in net.parameters())
    wrap(net, [Rule("*", r=2, select=Random(3))])
