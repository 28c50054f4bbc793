"""What goes through a network: features, scans on their rows, and every layer and function against plain torch."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from module_checks import core_and_call
from torch import Tensor, nn
from torch.nn import functional

from scanlang.backbones import functions
from scanlang.backbones.feature import Feature, Value, feature_of_image, feature_of_map
from scanlang.backbones.layers import call_layer, call_split, module_of
from scanlang.backbones.modules import PositionEmbedding
from scanlang.backbones.parts import TAKES
from scanlang.diagnostics import ScanError
from scanlang.networks.network import Initial, Layer, Number
from scanlang.networks.vocabulary import LAYERS
from scanlang.source import Source, Span
from scanlang.testing import assert_close

HERE = Span(Source("here", ""), 0, 0)
NUMBERS = {"bias": True, "eps": 1e-5, "affine": True}


def made(word: str, weight: Initial | None = None, **numbers: Number) -> nn.Module:
    """A layer of the vocabulary in float64, its weights other than they start."""
    defaults = {formal.name: NUMBERS[formal.name] for formal in LAYERS[word].formals if formal.name in NUMBERS}
    module = module_of(Layer(word, {**defaults, **numbers}, HERE, weight), "cls", 2).double()
    if weight is None:
        for parameter in module.parameters():
            nn.init.uniform_(parameter, -1, 1)
    return module


def drawn(channels: int = 4, grid: tuple[int, int] = (5, 3), tokens: int = 0) -> Feature:
    torch.manual_seed(5)
    cells = torch.randn(2, *grid, channels, dtype=torch.float64)
    own = {"cls": torch.randn(2, tokens, channels, dtype=torch.float64)} if tokens else {}
    feature = feature_of_map(cells, own)
    return feature.with_rows(feature.rows.requires_grad_())


def check(word: str, module: nn.Module, by_hand: Callable[[Tensor], Tensor], x: Feature) -> Feature:
    """A layer against what a function makes of the image `(B, C, H, W)`: values and every gradient."""
    ours = call_layer(TAKES.get(word, "channels"), module, x)
    assert isinstance(ours, Feature)
    theirs = by_hand(x.image)
    assert ours.image.shape == theirs.shape
    assert ours.rows.stride(-1) == 1
    assert_close("the output", ours.image, theirs, 1e-12)
    leaves = [x.rows, *module.parameters()]
    cotangent = torch.randn_like(theirs)
    pairs = (torch.autograd.grad(made, leaves, cotangent) for made in (ours.image, theirs))
    for mine, exactly in zip(*pairs, strict=True):
        assert_close("a gradient", mine, exactly, 1e-11)
    return ours


def test_an_image_and_a_map_are_views_of_the_rows() -> None:
    x = drawn(tokens=2)
    assert x.rows.shape == (2, 5 * 3 + 2, 4)
    assert {view.untyped_storage().data_ptr() for view in (x.map, x.image, x.by_token["cls"])} == {
        x.rows.untyped_storage().data_ptr()
    }
    assert x.without_tokens().image.is_contiguous(memory_format=torch.channels_last) is False  # a slice, not a copy
    assert drawn().image.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_has_its_channels_last(channels: int) -> None:
    image = torch.randn(2, channels, 6, 4)
    feature = feature_of_image(image)
    assert torch.equal(feature.image, image)
    assert torch.equal(feature.rows, image.permute(0, 2, 3, 1).reshape(2, 24, channels))
    assert feature.image.stride() == (24 * channels, 1, 4 * channels, channels)
    last = image.contiguous(memory_format=torch.channels_last)
    assert feature_of_image(last).rows.data_ptr() == last.data_ptr()


def test_tokens_lie_behind_the_cells_in_their_order() -> None:
    x = drawn().with_token("a", torch.ones(2, 1, 4)).with_token("b", torch.zeros(2, 3, 4))
    assert x.tokens == (("a", 1), ("b", 3))
    assert torch.equal(x.by_token["a"], torch.ones(2, 1, 4).double())
    assert torch.equal(x.by_token["b"], torch.zeros(2, 3, 4).double())
    assert torch.equal(x.cell_rows, drawn().rows)


# Scans.

ON_ROWS = ("plain", "pads-conv", "tokens", "tokens-conv", "concat", "mean-of-cells", "split-conv", "twice-conv")


@pytest.mark.parametrize("name", ON_ROWS)
def test_a_scan_on_rows_is_the_scan_of_maps(name: str) -> None:
    core, given = core_and_call(f"module-{name}")
    want = core(**given)
    parts = want if isinstance(want, tuple) else (want,)
    inputs = core.scan.inputs
    tokens = core.op.rows((5, 4)).tokens
    first = [{token: given[token if i == 0 else f"{one}_{token}"] for token, _ in tokens} for i, one in enumerate(inputs)]
    rows = [feature_of_map(given[one], own).rows for one, own in zip(inputs, first, strict=True)]
    got = core.on_rows(rows, (5, 4), tokens)
    assert got.shape[1] == 20 + sum(count for _, count in tokens)
    assert torch.equal(got[:, :20].unflatten(1, (5, 4)), parts[0])
    for token, values in zip(core.op.tokens, parts[1:], strict=True):
        assert torch.equal(Feature(got, (5, 4), tokens).by_token[token], values)


def test_tokens_in_another_order_are_sorted() -> None:
    core, given = core_and_call("module-tokens")
    tokens = core.op.rows((5, 4)).tokens
    other = tuple(reversed(tokens))
    assert len(tokens) > 1
    results = []
    for order in (tokens, other):
        own = [{token: given[f"{name}_{token}" if number else token] for token, _ in order} for number, name in enumerate("xz")]
        rows = [feature_of_map(given[name], one).rows for name, one in zip("xz", own, strict=True)]
        results.append(Feature(core.on_rows(rows, (5, 4), order), (5, 4), order))
    straight, turned = results
    assert torch.equal(straight.map, turned.map)
    assert all(torch.equal(values, turned.by_token[name]) for name, values in straight.by_token.items())


@pytest.mark.parametrize(
    "code, inputs, tokens",
    [
        ("S505", [torch.ones(1, 21, 4)], (("cls", 1),)),
        ("S507", [torch.ones(1, 20, 4)] * 2, ()),
        ("S507", [torch.ones(1, 22, 4)] * 2, (("cls", 2),)),
        ("S502", [torch.ones(1, 20, 4)] * 2, (("cls", 1),)),
        ("S502", [torch.ones(1, 21, 5)] * 2, (("cls", 1),)),
        ("S503", [torch.ones(1, 21, 4, dtype=torch.int64)] * 2, (("cls", 1),)),
        ("S503", [torch.ones(1, 21, 4, dtype=torch.float16)] * 2, (("cls", 1),)),
    ],
)
def test_rows_that_do_not_fit(code: str, inputs: list[Tensor], tokens: tuple[tuple[str, int], ...]) -> None:
    core, _ = core_and_call("module-conv-along")
    with pytest.raises(ScanError) as caught:
        core.float().on_rows(inputs, (5, 4), tokens)
    assert caught.value.diagnostics[0].code == code


def test_what_only_a_caller_gives_is_asked_for() -> None:
    core, _ = core_and_call("module-tokens-given")
    with pytest.raises(ScanError, match="misses `C`"):
        core.on_rows([torch.ones(1, 21, 4).double()], (5, 4), (("cls", 1),))


# Layers.


@pytest.mark.parametrize("bias", [True, False])
def test_convolutions(bias: bool) -> None:
    conv = made("conv2d", **{"in": 4, "out": 6, "kernel": 3, "stride": 2, "padding": 1, "groups": 2, "bias": bias})
    own = conv.bias if bias else None
    check("conv2d", conv, lambda image: functional.conv2d(image, conv.weight, own, 2, 1, groups=2), drawn())
    depthwise = made("depthwise_conv2d", dim=4, kernel=3, stride=1, bias=bias)
    own_bias = depthwise.bias if bias else None
    result = check(
        "depthwise_conv2d",
        depthwise,
        lambda image: functional.conv2d(image, depthwise.weight, own_bias, padding=1, groups=4),
        drawn(),
    )
    assert result.grid == (5, 3)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 7])
def test_a_convolution_along_the_raster(kernel: int) -> None:
    conv = made("depthwise_conv1d", dim=4, kernel=kernel)

    def by_hand(image: Tensor) -> Tensor:
        line = functional.pad(image.flatten(2), (kernel // 2, kernel))
        taps = [line[..., k : k + 15] * conv.weight[:, 0, k, None] for k in range(kernel)]
        return (torch.stack(taps).sum(0) + conv.bias[:, None]).unflatten(2, (5, 3))

    check("depthwise_conv1d", conv, by_hand, drawn())


def test_linear_maps_norms_and_scales_act_on_every_row() -> None:
    x = drawn(tokens=2)
    for module, by_hand in {
        made("linear", **{"in": 4, "out": 3}): lambda m, v: v @ m.weight.T + m.bias,
        made("layer_norm", dim=4, eps=0.1): lambda m, v: (
            (v - v.mean(-1, keepdim=True)) / (v.var(-1, correction=0, keepdim=True) + 0.1).sqrt() * m.weight + m.bias
        ),
        made("rms_norm", dim=4, eps=0.1): lambda m, v: v / (v.square().mean(-1, keepdim=True) + 0.1).sqrt() * m.weight,
        made("scale", dim=4, initial=1.5, bias=False): lambda m, v: v * m.weight,
        made("scale", dim=4, initial=1.5, bias=True): lambda m, v: v * m.weight + m.bias,
        made("scale", dim=1, initial=1.5, bias=False): lambda m, v: v * m.weight[0],
        made("mlp", dim=4, ratio=1.5): lambda m, v: (
            functional.gelu(v @ m.fc1.weight.T + m.fc1.bias) @ m.fc2.weight.T + m.fc2.bias
        ),
        made("identity"): lambda m, v: v,
    }.items():
        ours = call_layer("channels", module, x)
        assert isinstance(ours, Feature)
        assert ours.tokens == x.tokens
        assert_close("the rows", ours.rows, by_hand(module, x.rows), 1e-12)
        vector = call_layer("channels", module, x.rows[:, 3])
        assert isinstance(vector, Tensor)
        assert_close("a vector", vector, by_hand(module, x.rows[:, 3]), 1e-12)


def test_the_first_values_of_scales_and_widths() -> None:
    scale = module_of(Layer("scale", {"dim": 3, "initial": 1e-6, "bias": True}, HERE), "gamma", 2)
    for _ in range(2):
        assert torch.equal(scale.weight, torch.full((3,), 1e-6))
        assert torch.equal(scale.bias, torch.zeros(3))
        nn.init.ones_(scale.weight)
        nn.init.ones_(scale.bias)
        scale.reset_parameters()
    assert [name for name, _ in made("scale", dim=3, initial=1, bias=False).named_parameters()] == ["weight"]
    assert made("mlp", dim=6, ratio=2.7).fc1.out_features == 16
    assert made("layer_norm", dim=4, eps=1e-5, affine=False).weight is None


def test_a_batch_norm_is_over_images_and_cells() -> None:
    norm = made("batch_norm", dim=4, eps=0.1)

    def by_hand(image: Tensor) -> Tensor:
        mean, spread = image.mean((0, 2, 3), keepdim=True), image.var((0, 2, 3), correction=0, keepdim=True)
        return (image - mean) / (spread + 0.1).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]

    check("batch_norm", norm, by_hand, drawn())
    assert {name for name, _ in norm.named_buffers()} == {"running_mean", "running_var", "num_batches_tracked"}


@pytest.mark.parametrize("grid", [(6, 4), (5, 7), (1, 3), (2, 2)])
@pytest.mark.parametrize("kernel, stride", [(2, 2), (3, 2), (3, 3), (3, 1), (2, 3)])
def test_pools_take_what_windows_have(grid: tuple[int, int], kernel: int, stride: int) -> None:
    x = drawn(grid=grid)
    starts = [windows(length, kernel, stride) for length in grid]
    for word, of in {"avg_pool": lambda part: part.mean((2, 3)), "max_pool": lambda part: part.amax((2, 3))}.items():

        def by_hand(image: Tensor, of: Callable[[Tensor], Tensor] = of) -> Tensor:
            rows = [torch.stack([of(image[:, :, r : r + kernel, c : c + kernel]) for c in starts[1]], -1) for r in starts[0]]
            return torch.stack(rows, -2)

        check(word, made(word, kernel=kernel, stride=stride), by_hand, x)


def windows(length: int, kernel: int, stride: int) -> list[int]:
    """Where windows begin: until one reaches the end, none beyond it."""
    starts = [0]
    while starts[-1] + kernel < length and starts[-1] + stride < length:
        starts.append(starts[-1] + stride)
    return starts


@pytest.mark.parametrize("grid", [(4, 6), (5, 3)])
@pytest.mark.parametrize("factor", [2, 3])
def test_space_to_depth_and_back(grid: tuple[int, int], factor: int) -> None:
    def by_hand(image: Tensor) -> Tensor:
        rows, columns = (-(-length // factor) * factor for length in grid)
        padded = functional.pad(image, (0, columns - grid[1], 0, rows - grid[0]))
        parts = [padded[:, :, down::factor, right::factor] for right in range(factor) for down in range(factor)]
        return torch.cat(parts, 1)

    x = drawn(grid=grid)
    deep = check("space_to_depth", made("space_to_depth", factor=factor), by_hand, x)
    back = call_layer("image", made("depth_to_space", factor=factor), deep)
    assert isinstance(back, Feature)
    assert torch.equal(back.map[:, : grid[0], : grid[1]], x.map)
    assert (back.map[:, grid[0] :] == 0).all()
    assert (back.map[:, :, grid[1] :] == 0).all()


def test_a_group_norm_is_over_cells_and_the_channels_of_a_group() -> None:
    norm = made("group_norm", dim=6, groups=2, eps=0.1)

    def by_hand(image: Tensor) -> Tensor:
        groups = image.unflatten(1, (2, 3))
        mean, variance = groups.mean((2, 3, 4), keepdim=True), groups.var((2, 3, 4), correction=0, keepdim=True)
        normed = ((groups - mean) / (variance + 0.1).sqrt()).flatten(1, 2)
        return normed * norm.weight[:, None, None] + norm.bias[:, None, None]

    check("group_norm", norm, by_hand, drawn(channels=6))


@pytest.mark.parametrize("grid", [(5,), (6, 4), (5, 3), (1, 6), (3, 2, 5), (2, 3, 1, 2)])
def test_bands_of_haar(grid: tuple[int, ...]) -> None:
    """Correlations with products of (1, 1) / sqrt(2) and (-1, 1) / sqrt(2), the last axis' factor changing first; and back."""
    x = drawn(grid=grid)
    even = [length + length % 2 for length in grid]
    padded = torch.zeros(2, 4, *even, dtype=torch.float64)
    padded[(slice(None), slice(None), *map(slice, grid))] = x.image
    axes = "".join(chr(ord("a") + axis) for axis in range(len(grid)))
    filters = torch.tensor([[1, 1], [-1, 1]], dtype=torch.float64) / math.sqrt(2)
    windows = padded
    for axis in range(len(grid)):
        windows = windows.unflatten(2 + 2 * axis, (-1, 2))
    places = "".join(axis + axis.upper() for axis in axes)
    bands = ",".join(f"{chr(ord('q') + number)}{axis.upper()}" for number, axis in enumerate(axes))
    made_of = "".join(chr(ord("q") + number) for number in range(len(axes)))
    want = torch.einsum(f"mn{places},{bands}->m{made_of}n{axes}", windows, *([filters] * len(axes))).flatten(1, len(axes) + 1)
    deep = check("haar", made("haar"), lambda image: want, x)
    assert_close("the norm", deep.rows.square().sum(), x.rows.square().sum(), 1e-12)
    back = call_layer("image", made("inverse_haar"), deep)
    assert isinstance(back, Feature)
    assert_close("the map", back.image, padded, 1e-12)


