"""Scan graph and sizes → kernels: what a step reads, computes, carries and gives, forward and backward.

Equal terms are found by `unroll.py`, so what the backward needs of the forward has the same name in both; whether such a
value is kept or computed again is decided here (`_kept`): exponentials, divisions and states are kept, a few products not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import assert_never

from scanlang.codegen.kernel import (
    OWN,
    TIME,
    Access,
    Accumulate,
    Advance,
    Atom,
    BackwardKernel,
    CellKernel,
    ForwardKernel,
    Gradient,
    Let,
    Parameter,
    ParameterGradient,
    ScanKernels,
    Stream,
)
from scanlang.codegen.unroll import Block, Names, Unroller, previous_name
from scanlang.diagnostics import ScanError
from scanlang.errors import TooMuchToUnroll
from scanlang.graph.adjoint import adjoint
from scanlang.graph.scan_graph import ScanGraph
from scanlang.graph.step import AdjointStep, Assign, Operand, Step, Update, carry_of, gradient_of, operations, total_of
from scanlang.graph.values import Apply, Constant, Previous
from scanlang.limits import LIMITS

CHEAP = frozenset(["add", "sub", "mul", "neg", "abs", "min", "max", "where", "lt", "le", "gt", "ge", "eq", "ne"])
COMPARISONS = frozenset(["lt", "le", "gt", "ge", "eq", "ne"])
WORTH_REPEATING = 4.0
"""A value of the forward is computed again in the backward if that takes at most so many cheap operations, else kept."""


def lower_to_kernels(graph: ScanGraph, sizes: Mapping[str, int]) -> ScanKernels:
    """The kernels of a scan graph; `sizes` gives the extent of every label of the recurrence (`{"state": 16, "rank": 6}`)."""
    step = graph.step
    extents = {index: sizes[label] for index, label in step.sizes.items()}
    if (count := operations(step, extents)) > LIMITS.unrolled:
        finding = TooMuchToUnroll(step.body[0].span, step.recurrence, count, LIMITS.unrolled, tuple(sorted(sizes.items())))
        raise ScanError([finding])
    merge, merge_adjoint = _lower_merge(graph) if not isinstance(graph.merge, str) and not graph.stacked else (None, None)
    return ScanKernels(
        graph.name,
        graph.directions,
        _lower_forward(graph, step, extents),
        _lower_backward(graph, adjoint(step), extents),
        _merge_scale(graph),
        merge,
        merge_adjoint,
        graph.stacked,
        graph.split,
        graph.output_route,
        len(graph.traversal.routes),
    )


def _merge_scale(graph: ScanGraph) -> float | None:
    """The factor of a plain sum; None where the outputs come together otherwise, or not at all."""
    if graph.stacked or not isinstance(graph.merge, str):
        return None
    return 1.0 / graph.directions if graph.merge == "mean" else 1.0


@dataclass
class _Frame:
    """What forward and backward kernels begin alike: parameters, prologue, states, reads."""

    parameters: tuple[Access, ...]
    prologue: Block
    states: tuple[str, ...]
    reads: tuple[Access, ...]
    names: Names


def _frame(graph: ScanGraph, step: Step, extents: Mapping[str, int]) -> _Frame:
    names, prologue = Names(), Block()
    parameters, reads = [], []
    for operand in step.operands:
        shape = tuple(extents[i] for i in operand.indices)
        of: Stream | Parameter
        if operand.kind == "param":
            of = Parameter(operand.name, graph.in_common(operand.name), math.prod(shape))
            parameters.append(Access(of, names.declare(prologue, operand.name, shape)))
        else:
            of = _stream(graph, operand, math.prod(shape))
            reads.append(Access(of, names.declare(prologue, operand.name, shape)))
    unroller = Unroller(extents, names, prologue)
    for equation in step.prologue:
        unroller.assign(equation.name, equation.indices, equation.value, equation.span)
    states: list[str] = []
    for update in step.states:
        states += names.declare(prologue, previous_name(update.name), unroller.extents(update.indices))
    return _Frame(tuple(parameters), prologue, tuple(s for s in states), tuple(reads), names)


def _stream(graph: ScanGraph, operand: Operand, width: int) -> Stream:
    """The stream of an operand: one of the graph's inputs, or what is known of every step."""
    if operand.constant or operand.name in graph.labelled:
        return Stream(operand.name, every=0, per_direction=True, width=width, route=TIME, constant=operand.constant)
    node, route = graph.inputs()[operand.name], graph.stream_routes.get(operand.name, OWN)
    return Stream(operand.name, every=1 if node.kind == "input" else 0, per_direction=node.per_direction, width=width, route=route)


