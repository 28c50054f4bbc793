"""The derived adjoint: evaluated numerically it gives the gradients that torch finds, and stays finite for large arguments."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_checks import operator, program
from torch import Tensor
from torch.nn import functional

import scanlang
from scanlang.check.expressions import MATHEMATICS
from scanlang.graph.adjoint import adjoint
from scanlang.graph.scan_graph import ScanGraph
from scanlang.graph.step import AdjointStep, Assign, Operand, Step, Update, carry_of, gradient_of, total_of
from scanlang.graph.step_rewrites import convolve, restart, weigh
from scanlang.graph.values import (
    COMPARISONS,
    DERIVATIVES,
    Apply,
    Constant,
    IndexValue,
    Previous,
    Read,
    Total,
    Value,
    rename_indices,
    show,
)
from scanlang.testing import assert_close, assert_matches_reference, draw_inputs, draw_states, recurrences, reference
from scanlang.testing.recurrence_strategies import RandomRecurrence, random_recurrences
from scanlang.testing.tensors import fewest_channels

FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "neg": torch.neg, "exp": torch.exp,
    "expm1": torch.expm1, "log": torch.log, "log1p": torch.log1p, "logaddexp": torch.logaddexp, "sqrt": torch.sqrt,
    "tanh": torch.tanh, "abs": torch.abs, "erf": torch.erf, "relu": torch.relu, "sigmoid": torch.sigmoid,
    "silu": functional.silu, "gelu": functional.gelu,
    "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "min": torch.minimum, "max": torch.maximum, "where": torch.where,
    "lt": torch.lt, "le": torch.le, "gt": torch.gt, "ge": torch.ge, "eq": torch.eq, "ne": torch.ne,
}  # fmt: skip
DOUBLE = {"dtype": torch.float64}


class Walker:
    """Runs a step forward and its adjoint backward over one sequence; a value is `(B, C)` for each element of its indices."""

    def __init__(self, step: Step, sizes: Mapping[str, int], like: Tensor) -> None:
        self.step, self.sizes, self.zero = step, sizes, torch.zeros_like(like)
        self.new: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        self.old: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def elements(self, indices: tuple[str, ...]) -> list[tuple[int, ...]]:
        return list(itertools.product(*(range(self.sizes[i]) for i in indices)))

    def put(self, name: str, indices: tuple[str, ...], array: Tensor) -> None:
        """`array` has its last dimensions over `indices`."""
        for element in self.elements(indices):
            self.new[name, element] = array[(..., *element)] + self.zero

    def compute(self, value: Value, bound: Mapping[str, int]) -> Tensor:
        match value:
            case Constant(number):
                return self.zero + number
            case IndexValue(index):
                return self.zero + bound[index]
            case Read(name, indices):
                return self.new[name, tuple(bound[i] for i in indices)]
            case Previous(name, indices):
                return self.old[name, tuple(bound[i] for i in indices)]
            case Total(index, body):
                return sum((self.compute(body, {**bound, index: i}) for i in range(self.sizes[index])), self.zero)
            case Apply(function, arguments):
                return FUNCTIONS[function](*(self.compute(argument, bound) for argument in arguments))

    def assign(self, name: str, indices: tuple[str, ...], value: Value) -> None:
        for element in self.elements(indices):
            self.new[name, element] = self.compute(value, dict(zip(indices, element, strict=True)))

    def run(self, equation: Assign | Update) -> None:
        if isinstance(equation, Assign):
            self.assign(equation.name, equation.indices, equation.value)
            return
        kept = Apply("mul", (equation.decay, Previous(equation.name, equation.indices)))
        self.assign(equation.name, equation.indices, Apply("add", (kept, equation.drive)))

    def array(self, name: str, indices: tuple[str, ...]) -> Tensor:
        parts = [self.new.get((name, element), self.zero) for element in self.elements(indices)]
        return torch.stack(parts, -1).reshape(*self.zero.shape, *(self.sizes[i] for i in indices))


def gradients_by_the_adjoint(
    derived: AdjointStep,
    arrays: Mapping[str, Tensor],
    cotangent: Tensor,
    sizes: Mapping[str, int],
    entry: Mapping[str, Tensor] | None = None,
    final: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The gradients of one direction, by the derived equations alone, from that of its outputs `(B, steps, C)`.

    Streams are `(B, steps, C or 1, indices …)`, parameters `(C, indices …)`; a constant has no gradient. `entry` has states
    before the first step, `(B, C, indices …)`, and `final` gradients of the last ones; gradients of the first ones are under
    `h0.<state>`.
    """
    step, length = derived.step, cotangent.shape[1]
    walker = Walker(step, sizes, cotangent[:, 0])
    streams = [operand for operand in step.operands if operand.kind != "param"]
    for operand in step.operands:
        if operand.kind == "param":
            walker.put(operand.name, operand.indices, arrays[operand.name])
    for equation in step.prologue:
        walker.run(equation)
    for update in step.states:
        shape = (*walker.zero.shape, *(sizes[i] for i in update.indices))
        walker.put(update.name, update.indices, (entry or {}).get(update.name, torch.full(shape, update.start, **DOUBLE)))
        if update.name in derived.carries:
            walker.put(carry_of(update.name), update.indices, (final or {}).get(update.name, torch.zeros(shape, **DOUBLE)))
    carries = {key: value for key, value in walker.new.items() if key[0].startswith("carry.")}
    history = []
    for t in range(length):
        walker.old = dict(walker.new)
        for operand in streams:
            walker.put(operand.name, operand.indices, arrays[operand.name][:, t])
        for equation in step.body:
            walker.run(equation)
        history.append((walker.old, dict(walker.new)))
    totals = {name: torch.zeros_like(walker.array(name, step.indices_of(name))) for name in derived.gradients}
    found = {operand.name: torch.zeros_like(arrays[operand.name]) for operand in step.operands if not operand.constant}
    carried = [update for update in step.states if update.name in derived.carries]
    for t in reversed(range(length)):
        walker.old, walker.new = history[t][0], {**history[t][1], **carries}
        walker.new[derived.cotangent, ()] = cotangent[:, t]
        for assign in derived.body:
            walker.run(assign)
        for name, value in derived.gradients.items():
            walker.assign("found", step.indices_of(name), value)
            totals[name] += walker.array("found", step.indices_of(name))
            for operand in streams:
                if operand.name == name:
                    now = walker.array("found", operand.indices)
                    found[name][:, t] = now if found[name].shape[2] > 1 else now.sum(1, keepdim=True)
        for update in carried:
            walker.assign("carried", update.indices, derived.carries[update.name])
            carries |= {(carry_of(update.name), e): walker.new["carried", e] for e in walker.elements(update.indices)}
    for name, total in totals.items():
        walker.put(total_of(name), step.indices_of(name), total)
    for assign in derived.epilogue:
        walker.run(assign)
    for name, value in derived.parameters.items():
        walker.assign(gradient_of(name), step.indices_of(name), value)
        found[name] = walker.array(gradient_of(name), step.indices_of(name)).sum(0)
    walker.new |= carries
    return found | {f"h0.{update.name}": walker.array(carry_of(update.name), update.indices) for update in carried}