def test_nearest_cells() -> None:
    x, like = drawn(grid=(2, 3)), drawn(grid=(5, 6), tokens=1)
    made_ = functions.nearest(x, like)
    assert made_.grid == (5, 6)
    assert made_.tokens == ()
    rows, columns = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 0, 1, 1, 2, 2])
    assert torch.equal(made_.map, x.map[:, rows][:, :, columns])
    line = functions.nearest(drawn(grid=(3,)), drawn(grid=(6,)))
    assert torch.equal(line.map, drawn(grid=(3,)).map[:, columns])


def test_enlarging_is_bilinear() -> None:
    def by_hand(image: Tensor) -> Tensor:
        return lerped(lerped(image, 2, 10), 3, 6)

    check("upsample", made("upsample", factor=2), by_hand, drawn())
    like = drawn(grid=(4, 7), tokens=1)
    made_ = functions.resize(drawn(), like)
    assert made_.grid == (4, 7)
    assert made_.tokens == ()
    assert_close("the map", made_.image, lerped(lerped(drawn().image, 2, 4), 3, 7), 1e-12)


def lerped(image: Tensor, dim: int, length: int) -> Tensor:
    """Linear between the middles of cells, along one axis."""
    was = image.shape[dim]
    places = ((torch.arange(length).double() + 0.5) * was / length - 0.5).clamp(0, was - 1)
    low = places.floor().long()
    share = (places - low).view(-1, *(1 for _ in range(image.ndim - dim - 1)))
    return image.index_select(dim, low) * (1 - share) + image.index_select(dim, (low + 1).clamp(max=was - 1)) * share


