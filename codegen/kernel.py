"""The kernels of a scan, before they are text: frozen straight-line code per step, with what it reads, writes and carries.

Both emitters print from this. A name here is a value of one step and one channel (a lane); what is the same for all
channels (a `shared` stream) is a value too. Nothing here knows a device, a loop or an address: an emitter supplies

    for each (image, block of channels, direction):  prologue; for each step: read, compute, advance, write; epilogue

Names are made of the program's names (`b_dt`, `b_h_3`), unique within a kernel and never a keyword of C or Python.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from scanlang.source import Span

Atom = str | float
"""A name, or a number."""

# What a `Let` may compute. Arguments are atoms; comparisons give a condition, only `where` takes one (as its first).
PRIMITIVES = frozenset(
    "add sub mul div neg exp log log1p sqrt tanh erf abs min max where lt le gt ge eq ne".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Let:
    """`name = function(arguments)`; `origin` is the place in the program it comes from."""

    name: str
    function: str
    arguments: tuple[Atom, ...]
    origin: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Stream:
    """A map in grid order, contiguous: with lanes `(B, L, C)`, or `(B, L, K, C)` per direction; without `(B, L, K, width)`."""

    name: str
    lanes: bool
    per_direction: bool
    width: int = 1


@dataclass(frozen=True)
class Parameter:
    """An array of learned values per channel: `(K, C, width)`, or `(C, width)` where the directions share it."""

    name: str
    shared: bool
    width: int


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
    """One direction's scan. `states` start at zero; a step reads them by name, computes `body`, advances, gives `output`."""

    parameters: tuple[Access, ...]
    prologue: tuple[Let, ...]
    states: tuple[str, ...]
    reads: tuple[Access, ...]
    body: tuple[Let, ...]
    advances: tuple[Advance, ...]
    output: Atom


@dataclass(frozen=True)
class Gradient:
    """`atoms` are the gradient of a stream at one step. A stream without lanes wants their sums over the channels."""

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
    gradient of the step's output) and `carries` (zero after the last step); afterwards `carry_advances` hands the carries
    to the step before.
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


@dataclass(frozen=True)
class CellKernel:
    """Pointwise work on every cell and channel: `reads` in, `writes` out (streams with lanes, not per direction).

    A stream named `y[k]` is the output of direction k: row k of the partial outputs, `(K, B, L, C)`.
    """

    reads: tuple[Access, ...]
    body: tuple[Let, ...]
    writes: tuple[Gradient, ...]


@dataclass(frozen=True)
class ScanKernels:
    """Everything one scan needs. `merge_scale` is the factor of a merge that is a plain sum (1, or 1/K for mean), else None:
    then `merge` makes the output from the partial outputs, and `merge_adjoint` their gradients (`∂y[k]`) and its inputs'.
    """

    name: str
    directions: int
    forward: ForwardKernel
    backward: BackwardKernel
    merge_scale: float | None
    merge: CellKernel | None
    merge_adjoint: CellKernel | None

    @property
    def streams(self) -> tuple[Stream, ...]:
        return tuple(access.of for access in self.forward.reads if isinstance(access.of, Stream))

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(access.of for access in self.forward.parameters if isinstance(access.of, Parameter))
