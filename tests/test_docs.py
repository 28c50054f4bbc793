"""The documents say what is so: their programs, messages, tables and Python are run as they stand there.

What the word after a fence means:
    scan [name.scan]     a whole program, clean and laid out as `scanlang fmt` does; the named ones lie beside the others
    scan S201            a whole program with exactly this finding
    error                the whole message of the program above
    steps                orders, and `ranks(3, 4)` of each, a dot where that is -1
    python run           runs after the ones above it, in a folder with the named programs; with `>>>` the answers are compared
    console run          commands behind `$` (`scanlang …`, `cat …`), run in that folder, and all that they print
    grammar              accepts the texts that the parser accepts
A fence of another word, or of none, is a fragment. `python tests/test_docs.py` writes messages, steps and what commands print
anew, to be read in the diff.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from lark import Lark
from lark.exceptions import UnexpectedInput
from syntax_checks import WHOLE

import scanlang
from scanlang.check.expressions import RECURRENCE, UNARY
from scanlang.cli import main
from scanlang.diagnostics import ScanError
from scanlang.limits import LIMITS
from scanlang.source import Source
from scanlang.syntax.format import format_text
from scanlang.syntax.grammar import WholeWords, parser

ROOT = Path(__file__).parents[1]
LANGUAGE = ROOT / "docs" / "language.md"
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
GRID = (3, 4)
TERMINALS = r"""
NAME: /[A-Za-z_][A-Za-z_0-9]*/
INTEGER: /[0-9]+(?![A-Za-z_0-9.])/
NUMBER: /([0-9]+\.[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?(?![A-Za-z_0-9.])|[0-9]+[eE][+-]?[0-9]+(?![A-Za-z_0-9.])/
STRING: /"[^"\n]*"/
%ignore /#[^\n]*/
%ignore /[ \t\r\n]+/
"""


@dataclass(frozen=True)
class Block:
    document: Path
    line: int
    words: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.document.name}-{self.line}"

    @property
    def kind(self) -> str:
        return self.words[0] if self.words else ""

    @property
    def name(self) -> str:
        """What follows the kind: a file's name, a code, nothing."""
        return self.words[1] if len(self.words) > 1 else ""


def blocks_of(document: Path) -> Iterator[Block]:
    opened: tuple[int, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("```"):
            lines.append(line)
        elif opened is None:
            opened, lines = (number, line[3:]), []
        else:
            yield Block(document, opened[0], tuple(opened[1].split()), "".join(f"{kept}\n" for kept in lines))
            opened = None


BLOCKS = [block for document in DOCUMENTS for block in blocks_of(document)]


def of_kind(kind: str) -> list[Block]:
    return [block for block in BLOCKS if block.kind == kind]


def is_wrong(program: Block) -> bool:
    return re.fullmatch(r"S[0-9]{3}", program.name) is not None


def write_programs(folder: Path) -> None:
    for program in of_kind("scan"):
        if program.name.endswith(".scan"):
            (folder / program.name).write_text(program.text, encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_programs(tmp_path)
    return tmp_path


def findings(program: Block) -> ScanError:
    with pytest.raises(ScanError) as caught:
        scanlang.loads(program.text, "program.scan")
    return caught.value


def test_the_language_has_blocks_of_every_kind() -> None:
    assert {"scan", "error", "steps", "python", "grammar"} <= {block.kind for block in blocks_of(LANGUAGE)}
    assert not {"", "text"} & {block.kind for block in blocks_of(LANGUAGE)}, "a fragment, where all is to be tested"
    assert all(block.name == "run" for block in blocks_of(LANGUAGE) if block.kind == "python")


@pytest.mark.parametrize("program", [block for block in of_kind("scan") if not is_wrong(block)], ids=str)
def test_program_is_clean_and_laid_out(program: Block, folder: Path) -> None:
    path = folder / (program.name or "program.scan")
    path.write_text(program.text, encoding="utf-8")
    scanlang.load(path)
    assert format_text(Source(program.name, program.text)) == program.text


@pytest.mark.parametrize("program", [block for block in of_kind("scan") if is_wrong(block)], ids=str)
def test_program_has_its_finding(program: Block) -> None:
    assert [diagnostic.code for diagnostic in findings(program).diagnostics] == [program.name]


def message_text(message: Block) -> str:
    program = [block for block in BLOCKS if block.document == message.document and block.line < message.line][-1]
    return f"{findings(program)}\n"


@pytest.mark.parametrize("message", of_kind("error"), ids=str)
def test_message_is_what_is_said(message: Block) -> None:
    assert message.text == message_text(message), "python tests/test_docs.py"


def orders_in(table: Block) -> list[str]:
    return [header.strip() for header in table.text.splitlines()[0].split(" | ")]


def steps(order: str) -> list[list[int]]:
    """`walk w, h`, or a whole formula `o(t) = (t % h, t // h)`."""
    definition = f"order {order}" if order.startswith("o(t) =") else f"order o = {order}"
    program = scanlang.loads(f"grid h, w {definition}", sizes=[GRID])
    ranks: list[list[int]] = program.orders["o"].ranks(*GRID).reshape(GRID).tolist()
    return ranks


def table_text(orders: list[str]) -> str:
    def shown(row: list[int]) -> str:
        return " ".join(f"{rank:2}" if rank >= 0 else " ." for rank in row)

    columns = [[order, *map(shown, steps(order))] for order in orders]
    widths = [max(map(len, column)) for column in columns]
    rows = zip(*columns, strict=True)
    lines = (" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize("table", of_kind("steps"), ids=str)
def test_steps_are_the_ranks(table: Block) -> None:
    assert table.text == table_text(orders_in(table)), "python tests/test_docs.py"


def console_text(console: Block) -> str:
    """The commands, and what each prints."""
    commands = [line for line in console.text.splitlines() if line.startswith("$ ")]
    return "".join(f"{command}\n{printed(*shlex.split(command)[1:])}" for command in commands)


def printed(name: str, *arguments: str) -> str:
    if name == "cat":
        return "".join(Path(argument).read_text(encoding="utf-8") for argument in arguments)
    assert name == "scanlang"
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("console", [block for block in of_kind("console") if block.name == "run"], ids=str)
def test_command_prints_what_is_said(console: Block, folder: Path) -> None:
    assert console.text == console_text(console), "python tests/test_docs.py"


INLINE = sorted(set(re.findall(r"`((?:order o|walk) [^`]*)`", LANGUAGE.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("order", INLINE)
def test_order_in_the_text_is_one(order: str, tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", np.arange(12)[::-1])
    definition = order if order.startswith("order") else f"order o = {order}"
    grid = "t, h, w" if "walk t" in order else "h, w"
    path = tmp_path / "program.scan"
    path.write_text(f"grid {grid} {definition}", encoding="utf-8")
    assert "o" in scanlang.load(path, sizes=[(2, *GRID) if "t" in grid else GRID]).orders


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_python_runs(document: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for block in blocks_of(document):
        if (block.kind, block.name) != ("python", "run"):
            continue
        if ">>>" not in block.text:
            exec(compile(block.text, str(block), "exec"), names)
            continue
        test = doctest.DocTestParser().get_doctest(block.text, names, str(block), str(document), block.line)
        runner = doctest.DocTestRunner()
        runner.run(test, clear_globs=False)
        names.update(test.globs)
        assert runner.failures == 0, capsys.readouterr().out


def rows_with(word: str) -> list[list[str]]:
    """The cells of the tables' rows in the language reference that have `word` in their first cell."""
    lines = LANGUAGE.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
    return [row for row in rows if word in row[0]]


@pytest.mark.parametrize(
    "words, limit",
    [
        ("characters, and bytes", LIMITS.text),
        ("words and signs", LIMITS.tokens),
        ("brackets within brackets", LIMITS.nesting),
        ("depth of an expression", LIMITS.expression_depth),
        ("an integer", LIMITS.integer),
        ("directions of a scan", LIMITS.directions),
        ("entries of an index", LIMITS.index_size),
        ("loops of a walk", LIMITS.loops),
        ("axes of a grid", LIMITS.axes),
        ("orders that one order is made of", LIMITS.orders),
        ("steps of an order for each cell", LIMITS.visits),
        ("cells of all tables", LIMITS.table_cells),
        ("operations in one step", LIMITS.unrolled),
        ("files that import each other", LIMITS.import_depth),
        ("layers of a scan", LIMITS.layers),
        ("steps of a `conv`", LIMITS.conv_width),
        ("layers that a merge uses", LIMITS.uses),
        ("blocks inside each other", LIMITS.block_depth),
        ("repeats of a layer", LIMITS.repeats),
        ("layers of a network", LIMITS.network_layers),
        ("calls and operations", LIMITS.network_calls),
    ],
)
def test_limits_are_those_of_the_compiler(words: str, limit: int) -> None:
    ((_, shown),) = rows_with(words)
    assert int(shown.replace(",", "")) == limit


def test_functions_are_those_of_recurrences() -> None:
    ((_, of_one),), ((_, of_several),) = rows_with("functions of one"), rows_with("functions of several")
    assert set(re.findall(r"`(\w+)`", of_one)) == set(UNARY)
    assert set(re.findall(r"`(\w+)\(", of_several)) == set(RECURRENCE.functions) - set(UNARY)


def texts() -> list[str]:
    """Programs, wrong programs, and a program with each of its words left out in turn."""
    paths = [*(ROOT / "tests" / "programs").glob("*.scan"), *(ROOT / "tests" / "errors").glob("*.scan")]
    paths += (ROOT / "examples").glob("*.scan")
    whole = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(paths)]
    whole += [block.text for block in of_kind("scan")]
    whole.insert(0, WHOLE)
    words = [re.findall(r'"[^"]*"|[A-Za-z_0-9.]+|//|~~|[<>=!]=|[^\s]', re.sub("#.*", "", text)) for text in whole[:8]]
    return whole + [" ".join((*text[:i], *text[i + 1 :])) for text in words for i in range(len(text))]


def accepts(grammar: Lark, text: str) -> bool:
    try:
        grammar.parse(text)
    except UnexpectedInput:
        return False
    return True


def test_grammar_accepts_what_the_parser_accepts() -> None:
    (block,) = of_kind("grammar")
    shown = Lark(block.text + TERMINALS, start="program", parser="lalr", postlex=WholeWords())
    answers = [(accepts(shown, text), accepts(parser(), text), text) for text in texts()]
    assert [text for here, there, text in answers if here != there] == []
    assert {there for _, there, _ in answers} == {True, False}


def text_of(block: Block) -> str:
    """What a block should say."""
    if block.kind == "steps":
        return table_text(orders_in(block))
    if block.kind == "error":
        return message_text(block)
    return console_text(block) if (block.kind, block.name) == ("console", "run") else block.text


def write_anew(document: Path) -> None:
    lines = document.read_text(encoding="utf-8").splitlines(keepends=True)
    for block in reversed(list(blocks_of(document))):
        lines[block.line : block.line + block.text.count("\n")] = [text_of(block)]
    document.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        os.chdir(temporary)
        write_programs(Path(temporary))
        for document in DOCUMENTS:
            write_anew(document)
