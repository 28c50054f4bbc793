"""`Scan2d`: its parameters as the program says them, its projections, and its mistakes."""

from __future__ import annotations

import copy
import io
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from module_checks import check_module, core_and_call, made_and_call
from operator_checks import operator, program, through
from operator_programs import EXAMPLES, FILES, MODULE_TEXTS
from torch import Tensor

import scanlang
from scanlang.codegen.executable import Saved
from scanlang.codegen.kernel import TIME
from scanlang.codegen.module_sizes import formal_sizes, index_sizes
from scanlang.codegen.run_torch import TorchScan
from scanlang.testing import assert_close, grids, programs, reference
from scanlang.testing.tensors import fewest_channels


def core_of(clauses: str, channels: int = 6, **sizes: int) -> scanlang.Scan2d:
    recur = "recur selective(state = state, rank = rank)"
    text = f"import std.selective grid h, w scan s(dim, state = 2, rank = 3) {{ {recur} {clauses} }}"
    return scanlang.Scan2d(scanlang.loads(text), channels=channels, **sizes)


@pytest.mark.parametrize("name", FILES)
def test_shapes(name: str) -> None:
    core = scanlang.Scan2d(str(EXAMPLES / FILES[name]), channels=32)
    inputs = [torch.randn(2, 5, 7, 32) for _ in core.scan.inputs]
    result = core(*inputs)
    assert result.shape == (2, 5, 7, 32)
    result.sum().backward()
    assert all(parameter.grad is not None for parameter in core.parameters())


def test_parameters_have_the_recurrence_s_names_and_shapes() -> None:
    core = core_of("directions raster, columns, snake project low, B, C from x share A_log, D")
    shapes = {name: tuple(parameter.shape) for name, parameter in core.named_parameters()}
    assert shapes == {
        "dt_weight": (3, 6, 3),
        "dt_bias": (3, 6),
        "A_log": (6, 2),
        "D": (6,),
        "project_weight": (3, 3 + 2 + 2, 6),
    }


def test_initial_values_are_those_of_the_program() -> None:
    torch.manual_seed(0)
    core = core_of("directions raster, columns project low, B, C from x", channels=2048, state=5)
    expected = torch.log(torch.arange(5) + 1.0).expand(2, 2048, 5)
    torch.testing.assert_close(core.A_log.detach(), expected)
    assert (core.D == 1).all()
    steps = torch.nn.functional.softplus(core.dt_bias.detach().double())
    assert 1e-3 * 0.999 <= steps.min() < 1.1e-3
    assert 0.09 < steps.max() <= 1e-1 * 1.001
    # log-uniform: the logarithm has the mean and the deviation of a uniform number
    low, high = math.log(1e-3), math.log(1e-1)
    assert abs(steps.log().mean().item() - (low + high) / 2) < 0.1
    assert abs(steps.log().std().item() - (high - low) / math.sqrt(12)) < 0.05
    bound = 1 / math.sqrt(3)
    assert bound * 0.99 < core.dt_weight.abs().max() <= bound
    assert abs(core.dt_weight.mean().item()) < 0.01


@pytest.mark.parametrize(
    "expression, low, high, mean",
    [
        ("uniform(1, 4)", 1, 4, 2.5),
        ("normal(3, 0.5)", 0, 6, 3.0),
        ("2 * n + 0.5", 0.5, 2.5, 1.5),
        ("-exp(0) / 4 + sqrt(4)", 1.75, 1.75, 1.75),
        ("min(n, 0.25) + max(1, 2)", 2, 2.25, 2.125),
    ],
)
def test_initial_expressions(expression: str, low: float, high: float, mean: float) -> None:
    text = f"""grid h, w recurrence r(state n) {{ input x param p[n] = {expression}
    h[n] = sigmoid(p[n]) * h[n] + x  y = sum(n: h[n]) }} scan s(dim) {{ directions raster recur r(state = 2) }}"""
    torch.manual_seed(1)
    values = scanlang.Scan2d(scanlang.loads(text), channels=4000).p.detach()
    assert values.shape == (1, 4000, 2)
    assert low - 1e-6 <= values.min()
    assert values.max() <= high + 1e-6
    assert abs(values.mean().item() - mean) < 0.05


