"""Lines of C with their indentation, and the straight-line code of a kernel as C statements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from scanlang.codegen.cpu.c_math import Computing, number
from scanlang.codegen.cpu.c_order import Act, Item, reads_of
from scanlang.codegen.kernel import Advance, Atom, Let
from scanlang.source import Span

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_COMPARE = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}


@dataclass
class Writer:
    """`with writer.block("for (…)"):` indents what is written inside it, between braces."""

    lines: list[str] = field(default_factory=list)
    depth: int = 0

    def line(self, text: str = "") -> None:
        self.lines.append("    " * self.depth + text if text else "")

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        self.line(head + " {")
        self.depth += 1
        yield
        self.depth -= 1
        self.line("}")

    def function(self, name: str, arguments: Iterable[str]) -> AbstractContextManager[None]:
        """`void name(…)` with a line per argument; a context like `block`."""
        return self.block(f"void {name}(\n    " + ",\n    ".join(arguments) + "\n)")

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def comment(text: str) -> str:
    """`text` as it may stand in a `//` comment: no line end, no backslash that would continue it."""
    return "".join(c if c.isprintable() and c != "\\" else "?" for c in text)


@dataclass
class Statements:
    """Writes the lets of a kernel; a new origin gets its comment, `// selective.scan:9`."""

    writer: Writer
    computing: Computing
    masks: set[str] = field(default_factory=set)
    origin: str = ""

    def atom(self, atom: Atom) -> str:
        """A vector, whatever the atom is."""
        return atom if isinstance(atom, str) else f"all({number(atom, self.computing)})"

    def place(self, origin: Span | None) -> None:
        text = comment(origin.origin) if origin is not None else self.origin
        if text != self.origin:
            self.origin = text
            self.writer.line(f"// {text}")

    def run(self, lets: Iterable[Let]) -> None:
        for let in lets:
            self.place(let.origin)
            kind = "mask" if let.function in _COMPARE else "vec"
            if kind == "mask":
                self.masks.add(let.name)
            self.writer.line(f"const {kind} {let.name} = {self.expression(let)};")

    def expression(self, let: Let) -> str:
        sign = _INFIX.get(let.function) or _COMPARE.get(let.function)
        names = [self.atom(a) for a in let.arguments]
        if sign is not None:
            left, right = names
            if isinstance(let.arguments[0], str):
                right = self._operand(let.arguments[1])
            elif isinstance(let.arguments[1], str):
                left = self._operand(let.arguments[0])
            return f"{left} {sign} {right}"
        if let.function == "neg":
            return f"-{names[0]}"
        if let.function == "copy":
            return names[0]
        if let.function.startswith("fold_"):
            return f"{let.function}({', '.join(names)})"
        if let.function == "where":
            return f"select({', '.join(names)})"
        return f"v{let.function}({', '.join(names)})"

    def _operand(self, atom: Atom) -> str:
        """Beside a vector a number needs no lanes of its own."""
        if isinstance(atom, str):
            return atom
        text = number(atom, self.computing)
        return f"({text})" if text.startswith("-") else text

    def items(self, items: Iterable[Item], loads: Mapping[str, str]) -> None:
        """Lets and acts; a value that lies in memory is loaded before its first use."""
        loaded: set[str] = set()
        for item in items:
            for name in reads_of(item):
                if name in loads and name not in loaded:
                    loaded.add(name)
                    self.writer.line(f"const vec {name} = {loads[name]};")
            if isinstance(item, Act):
                self.writer.line(item.line)
            else:
                self.run([item])

    def advances(self, advances: Sequence[Advance]) -> list[Item]:
        """All at once: a new value that is another carried name is taken before that changes."""
        carried = {advance.state for advance in advances}
        found: list[Item] = []
        for advance in advances:
            value = advance.value
            if isinstance(value, str) and value in carried and value != advance.state:
                value = f"next_{advance.state}"
                found.append(Let(value, "copy", (advance.value,)))
            found.append(Act(f"{advance.state} = {self.atom(value)};", names_of(value), advance.state))
        return found


def names_of(*atoms: Atom) -> tuple[str, ...]:
    """The names among atoms."""
    return tuple(atom for atom in atoms if isinstance(atom, str))


def functions_of(*bodies: Iterable[Let]) -> set[str]:
    """The functions that need text of their own."""
    plain = {*_INFIX, *_COMPARE, "neg", "where"}
    return {let.function for body in bodies for let in body} - plain


def names_in(lets: Iterable[Let], *atoms: Iterable[Atom]) -> set[str]:
    """Every name that the lets or the atoms read."""
    found = {a for let in lets for a in let.arguments if isinstance(a, str)}
    return found | {a for group in atoms for a in group if isinstance(a, str)}
