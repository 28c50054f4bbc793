"""Blocks and backbones in the grammar: what is read, where keywords are names, style, and the advice after a slip."""

from __future__ import annotations

import pytest
from syntax_checks import WHOLE, parsed

from scanlang.diagnostics import Diagnostic, ScanError
from scanlang.limits import LIMITS
from scanlang.syntax import nodes
from scanlang.syntax.format import format_text
from scanlang.syntax.grammar import spellings

HERE = parsed("").span


def findings(text: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(ScanError) as caught:
        parsed(text)
    return caught.value.diagnostics


def name(text: str) -> nodes.Name:
    return nodes.Name(text, span=HERE)


def number(value: int) -> nodes.Number:
    return nodes.Number(value, True, span=HERE)


def block(text: str) -> nodes.BlockDefinition:
    (item,) = parsed(text).items
    assert isinstance(item, nodes.BlockDefinition)
    return item


def backbones(text: str) -> list[nodes.BackboneDefinition]:
    items = parsed(text).items
    return [item for item in items if isinstance(item, nodes.BackboneDefinition)]


def test_formals() -> None:
    formals = block("block b(dim, ratio = 2, scan core = cross, block norm) { forward x = x }").formals
    assert formals == (
        nodes.NetworkFormal("dim", span=HERE),
        nodes.NetworkFormal("ratio", "number", number(2), span=HERE),
        nodes.NetworkFormal("core", "scan", name("cross"), span=HERE),
        nodes.NetworkFormal("norm", "block", span=HERE),
    )
    assert [formal.span.text for formal in formals] == ["dim", "ratio = 2", "scan core = cross", "block norm"]
    assert block("block b { forward x = x }") == block("block b() { forward x = x }")


def test_statements() -> None:
    found = block("block b() { n = 2 fc = linear(n, n, bias = false) * 3 forward x = fc(x) }")
    inner, layer = found.statements
    assert inner == nodes.Assignment("n", number(2), span=HERE, name_span=HERE)
    keywords = (nodes.Actual("bias", name("false"), span=HERE),)
    call = nodes.Call("linear", (name("n"), name("n")), keywords, span=HERE)
    assert layer.value == nodes.Binary("*", call, number(3), span=HERE)
    assert (layer.name_span.text, layer.span.text) == ("fc", "fc = linear(n, n, bias = false) * 3")


def test_forward_binds_to_the_right() -> None:
    forward = block("block b() { forward x, z = let a, b = split(x, 2) in let c = a in b + c * z }").forward
    assert forward.inputs == (name("x"), name("z"))
    assert isinstance(forward.body, nodes.Let)
    assert forward.body.names == (name("a"), name("b"))
    assert isinstance(forward.body.body, nodes.Let)
    assert forward.body.span.text == "let a, b = split(x, 2) in let c = a in b + c * z"
    assert forward.body.body.body.span.text == "b + c * z"


@pytest.mark.parametrize("function", ["mean", "max", "softmax"])
def test_functions_over_cells(function: str) -> None:
    body = block(f"block b() {{ forward x = {function}(cells: x) }}").forward.body
    assert body == nodes.CellMean(name("x"), function, span=HERE)  # type: ignore[arg-type]


def test_features() -> None:
    (found,) = backbones("backbone b() { stem = f() feature one = g() features many = h() * 2 }")
    assert [statement.feature for statement in found.statements] == ["", "feature", "features"]
    assert [statement.name for statement in found.statements] == ["stem", "one", "many"]
    assert found.statements[2].span.text == "features many = h() * 2"


def test_variants() -> None:
    small, same = backbones("backbone small from vim { depth = 2 norm = f() } backbone same from vim backbone b() { a = f() }")[
        :2
    ]
    assert (small.base, same.base) == (name("vim"), name("vim"))
    assert small.base is not None
    assert small.base.span.text == "vim"
    assert [statement.name for statement in small.statements] == ["depth", "norm"]
    assert (same.formals, same.statements) == ((), ())


KEYWORDS = sorted(text for text in spellings().values() if text.isidentifier())


@pytest.mark.parametrize("word", KEYWORDS)
def test_keywords_are_names_in_blocks(word: str) -> None:
    parsed(f"block {word}(a, scan {word}, block {word} = {word}) {{ a = {word} {word} = {word}(2, {word} = 1) forward x = x }}")
    parsed(f"block b() {{ forward {word}, {word} = {word}x + {word} * {word}({word}) - mean(cells: {word}) }}")
    parsed(f"block b() {{ forward x = let {word}, {word} = a in (({word}) + {word}) }}")
    parsed(f"backbone {word} {{ {word} = {word}() feature {word} = f() * {word} features {word} = f() }}")
    parsed(f"backbone {word} from {word} {{ {word} = {word} }} backbone {word} from {word}")


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("block b() { a = 1 }", "a block ends with what it makes of its input: `forward x = ...`"),
        ("block b() { }", "a block ends with what it makes of its input: `forward x = ...`"),
        ("block b() { forward x = f(x) a = 1 }", "`forward` is the last line of a block: `a = ...` goes above it"),
        ("block b() { forward x = f(x) forward y = y }", "a block has one `forward`; several inputs are `forward x, z = ...`"),
        ("block b() { forward(x) = f(x) }", "no parentheses: `forward x = ...`"),
        ("block b() { forwrad x = f(x) }", "did you mean `forward`?"),
        ("block b() { return f(x) }", "what a block makes stands behind `forward x =`"),
        ("block b() { forward x = let y = x y }", "`in` stands before what `y` is for: `let y = ... in ...`"),
        ("block b() { forward x = let y = x; y }", "`in` stands before what `y` is for: `let y = ... in ...`"),
        ("block b() { forward x = let y = f(x) let z = y in z }", "`in` stands before what `y` is for: `let y = ... in ...`"),
        ("block b() { forward x = let y = x, z = y in z }", "one after the other: `let y = ... in let z = ... in ...`"),
        ("block b() { forward x = let y = f(x) }", "a `let` goes on: `let y = ... in ...`"),
        ("block b() { let y = 2 forward x = x }", "a line gives a name to a number or layer: `y = ...`"),
        (
            "block b() { forward x = drop_path(0.1)(x) }",
            "a layer is made on a line of its own, and called by its name: `skip = drop_path(0.1)`, then `skip(x)`",
        ),
        ("block b() { forward x = self.fc(x) }", "nothing has methods: write `fc(...)`"),
        ("block b() { forward x = x.mean() }", "nothing has methods: write `mean(cells: x)`"),
        (
            "block b() { forward x = x @ x }",
            "there are no products of matrices: `linear(in, out)` is a learned one, a scan mixes cells",
        ),
        ("block b() { a = 'b' }", None),
        ('block b() { a = f("b") forward x = x }', "names stand without quotation marks"),
        ("block b() { // c\n forward x = x }", "a comment begins with `#`"),
        ("block b() { a = f(dim\n c = g() forward x = x }", "the bracket of `f(` is not closed"),
        (
            "block b() { a = f() if dim forward x = x }",
            "nothing is chosen here: a formal such as `block mixer = ss2d` leaves it to the caller",
        ),
        ("backbone b() { for i { a = f() } }", "a layer is repeated by `name = layer(...) * 3`"),
        ("backbone b() { a = f() x 3 }", "a layer is repeated by `* 3`"),
        (
            "backbone b() { a = [f(), g()] }",
            "there are no lists: every layer has a line of its own, and `name = layer(...) * 3` is three of them",
        ),
        ("backbone b(depths = [2, 2]) { }", "there are no lists: `depth1 = 2, depth2 = 2`"),
        ("block b() { forward x = f([x, x]) }", "there are no lists: `concat(x, y)` puts channels side by side"),
        (
            "backbone b() { a = f() forward x = a(x) }",
            "a backbone has no `forward`: its layers are applied one after the other, from the top to the bottom",
        ),
        (
            "block b() { feature a = f() forward x = a(x) }",
            "a block has no features; a backbone says which of its layers are some: `feature name = ...`",
        ),
        ("backbone b() { featur a = f() }", "did you mean `feature`?"),
        ("block b() { block c() { forward x = x } }", "a block stands beside others, in none: close this block before it"),
        ("backbone b() { a = f() scan s() { }", "a scan stands beside others, in none: close this backbone before it"),
        ("block b(int dim) { forward x = x }", "a formal that is a number has no word before it: `dim`"),
        ("block b(order o) { forward x = x }", "formals are numbers, scans and blocks: `o`, `scan o` or `block o`"),
        ("block b(dim: 3) { forward x = x }", "write `dim = ...`"),
        ("block b(dim): forward x = x", "braces stand around what a block or backbone is made of: `{ ... }`"),
        ("backbone b(dim) from a { }", "a variant has the formals of its base: `backbone b from ... { dim = 192 }`"),
        ("backbone b extends a { }", "a variant is written `backbone b from ...`"),
        ("backbone b from a(dim = 3)", "what is different stands in braces: `backbone b from a { ... }`"),
        ("backbone b from a with dim = 3", "what is different stands in braces: `backbone b from a { ... }`"),
        ("blok b() { forward x = x }", "did you mean `block`?"),
    ],
)
def test_advice_after_a_slip(text: str, advice: str | None) -> None:
    (finding,) = findings(text)
    assert (finding.code, finding.help) == ("S001", advice)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("block b() { ; }", "expected a name or `forward`"),
        ("backbone b() { ; }", "expected a name, `feature`, `features` or `}`"),
        ("recurrence r() { ; }", "expected a name, `input`, `shared`, `param`, `scale` or `}`"),
        ("block b() { forward x = ; }", "expected a name, a number, `let`, `(` or `-`"),
    ],
)
def test_words_that_can_stand_there(text: str, expected: str) -> None:
    (finding,) = findings(text)
    assert finding.label == expected