def test_the_seed_decides_the_values() -> None:
    made = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        made.append(core_of("directions raster project low, B, C from x").state_dict())
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])
    assert not torch.equal(made[0]["dt_bias"], made[2]["dt_bias"])


@pytest.mark.parametrize("bias", ["", " bias"], ids=["plain", "bias"])
@pytest.mark.parametrize("share", ["nothing", "project", "all"])
def test_projections_are_linear_maps_in_the_listed_order(bias: str, share: str) -> None:
    core = core_of(f"directions raster, reverse(columns) project low, B, C from x{bias} share {share}").double()
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    weight = core.project_weight if core.project_weight.ndim == 3 else core.project_weight.expand(2, 7, 6)
    rows = torch.einsum("bhwc,krc->bhwkr", x, weight)
    if bias:
        rows = rows + core.project_bias
    low, b, c = rows.split((3, 2, 2), -1)
    params = {name: parameter for name, parameter in core.named_parameters() if not name.startswith("project")}
    assert_close("the output", core(x), core.op(x=x, low=low, B=b, C=c, **params), 1e-12)
    weights = dict(core.named_parameters())
    expected = reference(scanlang.loads(text_of(share, bias)), None, x=x, **weights)
    assert_close("the output", core(x), expected, 1e-10)
    cotangent = torch.randn(expected.shape, dtype=torch.float64)
    ours = torch.autograd.grad(core(x), list(weights.values()), cotangent)
    theirs = torch.autograd.grad(expected, list(weights.values()), cotangent)
    for name, mine, exactly in zip(weights, ours, theirs, strict=True):
        assert_close(f"the gradient of {name}", mine, exactly, 1e-9)


def text_of(share: str, bias: str) -> str:
    return f"""import std.selective grid h, w scan s(dim, state = 2, rank = 3) {{ recur selective(state = state, rank = rank)
    directions raster, reverse(columns) project low, B, C from x{bias} share {share} }}"""


def test_several_projections_and_projected_channels() -> None:
    core = scanlang.Scan2d(program("projected-all"), channels=5).double()
    shapes = {name: tuple(parameter.shape) for name, parameter in core.named_parameters()}
    assert shapes == {
        "lam": (2, 5, 3),
        "project_weight": (2, 5, 5),
        "project_bias": (2, 5),
        "project_1_weight": (2, 3 + 5 + 3, 5),
    }
    maps = {name: torch.randn(1, 3, 4, 5, dtype=torch.float64) for name in ("u", "z")}
    expected = reference(program("projected-all"), None, **maps, **dict(core.named_parameters()))
    assert_close("the output", core(maps["u"], maps["z"]), expected, 1e-10)
    assert_close("the output", core(z=maps["z"], u=maps["u"]), expected, 1e-10)


@pytest.mark.parametrize("name", MODULE_TEXTS)
def test_modules_match_the_reference(name: str) -> None:
    check_module(program(name), *core_and_call(name))


@settings(max_examples=8)
@drawn(programs(), grids(3), st.integers(1, 2))
def test_random_modules(text: str, grid: tuple[int, int], unit: int) -> None:
    check_random_module(text, grid, unit)


@pytest.mark.long
@settings(max_examples=100)
@drawn(programs(), grids(6), st.integers(1, 3))
def test_many_random_modules(text: str, grid: tuple[int, int], unit: int) -> None:
    check_random_module(text, grid, unit)


