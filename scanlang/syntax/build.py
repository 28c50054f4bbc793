"""lark's tree to the frozen nodes of a program, each with its span.

Reports what the grammar lets through: numbers out of range, comparisons outside `where`, expressions too deep,
initial values of inputs. Names are not looked up here.
"""

from __future__ import annotations

from typing import Any, Literal, cast, get_args

from lark import ParseTree, Token

from scanlang.diagnostics import InternalError, Reporter
from scanlang.errors import InitialValueOfInput, NestedTooDeeply
from scanlang.limits import LIMITS
from scanlang.source import Source, Span, join
from scanlang.syntax import nodes
from scanlang.syntax.build_expression import ExpressionBuilder, build_integer, names_in, span_of, token_span, trees_in

MERGE_WORDS = frozenset(get_args(nodes.MergeRule))
_LEVELS = frozenset(
    {"binary", "negative", "call", "sum", "name", "integer", "float", "group", "let"}
    | {"order_name", "order_call", "keyword", "choice"}
)


def build_syntax(tree: ParseTree, source: Source) -> nodes.Program:
    """`build_syntax(parse_text(source), source)`; raises ScanError with everything found."""
    reporter = Reporter()
    _check_depth(tree, source, reporter)
    reporter.check()
    builder = _Builder(source, reporter)
    items = tuple(builder.item(item) for item in trees_in(tree))
    reporter.check()
    return nodes.Program(items, span=Span(source, 0, len(source.text)))


def _check_depth(tree: ParseTree, source: Source, reporter: Reporter) -> None:
    """Depth counted from below without recursion; the first expression that is one level too deep is reported."""
    depth: dict[int, int] = {}
    for subtree in tree.iter_subtrees():
        below = max((depth[id(child)] for child in trees_in(subtree)), default=0)
        depth[id(subtree)] = below + (subtree.data in _LEVELS)
        if depth[id(subtree)] > LIMITS.expression_depth and not reporter.diagnostics:
            reporter.report(NestedTooDeeply(span_of(subtree, source), LIMITS.expression_depth, "expressions"))


def _unquoted(token: Token | ParseTree) -> str:
    return str(token)[1:-1]


def _second(tree: ParseTree) -> Token:
    """The word after a clause's keyword."""
    return cast(Token, tree.children[1])


