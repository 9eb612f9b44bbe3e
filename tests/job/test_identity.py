"""What a job is: found out once a process, and the same for all that ask."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bytewax.recovery import RecoveryConfig
from bytewax.testing import run_main
from kafka import KafkaAdminClient

from ewma_ops.connectors import KafkaSink
from ewma_ops.errors import BrokerError, ConfigError, StateError
from ewma_ops.job import builders
from ewma_ops.job.dataflow import build_job
from ewma_ops.job.identity import identify
from ewma_ops.job.lookups import JobLookups
from ewma_ops.job.recovery.store import RecoveryStore
from ewma_ops.serde import parquet
from ewma_ops.settings.load import load
from tests.helpers.jobs import Job, as_parquet, made_up, pandas_says


class Asked:
    """How often files were hashed and topics looked up, since it was last told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hashed = 0
        self.looked_up: Counter[str] = Counter()
        digest, describe = parquet.file_digest, KafkaAdminClient.describe_topics

        def counted_digest(path: Path) -> str:
            self.hashed += 1
            return digest(path)

        def counted_describe(admin: Any, topics: Any = None) -> Any:
            self.looked_up.update(topics)
            return describe(admin, topics)

        for module in (parquet, builders):
            monkeypatch.setattr(module, "file_digest", counted_digest)
        monkeypatch.setattr(KafkaAdminClient, "describe_topics", counted_describe)

    def told(self) -> tuple[int, set[int]]:
        """Return the count of hashes, and those of the looks at each topic."""
        counts = self.hashed, set(self.looked_up.values())
        self.hashed, self.looked_up = 0, Counter()
        return counts


def test_one_start_hashes_and_looks_up_once_a_process(
    embedded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = made_up(400, series=5)
    past = tmp_path / "past.parquet"
    as_parquet(readings[:200], past)
    job = Job(embedded, tmp_path)
    job.configure(smooth={"warm_start": str(past)})
    job.send(readings[200:])
    asked = Asked(monkeypatch)

    def start() -> None:
        """Do what the launcher does, and then what its worker does."""
        settings = load(job.path)
        lookups = JobLookups(settings)
        with RecoveryStore(job.state) as store:
            store.prepare(lookups.identify(), lookups.find_beginning)
            counts.append(asked.told())
            flow = build_job(settings, store=RecoveryStore(job.state)).flow
            run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(store.parts))
        counts.append(asked.told())

    counts: list[tuple[int, set[int]]] = []
    start()
    start()
    # Of the launcher's two looks at a topic one asks what it is, the other how it is configured.
    # The worker of a new job reads the history, and compares it then; a resumed one does not.
    assert counts == [(1, {2}), (1, {1}), (1, {2}), (0, {1})]
    said = pandas_says(readings)
    events = job.events(200)
    assert {key: len(own) for key, own in events.items()} == {
        key: len(own) - sum(reading.series_id == key for reading in readings[:200])
        for key, own in said.items()
    }


def test_a_worker_refuses_a_file_that_was_changed_since_the_store_was_claimed(
    embedded: str, tmp_path: Path
) -> None:
    job = Job(embedded, tmp_path)
    lookups = JobLookups(load(job.path))
    with RecoveryStore(job.state) as store:
        store.prepare(lookups.identify(), lookups.find_beginning)
    job.configure(smooth={"beta": 0.8})
    with pytest.raises(StateError, match="belongs to another job: smoothing was"):
        build_job(load(job.path), store=RecoveryStore(job.state))


def test_a_broker_that_is_behind_does_not_take_partitions_away(
    embedded: str, tmp_path: Path
) -> None:
    job = Job(embedded, tmp_path, partitions=(2, 1, 1))
    lookups = JobLookups(load(job.path))
    lookups.identify()
    noted = lookups.find_beginning()
    ((number, note),) = noted.inputs.items()
    more = noted._replace(inputs={number: note._replace(partitions=3)})
    with pytest.raises(BrokerError, match=r"has 2 partitions, and 3 when .* a broker is behind"):
        lookups.extend_beginning(more)
    assert lookups.extend_beginning(noted) == noted


def test_a_warm_start_that_is_missing_is_named(embedded: str, tmp_path: Path) -> None:
    job = Job(embedded, tmp_path)
    job.configure(smooth={"warm_start": str(tmp_path / "absent.parquet")})
    with pytest.raises(ConfigError, match="there is no such file"):
        identify(load(job.path))


def test_events_depend_on_neither_shards_nor_delivery(embedded: str, tmp_path: Path) -> None:
    job = Job(embedded, tmp_path)
    before = identify(load(job.path))
    job.configure(smooth={"shards": 3}, output={"delivery": "transactional"})
    after = identify(load(job.path))
    assert before.events == after.events
    assert {key for key in before.store if before.store[key] != after.store[key]} == {
        "shards",
        "delivery",
    }
    job.configure(smooth={"beta": 0.5})
    assert identify(load(job.path)).events != before.events


@pytest.mark.slow
def test_verify_loads_neither_the_dataflow_nor_what_runs_it() -> None:
    unneeded = ["dataflow", "steps", "worker", "launcher", "supervisor", "lookups"]
    code = (
        "import sys, ewma_ops.commands.verify\n"
        f"unneeded = [f'ewma_ops.job.{{name}}' for name in {unneeded}]\n"
        "print([name for name in [*unneeded, 'ewma_ops.operators'] if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_sinks_wait_from_when_the_launcher_was_answered(
    embedded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(embedded, tmp_path)
    lookups = JobLookups(load(job.path))
    lookups.identify()
    answered_at = lookups.leaders_answered()
    assert answered_at is not None
    given: list[object] = []

    def noted(*arguments: Any, **named: Any) -> KafkaSink:
        given.append(named["answered_at"])
        return KafkaSink(*arguments, **named)

    monkeypatch.setattr("ewma_ops.job.dataflow.KafkaSink", noted)
    build_job(load(job.path), answered_at=answered_at)
    assert given == [answered_at] * 2
    job.configure(output={"delivery": "at-least-once"})
    lookups = JobLookups(load(job.path))
    lookups.identify()
    assert lookups.leaders_answered() is None, "nothing is waited for"
