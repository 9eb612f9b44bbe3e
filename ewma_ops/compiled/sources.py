"""The sources of the compiled loops, and their compilation.

Runs before the package is installed: must not import any other package, not even NumPy.

``python -m ewma_ops.compiled`` compiles them in place, by the compiler that ``CC`` names, by
``cc``, or by the one in the package ``ziglang``.
"""

from __future__ import annotations

import os
import sys
import zlib
from importlib.util import find_spec
from pathlib import Path

__all__ = ["FLAGS", "FOLDER", "compile_to", "compiler", "digest", "library_path", "main"]

FOLDER = Path(__file__).parent
FLAGS = (
    "-std=c11", "-O3", "-fPIC", "-shared", "-fvisibility=hidden",
    "-ffp-contract=off",  # the same bits as NumPy: no multiply and add in one
    "-fno-strict-aliasing",
    "-fno-math-errno",  # a square root is an instruction
)  # fmt: skip
_LIMIT_S = 300


def library_path(folder: Path = FOLDER) -> Path:
    """Return where the library of a folder is, or would be."""
    return folder / "kernels.so"


def digest(folder: Path = FOLDER) -> str:
    """Return a digest of the sources, as short text."""
    crc = size = 0
    for path in sorted([*folder.glob("*.c"), *folder.glob("*.h")]):
        source = path.read_bytes()
        crc, size = zlib.crc32(source, crc), size + len(source)
    return f"{crc:08x}-{size}"


def compiler() -> list[str] | None:
    """Return the command that starts a C compiler, if there is one."""
    import shlex
    import shutil

    named = os.environ.get("CC")
    if named:
        return shlex.split(named)
    if shutil.which("cc"):
        return ["cc"]
    if find_spec("ziglang"):
        # It would compile for the processor of this machine only.
        return [sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline"]
    return None


def compile_to(target: Path, folder: Path = FOLDER, flags: tuple[str, ...] = FLAGS) -> str | None:
    """Compile the sources of a folder; return why that failed, or ``None``.

    ``target`` is replaced atomically: a process that has it loaded keeps the old one.
    """
    # A job that loads the library starts without these.
    import shlex
    import shutil
    import subprocess
    import tempfile

    command = compiler()
    if command is None:
        return "there is no C compiler: install one, or the package ziglang"
    with tempfile.TemporaryDirectory() as scratch:
        stamp, made = Path(scratch) / "digest.c", Path(scratch) / "kernels.so"
        stamp.write_text(
            '__attribute__((visibility("default"))) '
            f'const char ewma_digest[] = "{digest(folder)}";\n'
        )
        sources = [str(path) for path in sorted(folder.glob("*.c"))]
        command = [*command, *flags, "-o", str(made), *sources, str(stamp)]
        # zig keeps a cache; a build must work if the home directory cannot be written to.
        environment = {"ZIG_GLOBAL_CACHE_DIR": str(Path(scratch) / "zig"), **os.environ}
        try:
            done = subprocess.run(
                command,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=_LIMIT_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{command[0]}: {error}"
        if done.returncode:
            return f"{shlex.join(command)} failed: {done.stderr.strip()[-2000:]}"
        beside = target.with_name(f"{target.name}.{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(made, beside)
            beside.replace(target)
        except OSError as error:
            return f"{target} cannot be written: {error}"
    return None


def main() -> int:
    """Compile the library in place; print the result, and return an exit code."""
    failure = compile_to(library_path())
    print(f"{library_path()}: {failure or 'compiled'}", file=sys.stderr)
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