@pytest.mark.parametrize("text", ["block b() { forward x = x scan s() { }", "block b() { forward x = f(x) backbone c() { }"])
def test_an_item_in_open_braces_shows_the_brace(text: str) -> None:
    (finding,) = findings(text)
    assert (finding.help, [label.text for label in finding.related]) == (None, ["still open"])


def test_long_chains_of_let_are_a_finding() -> None:
    text = "".join(f"let y{number} = x in " for number in range(LIMITS.expression_depth + 1))
    (finding,) = findings(f"block b() {{ forward x = {text}x }}")
    assert finding.code == "S006"
    assert parsed(f"block b() {{ forward x = {'let y = x in ' * 100}x }}")


STYLE = """\
block b(dim,ratio=2){ inner=dim*ratio
fc = linear(dim, inner,bias=false)  # widens
# what it makes
forward x,z=let u,v=split(fc(x),2) in
u*silu(v)+z }
block id(){forward x=x}
backbone net(dim=96){
feature stage=b(dim)*(2*2)
 norm=layer_norm(dim) # last
}
backbone a from net{dim=48}
backbone c from net {
}
backbone d from net { dim = 48
   norm = identity() }
"""

STYLED = """\
block b(dim, ratio = 2) {
  inner = dim * ratio
  fc    = linear(dim, inner, bias = false)  # widens
  # what it makes
  forward x, z = let u, v = split(fc(x), 2) in u * silu(v) + z
}

block id() { forward x = x }

backbone net(dim = 96) {
  feature stage = b(dim) * (2 * 2)
  norm          = layer_norm(dim)  # last
}

backbone a from net { dim = 48 }
backbone c from net

backbone d from net {
  dim  = 48
  norm = identity()
}
"""


def test_style() -> None:
    assert format_text(STYLE) == STYLED
    assert format_text(STYLED) == STYLED


def test_long_formals_and_lets_go_on_in_the_next_line() -> None:
    formals = ", ".join(f"formal_number_{number} = {number}" for number in range(12))
    lets = " in ".join(f"let value_{number} = linear_{number}(x)" for number in range(8))
    text = format_text(f"block b({formals}) {{ forward x = {lets} in x }}")
    assert max(map(len, text.splitlines())) <= 120
    assert parsed(text) == parsed(f"block b({formals}) {{ forward x = {lets} in x }}")
    assert format_text(text) == text


def test_the_text_with_everything_is_styled_and_stays_the_same() -> None:
    text = format_text(WHOLE)
    assert parsed(text) == parsed(WHOLE)
    assert format_text(text) == text
