"""Blocks as modules: what `forward` says against the same in plain torch, with values and gradients, names and copies."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import scanlang
from scanlang.backbones.feature import feature_of_map
from scanlang.backbones.parts import BlockModule
from scanlang.diagnostics import ScanError
from scanlang.testing import assert_close

TEXT = """
import std.selective
grid h, w
order middle = insert(raster, cls at middle)

scan two(dim, state = 1, rank = 2) {
  directions raster, reverse(columns)
  recur      selective(state = state, rank = rank)
  project    low, B, C from x
}
scan gated(dim, state = 2, rank = 2) {
  input      x, z
  directions middle, reverse(middle)
  conv       3
  recur      selective(state = state, rank = rank)
  project    low, B, C from x
  merge      (y[0] + y[1]) * silu(z) / 2
}

block mixer(dim, scan core = two) {
  inner    = dim * 2
  in_proj  = linear(dim, 2 * inner, bias = false)
  conv     = depthwise_conv2d(inner, 3)
  op       = core(inner, rank = ceil(dim / 2))
  out_proj = linear(inner, dim)
  forward x = let u, z = split(in_proj(x), 2) in out_proj(op(silu(conv(u))) * sigmoid(z))
}
block vss(dim, scan core = two) {
  norm  = layer_norm(dim)
  mixer = mixer(dim, core)
  ffn   = mlp(dim, 2)
  forward x = let y = x + mixer(norm(x)) in y + ffn(y)
}
block several(dim) { layers = vss(dim) * 2  forward x = layers(x) }
block with_token(dim) {
  fc    = linear(dim, 2 * dim)
  op    = gated(dim)
  forward x = let u, z = split(fc(x), 2) in op(u, z) - x
}
block excite(dim, rate = 4) {
  down = linear(dim, dim / rate)
  up   = linear(dim / rate, dim)
  forward x = x * sigmoid(up(relu(down(mean(cells: x))))) + max(cells: x) / 2
}
block twice(dim) { fc = linear(dim, dim)  forward x = fc(silu(fc(x))) }
block numbers(dim, a = 3, b = 0.25) {
  c = a * b
  forward x = -(x - a) * (b / (1 + c)) + min(a, 7 // 2) + max(x, exp(0)) - min(b, abs(x)) + c % 2
}
block lets(dim) {
  fc = linear(dim, dim)
  forward x = let y = fc(x) in let a, b, c = split(y, 1, dim - 3, 2) in let y2 = concat(c, a, b) in tanh(y2) + softplus(x)
}
block attention(dim) { q = linear(dim, dim)  forward x = softmax(cells: q(x)) * x }
block pyramid(dim) {
  down = conv2d(dim, dim, 3, stride = 2)
  pool = max_pool(2)
  forward x = x + resize(down(x), x) + resize(pool(x), x)
}
block two_maps(dim) { fc = linear(dim, dim)  forward x, z = fc(x) * silu(z) }
block tokens(dim) {
  cls      = token(dim)
  position = position_embedding(dim, 5, 3)
  op       = gated(dim)
  forward x = let y = position(cls(x)) in token(op(y, y), cls) + mean(cells: y)
}
block positions(dim) { position = position_embedding(dim, 5, 3)  forward x = position(x) }
block mean_pool() { forward x = mean(cells: x) }
"""
Body = Callable[[Any, Tensor], Tensor]


@cache
def program() -> scanlang.Program:
    return scanlang.loads(TEXT)


def made(name: str, **given: Any) -> scanlang.Block:
    """In float64, with weights other than they start."""
    torch.manual_seed(3)
    block = scanlang.Block(program(), name, **given).double()
    for parameter in block.parameters():
        nn.init.uniform_(parameter, -1, 1)
    return block


def drawn(channels: int = 4, grid: tuple[int, int] = (5, 3)) -> Tensor:
    torch.manual_seed(4)
    return torch.randn(2, *grid, channels, dtype=torch.float64, requires_grad=True)


def check(block: scanlang.Block, ours: Any, theirs: Any, *leaves: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert_close("the output", ours, theirs, 1e-12)
    wanted = [*leaves, *block.parameters()]
    cotangent = torch.randn_like(theirs)
    gradients = [torch.autograd.grad(made, wanted, cotangent) for made in (ours, theirs)]
    for mine, exactly in zip(*gradients, strict=True):
        assert_close("a gradient", mine, exactly, 1e-10)


def conv(layer: Any, x: Tensor) -> Tensor:
    result: Tensor = layer(x.movedim(-1, 1)).movedim(1, -1)
    return result


def by_mixer(block: Any, x: Tensor) -> Tensor:
    u, z = block.in_proj(x).chunk(2, -1)
    result: Tensor = block.out_proj(block.op(functional.silu(conv(block.conv, u)).contiguous()) * z.sigmoid())
    return result


def by_vss(block: Any, x: Tensor) -> Tensor:
    y = x + by_mixer(block.mixer, block.norm(x))
    result: Tensor = y + block.ffn.fc2(functional.gelu(block.ffn.fc1(y)))
    return result


def by_excite(block: Any, x: Tensor) -> Tensor:
    gate = block.up(block.down(x.mean((1, 2))).relu()).sigmoid()
    return x * gate[:, None, None] + x.amax((1, 2), keepdim=True) / 2


def by_numbers(block: Any, x: Tensor) -> Tensor:
    return -(x - 3) * (0.25 / 1.75) + 3 + x.clamp(min=1) - x.abs().clamp(max=0.25) + 0.75


def by_lets(block: Any, x: Tensor) -> Tensor:
    a, b, c = block.fc(x).split((1, 1, 2), -1)
    return torch.cat((c, a, b), -1).tanh() + functional.softplus(x)


def by_attention(block: Any, x: Tensor) -> Tensor:
    return block.q(x).flatten(1, 2).softmax(1).unflatten(1, x.shape[1:3]) * x


def by_pyramid(block: Any, x: Tensor) -> Tensor:
    def back(image: Tensor) -> Tensor:
        return functional.interpolate(image, x.shape[1:3], mode="bilinear", align_corners=False).movedim(1, -1)

    image = x.movedim(-1, 1)
    return x + back(block.down(image)) + back(functional.max_pool2d(image, 2, ceil_mode=True))


BY_HAND: Mapping[str, Body] = {
    "mixer": by_mixer,
    "vss": by_vss,
    "several": lambda block, x: by_vss(block.layers[1], by_vss(block.layers[0], x)),
    "excite": by_excite,
    "twice": lambda block, x: block.fc(functional.silu(block.fc(x))),
    "numbers": by_numbers,
    "lets": by_lets,
    "attention": by_attention,
    "pyramid": by_pyramid,
    "mean_pool": lambda block, x: x.mean((1, 2)),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_block_is_what_forward_says(name: str) -> None:
    block = made(name, **({} if name == "mean_pool" else {"dim": 4}))
    x = drawn()
    check(block, block(x), BY_HAND[name](_Layers(block), x), x)


class _Layers:
    """The layers of a block, and of a repeat, for a plain function to call."""

    def __init__(self, block: nn.Module) -> None:
        self._block = block

    def __getattr__(self, name: str) -> Any:
        part = getattr(self._block, name)
        return _Layers(part) if isinstance(part, BlockModule) or name == "layers" else part

    def __getitem__(self, number: int) -> Any:
        return _Layers(self._block.get_submodule(str(number)))


@pytest.mark.parametrize("grid", [(1, 1), (1, 6), (7, 2)])
def test_any_grid(grid: tuple[int, int]) -> None:
    block, x = made("vss", dim=4), drawn(grid=grid)
    check(block, block(x), by_vss(_Layers(block), x), x)


def test_no_images() -> None:
    block = made("vss", dim=4)
    assert block(torch.empty(0, 5, 3, 4).double()).shape == (0, 5, 3, 4)


def test_tokens_go_through_a_scan() -> None:
    block = made("with_token", dim=4)
    x, cls = drawn(), torch.randn(2, 1, 4, dtype=torch.float64, requires_grad=True)
    y, token = block(x, cls=cls)
    (u, z), (u_cls, z_cls) = (block.fc(one).chunk(2, -1) for one in (x, cls))
    want, want_token = block.op(u, z, cls=u_cls, z_cls=z_cls)
    check(block, torch.cat((y.flatten(1, 2), token), 1), torch.cat(((want - x).flatten(1, 2), want_token - cls), 1), x, cls)


def test_tokens_of_the_block_itself() -> None:
    block, x = made("tokens", dim=4), drawn()
    assert [name for name, _ in block.named_parameters()][:3] == ["cls.weight", "position.cells", "position.cls"]
    y, cls = x + block.position.cells, (block.cls.weight + block.position.cls).expand(2, 1, 4)
    result, token = block.op(y, y, cls=cls, z_cls=cls)
    del result
    check(block, block(x), token[:, 0] + y.mean((1, 2)), x)


def test_two_maps() -> None:
    block, x, z = made("two_maps", dim=4), drawn(), drawn() + 1
    check(block, block(x, z), block.fc(x) * functional.silu(z), x)
    tokens = torch.randn(2, 1, 4).double(), torch.randn(2, 1, 4).double()
    y, cls = block(x, z, cls=tokens[0], z_cls=tokens[1])
    assert torch.equal(y, block(x, z))
    assert_close("the token", cls, block.fc(tokens[0]) * functional.silu(tokens[1]), 1e-14)


def test_parameters_have_the_names_of_the_text() -> None:
    names = [name for name, _ in scanlang.Block(program(), "several", dim=4).named_parameters()]
    assert names[:8] == [
        *("layers.0.norm.weight", "layers.0.norm.bias", "layers.0.mixer.in_proj.weight", "layers.0.mixer.conv.weight"),
        *("layers.0.mixer.conv.bias", "layers.0.mixer.op.dt_weight", "layers.0.mixer.op.dt_bias", "layers.0.mixer.op.A_log"),
    ]
    assert names[-1] == "layers.1.ffn.fc2.bias"


@pytest.mark.parametrize("again", [copy.deepcopy, lambda block: pickle.loads(pickle.dumps(block))], ids=["copy", "pickle"])
def test_a_copy_computes_the_same_and_is_independent(again: Callable[[scanlang.Block], scanlang.Block]) -> None:
    block, x = made("several", dim=4), drawn()
    other = again(block)
    assert torch.equal(block(x), other(x))
    with torch.no_grad():
        other.layers.get_submodule("0.norm").weight += 1
    assert not torch.equal(block(x), other(x))


def test_another_scan_may_be_given() -> None:
    text = "import std.selective grid a, b scan snakes(dim, state = 1, rank = 1) "
    text += "{ directions snake recur selective(state = state, rank = rank) project low, B, C from x }"
    other = scanlang.loads(text)
    x = drawn().detach()
    for given in (other, (other, "snakes"), other.scans["snakes"]):
        block = made("mixer", dim=4, core=given)
        assert block.op.scan.name == "snakes"
        assert_close("the output", block(x), by_mixer(block, x), 1e-13)
    assert made("mixer", dim=4, core="two").op.scan.name == "two"


def test_values_are_let_go_behind_the_last_step_that_reads_them() -> None:
    steps = made("vss", dim=4)._steps
    alive: set[int] = {0}
    for step in steps.steps:
        assert set(step.takes) <= alive
        alive = (alive | set(step.gives)) - set(step.ended)
    assert alive == {steps.result}


def test_layers_may_be_replaced() -> None:
    """As adapters do: what a block calls is what stands under the name."""

    class Adapted(nn.Module):
        def __init__(self, base: nn.Module) -> None:
            super().__init__()
            self.base = base

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.base(x) * 2
            return result

    block, x = made("mixer", dim=4), drawn()
    block.in_proj = Adapted(block.in_proj)
    block.out_proj = Adapted(block.out_proj)
    assert_close("the output", block(x), by_mixer(block, x), 1e-13)


def test_other_axes() -> None:
    text = """import std.selective grid t, h, w
    scan s(dim) { directions raster, reverse(raster) recur selective(state = 1, rank = 1) project low, B, C from x }
    block b(dim) { norm = layer_norm(dim) op = s(dim) forward x = x + op(norm(x)) }"""
    block = scanlang.Block(scanlang.loads(text), dim=4).double()
    x = torch.randn(2, 3, 2, 4, 4, dtype=torch.float64)
    assert_close("the output", block(x), x + block.op(block.norm(x)), 1e-13)


@pytest.mark.parametrize(
    "code, name, call",
    [
        ("S330", "vss", lambda block: block(drawn(5))),
        ("S331", "mixer", lambda block: block(drawn(), cls=torch.ones(2, 1, 4).double())),
        ("S332", "with_token", lambda block: block(drawn())),
        ("S526", "vss", lambda block: block(drawn()[0])),
        ("S526", "vss", lambda block: block([1.0])),
        ("S526", "vss", lambda block: block(drawn().long())),
        ("S526", "two_maps", lambda block: block(drawn())),
        ("S526", "two_maps", lambda block: block(drawn(), drawn(grid=(3, 5)))),
        ("S526", "with_token", lambda block: block(drawn(), cls=torch.ones(2, 1, 5).double())),
        ("S526", "positions", lambda block: block(drawn(), reg=torch.ones(2, 1, 4).double())),
    ],
)
def test_wrong_calls(code: str, name: str, call: Callable[[scanlang.Block], object]) -> None:
    with pytest.raises(ScanError) as caught:
        call(made(name, dim=4))
    assert caught.value.diagnostics[0].code == code


@pytest.mark.parametrize("given", [{}, {"dim": 4, "dims": 5}, {"dim": "four"}, {"dim": 4, "core": 3}, {"dim": 4, "core": TEXT}])
def test_wrong_values(given: dict[str, Any]) -> None:
    with pytest.raises((ScanError, OSError)):
        scanlang.Block(program(), "vss", **given)


def test_a_block_inside_a_block_takes_features() -> None:
    block = made("vss", dim=4)
    x = feature_of_map(drawn())
    assert_close("the output", BlockModule.forward(block, x).map, block(drawn()), 1e-15)


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in BY_HAND if name != "mean_pool"])
def test_blocks_compile_without_a_break(name: str) -> None:
    block, x = made(name, dim=4), drawn()
    torch._dynamo.reset()
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    check(block, compiled(x), block(x), x)
    torch._dynamo.reset()
