"""Memory stays bounded whatever the backlog: a fast source meets a slow sink."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.brokers import make_topic
from tests.connectors.backlog import fill

MakeTopic = Callable[..., str]

BATCHES, A_BATCH = 40, 20_000
GROWTH_MB = 40
"""Some 60 MB come in, 130 MB as Python objects."""


def test_memory_is_flat_while_a_slow_sink_meets_a_fast_source(embedded: str) -> None:
    source, target = make_topic(embedded, 4), make_topic(embedded, 4)
    fill(embedded, source, BATCHES, A_BATCH)
    script = Path(__file__).with_name("backlog.py")
    command = [sys.executable, str(script), embedded, source, target, str(BATCHES * A_BATCH)]
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
    third = len(sizes_mb) // 3
    assert third >= 3
    early, late = max(sizes_mb[:third]), max(sizes_mb[-third:])
    assert late - early < GROWTH_MB, sizes_mb
