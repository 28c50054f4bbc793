"""The command line: one function per command, each importing only what it runs (start-up stays under 0.7 s).

Exit codes: 0 clean, 1 findings, 2 usage, I/O, or a mistake of scanlang's own. Only the last shows a traceback.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches, unified_diff
from functools import wraps
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

import click

from scanlang.cli_options import (
    CPU_EMITS,
    DTYPES,
    EMITS,
    FILE,
    GPU_EMITS,
    PROGRAM,
    parse_size,
    parse_sizes,
    parse_target,
)

if TYPE_CHECKING:
    from scanlang.diagnostics import Diagnostic
    from scanlang.maps.order import Order
    from scanlang.maps.verify import VerifiedProgram

FINDINGS = 1
FAILURE = 2
WIDEST_IN_TERMINAL = 32


def wants_colour(stream: IO[Any] | None) -> bool:
    """NO_COLOR says no, FORCE_COLOR says yes, else a terminal gets colour. A stream closed by the caller is None."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return stream is not None and stream.isatty()


def fail(message: str) -> NoReturn:
    click.echo(f"scanlang: {message}", err=True)
    raise SystemExit(FAILURE)


def report_own_mistake() -> NoReturn:
    import traceback

    click.echo(traceback.format_exc(), err=True, nl=False)
    fail("this is a mistake of scanlang's own; please report it with the program and the lines above")


def show_findings(diagnostics: Iterable[Diagnostic], err: bool) -> None:
    from scanlang.render import render

    colour = wants_colour(sys.stderr if err else sys.stdout)
    for diagnostic in diagnostics:
        click.echo(render(diagnostic, color=colour), err=err, color=colour)


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """What a command raises, as a message and an exit code."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        from scanlang.diagnostics import ScanError

        try:
            command(*arguments, **options)
        except ScanError as error:
            show_findings(error.diagnostics, err=True)
            raise SystemExit(FINDINGS) from None
        except BrokenPipeError:
            raise
        except OSError as error:
            place = f"{click.format_filename(error.filename)}: " if error.filename else ""
            fail(f"{place}{error.strerror or error}")
        except click.ClickException:
            raise
        except MemoryError:
            fail("there is not enough memory for this")
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == "scanlang":
                report_own_mistake()
            fail(f"this needs the package {error.name} (pip install 'scanlang[triton,viz]' brings the optional ones)")
        except Exception:
            report_own_mistake()

    return run


def print_versions(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from scanlang.doctor import package_version

        scanlang, torch, triton = map(package_version, ("scanlang", "torch", "triton"))
        click.echo(f"scanlang {scanlang} (torch {torch}, triton {triton})")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, callback=print_versions, expose_value=False, is_eager=True, help="Print versions.")
def main() -> None:
    """Programs for 2-D selective scans: check, draw and compile them.

    \b
    scanlang check cross.scan
    scanlang show cross.scan --size 8x12
    scanlang compile cross.scan -o out --target sm_90
    """


@main.command()
@click.argument("files", nargs=-1, required=True, type=FILE)
@click.option(
    "--size", "sizes", metavar="HxW", callback=parse_sizes, multiple=True, help="A grid to verify on; may be repeated."
)
@click.option("--format", "output", type=click.Choice(["full", "json"]), default="full", show_default=True)
@guarded
def check(files: tuple[str, ...], sizes: list[tuple[int, int]], output: str) -> None:
    """Check programs and prove their orders.

    Syntax, names, recurrences, and that every order visits each cell exactly once. `-` reads standard input.
    """
    from scanlang.diagnostics import ScanError
    from scanlang.pipeline import check_text
    from scanlang.syntax.text import decode_source

    findings: list[Diagnostic] = []
    for file in files:
        try:
            source = decode_source(shown_name(file), read(file))
            verified = check_text(source, root=root_of(file), sizes=sizes or None)
        except ScanError as error:
            findings.extend(error.diagnostics)
            continue
        if output == "full":
            click.echo(f"{shown_name(file)}: {verified.summary()}")
    if output == "json":
        from scanlang.render import to_json

        click.echo(json.dumps(to_json(findings), indent=2))
    else:
        show_findings(findings, err=False)
    if findings:
        raise SystemExit(FINDINGS)


def read(file: str) -> bytes:
    """A file, or standard input for `-`; not much more of it than a program may have."""
    from scanlang.limits import LIMITS

    if file == "-":
        if sys.stdin is None:
            fail("standard input is closed")
        return sys.stdin.buffer.read(LIMITS.text + 1)
    with open(file, "rb") as stream:
        return stream.read(LIMITS.text + 1)


def shown_name(file: str) -> str:
    return "<stdin>" if file == "-" else click.format_filename(file)


def root_of(file: str) -> Path:
    """The folder that a program's imports are looked up in."""
    return Path.cwd() if file == "-" else Path(file).parent