def check_random_module(text: str, grid: tuple[int, int], unit: int) -> None:
    loaded = scanlang.loads(text)
    scan = loaded.checked.scans[loaded.scan_name(None)]
    defaults = {formal.label for formal in scan.formals if formal.default is not None}
    sizes = {formal.label: 2 for formal in scan.formals[1:] if formal.label not in defaults}
    known = index_sizes(scan, formal_sizes(scan, 1, sizes))
    channels = unit * fewest_channels(scanlang.compile(loaded), known)
    check_module(loaded, *made_and_call(loaded, grid, channels, **sizes))


@pytest.mark.parametrize("name", ["conv-along", "split-conv", "pads-conv", "tokens", "given", "mean-of-cells"])
def test_modules_compile_without_a_break(name: str) -> None:
    core, given = core_and_call(f"module-{name}")
    torch._dynamo.reset()
    compiled = torch.compile(core, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(**given), core(**given))
    torch._dynamo.reset()


class Careless(TorchScan):
    """Leaves NaN in the pads that nobody visits, as an executable may."""

    def forward(self, arrays: Any, grid: Any, *rest: Any) -> tuple[Tensor, Saved]:
        result, saved = super().forward(arrays, grid, *rest)
        self.spoil(result, grid, self.kernels.output_route, self.kernels.stacked)
        return result, saved

    def backward(self, gradient: Tensor, saved: Saved, arrays: Any, grid: Any, *rest: Any) -> dict[str, Tensor]:
        found = super().backward(gradient, saved, arrays, grid, *rest)
        for stream in self.kernels.streams:
            if stream.route != TIME:
                self.spoil(found[stream.name], grid, stream.route, stream.per_direction or stream.uniform)
        return found

    def spoil(self, array: Tensor, grid: Any, route: int, own: bool) -> None:
        """`own`: every direction has a map of its own; else its own channels of one, or of their units."""
        visits, entries = self.traversal.at(grid), self.kernels.channels(array.shape[2])
        common = not own and self.kernels.split is None
        everywhere = np.concatenate(visits.tables[route])
        for k, rows in enumerate(visits.tables[route]):
            part = array[:, :, k] if own else array[:, :, entries[k][0] : sum(entries[k])]
            unvisited = np.setdiff1d(np.arange(visits.rows - visits.pads, visits.rows), everywhere if common else rows)
            part[:, unvisited] = math.nan


@pytest.mark.parametrize("name", [name for name in MODULE_TEXTS if "pads" in name or "twice" in name or "split-conv" in name])
def test_what_is_left_in_pads_reaches_nothing(name: str) -> None:
    core, given = core_and_call(name)
    core.op = through(Careless, core.op)
    check_module(program(name), core, given)


def test_what_is_not_projected_is_given_by_name() -> None:
    core = core_of("directions raster, columns project low from x").double()
    x = torch.randn(1, 3, 4, 6, dtype=torch.float64)
    shared = {name: torch.randn(1, 3, 4, 2, 2, dtype=torch.float64) for name in ("B", "C")}
    expected = reference(
        scanlang.loads(
            "import std.selective grid h, w scan s(dim) { recur selective(state = 2, rank = 3) "
            "directions raster, columns project low from x }"
        ),
        None, x=x, **shared, **dict(core.named_parameters()),
    )  # fmt: skip
    assert_close("the output", core(x, **shared), expected, 1e-10)


def test_state_dict_round_trip() -> None:
    first, second = (scanlang.Scan2d(program("cross"), channels=16) for _ in range(2))
    x = torch.randn(1, 3, 4, 16)
    assert not torch.equal(first(x), second(x))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(first(x), second(x))


def test_a_copy_is_independent() -> None:
    core = scanlang.Scan2d(program("cross"), channels=16)
    other = copy.deepcopy(core)
    x = torch.randn(1, 3, 4, 16)
    assert torch.equal(core(x), other(x))
    with torch.no_grad():
        other.D += 1
    assert not torch.equal(core(x), other(x))


