"""The main job end to end: real brokers, ``ewma run`` as a user starts it, pandas as the judge."""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import pytest
from bytewax.testing import run_main
from kafka import KafkaConsumer, TopicPartition
from prometheus_client import REGISTRY

from ewma_ops.columns.readings import Readings
from ewma_ops.connectors.client.connect import close_producer, connect_producer
from ewma_ops.connectors.client.exchange import send
from ewma_ops.job.dataflow import build_job
from ewma_ops.settings.load import load
from ewma_ops.stats.composites import macd
from ewma_ops.table.table import SeriesTable
from ewma_ops.wire.records import ProducerRecords
from tests.helpers.brokers import (
    ApacheKafka,
    Record,
    configure_topic,
    make_topic,
    produce,
    read_all,
)
from tests.helpers.jobs import (
    START_MS,
    Event,
    Finished,
    Job,
    Reading,
    Watch,
    as_parquet,
    as_record,
    assert_same,
    by_series,
    ewma,
    made_up,
    pandas_says,
    wait_until,
)
from tests.helpers.patience import PATIENCE_S, slowness

linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")


class Smooth(NamedTuple):
    start_up: Literal["corrected", "first"]
    missing: Literal["skip", "decay"]


@pytest.mark.parametrize(
    ("workers", "smooth"), [(2, Smooth("corrected", "skip")), (1, Smooth("first", "decay"))]
)
def test_what_comes_out_is_what_pandas_says(
    broker: str, tmp_path: Path, workers: int, smooth: Smooth
) -> None:
    """Among the readings, which are enough to be read by the column, stand some nobody can read."""
    job = Job(broker, tmp_path)
    job.configure(smooth={"beta": 0.9, **smooth._asdict()})
    readings = made_up(18_000, series=30)
    messages = [as_record(reading) for reading in readings]
    for i in range(0, 18_000, 1_500):
        messages.insert(i, Record(b'{"series_id": "sensor-1", "ts": 1', b"bad-%d" % i, HEADERS, i))
    offsets = produce(broker, job.input, messages)

    job.run(workers)

    adjust, ignore_na = smooth.start_up == "corrected", smooth.missing == "skip"
    said = pandas_says(readings, 0.9, adjust=adjust, ignore_na=ignore_na)
    assert_same(job.events(18_000), said)
    sent = {
        bad.key: (bad.value, [*HEADERS], b"%d" % offset, b"%d" % (bad.timestamp_ms or 0))
        for bad, offset in zip(messages, offsets, strict=True)
        if bad.headers
    }
    letters = job.letters(len(sent))
    assert len(letters) == len(sent) == 12
    for letter in letters:
        told = dict(letter.headers[len(HEADERS) :])
        where = told["ewma-offset"], told["ewma-timestamp"]
        assert (letter.value, letter.headers[: len(HEADERS)], *where) == sent[letter.key]
        assert told["ewma-cause"] == b"not-json"
        assert told["ewma-topic"] == job.input.encode()


HEADERS: tuple[tuple[str, bytes], ...] = (("trace", b"\x00\xff"), ("trace", b""), ("", b"x"))


def test_a_dead_letter_names_its_place_and_keeps_nulls(broker: str, tmp_path: Path) -> None:
    job = Job(broker, tmp_path, partitions=(3, 1, 2))
    producer = connect_producer({"bootstrap_servers": broker})
    producer.partitions_for(job.input)
    null: list[tuple[str, bytes | None]] = [("h", None)]
    for partition, headers in [(2, [*null, ("h", b"\xff")]), (0, []), (2, null)]:
        send(producer, job.input, partition, ProducerRecords([None], [None], [headers]))
    close_producer(producer, 10)

    assert ewma("run", str(job.path)).returncode == 1, "nothing could be read"

    letters = [(letter, dict(letter.headers[-7:])) for letter in job.letters(3)]
    assert all(letter.headers[-1][0] == "ewma" for letter, _ in letters)
    assert sorted(
        (told["ewma-partition"], told["ewma-offset"], letter.headers[:-7])
        for letter, told in letters
    ) == [(b"0", b"0", []), (b"2", b"0", [*null, ("h", b"\xff")]), (b"2", b"1", null)]
    assert all((letter.key, letter.value) == (None, None) for letter, _ in letters)
    assert all(told["ewma-cause"] == b"tombstone" for _, told in letters)