def _run_step(step: Step, extents: Mapping[str, int], names: Names, block: Block) -> tuple[Advance, ...]:
    """The equations of one step; states are advanced when all of it is done."""
    unroller, advances = Unroller(extents, names, block), []
    for equation in step.body:
        match equation:
            case Assign(name, indices, value, span):
                unroller.assign(name, indices, value, span)
            case Update(name, indices, decay, drive, span):
                new = Apply("add", (Apply("mul", (decay, Previous(name, indices))), drive))
                unroller.assign(name, indices, new, span, called=f"next_{name}")
                for element in itertools.product(*map(range, unroller.extents(indices))):
                    state = names.atoms[previous_name(name), element]
                    assert isinstance(state, str)
                    advances.append(Advance(state, names.atoms[name, element]))
            case _:
                assert_never(equation)
    return tuple(advances)


def _lower_forward(graph: ScanGraph, step: Step, extents: Mapping[str, int]) -> ForwardKernel:
    frame = _frame(graph, step, extents)
    block = Block(frame.prologue)
    advances = _run_step(step, extents, frame.names, block)
    output = frame.names.atoms[step.readout, ()]
    body = _needed(block.lets, [output, *(a.value for a in advances)])
    return ForwardKernel(frame.parameters, tuple(frame.prologue.lets), frame.states, frame.reads, body, advances, output)


def _lower_backward(graph: ScanGraph, derived: AdjointStep, extents: Mapping[str, int]) -> BackwardKernel:
    step, frame = derived.step, _frame(graph, derived.step, extents)
    names, forward = frame.names, Block(frame.prologue)
    advances = _run_step(step, extents, names, forward)
    backward = Block(forward)
    cotangent = names.declare(forward, derived.cotangent, ())[0]
    unroller = Unroller(extents, names, backward)
    carries: list[str] = []
    for update in step.states:
        carries += names.declare(forward, carry_of(update.name), unroller.extents(update.indices))
    for equation in derived.body:
        unroller.assign(equation.name, equation.indices, equation.value, equation.span)
    carry_advances = []
    for update in step.states:
        handed_on = gradient_of(previous_name(update.name))
        unroller.assign(
            handed_on, update.indices, derived.carries[update.name], update.span, called=f"next_{carry_of(update.name)}"
        )
        old = names.of(carry_of(update.name), unroller.extents(update.indices))
        new = names.of(handed_on, unroller.extents(update.indices))
        carry_advances += [Advance(str(o), n) for o, n in zip(old, new, strict=True)]
    gradients, accumulates = _collect_gradients(graph, derived, unroller)
    epilogue, parameter_gradients = _lower_epilogue(graph, derived, extents, names, frame.prologue)
    results: list[Atom] = [a.value for a in carry_advances] + [a.value for a in accumulates]
    results += [atom for gradient in gradients for atom in gradient.atoms]
    body = _needed(backward.lets, results)
    used = {a for let in body for a in let.arguments if isinstance(a, str)} | {r for r in results if isinstance(r, str)}
    keep, again = _kept(forward.lets, used, frame.states)
    running = _needed(forward.lets, [a.value for a in advances] + list(keep))
    return BackwardKernel(
        frame.parameters, tuple(frame.prologue.lets), frame.states, frame.reads, running, advances, keep, cotangent,
        tuple(carries), (*again, *body), tuple(carry_advances), gradients, accumulates, epilogue, parameter_gradients,
    )  # fmt: skip


def _collect_gradients(
    graph: ScanGraph, derived: AdjointStep, unroller: Unroller
) -> tuple[tuple[Gradient, ...], tuple[Accumulate, ...]]:
    """What a step gives to the gradients of the streams, and to what is accumulated over all steps."""
    gradients, accumulates = [], []
    streams = {o.name: o for o in derived.step.operands if o.kind != "param"}
    for name, value in derived.gradients.items():
        indices = derived.step.indices_of(name)
        extents = unroller.extents(indices)
        unroller.assign(gradient_of(name), indices, value, None)
        atoms = unroller.names.of(gradient_of(name), extents)
        if name in streams:
            gradients.append(Gradient(_stream(graph, streams[name], math.prod(extents)), atoms))
            continue
        assert unroller.block.above is not None
        totals = unroller.names.declare(unroller.block.above, total_of(name), extents)
        accumulates += [Accumulate(total, atom) for total, atom in zip(totals, atoms, strict=True)]
    return tuple(gradients), tuple(accumulates)