def test_drop_path_drops_whole_images_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop = made("drop_path", rate=0.3)
    x = torch.ones(4000, 3, 2)
    kept = drop(x)[:, 0, 0]
    assert_close("the values", kept.unique(), torch.tensor([0, 1 / 0.7]), 1e-6)
    assert abs((kept > 0).float().mean().item() - 0.7) < 4 * math.sqrt(0.21 / 4000)
    one = drop(x)
    assert torch.equal(one, one[:, :1, :1].expand_as(one))
    assert drop.eval()(x) is x
    assert made("drop_path", rate=0)(x) is x
    assert (made("drop_path", rate=1)(x) == 0).all()


def test_tokens_are_added_under_the_name_of_the_statement() -> None:
    token = made("token", dim=4, count=2)
    x = token(drawn())
    assert x.tokens == (("cls", 2),)
    assert torch.equal(x.by_token["cls"], token.weight.expand(2, 2, 4))


def test_positions_are_added_to_cells_and_tokens() -> None:
    positions = made("position_embedding", dim=4, rows=5, columns=3)
    positions.learn((("cls", 2), ("reg", 1)))
    positions.learn((("cls", 2),))
    assert [name for name, _ in positions.named_parameters()] == ["cells", "cls", "reg"]
    x = drawn(tokens=2)
    made_ = positions(x)
    assert_close("the cells", made_.map, x.map + positions.cells, 1e-15)
    assert_close("the tokens", made_.by_token["cls"], x.by_token["cls"] + positions.cls, 1e-15)


