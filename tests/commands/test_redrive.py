"""``ewma redrive`` on brokers: each letter once, also under kills; and no loop."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition

from ewma_ops.commands.cli import main
from ewma_ops.connectors.resend import read_topic
from tests.helpers.brokers import Record, produce, read_all
from tests.helpers.jobs import EWMA, Job, assert_told, ewma, started, wait_until
from tests.helpers.patience import PATIENCE_S

START_MS = int(time.time() * 1_000) - 60_000
"""Not long ago: a broker removes what is older than the retention of its topic, within minutes."""


def make_job(bootstrap: str, directory: Path) -> Job:
    job = Job(bootstrap, directory, partitions=(2, 1, 2))
    job.configure(input={"series_id": None, "time": None})
    return job


@pytest.fixture
def job(embedded: str, tmp_path: Path) -> Job:
    return make_job(embedded, tmp_path)


def quoted(i: int) -> Record:
    return Record(b'{"value": "%d"}' % i, b"a", [("n", b"%d" % i)], START_MS + i)


def repaired(job: Job, name: str = "repaired") -> None:
    """Let the job read numbers in quotes from now on, with a state of its own."""
    job.configure(
        input={"series_id": None, "time": None, "numbers": "text"},
        recovery={"directory": str(job.state.with_name(name))},
    )


@pytest.fixture
def redrive(job: Job, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def redrive(*options: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(["redrive", str(job.path), *options])
        return code, capsys.readouterr().out

    return redrive


Redrive = Callable[..., tuple[int, str]]


def redriven(job: Job, n: int) -> list[Any]:
    """Return the records of the input topic that were sent again."""
    records = read_all(job.bootstrap, job.input, n)
    return [one for one in records if any(name == "ewma-redriven" for name, _ in one.headers)]


def test_letters_go_back_once_with_all_they_had(job: Job, redrive: Redrive) -> None:
    produce(job.bootstrap, job.input, [*map(quoted, range(5)), Record(b"?", b"a", (), START_MS)])
    job.configure(input={"series_id": None, "time": None, "stop": "end"})
    ewma("run", str(job.path))
    repaired(job)

    code, said = redrive("--dry-run")
    assert code == 0
    assert said.splitlines() == [
        "cause       to send  left",
        "not-json          0     1",
        "wrong-type        5     0",
        "left: 1 would be dead letters again",
        "  not-json: JSON is malformed: invalid character (byte 0)",
        "dry run: 5 letters would be sent; nothing was sent",
    ]
    assert redriven(job, 6) == []

    code, said = redrive()
    assert (code, said.splitlines()[-1]) == (0, f"sent 5 letters to {job.input}")
    back = redriven(job, 11)
    assert sorted((one.value, one.key, one.timestamp) for one in back) == sorted(
        (one.value, one.key, one.timestamp_ms) for one in map(quoted, range(5))
    )
    assert all([name for name, _ in one.headers] == ["n", "ewma-redriven"] for one in back)
    assert dict(back[0].headers)["ewma-redriven"].startswith(f"{job.dead_letters}/".encode())

    code, said = redrive()
    assert "left: 5 sent again before" in said
    assert said.splitlines()[-1] == f"sent 0 letters to {job.input}"
    assert len(redriven(job, 11)) == 5


def test_a_job_that_runs_takes_them_in_late(kafka: str, tmp_path: Path) -> None:
    """On Apache Kafka: where "latest" is, others do not say exactly."""
    job = make_job(kafka, tmp_path)
    produce(job.bootstrap, job.input, map(quoted, range(5)))
    assert ewma("run", str(job.path)).returncode == 1
    repaired(job)
    reads = {"start": "latest", "stop": "never"}
    job.configure(
        input={"series_id": None, "time": None, "numbers": "text", **reads},
        recovery={"directory": str(job.state.with_name("later"))},
    )
    with job.running() as run:
        wait_until((job.state.with_name("later") / "manifest.json").exists)
        done = ewma("redrive", str(job.path))
        assert (done.stdout.splitlines()[-1], done.stderr) == (f"sent 5 letters to {job.input}", "")
        events = read_all(job.bootstrap, job.output, 5)
        run.send_signal(signal.SIGTERM)
        _, said = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 0
    assert said.endswith("read 5: 5 events, 0 dead letters\n")
    assert sorted(json.loads(one.value)["time"] for one in events) == [
        START_MS + i for i in range(5)
    ]
    assert len(read_all(job.bootstrap, job.output, 5)) == 5


def test_by_cause_and_time_and_as_json(job: Job, redrive: Redrive) -> None:
    produce(job.bootstrap, job.input, [quoted(1), Record(b"", b"a"), Record(b"?", b"a")])
    ewma("run", str(job.path))
    repaired(job)
    code, said = redrive("--dry-run", "--json", "--cause", "wrong-type", "--cause", "empty")
    assert (code, json.loads(said)) == (
        0,
        {
            "dry_run": True,
            "chosen": {"wrong-type": 1},
            "sent": 0,
            "left": {"empty": {"would be dead letters again": 1}},
            "still_wrong": {"empty": "the value is empty"},
        },
    )
    for option in ("--since", "--until"):
        found = {}
        for moment in ("2020-01-01", "2100-01-01"):
            found[moment] = json.loads(redrive("--dry-run", "--json", option, moment)[1])["chosen"]
        assert list(map(bool, found.values())) == [option == "--since", option == "--until"]


def test_a_receipt_stands_behind_its_letters(job: Job, redrive: Redrive) -> None:
    """So retention, which removes the oldest of a partition, removes the letters first."""
    both = [quoted(i)._replace(partition=i % 2) for i in range(4)]
    produce(job.bootstrap, job.input, both)
    ewma("run", str(job.path))
    repaired(job)
    assert "sent 4 letters" in redrive()[1]
    records = read_all(job.bootstrap, job.dead_letters, 6)
    records = [one for one in records if one.headers]  # without what was taken back
    kinds: dict[int, list[bool]] = {0: [], 1: []}
    for one in sorted(records, key=lambda one: one.offset):
        kinds[one.partition].append(any(name == "ewma-receipt" for name, _ in one.headers))
    assert kinds == {0: [False, False, True], 1: [False, False, True]}
    assert "left: 4 sent again before" in redrive()[1]


def test_a_letter_that_fails_again_does_not_loop(job: Job, redrive: Redrive) -> None:
    """Redriven by a configuration that reads it, to a job that still does not."""
    produce(job.bootstrap, job.input, [quoted(1)])
    ewma("run", str(job.path))
    repaired(job)
    assert "sent 1 letter" in redrive()[1]
    job.configure(
        input={"series_id": None, "time": None, "numbers": None},
        recovery={"directory": str(job.state)},
    )
    ewma("run", str(job.path))
    letters = read_all(job.bootstrap, job.dead_letters, 3)  # two letters and a receipt
    assert len([one for one in letters if dict(one.headers).get("ewma-cause")]) == 2
    repaired(job)
    for _ in range(3):
        said = redrive()[1]
        assert "left: 1 sent again before, and rejected again: --again" in said
        assert said.splitlines()[-1] == f"sent 0 letters to {job.input}"
    assert redrive("--again")[1].splitlines()[-1] == f"sent 1 letter to {job.input}"
    assert redrive("--again")[1].splitlines()[-1] == f"sent 0 letters to {job.input}"
    assert len(redriven(job, 3)) == 2


def test_there_may_be_nothing_to_send(job: Job, redrive: Redrive) -> None:
    assert redrive() == (0, f"{job.dead_letters} has no letters of {job.input} to send\n")


def test_a_job_that_has_yet_to_begin_is_warned_of(job: Job) -> None:
    """With another configuration it is another job: it reads the messages themselves, and again."""
    produce(job.bootstrap, job.input, [quoted(1)])
    ewma("run", str(job.path))
    ask = ["redrive", str(job.path), "--dry-run"]
    assert ewma(*ask).stderr == ""
    repaired(job)
    assert "warning: this job has no recovery store yet" in ewma(*ask).stderr
    job.configure(input={"start": "latest"}, recovery={"directory": str(job.state) + "-new"})
    assert ewma(*ask).stderr == ""
    assert not job.state.with_name("repaired").exists(), "looking leaves nothing behind"


def test_mistakes_are_told(job: Job) -> None:
    produce(job.bootstrap, job.input, [quoted(1)])
    ewma("run", str(job.path))
    ask = ["redrive", str(job.path), "--dry-run"]
    assert_told(ewma(*ask, "--cause", "wrongtype"), 2, "did you mean wrong-type?")
    assert_told(ewma(*ask, "--cause", "xyz"), 2, "there are wrong-type")
    assert_told(ewma(*ask, "--since", "yesterday"), 2, "is not a time in a known form")
    job.configure(dead_letters={"topic": "absent"})
    for options in (ask, ask[:-1]):
        assert_told(ewma(*options), 2, "topic 'absent' does not exist")


def test_killed_at_any_moment_each_letter_goes_back_once(kafka: str, tmp_path: Path) -> None:
    """Whoever reads what is committed finds each message once, and the receipts agree."""
    job, n = make_job(kafka, tmp_path), 6_000
    produce(kafka, job.input, map(quoted, range(n)))
    assert ewma("run", str(job.path)).returncode == 1  # nothing could be read
    repaired(job)
    command = [*EWMA, "redrive", str(job.path)]
    left = []
    for more in (30, 700, 1_500):
        with started(command) as child:
            wait_for_records(job, ends(job) + more, child)
            child.kill()
            child.wait()
        left.append(n - len(committed(job)))
    assert any(0 < one < n for one in left), "no kill came in between"
    assert ewma("redrive", str(job.path)).returncode == 0
    found = Counter(committed(job))
    assert len(found) == n
    assert set(found.values()) == {1}
    assert "sent 0 letters" in ewma("redrive", str(job.path)).stdout


def ends(job: Job) -> int:
    consumer = KafkaConsumer(bootstrap_servers=job.bootstrap)
    try:
        tps = [TopicPartition(job.input, partition) for partition in range(2)]
        return sum(consumer.end_offsets(tps).values())
    finally:
        consumer.close()


def wait_for_records(job: Job, total: int, child: subprocess.Popen[str]) -> None:
    """Wait until so many records are on the input topic, committed or not."""
    deadline = time.monotonic() + PATIENCE_S
    consumer = KafkaConsumer(bootstrap_servers=job.bootstrap)
    tps = [TopicPartition(job.input, partition) for partition in range(2)]
    try:
        while sum(consumer.end_offsets(tps).values()) < total and child.poll() is None:
            assert time.monotonic() < deadline
    finally:
        consumer.close()


def committed(job: Job) -> list[bytes]:
    """Return the values of the records that were sent again and committed, to the end."""
    client = {"bootstrap_servers": job.bootstrap}
    return [
        record.value
        for record in read_topic(client, job.input)
        if any(name == "ewma-redriven" for name, _ in record.headers)
    ]