def test_a_module_can_be_pickled() -> None:
    core = scanlang.Scan2d(program("merge-z"), channels=4)
    arguments = {
        argument.name: torch.randn(
            [{"B": 1, "H": 3, "W": 4, "K": 3, "C": 4}[d] if isinstance(d, str) else 2 for d in argument.dimensions]
        )
        for argument in core.op.signature.arguments
        if argument.kind != "param"
    }
    other = pickle.loads(pickle.dumps(core))
    assert torch.equal(core(**arguments), other(**arguments))


def test_a_module_can_be_cast() -> None:
    core = scanlang.Scan2d(program("cross"), channels=16)
    x = torch.randn(1, 3, 4, 16)
    wide = copy.deepcopy(core).double()(x.double())
    assert wide.dtype == torch.float64
    assert_close("in float32", core(x), wide, 1e-5)
    assert core.bfloat16()(x.bfloat16()).dtype == torch.bfloat16


def test_under_autocast_and_torch_compile() -> None:
    core = scanlang.Scan2d(program("cross"), channels=16)
    x = torch.randn(1, 3, 4, 16)
    plain = core(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert_close("under autocast", core(x), plain, 3e-2)
    torch._dynamo.reset()
    compiled = torch.compile(core, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), plain)
    compiled(x).sum().backward()
    assert all(parameter.grad is not None for parameter in core.parameters())


def test_sizes_are_the_program_s_or_given() -> None:
    assert scanlang.Scan2d(program("cross"), channels=96).dt_weight.shape == (4, 96, 6)  # ceil(dim / 16)
    assert scanlang.Scan2d(program("cross"), channels=8, rank=3).dt_weight.shape == (4, 8, 3)
    assert scanlang.Scan2d(program("bidirectional"), channels=8).A_log.shape == (2, 8, 16)


def test_it_says_what_it_is() -> None:
    text = repr(scanlang.Scan2d(program("cross"), channels=96))
    assert "cross" in text
    assert "dim=96" in text
    assert "4 directions" in text


def test_it_shares_the_operator_s_arguments() -> None:
    core = scanlang.Scan2d(program("cross"), channels=16)
    assert core.op.arguments == operator("cross").arguments


@pytest.mark.parametrize(
    "build, words",
    [
        (lambda: scanlang.Scan2d(program("cross"), "crosss", 8), "no scan `crosss`"),
        (lambda: scanlang.Scan2d(program("cross"), channels=8, ranks=3), "`ranks`"),
        (lambda: scanlang.Scan2d(program("cross")), "`dim`"),
        (lambda: scanlang.Scan2d(program("cross"), channels=0), "at least 1"),
        (lambda: scanlang.Scan2d(program("cross"), channels=8, rank=-1), "at least 1"),
    ],
)
def test_mistakes_when_it_is_made(build: object, words: str) -> None:
    with pytest.raises(scanlang.ScanError) as caught:
        build()  # type: ignore[operator]
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "inputs, keywords, words",
    [
        (((1, 3, 4, 7),), {}, "argument `x` has shape (1, 3, 4, 7)"),
        (((3, 4, 6),), {}, "argument `x` has shape (3, 4, 6)"),
        (((1, 3, 4, 6), (1, 3, 4, 6)), {}, "takes 1 argument without a name, not 2"),
        ((), {}, "misses `x`"),
        (((1, 3, 4, 6),), {"z": (1, 3, 4, 6)}, "does not know `z`"),
        (((1, 3, 4, 6),), {"A_log": (1, 6, 2)}, "`A_log`"),
        (((1, 3, 4, 6),), {"B": (1, 3, 4, 1, 2)}, "`B`"),
    ],
)
def test_mistakes_at_the_call(inputs: tuple[tuple[int, ...], ...], keywords: dict[str, tuple[int, ...]], words: str) -> None:
    core = core_of("directions raster project low, B, C from x")
    with pytest.raises(scanlang.ScanError) as caught:
        core(*(torch.zeros(shape) for shape in inputs), **{name: torch.zeros(s) for name, s in keywords.items()})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "name, shapes",
    [
        ("split", {"dt_weight": (8, 2), "A_log": (8, 2), "D": (8,), "project_weight": (6, 8), "project_bias": (3, 6)}),
        ("split-shared", {"dt_weight": (4, 2), "A_log": (4, 2), "D": (4,), "project_weight": (6, 4), "project_bias": (6,)}),
        ("split-conv", {"conv_weight": (4, 3), "conv_bias": (4,), "project_weight": (6, 8)}),
        ("conv", {"conv_weight": (2, 8, 3), "conv_bias": (2, 8), "project_weight": (2, 6, 8), "project_bias": (2, 6)}),
        ("conv-shared", {"conv_weight": (8, 3), "conv_bias": (8,), "project_weight": (6, 8)}),
        ("weighted", {"merge_weight": (2,)}),
        ("labels", {"a": (2, 8, 2), "dB": (2, 6, 2), "T": (2, 2), "G": (2,)}),
        ("mean-of-cells", {"g.weight": (8, 8), "g.bias": (8,), "n.weight": (8,), "n.bias": (8,), "r.weight": (8,)}),
    ],
)
def test_shapes_beyond_those_of_the_recurrence(name: str, shapes: dict[str, tuple[int, ...]]) -> None:
    core = scanlang.Scan2d(program(f"module-{name}"), channels=8)
    found = {key: tuple(parameter.shape) for key, parameter in core.named_parameters()}
    assert shapes.items() <= found.items()


