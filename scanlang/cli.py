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
from math import prod
from pathlib import Path
from shutil import get_terminal_size
from time import monotonic
from typing import IO, TYPE_CHECKING, Any, NoReturn

import click

from scanlang.cli_options import (
    CPU_EMITS,
    DTYPES,
    EMITS,
    FILE,
    GPU_EMITS,
    PRINTED,
    PROGRAM,
    TUNED_TYPES,
    parse_size,
    parse_sizes,
    parse_target,
)

if TYPE_CHECKING:
    from scanlang.diagnostics import Diagnostic, ScanError

FINDINGS = 1
FAILURE = 2
WIDEST_IN_TERMINAL = 32
SLOW = 1.0
"""After so many seconds a command says how far it is."""


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


def check_axes(error: ScanError) -> None:
    """A grid with other axes than the program's can only come from `--size`."""
    from scanlang.cli_show import GRIDS
    from scanlang.errors import GridSize

    for each in error.diagnostics:
        if isinstance(each, GridSize) and len(each.size) != len(each.axes):
            count = "1 axis" if len(each.axes) == 1 else f"{len(each.axes)} axes"
            grid = f"the grid of {each.span.source.name} has {count}, {', '.join(each.axes)}"
            raise click.UsageError(f"--size {written(each.size)}: {grid}; {written(GRIDS[len(each.axes)])} would do")


def as_options(error: ScanError) -> Iterable[Diagnostic]:
    """The findings as one who types a command reads them."""
    from dataclasses import replace

    from scanlang.errors import ScanNotChosen

    return [replace(each, option="--scan") if isinstance(each, ScanNotChosen) else each for each in error.diagnostics]


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """What a command raises, as a message and an exit code."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        from scanlang.diagnostics import ScanError

        try:
            command(*arguments, **options)
        except ScanError as error:
            check_axes(error)
            show_findings(as_options(error), err=True)
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

    Where a file is asked for, std.vmamba is a program of the library, which `scanlang list` shows.
    """


@main.command()
@click.argument("files", nargs=-1, required=True, type=FILE)
@click.option(
    "--size", "sizes", metavar="HxW", callback=parse_sizes, multiple=True, help="A grid to verify on; may be repeated."
)
@click.option("--format", "output", type=click.Choice(["full", "json"]), default="full", show_default=True)
@guarded
def check(files: tuple[str, ...], sizes: list[tuple[int, ...]], output: str) -> None:
    """Check programs and prove their orders.

    Syntax, names, recurrences, and that the directions of every scan visit each cell. `-` reads standard input.
    """
    from scanlang.cli_summary import summary
    from scanlang.diagnostics import ScanError
    from scanlang.pipeline import check_text
    from scanlang.syntax.text import decode_source

    findings: list[Diagnostic] = []
    for file in files:
        try:
            source = decode_source(shown_name(file), read(file))
            verified = check_text(source, root=root_of(file), sizes=sizes or None)
        except ScanError as error:
            check_axes(error)
            findings.extend(error.diagnostics)
            continue
        if output == "full":
            click.echo(f"{shown_name(file)}: {summary(verified)}")
    if output == "json":
        from scanlang.render import to_json

        click.echo(json.dumps(to_json(findings), indent=2))
    else:
        show_findings(findings, err=False)
    if findings:
        raise SystemExit(FINDINGS)


def read(file: str) -> bytes:
    """A file, standard input for `-`, or a program of the library; not much more of it than a program may have."""
    from scanlang.library import names_library_program, program_source
    from scanlang.limits import LIMITS

    if file == "-":
        if sys.stdin is None:
            fail("standard input is closed")
        return sys.stdin.buffer.read(LIMITS.text + 1)
    if names_library_program(file):
        return program_source(file)[0].text.encode()
    with open(file, "rb") as stream:
        return stream.read(LIMITS.text + 1)


def shown_name(file: str) -> str:
    return "<stdin>" if file == "-" else click.format_filename(file)


def root_of(file: str) -> Path | None:
    """The folder that a program's imports are looked up in; a program of the library has none."""
    from scanlang.library import names_library_program

    if file == "-":
        return Path.cwd()
    return None if names_library_program(file) else Path(file).parent


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
        try:
            data = read(file)
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
    from scanlang.library import names_library_program

    if file == "-":
        click.echo(formatted, nl=False)
    elif formatted != text:
        if names_library_program(file):
            fail(f"{file} belongs to scanlang and is not rewritten; --diff shows what would change")
        write_atomically(file, formatted)
        click.echo(f"reformatted {click.format_filename(file)}", err=True)