def test_the_records_own_key_and_time(broker: str, tmp_path: Path) -> None:
    job = Job(broker, tmp_path)
    job.configure(
        input={"series_id": None, "time": None, "value": "sensor.value"},
        smooth={"beta": None, "halflife": "1min", "statistics": ["count", "mean"]},
    )
    readings = [(START_MS, 1.0), (START_MS + 60_000, 4.0), (START_MS, 7.0)]  # the last is late
    produce(
        broker,
        job.input,
        [Record(b'{"sensor": {"value": %g}}' % x, b"s", (), time_ms) for time_ms, x in readings],
    )
    job.run()
    found = [json.loads(record.value) for record in read_all(broker, job.output, 3)]
    means = [1.0, 3.0, 4.0]  # (1/2 + 4) / (1/2 + 1), (1/2 + 4 + 7/2) / 2
    for i, (time_ms, x) in enumerate(readings):
        assert found[i].pop("ewma") == pytest.approx(means[i], rel=1e-15)
        assert found[i] == {"series_id": "s", "time": time_ms, "value": x, "count": i + 1}


def test_several_fields_and_decays_are_what_pandas_says(embedded: str, tmp_path: Path) -> None:
    job = Job(embedded, tmp_path)
    job.configure(
        input={"value": ["quote.bid", "ask"]},
        smooth={
            "beta": None,
            "fast": {"span": 5, "statistics": ["mean", "std", "corr"]},
            "slow": {"alpha": 0.1, "missing": "decay"},
        },
    )
    draw = np.random.default_rng(3)
    bids, asks = draw.normal(100, 1, (2, 900)) + np.array([[0.0], [0.1]])
    asks[draw.random(900) < 0.1] = np.nan
    quotes = pd.DataFrame({"id": [f"s{i % 7}" for i in range(900)], "bid": bids, "ask": asks})
    produce(embedded, job.input, map(_quote, range(900), quotes.itertuples()))

    job.run(workers=2)

    found: dict[str, list[dict[str, float | None]]] = {}
    for record in read_all(embedded, job.output, 900):
        event = json.loads(record.value)
        found.setdefault(event["series_id"], []).append(event)
    for series_id, own in quotes.groupby("id"):
        fast, slow = own[["bid", "ask"]].ewm(span=5, ignore_na=True), own["ask"].ewm(alpha=0.1)
        fully = own.dropna()  # a pair is of the readings that have both
        corr = fully["bid"].ewm(span=5).corr(fully["ask"]).reindex(own.index).ffill()
        expected = {
            "bid": own["bid"],
            "quote_bid_fast_ewma": fast["bid"].mean(),
            "quote_bid_fast_std": fast["bid"].std(),
            "ask_fast_ewma": fast["ask"].mean(),
            "ask_fast_std": fast["ask"].std(),
            "ask_slow_ewma": slow.mean(),
            "quote_bid_ask_fast_corr": corr,
        }
        for name, column in expected.items():
            got = [event["quote_bid" if name == "bid" else name] for event in found[str(series_id)]]
            floats = np.array(got, np.float64)
            wanted = np.asarray(column, np.float64)
            np.testing.assert_allclose(floats, wanted, rtol=1e-9, atol=1e-12, err_msg=name)


def _quote(i: int, quote: Any) -> Record:
    ask = None if math.isnan(quote.ask) else quote.ask
    payload = {"series_id": quote.id, "ts": START_MS + i, "quote": {"bid": quote.bid}, "ask": ask}
    return Record(json.dumps(payload).encode(), quote.id.encode())


