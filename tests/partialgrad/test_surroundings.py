"""What people put around a model goes on working: hooks, checkpointing, autocast, torch.compile."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.exc import Unsupported
from torch.utils.checkpoint import checkpoint

from partialgrad import Rule, freeze_ops, merge, quantize_base, wrap
from partialgrad.layers import PartialLayer, all_columns


def test_hooks_stay() -> None:
    calls = []
    layer = nn.Linear(4, 3)
    layer.register_forward_pre_hook(lambda *a: calls.append("pre"))
    layer.register_forward_hook(lambda *a: calls.append("forward"))
    layer.register_full_backward_hook(lambda *a: calls.append("backward"))
    wrap(layer, [Rule("*", r=2)])
    layer(torch.randn(2, 4, requires_grad=True)).sum().backward()
    assert calls == ["pre", "forward", "backward"]
    assert isinstance(layer, nn.Linear)
    assert isinstance(layer, PartialLayer)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_activation_checkpointing(reentrant: bool, frozen: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(4, 4, 3), nn.ReLU(), nn.Conv1d(4, 2, 3)).double()
    wrap(net, [Rule("*", r=2, bias=True)])
    if frozen:
        freeze_ops(net)
    x = torch.randn(2, 4, 9, dtype=torch.float64, requires_grad=True)
    leaves = [x, *(p for p in net.parameters() if p.requires_grad)]
    net(x).square().sum().backward()
    expected = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    y = checkpoint(net, x, use_reentrant=reentrant)
    assert isinstance(y, Tensor)
    y.square().sum().backward()
    torch.testing.assert_close([leaf.grad for leaf in leaves], expected)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("side", [False, True], ids=["live", "side"])
@pytest.mark.parametrize("frozen", [False, True])
def test_mixed_precision(kind: torch.dtype, side: bool, frozen: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(8, 8, 3), nn.ReLU(), nn.ConvTranspose1d(8, 4, 3), nn.Linear(9, 4))
    reference, x = copy.deepcopy(net), torch.randn(2, 8, 9, requires_grad=True)
    wrap(net, [Rule("*", r=3, side=side)])
    if frozen:
        freeze_ops(net)
    with torch.autocast("cpu", kind):
        y, expected = net(x), reference(x)
        assert y.dtype == kind
    y.float().square().sum().backward()
    dx, x.grad = x.grad, None
    expected.float().square().sum().backward()
    torch.testing.assert_close(x.grad, dx, rtol=0.05, atol=0.05)
    for name, _, columns in all_columns(net):
        full = reference.get_parameter(name).grad
        assert full is not None
        want = full.index_select(columns.dim, columns.indices)
        assert columns.delta.grad is not None
        assert (columns.delta.grad - want).norm() < 0.05 * want.norm()


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_recurrent_in_mixed_precision(kind: type[nn.GRU] | type[nn.LSTM]) -> None:
    torch.manual_seed(0)
    layer = kind(6, 4, bidirectional=True)
    x = torch.randn(5, 3, 6)
    expected, _ = layer(x)
    wrap(layer, [Rule("*", r=2)])
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = layer(x)
    torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.05)
    y.float().sum().backward()


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.filterwarnings("ignore")
def test_compile(backend: str, frozen: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    wrap(net, [Rule("*", r=2)])
    if frozen:
        freeze_ops(net)
    twin = copy.deepcopy(net)
    compiled = torch.compile(net, backend=backend)
    optimizers = [torch.optim.SGD(all_deltas(model), 0.1) for model in (net, twin)]
    for _ in range(3):
        x = torch.randn(2, 4)
        y, expected = compiled(x), twin(x)
        torch.testing.assert_close(y, expected)
        y.square().sum().backward()
        expected.square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert compiled.state_dict()
    torch.testing.assert_close(all_deltas(net), all_deltas(twin))


def all_deltas(net: nn.Module) -> list[nn.Parameter]:
    return [columns.delta for _, _, columns in all_columns(net)]


@pytest.mark.filterwarnings("ignore")
def test_compiling_to_one_graph_is_refused_until_merged() -> None:
    torch.compiler.reset()  # what other tests compiled in pieces would run as it is
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    wrap(net, [Rule("*", r=2)])
    freeze_ops(net)
    x = torch.randn(2, 4)
    with pytest.raises(Unsupported, match=r"leave out fullgraph=True, or call partialgrad\.merge"):
        torch.compile(net, backend="eager", fullgraph=True)(x)
    merge(net)
    torch.testing.assert_close(torch.compile(net, backend="eager", fullgraph=True)(x), net(x))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("kind", ["live", "side", "quantized"])
def test_transformer_encoders_do_not_pass_trained_columns_by(kind: str, padded: bool) -> None:
    """Their fused kernel, in evaluation, would read the weights alone."""
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    net, x = nn.TransformerEncoder(block, 2).eval(), torch.randn(3, 5, 8)
    mask = (torch.arange(5) >= torch.tensor([[5], [3], [4]])) if padded else None
    plain = copy.deepcopy(net)
    wrap(net, [Rule("*.linear*", r=4, side=kind == "side")])
    if kind == "quantized":
        quantize_base(net)
    net(x, src_key_padding_mask=mask).square().sum().backward()
    torch.optim.SGD(all_deltas(net), 0.1).step()
    assert all(delta.abs().sum() > 0 for delta in all_deltas(net))
    with torch.no_grad():
        evaluated = net(x, src_key_padding_mask=mask)
        trained = net.train()(x, src_key_padding_mask=mask)
    real = ~mask if mask is not None else torch.ones(3, 5, dtype=torch.bool)
    torch.testing.assert_close(evaluated[real], trained[real])
    if kind != "quantized":
        merge(net)
        with torch.no_grad():
            fused = net.eval()(x, src_key_padding_mask=mask)
        torch.testing.assert_close(fused[real], trained[real], rtol=1e-4, atol=1e-5)
        assert type(net) is type(plain)


TRANSFORMS: list[Callable[[nn.Module, Tensor], object]] = [
    lambda net, x: torch.func.vmap(net)(x),
    lambda net, x: torch.func.grad(lambda x: net(x).sum())(x),
    lambda net, x: torch.func.jvp(net, (x,), (x,)),
    lambda net, x: torch.func.functional_call(
        net, {name: p.detach().clone() for name, p in net.named_parameters()}, (x,)
    ),
]


@pytest.mark.filterwarnings("ignore:.*jit.script")  # of PyTorch's jvp
@pytest.mark.parametrize("transform", TRANSFORMS, ids=["vmap", "grad", "jvp", "functional_call"])
def test_transforms_of_torch_func_are_refused_until_merged(
    transform: Callable[[nn.Module, Tensor], object],
) -> None:
    net, x = nn.Sequential(nn.Conv1d(4, 4, 3), nn.ReLU()), torch.randn(2, 4, 9)
    wrap(net, [Rule("*", r=2)])
    freeze_ops(net)
    with pytest.raises(ValueError, match=r"torch\.func does not work.*merge"):
        transform(net, x)
    merge(net)
    transform(net, x)
    net.requires_grad_(False)
    transform(net, x)  # frozen operators leave it to PyTorch's own


def test_gradients_of_gradients_are_refused() -> None:
    net, x = nn.Linear(4, 2), torch.randn(3, 4, requires_grad=True)
    wrap(net, [Rule("*", r=2)])
    (gradient,) = torch.autograd.grad(net(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.sum().backward()
