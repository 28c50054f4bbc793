"""Scan graph and sizes → kernels: what a step reads, computes, carries and gives, forward and backward.

Equal terms are found by `unroll.py`, so what the backward needs of the forward has the same name in both; whether such a
value is kept or computed again is decided by `keep.py`: exponentials, divisions and states are kept, a few products not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from scanlang.check.program import HEAD
from scanlang.codegen.keep import choose_kept
from scanlang.codegen.kernel import (
    OWN,
    TIME,
    Access,
    Accumulate,
    Advance,
    Atom,
    BackwardKernel,
    CellKernel,
    Factored,
    ForwardKernel,
    Gradient,
    Let,
    MatrixKernel,
    Parameter,
    ParameterGradient,
    ScanKernels,
    Stream,
    needed_lets,
)
from scanlang.codegen.unroll import Block, Names, Unroller, previous_name
from scanlang.diagnostics import ScanError
from scanlang.errors import TooMuchToUnroll
from scanlang.graph.adjoint import adjoint
from scanlang.graph.matrix_form import matrix_form
from scanlang.graph.products import stream_of, take_products
from scanlang.graph.scan_graph import ScanGraph
from scanlang.graph.step import (
    AdjointStep,
    Assign,
    Operand,
    Step,
    Update,
    carry_of,
    gradient_of,
    is_diagonal,
    operations,
    total_of,
)
from scanlang.graph.values import Apply, Constant, Previous
from scanlang.limits import LIMITS


def lower_to_kernels(graph: ScanGraph, sizes: Mapping[str, int]) -> ScanKernels:
    """The kernels of a scan graph; `sizes` gives the extent of every label of the recurrence (`{"state": 16, "rank": 6}`), and
    the channels of a unit where there are heads (`{"head": 64}`).

    Every channel computes what its unit has one value of.
    """
    step = graph.step
    extents = _extents(step, sizes)
    matrix = _matrix(step, sizes)
    most = LIMITS.unrolled if matrix is None else LIMITS.unrolled_matrix
    if (count := operations(step, extents)) > most:
        finding = TooMuchToUnroll(step.body[0].span, step.recurrence, count, most, tuple(sorted(sizes.items())))
        raise ScanError([finding])
    found = _kernels(graph, step, sizes)
    taken, products = take_products(step, graph.inputs()) if graph.split is None else (step, ())
    return replace(found, factored=Factored(_kernels(graph, taken, sizes), products)) if products else found


def _kernels(graph: ScanGraph, step: Step, sizes: Mapping[str, int]) -> ScanKernels:
    merge, merge_adjoint = _lower_merge(graph) if not isinstance(graph.merge, str) and not graph.stacked else (None, None)
    return ScanKernels(
        graph.name,
        graph.directions,
        _lower_forward(graph, step, sizes),
        _lower_backward(graph, adjoint(step), sizes),
        _merge_scale(graph),
        merge,
        merge_adjoint,
        graph.stacked,
        graph.split,
        graph.output_route,
        len(graph.traversal.routes),
        _matrix(step, sizes),
    )


def _matrix(step: Step, sizes: Mapping[str, int]) -> MatrixKernel | None:
    """The step for matrix products, where it has that form."""
    form = matrix_form(step)
    return None if form is None else MatrixKernel(form, _extents(step, sizes), sizes.get(HEAD, 1) if step.head else 0)


def _extents(step: Step, sizes: Mapping[str, int]) -> dict[str, int]:
    return {index: sizes[label] for index, label in step.sizes.items()}


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
    starts: tuple[float, ...]
    reads: tuple[Access, ...]
    names: Names


def _frame(graph: ScanGraph, step: Step, sizes: Mapping[str, int]) -> _Frame:
    names, prologue, extents = Names(), Block(), _extents(step, sizes)
    parameters, reads = [], []
    for operand in step.operands:
        shape = tuple(extents[i] for i in operand.indices)
        of: Stream | Parameter
        if operand.kind == "param":
            of = _parameter(graph, operand, math.prod(shape), sizes)
            parameters.append(Access(of, names.declare(prologue, operand.name, shape)))
        else:
            of = _stream(graph, operand, math.prod(shape), sizes)
            reads.append(Access(of, names.declare(prologue, operand.name, shape)))
    unroller = Unroller(extents, names, prologue)
    for equation in step.prologue:
        unroller.assign(equation.name, equation.indices, equation.value, equation.span)
    states, starts = list[str](), list[float]()
    for update in step.states:
        elements = names.declare(prologue, previous_name(update.name), unroller.extents(update.indices))
        states += elements
        starts += [update.start] * len(elements)
    return _Frame(tuple(parameters), prologue, tuple(states), tuple(starts), tuple(reads), names)


def _stream(graph: ScanGraph, operand: Operand, width: int, sizes: Mapping[str, int]) -> Stream:
    """The stream of an operand: one of the graph's inputs, or what is known of every step."""
    if stream := stream_of(operand.name):
        return Stream(operand.name, every=1, per_direction=True, route=graph.stream_routes.get(stream, OWN))
    if operand.constant or operand.name in graph.labelled:
        return Stream(operand.name, every=0, per_direction=True, width=width, route=TIME, constant=operand.constant)
    node, route = graph.inputs()[operand.name], graph.stream_routes.get(operand.name, OWN)
    return Stream(operand.name, operand.channels(sizes), node.per_direction, width, route)