def test_initial_values_of_what_clauses_bring() -> None:
    core = core_of("directions raster, columns conv 4 project low, B, C from x merge weighted", channels=1000)
    assert (core.merge_weight == 0).all()
    for value in (core.conv_weight, core.conv_bias):
        assert 0.49 < value.abs().max() <= 0.5
        assert abs(value.mean().item()) < 0.02
    uneven = core_of("directions raster, columns channels split 3, 1 project low, B, C from x bias", channels=1600)
    first, second = uneven.project_weight.split((1200, 400), 1)
    for part, bias, bound in zip((first, second), uneven.project_bias, (1200**-0.5, 400**-0.5), strict=True):
        assert 0.99 * bound < part.abs().max() <= bound
        assert bias.abs().max() <= bound
    torch.manual_seed(0)
    labelled = scanlang.Scan2d(program("module-labels"), channels=2)
    assert labelled.dB.std() > 0.5
    assert (labelled.G == 0).all()


def test_layers_are_torch_s_own() -> None:
    core = scanlang.Scan2d(program("module-mean-of-cells"), channels=8)
    kinds = {name: type(layer) for name, layer in core.named_children()}
    assert kinds == {"g": torch.nn.Linear, "n": torch.nn.LayerNorm, "r": torch.nn.RMSNorm}
    half = core_of(
        "directions raster use down = linear(dim, dim // 2, bias = false) use up = linear(dim // 2, dim) merge up(down(y[0]))"
    )
    assert [name for name, _ in half.down.named_parameters()] == ["weight"]
    assert (tuple(half.down.weight.shape), tuple(half.up.weight.shape)) == ((3, 6), (6, 3))


@pytest.mark.parametrize("name", ["conv-along", "twice-conv", "given", "mean-of-cells", "tokens"])
def test_copies_and_pickles_of_any_module(name: str) -> None:
    core, given = core_and_call(f"module-{name}")
    expected = core(**given)
    for other in (copy.deepcopy(core), pickle.loads(pickle.dumps(core))):
        torch.testing.assert_close(other(**given), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["conv", "split-conv", "tokens-conv", "mean-of-cells"])
