"""Times as text: by the column as one by one, and as Python's own reader says."""

from __future__ import annotations

import random
from datetime import datetime, timezone

import numpy as np
import pytest

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.serde.times import read_time, read_times, times_of

DATES = ["2026-01-31", "2024-02-29", "2026-02-29", "1900-02-29", "2000-02-29", "1969-12-31"]
DATES += ["0001-01-01", "0000-01-01", "9999-12-31", "2026-13-01", "2026-00-10", "2026-04-31"]
DATES += ["2026-1-01", "26-01-01", "2026/01/31", "x026-01-31", "2026-01-00", "1582-10-10"]
TIMES = ["", "T10:20", "T10:20:30", " 10:20:30", "t23:59:59.5", "T00:00:00.123456", "T24:00:00"]
TIMES += [
    "T10:60:00",
    "T10:20:60",
    "T10",
    "T10:20:30.",
    "T10:20:30.1234567",
    "T10:20:30,5",
    "_10:20",
]
TIMES += ["T10:20:30.9999999", "T1:20:30", "T10:20:3", "T10:20.5", "T10:20:30.0009", "_10:20"]
ZONES = ["", "Z", "z", "+05:30", "-00:00", "-23:59", "+24:00", "+0530", "+05", "+05:60", " Z"]


def texts(draw: random.Random, n: int) -> list[str]:
    made = ["".join(map(draw.choice, (DATES, TIMES, ZONES))) for _ in range(n)]
    for i in range(0, n, 7):
        at = draw.randrange(len(made[i]) + 1)
        made[i] = made[i][:at] + draw.choice(["", "0", ":", "é", " "]) + made[i][at + 1 :]
    return made


@pytest.mark.parametrize("seed", range(10))
def test_by_the_column_as_one_by_one(seed: int) -> None:
    made = texts(random.Random(seed), 2_000)
    alone = list(map(read_time, made))
    assert times_of(made) == alone
    times_ms, good = read_times(BytesColumn.of([text.encode() for text in made]))
    assert np.count_nonzero(good) > 100
    for text, time_ms, is_good, expected in zip(
        made, times_ms.tolist(), good.tolist(), alone, strict=True
    ):
        assert not is_good or time_ms == expected, text


def test_as_python_reads_them() -> None:
    draw = random.Random(1)
    span = int(datetime(9999, 12, 31, tzinfo=timezone.utc).timestamp() * 1000)
    moments_ms = [draw.randrange(-62_135_596_800_000, span) for _ in range(2_000)]
    made = [str(np.datetime64(ms, "ms")) + draw.choice(["", "Z", "+00:00"]) for ms in moments_ms]
    times_ms, good = read_times(BytesColumn.of([text.encode() for text in made]))
    assert good.all()
    assert times_ms.tolist() == moments_ms