def test_late_and_impossible_readings_go_to_the_dead_letters_once(
    broker: str, tmp_path: Path
) -> None:
    """The second run knows what is late only from the state of the first."""
    job = Job(broker, tmp_path)
    policies = {"max_lateness": "1min", "highest": 50, "equal_times": "dead-letter"}
    job.configure(smooth={"beta": None, "halflife": "1min", **policies})
    minute = 60_000
    runs = [
        [(10, 20.0, ""), (12, 30.0, ""), (11, 24.0, ""), (10, 49.0, "late"), (13, 51.0, "range")],
        [(11, 7.0, ""), (10, 7.0, "late"), (12, 1.0, "equal"), (13, 1.0, ""), (11, 1.0, "late")],
    ]
    causes = {"late": b"late", "range": b"out-of-range", "equal": b"equal-times"}
    sent: dict[tuple[bytes, int], tuple[bytes, bytes]] = {}
    for run in runs:
        records, whys = [], []
        for series, (at, value, why) in itertools.product(range(20), run):
            reading = Reading(f"s{series}", START_MS + at * minute, value)
            records.append(as_record(reading)._replace(headers=HEADERS))
            whys.append(why)
        offsets = produce(broker, job.input, records)
        for record, offset, why in zip(records, offsets, whys, strict=True):
            if why:
                sent[record.key or b"", offset] = record.value or b"", causes[why]
        job.run(workers=2)

    letters = job.letters(len(sent))
    found = {}
    for letter in letters:
        told = dict(letter.headers[len(HEADERS) :])
        assert letter.headers[: len(HEADERS)] == [*HEADERS]
        found[letter.key, int(told["ewma-offset"])] = letter.value, told["ewma-cause"]
    assert found == sent
    assert len(letters) == len(sent) == 100
    events = job.events(100)
    assert all([e.value for e in own] == [20.0, 30.0, 24.0, 7.0, 1.0] for own in events.values())
    # At minute 13: 20/8 + 30/2 + 24/4 + 7/4 + 1, over 1/8 + 1/2 + 1/4 + 1/4 + 1.
    assert [own[-1].ewma for own in events.values()] == pytest.approx([26.25 / 2.125] * 20)
    verified = ewma("verify", str(job.path))
    assert verified.returncode == 0, verified.stdout
    assert verified.stdout.startswith("100 readings, 100 dead letters, 100 events\n")


@linux
def test_a_kill_before_the_snapshot_doubles_no_late_letter(broker: str, tmp_path: Path) -> None:
    job = Job(broker, tmp_path)
    smooth = {"beta": None, "halflife": "1min", "max_lateness": "1s"}
    job.configure(input={"stop": "never"}, smooth=smooth, recovery={"interval": "1min"})
    times = [START_MS + 1000 * i - (5000 if i % 4 == 3 else 0) for i in range(400)]
    readings = [Reading(f"s{i // 40}", time_ms, 1.0) for i, time_ms in enumerate(times)]
    job.send(readings)
    with Watch(broker, job.output) as watch, job.running(2) as run:
        watch.until(300)
        assert len(job.letters(100)) == 100
        pids = _children(run.pid)
        os.kill(run.pid, signal.SIGKILL)
    wait_until(partial(_are_gone, pids))
    job.configure(smooth=smooth)
    assert ", epoch 1\n" in job.run()  # from the start
    told = [dict(letter.headers) for letter in job.letters(100)]
    assert len({(t["ewma-partition"], t["ewma-offset"]) for t in told}) == len(told) == 100
    assert {t["ewma-cause"] for t in told} == {b"late"}
    assert sum(map(len, job.events(300).values())) == 300


