"""Memory stays bounded whatever the backlog: a fast source meets a slow sink."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.helpers.backlog import fill
from tests.helpers.brokers import make_topic

MakeTopic = Callable[..., str]

BATCHES, A_BATCH = 30, 20_000
PACE = ("1000000", "6")
"""Nothing is taken for 6 seconds: time to read everything, were there no bound."""
LIMIT_MB = 290
"""The flow alone takes 70 MB, its bounded buffers 60 to 190; the backlog holds 300 MB more."""


def test_memory_is_flat_while_a_slow_sink_meets_a_fast_source(embedded: str) -> None:
    source, target = make_topic(embedded, 4), make_topic(embedded, 4)
    fill(embedded, source, BATCHES, A_BATCH)
    script = Path(__file__).parents[1] / "helpers" / "backlog.py"
    command = [sys.executable, str(script), embedded, source, target, str(BATCHES * A_BATCH), *PACE]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    sizes_mb = [float(size) for size in done.stdout.split()]
    assert len(sizes_mb) == 20
    assert max(sizes_mb) < LIMIT_MB, sizes_mb