def test_any_module_under_autocast_and_in_bfloat16(name: str) -> None:
    core, given = core_and_call(f"module-{name}")
    exact = core(**given)
    core, single = core.float(), {key: value.float() for key, value in given.items()}
    with torch.autocast("cpu", torch.bfloat16):
        mixed = core(**single)
    narrow = core.bfloat16()(**{key: value.bfloat16() for key, value in single.items()})
    for made in (mixed, narrow):
        parts = zip(*(one if isinstance(one, tuple) else (one,) for one in (made, exact)), strict=True)
        for part, exactly in parts:
            assert_close("the output", part.double(), exactly.detach(), 5e-2)
    assert (narrow[0] if isinstance(narrow, tuple) else narrow).dtype == torch.bfloat16


def test_no_tokens_and_no_pads_mean_no_copy() -> None:
    core = core_of("directions raster, columns")
    x = torch.randn(1, 3, 4, 6)
    seen: list[Tensor] = []
    op, eager = core.op, core.op.eager
    op.eager = lambda *tensors, **options: seen.extend(tensors) or eager(*tensors, **options)
    try:
        core(x, **{name: torch.randn(1, 3, 4, 2, size) for name, size in {"low": 3, "B": 2, "C": 2}.items()})
    finally:
        op.eager = eager
    assert seen[0].data_ptr() == x.data_ptr()


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"cls": None}, "misses `cls`"),
        ({"cls": torch.zeros(2, 1, 4)}, "argument `cls` has 1 token"),
        ({"cls": torch.zeros(2, 2, 5)}, "C = 4, as the module has"),
        ({"z": torch.zeros(2, 5, 4, 5)}, "C = 4, as the module has"),
        ({"B_cls": torch.zeros(2, 2, 3, 2)}, "does not know `B_cls`"),
    ],
)
def test_mistakes_with_tokens(changed: dict[str, Tensor | None], words: str) -> None:
    core, given = core_and_call("module-tokens")
    changed = {name: value if value is None else value.double() for name, value in changed.items()}
    with pytest.raises(scanlang.ScanError) as caught:
        core(**{name: value for name, value in {**given, **changed}.items() if value is not None})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "build, words",
    [
        (lambda: core_of("layers list raster, snake", layer=2), "has no layer 2"),
        (lambda: core_of("layers list raster, snake", layer="1"), "has no layer '1'"),
        (lambda: core_of("directions raster, snake channels split 1, 4"), "6 channels do not split 1 : 4"),
        (lambda: core_of("directions raster use state_dict = linear(dim, dim) merge state_dict(y[0])"), "may not be named"),
        (
            lambda: core_of("directions raster use g = linear(dim, dim // 7) use u = linear(dim // 7, dim) merge u(g(y[0]))"),
            "not a size",
        ),
        (lambda: core_of("directions raster use g = linear(8, dim) merge g(y[0])"), "takes 8 and is given 6"),
    ],
)
def test_mistakes_of_layers_and_channels(build: object, words: str) -> None:
    with pytest.raises(scanlang.ScanError) as caught:
        build()  # type: ignore[operator]
    assert words in str(caught.value)


@pytest.mark.parametrize("axes, shape", [("l", (9,)), ("t, h, w", (2, 3, 4)), ("s, t, h, w", (2, 2, 3, 2))])
def test_modules_on_grids_of_any_number_of_axes(axes: str, shape: tuple[int, ...]) -> None:
    text = f"""import std.selective grid {axes} order way = insert(raster, cls at middle)
    scan s(dim) {{ directions way, reverse(way) conv 2 recur selective(state = 2, rank = 2) project low, B, C from x bias }}"""
    core = scanlang.Scan2d(scanlang.loads(text), channels=4).double()
    x, cls = torch.randn(2, *shape, 4, dtype=torch.float64), torch.randn(2, 1, 4, dtype=torch.float64)
    expected = reference(scanlang.loads(text), None, x=x, cls=cls, **dict(core.named_parameters()))
    for part, exactly in zip(core(x, cls=cls), expected, strict=True):
        assert_close("the output", part, exactly, 1e-11)
    with pytest.raises(scanlang.ScanError, match="must be"):
        core(x[0], cls=cls)
