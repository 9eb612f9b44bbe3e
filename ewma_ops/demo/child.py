"""Commands of ewma as children of the demo: how they are started and ended.

Must not know what a command does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ewma_ops.demo.broker import start_tied

__all__ = ["end_command", "start_command"]


def start_command(arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start ``ewma`` with arguments, in a process group of its own.

    Ctrl-C is for the demo alone, which ends the child in turn; the child is killed if the demo is.

    Parameters
    ----------
    arguments
        The command and its arguments, such as ``["run", "demo.toml"]``.
    log
        The file that all of its output goes to.
    """
    with log.open("wb") as output:
        return start_tied(
            [sys.executable, "-m", "ewma_ops.commands.cli", *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end_command(process: subprocess.Popen[bytes], wait_s: float) -> None:
    """Stop a command with SIGTERM, and kill what is left of its group after ``wait_s`` seconds."""
    try:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=wait_s)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
