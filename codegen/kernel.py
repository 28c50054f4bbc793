"""The kernels of a scan, before they are text: frozen straight-line code per step, with what it reads, writes and carries.

Both emitters print from this. A name here is a value of one step and one channel (a lane); what is the same for all
channels (a `shared` stream) is a value too. Nothing here knows a device, a loop or an address: an emitter supplies

    for each (image, block of channels, direction):  prologue; for each step: read, compute, advance, write; epilogue

Names are made of the program's names (`b_dt`, `b_h_3`), unique within a kernel and never a keyword of C or Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scanlang.graph.matrix_form import MatrixForm
from scanlang.graph.products import Product
from scanlang.source import Span

Atom = str | float
"""A name, or a number."""

# What a `Let` may compute. Arguments are atoms; comparisons give a condition, only `where` takes one (as its first).
PRIMITIVES = frozenset(
    "add sub mul div neg exp expm1 log log1p sqrt tanh erf abs min max where lt le gt ge eq ne".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Let:
    """`name = function(arguments)`; `origin` is the place in the program it comes from."""

    name: str
    function: str
    arguments: tuple[Atom, ...]
    origin: Span | None = field(default=None, compare=False, repr=False)


OWN, TIME = 0, -1
"""Routes: the direction's own order; the number of the step itself. Others are numbered from 1."""


@dataclass(frozen=True)
class Stream:
    """An array with a row for every cell, token and pad. `every` says how many consecutive channels have one value of it:

        1    one a channel, `(B, R, C)`, or `(B, R, K, C)` per direction (`lanes`); of more width `(B, R, K, C, width)`
        0    one for all channels, `(B, R, K, width)` (`uniform`)
        n    one for n channels, `(B, R, K, C / n, width)`; where each direction has its own channels `(B, R, C / n, width)`

    At step t a direction reads (and its gradient goes to) row `table[route][direction][t]`. A uniform one along TIME has a row
    per step instead, the same for all images: `(K, J, width)`. A `constant` one has no gradient.
    """

    name: str
    every: int
    per_direction: bool
    width: int = 1
    route: int = OWN
    constant: bool = False

    @property
    def lanes(self) -> bool:
        """One number for every channel."""
        return self.every == 1 and self.width == 1

    @property
    def uniform(self) -> bool:
        """The same for all channels."""
        return self.every == 0

    @property
    def units(self) -> bool:
        """Neither: `width` numbers for every so many channels."""
        return not self.lanes and not self.uniform


@dataclass(frozen=True)
class Parameter:
    """An array of learned values, one (of `width` numbers) for `every` so many consecutive channels: `(K, C / every, width)`,
    or `(C / every, width)` where the directions share it.

    Where each direction has its own channels: `(C / every, width)`, or `(C / K / every, width)` if shared.
    """

    name: str
    shared: bool
    width: int
    every: int = 1


@dataclass(frozen=True)
class Access:
    """The values of a stream at one step (or of a parameter), by the names they have in the code, in memory's order."""

    of: Stream | Parameter
    names: tuple[str, ...]


@dataclass(frozen=True)
class Advance:
    """After the step, `state` (a carried name) becomes `value`."""

    state: str
    value: Atom


@dataclass(frozen=True)
class ForwardKernel:
    """One direction's scan. `states` start at `starts` (or where the caller says); a step reads them by name, computes `body`,
    advances, gives `output`. Where every state is its own old value times a decay, and something that no state decides,
    `decays` are these."""

    parameters: tuple[Access, ...]
    prologue: tuple[Let, ...]
    states: tuple[str, ...]
    reads: tuple[Access, ...]
    body: tuple[Let, ...]
    advances: tuple[Advance, ...]
    output: Atom
    starts: tuple[float, ...] = ()
    decays: tuple[Atom, ...] = ()


@dataclass(frozen=True)
class Gradient:
    """`atoms` are the gradient of a stream at one step, in every channel. A stream with one value for several channels wants
    their sums over these."""

    of: Stream
    atoms: tuple[Atom, ...]


@dataclass(frozen=True)
class Accumulate:
    """`accumulator` (zero at the start, one per channel, kept over all steps) grows by `value` at every step."""

    accumulator: str
    value: Atom


@dataclass(frozen=True)
class ParameterGradient:
    of: Parameter
    atoms: tuple[Atom, ...]


