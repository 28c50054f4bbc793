"""A program in canonical style: `parse(format(p)) == p`, formatting twice changes nothing, every comment is kept.

In: the nodes of a program and its comments. Out: text. One statement a line, two spaces of indent, keywords and `=`
of neighbouring statements aligned, at most one blank line. A comment inside a statement moves above it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, groupby, pairwise
from typing import assert_never

from scanlang.source import Source, Span
from scanlang.syntax import nodes
from scanlang.syntax.build import MERGE_WORDS, build_syntax
from scanlang.syntax.format_expression import format_expression, format_order
from scanlang.syntax.parse import parse_text
from scanlang.syntax.text import comment_spans, make_source, masked

_WIDEST_ALIGNED = 60
_WIDEST_LIST = 120
"""Longer lists of directions, and of formals of blocks, go on in the next line."""
_WIDEST_DEFINITION = 128
"""What is longer is not left in one line."""


@dataclass(frozen=True)
class _Line:
    """A statement, or the first or last line of a definition, and the characters it was read from.

    `head` is padded to the width of the neighbours' heads of the same `kind`. `rest` breaks only behind the commas at `breaks`.
    """

    span: Span
    head: str
    rest: str
    depth: int
    kind: str
    leading: tuple[Span, ...] = ()
    trailing: Span | None = None
    blank_before: bool = False
    breaks: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        start = "  " * self.depth + self.head
        lines, begun = [], 0
        for here, following in pairwise((*self.breaks, len(self.rest))):
            if len(start) + following - begun > _WIDEST_LIST:
                lines.append(self.rest[begun:here].rstrip())
                begun = here
        return start + f"\n{' ' * len(start)}".join([*lines, self.rest[begun:]])


def format_text(source: Source | str) -> str:
    """`format_text("grid h,w")` is `"grid h, w\\n"`. Raises ScanError where the text is not a program."""
    text = source if isinstance(source, str) else source.text
    clean = make_source("program.scan" if isinstance(source, str) else source.name, text)
    program = build_syntax(parse_text(clean), clean)
    return format_program(program, comment_spans(clean))


def format_program(program: nodes.Program, comments: tuple[Span, ...] = ()) -> str:
    """`comments` are the spans of the text the program was read from; a program made by hand has none."""
    lines, after = _attach(list(_lines(program)), comments)
    lines = _align(_blank_lines(lines))
    shown = [text for line, column in zip(lines, _comment_columns(lines), strict=True) for text in _show(line, column)]
    if after and lines and _blank_between(lines[-1].trailing or lines[-1].span, after[0]):
        shown.append("")
    shown += _comment_block(after, 0)
    while shown and not shown[0]:
        shown.pop(0)
    return "".join(f"{text}\n" for text in shown)


def _lines(program: nodes.Program) -> Iterator[_Line]:
    code = masked(program.span.source.text)
    for item in program.items:
        match item:
            case nodes.Grid(axes=axes):
                yield _Line(item.span, "grid ", _names(axes), 0, "grid")
            case nodes.Import(path=path, is_library=is_library):
                yield _Line(item.span, "import ", path if is_library else f'"{path}"', 0, "import")
            case nodes.OrderDefinition(name=name, value=value):
                yield _Line(item.span, f"order {name} ", f"= {_order_value(value)}", 0, "order")
            case nodes.FormulaDefinition(name=name, parameter=parameter, cell=cell):
                shown = ", ".join(map(format_expression, cell))
                yield _Line(item.span, f"order {name}({parameter}) ", f"= ({shown})", 0, "order")
            case nodes.BackboneDefinition(base=nodes.Name(name=base), statements=()):
                yield _Line(item.span, "backbone ", f"{item.name} from {base}", 0, "derived")
            case nodes.BackboneDefinition() | nodes.BlockDefinition() if (line := _in_one_line(item)) is not None:
                yield line
            case nodes.RecurrenceDefinition() | nodes.ScanDefinition() | nodes.BlockDefinition() | nodes.BackboneDefinition():
                yield from _definition(item, code)
            case _:
                assert_never(item)


def _order_value(value: nodes.OrderExpr | nodes.GivenOrder) -> str:
    """An order that is called `input` stands in parentheses."""
    if isinstance(value, nodes.GivenOrder):
        return "input"
    text = format_order(value, is_alone=True)
    return f"({text})" if text == "input" else text


def _in_one_line(item: nodes.BackboneDefinition | nodes.BlockDefinition) -> _Line | None:
    """An ablation that was written in one line stays there, and so does a block that is a function; unless it is long."""
    line = None
    if isinstance(item, nodes.BlockDefinition):
        if not item.statements:
            shown = f"{item.name}({', '.join(map(_formal, item.formals))}) {{ {_forward(item.forward).text.strip()} }}"
            line = _Line(item.span, "block ", shown, 0, "small")
    elif item.base is not None:
        changes = "  ".join(map(_assigned, item.statements))
        line = _Line(item.span, "backbone ", f"{item.name} from {item.base.name} {{ {changes} }}", 0, "derived")
    return None if line is None or "\n" in item.span.text or len(line.text) > _WIDEST_DEFINITION else line


_Definition = nodes.RecurrenceDefinition | nodes.ScanDefinition | nodes.BlockDefinition | nodes.BackboneDefinition
_KEYWORDS: dict[type, str] = {
    nodes.RecurrenceDefinition: "recurrence",
    nodes.ScanDefinition: "scan",
    nodes.BlockDefinition: "block",
    nodes.BackboneDefinition: "backbone",
}


def _definition(item: _Definition, code: str) -> Iterator[_Line]:
    """The first line up to its brace, the body, the closing brace."""
    opened = max(code.find("{", item.name_span.end), item.span.start) + 1
    first = replace(item.span, end=opened)
    last = replace(item.span, start=max(item.span.end - 1, item.span.start))
    base = item.base if isinstance(item, nodes.BackboneDefinition) else None
    keyword = _KEYWORDS[type(item)]
    if base is not None:
        yield _Line(first, f"{keyword} ", f"{item.name} from {base.name} {{", 0, "open")
    else:
        formals = [f"{_formal(formal)}, " for formal in item.formals]
        breaks = tuple(accumulate(map(len, formals[:-1])))
        yield _Line(first, f"{keyword} {item.name}(", f"{''.join(formals)[:-2]}) {{", 0, "open", breaks=breaks)
    match item:
        case nodes.ScanDefinition():
            yield from map(_clause, item.clauses)
        case nodes.RecurrenceDefinition():
            yield from map(_statement, item.body)
        case nodes.BlockDefinition():
            yield from map(_assignment, item.statements)
            yield _forward(item.forward)
        case nodes.BackboneDefinition():
            yield from map(_assignment, item.statements)
        case _:
            assert_never(item)
    yield _Line(last, "}", "", 0, "close")


def _assignment(assignment: nodes.Assignment) -> _Line:
    head, rest = _assigned(assignment).split("=", 1)
    return _Line(assignment.span, head, f"={rest}", 1, "assignment")


def _assigned(assignment: nodes.Assignment) -> str:
    return " ".join(filter(None, (assignment.feature, assignment.name, "=", format_expression(assignment.value))))


def _forward(forward: nodes.Forward) -> _Line:
    """Goes on in the next line behind an `in`, where it is long."""
    rest, breaks, body = "= ", [], forward.body
    while isinstance(body, nodes.Let):
        rest += f"let {_names(body.names)} = {format_expression(body.value)} in "
        breaks.append(len(rest))
        body = body.body
    rest += format_expression(body)
    return _Line(forward.span, f"forward {_names(forward.inputs)} ", rest, 1, "forward", breaks=(0, *breaks))


def _formal(formal: nodes.Formal | nodes.NetworkFormal) -> str:
    if isinstance(formal, nodes.NetworkFormal):
        text = formal.name if formal.kind == "number" else f"{formal.kind} {formal.name}"
        return text if formal.default is None else f"{text} = {format_expression(formal.default)}"
    text = formal.label + (f" {formal.index}" if formal.index else "")
    return text if formal.default is None else f"{text} = {format_expression(formal.default)}"


def _statement(part: nodes.Declaration | nodes.Equation) -> _Line:
    if isinstance(part, nodes.Equation):
        target = ("scale " if part.scale else "") + part.name + _indices(part.indices)
        return _Line(part.span, f"{target} ", f"= {format_expression(part.value)}", 1, "equation")
    operands = ", ".join(map(_operand, part.operands))
    return _Line(part.span, f"{part.kind} ", operands + _per(part.per), 1, "declaration")


def _indices(indices: tuple[str, ...]) -> str:
    return f"[{', '.join(indices)}]" if indices else ""


def _operand(operand: nodes.Operand) -> str:
    text = operand.name + _indices(operand.indices)
    return text if operand.initial is None else f"{text} = {format_expression(operand.initial)}"


def _per(size: nodes.Number | nodes.Name | None) -> str:
    """` per 4 units`."""
    if size is None:
        return ""
    is_one = isinstance(size, nodes.Number) and size.value == 1
    return f" per {format_expression(size)} {'unit' if is_one else 'units'}"


def _clause(clause: nodes.Clause) -> _Line:
    rest = _clause_rest(clause)
    return _Line(clause.span, f"{_clause_head(clause)} ", rest, 1, "clause", breaks=_breaks(clause, rest))


def _breaks(clause: nodes.Clause, rest: str) -> tuple[int, ...]:
    """Where the items of a list of directions or layers begin."""
    if not isinstance(clause, nodes.Directions | nodes.Layers):
        return ()
    depth, found = 0, [0]
    for place, character in enumerate(rest):
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            found.append(place + len(", "))
    return tuple(found)


def _clause_head(clause: nodes.Clause) -> str:
    match clause:
        case nodes.Along():
            return "operands"
        case nodes.Writes(direction=direction):
            return direction.name
        case _:
            return type(clause).__name__.lower()


def _clause_rest(clause: nodes.Clause) -> str:
    match clause:
        case nodes.Input(names=names):
            return _names(names)
        case nodes.Directions(orders=orders):
            return ", ".join(map(format_order, orders))
        case nodes.Layers():
            return _layers(clause)
        case nodes.Channels(split=split, parts=parts):
            return " ".join(filter(None, ("split" if split else "all", ", ".join(map(format_expression, parts)))))
        case nodes.Recur(name=name, actuals=actuals):
            return f"{name}({', '.join(map(_layer_argument, actuals))})"
        case nodes.Project(names=names, source=source, bias=bias):
            return f"{_names(names)} from {source.name}{' bias' if bias else ''}"
        case nodes.Conv(width=width, along=along):
            return format_expression(width) + (f" along {format_order(along)}" if along else "")
        case nodes.Along(names=names, order=order):
            return f"{_names(names)} along {format_order(order)}"
        case nodes.Writes(order=order):
            return f"writes {format_order(order)}"
        case nodes.Label(rule=rule):
            return rule
        case nodes.Share(all=has_all, names=names):
            if has_all:
                return f"all except {_names(names)}" if names else "all"
            return _names(names) or "nothing"
        case nodes.Use(name=name, layer=layer, arguments=arguments):
            return f"{name.name} = {layer}({', '.join(map(_layer_argument, arguments))})"
        case nodes.Uncovered(value=value):
            return f"= {format_expression(value)}"
        case nodes.Merge(rule=rule):
            return _merge(rule)
    assert_never(clause)


def _layers(layers: nodes.Layers) -> str:
    """A choice of several directions stands in parentheses, and one that would read as the keyword `global`."""
    shown: list[str] = []
    for choice in layers.choices:
        text = ", ".join(map(format_order, choice))
        shown.append(text if len(choice) == 1 and (shown or text != "global") else f"({text})")
    return f"{layers.rule}{' global' if layers.whole_backbone else ''} {', '.join(shown)}"


def _layer_argument(argument: nodes.Expr | nodes.Actual) -> str:
    if isinstance(argument, nodes.Actual):
        return f"{argument.label} = {format_expression(argument.value)}"
    return format_expression(argument)


def _merge(rule: nodes.MergeRule | nodes.Expr) -> str:
    """An input that is called like a rule stands in parentheses."""
    text = rule if isinstance(rule, str) else format_expression(rule)
    return f"({text})" if text in MERGE_WORDS and not isinstance(rule, str) else text


def _names(names: tuple[nodes.Name, ...]) -> str:
    return ", ".join(name.name for name in names)


def _attach(lines: list[_Line], comments: tuple[Span, ...]) -> tuple[list[_Line], tuple[Span, ...]]:
    """Each comment to its statement: at its end, or above it. Also the comments after the last statement."""
    ends = [line.span.end for line in lines]
    leading: dict[int, list[Span]] = {}
    trailing: dict[int, Span] = {}
    for comment in comments:
        index = bisect_right(ends, comment.start)
        is_inside = index < len(lines) and lines[index].span.start < comment.start
        before = lines[index - 1].span if index and not is_inside else None
        if before and before.source.position(before.end)[0] == comment.line:
            trailing[index - 1] = comment
        else:
            leading.setdefault(index, []).append(comment)
    attached = [
        replace(line, leading=tuple(leading.get(index, ())), trailing=trailing.get(index)) for index, line in enumerate(lines)
    ]
    return attached, tuple(leading.get(len(lines), ()))


def _blank_between(first: Span, second: Span) -> bool:
    source = first.source
    return bool(source.text) and second.line - source.position(first.end)[0] > 1


def _blank_lines(lines: list[_Line]) -> list[_Line]:
    """Blank lines as they were written, none just inside braces, always one around a definition with braces."""
    placed = lines[:1]
    for previous, line in pairwise(lines):
        is_inner = previous.kind == "open" or (line.kind == "close" and not line.leading)
        start = line.leading[0] if line.leading and line.leading[0].start < line.span.start else line.span
        written = _blank_between(previous.trailing or previous.span, start)
        needed = previous.kind == "close" or line.kind == "open"
        placed.append(replace(line, blank_before=needed or (written and not is_inner)))
    return placed


def _comment_block(comments: tuple[Span, ...], depth: int) -> list[str]:
    """Own-line comments, with the blank lines between them."""
    shown: list[str] = []
    for number, comment in enumerate(comments):
        if number and _blank_between(comments[number - 1], comment):
            shown.append("")
        shown.append("  " * depth + _comment(comment))
    return shown


def _comment(comment: Span) -> str:
    return comment.text.rstrip()


def _show(line: _Line, column: int) -> Iterator[str]:
    if line.blank_before:
        yield ""
    yield from _comment_block(line.leading, 1 if line.kind == "close" else line.depth)
    last = line.leading[-1] if line.leading else None
    if last and last.end <= line.span.start and line.kind != "close" and _blank_between(last, line.span):
        yield ""
    *whole, text = line.text.split("\n")
    yield from whole
    yield text if line.trailing is None else f"{text.ljust(column)}  {_comment(line.trailing)}"


def _runs(lines: list[_Line], kinds: list[str]) -> Iterator[list[_Line]]:
    """Neighbours of the same kind, with neither a blank line nor a comment between."""
    keys: list[tuple[int, str]] = []
    run = 0
    for line, kind in zip(lines, kinds, strict=True):
        run += line.blank_before or bool(line.leading)
        keys.append((run, kind))
    for _, group in groupby(zip(keys, lines, strict=True), key=lambda pair: pair[0]):
        yield [line for _, line in group]


def _align(lines: list[_Line]) -> list[_Line]:
    aligned: list[_Line] = []
    for run in _runs(lines, [line.kind for line in lines]):
        width = max(len(line.head) for line in run)
        pad = width if run[0].kind in ("order", "equation", "declaration", "clause", "assignment") else 0
        aligned += [replace(line, head=line.head.ljust(pad)) for line in run]
    return aligned


def _comment_columns(lines: list[_Line]) -> list[int]:
    """Where the text before a trailing comment ends: the widest of neighbouring lines with one, long lines aside."""
    columns: list[int] = []
    for run in _runs(lines, [f"{line.depth} {line.trailing is not None}" for line in lines]):
        widths = [len(line.text) for line in run if len(line.text) <= _WIDEST_ALIGNED]
        columns += [max(widths, default=0) if run[0].trailing else 0] * len(run)
    return columns