def test_odd_readings_are_counted_by_cause_and_policy(embedded: str, tmp_path: Path) -> None:
    job = Job(embedded, tmp_path, partitions=(1, 1, 1))
    policies = {"out_of_range": "clip", "non_finite": "skip", "missing": "dead-letter"}
    job.configure(smooth={"lowest": 0, "highest": 9, "late": "dead-letter", **policies})
    texts = ["1", "9e9", "Infinity", "1e999", "null", "2", "5"]
    payloads = [f'{{"series_id": "s", "ts": {i}, "value": {x}}}' for i, x in enumerate(texts)]
    payloads.append('{"series_id": "s", "ts": 3, "value": 1}')
    produce(embedded, job.input, [Record(payload.encode()) for payload in payloads])
    kinds = [("out-of-range", "clip"), ("non-finite", "skip"), ("missing", "dead-letter")]
    kinds.append(("late", "dead-letter"))
    before = [_counted(*kind) for kind in kinds]
    run_main(build_job(load(job.path)).flow)
    assert [_counted(*k) - b for k, b in zip(kinds, before, strict=True)] == [1, 2, 1, 1]
    events = [json.loads(record.value) for record in read_all(embedded, job.output, 6)]
    assert [event["value"] for event in events] == [1, 9e9, None, None, 2, 5]
    means = [1.0, (0.9 + 9) / 1.9, (0.81 + 8.1 + 2) / 2.71]
    assert [event["ewma"] for event in events[:5]] == pytest.approx(
        [means[0], *[means[1]] * 3, means[2]]
    )


def _counted(cause: str, policy: str) -> float:
    labels = {"cause": cause, "policy": policy}
    return REGISTRY.get_sample_value("ewma_ops_policies_total", labels) or 0.0


@linux
def test_kills_lose_nothing_and_double_nothing(embedded: str, tmp_path: Path) -> None:
    job = Job(embedded, tmp_path)
    job.configure(input={"stop": "never"}, recovery={"interval": "400ms"})
    kills = [("launcher", 1), ("worker", 2), ("launcher", 2), ("worker", 1)]
    with Watch(embedded, job.output) as watch:
        with job.sending(series=20) as sent:
            for victim, workers in kills:
                with job.running(workers) as run:
                    watch.until(len(sent) + 1)  # it has caught up
                    watch.until(len(sent) + 125)
                    pids = _children(run.pid)
                    assert len(pids) == workers
                    os.kill(run.pid if victim == "launcher" else pids[-1], signal.SIGKILL)
                    if victim == "worker":  # the launcher starts others in its place
                        watch.until(len(sent) + 75)
                        run.send_signal(signal.SIGTERM)
                    said = run.communicate(timeout=PATIENCE_S)[1]
                    assert run.returncode == (-signal.SIGKILL if victim == "launcher" else 0), said
                wait_until(partial(_are_gone, pids))
        job.configure()
        assert ", epoch 1\n" not in job.run()
        watch.until(len(sent))
    assert len(watch.records) == len(sent)
    assert_same(by_series(watch.records), pandas_says(sent))


def test_a_warm_start_survives_a_kill_and_is_verified(broker: str, tmp_path: Path) -> None:
    """Half of the readings are history: the others' events are those of the whole."""
    readings = made_up(4000, series=30)
    past = tmp_path / "past.parquet"
    as_parquet(readings[:2000], past)
    job = Job(broker, tmp_path)
    job.configure(input={"stop": "never"}, smooth={"warm_start": str(past)})
    job.send(readings[2000:3000])
    with job.running(2) as run, Watch(broker, job.output) as watch:
        watch.until(500)
        run.kill()
    job.send(readings[3000:])
    job.configure(smooth={"warm_start": str(past)})
    job.run()
    said = pandas_says(readings)
    for reading in readings[:2000]:
        said[reading.series_id].pop(0)
    assert_same(job.events(2000), said)
    verified = ewma("verify", str(job.path))
    assert (verified.returncode, verified.stdout.splitlines()[-1]) == (0, "exactly once")


def test_a_composite_comes_out_as_json(embedded: str, tmp_path: Path) -> None:
    readings = made_up(500, series=1)
    job = Job(embedded, tmp_path)
    job.configure(smooth={"beta": None, "composite": "macd", "fast": 5, "slow": 9})
    job.send(readings)
    job.run()
    events = [json.loads(record.value) for record in read_all(embedded, job.output, 500)]
    values = [reading.value for reading in readings]
    ids = [reading.series_id for reading in readings]
    wanted = SeriesTable(macd(5, 9)).update(Readings.of(ids, values)).statistics
    keys = ["series_id", "time", "value", "macd", "macd_signal", "macd_histogram"]
    assert [list(event) for event in events] == [keys] * 500
    for name, column in wanted.items():
        assert [event[name] for event in events] == column.tolist()