def test_positions_of_another_grid_are_bicubic() -> None:
    positions = made("position_embedding", dim=1, rows=5, columns=6)
    x = Feature(torch.zeros(1, 20 * 18, 1).double(), (20, 18))
    got = positions(x).map[0, :, :, 0]
    want = bicubic(bicubic(positions.cells[..., 0].detach(), 20).T, 18).T
    assert_close("the positions", got, want, 1e-6)
    positions.resize(20, 18)
    assert torch.equal(positions(x).map[0, :, :, 0], got)
    assert positions.cells.requires_grad


def bicubic(values: Tensor, length: int) -> Tensor:
    """Along the first axis: Keys' kernel with a = -3/4 between the middles of cells, ends repeated."""
    was, a = len(values), -0.75
    places = (torch.arange(length).double() + 0.5) * was / length - 0.5
    total = torch.zeros(length, *values.shape[1:], dtype=torch.float64)
    for offset in (-1, 0, 1, 2):
        cell = places.floor() + offset
        far = (places - cell).abs()
        near = (a + 2) * far**3 - (a + 3) * far**2 + 1
        outer = a * far**3 - 5 * a * far**2 + 8 * a * far - 4 * a
        weight = torch.where(far <= 1, near, outer)
        total += weight[:, None] * values[cell.long().clamp(0, was - 1)]
    return total


