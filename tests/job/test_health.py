"""When a job is ready, and what is said when it is not."""

from __future__ import annotations

import pytest

from ewma_ops.job.health import why_not_ready
from ewma_ops.job.measurements import Family, Sample, Taken

NOW = 1_700_000_000.0


def taken(*answered: bool, **values: float) -> Taken:
    families = [
        Family(name, "gauge", "", [Sample(name, {"worker": "0"}, value)])
        for name, value in ((f"ewma_ops_{name}", value) for name, value in values.items())
    ]
    return Taken(families, list(answered))


@pytest.mark.parametrize(
    ("state", "interval_s"),
    [
        (taken(True, readings_total=1, snapshot_timestamp_seconds=NOW - 9), 10),
        (taken(True, input_partitions=0), 10),  # others read
        (taken(True, True, consumer_lag=0, snapshot_timestamp_seconds=NOW - 79), 10),
        (taken(True, readings_total=1), None),
        (taken(True, readings_total=1), 3_600),  # too long to wait for
    ],
)
def test_a_job_that_reads_and_saves_is_ready(state: Taken, interval_s: float | None) -> None:
    assert why_not_ready(state, interval_s, lambda: NOW) == []


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (taken(), "no worker runs"),
        (taken(True, False, readings_total=1, snapshot_timestamp_seconds=NOW), "worker 1 does not"),
        (taken(True, readings_total=0, snapshot_timestamp_seconds=NOW), "nothing was read yet"),
        (taken(True, input_partitions=1, snapshot_timestamp_seconds=NOW), "nothing was read yet"),
        (taken(True, False, input_partitions=0), "worker 1 does not"),
        (taken(True, consumer_lag=7, snapshot_timestamp_seconds=NOW), "nothing was read yet"),
        (taken(True, readings_total=1), "no snapshot was taken yet; there is one each 10 s"),
        (
            taken(True, readings_total=1, snapshot_timestamp_seconds=NOW - 81),
            "the last snapshot is 81 s old; there should be one each 10 s",
        ),
    ],
)
def test_why_a_job_is_not_ready(state: Taken, words: str) -> None:
    (why,) = why_not_ready(state, 10, lambda: NOW)
    assert why.startswith(words)