def test_a_graceful_stop_repeats_nothing(broker: str, tmp_path: Path) -> None:
    job = Job(broker, tmp_path)
    job.configure(input={"stop": "never"}, recovery={"interval": "1min"})
    with job.sending(series=20) as sent, Watch(broker, job.output) as watch:
        for workers, number in [(2, signal.SIGTERM), (1, signal.SIGINT)]:
            with job.running(workers) as run:
                watch.until(len(sent) + 75)
                run.send_signal(number)
                began = time.monotonic()
                said = run.communicate(timeout=PATIENCE_S)[1]
                assert run.returncode == 0, said
                assert time.monotonic() - began < 5 * slowness()
                *_, stopped, told = said.splitlines()
                assert "launcher: stopped after " in stopped
                assert ": read " in told
                assert "Traceback" not in said
    job.configure()
    job.run()
    assert_same(job.events(len(sent)), pandas_says(sent))


def test_a_broker_that_goes_and_comes_back_is_ridden_out(
    restartable_kafka: ApacheKafka, tmp_path: Path
) -> None:
    job = Job(restartable_kafka.bootstrap_servers, tmp_path)
    job.configure(input={"stop": "never"})
    with job.running() as run, Watch(job.bootstrap, job.output) as watch:
        with job.sending(series=20, per_second=200) as sent:
            watch.until(100)
            restartable_kafka.restart()
            watch.until(len(sent) + 100)
            restartable_kafka.kill()
            restartable_kafka.start()
            watch.until(len(sent) + 100)
        watch.until(len(sent))
        assert run.poll() is None
        run.send_signal(signal.SIGTERM)
        assert run.wait(PATIENCE_S) == 0
    assert_same(job.events(len(sent)), pandas_says(sent))


@linux
def test_latest_is_when_the_job_first_began(kafka: str, tmp_path: Path) -> None:
    """Also when a run was killed before its first snapshot; what is older is not looked out for."""
    job = Job(kafka, tmp_path, partitions=(2, 2, 1))
    readings = made_up(300, series=10)
    job.send(readings[:100])
    job.run()
    shutil.rmtree(job.state)
    job.configure(input={"start": "latest", "stop": "never"}, recovery={"interval": "1min"})
    with job.running() as run, Watch(kafka, job.output) as watch:
        wait_until((job.state / "manifest.json").exists)
        job.send(readings[100:200])
        watch.until(200)
        os.kill(run.pid, signal.SIGKILL)
    job.send(readings[200:])
    job.configure(input={"start": "latest"})
    job.run()
    assert len(read_all(kafka, job.output, 300)) == 300
    assert_told_right(ewma("verify", str(job.path)), 200)


def assert_told_right(done: Finished, readings: int) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{readings} readings" in done.stdout


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failed_delivery_is_told_once(kafka: str, tmp_path: Path, workers: int) -> None:
    """By each worker that it happens to: of a cluster, Bytewax loses the error now and then."""
    job = Job(kafka, tmp_path, partitions=(2, 1, 1))
    job.dead_letters = make_topic(kafka, 2, "letters")
    job.configure(input={"stop": "never"})
    with job.running(workers) as run, Watch(kafka, job.output) as watch:
        job.send(made_up(20, 2))
        watch.until(20)
        # At the start it would be refused; from now on a letter needs a key, and has none.
        configure_topic(kafka, job.dead_letters, {"cleanup.policy": "compact"})
        produce(kafka, job.input, [Record(b"bad", partition=i % 2) for i in range(200)])
        said = run.communicate(timeout=PATIENCE_S)[1].splitlines()
        assert run.returncode == 2, said
    told = [line for line in said if "was not delivered to partition" in line]
    assert 1 <= len(told) <= workers
    assert len(set(told)) == len(told)
    assert f"set cleanup.policy=delete for topic '{job.dead_letters}'" in told[0]
    of_letters = [line for line in said[:-1] if " dead letter" in line and line not in told]
    assert len(of_letters) <= workers, "the first ones, by each worker"
    assert " failed after " in said[-2]
    assert said[-1].partition(" launcher: ")[2].startswith("read ")
    assert len(said) == len(told) + len(of_letters) + 3, said


