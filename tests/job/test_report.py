"""What a run says of its messages: letters as they come, once a minute; and all at its end."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from ewma_ops.columns.rejections import Rejections
from ewma_ops.connectors.client.connect import TopicView
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.job.report import Counts, Report, total
from ewma_ops.job.steps import DeadLetters
from ewma_ops.serde.watch import MOST_WITHOUT
from ewma_ops.wire.records import ConsumerRecords
from tests.helpers.brokers import Record, produce
from tests.helpers.jobs import Job, ewma, made_up, wait_until
from tests.helpers.patience import PATIENCE_S


def put(report: Report, value: bytes | None, detail: str = "no JSON", n: int = 1) -> None:
    zeros = np.zeros(n, np.int64)
    records = ConsumerRecords("t", 3, np.arange(7, 7 + n), zeros, [None] * n, [value] * n)
    rejections = Rejections(np.arange(n), ["not-json"] * n, [detail] * n)
    inputs = InputTopics.alone("t", TopicView(None, 4))
    DeadLetters(inputs, 1, 1_000, report).of(records, rejections)


def test_the_first_letter_is_told_at_once_and_the_others_by_the_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ewma_ops.job.report.PERIOD_S", 0.3)
    said: list[tuple[float, str]] = []
    report = Report(lambda line: said.append((time.monotonic(), line)))
    put(report, b"?", n=2)
    assert [line for _, line in said] == [
        "2 dead letters (not-json 2), such as offset 7 of t/3: not-json: no JSON: ?"
    ]
    put(report, b"first of the next")
    put(report, b"?", n=1_000)
    assert len(said) == 1
    wait_until(lambda: len(said) == 2)
    assert said[1][1].startswith("1,001 dead letters, 1,003 in all (not-json 1,001), such as")
    assert said[1][1].endswith(": first of the next")
    assert said[1][0] - said[0][0] >= 0.29
    time.sleep(0.35)
    assert len(said) == 2, "nothing new, nothing said"
    put(report, b"late")
    assert len(said) == 3, "the minute is over: at once"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"\x1b]0;title\x07\x1b[2J", r"\x1b]0;title\x07\x1b[2J"),
        (b"two\nlines\r", r"two\nlines\r"),
        ("\u202egnp.exe\u2028".encode(), r"\u202egnp.exe\u2028"),
        (b"\xff\x00\x1b", r"b'\xff\x00\x1b'"),
        (b"\x00\x00\x00\x00\x07ab", r"b'\x00\x00\x00\x00\x07ab'"),
        (None, "null"),
    ],
)
def test_what_a_message_holds_is_shown_so_that_no_terminal_obeys(
    value: bytes | None, shown: str
) -> None:
    said: list[str] = []
    put(Report(said.append), value, "bad \x1b[31m")
    assert said == [
        f"1 dead letter (not-json 1), such as offset 7 of t/3: not-json: bad \\x1b[31m: {shown}"
    ]


@pytest.mark.parametrize("value", [b"x" * 1_000_000, b"\x1b" * 1_000_000, "é".encode() * 500_000])
def test_a_long_message_is_cut(value: bytes) -> None:
    said: list[str] = []
    put(Report(said.append), value, "y" * 100_000)
    assert len(said[0]) < 400
    assert said[0].endswith("…")


def test_a_report_that_is_closed_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ewma_ops.job.report.PERIOD_S", 0.1)
    said: list[str] = []
    report = Report(said.append)
    put(report, b"a")
    put(report, b"b")
    report.close()
    time.sleep(0.2)
    assert len(said) == 1
    assert report.letters == {"not-json": 2}


def test_counts_of_several_workers_add_up() -> None:
    one = Counts(3, 2, 2, 0, {"empty": 1}, {"a": (2, None), "b": (2, "bb")}, [])
    two = Counts(5, 4, 4, 1, {"empty": 1, "missing": 2}, {"a": (4, "aa")}, ["b"])
    report, notices = total([one, two])
    assert report.summary() == ("read 8: 6 events, 4 dead letters (empty 2, missing 2), 1 skipped")
    assert notices == ["a has no number in any of 6 readings; did you mean aa?"]


@pytest.fixture
def job(embedded: str, tmp_path: Path) -> Job:
    return Job(embedded, tmp_path, partitions=(4, 1, 1))


@pytest.mark.parametrize("workers", [1, 2])
def test_the_end_of_a_run_says_what_came_of_its_messages(job: Job, workers: int) -> None:
    produce(job.bootstrap, job.input, [Record(b"?", b"%d" % i) for i in range(40)])
    job.send(made_up(400, series=5))
    said = job.run(workers)
    assert " launcher: read 440: 400 events, 40 dead letters (not-json 40)\n" in said
    assert said.count("such as offset") == workers
    assert "not-json: JSON is malformed" in said
    job.send(made_up(10, series=5))
    assert " launcher: read 10: 10 events, 0 dead letters\n" in job.run(workers)


def test_a_stop_says_it_too(job: Job) -> None:
    job.configure(input={"stop": "never"})
    job.send(made_up(10, series=1))
    with job.running() as run:
        job.events(10)
        wait_until((job.state / "manifest.json").exists)
        run.send_signal(signal.SIGTERM)
        _, said = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 0
    assert said.endswith("read 10: 10 events, 0 dead letters\n")


def test_a_run_to_the_end_of_which_nothing_could_be_read_fails(job: Job) -> None:
    produce(job.bootstrap, job.input, [Record(b"?", b"%d" % i) for i in range(50)])
    done = ewma("run", str(job.path), "--workers=2")
    assert done.returncode == 1
    assert "read 50: 0 events, 50 dead letters (not-json 50)" in done.stderr
    assert "no message could be read; ewma check shows" in done.stderr
    assert ewma("run", str(job.path)).returncode == 0, "nothing came, and nothing is wrong"
    job.send(made_up(1, series=1))
    produce(job.bootstrap, job.input, [Record(b"?")])
    assert ewma("run", str(job.path)).returncode == 0


def typo(job: Job, n: int) -> None:
    job.configure(input={"value": "tmperature", "series_id": None, "time": None})
    payloads = [json.dumps({"temperature": i, "unit": "C"}).encode() for i in range(n)]
    produce(job.bootstrap, job.input, [Record(payload, b"a") for payload in payloads])


NOTHING = "tmperature has no number in any of"


def test_a_path_that_leads_nowhere_is_told_at_the_end(job: Job) -> None:
    typo(job, 30)
    said = job.run(2)
    assert f"ewma: {NOTHING} 30 readings; did you mean temperature?\n" in said
    assert said.count(NOTHING) == 1


def test_a_path_that_leads_nowhere_is_told_once_while_the_flow_runs(job: Job) -> None:
    job.configure(input={"stop": "never"})
    typo(job, 3 * MOST_WITHOUT)
    with job.running() as run:
        assert run.stderr is not None
        line = ""
        while NOTHING not in line:
            line = run.stderr.readline()
            assert line, "it ended"
        assert line.endswith("did you mean temperature?\n")
        produce(job.bootstrap, job.input, [Record(b'{"temperature": 1}', b"a")] * 2_000)
        run.send_signal(signal.SIGTERM)
        _, said = run.communicate(timeout=PATIENCE_S)
    assert NOTHING not in said


def test_a_where_that_leaves_out_everything_is_told_once() -> None:
    said: list[str] = []
    report = Report(said.append)
    for _ in range(10):
        report.add(read=400, skipped=400)
    assert len(said) == 1
    assert said[0].startswith("input.where or input.tombstones has left out every message, all 1,2")
    one = Counts(read=5, skipped=5)
    assert total([one, one])[1] == [said[0].replace("1,200", "10")]
    assert total([one, Counts(read=1, readings=1, events=1)])[1] == []


def test_a_where_that_leaves_out_something_is_not() -> None:
    said: list[str] = []
    report = Report(said.append)
    report.add(read=1, readings=1)
    report.add(read=5_000, skipped=5_000)
    assert said == []
