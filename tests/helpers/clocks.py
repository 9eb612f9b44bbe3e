"""A wall clock of a process's own that can be set; the machine's stays as it is."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

__all__ = ["Clock", "compiler"]

_SHIFTED = Path(__file__).parents[1] / "clock" / "shifted.c"


def compiler() -> str | None:
    """Return the path of a C compiler, without which there is no such clock."""
    return shutil.which("cc") or shutil.which("gcc")


class Clock:
    """The wall clock of the processes that have ``environment``; others keep theirs."""

    def __init__(self, directory: Path) -> None:
        self._shift = directory / "shift"
        self.turn(0)
        library = directory / "shifted.so"
        found = compiler()
        assert found is not None, "no C compiler: what shifts a clock cannot be compiled"
        command = [found, "-shared", "-fPIC", "-O2", "-o", str(library), str(_SHIFTED), "-ldl"]
        subprocess.run(command, check=True, timeout=120)
        self.environment = {"LD_PRELOAD": str(library), "EWMA_CLOCK_SHIFT": str(self._shift)}

    def turn(self, by_ns: int) -> None:
        """Show the time that is ``by_ns`` nanoseconds later than it is."""
        with self._shift.open("r+b" if self._shift.exists() else "wb") as file:
            file.write(struct.pack("q", by_ns))