@main.command()
@click.argument("file", type=PROGRAM)
@click.argument("names", nargs=-1, metavar="[ORDER|SCAN]...")
@click.option("--size", metavar="HxW", callback=parse_size, help="The grid, as many numbers as it has axes.  [default: 8x12]")
@click.option("--layer", type=click.IntRange(0), help="The layer of scans with `layers`.  [default: 0]")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Draw into this SVG file.")
@guarded
def show(file: str, names: tuple[str, ...], size: tuple[int, ...] | None, layer: int | None, output: str | None) -> None:
    """Draw a program's orders and the directions of its scans.

    As numbered paths in an SVG file with -o, in the terminal without.
    """
    from scanlang.cli_show import chosen, grid_for, layer_notes
    from scanlang.draw import MOST_CELLS, order_text, orders_svg
    from scanlang.pipeline import read_program

    if size is not None and prod(size) > MOST_CELLS:
        raise click.UsageError(f"--size: a picture has {MOST_CELLS} cells at most; {written(size)} is too large")
    _, verified = read_program(file, None if size is None else [size])
    orders = chosen(verified, names, layer or 0)
    drawn = {title: order for title, order in orders.items() if order.given is None}
    for title in orders.keys() - drawn.keys():
        click.echo(f"{title} is not drawn: it is given with the call", err=True)
    if not drawn:
        fail(f"{click.format_filename(file)}: there is no order to draw")
    grid = size or grid_for(drawn)
    if output is None and len(grid) > 1 and max(grid) > WIDEST_IN_TERMINAL:
        raise click.UsageError(f"{written(grid)} is too large for the terminal: draw into a file with -o orders.svg")
    if layer is None:
        for note in layer_notes(verified, drawn):
            click.echo(note, err=True)
    named = [(title, order.sequence(*grid)) for title, order in drawn.items()]
    if output is not None:
        from scanlang.files import write_atomically

        write_atomically(output, orders_svg(named, *grid))
        click.echo(f"wrote {click.format_filename(output)}: {', '.join(drawn)} on {written(grid)}")
        return
    colour = wants_colour(sys.stdout)
    pictures = [f"{title}\n{order_text(sequence, *grid, colour=colour)}" for title, sequence in named]
    click.echo("\n\n".join(pictures), color=colour)


def written(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))


@main.command("list")
@click.argument("words", nargs=-1, metavar="[WORD]...")
@click.option("--json", "as_json", is_flag=True, help="Everything, for tools.")
@guarded
def list_command(words: tuple[str, ...], as_json: bool) -> None:
    """List the library: published designs as programs.

    With words, only what has them in its name, its comment or its scans, and the directions of every scan. `import std.vim`
    takes a program into yours; any command takes std.vim for a file. 1×8 directions are one in each of 8 layers.
    """
    from scanlang.cli_list import as_ascii, entry, found, table

    names, entries, begun = found(words), [], monotonic()
    if not names:
        raise click.UsageError(f"the library has nothing with {' '.join(words)}; `scanlang list` shows all of it")
    for number, name in enumerate(names):
        if monotonic() - begun > SLOW:
            show_progress(f"reading the library: {number} of {len(names)}")
        entries.append(entry(name))
    if monotonic() - begun > SLOW:
        show_progress("")
    if as_json:
        document = {"version": 1, "programs": [each.as_json() for each in entries]}
        click.echo(json.dumps(document, indent=2))
        return
    width = get_terminal_size().columns if sys.stdout is not None and sys.stdout.isatty() and not words else None
    for line in table(entries, bool(words), width):
        click.echo(line if shows_unicode(sys.stdout) else as_ascii(line))


def show_progress(text: str) -> None:
    """In place of what was said before, on a terminal."""
    if sys.stderr is not None and sys.stderr.isatty():
        click.echo(f"\r\x1b[K{text}", err=True, nl=False)


