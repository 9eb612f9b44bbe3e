"""Series that are silent: the same alarms whatever the batches, shards, workers and stops."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import bytewax.operators as op
import numpy as np
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource

import ewma_ops.operators as ew
from ewma_ops import Decay, Readings, Smoothed, Smoothing
from ewma_ops.commands.cli import main
from ewma_ops.connectors.client.connect import TopicView
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.errors import ConfigError, ReadingError
from ewma_ops.job.builders import build_decoder, build_log_clocks
from ewma_ops.job.clocks import Clocks
from ewma_ops.job.decoding import RunDecoder
from ewma_ops.job.offline import Record as Message
from ewma_ops.job.offline import as_records, build_offline, in_runs, run_to_end
from ewma_ops.job.steps import DeadLetters, Decode
from ewma_ops.monitor import AlarmRules, Stale
from ewma_ops.settings.load import load_tables
from ewma_ops.testing import run_job
from ewma_ops.wire.records import ConsumerRecords, ProducerRecords
from tests.helpers.brokers import Record, make_topic, produce, read_all
from tests.helpers.jobs import START_MS, Job, ewma
from tests.oracles.silences import Logged, SilenceRule, silences

RULE = SilenceRule(3, 2_000, 3, 0.9, remind=30_000)
STALE = {"gaps": 3, "least": "2s", "warm_up": 3, "remind": "30s"}
N = 1_200


def messages(n: int, seed: int = 3) -> list[Logged]:
    """Return records of two partitions, six series and letters; series fall silent and resume."""
    random = np.random.default_rng(seed)
    found, offsets, clock = [], [0, 0], START_MS
    for k in range(n):
        clock += int(random.exponential(150))
        at = int(random.integers(0, 6))
        if (k // 300 + at) % 4 == 0:
            continue
        series = None if random.random() < 0.05 else f"s{at}"
        found.append(Logged(at % 2, offsets[at % 2], clock, series))
        offsets[at % 2] += 1
    return found


def payload(one: Logged) -> bytes:
    if one.series_id is None:
        return b"no reading"
    return json.dumps({"series_id": one.series_id, "value": one.offset % 5}).encode()


def config(**smooth: object) -> dict[str, Any]:
    return {
        "kafka": {"bootstrap_servers": "127.0.0.1:9092"},
        "input": {"topic": "readings", "series_id": "series_id"},
        "smooth": {"beta": 0.9, **smooth},
        "output": {"topic": "smoothed"},
        "alarms": {"silent": {"kind": "stale", **STALE}},
    }


def alarms(tables: Mapping[str, Any], logged: Sequence[Logged], size: int) -> list[bytes]:
    """Return the records of a job's alarms, in order of series, from batches of a size."""
    as_read = [
        Message(payload(one), timestamp_ms=one.timestamp_ms, partition=one.partition)
        for one in logged
    ]
    topic = "readings"
    runs = [as_read[at : at + size] for at in range(0, len(as_read), size)]
    starts = iter(_numbered(runs, topic))
    found: list[ProducerRecords] = []

    def poll() -> tuple[list[ConsumerRecords], None]:
        return next(starts), None

    ignored: list[ProducerRecords] = []
    takers = ignored.append, ignored.append
    run_to_end(build_offline(load_tables(tables), poll, *takers, on_alarms=found.append))
    records = [record for made in found for record in as_records(made)]
    values = [one.value or b"" for one in sorted(records, key=lambda record: record.key or b"")]
    # Shards are part of the job, whose hash ends the ids of its alarms.
    return [re.sub(rb'-[0-9a-f]{8}"', b'-JOB"', value, count=1) for value in values]


def _numbered(runs: Sequence[Sequence[Message]], topic: str) -> Iterator[list[ConsumerRecords]]:
    ends = [0, 0]
    for run in runs:
        own = []
        for one in run:
            own.append(
                Message(one.value, None, (), one.timestamp_ms, one.partition, None,
                        ends[one.partition])
            )  # fmt: skip
            ends[one.partition] += 1
        yield list(in_runs(own, topic))


