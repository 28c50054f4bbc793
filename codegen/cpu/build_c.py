"""C text → a loaded shared object, built once per content by the machine's compiler and kept in a cache folder.

`<cache>/<name>-<hash>/` holds `<name>.c`, `<name>.so` and `<name>.sha256`. The hash covers the text, the flags, the compiler
with its version and the processor, so a cache on a shared home never gives a machine another's code. A folder is complete when
it appears: it is built beside and renamed, so processes may build at once. `SCANLANG_CACHE` names another cache.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from scanlang.codegen.cache import writable_cache

FLAGS = ("-O3", "-ffp-contract=fast", "-fno-math-errno", "-std=gnu11", "-fPIC", "-shared", "-w")


class BuildError(RuntimeError):
    """The compiler is missing or refused; the message has its command and what it said."""


def find_compiler() -> str | None:
    """The command of the C compiler: `SCANLANG_CC`, else `CC`, else cc, gcc or clang; None if there is none.

    A `SCANLANG_CC` that cannot be found means none: it was asked for by name.
    """
    own = os.environ.get("SCANLANG_CC")
    if own is not None:
        return own if _is_command(own) else None
    for command in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        if _is_command(command):
            return command
    return None


def _is_command(command: str) -> bool:
    words = shlex.split(command)
    return bool(words) and shutil.which(words[0]) is not None


def machine_flags() -> tuple[str, ...]:
    """What makes the compiler use this very processor."""
    return ("-march=native",) if platform.machine().lower() in ("x86_64", "amd64", "i686") else ("-mcpu=native",)


@functools.cache
def compiler_version(command: str) -> str:
    """The first line a compiler prints of itself."""
    said = subprocess.run([*shlex.split(command), "--version"], capture_output=True, text=True, check=False)
    return said.stdout.partition("\n")[0].strip()


@functools.cache
def processor() -> str:
    """The processor's features, as far as the system tells."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                return f"{platform.machine()} {line.partition(':')[2].strip()}"
    return f"{platform.machine()} {platform.processor()}"


def build_c(text: str, name: str) -> Path:
    """The shared object of a C text, from the cache if it is there and whole. `BuildError` if it cannot be built."""
    command = find_compiler()
    if command is None:
        raise BuildError("no C compiler: set SCANLANG_CC or CC, or install gcc or clang")
    name = "".join(c if c.isascii() and c.isalnum() else "_" for c in name)[:40]
    flags = (*FLAGS, *machine_flags())
    parts = (text, " ".join(flags), command, compiler_version(command), processor())
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]
    folder = writable_cache() / f"{name}-{key}"
    if not _is_whole(folder, name):
        _build(text, name, [*shlex.split(command), *flags], folder)
    return folder / f"{name}.so"


def load_c(text: str, name: str) -> ctypes.CDLL:
    """`build_c`, loaded into the process."""
    return ctypes.CDLL(str(build_c(text, name)))


def _is_whole(folder: Path, name: str) -> bool:
    try:
        wanted = (folder / f"{name}.sha256").read_text()
        return hashlib.sha256((folder / f"{name}.so").read_bytes()).hexdigest() == wanted
    except (OSError, UnicodeDecodeError):
        return False


def _build(text: str, name: str, command: list[str], folder: Path) -> None:
    """Compile in a folder beside, then put it in place in one step."""
    work = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
    try:
        (work / f"{name}.c").write_text(text, encoding="utf-8")
        words = [*command, f"{name}.c", "-o", f"{name}.so", "-lm"]
        try:
            said = subprocess.run(words, cwd=work, capture_output=True, text=True, errors="replace", check=False)
        except OSError as error:
            raise BuildError(f"{words[0]} cannot be run: {error}") from error
        if said.returncode:
            raise BuildError(f"the C compiler refused {name}.c: {shlex.join(words)}\n{said.stderr[-4000:]}")
        digest = hashlib.sha256((work / f"{name}.so").read_bytes()).hexdigest()
        (work / f"{name}.sha256").write_text(digest)
        work.chmod(0o755)
        _put(work, folder, name)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _put(work: Path, folder: Path, name: str) -> None:
    """Rename `work` to `folder`, unless another process was faster; a broken folder gives way."""
    for _ in range(3):
        try:
            work.rename(folder)
            return
        except OSError:
            if _is_whole(folder, name):
                return
        aside = Path(tempfile.mkdtemp(prefix=".old-", dir=folder.parent))
        with contextlib.suppress(OSError):
            folder.rename(aside / "broken")
        shutil.rmtree(aside, ignore_errors=True)
    raise BuildError(f"{folder} is neither whole nor replaceable")