def shows_unicode(stream: IO[Any] | None) -> bool:
    try:
        "→".encode(getattr(stream, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


@main.command("compile")
@click.argument("file", type=PROGRAM)
@click.option("-o", "--output", type=click.Path(file_okay=False), help="The folder to write into; without it, --emit prints.")
@click.option("--scan", help="The scan to compile; may be left out when the program has one.")
@click.option(
    "--target",
    metavar="cpu|sm_XX",
    callback=parse_target,
    default="cpu",
    show_default=True,
    help="cpu, sm_80, sm_90, … No GPU is needed.",
)
@click.option("--size", metavar="HxW", callback=parse_size, help="The grid, as many numbers as it has axes.")
@click.option("--layer", type=click.IntRange(0), default=0, show_default=True, help="The layer of a scan with `layers`.")
@click.option("--channels", type=click.IntRange(1, 2**20), help="The width of the features.")
@click.option("--dtype", type=click.Choice(list(DTYPES)), default="fp32", show_default=True)
@click.option("--emit", "emits", type=click.Choice(EMITS), multiple=True, help="Write only this; may be repeated.")
@click.option(
    "--format", "notation", type=click.Choice(["text", "latex"]), default="text", show_default=True, help="Of --emit adjoint."
)
@guarded
def compile_command(
    file: str,
    output: str | None,
    scan: str | None,
    target: str,
    size: tuple[int, ...] | None,
    layer: int,
    channels: int | None,
    dtype: str,
    emits: tuple[str, ...],
    notation: str,
) -> None:
    """Compile a scan, forward and backward.

    The folder gets readable modules, their machine code, report.txt and report.json. `--emit adjoint` is the mathematics
    derived from the recurrence: the step, its adjoint, every gradient.
    """
    if notation == "latex" and "adjoint" not in emits:
        raise click.UsageError("--format latex is a form of the derived mathematics; it needs --emit adjoint")
    if output is None and not (emits and PRINTED.issuperset(emits)):
        unprinted = [emit for emit in emits if emit not in PRINTED]
        what = f"--emit {unprinted[0]} is" if unprinted else "modules and their machine code are"
        raise click.UsageError(f"{what} not printed: give a folder to write into, -o out")
    for emit in emits:
        if emit in (GPU_EMITS if target == "cpu" else CPU_EMITS):
            other = "--target sm_90, for example" if target == "cpu" else "--target cpu"
            raise click.UsageError(f"--emit {emit}: there is none for {target}; it needs {other}")
    if target != "cpu" and os.environ.get("TRITON_INTERPRET") == "1":
        raise click.UsageError("TRITON_INTERPRET=1 makes Triton interpret kernels; unset it to compile them")
    from scanlang.codegen.driver import UnknownArchitecture, compile_files
    from scanlang.files import write_atomically

    latex = notation == "latex"
    try:
        made = compile_files(Path(file), scan, target, size, channels, DTYPES[dtype], emits, layer, latex)
    except UnknownArchitecture as error:
        raise click.UsageError(f"--target {target}: {error}") from None
    if output is None:
        click.echo("\n".join(str(content) for content in made.values()), nl=False)
        return
    Path(output).mkdir(parents=True, exist_ok=True)
    for name, content in made.items():
        click.echo(f"wrote {click.format_filename(write_atomically(Path(output) / name, content))}")


@main.command("count")
@click.argument("program", metavar="FILE|NETWORK")
@click.argument("backbone", required=False)
@click.option(
    "--size", metavar="HxW", callback=parse_size, help="The size of the image.  [default: what it is made for, or 224x224]"
)
@click.option(
    "--rule", metavar="RULE", help="How to count: macs, vmamba or vim.  [default: as published, macs of other backbones]"
)
@click.option("--set", "settings", metavar="FORMAL=VALUE", multiple=True, help="A value for a formal: dim=96, core=bidi.")
@click.option("--format", "output", type=click.Choice(["full", "json"]), default="full", show_default=True)
@guarded
def count_command(
    program: str,
    backbone: str | None,
    size: tuple[int, ...] | None,
    rule: str | None,
    settings: tuple[str, ...],
    output: str,
) -> None:
    """Count a backbone's parameters and operations.

    Of a file or program of the library and one of its backbones, or of a published network by its name:

    \b
    scanlang count vmamba_tiny_s1l8
    scanlang count mine.scan tiny --size 256x320 --set dim=64
    """
    from scanlang.cli_count import as_json, counted, lines_of, parse_settings
    from scanlang.networks.rules import RULES

    if rule is not None and rule not in RULES:
        raise click.UsageError(f"--rule: there is no rule {rule} ({', '.join(RULES)})")
    result = counted(program, backbone, size, rule, parse_settings(settings))
    if output == "json":
        click.echo(json.dumps(as_json(result), indent=2))
        return
    for line in lines_of(result):
        click.echo(line)


@main.command("bench")
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False), metavar="[FILE]...")
@click.option("--rows", metavar="PATTERNS", help="Rows by patterns: 'stage1*,models-vim*'.  [default: all that run here]")
@click.option("--list", "only_list", is_flag=True, help="Measure nothing; name the rows.")
@click.option("--merge", is_flag=True, help="Measure nothing; show what is in FILEs together.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="Write the rows there as well, after every one.")
@click.option("--resume", is_flag=True, help="Leave out the rows that the --json file has already.")
@click.option("--png", type=click.Path(dir_okay=False), help="Draw rows and limits into this PNG file.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Begin no row after so many minutes.")
@click.option(
    "--row-seconds", type=click.FloatRange(0, min_open=True), default=300.0, show_default=True, help="Give a row up after that."
)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True, help="Of the rows on a CPU.")
@click.option("--tiny", is_flag=True, help="Tiny sizes, on the CPU: shows that rows run; the times mean nothing.")
@guarded
def bench(files: tuple[str, ...], only_list: bool, merge: bool, json_path: str | None, **options: Any) -> None:
    """Measure times, memory and the machine's limits.

    Of scans, recurrences and whole networks; the row's own process may fail without the others.

    \b
    scanlang bench --rows 'stage*,vim*' --json out/a.json
    scanlang bench --rows 'models-*' --json out/b.json --minutes 7 --resume
    scanlang bench --merge out/a.json out/b.json --png out/roofline.png
    """
    if bool(files) != merge:
        raise click.UsageError("--merge wants files, and files want --merge: what --json wrote")
    if merge and only_list:
        raise click.UsageError("--merge shows rows, --list names them: one or the other")
    from scanlang.cli_bench import Wanted, listed, run, show_files

    wanted = Wanted(json=json_path, **options)
    if only_list:
        click.echo("\n".join(listed(wanted.rows)))
        return
    raise SystemExit(show_files(files, wanted) if merge else run(wanted))