class _Builder:
    """One method per rule of the grammar."""

    def __init__(self, source: Source, reporter: Reporter) -> None:
        self.source = source
        self.reporter = reporter
        self.expression = ExpressionBuilder(source, reporter)
        self.layers_of = ExpressionBuilder(source, reporter, in_block=True)

    def span(self, tree: ParseTree) -> Span:
        return span_of(tree, self.source)

    def name(self, token: Token) -> nodes.Name:
        return nodes.Name(str(token), span=token_span(token, self.source))

    def text(self, tree: ParseTree) -> nodes.Text:
        return nodes.Text(_unquoted(tree.children[0]), span=self.span(tree))

    def integer(self, tree: ParseTree) -> nodes.Number:
        return build_integer(tree, self.source, self.reporter)

    def signed(self, tree: ParseTree) -> nodes.Number:
        if tree.data == "integer":
            return self.integer(tree)
        return nodes.Number(-self.integer(trees_in(tree)[0]).value, True, span=self.span(tree))

    def names(self, tokens: list[Token]) -> tuple[nodes.Name, ...]:
        return tuple(self.name(token) for token in tokens)

    def item(self, tree: ParseTree) -> nodes.Item:
        match tree.data:
            case "grid":
                return nodes.Grid(self.names(names_in(tree)), span=self.span(tree))
            case "import_library":
                return nodes.Import(".".join(names_in(tree)), True, span=self.span(tree))
            case "import_file":
                return nodes.Import(_unquoted(tree.children[1]), False, span=self.span(tree))
            case "order_definition":
                return self.order_definition(tree)
            case "formula_definition":
                return self.formula_definition(tree)
            case "recurrence_definition":
                return self.recurrence_definition(tree)
            case "scan_definition":
                return self.scan_definition(tree)
            case "block_definition":
                return self.block_definition(tree)
            case "backbone_definition" | "derived_definition":
                return self.backbone_definition(tree)
        raise InternalError(f"no item: {tree.data}")

    # orders

    def order_definition(self, tree: ParseTree) -> nodes.OrderDefinition:
        (name,) = names_in(tree)
        value = trees_in(tree)[0]
        return nodes.OrderDefinition(
            str(name),
            nodes.GivenOrder(span=self.span(value)) if value.data == "given" else self.order(value),
            name_span=token_span(name, self.source),
            span=self.span(tree),
        )

    def formula_definition(self, tree: ParseTree) -> nodes.FormulaDefinition:
        name, parameter = names_in(tree)
        opening, closing = [t for t in tree.children if isinstance(t, Token) and t.type in ("LPAR", "RPAR")][-2:]
        return nodes.FormulaDefinition(
            str(name),
            str(parameter),
            tuple(self.expression.build(cell) for cell in trees_in(tree)),
            name_span=token_span(name, self.source),
            parameter_span=token_span(parameter, self.source),
            cell_span=join(token_span(opening, self.source), token_span(closing, self.source)),
            span=self.span(tree),
        )

    def order(self, tree: ParseTree) -> nodes.OrderExpr:
        match tree.data:
            case "walk":
                return nodes.Walk(tuple(self.walk_item(item) for item in trees_in(tree)), span=self.span(tree))
            case "order_name":
                return nodes.OrderName(str(tree.children[0]), span=self.span(tree))
            case "order_call":
                arguments = tuple(self.order_argument(argument) for argument in trees_in(tree))
                return nodes.OrderCall(str(tree.children[0]), arguments, span=self.span(tree))
            case "group":
                return self.order(trees_in(tree)[0])
        raise InternalError(f"no order: {tree.data}")

    def order_argument(self, tree: ParseTree) -> nodes.OrderArgument:
        match tree.data:
            case "integer" | "negative_integer":
                return self.signed(tree)
            case "text":
                return self.text(tree)
            case "keyword":
                return nodes.Keyword(str(tree.children[0]), self.keyword_value(trees_in(tree)[0]), span=self.span(tree))
            case "every":
                return nodes.Every(str(names_in(tree)[0]), span=self.span(tree))
            case "token_at":
                return self.token_at(tree)
        return self.order(tree)

    def keyword_value(self, tree: ParseTree) -> nodes.OrderExpr | nodes.Number | nodes.Phase:
        match tree.data:
            case "integer" | "negative_integer":
                return self.signed(tree)
            case "phase":
                return nodes.Phase(tuple(self.signed(number) for number in trees_in(tree)), span=self.span(tree))
        return self.order(tree)

    def token_at(self, tree: ParseTree) -> nodes.TokenAt:
        (place,) = trees_in(tree)
        number = [self.size(part) for part in trees_in(place)]
        first = place.children[0]
        word = str(first) if isinstance(first, Token) else "index"
        return nodes.TokenAt(str(tree.children[0]), cast(Any, word), number[0] if number else None, span=self.span(tree))

    def walk_item(self, tree: ParseTree) -> nodes.WalkItem:
        first = cast(Token, tree.children[0])
        direction = cast(Literal["", "-", "~", "~~"], "" if first.type == "NAME" else str(first))
        step = trees_in(tree)
        sizes = [self.size(size) for size in trees_in(step[0])] if step else []
        is_by = bool(step) and step[0].data == "by"
        return nodes.WalkItem(
            str(names_in(tree)[0]),
            direction,
            by=sizes[0] if is_by else None,
            start=sizes[1] if len(sizes) == 2 else None,
            mod=sizes[0] if step and not is_by else None,
            span=self.span(tree),
        )

    def size(self, tree: ParseTree) -> nodes.Number | nodes.Name:
        return self.integer(tree) if tree.data == "integer" else self.name(names_in(tree)[0])

    # recurrences

    def formals(self, tree: ParseTree) -> tuple[nodes.Formal, ...]:
        formals = [formal for part in trees_in(tree) if part.data == "formals" for formal in trees_in(part)]
        return tuple(self.formal(formal) for formal in formals)

    def formal(self, tree: ParseTree) -> nodes.Formal:
        label, *index = names_in(tree)
        default = [self.expression.build(part) for part in trees_in(tree)]
        return nodes.Formal(str(label), str(index[0]) if index else None, default[0] if default else None, span=self.span(tree))

    def recurrence_definition(self, tree: ParseTree) -> nodes.RecurrenceDefinition:
        name = names_in(tree)[0]
        return nodes.RecurrenceDefinition(
            str(name),
            self.formals(tree),
            tuple(self.statement(part) for part in trees_in(tree) if part.data != "formals"),
            name_span=token_span(name, self.source),
            span=self.span(tree),
        )

    def statement(self, tree: ParseTree) -> nodes.Declaration | nodes.Equation:
        first = cast(Token, tree.children[0])
        if tree.data == "declaration":
            kind = " ".join(str(child) for child in tree.children if isinstance(child, Token) and child.type != "COMMA")
            operands = tuple(self.operand(part, kind) for part in trees_in(tree) if part.data == "operand")
            per = [self.size(trees_in(part)[0]) for part in trees_in(tree) if part.data == "per"]
            return nodes.Declaration(cast(Any, kind), operands, per[0] if per else None, span=self.span(tree))
        is_scale = tree.data == "scale"
        name = str(tree.children[1] if is_scale else first)
        value = self.expression.build(trees_in(tree)[-1])
        return nodes.Equation(name, self.indices(tree), value, is_scale, span=self.span(tree))

    def operand(self, tree: ParseTree, kind: str) -> nodes.Operand:
        name = names_in(tree)[0]
        initial = [self.expression.build(part) for part in trees_in(tree) if part.data != "indices"]
        if initial and kind in ("input", "shared"):
            line = self.source.text[: name.start_pos].rpartition("\n")[2]
            self.reporter.report(InitialValueOfInput(initial[0].span, str(name), kind, not line.strip()))
        return nodes.Operand(str(name), self.indices(tree), initial[0] if initial else None, span=self.span(tree))

    def indices(self, tree: ParseTree) -> tuple[str, ...]:
        return tuple(str(name) for part in trees_in(tree) if part.data == "indices" for name in names_in(part))

    # scans

    def scan_definition(self, tree: ParseTree) -> nodes.ScanDefinition:
        name = names_in(tree)[0]
        return nodes.ScanDefinition(
            str(name),
            self.formals(tree),
            tuple(self.clause(part) for part in trees_in(tree) if part.data != "formals"),
            name_span=token_span(name, self.source),
            span=self.span(tree),
        )

    def clause(self, tree: ParseTree) -> nodes.Clause:
        match tree.data:
            case "input":
                return nodes.Input(self.names(names_in(tree)), span=self.span(tree))
            case "directions":
                return nodes.Directions(tuple(self.order(part) for part in trees_in(tree)), span=self.span(tree))
            case "layers":
                return self.layers(tree)
            case "channels":
                parts = tuple(self.integer(part) for part in trees_in(tree))
                return nodes.Channels(_second(tree).type == "SPLIT", parts, span=self.span(tree))
            case "recur":
                actuals = tuple(self.actual(part) for part in trees_in(tree))
                return nodes.Recur(str(names_in(tree)[0]), actuals, span=self.span(tree))
            case "project":
                *names, origin = names_in(tree)
                bias = cast(Token, tree.children[-1]).type == "BIAS"
                return nodes.Project(self.names(names), self.name(origin), bias, span=self.span(tree))
            case "conv":
                width, *order = trees_in(tree)
                return nodes.Conv(self.integer(width), self.order(order[0]) if order else None, span=self.span(tree))
            case "along":
                return nodes.Along(self.names(names_in(tree)), self.order(trees_in(tree)[0]), span=self.span(tree))
            case "writes":
                (direction,) = names_in(tree)
                return nodes.Writes(self.name(direction), self.order(trees_in(tree)[0]), span=self.span(tree))
            case "label":
                return nodes.Label(str(_second(tree)), span=self.span(tree))
            case "share":
                return nodes.Share(_second(tree).type == "ALL", self.names(names_in(tree)), span=self.span(tree))
            case "use":
                return self.use(tree)
            case "uncovered":
                return nodes.Uncovered(self.expression.number(trees_in(tree)[0]), span=self.span(tree))
            case "merge":
                return self.merge(tree)
        raise InternalError(f"no clause: {tree.data}")

    def layers(self, tree: ParseTree) -> nodes.Layers:
        rule = cast(Literal["cycle", "list"], str(_second(tree)))
        whole_backbone = any(isinstance(child, Token) and child.type == "GLOBAL" for child in tree.children)
        choices = tuple(tuple(self.order(order) for order in trees_in(choice)) for choice in trees_in(tree))
        return nodes.Layers(rule, whole_backbone, choices, span=self.span(tree))

    def use(self, tree: ParseTree) -> nodes.Use:
        name, layer = names_in(tree)
        arguments = tuple(
            self.actual(argument) if argument.data == "actual" else self.expression.build(argument)
            for argument in trees_in(tree)
        )
        return nodes.Use(self.name(name), str(layer), arguments, span=self.span(tree))

    def actual(self, tree: ParseTree) -> nodes.Actual:
        value = self.expression.build(trees_in(tree)[0])
        return nodes.Actual(str(names_in(tree)[0]), value, span=self.span(tree))

    def merge(self, tree: ParseTree) -> nodes.Merge:
        rule: ParseTree = trees_in(tree)[0]
        word = str(rule.children[0]) if rule.data == "name" and len(rule.children) == 1 else ""
        if word in MERGE_WORDS:
            return nodes.Merge(cast(nodes.MergeRule, word), span=self.span(tree))
        return nodes.Merge(self.expression.build(rule), span=self.span(tree))

    # blocks and backbones

    def block_definition(self, tree: ParseTree) -> nodes.BlockDefinition:
        (name,), (*statements, forward) = names_in(tree), [part for part in trees_in(tree) if part.data != "network_formals"]
        return nodes.BlockDefinition(
            str(name),
            self.network_formals(tree),
            tuple(self.assignment(part) for part in statements),
            self.forward(forward),
            name_span=token_span(name, self.source),
            span=self.span(tree),
        )

    def backbone_definition(self, tree: ParseTree) -> nodes.BackboneDefinition:
        name, *base = names_in(tree)
        return nodes.BackboneDefinition(
            str(name),
            self.network_formals(tree),
            tuple(self.assignment(part) for part in trees_in(tree) if part.data != "network_formals"),
            self.name(base[0]) if base else None,
            name_span=token_span(name, self.source),
            span=self.span(tree),
        )

    def network_formals(self, tree: ParseTree) -> tuple[nodes.NetworkFormal, ...]:
        formals = [formal for part in trees_in(tree) if part.data == "network_formals" for formal in trees_in(part)]
        return tuple(self.network_formal(formal) for formal in formals)

    def network_formal(self, tree: ParseTree) -> nodes.NetworkFormal:
        first = cast(Token, tree.children[0])
        kind = cast(Literal["number", "scan", "block"], "number" if first.type == "NAME" else str(first))
        default = [self.layers_of.build(part) for part in trees_in(tree)]
        return nodes.NetworkFormal(str(names_in(tree)[0]), kind, default[0] if default else None, span=self.span(tree))

    def assignment(self, tree: ParseTree) -> nodes.Assignment:
        first, second = cast(tuple[Token, Token], tree.children[:2])
        feature = cast(Literal["", "feature", "features"], str(first) if tree.data == "feature" else "")
        name = second if feature else first
        value = self.layers_of.build(trees_in(tree)[0])
        return nodes.Assignment(str(name), value, feature, name_span=token_span(name, self.source), span=self.span(tree))

    def forward(self, tree: ParseTree) -> nodes.Forward:
        return nodes.Forward(self.names(names_in(tree)), self.body(trees_in(tree)[0]), span=self.span(tree))

    def body(self, tree: ParseTree) -> nodes.Body:
        """One `let` after the other: there may be many."""
        bound: list[tuple[ParseTree, nodes.Expr]] = []
        while tree.data == "let":
            value, rest = trees_in(tree)
            bound.append((tree, self.layers_of.build(value)))
            tree = rest
        body: nodes.Body = self.layers_of.build(tree)
        for written, meant in reversed(bound):
            body = nodes.Let(self.names(names_in(written)), meant, body, span=self.span(written))
        return body
