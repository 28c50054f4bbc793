"""`scanlang compile`: a program, a target and a size in; a folder with readable modules, their machine code and a report out.

From the graph on:  lower_to_kernels → choose_schedule → emit_c / emit_triton → build_c / machine code → report
Nothing half-written is left: everything is made first, then written file by file, each by renaming.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from scanlang.check.sizes import evaluate_size
from scanlang.codegen.kernel import ScanKernels
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.codegen.report import CodeReport, Report
from scanlang.codegen.schedule import Schedule
from scanlang.codegen.stages import adjoint_text, graph_summary, graph_text, kernels_text, maps_text, tree_text
from scanlang.codegen.traffic import Sizes, count_operations, count_traffic
from scanlang.files import write_atomically
from scanlang.graph.scan_graph import ScanGraph
from scanlang.program import Program, load

if TYPE_CHECKING:
    from scanlang.codegen.gpu.machine_code import KernelCode
    from scanlang.codegen.gpu.triton_layout import Layout

SIZE, CHANNELS = (56, 56), 96
"""What is compiled for when nothing is said: the first stage of VMamba-T at 224 × 224."""

ITEM_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
DEFAULT_EMITS = {"cpu": ("c", "so", "report"), "gpu": ("triton", "ptx", "cubin", "report")}


class UnknownArchitecture(ValueError):
    """The target is an architecture that the installed assembler does not know."""


def compile_to_folder(
    path: Path,
    folder: Path,
    scan: str | None = None,
    target: str = "cpu",
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    dtype: str = "float32",
    emits: Collection[str] = (),
) -> list[Path]:
    """Compile a scan and write what was asked for (`emits`), or the modules, their machine code and the report.

    >>> compile_to_folder(Path("cross.scan"), Path("out"), target="sm_90", size=(56, 56), channels=96, dtype="bfloat16")

    `target` is `cpu` or `sm_80`, `sm_90`, …; no GPU is needed. Raises ScanError for a wrong program.
    """
    program = load(path, None if size is None else [size])
    job = Job(program, program.scan_name(scan), target, size or SIZE, channels or CHANNELS, dtype)
    wanted = tuple(emits) or DEFAULT_EMITS["cpu" if target == "cpu" else "gpu"]
    made = {name: content for emit in wanted for name, content in job.emit(emit).items()}
    folder.mkdir(parents=True, exist_ok=True)
    return [write_atomically(folder / name, content) for name, content in made.items()]


@dataclass(frozen=True)
class Job:
    """One scan for one target and size, with everything that is made of it, each when first asked for."""

    program: Program
    scan: str
    target: str
    size: tuple[int, int]
    channels: int
    dtype: str

    @property
    def stem(self) -> str:
        return f"{self.scan}_{self.target}"

    @cached_property
    def graph(self) -> ScanGraph:
        return self.program.operator_graph(self.scan)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The sizes of the recurrence: the scan's formals from its defaults, the first one from the channels."""
        checked = self.program.checked.scans[self.scan]
        formals: dict[str, int] = {}
        for i, formal in enumerate(checked.formals):
            value = self.channels if i == 0 or formal.default is None else evaluate_size(formal.default, formals)
            formals[formal.label] = int(value)
        return {label: int(evaluate_size(value, formals)) for label, value in checked.sizes.items()}

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

    @cached_property
    def layout(self) -> Layout:
        from scanlang.codegen.gpu.choose_gpu_schedule import choose_gpu_schedule
        from scanlang.codegen.gpu.triton_layout import Layout, Shape

        dtypes = tuple((stream.name, self.dtype) for stream in self.kernels.streams)
        dtypes += tuple((parameter.name, self.computing) for parameter in self.kernels.parameters)
        dtypes += tuple((n, self.dtype) for n in self.graph.merge_inputs if n not in dict(dtypes))
        shape = Shape(*self.size, self.channels, dtypes, self.computing)
        return Layout(self.kernels, self.graph.orders, choose_gpu_schedule(self.kernels, self.graph.orders, shape, 1), shape)

    @cached_property
    def c_text(self) -> str:
        from scanlang.codegen.cpu.emit_c import emit_c

        return emit_c(self.kernels, self.schedule, "float64" if self.dtype == "float64" else "float32")

    @cached_property
    def triton_text(self) -> str:
        from scanlang.codegen.gpu.emit_triton import emit_triton

        return emit_triton(self.kernels, self.graph.orders, self.schedule, self.layout.shape)

    @cached_property
    def machine_code(self) -> tuple[KernelCode, ...]:
        from triton.runtime.errors import PTXASError

        from scanlang.codegen.gpu.machine_code import compile_module

        try:
            return compile_module(self.layout, int(self.target.removeprefix("sm_")), self.triton_text)
        except PTXASError as error:
            if "gpu-name" not in str(error):
                raise
            raise UnknownArchitecture(f"Triton {version('triton')} does not know it") from error

    def emit(self, what: str) -> dict[str, str | bytes]:
        """The files of one stage, by name."""
        makers: dict[str, Callable[[], dict[str, str | bytes]]] = {
            "syntax": lambda: {f"{self.scan}.syntax.txt": tree_text(self.syntax_tree())},
            "checked": lambda: {f"{self.scan}.checked.txt": tree_text(self.program.checked)},
            "maps": lambda: {f"{self.scan}.maps.txt": maps_text(self.program)},
            "graph": lambda: {f"{self.scan}.graph.txt": graph_text(self.program, self.scan)},
            "adjoint": lambda: {f"{self.scan}.adjoint.txt": adjoint_text(self.graph.step)},
            "kernels": lambda: {f"{self.stem}.kernels.txt": kernels_text(self.kernels)},
            "schedule": lambda: {f"{self.stem}.schedule.txt": self.schedule_text()},
            "c": lambda: {f"{self.stem}.c": self.c_text},
            "so": lambda: {f"{self.stem}.so": self.shared_object()},
            "triton": lambda: {f"{self.stem}.py": self.triton_text},
            "ptx": lambda: {f"{self.stem}.{code.report.name}.ptx": code.ptx for code in self.machine_code},
            "cubin": lambda: {f"{self.stem}.{code.report.name}.cubin": code.cubin for code in self.machine_code},
            "report": lambda: {"report.txt": self.report.to_text(), "report.json": self.report.to_json()},
        }
        return makers[what]()

    def syntax_tree(self) -> object:
        from scanlang.syntax.build import build_syntax
        from scanlang.syntax.parse import parse_text

        return build_syntax(parse_text(self.program.source), self.program.source)

    def schedule_text(self) -> str:
        return "".join(f"{name:<16}{value}\n" for name, value in asdict(self.schedule).items())

    def shared_object(self) -> bytes:
        from scanlang.codegen.cpu.build_c import build_c

        return build_c(self.c_text, self.scan).read_bytes()

    @cached_property
    def report(self) -> Report:
        kernels, verifications = self.kernels, self.program.verified.verifications
        forward, backward = count_traffic(kernels, self.schedule, self.traffic_sizes())
        return Report(
            program=PurePath(self.program.source.name).name,
            scan=self.scan,
            target=self.target,
            height=self.size[0],
            width=self.size[1],
            channels=self.channels,
            dtype=self.dtype,
            versions=self.versions(),
            directions=tuple({"order": o.name, "proof": str(verifications[o.name])} for o in self.graph.orders),
            sizes=self.sizes,
            schedule=self.schedule,
            forward=forward,
            backward=backward,
            forward_operations=count_operations(kernels.forward.body),
            backward_operations=count_operations((*kernels.backward.forward, *kernels.backward.backward)),
            merge=graph_summary(self.graph),
            kernels=self.code_reports(),
        )

    def traffic_sizes(self) -> Sizes:
        from scanlang.codegen.cpu.run_c import GROUPS

        groups = GROUPS if self.target == "cpu" else self.channels
        item, computing = ITEM_BYTES[self.dtype], ITEM_BYTES[self.computing]
        item = max(item, computing) if self.target == "cpu" else item  # narrower maps are widened first there
        return Sizes(self.size[0] * self.size[1], self.channels, item, computing, groups)

    def versions(self) -> dict[str, str]:
        if self.target == "cpu":
            from scanlang.codegen.cpu.build_c import compiler_version, find_compiler

            return {"scanlang": version("scanlang"), "cc": compiler_version(find_compiler() or "cc")}
        return {"scanlang": version("scanlang"), "triton": version("triton")}

    def code_reports(self) -> tuple[CodeReport, ...]:
        if self.target == "cpu":
            names = ("forward", "backward") if self.kernels.merge is None else ("forward", "backward", "merge", "merge_adjoint")
            return tuple(CodeReport(name) for name in names)
        return tuple(_code_report(code) for code in self.machine_code)


def _code_report(code: KernelCode) -> CodeReport:
    """A kernel that does not walk has no steps to count instructions of."""
    figures = asdict(code.report)
    if not code.report.instructions_per_step:
        figures |= dict.fromkeys(("instructions_per_step", "exponentials_per_step", "channels_per_step"))
    return CodeReport(**figures)