def seen(documents: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted(
        (one["series_id"], (one["partition"], one["offset"]), one["transition"], one["time"])
        for one in documents
    )


def defined(logged: Sequence[Logged]) -> list[tuple[Any, ...]]:
    """Return what `seen` should, times to a millisecond."""
    rows = sorted((one[0], one[3], one[1], one[2]) for one in silences(logged, RULE))
    return [(*row[:3], pytest.approx(row[3], rel=0, abs=1)) for row in rows]


@pytest.mark.slow
def test_the_same_bytes_whatever_the_batches_and_the_shards() -> None:
    logged = messages(N)
    whole = alarms(config(), logged, 2_000)
    expected = defined(logged)
    assert seen([json.loads(one) for one in whole]) == expected
    assert {what for _, _, what, _ in expected} == {"raised", "held", "cleared"}
    for size, shards in ((1, 16), (7, 1), (2_000, 1)):
        assert alarms(config(shards=shards), logged, size) == whole, (size, shards)


def test_an_alarm_says_what_was_silent_and_since_when() -> None:
    """Raised at most two seconds after it is due, by the clock of the log."""
    beat = [Message(b'{"series_id":"b","value":1}', timestamp_ms=START_MS + 250 * k)
            for k in range(400)]  # fmt: skip
    own = [Message(b'{"series_id":"a","value":%d}' % k, timestamp_ms=START_MS + 1_000 * k + 1)
           for k in (*range(20), 61)]  # fmt: skip
    sent = sorted([*beat, *own], key=lambda one: one.timestamp_ms or 0)
    raised, cleared = (one.json() for one in run_job(config(), sent).alarms[:2])
    last = START_MS + 19_001
    trigger = sent[raised["offset"]].timestamp_ms
    assert (raised["since"], raised["time"]) == (last, last + 3_000)
    assert raised["time"] < (trigger or 0) <= raised["time"] + 2_000
    told = {"kind": "stale", "expected": 1000.0, "limit": 3000.0, "duration_ms": 3000}
    assert told.items() <= raised.items()
    assert raised["summary"] == "a is silent: nothing for 3 s, usually a reading every 1 s"
    assert (cleared["transition"], cleared["summary"]) == (
        "held", "a is still silent: nothing for 33 s, usually a reading every 1 s"
    )  # fmt: skip
    third = run_job(config(), sent).alarms[2].json()
    assert (third["by"], third["time"], third["duration_ms"]) == (
        "resumed", START_MS + 61_001, 42_000
    )  # fmt: skip
    assert third["summary"] == "a sends again after 42 s: 61"
    assert raised["alarm_id"] == cleared["alarm_id"] == third["alarm_id"]
    assert int(raised["alarm_id"].split("-")[2]) == sent.index(own[19]), "that of the last reading"


def test_an_alarm_and_its_end_at_one_record_are_told_apart() -> None:
    """The record that moves the clock may be the one that ends the silence."""
    sent = [Message(b'{"series_id":"a","value":1}', timestamp_ms=START_MS + s * 1_000)
            for s in (0, 1, 2, 3, 60)]  # fmt: skip
    found: list[ProducerRecords] = []
    runs = iter([list(in_runs(sent, "readings"))])

    def poll() -> tuple[list[ConsumerRecords], None]:
        return next(runs), None

    ignored: list[ProducerRecords] = []
    takers = ignored.append, ignored.append
    run_to_end(build_offline(load_tables(config()), poll, *takers, on_alarms=found.append))
    origins = [made.origins for made in found]
    offsets = [offset for one in origins if one is not None for offset in one.offsets.tolist()]
    ordinals = [o for one in origins if one is not None for o in one.ordinals_or_zeros().tolist()]
    assert offsets == [4, 4]
    assert len(set(ordinals)) == 2


def test_both_clocks_of_a_partition_are_kept_and_each_alone() -> None:
    """With ``forget_after`` alone in the form that stores have that were written before."""
    inputs = InputTopics.alone("readings", TopicView(None, 4))

    def decode(*, forgets: bool, stale: bool) -> Decode:
        tables = config(**({"forget_after": "7d"} if forgets else {}))
        settings = load_tables(tables)
        decoder = RunDecoder(
            build_decoder(settings),
            inputs,
            clocks=Clocks() if forgets else None,
            log=build_log_clocks(settings) if stale else None,
        )
        return Decode(decoder, DeadLetters(inputs, 1, 10_000), keeps=False)

    values = [b'{"series_id":"a","value":1}'] * 2
    times = np.array([START_MS, START_MS + 10**8])
    run = ConsumerRecords("readings", 2, np.arange(2), times, [None, None], values)
    kept = {}
    for forgets, stale in ((False, False), (True, False), (False, True), (True, True)):
        one = decode(forgets=forgets, stale=stale)
        list(one([run]))
        kept[forgets, stale] = one.state(2)
        again = decode(forgets=forgets, stale=stale)
        again.resume(2, one.state(2))
        assert again.state(2) == one.state(2)
    newest, log = int(times[1]), [START_MS, int(times[1])]
    assert kept == {
        (False, False): None,
        (True, False): newest,
        (False, True): {"newest": None, "log": log},
        (True, True): {"newest": newest, "log": log},
    }
    # The rule came, or went, while the job went on with its store.
    both = decode(forgets=True, stale=True)
    both.resume(2, newest)
    assert both.state(2) == newest
    alone = decode(forgets=True, stale=False)
    alone.resume(2, kept[True, True])
    assert alone.state(2) == newest


def test_other_dataflows_refuse_the_rule() -> None:
    rules = AlarmRules.of({"silent": Stale()})
    up = op.input("in", Dataflow("flow"), TestingSource([("a", 1.0)]))
    for build in (
        lambda: ew.watch("watch", up, rules),
        lambda: ew.smooth("smooth", up, Smoothing(Decay(beta=0.9)), alarms=rules),
    ):
        with pytest.raises(ConfigError, match=r"alarms\.silent is a stale rule, .* put it in"):
            build()
    flow = Dataflow("columns")
    out: list[Smoothed] = []
    runs = op.input("in", flow, TestingSource([Readings.of(["a"], [1.0])]))
    smoothed = ew.smooth_batches("smooth", runs, Smoothing(Decay(beta=0.9)), alarms=rules)
    op.output("out", smoothed, TestingSink(out))
    with pytest.raises(ReadingError, match="here are only readings"):
        run_to_end(flow)


def test_stops_and_workers_change_nothing(
    embedded: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From end to end, by what is written: each alarm once, as its definition says."""
    job, topic = Job(embedded, tmp_path, (2, 2, 1)), make_topic(embedded, 2, "alarms")
    job.configure(
        alarms={"topic": topic, "silent": {"kind": "stale", **STALE}},
        input={"time": None},
    )
    logged = messages(N)
    sent = [
        Record(payload(one), timestamp_ms=one.timestamp_ms, partition=one.partition)
        for one in logged
    ]
    for lo, hi, workers in ((0, 300, 1), (300, 600, 2), (600, N, 1)):
        produce(embedded, job.input, sent[lo:hi])
        job.run(workers)
    expected = defined(logged)
    found = [json.loads(one.value) for one in read_all(embedded, topic, len(expected))]
    assert seen(found) == expected
    done = ewma("verify", str(job.path))
    assert done.returncode == 0, done.stdout + done.stderr
    raised = next(one for one in found if one["transition"] == "raised")
    assert main(["explain", raised["alarm_id"], str(job.path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["record"] == raised
    assert told["explanation"] == {
        "usual_gap_ms": raised["expected"],
        "limit_ms": raised["limit"],
        "silent_from": raised["time"],
    }
    assert main(["explain", raised["alarm_id"], str(job.path)]) == 0
    assert "by the timestamps of the records" in capsys.readouterr().out
    assert main(["backtest", str(job.path), "--json"]) == 0
    (rule,) = json.loads(capsys.readouterr().out)["rules"]
    ended = sum(one["transition"] == "cleared" for one in found)
    assert (rule["raised"], rule["expected"]) == (ended, None)