@pytest.mark.parametrize(
    "initial, spread, most",
    [
        (Initial("truncated_normal", 0.02), 0.02, 2.0),
        (Initial("truncated_normal", 2.0), 1.08, 2.0),
        (Initial("normal", 0.5), 0.5, 9.0),
        (Initial("uniform", 0.3), 0.3 / math.sqrt(3), 0.3),
        (Initial("constant", 0.25), 0.0, 0.25),
    ],
)
def test_first_weights(initial: Initial, spread: float, most: float) -> None:
    torch.manual_seed(1)
    for module in (
        made("linear", initial, **{"in": 100, "out": 80}),
        made("depthwise_conv2d", initial, dim=500, kernel=3, stride=1),
        made("mlp", initial, dim=40, ratio=2).fc2,
    ):
        assert abs(module.weight.std().item() - spread) <= 0.05 * spread + 1e-9
        assert module.weight.abs().max() <= most + 1e-9
        assert (module.bias == 0).all()
    cells = made("position_embedding", initial, dim=50, rows=9, columns=9).cells
    assert abs(cells.std().item() - spread) <= 0.05 * spread + 1e-9


def test_positions_and_tokens_start_small() -> None:
    torch.manual_seed(1)
    positions = PositionEmbedding(50, 9, 9)
    positions.learn((("cls", 80),))
    token = module_of(Layer("token", {"dim": 50, "count": 80}, HERE), "cls", 2)
    for values in (positions.cells, positions.cls, token.weight):
        assert isinstance(values, Tensor)
        assert abs(values.std().item() - 0.02) < 0.001