def _parameter(graph: ScanGraph, operand: Operand, width: int, sizes: Mapping[str, int]) -> Parameter:
    """One without channels is there for every channel."""
    return Parameter(operand.name, graph.in_common(operand.name), width, max(1, operand.channels(sizes)))


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


def _lower_forward(graph: ScanGraph, step: Step, sizes: Mapping[str, int]) -> ForwardKernel:
    frame = _frame(graph, step, sizes)
    block = Block(frame.prologue)
    advances = _run_step(step, _extents(step, sizes), frame.names, block)
    decays = _decays(step, _extents(step, sizes), frame.names, block) if is_diagonal(step) else ()
    output = frame.names.atoms[step.readout, ()]
    body = needed_lets(block.lets, [output, *(a.value for a in advances)])
    return ForwardKernel(
        frame.parameters, tuple(frame.prologue.lets), frame.states, frame.reads, body, advances, output, frame.starts, decays
    )


def _decays(step: Step, extents: Mapping[str, int], names: Names, block: Block) -> tuple[Atom, ...]:
    """The decay of every element of every state: what the step has computed already."""
    unroller = Unroller(extents, names, block)
    return tuple(
        unroller.atom(update.decay, dict(zip(update.indices, element, strict=True)))
        for update in step.states
        for element in itertools.product(*map(range, unroller.extents(update.indices)))
    )


def _lower_backward(graph: ScanGraph, derived: AdjointStep, sizes: Mapping[str, int]) -> BackwardKernel:
    step, frame, extents = derived.step, _frame(graph, derived.step, sizes), _extents(derived.step, sizes)
    names, forward = frame.names, Block(frame.prologue)
    advances = _run_step(step, extents, names, forward)
    backward = Block(forward, exact=False)
    cotangent = names.declare(forward, derived.cotangent, ())[0]
    unroller = Unroller(extents, names, backward)
    carries: list[str] = []
    moving = [update for update in step.states if not update.constant]
    for update in moving:
        carries += names.declare(forward, carry_of(update.name), unroller.extents(update.indices))
    for equation in derived.body:
        unroller.assign(equation.name, equation.indices, equation.value, equation.span)
    carry_advances = []
    for update in moving:
        handed_on = gradient_of(previous_name(update.name))
        unroller.assign(
            handed_on, update.indices, derived.carries[update.name], update.span, called=f"next_{carry_of(update.name)}"
        )
        old = names.of(carry_of(update.name), unroller.extents(update.indices))
        new = names.of(handed_on, unroller.extents(update.indices))
        carry_advances += [Advance(str(o), n) for o, n in zip(old, new, strict=True)]
    gradients, accumulates = _collect_gradients(graph, derived, unroller, sizes)
    epilogue, parameter_gradients = _lower_epilogue(graph, derived, sizes, names, frame.prologue)
    results: list[Atom] = [a.value for a in carry_advances] + [a.value for a in accumulates]
    results += [atom for gradient in gradients for atom in gradient.atoms]
    body = needed_lets(backward.lets, results)
    used = {a for let in body for a in let.arguments if isinstance(a, str)} | {r for r in results if isinstance(r, str)}
    keep, again = choose_kept(forward.lets, used, frame.states, advances)
    running = needed_lets(forward.lets, [a.value for a in advances] + list(keep))
    return BackwardKernel(
        frame.parameters, tuple(frame.prologue.lets), frame.states, frame.reads, running, advances, keep, cotangent,
        tuple(carries), (*again, *body), tuple(carry_advances), gradients, accumulates, epilogue, parameter_gradients,
        _carried(step, extents), len(again),
    )  # fmt: skip