@main.command()
@click.argument("files", nargs=-1, required=True, type=FILE)
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit 1 if a file would change.")
@click.option("--diff", is_flag=True, help="Write nothing; print what would change; exit 1 if something would.")
@guarded
def fmt(files: tuple[str, ...], only_check: bool, diff: bool) -> None:
    """Lay programs out in the one standard way.

    Comments are kept. `-` formats standard input to standard output."""
    from scanlang.diagnostics import ScanError
    from scanlang.syntax.format import format_text
    from scanlang.syntax.text import decode_source

    status = 0
    for file in files:
        data = read(file)
        try:
            formatted = format_text(decode_source(shown_name(file), data))
        except ScanError as error:
            show_findings(error.diagnostics, err=True)
            status = FINDINGS
            continue
        text = data.decode("utf-8")
        if diff or only_check:
            if formatted != text:
                status = FINDINGS
                report_change(shown_name(file), text, formatted, diff)
        else:
            write_formatted(file, text, formatted)
    raise SystemExit(status)


def report_change(name: str, text: str, formatted: str, diff: bool) -> None:
    if not diff:
        click.echo(f"would reformat {name}")
        return
    for line in unified_diff(lines(text), lines(formatted), name, f"{name} (formatted)"):
        click.echo(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n", nl=False)


def lines(text: str) -> list[str]:
    """Split at line feeds only, each line with its own."""
    return [line for line in re.split(r"(?<=\n)", text) if line]


def write_formatted(file: str, text: str, formatted: str) -> None:
    from scanlang.files import write_atomically

    if file == "-":
        click.echo(formatted, nl=False)
    elif formatted != text:
        write_atomically(file, formatted)
        click.echo(f"reformatted {click.format_filename(file)}", err=True)


@main.command()
@click.argument("file", type=PROGRAM)
@click.argument("orders", nargs=-1, metavar="[ORDER]...")
@click.option(
    "--size",
    metavar="HxW",
    callback=parse_size,
    default="8x12",
    show_default=True,
    help="Rows and columns of the grid.",
)
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Draw into this SVG file.")
@guarded
def show(file: str, orders: tuple[str, ...], size: tuple[int, int], output: str | None) -> None:
    """Draw a program's orders.

    As numbered paths in an SVG file with -o, in the terminal without.
    """
    from scanlang.draw import MOST_CELLS, order_text, orders_svg

    height, width = size
    if height * width > MOST_CELLS:
        raise click.UsageError(f"--size: a picture has {MOST_CELLS} cells at most; {height}x{width} is too large")
    if output is None and max(size) > WIDEST_IN_TERMINAL:
        raise click.UsageError(f"{height}x{width} is too large for the terminal: draw into a file with -o orders.svg")
    from scanlang.pipeline import read_program

    _, verified = read_program(file, [size])
    drawable = drawable_orders(verified)
    if not drawable:
        fail(f"{click.format_filename(file)}: there is no order to draw")
    named = [(name, drawable[name].positions(height, width)) for name in chosen(orders, drawable)]
    if output is not None:
        from scanlang.files import write_atomically

        write_atomically(output, orders_svg(named, height, width))
        click.echo(f"wrote {click.format_filename(output)}: {', '.join(name for name, _ in named)} on {height}x{width}")
        return
    colour = wants_colour(sys.stdout)
    pictures = [f"{name}\n{order_text(positions, height, width, colour)}" for name, positions in named]
    click.echo("\n\n".join(pictures), color=colour)


def drawable_orders(verified: VerifiedProgram) -> dict[str, Order]:
    """A program's own orders; if it has none, the directions of its scans."""
    return verified.orders or {order.name: order for orders in verified.scans.values() for order in orders}


def chosen(names: tuple[str, ...], orders: Iterable[str]) -> list[str]:
    """The orders asked for, or all."""
    known = list(orders)
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else f" (there are: {', '.join(known) or 'none'})"
            raise click.UsageError(f"the program has no order {name}{hint}")
    return list(names) or known


@main.command("compile")
@click.argument("file", type=PROGRAM)
@click.option("-o", "--output", required=True, type=click.Path(file_okay=False), help="The folder to write into.")
@click.option("--scan", help="The scan to compile; may be left out when the program has one.")
@click.option(
    "--target",
    metavar="cpu|sm_XX",
    callback=parse_target,
    default="cpu",
    show_default=True,
    help="cpu, sm_80, sm_90, … No GPU is needed.",
)
@click.option("--size", metavar="HxW", callback=parse_size, help="Rows and columns of the grid.")
@click.option("--channels", type=click.IntRange(1, 2**20), help="The width of the features.")
@click.option("--dtype", type=click.Choice(list(DTYPES)), default="fp32", show_default=True)
@click.option("--emit", "emits", type=click.Choice(EMITS), multiple=True, help="Write only this; may be repeated.")
@guarded
def compile_command(
    file: str,
    output: str,
    scan: str | None,
    target: str,
    size: tuple[int, int] | None,
    channels: int | None,
    dtype: str,
    emits: tuple[str, ...],
) -> None:
    """Compile a scan, forward and backward.

    The folder gets readable modules, their machine code, report.txt and report.json.
    """
    for emit in emits:
        if emit in (GPU_EMITS if target == "cpu" else CPU_EMITS):
            other = "--target sm_90, for example" if target == "cpu" else "--target cpu"
            raise click.UsageError(f"--emit {emit}: there is none for {target}; it needs {other}")
    if target != "cpu" and os.environ.get("TRITON_INTERPRET") == "1":
        raise click.UsageError("TRITON_INTERPRET=1 makes Triton interpret kernels; unset it to compile them")
    from scanlang.codegen.driver import UnknownArchitecture, compile_to_folder

    try:
        written = compile_to_folder(
            Path(file),
            Path(output),
            scan=scan,
            target=target,
            size=size,
            channels=channels,
            dtype=DTYPES[dtype],
            emits=emits,
        )
    except UnknownArchitecture as error:
        raise click.UsageError(f"--target {target}: {error}") from None
    for path in written:
        click.echo(f"wrote {click.format_filename(path)}")


@main.command()
@click.argument("code")
@guarded
def explain(code: str) -> None:
    """Explain a code such as S201.

    With a wrong program and a right one.
    """
    from scanlang.errors import CATALOGUE

    if code.upper() not in CATALOGUE:
        close = get_close_matches(code.upper(), CATALOGUE, n=1)
        raise click.UsageError(f"there is no code {code}" + (f"; did you mean {close[0]}?" if close else ""))
    from scanlang.explain import explain as explanation_of

    click.echo(explanation_of(code.upper()))


@main.command()
@guarded
def doctor() -> None:
    """Print versions, compiler and GPU."""
    from scanlang.doctor import report

    click.echo(report())


if __name__ == "__main__":
    main()
