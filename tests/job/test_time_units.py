"""Jobs that count times in microseconds or nanoseconds, from the message to the event."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ewma_ops.columns.ticks import MILLISECOND, NANOSECOND
from ewma_ops.job.builders import build_encoder
from ewma_ops.job.survey import in_words
from ewma_ops.settings.describe import describe
from ewma_ops.settings.load import load_tables
from ewma_ops.testing import Result, run_job
from tests.helpers.jobs import START_MS, Job, Reading, ewma

NOW = 1_700_000_000_123_456_789
PER_MS = {None: 1, "ms": 1, "us": 1_000, "ns": 1_000_000}


def tables(unit: str | None, **smooth: Any) -> dict[str, Any]:
    reads = {"topic": "readings", "series_id": "id", "time": "t"}
    return {
        "kafka": {"bootstrap_servers": "127.0.0.1:9092"},
        "input": reads if unit is None else {**reads, "time_unit": unit},
        "smooth": {"halflife": "10s", **smooth},
        "output": {"topic": "smoothed"},
    }


def run(unit: str | None, times: list[int], **smooth: Any) -> Result:
    records = [{"id": "a", "t": time, "value": i % 5} for i, time in enumerate(times)]
    return run_job(tables(unit, **smooth), records)


def events(result: Result) -> list[dict[str, Any]]:
    return [event.json() for event in result.events]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("n", [20, 3_000])
def test_whole_milliseconds_make_the_same_events_but_for_the_unit(unit: str, n: int) -> None:
    times = [START_MS + i * 997 - 5_000 * (i % 11 == 3) for i in range(n)]
    smooth = {"statistics": ["mean", "std", "rate"], "max_lateness": "3s", "late": "clip"}
    usual = run(None, times, **smooth).events
    found = run(unit, [time * PER_MS[unit] for time in times], **smooth).events
    expected = [event.value for event in usual]
    if unit != "ms":
        expected = [
            (one or b"").replace(b'"time":%d' % time, b'"time":%d' % (time * PER_MS[unit]))
            for one, time in zip(expected, times, strict=True)
        ]
    assert [event.value for event in found] == expected


def test_nanoseconds_keep_their_order_and_their_digits() -> None:
    times = [NOW, NOW + 1, NOW + 1, NOW + 2, NOW - 5_000, NOW - 5_001]
    result = run("ns", times, equal_times="skip", max_lateness="5003ns", late="dead-letter")
    assert [one["time"] for one in events(result)] == times
    late = run("ns", times, max_lateness="5003ns")
    assert late.causes == []
    late = run("ns", times, max_lateness="5002ns")
    [letter] = late.dead_letters
    assert letter.header("ewma-cause") == "late"
    assert "5003 ns before its newest" in (letter.header("ewma-detail") or "")


def test_a_half_life_of_microseconds() -> None:
    result = run("us", [0, 100, 200], halflife="100us")
    assert events(result)[1]["ewma"] == pytest.approx(1 / 1.5)
    idle = run("us", [0, 100, 301], halflife="100us", forget_after="200us")
    assert events(idle)[2]["ewma"] == 2.0
    slow = run("us", [0, 100, 300], halflife="100us", forget_after="200us")
    assert events(slow)[2]["ewma"] < 2.0


def test_the_timestamp_of_a_record_stays_in_milliseconds() -> None:
    for time in (None, "@timestamp"):
        asked = tables("ns")
        asked["input"] = {
            "topic": "readings", "series_id": "id", "time_unit": "ns",
            **({} if time is None else {"time": time}),
        }  # fmt: skip
        assert load_tables(asked).input.tick is MILLISECOND
        assert load_tables(asked).identity()["smoothing"].count("times=") == 0


def test_max_ahead_is_counted_in_the_unit_of_the_job() -> None:
    for unit, expected in ((None, 1), ("ms", 1), ("us", 1_500), ("ns", 1_500_000)):
        assert load_tables(tables(unit, max_ahead="1500us")).max_ahead == expected


def test_other_units_are_other_jobs() -> None:
    prints = [load_tables(tables(unit)).identity()["smoothing"] for unit in PER_MS]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_what_a_job_amounts_to_is_told_in_seconds() -> None:
    told = describe(load_tables(tables("ns", max_lateness="10min", forget_after="1h")))
    assert "late dead-letter (by more than 600 s)" in told
    assert "idle for more than 3,600 s" in told


def test_times_in_words_have_all_their_digits() -> None:
    assert in_words(NOW, NANOSECOND) == "2023-11-14 22:13:20.123456789 UTC"
    assert in_words(NOW // 10**9 * 10**9, NANOSECOND) == "2023-11-14 22:13:20 UTC"


@pytest.mark.parametrize(("unit", "kind"), [(None, "millis"), ("us", "micros"), ("ns", "nanos")])
def test_events_as_avro_name_the_unit(unit: str | None, kind: str) -> None:
    asked = tables(unit)
    asked["output"]["format"] = "avro"
    asked["registry"] = {"url": "http://127.0.0.1:1"}
    encoder: Any = build_encoder(load_tables(asked))
    [time] = [one for one in json.loads(encoder.schema)["fields"] if one["name"] == "time"]
    assert time["type"] == {"type": "long", "logicalType": f"timestamp-{kind}"}


def test_ewma_try(tmp_path: Path) -> None:
    config = tmp_path / "flow.toml"
    config.write_text(
        '[kafka]\nbootstrap_servers = "127.0.0.1:9"\n[input]\ntopic = "t"\nseries_id = "id"\n'
        'time = "t"\ntime_unit = "ns"\n[smooth]\nhalflife = "2ns"\n[output]\ntopic = "u"\n'
    )
    lines = tmp_path / "lines"
    lines.write_text(
        "".join(f'{{"value":{{"id":"a","t":{NOW + at},"value":{at}}}}}\n' for at in (0, 2))
    )
    done = ewma("try", str(config), str(lines))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [f'"time":{NOW + at}' in done.stdout for at in (0, 2)] == [True, True]
    assert '"ewma":1.33333333333333' in done.stdout


def test_a_job_and_its_verification(embedded: str, tmp_path: Path) -> None:
    job = Job(embedded, tmp_path, (2, 1, 1))
    job.configure(input={"time_unit": "ns"}, smooth={"forget_after": "200ns"})
    job.send([Reading(f"s{i % 3}", NOW + 50 * i, float(i)) for i in range(30)])
    job.run(1)
    job.send([Reading(f"s{i % 3}", NOW + 50 * i, float(i)) for i in range(40, 60)])
    job.run(1)
    found = job.events(50)
    assert [event.time_ms for event in found["s0"]][:2] == [NOW, NOW + 150]
    done = ewma("verify", str(job.path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "exactly once" in done.stdout
