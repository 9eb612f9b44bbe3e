"""Brokers that are away when a command starts: they are waited for."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.brokers import ApacheKafka
from tests.helpers.jobs import EWMA, Job, made_up, started
from tests.helpers.patience import PATIENCE_S


def test_a_first_start_waits_for_brokers_and_so_does_a_check_if_asked(
    restartable_kafka: ApacheKafka, tmp_path: Path
) -> None:
    job = Job(restartable_kafka.bootstrap_servers, tmp_path)
    readings = made_up(100, 20)
    job.send(readings)
    job.configure(kafka={"bootstrap_servers": job.bootstrap, "bootstrap_timeout_ms": 2_000})
    restartable_kafka.stop()
    waiting = [*EWMA, "check", str(job.path), f"--wait={PATIENCE_S:g}s"]
    with job.running() as run, started(waiting) as check:
        for one in (run, check):
            assert one.stderr is not None
            assert "no Kafka broker answered" in one.stderr.readline()
        restartable_kafka.start()
        assert check.wait(PATIENCE_S) == 0
        assert run.wait(PATIENCE_S) == 0
    assert sum(map(len, job.events(len(readings)).values())) == len(readings)