@main.command("tune")
@click.argument("file", type=PROGRAM, required=False)
@click.option("--backbone", help="Tune every scan of this network: of the file, or a published one.")
@click.option("--scan", help="The scan to tune; may be left out when the program has one.")
@click.option("--layer", type=click.IntRange(0), default=0, help="The layer of a scan with `layers`.  [default: 0]")
@click.option("--size", metavar="HxW", callback=parse_size, help="The grid; of a network, the image.")
@click.option("--channels", type=click.IntRange(1, 2**20), help="The width of the features.")
@click.option("--batch", type=click.IntRange(1, 2**20), default=128, show_default=True, help="Images at once.")
@click.option("--dtype", type=click.Choice(list(TUNED_TYPES)), metavar="|".join(DTYPES), default="bf16", show_default=True)
@click.option("--backward/--forward", default=True, help="Measure both passes, or the forward alone.  [default: both]")
@click.option("--budget", metavar="SECONDS", type=float, default=120.0, show_default=True, help="For each scan.")
@click.option("--out", type=click.Path(), metavar="FILE", help="Where choices go.  [default: the file that is used]")
@click.option("--anew", is_flag=True, help="Forget what the file has for these programs and grids.")
@guarded
def tune_command(**options: Any) -> None:
    """Measure schedules on this GPU, and store the best.

    Scans then use it wherever the program, the shape, the card and the versions are the same. What is measured must give the
    results that the rule's choice gives, and take at least 3 % less time.

    \b
    scanlang tune mine.scan --size 56x56 --channels 96 --batch 128
    scanlang tune --backbone vmamba_tiny_s1l8 --size 224x224 --batch 128

    The file can be copied to others. SCANLANG_TUNED names the files that are used, tuned.json in the cache without it.
    """
    from scanlang.cli_tune import Asked, Stopped, check, run, why_not_here

    asked = Asked(**options)
    check(asked)
    if (why_not := why_not_here()) is not None:
        fail(why_not)
    try:
        for line in run(asked, show_progress):
            click.echo(line)
    except Stopped as stopped:
        fail(str(stopped))


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
