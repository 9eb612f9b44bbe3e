"""The live page of the demo's flow: the process that serves it.

Knows how `ewma watch` is started and what it says; must not know what the page shows.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import time
from pathlib import Path
from types import TracebackType

from ewma_ops.demo.child import end_command, start_command

__all__ = ["Page"]

_EXTRA = ("starlette", "uvicorn")
_READY_S = 15.0
_LOOK_S = 0.05
_ENDING_S = 3.0
_ADDRESS = re.compile(r"http://[\w.:]+/")


class Page:
    """Run ``ewma watch`` on a configuration file as a child for the length of a ``with`` block.

    Without a page the demo goes on: ``address`` is None then, and ``why`` says why.

    Parameters
    ----------
    config
        The configuration file.
    log
        Where its output is written.
    """

    def __init__(self, config: Path, log: Path) -> None:
        self._config, self._log = config, log
        self._process: subprocess.Popen[bytes] | None = None
        self.why = ""

    def __enter__(self) -> Page:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
        if missing:
            self.why = "no live page: pip install 'ewma-ops[watch]' adds it"
            return self
        arguments = ["watch", str(self._config), "--bind", "127.0.0.1:0"]
        self._process = start_command(arguments, self._log)
        return self

    def address(self) -> str | None:
        """Wait for the page, and return where it is; None if there is none."""
        if self._process is None:
            return None
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline:
            log = self._log.read_text(encoding="utf-8", errors="replace")
            if (found := _ADDRESS.search(log)) is not None:
                return found[0]
            if self._process.poll() is not None:
                break
            time.sleep(_LOOK_S)
        self.why = f"no live page; {self._log} says why"
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            end_command(self._process, _ENDING_S)