def _payload(**fields: object) -> bytes:
    return json.dumps({"series_id": "odd", "ts": START_MS, "value": 1.0, **fields}).encode()


def _value(text: bytes) -> bytes:
    return b'{"series_id": "odd", "ts": 1, "value": ' + text + b"}"


REFUSED: dict[str, tuple[bytes | None, str]] = {
    "empty": (b"", "empty"),
    "tombstone": (None, "tombstone"),
    "invalid UTF-8": (b'{"series_id": "\xff\xfe", "ts": 1, "value": 1}', "not-utf8"),
    "UTF-16": ('{"series_id": "a"}'.encode("utf-16"), "not-utf8"),
    "truncated": (b'{"series_id": "odd", "ts": 1, "val', "not-json"),
    "two in one": (_payload() + _payload(), "not-json"),
    "NaN": (_value(b"NaN"), "not-json"),
    "Infinity": (_value(b"Infinity"), "not-json"),
    "-Infinity": (_value(b"-Infinity"), "not-json"),
    "1e400": (_value(b"1e400"), "out-of-range"),
    "401 digits": (_value(b"1" + b"0" * 400), "out-of-range"),
    "text for a number": (_value(b'"21.5"'), "wrong-type"),
    "true for a number": (_value(b"true"), "wrong-type"),
    "a list for a number": (_value(b"[1]"), "wrong-type"),
    "nesting": (_value(b"[" * 100_000 + b"]" * 100_000), "too-deep"),
    "nesting where nobody looks": (
        b'{"series_id": "odd", "ts": 1, "value": 1, "x": ' + b"[" * 99_999 + b"]" * 99_999 + b"}",
        "too-deep",
    ),
    "a list": (b"[1, 2]", "wrong-type"),
    "900 kB of nonsense": (b"x" * 900_000, "not-json"),
    "no series id": (b'{"ts": 1, "value": 1}', "no-series-id"),
    "null series id": (_payload(series_id=None), "no-series-id"),
    "empty series id": (_payload(series_id=""), "no-series-id"),
    "a longer id": (_payload(series_id="i" * 1_025), "id-too-long"),
    "half a number for a series id": (_payload(series_id=7.5), "wrong-type"),
    "no time": (b'{"series_id": "odd", "value": 1}', "no-time"),
    "not a time": (_payload(ts="yesterday"), "not-a-time"),
    "the year 10000": (_payload(ts=253_402_300_800_000), "time-out-of-range"),
    "a time beyond 64 bits": (_payload(ts=10**30), "time-out-of-range"),
}

TAKEN: dict[str, tuple[bytes, str, Event]] = {
    "900 kB": (_payload(series_id="large", x="y" * 900_000), "large", Event(START_MS, 1.0, 1.0)),
    "an id of 1 kB": (_payload(series_id="i" * 1_024), "i" * 1_024, Event(START_MS, 1.0, 1.0)),
    "a number for an id": (_payload(series_id=7), "7", Event(START_MS, 1.0, 1.0)),
    "a negative time": (_payload(series_id="old", ts=-(10**12)), "old", Event(-(10**12), 1.0, 1.0)),
    "a time far ahead": (
        _payload(series_id="far", ts=253_402_300_799_999),
        "far",
        Event(253_402_300_799_999, 1.0, 1.0),
    ),
    "duplicate keys": (
        b'{"series_id": "one", "series_id": "two", "ts": 1, "value": 1, "value": 2}',
        "two",
        Event(1, 2.0, 2.0),
    ),
    "not ASCII": (_payload(series_id="🌡 küche"), "🌡 küche", Event(START_MS, 1.0, 1.0)),
    "null for a number": (
        _payload(series_id="gone", value=None),
        "gone",
        Event(START_MS, None, None),
    ),
    "nesting that can be read": (
        b'{"series_id": "nest", "ts": 1, "value": 1, "x": ' + b"[" * 200 + b"]" * 200 + b"}",
        "nest",
        Event(1, 1.0, 1.0),
    ),
}


