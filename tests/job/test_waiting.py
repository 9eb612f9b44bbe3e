"""How long a launcher waits, where it is paused meanwhile."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from ewma_ops.job.supervisor import run_once

STOPS_SLOWLY = """
import pathlib, signal, sys, time
signal.sigwait([signal.SIGTERM])
pathlib.Path(sys.argv[1]).touch()
time.sleep(0.2)
"""


def test_a_pause_during_a_stop_is_no_part_of_its_grace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a virtual machine is suspended while its workers take their last snapshot."""
    stopping, clock = tmp_path / "stopping", time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + 3_600 * stopping.exists())

    def command(place: int, addresses: Sequence[str]) -> list[str]:
        return [sys.executable, "-c", STOPS_SLOWLY, str(stopping)]

    outcome = run_once(command, 1, None, None, [signal.SIGTERM], 60.0)
    assert stopping.exists()
    assert (outcome.code, outcome.text) == (0, "stopped")
