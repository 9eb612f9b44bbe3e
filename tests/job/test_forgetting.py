"""A job forgets idle series by the clock of their input partition, which is part of its state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ewma_ops.columns.origins import Origins
from ewma_ops.columns.readings import Readings
from ewma_ops.job.clocks import Clocks
from tests.helpers.brokers import Record, produce
from tests.helpers.jobs import START_MS, Job, Reading, ewma

DAY_MS = 86_400_000


def at(day: float, series_id: str, value: float) -> Reading:
    return Reading(series_id, START_MS + int(day * DAY_MS), value)


def test_a_clock_goes_with_the_readings_of_its_partition_and_never_back() -> None:
    clocks = Clocks()
    clocks.resume(1, 40)
    origins = Origins(np.array([0, 1, 0, 1, 0], np.int32), np.arange(5))
    times = np.array([50, 10, 20, 60, 70])
    stamped = clocks.stamp(Readings(list("abcde"), np.ones(5), times, origins))
    assert stamped.clocks_ms is not None
    assert stamped.clocks_ms.tolist() == [50, 40, 50, 60, 70]
    assert (clocks.state(0), clocks.state(1), clocks.state(2)) == (70, 60, None)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_goes_on_with_the_clock_of_the_run_before(
    embedded: str, tmp_path: Path, workers: int
) -> None:
    job = Job(embedded, tmp_path, (1, 1, 1))
    job.configure(smooth={"forget_after": "7d"})
    job.send([at(0, "a", 1.0), at(10, "b", 5.0)])
    job.run(workers)
    # Late, and yet new: by the clock of its partition, which stood at ten days, "a" was idle.
    job.send([at(5, "a", 8.0), at(10.5, "b", 7.0), at(5.5, "a", 4.0)])
    job.run(workers)
    events = job.events(5)
    assert [event.ewma for event in events["a"][:2]] == [1.0, 8.0]
    # From then on its newest time is less than seven days behind that clock.
    assert events["a"][2].ewma == pytest.approx((0.9 * 8 + 4) / 1.9)
    assert events["b"][1].ewma == pytest.approx((0.9 * 5 + 7) / 1.9)
    done = ewma("verify", str(job.path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "exactly once" in done.stdout


def test_series_of_other_partitions_go_by_other_clocks(embedded: str, tmp_path: Path) -> None:
    job = Job(embedded, tmp_path, (4, 1, 1))
    job.configure(smooth={"forget_after": "7d"})
    ids = [f"s{i}" for i in range(12)]
    job.send([at(0, series_id, 1.0) for series_id in ids])
    job.send([at(20, "s0", 1.0)])
    job.send([at(1, series_id, 3.0) for series_id in ids[1:]])
    job.run()
    events = job.events(len(ids) + 1 + len(ids) - 1)
    averages = {series_id: events[series_id][1].ewma for series_id in ids[1:]}
    smoothed, anew = pytest.approx((0.9 * 1 + 3) / 1.9), 3.0
    assert any(average == smoothed for average in averages.values())
    assert any(average == anew for average in averages.values())
    assert all(average in (smoothed, anew) for average in averages.values())
    done = ewma("verify", str(job.path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_a_tombstone_lets_the_series_of_its_key_begin_anew(
    embedded: str, tmp_path: Path, workers: int
) -> None:
    job = Job(embedded, tmp_path, (2, 1, 1))
    own = {"series_id": "@key.id", "key": "json", "tombstones": "forget", "time": "ts"}
    job.configure(input=own)

    def record(series: int, value: float | None) -> Record:
        payload = None if value is None else b'{"ts": %d, "value": %g}' % (START_MS, value)
        return Record(payload, b'{"id": %d}' % series)

    produce(embedded, job.input, [record(1, 1.0), record(2, 1.0), record(1, None), record(2, 4.0)])
    job.run(workers)
    produce(embedded, job.input, [record(1, 4.0), record(2, None), Record(None, b"no JSON")])
    produce(embedded, job.input, [record(2, 9.0), record(1, 4.0)])
    told = job.run(workers)
    averages = [[event.ewma for event in events] for _, events in sorted(job.events(6).items())]
    assert averages == [[1.0, 4.0, 4.0], [1.0, pytest.approx((0.9 + 4) / 1.9), 9.0]]
    assert [letter.key for letter in job.letters(1)] == [b"no JSON"]
    assert "3 events, 1 dead letter" in told
    done = ewma("verify", str(job.path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 readings, 1 dead letters, 6 events" in done.stdout