def arrays_of_the_step(
    graph: ScanGraph, given: Mapping[str, Tensor], grid: tuple[int, ...], channels: int
) -> dict[str, Tensor]:
    """What the step of a scan with one direction along the raster takes, from the operator's arguments: for every channel."""
    visits, made = graph.traversal.at(grid), {}
    for operand in graph.step.operands:
        name, _, tap = operand.name.partition(".")
        if operand.constant:
            made[operand.name] = torch.tensor(visits.restarts[0])[None, :, None].double()
        elif tap:
            made[operand.name] = given[name][0, ..., int(tap)]
        elif name in graph.labelled:
            table = given[name][0, visits.labels[0]]
            batch = len(given[graph.scan_inputs[0]])
            made[name] = table[:, None].expand(batch, len(table), 1, *table.shape[1:])
        elif name in graph.channelless:
            made[name] = given[name][0].expand(channels, *given[name].shape[1:])
        elif operand.kind == "param":
            made[name] = spread(given[name][0], 0, channels)
        else:
            cells = given[name].flatten(1, 2)
            own = cells[:, :, 0] if graph.inputs()[name].per_direction else cells
            made[name] = cells[:, :, :1] if operand.per == "all" else spread(own, 2, channels)
    return made


def spread(array: Tensor, axis: int, channels: int) -> Tensor:
    """Of units, for every channel."""
    return array.repeat_interleave(channels // array.shape[axis], axis)


def one_direction(recurrence: str, name: str, more: str = "", order: str = "raster") -> scanlang.Program:
    """Sizes are 2."""
    definition = scanlang.loads(f"grid h, w\n{recurrence}").checked.recurrences[name]
    actuals = ", ".join(f"{formal.label} = 2" for formal in definition.formals)
    inputs = ", ".join(operand.name for operand in definition.of_kind("input"))
    scan = f"scan s(dim) {{ input {inputs} directions {order} recur {name}({actuals}) {more} }}"
    return scanlang.loads(f"grid h, w\n{recurrence}\n{scan}")


def check_adjoint(loaded: scanlang.Program, seed: int, grid: tuple[int, int] = (1, 4)) -> None:
    """From random first states, with a gradient of the output and of the last states."""
    op, graph = scanlang.compile(loaded), loaded.operator_graph()
    channels = 2 if fewest_channels(op, {}) == 1 else fewest_channels(op, {})
    tensors = draw_inputs(op, grid, batch=2, channels=channels, dtype=torch.float64, seed=seed)
    leaves = {name: tensor.requires_grad_() for name, tensor in tensors.items()}
    first = {name: state.requires_grad_() for name, state in draw_states(op, channels=channels, dtype=torch.float64).items()}
    result, last = reference(loaded, None, h0=first, return_state=True, **leaves)
    generator = torch.Generator().manual_seed(seed)
    cotangent = torch.randn(result.shape, generator=generator, **DOUBLE)
    smooth = [state.name for state in graph.step.states if not state.constant]
    final = {name: torch.randn(last[name].shape, generator=generator, **DOUBLE) for name in smooth}
    ends, given = zip((result, cotangent), *((last[n], final[n]) for n in smooth if last[n].requires_grad), strict=True)
    wanted = {**leaves, **{f"h0.{name}": state for name, state in first.items()}}
    expected = torch.autograd.grad(ends, list(wanted.values()), given, materialize_grads=True)
    arrays = arrays_of_the_step(graph, leaves, grid, channels)
    states = {name: spread(state[:, 0], 1, channels) for name, state in first.items()}
    arrays |= {f"h0.{name}": states[name] for name in smooth}
    plain = {name: array.detach() for name, array in arrays.items()}
    entry = {name: state.detach() for name, state in states.items()}
    ended = {name: of_first_channels(gradient[:, 0], channels) for name, gradient in final.items()}
    sizes = {index: op.signature.fixed[label] for index, label in graph.step.sizes.items()}
    found = gradients_by_the_adjoint(adjoint(graph.step), plain, cotangent.flatten(1, 2), sizes, entry, ended)
    back = [(arrays[name], gradient) for name, gradient in found.items()]
    gradients = torch.autograd.grad([a for a, _ in back], list(wanted.values()), [g for _, g in back], materialize_grads=True)
    for name, gradient, exactly in zip(wanted, gradients, expected, strict=True):
        assert_close(f"the gradient of {name}", gradient, exactly, 1e-11)


def of_first_channels(gradient: Tensor, channels: int) -> Tensor:
    """A state of units is that of their first channels."""
    made = torch.zeros(gradient.shape[0], channels, *gradient.shape[2:], **DOUBLE)
    made[:, :: channels // gradient.shape[1]] = gradient
    return made


@settings(max_examples=40)
@given(recurrences(), st.integers(0, 2**16))
def test_the_adjoint_is_the_gradient(text: str, seed: int) -> None:
    check_adjoint(one_direction(text, "random"), seed)


@settings(max_examples=40)
@given(random_recurrences(moves=True), st.integers(0, 2**16), st.integers(1, 4), st.booleans())
def test_the_adjoint_of_a_step_that_convolves_and_restarts(
    recurrence: RandomRecurrence, seed: int, width: int, resets: bool
) -> None:
    more = f"conv {width}" + (" label moves" if recurrence.moves else "")
    order = "reset(raster, every h)" if resets else "raster"
    check_adjoint(one_direction(recurrence.text, "random", more, order), seed, (2, 4))


@pytest.mark.long
@settings(max_examples=600)
@given(recurrences(), st.integers(0, 2**16), st.integers(1, 9))
def test_the_adjoint_is_the_gradient_of_many(text: str, seed: int, length: int) -> None:
    check_adjoint(one_direction(text, "random"), seed, (1, length))


RESTARTS = (0, 0, 0, 1, 0, 1, 1, 0, 0)


def check_against_a_loop(step: Step, arrays: dict[str, Tensor], loop: Callable[..., Tensor]) -> None:
    """The gradients of a step, whose indices are of size 2, against autograd through a loop over its arrays."""
    leaves = {name: array.requires_grad_() for name, array in arrays.items() if name != "restart."}
    result = loop(**{name.replace(".", "_"): array for name, array in arrays.items()})
    cotangent = torch.randn(result.shape, generator=torch.Generator().manual_seed(1), **DOUBLE)
    expected = dict(zip(leaves, torch.autograd.grad(result, list(leaves.values()), cotangent), strict=True))
    plain = {name: array.detach() for name, array in arrays.items()}
    found = gradients_by_the_adjoint(adjoint(step), plain, cotangent, dict.fromkeys(step.sizes, 2))
    assert {name for name in found if not name.startswith("h0.")} == expected.keys()
    for name, gradient in expected.items():
        assert_close(f"the gradient of {name}", found[name], gradient, 1e-12)


def drawn(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(7)
    return {name: torch.rand(shape, generator=generator, **DOUBLE) * 2 - 1 for name, shape in shapes.items()}


def test_convolution_restarts_and_weight_against_a_loop() -> None:
    """The rewritten step of a small recurrence, against the formulas of the language's manual."""
    text = """recurrence r(state n) { input x  shared B[n]  param a[n]
      h[n] = sigmoid(a[n]) * h[n] + B[n] * x  y = sum(n: B[n] * h[n]) + x * x }"""
    step = weigh(restart(convolve(one_direction(text, "r").graph().step, "x", 3)))
    arrays = drawn(x=(2, 9, 3), B=(2, 9, 1, 2), a=(3, 2), conv_bias=(3,), merge_weight=(3,), w=(3, 3))
    taps = arrays.pop("w")
    arrays |= {f"conv_weight.{tap}": taps[:, tap].clone() for tap in range(3)}
    arrays["restart."] = torch.tensor(RESTARTS, **DOUBLE)[None, :, None]

    def loop(x: Tensor, B: Tensor, a: Tensor, conv_bias: Tensor, merge_weight: Tensor, **rest: Tensor) -> Tensor:
        state, begin, outputs = torch.zeros(2, 3, 2, **DOUBLE), 0, []
        for t in range(9):
            if RESTARTS[t]:
                state, begin = torch.zeros_like(state), t
            total = conv_bias
            for tap in range(3):
                then = t - 2 + tap
                if then >= begin:
                    total = total + rest[f"conv_weight_{tap}"] * x[:, then]
            seen = total * torch.sigmoid(total)
            state = torch.sigmoid(a) * state + B[:, t] * seen[..., None]
            outputs.append(((B[:, t] * state).sum(-1) + seen * seen) * merge_weight)
        return torch.stack(outputs, 1)

    check_against_a_loop(step, arrays, loop)


def test_the_state_before_the_step_may_be_read_in_any_equation() -> None:
    """In an output, in a sum, in the drive and in the decay of another state."""
    span = program("cross").checked.scans["cross"].span
    x, q = Read("x"), Read("q", ("n",))
    before = Total("n", Apply("mul", (q, Previous("h", ("n",)))))
    product = Apply("mul", (Apply("mul", (before, Previous("s"))), x))
    body = (
        Update("h", ("n",), Apply("tanh", (Apply("add", (q, Previous("s"))),)), Apply("mul", (q, x)), span),
        Update("s", (), Apply("sigmoid", (before,)), Apply("add", (before, x)), span),
        Assign("y", (), Apply("add", (product, Read("s"))), span),
    )
    operands = (Operand("x", "input", (), span), Operand("q", "shared", ("n",), span))

    def loop(x: Tensor, q: Tensor) -> Tensor:
        h, s, outputs = torch.zeros(2, 3, 2, **DOUBLE), torch.zeros(2, 3, **DOUBLE), []
        for t in range(5):
            old_h, old_s, now, read = h, s, x[:, t], q[:, t]
            seen = (read * old_h).sum(-1)
            h = torch.tanh(read + old_s[..., None]) * old_h + read * now[..., None]
            s = torch.sigmoid(seen) * old_s + seen + now
            outputs.append(seen * old_s * now + s)
        return torch.stack(outputs, 1)

    check_against_a_loop(Step("r", {"n": "state"}, operands, (), body, "y"), drawn(x=(2, 5, 3), q=(2, 5, 1, 2)), loop)


WKV = """recurrence wkv() {
  input k, v  param w, u
  scale m = max(prev(m) - exp(w), k)
  a = exp(prev(m) - exp(w) - m) * a + exp(k - m) * v
  b = exp(prev(m) - exp(w) - m) * b + exp(k - m)
  scale q = max(prev(m), u + k)
  y = (exp(prev(m) - q) * prev(a) + exp(u + k - q) * v) / (exp(prev(m) - q) * prev(b) + exp(u + k - q))
}"""


def test_scales_that_restart_against_a_loop_without_scales() -> None:
    """What cancels has no gradient: those of the formula as the paper has it, whose sums are of exponentials as they are."""
    step = restart(one_direction(WKV, "wkv").graph().step)
    arrays = drawn(k=(2, 9, 3), v=(2, 9, 3), w=(3,), u=(3,)) | {"restart.": torch.tensor(RESTARTS, **DOUBLE)[None, :, None]}

    def loop(k: Tensor, v: Tensor, w: Tensor, u: Tensor, **rest: Tensor) -> Tensor:
        a, b, outputs = torch.zeros(2, 3, **DOUBLE), torch.zeros(2, 3, **DOUBLE), []
        for t in range(9):
            if RESTARTS[t]:
                a, b = torch.zeros_like(a), torch.zeros_like(b)
            own = torch.exp(u + k[:, t])
            outputs.append((a + own * v[:, t]) / (b + own))
            a = torch.exp(-torch.exp(w)) * a + torch.exp(k[:, t]) * v[:, t]
            b = torch.exp(-torch.exp(w)) * b + torch.exp(k[:, t])
        return torch.stack(outputs, 1)

    check_against_a_loop(step, arrays, loop)


def test_scales_are_left_out_of_the_adjoint() -> None:
    derived = adjoint(one_direction(WKV, "wkv").graph().step)
    assert set(derived.carries) == {"a", "b"}
    computed = {equation.name for equation in derived.body}
    assert not computed & {"∂m", "∂q"}
    assert not any("max" in str(equation) for equation in derived.body)
    assert set(derived.parameters) == {"w", "u"}


def test_a_running_scale_starts_anew_where_it_started() -> None:
    lines = [str(equation) for equation in restart(one_direction(WKV, "wkv").graph().step).body]
    assert lines[0].startswith("m = max(where(restart. > 0.5, -1e+30, m')")
    assert any("where(restart. > 0.5, 0, a')" in line for line in lines[1:])


def test_values_of_the_step_before_against_a_loop() -> None:
    """Of an input, of a product with a state, of itself; nothing is before a step at which all starts anew."""
    text = """recurrence r(state n) { input x, g  shared B[n]
      h[n] = sigmoid(g) * h[n] + B[n] * x
      y = sum(n: prev(B[n] * h[n]) * h[n]) + prev(x * prev(g)) * prev(prev(x)) + x * prev(x) }"""
    step = restart(one_direction(text, "r").graph().step)
    arrays = drawn(x=(2, 9, 3), g=(2, 9, 3), B=(2, 9, 1, 2)) | {"restart.": torch.tensor(RESTARTS, **DOUBLE)[None, :, None]}

    def loop(x: Tensor, g: Tensor, B: Tensor, **rest: Tensor) -> Tensor:
        zero = torch.zeros(2, 3, **DOUBLE)
        h, begin, outputs, products = torch.zeros(2, 3, 2, **DOUBLE), 0, [], []

        def before(array: Tensor, t: int, age: int) -> Tensor:
            return array[:, t - age] if t - age >= begin else zero

        for t in range(9):
            if RESTARTS[t]:
                h, begin = torch.zeros_like(h), t
            h = torch.sigmoid(g[:, t])[..., None] * h + B[:, t] * x[:, t, :, None]
            products.append(B[:, t] * h)
            product = products[t - 1] if t > begin else torch.zeros_like(h)
            far = before(x, t, 1) * before(g, t, 2) * before(x, t, 2)
            outputs.append((product * h).sum(-1) + far + x[:, t] * before(x, t, 1))
        return torch.stack(outputs, 1)

    check_against_a_loop(step, arrays, loop)


def test_what_has_a_state_per_unit_is_summed_over_its_channels() -> None:
    """Retention with a decay of every head, by its paper's closed form: the gradient of a head's operand from all its
    channels."""
    text = """recurrence r(state n, head p) { input v[p], g, k[n]  param q[n]
      S[p, n] = sigmoid(g) * S[p, n] + k[n] * v[p]  a[n] = sigmoid(g) * a[n] + k[n]
      y[p] = sum(n: q[n] * S[n, p]) * sum(n: a[n] * a[n]) }"""
    loaded = one_direction(text, "r")
    op = scanlang.compile(loaded)
    given = {name: tensor.requires_grad_() for name, tensor in draw_inputs(op, (1, 5), dtype=torch.float64).items()}
    v, g, k = given["v"][:, 0].unflatten(-1, (3, 2)), torch.sigmoid(given["g"][:, 0, :, 0]), given["k"][:, 0, :, 0]
    logs = torch.log(g).cumsum(1)
    weights = torch.exp(logs[:, :, None] - logs[:, None]) * torch.ones(5, 5, **DOUBLE).tril()[..., None]
    scores = torch.einsum("btsh,hn,bshn->btsh", weights, given["q"][0], k)
    sums = torch.einsum("btsh,bshn->bthn", weights, k).square().sum(-1)
    wanted = (torch.einsum("btsh,bshp->bthp", scores, v) * sums[..., None]).flatten(-2)[:, None]
    got = reference(loaded, None, **given)
    assert_close("the output", got, wanted, 1e-12)
    cotangent = torch.randn(got.shape, generator=torch.Generator().manual_seed(1), **DOUBLE)
    pairs = [torch.autograd.grad(one, list(given.values()), cotangent, retain_graph=True) for one in (got, wanted)]
    for name, ours, theirs in zip(given, *pairs, strict=True):
        assert_close(f"the gradient of {name}", ours, theirs, 1e-12)
    check_adjoint(loaded, 1)


def test_a_constant_has_no_gradient() -> None:
    step = restart(one_direction("recurrence r() { input x  h = 0.5 * h + x  y = h }", "r").graph().step)
    scaled = replace(step, body=(*step.body[:-1], replace(step.body[-1], value=Apply("mul", (Read("h"), Read("restart."))))))
    assert set(adjoint(scaled).gradients) == {"x"}


def test_the_adjoint_of_a_convolution_reads_as_one_writes_it() -> None:
    text = "recurrence r() { input x  h = 0.5 * h + x  y = h }"
    derived = adjoint(one_direction(text, "r", "conv 3").operator_graph().step)
    body = [str(equation) for equation in derived.body]
    assert "∂x.conv = ∂h" in body
    assert "∂conv.1 = carry.conv.1" in body
    assert show(derived.carries["conv.1"]) == "∂conv.2 + ∂conv.0 * conv_weight.1"
    assert show(derived.carries["conv.2"]) == "∂conv.0 * conv_weight.0"
    assert show(derived.gradients["x"]) == "∂conv.1 + ∂conv.0 * conv_weight.2"
    assert show(derived.gradients["conv_weight.0"]) == "∂conv.0 * conv.2'"


def test_the_adjoint_of_selective_reads_as_one_writes_it() -> None:
    derived = adjoint(program("one-direction").operator_graph().step)
    body = [str(equation) for equation in derived.body]
    assert "∂y = ∂y.out" in body
    assert "∂h[n] = carry.h[n] + ∂y * C[n]" in body
    assert show(derived.carries["h"]) == "exp(dt * fixed.0[n]) * ∂h[n]"
    assert show(derived.gradients["C"]) == "∂y * h[n]"
    assert set(derived.parameters) == {"dt_weight", "dt_bias", "A_log", "D"}


def test_what_only_decides_a_branch_has_no_gradient() -> None:
    text = "recurrence r(state n) { input x shared s  h[n] = where(s > 0, 0.5, 0.25) * h[n] + x  y = sum(n: h[n]) }"
    loaded = one_direction(text, "r")
    derived = adjoint(loaded.operator_graph().step)
    assert "s" not in derived.gradients
    op = scanlang.compile(loaded)
    tensors = {name: tensor.requires_grad_() for name, tensor in draw_inputs(op, (2, 2)).items()}
    op(**tensors).sum().backward()
    assert tensors["s"].grad is not None
    assert not tensors["s"].grad.any()


def test_renaming_never_captures() -> None:
    body = Total("m", Apply("mul", (Read("a", ("n",)), Read("b", ("m",)))))
    assert rename_indices(body, {"n": "k"}) == Total("m", Apply("mul", (Read("a", ("k",)), Read("b", ("m",)))))
    with pytest.raises(ValueError, match="renaming to m inside a sum over m"):
        rename_indices(body, {"n": "m"})


ARGUMENTS = {
    "add": 2, "sub": 2, "mul": 2, "div": 2, "neg": 1, "min": 2, "max": 2, "logaddexp": 2,
    **dict.fromkeys(("exp", "expm1", "log", "log1p", "sqrt"), 1),
    **dict.fromkeys(("sigmoid", "silu", "softplus", "tanh", "relu", "gelu", "abs"), 1),
}  # fmt: skip


def test_every_function_of_the_language_has_its_derivative_tested() -> None:
    assert set(DERIVATIVES) == {*ARGUMENTS, "where"}
    assert set(MATHEMATICS) <= set(ARGUMENTS)
    assert not set(COMPARISONS.values()) & set(DERIVATIVES)


@pytest.mark.parametrize("function", sorted(ARGUMENTS))
def test_derivative(function: str) -> None:
    numbers = torch.linspace(-3, 3, 61, **DOUBLE)
    numbers = numbers.abs() + 0.1 if function in ("log", "log1p", "sqrt") else numbers + 0.013
    points = [numbers, numbers.flip(0) * 0.7 + 0.3][: ARGUMENTS[function]]
    leaves = [point.clone().requires_grad_() for point in points]
    expected = torch.autograd.grad(FUNCTIONS[function](*leaves).sum(), leaves)
    assert_slopes(function, points, expected)


@pytest.mark.parametrize("function, point, slopes", [
    ("relu", (0.0,), (0.0,)), ("abs", (0.0,), (0.0,)), ("abs", (-2.0,), (-1.0,)),
    ("min", (1.0, 1.0), (0.5, 0.5)), ("max", (1.0, 1.0), (0.5, 0.5)), ("max", (2.0, 1.0), (1.0, 0.0)),
])  # fmt: skip
def test_derivative_at_a_kink_is_torch_s(function: str, point: tuple[float, ...], slopes: tuple[float, ...]) -> None:
    points = [torch.tensor([value], **DOUBLE) for value in point]
    leaves = [value.clone().requires_grad_() for value in points]
    assert [g.item() for g in torch.autograd.grad(FUNCTIONS[function](*leaves), leaves)] == list(slopes)
    assert_slopes(function, points, tuple(torch.tensor([slope], **DOUBLE) for slope in slopes))


def assert_slopes(function: str, points: list[Tensor], expected: tuple[Tensor, ...]) -> None:
    names = tuple(Read(name) for name in ("a", "b")[: len(points)])
    walker = Walker(Step("", {}, (), (), (), ""), {}, points[0])
    for name, point in zip(names, points, strict=True):
        walker.new[name.name, ()] = point
    slopes = DERIVATIVES[function](names, Apply(function, names))
    for slope, exactly in zip(slopes, expected, strict=True):
        torch.testing.assert_close(walker.compute(slope, {}), exactly, rtol=1e-12, atol=1e-13)


SMOOTH = ("softplus", "sigmoid", "silu", "tanh", "gelu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("function", [*SMOOTH, "relu", "abs"])
def test_functions_and_slopes_are_finite_for_large_arguments(function: str, dtype: torch.dtype) -> None:
    """Through the whole operator, as the backend computes them: at ±100, at ±10000, at 0 and near it."""
    update = f"h[n] = 0.5 * h[n] + {function}(x) + p[n] * {function}(p[n])"
    text = f"recurrence r(state n) {{ input x param p[n] {update}  y = sum(n: h[n]) }}"
    loaded = one_direction(text, "r")
    op = scanlang.compile(loaded)
    values = [100.0, -100.0, 1e4, -1e4, 88.0, -88.0, -104.0, 17.0, -17.0, 1.0, -1.0, 1e-3, -1e-3, 1e-20, 0.0, 30.0, -30.0]
    x = torch.tensor(values, dtype=dtype).reshape(1, len(values), 1, 1)
    p = torch.tensor([100.0, -100.0], dtype=dtype).reshape(1, 1, 2)
    given = {"x": x.requires_grad_(), "p": p.requires_grad_()}
    exact = {name: value.detach().double().requires_grad_() for name, value in given.items()}
    got, want = op(**given), reference(loaded, None, **exact)
    assert torch.isfinite(got).all()
    assert_close("the output", got, want, 1e-6)
    slopes = torch.autograd.grad(got.sum(), list(given.values()))
    expected = torch.autograd.grad(want.sum(), list(exact.values()))
    for slope, exactly in zip(slopes, expected, strict=True):
        assert torch.isfinite(slope).all()
        torch.testing.assert_close(slope.double(), exactly, rtol=1e-5, atol=1e-6)


def test_gated_stays_finite_for_large_gates() -> None:
    op = operator("gated")
    tensors = draw_inputs(op, (3, 4), low=-100, high=100)
    leaves = {name: tensor.requires_grad_() for name, tensor in tensors.items()}
    result = op(**leaves)
    result.sum().backward()
    assert torch.isfinite(result).all()
    assert all(torch.isfinite(leaf.grad).all() for leaf in leaves.values())


@pytest.mark.parametrize("body", ["h = exp(-exp(a)) * h + x", "e = exp(a)  d = exp(-2 * e)  h = d * h + x"])
def test_a_decay_that_has_vanished_has_no_slope(body: str) -> None:
    """exp(a) is infinite in float32, exp(-exp(a)) zero."""
    text = f"grid h recurrence r {{ input x, a  {body}  y = h }} scan t(dim) {{ input x, a directions raster recur r() }}"
    given = {name: torch.full((1, 4, 1), value, requires_grad=True) for name, value in (("x", 1.0), ("a", 100.0))}
    result = scanlang.compile(scanlang.loads(text))(**given)
    slopes = torch.autograd.grad(result.sum(), list(given.values()))
    assert [slope.unique().tolist() for slope in slopes] == [[1.0], [0.0]]


def test_a_parameter_of_a_decay_that_has_vanished_has_no_slope() -> None:
    """What depends on parameters alone is differentiated once, after the steps."""
    text = """grid h recurrence r(state n) { input x  param A_log[n]  h[n] = exp(-exp(A_log[n])) * h[n] + x  y = sum(n: h[n]) }
      scan t(dim) { directions raster recur r(state = 2) }"""
    x, rates = torch.ones(1, 4, 1), torch.tensor([[[100.0, 0.0]]], requires_grad=True)
    scanlang.compile(scanlang.loads(text))(x=x, A_log=rates).sum().backward()
    assert rates.grad is not None
    assert rates.grad[..., 0].item() == 0
    assert rates.grad[..., 1].item() < 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("body", [
    "h[n] = exp(-exp(A_log[n]) * dt) * h[n] + x",
    "r[n] = -2 * exp(A_log[n])  s[n] = r[n] * dt  h[n] = exp(s[n]) * h[n] + (exp(s[n]) - 1) / r[n] * x",
])  # fmt: skip
@pytest.mark.parametrize("backend", ["c", "torch"])
def test_an_infinite_rate_leaves_nothing_and_has_no_slope(
    backend: str, body: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """exp(A_log) is infinite. What it is multiplied by has the slopes of a large rate; a step of length 0 changes nothing."""
    if backend == "torch":
        monkeypatch.setattr("scanlang.codegen.backend.find_compiler", lambda: None)
    text = f"""grid h recurrence r(state n) {{ input x, dt  param A_log[n]  {body}  y = sum(n: h[n]) }}
      scan t(dim) {{ input x, dt directions raster recur r(state = 2) }}"""
    op = scanlang.compile(scanlang.loads(text))

    def results(rate: float, steps: list[float]) -> list[Tensor]:
        maps = [torch.tensor(one, dtype=dtype).reshape(1, 4, 1).requires_grad_() for one in ([1.0, 2.0, 3.0, 4.0], steps)]
        rates = torch.tensor([[[rate, 0.0]]], dtype=dtype, requires_grad=True)
        y = op(x=maps[0], dt=maps[1], A_log=rates)
        return [y, *torch.autograd.grad(y.sum(), [*maps, rates])]

    torch.testing.assert_close(results(1000.0, [1.0, 0.5, 0.25, 2.0]), results(30.0, [1.0, 0.5, 0.25, 2.0]))
    torch.testing.assert_close(results(1000.0, [1.0, 0.0, 0.0, 2.0])[:2], results(30.0, [1.0, 0.0, 0.0, 2.0])[:2])


@pytest.mark.parametrize("merge", ["sum", "y[0] * sqrt(1 - g * g)", "mean(cells: sqrt(1 - g * g)) * y[0]"])
@pytest.mark.parametrize("backend", ["c", "torch"])
def test_a_root_has_no_slope_at_zero(merge: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a step, of a parameter, in a merge, and in one of two passes; the reference has the same slope."""
    if backend == "torch":
        monkeypatch.setattr("scanlang.codegen.backend.find_compiler", lambda: None)
    text = f"""grid h
      recurrence r {{ input x, g  param p  h = g * h + sqrt(1 - g * g) * x  y = h * sqrt(1 - p * p) }}
      scan t(dim) {{ input x, g directions raster recur r() merge {merge} }}"""
    loaded, x = scanlang.loads(text), torch.linspace(-1, 1, 5).reshape(1, 5, 1)
    g = torch.tensor([1.0, -1.0, 0.5, 0.0, 1.0]).reshape(1, 5, 1)
    assert_matches_reference(scanlang.compile(loaded), loaded, {"x": x, "g": g, "p": torch.tensor([[1.0]])})
    assert_matches_reference(scanlang.compile(loaded), loaded, {"x": x, "g": g, "p": torch.tensor([[0.25]])})


def test_selective_with_large_steps_stays_finite() -> None:
    op = operator("cross")
    tensors = draw_inputs(op, (3, 4)) | {"dt_bias": torch.full((4, 3), 100.0)}
    leaves = {name: tensor.requires_grad_() for name, tensor in tensors.items()}
    op(**leaves).sum().backward()
    assert all(math.isfinite(leaf.grad.sum().item()) for leaf in leaves.values())
