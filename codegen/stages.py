"""The compiler's values between its passes as text, for `scanlang compile --emit`. In: a stage; out: what a person reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from scanlang.codegen.derived import Line, derive
from scanlang.codegen.kernel import OWN, TIME, Access, Advance, Atom, Let, ScanKernels, Stream
from scanlang.graph.scan_graph import ScanGraph
from scanlang.graph.step import Step
from scanlang.graph.values import show
from scanlang.maps.order import Order
from scanlang.maps.show import show as show_integers
from scanlang.pipeline import conv_graph
from scanlang.program import Program


def tree_text(value: Any, depth: int = 0) -> str:
    """A tree of frozen nodes, one a line, spans left out."""
    return "\n".join(_tree_lines(value, depth)) + "\n"


def _tree_lines(value: Any, depth: int) -> Iterator[str]:
    indent = "  " * depth
    if is_dataclass(value) and not isinstance(value, type):
        plain: list[tuple[str, Any]] = []
        inner: list[tuple[str, Any]] = []
        for field in fields(value):
            if not field.repr:
                continue
            one = getattr(value, field.name)
            (inner if _is_tree(one) else plain).append((field.name, one))
        yield f"{indent}{type(value).__name__}({', '.join(f'{name}={one!r}' for name, one in plain)})"
        for name, one in inner:
            yield f"{indent}  .{name}"
            yield from _tree_lines(one, depth + 2)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield f"{indent}{name}:"
            yield from _tree_lines(one, depth + 1)
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _tree_lines(one, depth)
    else:
        yield f"{indent}{value!r}"


def _is_tree(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(_is_tree(one) for one in value)
    return isinstance(value, dict) or (is_dataclass(value) and not isinstance(value, type))


def maps_text(program: Program) -> str:
    """Every order: step → cell, cell → step, its loop nest, and how it was verified."""
    orders: dict[str, Order] = dict(program.orders)
    for scan in program.scans:
        orders.update({order.name: order for layer in program.verified.layers(scan) for order in layer})
    return "\n".join(_order_text(order, str(program.verified.verifications[order.name])) for order in orders.values())


def _order_text(order: Order, verification: str) -> str:
    lengths = ", ".join(f"n{axis}" for axis in range(order.rank))
    be = "is the length" if order.rank == 1 else "are the lengths"
    lines = [f"order {order.name}    # {verification}; {lengths} {be} of {', '.join(order.axes)}"]
    if order.map is None:
        given = f", of the steps of `{order.given}`" if order.given is not None else ""
        return "\n".join([*lines, f"  t -> a table{given}, made for each size"]) + "\n"
    named_terms, cell = show_integers(*order.map.outputs)
    lines += [*_indented(named_terms), f"  t -> ({', '.join(cell)})"]
    if order.inverse_map is not None:
        named_terms, rank = show_integers(*order.inverse_map.outputs)
        lines += ["", *_indented(named_terms), f"  ({', '.join(order.inverse_map.inputs)}) -> {rank[0]}"]
    if order.nest is not None:
        nest = order.nest
        named_terms, texts = show_integers(*(loop.count for loop in nest.loops), nest.length, nest.start, nest.stride)
        loops = [f"for {loop.variable} < {count}" for loop, count in zip(nest.loops, texts, strict=False)]
        run = "run of {} cells from {} by {}".format(*texts[-3:])
        lines += ["", *_indented(named_terms), f"  {', '.join([*loops, run])}"]
    return "\n".join(lines) + "\n"


def graph_text(program: Program, scan: str, layer: int = 0) -> str:
    """The graph as written, as the fused operator computes it, and its convolution as a pass of its own."""
    text = (
        f"scan {scan} as written\n\n{program.graph(scan, layer)}\n\n"
        f"scan {scan} as the operator computes it: projections in grid order and left to the caller, gathers shared\n\n"
        f"{program.operator_graph(scan, layer)}\n"
    )
    if program.checked.scans[scan].conv is None:
        return text
    return f"{text}\nits convolution as a pass of its own\n\n{conv_graph(program.verified, scan, layer)}\n"


def adjoint_text(step: Step, head: str | None = None) -> str:
    """The derived mathematics: the step, its adjoint, what is summed over what. `head` is the index of the head."""
    derived = derive(step, head)
    lines = [f"recurrence {step.recurrence}    # h' is the state before the step, ∂a the gradient of the result by a"]
    if derived.own_names:
        width = max(len(name) for name, _ in derived.own_names)
        lines += ["", "names beside the program's", *(f"  {name:<{width}}    {what}" for name, what in derived.own_names)]
    for section in derived.sections:
        lines += ["", section.title, *_indented(_equation(line) for line in section.lines)]
    return "\n".join(lines) + "\n"


def _equation(line: Line) -> str:
    note = f"summed over {' and '.join(line.over)}" if line.over else line.note
    text = f"{show(line.left)} {'<-' if line.handed_on else '='} {show(line.right)}"
    return f"{text}    # {note}" if note else text


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def kernels_text(kernels: ScanKernels) -> str:
    """Straight-line code per step: what both emitters print from."""
    forward, backward = kernels.forward, kernels.backward
    lines = [", ".join((f"{kernels.name}: {kernels.directions} directions", *_beyond(kernels))), "", "forward"]
    lines += _section("parameters", (_access(one) for one in forward.parameters))
    lines += _section("prologue", (_let(one) for one in forward.prologue))
    lines += _section("states", _states(kernels))
    lines += _section("read", (_access(one) for one in forward.reads))
    lines += _section("step", (_let(one) for one in forward.body))
    lines += _section("advance", (_advance(one) for one in forward.advances))
    lines += [f"  output  {forward.output}", "", "backward"]
    lines += _section("forward again", (_let(one) for one in backward.forward))
    lines += _section("keep", [", ".join(backward.keep)])
    lines += _section("step back", (_let(one) for one in backward.backward))
    lines += _section("advance", (_advance(one) for one in backward.carry_advances))
    lines += _section("gradients", (f"{g.of.name}: {_atoms(g.atoms)}" for g in backward.gradients))
    lines += _section("accumulate", (f"{a.accumulator} += {a.value}" for a in backward.accumulates))
    lines += _section("epilogue", (_let(one) for one in backward.epilogue))
    lines += _section("parameters", (f"{g.of.name}: {_atoms(g.atoms)}" for g in backward.parameter_gradients))
    for title, kernel in (("merge", kernels.merge), ("merge adjoint", kernels.merge_adjoint)):
        if kernel is not None:
            lines += ["", title, *_section("read", (_access(one) for one in kernel.reads))]
            lines += _section("cell", (_let(one) for one in kernel.body))
            lines += _section("write", (f"{w.of.name}: {_atoms(w.atoms)}" for w in kernel.writes))
    return "\n".join(lines) + "\n"


def _beyond(kernels: ScanKernels) -> list[str]:
    """What is not said of a scan whose directions all have all channels, and write where they are."""
    said = [f"channels split {', '.join(map(str, kernels.split))}"] if kernels.split is not None else []
    said += ["outputs side by side"] if kernels.stacked else []
    return said + ([f"written along route {kernels.output_route}"] if kernels.output_route != OWN else [])


def _section(title: str, lines: Iterable[str]) -> list[str]:
    shown = [f"    {line}" for line in lines if line]
    return [f"  {title}", *shown] if shown else []


def _let(let: Let) -> str:
    return f"{let.name} = {let.function}({_atoms(let.arguments)})"


def _atoms(atoms: Iterable[Atom]) -> str:
    return ", ".join(atom if isinstance(atom, str) else f"{atom:g}" for atom in atoms)


def _access(access: Access) -> str:
    of, where = access.of, ""
    if isinstance(of, Stream) and of.route != OWN:
        where = " (along time)" if of.route == TIME else f" (along route {of.route})"
    every = f" (one for {of.every} channels)" if of.every > 1 else ""
    return f"{of.name}{where}{every}: {', '.join(access.names)}"


def _states(kernels: ScanKernels) -> Iterator[str]:
    """Those that do not start at 0, or have no gradient."""
    for place, (name, start) in enumerate(zip(kernels.forward.states, kernels.forward.starts, strict=True)):
        if start != 0 or place not in kernels.backward.carried:
            yield f"{name} from {start:g}{'' if place in kernels.backward.carried else ', constant'}"


def _advance(advance: Advance) -> str:
    return f"{advance.state} <- {_atoms([advance.value])}"


def graph_summary(graph: ScanGraph) -> str:
    """A merge expression as text."""
    if graph.second is not None:
        return " ".join(graph.second.span.text.split())
    return graph.merge if isinstance(graph.merge, str) else show(graph.merge)