@dataclass(frozen=True)
class BackwardKernel:
    """One direction's adjoint, in chunks of consecutive steps taken from the last to the first.

    Of a chunk the states before its first step are known (saved by the forward). Its steps first run forward: `forward`
    then `advances`, keeping, per step, the names in `keep` (values of `forward`, and states as they were before the step).
    Then its steps run backward: `backward` may read what the step read (`reads`), what was kept, `cotangent` (the
    gradient of the step's output) and `carries` (after the last step the gradient of the final state, or zero); afterwards
    `carry_advances` hands the carries to the step before. Before the first step they are the gradient of the initial state.
    `carried` says whose adjoint each carry is: places in `states`. States that are not there have no gradient.
    The first `again` lets of `backward` are values of `forward`, computed again.
    `epilogue`, after all steps, may read parameters, prologue values and accumulators.
    """

    parameters: tuple[Access, ...]
    prologue: tuple[Let, ...]
    states: tuple[str, ...]
    reads: tuple[Access, ...]
    forward: tuple[Let, ...]
    advances: tuple[Advance, ...]
    keep: tuple[str, ...]
    cotangent: str
    carries: tuple[str, ...]
    backward: tuple[Let, ...]
    carry_advances: tuple[Advance, ...]
    gradients: tuple[Gradient, ...]
    accumulates: tuple[Accumulate, ...]
    epilogue: tuple[Let, ...]
    parameter_gradients: tuple[ParameterGradient, ...]
    carried: tuple[int, ...] = ()
    again: int = 0
    carry_starts: tuple[float, ...] = ()


@dataclass(frozen=True)
class CellKernel:
    """Pointwise work on every cell and channel: `reads` in, `writes` out (streams with lanes, not per direction).

    A stream named `y[k]` is the output of direction k: row k of the partial outputs, `(K, B, L, C)`.
    """

    reads: tuple[Access, ...]
    body: tuple[Let, ...]
    writes: tuple[Gradient, ...]


@dataclass(frozen=True)
class MatrixKernel:
    """The step in its form for matrix products; `extents` by index. What the core takes beside `core.value` is the same for
    `unit` consecutive channels, 0 for all of them."""

    form: MatrixForm
    extents: Mapping[str, int]
    unit: int

    @property
    def state(self) -> int:
        """Rows of the state."""
        return self.extents[self.form.index]


@dataclass(frozen=True)
class Factored:
    """The same scan with inputs in place of `products`, which are made of all rows at once."""

    kernels: ScanKernels
    products: tuple[Product, ...]


@dataclass(frozen=True)
class ScanKernels:
    """Everything one scan needs. How the outputs come together is one of

        merge_scale   a plain sum over the directions times this factor (1, or 1/K for mean)
        merge         an expression: `merge` makes the output from the partial outputs, `merge_adjoint` their gradients
                      (`∂y[k]`) and its inputs'
        stacked       not at all: the output is `(B, R, K, C)`, its gradient likewise
        split         every direction has its own channels, in these proportions (their sum divides C); the output `(B, R, C)`

    `output_route` is the route along which outputs are written and their gradient is read; `routes` counts those there are.
    `matrix` is the same scan for schedules of matrix products, where the recurrence has that form; `factored` that for
    schedules which make products of parameters and inputs beforehand, where there are some.
    """

    name: str
    directions: int
    forward: ForwardKernel
    backward: BackwardKernel
    merge_scale: float | None
    merge: CellKernel | None
    merge_adjoint: CellKernel | None
    stacked: bool = False
    split: tuple[int, ...] | None = None
    output_route: int = OWN
    routes: int = 1
    matrix: MatrixKernel | None = None
    factored: Factored | None = None

    @property
    def streams(self) -> tuple[Stream, ...]:
        return tuple(access.of for access in self.forward.reads if isinstance(access.of, Stream))

    @property
    def leading(self) -> Stream:
        """What gives the output its batch, channels and type: the first stream with lanes, or where there is none, of units."""
        return next((s for s in self.streams if s.lanes), None) or next(s for s in self.streams if s.units)

    def channel_count(self, arrays: Mapping[str, Any]) -> int:
        """The channels of all directions that have their own together, or of each."""
        stream = self.leading
        shape = arrays[stream.name].shape
        return int(shape[-1] if stream.lanes else shape[-2] * stream.every)

    def channels(self, total: int) -> tuple[tuple[int, int], ...]:
        """(first channel, number of channels) of every direction."""
        if self.split is None:
            return ((0, total),) * self.directions
        unit, first, found = total // sum(self.split), 0, []
        for part in self.split:
            found.append((first, part * unit))
            first += part * unit
        return tuple(found)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(access.of for access in self.forward.parameters if isinstance(access.of, Parameter))


def needed_lets(lets: Iterable[Let], results: Iterable[Atom]) -> tuple[Let, ...]:
    """The lets that `results` depend on, in their order."""
    wanted, kept = {r for r in results if isinstance(r, str)}, []
    for let in reversed(tuple(lets)):
        if let.name in wanted:
            kept.append(let)
            wanted |= {a for a in let.arguments if isinstance(a, str)}
    return tuple(reversed(kept))
