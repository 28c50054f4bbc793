"""S160 … S163: what is no scan along orders, refused by name with what the language can do instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scanlang.diagnostics import Diagnostic, Label
from scanlang.source import Span


@dataclass(frozen=True)
class SeveralPredecessors(Diagnostic):
    """`word` is what asks for them: `h_left`, `h[i - 1, j]`, `predecessors`."""

    code: ClassVar[str] = "S160"
    word: str
    explanation: ClassVar[str] = """\
A step has one predecessor: the step before it in its direction. Recurrences in which a cell reads the states of several
neighbours (2DMamba, GSPN, 2-D state spaces) are no scans along orders, and are not in this language. A direction for each
neighbour, merged per cell, lets a cell see all of its row and its column; an order such as `hilbert`, `snake` or
`window(...)` keeps neighbours near in time.

```
recurrence r { input x, a, b  h = a * h_left + b * h_top + x  y = h }    # wrong
```
```
recurrence r { input x, a  h = a * h + x  y = h }    # right: with one state along each of several directions
scan s(dim) { input x, a  directions raster, columns, reverse(raster), reverse(columns)  recur r }
```"""

    @property
    def title(self) -> str:
        return f"`{self.word}` asks for several predecessors, as 2DMamba and GSPN have them"

    @property
    def label(self) -> str:
        return "a step has one predecessor: the step before it in its direction"

    @property
    def help(self) -> str | None:
        return (
            "give each neighbour a direction of its own, such as `directions raster, columns, reverse(raster), "
            "reverse(columns)`, with `h = a * h + x` along each, and bring them together with `merge`"
        )


@dataclass(frozen=True)
class TreeScan(Diagnostic):
    code: ClassVar[str] = "S161"
    word: str
    explanation: ClassVar[str] = """\
A direction is a chain: its cells one after another. Scans along trees (minimum spanning trees, as in MambaTree and GrootV)
are not in this language. The cells can be sorted by a tree in torch, depth first for example, and scanned in the order given
at run time; `reset` cuts an order into several chains.

```
scan s(dim) { directions tree  recur r }    # wrong
```
```
order sorted = input    # right: a permutation for each image, an argument of the operator
scan s(dim) { directions sorted, reverse(sorted)  recur r }
```"""

    @property
    def title(self) -> str:
        return f"`{self.word}` asks for a scan along a tree"

    @property
    def label(self) -> str:
        return "a direction is a chain of steps"

    @property
    def help(self) -> str | None:
        return "sort the cells by the tree in torch and scan them in an order given at run time: `order sorted = input`"


@dataclass(frozen=True)
class MatrixTransition(Diagnostic):
    """`word` is what multiplies the state by a matrix, or another state, whose `definition` reads `state` in turn."""

    code: ClassVar[str] = "S162"
    word: str
    state: str | None = None
    definition: Span | None = None
    explanation: ClassVar[str] = """\
The transition of a state is diagonal: each entry is multiplied by a factor of its own. A matrix that mixes the entries of a
state, or two states that update each other, cannot be run. Entries may be mixed freely below the update, where the new state is
read; a state may be a matrix itself, with a factor per entry (`S[n, p]`); and a constant matrix that can be diagonalised
over the reals is as good as its eigenvalues.

```
h[n] = matmul(A, h) + B[n] * x    # wrong
```
```
h[n] = A[n] * h[n] + B[n] * x    # right
```"""

    @property
    def title(self) -> str:
        if self.state is not None:
            return f"the states `{self.state}` and `{self.word}` update each other: together their transition is a matrix"
        return f"`{self.word}` makes the transition of a state a matrix"

    @property
    def label(self) -> str:
        return "each entry of a state reads its own old value only"

    @property
    def help(self) -> str | None:
        return "give each entry its own factor, `h[n] = a[n] * h[n] + ...`, and mix entries below, where the new state is read"

    @property
    def related(self) -> tuple[Label, ...]:
        return () if self.definition is None else (Label(self.definition, f"`{self.word}` reads `{self.state}` in turn"),)


@dataclass(frozen=True)
class GateReadsState(Diagnostic):
    """The equation of `gate` reads the old value of `state`, whose equation uses `gate`; `is_state`: and its own old value."""

    code: ClassVar[str] = "S163"
    gate: str
    state: str
    definition: Span
    is_state: bool = True
    explanation: ClassVar[str] = """\
A gate that reads the state it gates (LSTM, GRU, sLSTM) makes the update non-linear, so that steps can only be computed one
after another and no gradient of a scan can be derived. Gates read inputs, parameters, and states declared above with updates
of their own.

```
recurrence gru { input x  param u  f = sigmoid(x + u * h)  h = f * h + (1 - f) * x  y = h }    # wrong
```
```
recurrence min_gru { input x, g  f = sigmoid(g)  h = f * h + (1 - f) * x  y = h }    # right: with g projected from x
```"""

    @property
    def title(self) -> str:
        if not self.is_state:
            return f"`{self.gate}` reads the old value of `{self.state}`, which is made of `{self.gate}`"
        return f"`{self.gate}` reads the state `{self.state}` that it updates"

    @property
    def label(self) -> str:
        return f"the old value of `{self.state}`{', outside its own update' if self.is_state else ''}"

    @property
    def help(self) -> str | None:
        allowed = "inputs, parameters and states declared above it (minGRU: the gate is projected from the input)"
        linear = f"; a term linear in `{self.state}` belongs in the update of `{self.state}` itself" if self.is_state else ""
        return f"a gate may read {allowed}{linear}"

    @property
    def related(self) -> tuple[Label, ...]:
        return (Label(self.definition, f"`{self.state}` is {'updated' if self.is_state else 'computed'} here"),)
