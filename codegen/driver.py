"""`scanlang compile`: a program, a target and a size in; a folder with readable modules, their machine code and a report out.

From the graph on:  lower_to_kernels → choose_schedule → emit_c / emit_triton → build_c / machine code → report
Nothing half-written is left: everything is made first, then written file by file, each by renaming.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from scanlang.check.program import HEAD, CheckedScan
from scanlang.check.sizes import evaluate_size
from scanlang.codegen.account import conv_account, direction_accounts, keep_account, merge_account
from scanlang.codegen.compile import scan_of_layer
from scanlang.codegen.kernel import TIME, Let, ScanKernels, Stream
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.codegen.report import CodeReport, Report
from scanlang.codegen.schedule import Schedule
from scanlang.codegen.stages import adjoint_text, graph_text, kernels_text, maps_text, tree_text
from scanlang.codegen.traffic import Operations, Sizes, count_operations, count_traffic
from scanlang.codegen.units import undivided
from scanlang.diagnostics import ScanError
from scanlang.errors import ChannelsDoNotSplit
from scanlang.files import write_atomically
from scanlang.graph.scan_graph import ScanGraph
from scanlang.pipeline import conv_graph
from scanlang.program import Program, load

if TYPE_CHECKING:
    from scanlang.codegen.gpu.machine_code import KernelCode
    from scanlang.codegen.gpu.triton_layout import Layout

SIZES = {1: (3136,), 2: (56, 56), 3: (16, 14, 14), 4: (4, 8, 14, 14)}
CHANNELS = 96
"""What is compiled for when nothing is said: the first stage of VMamba-T at 224 × 224, about as many cells with other axes."""

BATCH = 128
"""Images that a schedule is shown for, as many as training has: of few images a direction is cut up further."""

ITEM_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
OF_PROGRAM = frozenset(("syntax", "checked", "maps"))
"""What is made of a whole program, whichever scan is chosen, or if there is none."""
DEFAULT_EMITS = {"cpu": ("c", "so", "report"), "gpu": ("triton", "ptx", "cubin", "report")}


class UnknownArchitecture(ValueError):
    """The target is an architecture that the installed assembler does not know."""


def compile_to_folder(
    path: Path,
    folder: Path,
    scan: str | None = None,
    target: str = "cpu",
    size: tuple[int, ...] | None = None,
    channels: int | None = None,
    dtype: str = "float32",
    emits: Collection[str] = (),
    layer: int = 0,
    latex: bool = False,
) -> list[Path]:
    """Compile a scan and write what was asked for (`emits`), or the modules, their machine code and the report.

    >>> compile_to_folder(Path("cross.scan"), Path("out"), target="sm_90", size=(56, 56), channels=96, dtype="bfloat16")

    `target` is `cpu` or `sm_80`, `sm_90`, …; no GPU is needed. `latex`: the adjoint is LaTeX. Raises ScanError for a wrong
    program.
    """
    made = compile_files(path, scan, target, size, channels, dtype, emits, layer, latex)
    folder.mkdir(parents=True, exist_ok=True)
    return [write_atomically(folder / name, content) for name, content in made.items()]


def compile_files(
    path: Path,
    scan: str | None,
    target: str,
    size: tuple[int, ...] | None,
    channels: int | None,
    dtype: str,
    emits: Collection[str],
    layer: int,
    latex: bool,
) -> dict[str, str | bytes]:
    """What `compile_to_folder` writes, by name."""
    program = load(path, None if size is None else [size])
    if scan is None and emits and OF_PROGRAM.issuperset(emits) and len(program.scans) != 1:
        stem = PurePath(program.source.name).stem
        return {f"{stem}.{emit}.txt": program_text(program, emit) for emit in emits}
    name = program.scan_name(scan)
    grid = size or SIZES[len(program.checked.axes)]
    job = Job(program, name, target, grid, CHANNELS if channels is None else channels, dtype, layer, latex=latex)
    if channels is None:
        job = replace(job, channels=-(-CHANNELS // job.fewest_channels) * job.fewest_channels)
    job.check_channels()
    wanted = tuple(emits) or DEFAULT_EMITS["cpu" if target == "cpu" else "gpu"]
    return {name: content for emit in wanted for name, content in job.emit(emit).items()}


def program_text(program: Program, what: str) -> str:
    """One stage of a whole program."""
    if what == "maps":
        return maps_text(program)
    return tree_text(_syntax_tree(program) if what == "syntax" else program.checked)


def _syntax_tree(program: Program) -> object:
    from scanlang.syntax.build import build_syntax
    from scanlang.syntax.parse import parse_text

    return build_syntax(parse_text(program.source), program.source)


@dataclass(frozen=True)
class Job:
    """One layer of a scan for one target and size, with everything that is made of it, each when first asked for.

    `before` has the pass that convolves the scan's first input, where there is one.
    """

    program: Program
    scan: str
    target: str
    size: tuple[int, ...]
    channels: int
    dtype: str
    layer: int = 0
    is_conv: bool = False
    latex: bool = False

    @property
    def stem(self) -> str:
        return f"{self.graph.name}_{self.target}"

    @cached_property
    def checked(self) -> CheckedScan:
        return scan_of_layer(self.program, self.scan, self.layer)

    @cached_property
    def graph(self) -> ScanGraph:
        if self.is_conv:
            return conv_graph(self.program.verified, self.scan, self.layer)
        return self.program.operator_graph(self.scan, self.layer)

    @cached_property
    def before(self) -> Job | None:
        conv = None if self.is_conv else conv_account(self.checked, self.graph)
        return replace(self, is_conv=True) if conv is not None and conv.before else None

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The sizes of the recurrence: the scan's formals from its defaults, the first one from the channels."""
        checked = self.checked
        if self.is_conv:
            return {}
        formals: dict[str, int] = {}
        for i, formal in enumerate(checked.formals):
            value = self.channels if i == 0 or formal.default is None else evaluate_size(formal.default, formals)
            formals[formal.label] = int(value)
        return {label: int(evaluate_size(value, formals)) for label, value in checked.sizes.items()}

    @property
    def unit_channels(self) -> list[int]:
        """How many channels heads, and groups of them, have."""
        return [operand.channels(self.sizes) for operand in self.graph.step.operands if operand.per in ("unit", "group")]

    @property
    def fewest_channels(self) -> int:
        """Every direction has a multiple of its part of these."""
        return math.lcm(self.sizes.get(HEAD, 1), *self.unit_channels) * sum(self.checked.split or (1,))

    def check_channels(self) -> None:
        """They split between the directions, into whole heads and groups."""
        split = self.checked.split or (1,)
        if self.channels % sum(split):
            raise ScanError([ChannelsDoNotSplit(self.checked.span, self.channels, split)])
        parts = [self.channels // sum(split) * part for part in split]
        groups = [("groups", operand.units) for operand in self.graph.step.operands if operand.per == "group"]
        wrong = undivided(self.checked.span, parts, groups, {HEAD: 1, **self.sizes})
        if wrong is not None:
            raise ScanError([wrong])

    @cached_property
    def kernels(self) -> ScanKernels:
        return lower_to_kernels(self.graph, self.sizes)

    @property
    def computing(self) -> str:
        return "float64" if self.dtype == "float64" else "float32"

    @cached_property
    def schedule(self) -> Schedule:
        if self.target == "cpu":
            from scanlang.codegen.cpu.run_c import cpu_schedule

            return cpu_schedule(self.kernels)
        return self.layout.schedule

    @property
    def why_sequential(self) -> str | None:
        """Why a GPU takes no chunks of matrix products for a recurrence that has that form."""
        if self.target == "cpu" or self.kernels.matrix is None:
            return None
        from scanlang.codegen.gpu.choose_chunked import why_sequential

        return why_sequential(self.kernels, self.graph.traversal, self.size, self.computing)

    @cached_property
    def layout(self) -> Layout:
        from scanlang.codegen.gpu.choose_gpu_schedule import choose_gpu_schedule
        from scanlang.codegen.gpu.triton_layout import Shape, layout_of

        dtypes = tuple((stream.name, self.type_of(stream)) for stream in self.kernels.streams)
        dtypes += tuple((parameter.name, self.computing) for parameter in self.kernels.parameters)
        dtypes += tuple((n, self.dtype) for n in self.graph.merge_inputs if n not in dict(dtypes))
        shape, traversal = Shape(self.size, self.channels, dtypes, self.computing), self.graph.traversal
        return layout_of(self.kernels, traversal, choose_gpu_schedule(self.kernels, traversal, shape, BATCH), shape)

    def type_of(self, stream: Stream) -> str:
        """What the operator makes along time has types of its own."""
        if stream.route != TIME:
            return self.dtype
        return "float32" if stream.constant else self.computing

    @cached_property
    def c_text(self) -> str:
        from scanlang.codegen.cpu.emit_c import emit_c

        return emit_c(self.kernels, self.schedule, "float64" if self.dtype == "float64" else "float32")

    @cached_property
    def triton_text(self) -> str:
        from scanlang.codegen.gpu.emit_triton import emit_triton

        return emit_triton(self.kernels, self.graph.traversal, self.schedule, self.layout.shape)

    @cached_property
    def machine_code(self) -> tuple[KernelCode, ...]:
        from scanlang.codegen.gpu.machine_code import assembler_knows, compile_module

        capability = int(self.target.removeprefix("sm_"))
        if not assembler_knows(capability):
            raise UnknownArchitecture(f"Triton {version('triton')} does not know it")
        return compile_module(self.layout, capability, self.triton_text)

    def emit(self, what: str) -> dict[str, str | bytes]:
        """The files of one stage, by name; those of the pass before among them."""
        makers: dict[str, Callable[[], dict[str, str | bytes]]] = {
            "graph": lambda: {f"{self.scan}.graph.txt": graph_text(self.program, self.scan, self.layer)},
            "report": lambda: {"report.txt": self.report.to_text(), "report.json": self.report.to_json()},
        }
        if what in OF_PROGRAM:
            return {f"{self.scan}.{what}.txt": program_text(self.program, what)}
        if what in makers:
            return makers[what]()
        passes = (self,) if self.before is None else (self, self.before)
        return {name: content for one in passes for name, content in one.emit_pass(what).items()}

    def emit_pass(self, what: str) -> dict[str, str | bytes]:
        makers: dict[str, Callable[[], dict[str, str | bytes]]] = {
            "adjoint": self.adjoint,
            "kernels": lambda: {f"{self.stem}.kernels.txt": kernels_text(self.kernels)},
            "schedule": lambda: {f"{self.stem}.schedule.txt": self.schedule_text()},
            "c": lambda: {f"{self.stem}.c": self.c_text},
            "so": lambda: {f"{self.stem}.so": self.shared_object()},
            "triton": lambda: {f"{self.stem}.py": self.triton_text},
            "ptx": lambda: {f"{self.stem}.{code.report.name}.ptx": code.ptx for code in self.machine_code},
            "cubin": lambda: {f"{self.stem}.{code.report.name}.cubin": code.cubin for code in self.machine_code},
        }
        return makers[what]()

    def adjoint(self) -> dict[str, str | bytes]:
        """The derived mathematics, of the convolution's own pass too."""
        head = None if self.is_conv else self.checked.recurrence.head
        if not self.latex:
            return {f"{self.graph.name}.adjoint.txt": adjoint_text(self.graph.step, head)}
        from scanlang.codegen.latex import adjoint_latex

        return {f"{self.graph.name}.adjoint.tex": adjoint_latex(self.graph.step, head)}

    def schedule_text(self) -> str:
        return "".join(f"{name:<16}{value}\n" for name, value in asdict(self.schedule).items())

    def shared_object(self) -> bytes:
        from scanlang.codegen.cpu.build_c import build_c

        return build_c(self.c_text, self.scan).read_bytes()

    @cached_property
    def report(self) -> Report:
        kernels, visits = self.kernels, self.graph.traversal.at(self.size)
        forward, backward = count_traffic(kernels, self.schedule, self.traffic_sizes())
        proofs = {name: str(found) for name, found in self.program.verified.verifications.items()}
        return Report(
            program=PurePath(self.program.source.name).name,
            scan=self.scan,
            target=self.target,
            layer=self.layer,
            grid=dict(zip(self.program.checked.axes, self.size, strict=True)),
            channels=self.channels,
            dtype=self.dtype,
            versions=self.versions(),
            directions=direction_accounts(kernels, self.graph.traversal, self.size, self.target, self.schedule, proofs),
            tokens=dict(visits.tokens),
            pads=visits.pads,
            conv=conv_account(self.checked, self.graph),
            sizes=self.sizes,
            schedule=self.schedule,
            why_sequential=self.why_sequential,
            forward=forward,
            backward=backward,
            forward_operations=self.operations(kernels.forward.body),
            backward_operations=self.operations((*kernels.backward.forward, *kernels.backward.backward)),
            merge=merge_account(self.checked, self.graph),
            keep=keep_account(kernels, self.schedule, self.traffic_sizes()),
            kernels=(*self.code_reports(), *(() if self.before is None else self.before.code_reports())),
        )

    def operations(self, lets: Iterable[Let]) -> Operations | None:
        """Those of one step; matrix products take a chunk of steps at once."""
        return None if self.schedule.kind == "chunked" else count_operations(lets)

    def traffic_sizes(self) -> Sizes:
        from scanlang.codegen.cpu.run_c import GROUPS

        groups = GROUPS if self.target == "cpu" else self.channels
        item, computing = ITEM_BYTES[self.dtype], ITEM_BYTES[self.computing]
        item = max(item, computing) if self.target == "cpu" else item  # narrower maps are widened first there
        return Sizes(self.graph.traversal.at(self.size), self.channels, item, computing, groups)

    def versions(self) -> dict[str, str]:
        if self.target == "cpu":
            from scanlang.codegen.cpu.build_c import compiler_version, find_compiler

            return {"scanlang": version("scanlang"), "cc": compiler_version(find_compiler() or "cc")}
        return {"scanlang": version("scanlang"), "triton": version("triton")}

    def code_reports(self) -> tuple[CodeReport, ...]:
        if self.target == "cpu":
            names = ("forward", "backward") if self.kernels.merge is None else ("forward", "backward", "merge", "merge_adjoint")
            return tuple(CodeReport(self.pass_name(name)) for name in names)
        return tuple(_code_report(code, self.pass_name(code.report.name)) for code in self.machine_code)

    def pass_name(self, kernel: str) -> str:
        return f"conv {kernel}" if self.is_conv else kernel


def _code_report(code: KernelCode, name: str) -> CodeReport:
    """A kernel that does not walk has no steps to count instructions of."""
    figures = {**asdict(code.report), "name": name}
    if not code.report.instructions_per_step:
        figures |= dict.fromkeys(("instructions_per_step", "exponentials_per_step", "channels_per_step"))
    return CodeReport(**figures)