def _carried(step: Step, extents: Mapping[str, int]) -> tuple[int, ...]:
    """The places of the states that have a gradient."""
    moves = [not update.constant for update in step.states for _ in range(math.prod(extents[i] for i in update.indices))]
    return tuple(place for place, has_gradient in enumerate(moves) if has_gradient)


def _collect_gradients(
    graph: ScanGraph, derived: AdjointStep, unroller: Unroller, sizes: Mapping[str, int]
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
            gradients.append(Gradient(_stream(graph, streams[name], math.prod(extents), sizes), atoms))
            continue
        assert unroller.block.above is not None
        totals = unroller.names.declare(unroller.block.above, total_of(name), extents)
        accumulates += [Accumulate(total, atom) for total, atom in zip(totals, atoms, strict=True)]
    return tuple(gradients), tuple(accumulates)


def _lower_epilogue(
    graph: ScanGraph, derived: AdjointStep, sizes: Mapping[str, int], names: Names, prologue: Block
) -> tuple[tuple[Let, ...], tuple[ParameterGradient, ...]]:
    block = Block(prologue, exact=False)
    block.taken |= {str(atom) for atom in names.atoms.values()}
    unroller = Unroller(_extents(derived.step, sizes), names, block)
    for equation in derived.epilogue:
        unroller.assign(equation.name, equation.indices, equation.value, equation.span)
    found = []
    for operand in derived.step.operands:
        if operand.kind != "param":
            continue
        shape = unroller.extents(operand.indices)
        name = gradient_of(operand.name)
        unroller.assign(name, operand.indices, derived.parameters.get(operand.name, Constant(0.0)), operand.span)
        of = _parameter(graph, operand, math.prod(shape), sizes)
        found.append(ParameterGradient(of, names.of(name, shape)))
    return needed_lets(block.lets, [a for gradient in found for a in gradient.atoms]), tuple(found)


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
    forward = CellKernel(tuple(reads), needed_lets(block.lets, [output]), (Gradient(Stream("y", 1, False), (output,)),))
    cotangent = Stream(derived.cotangent, every=1, per_direction=False)
    cotangent_access = Access(cotangent, names.declare(block, derived.cotangent, ()))
    backward = Block(block, exact=False)
    unroller = Unroller(extents, names, backward)
    for equation in derived.body:
        unroller.assign(equation.name, equation.indices, equation.value, equation.span)
    writes = []
    for operand in step.operands:
        value = derived.gradients.get(operand.name, Constant(0.0))
        unroller.assign(gradient_of(operand.name), (), value, None)
        atoms = names.of(gradient_of(operand.name), ())
        writes.append(Gradient(Stream(gradient_of(operand.name), 1, False), atoms))
    body = needed_lets((*block.lets, *backward.lets), [a for write in writes for a in write.atoms])
    return forward, CellKernel((*reads, cotangent_access), body, tuple(writes))
