"""Records of the alarms topic as a job writes them."""

from __future__ import annotations

import json
import time
from typing import Any

from ewma_ops.notify.alarm import Transition, parse_transition

__all__ = ["document", "now_ms", "transition"]


def now_ms() -> int:
    return int(time.time() * 1_000)


def document(
    series: str = "kitchen", transition: str = "raised", offset: int = 7, **more: Any
) -> bytes:
    """Return a record's value; ``offset`` is that of the reading that raised it."""
    time_ms = more.pop("time", now_ms())
    made = {
        "alarm_id": f"level-0-{offset}-9f3a51c2",
        "transition": transition,
        "rule": "level",
        "kind": "level",
        "severity": "warning",
        "series_id": series,
        "time": time_ms,
        "since": time_ms,
        "value": 24.1,
        "ewma": 23.2,
        "expected": 21.5,
        "lower": 20.7,
        "upper": 22.3,
        "score": 3.41,
        "limit": 2.814,
        "readings": 1,
        "designed": "1 per 500 readings",
        "partition": 0,
        "offset": offset,
        "summary": f"{series} is high: 23.2, expected 21.5 ± 0.8",
        **more,
    }
    return json.dumps(made).encode()


def transition(*arguments: Any, **more: Any) -> Transition:
    parsed = parse_transition(document(*arguments, **more))
    assert parsed is not None
    return parsed