def test_no_message_stops_the_flow(broker: str, tmp_path: Path) -> None:
    """Odd messages and good ones in turns: each odd one ends where it should, alone."""
    job = Job(broker, tmp_path, partitions=(1, 1, 1))
    odd = {name: message for name, (message, _) in REFUSED.items()}
    odd |= {name: message for name, (message, _, _) in TAKEN.items()}
    good = [Reading("good", START_MS + i, float(i)) for i in range(len(odd))]
    messages: list[Record] = []
    for (name, message), reading in zip(odd.items(), good, strict=True):
        messages += [Record(message, name.encode()), as_record(reading)]
    produce(broker, job.input, messages, max_request_size=4 << 20)

    job.run()

    letters = job.letters(len(REFUSED))
    assert {r.key.decode(): (r.value, dict(r.headers)["ewma-cause"].decode()) for r in letters} == (
        REFUSED
    )
    assert len(letters) == len(REFUSED)
    events = job.events(len(good) + len(TAKEN))
    assert_same({"good": events.pop("good")}, pandas_says(good))
    assert events == {series_id: [event] for _, series_id, event in TAKEN.values()}


def test_huge_values_do_not_ruin_a_series(embedded: str, tmp_path: Path) -> None:
    job = Job(embedded, tmp_path, partitions=(1, 1, 1))
    values = [1.0, 1.7e308, -1.7e308, 3.0]
    job.send(Reading("s", START_MS + i, value) for i, value in enumerate(values))
    job.run()
    (last,) = [e for e in job.events(1)["s"] if e.time_ms == START_MS + 3]
    assert last.ewma is not None


LARGEST_BATCH = 1_048_588
"""Apache Kafka's default ``max.message.bytes``: of a batch as it is stored."""


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_message_as_large_as_the_topic_takes_does_not_stop_the_flow(
    kafka: str, tmp_path: Path, compression: str | None
) -> None:
    job = Job(kafka, tmp_path, partitions=(1, 1, 1))
    size = 3_000_000 if compression else LARGEST_BATCH - 75
    bad, good = b"x" * size, Reading("good", START_MS, 1.0)
    options = {"compression_type": compression, "max_request_size": 4 << 20}
    produce(kafka, job.input, [Record(bad)], **options)
    job.send([good])
    job.run()
    assert_same(job.events(1), pandas_says([good]))
    (letter,) = job.letters(1)
    assert dict(letter.headers)["ewma-offset"] == b"0"


def test_an_id_too_long_for_an_event_does_not_stop_the_flow(kafka: str, tmp_path: Path) -> None:
    job = Job(kafka, tmp_path, partitions=(1, 1, 1))
    good = Reading("good", START_MS, 1.0)
    produce(kafka, job.input, [Record(_payload(series_id="i" * 600_000))])
    job.send([good])
    job.run()
    assert_same(job.events(1), pandas_says([good]))
    assert len(job.letters(1)) == 1


def test_the_group_shows_no_lag_after_the_end(kafka: str, tmp_path: Path) -> None:
    job = Job(kafka, tmp_path, partitions=(2, 1, 1))
    job.configure(input={"group_id": job.input})
    job.send(made_up(200, series=8))
    job.run()
    consumer = KafkaConsumer(bootstrap_servers=kafka, group_id=job.input)
    tps = [TopicPartition(job.input, partition) for partition in range(2)]
    committed = {tp: consumer.committed(tp) for tp in tps}
    ends = consumer.end_offsets(tps)
    consumer.close(autocommit=False)
    assert committed == ends


def _children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _are_gone(pids: Sequence[int]) -> bool:
    states = [Path(f"/proc/{pid}/stat") for pid in pids]
    return all(not s.exists() or s.read_text().rpartition(")")[2].split()[0] == "Z" for s in states)