def _lower_epilogue(
    graph: ScanGraph, derived: AdjointStep, extents: Mapping[str, int], names: Names, prologue: Block
) -> tuple[tuple[Let, ...], tuple[ParameterGradient, ...]]:
    block = Block(prologue)
    block.taken |= {str(atom) for atom in names.atoms.values()}
    unroller = Unroller(extents, names, block)
    for equation in derived.epilogue:
        unroller.assign(equation.name, equation.indices, equation.value, equation.span)
    found = []
    for operand in derived.step.operands:
        if operand.kind != "param":
            continue
        shape = unroller.extents(operand.indices)
        name = gradient_of(operand.name)
        unroller.assign(name, operand.indices, derived.parameters.get(operand.name, Constant(0.0)), operand.span)
        of = Parameter(operand.name, graph.in_common(operand.name), math.prod(shape))
        found.append(ParameterGradient(of, names.of(name, shape)))
    return _needed(block.lets, [a for gradient in found for a in gradient.atoms]), tuple(found)


def _needed(lets: Iterable[Let], results: Iterable[Atom]) -> tuple[Let, ...]:
    """The lets that `results` depend on, in their order."""
    wanted, kept = {r for r in results if isinstance(r, str)}, []
    for let in reversed(tuple(lets)):
        if let.name in wanted:
            kept.append(let)
            wanted |= {a for a in let.arguments if isinstance(a, str)}
    return tuple(reversed(kept))


def _kept(forward: list[Let], used: set[str], states: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[Let, ...]]:
    """Which values of the forward the backward keeps, and which it computes again (in order): those that take a few cheap
    operations from what is read or kept anyway, and conditions: what is kept are numbers."""
    costs: dict[str, float] = {}
    for let in forward:
        own = 1.0 if let.function in CHEAP else math.inf
        costs[let.name] = own + sum(c for a in let.arguments if (c := costs.get(str(a), 0.0)) <= WORTH_REPEATING)
    wanted, again = set(used), []
    for let in reversed(forward):
        if let.name in wanted and (costs[let.name] <= WORTH_REPEATING or let.function in COMPARISONS):
            again.append(let)
            wanted |= {a for a in let.arguments if isinstance(a, str)}
    repeated = {let.name for let in again}
    kept = [state for state in states if state in wanted]
    kept += [let.name for let in forward if let.name in wanted and let.name not in repeated]
    return tuple(kept), tuple(reversed(again))


def _lower_merge(graph: ScanGraph) -> tuple[CellKernel, CellKernel]:
    """A merge expression and its gradient as pointwise kernels over the partial outputs."""
    step = graph.merge_step()
    derived, extents = adjoint(step), {"k": graph.directions}
    names, block = Names(), Block()
    reads = []
    for operand in step.operands:
        stream = Stream(operand.name, every=1, per_direction=False)
        reads.append(Access(stream, names.declare(block, operand.name, ())))
    _run_step(step, extents, names, block)
    output = names.atoms[step.readout, ()]
    forward = CellKernel(tuple(reads), _needed(block.lets, [output]), (Gradient(Stream("y", 1, False), (output,)),))
    cotangent = Stream(derived.cotangent, every=1, per_direction=False)
    cotangent_access = Access(cotangent, names.declare(block, derived.cotangent, ()))
    unroller = Unroller(extents, names, block)
    for equation in derived.body:
        unroller.assign(equation.name, equation.indices, equation.value, equation.span)
    writes = []
    for operand in step.operands:
        value = derived.gradients.get(operand.name, Constant(0.0))
        unroller.assign(gradient_of(operand.name), (), value, None)
        atoms = names.of(gradient_of(operand.name), ())
        writes.append(Gradient(Stream(gradient_of(operand.name), 1, False), atoms))
    body = _needed(block.lets, [a for write in writes for a in write.atoms])
    return forward, CellKernel((*reads, cotangent_access), body, tuple(writes))