def test_norms_are_in_float32_under_autocast() -> None:
    x = torch.randn(2, 5, 4)
    for module in (nn.LayerNorm(4), module_of(Layer("layer_norm", {"dim": 4, **NUMBERS}, HERE), "n", 2)):
        assert module(x).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        for word in ("layer_norm", "rms_norm"):
            module = module_of(Layer(word, {"dim": 4, **NUMBERS}, HERE), "n", 2)
            low = module(x.bfloat16())
            assert low.dtype == torch.float32
            assert torch.equal(low, module(x.bfloat16().float()))
        bare = module_of(Layer("layer_norm", {"dim": 4, "eps": 1e-5, "affine": False}, HERE), "n", 2)
        assert bare(x.bfloat16()).dtype == torch.float32


# Functions.


def test_functions_of_values() -> None:
    x, y = drawn(tokens=1), drawn(tokens=1).with_rows(drawn(tokens=1).rows * 2 - 1)
    vector = torch.randn(2, 4, dtype=torch.float64)
    for sign, function in {"+": torch.add, "-": torch.sub, "*": torch.mul, "/": torch.div}.items():
        for left, right in ((x, y), (x, vector), (vector, x), (x, 2.5), (2.5, x), (vector, vector), (vector, 3.0)):
            ours = functions.OPERATORS[sign](left, right)
            theirs = function(rows_of(left), rows_of(right))
            got = ours.rows if isinstance(ours, Feature) else ours
            assert isinstance(got, Tensor)
            assert_close(f"{left} {sign} {right}", got, theirs.reshape(got.shape), 1e-15)
    for name, function in {"min": torch.minimum, "max": torch.maximum}.items():
        for left, right in ((x, y), (x, 0.5), (0.5, x)):
            ours = functions.OF_TWO[name](left, right)
            assert isinstance(ours, Feature)
            assert torch.equal(ours.rows, function(rows_of(left), rows_of(right)))
    assert (functions.OF_TWO["min"](2.0, 3.0), functions.OF_TWO["max"](2.0, 3.0)) == (2.0, 3.0)


def rows_of(value: Value) -> Tensor:
    if isinstance(value, Feature):
        return value.rows
    return value[:, None] if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)


def test_functions_over_cells_leave_tokens_out() -> None:
    x = drawn(tokens=2)
    flat = x.map.flatten(1, 2)
    assert_close("the mean", functions.mean_of_cells(x), flat.mean(1), 1e-15)
    assert_close("the maximum", functions.max_of_cells(x), flat.amax(1), 1e-15)
    assert_close("the softmax", functions.softmax_over_cells(x).map.flatten(1, 2), flat.exp() / flat.exp().sum(1, True), 1e-12)
    assert_close("the token", functions.token(x, "cls"), x.by_token["cls"].mean(1), 1e-15)
    assert torch.equal(functions.token(drawn(tokens=1), "cls"), drawn(tokens=1).rows[:, -1])
    assert functions.cells(x).tokens == ()
    assert torch.equal(functions.cells(x).map, x.map)


@pytest.mark.parametrize("parts", [(2,), (3, 1), (1, 1, 2)])
def test_a_split_of_a_linear_map_is_several(parts: tuple[int, ...]) -> None:
    x, linear = drawn(3, tokens=1), made("linear", **{"in": 3, "out": 4})
    ours = call_split(linear, x, parts)
    theirs = functions.split(call_layer("channels", linear, x), parts)
    for mine, other in zip(ours, theirs, strict=True):
        assert isinstance(mine, Feature)
        assert isinstance(other, Feature)
        assert mine.rows.is_contiguous()
        assert_close("a part", mine.rows, other.rows, 1e-13)
    joined = functions.concat(*ours)
    assert isinstance(joined, Feature)
    assert_close("the parts together", joined.rows, linear(x.rows), 1e-13)
    seen: list[Tensor] = []
    linear.register_forward_hook(lambda module, given, result: seen.append(result))
    assert len(call_split(linear, x, parts)) == len(ours)
    assert len(seen) == 1
