"""Brokers that are away when a command starts: waited for, and one of three is no failure."""

from __future__ import annotations

from pathlib import Path

from ewma_ops.connectors import partition_count
from tests.helpers.brokers import ApacheKafka, KafkaCluster, make_topic
from tests.helpers.jobs import Job, ewma, made_up

LOOKS = 15


def test_one_of_three_brokers_that_has_just_died_is_no_failure(
    kafka_cluster: KafkaCluster, tmp_path: Path
) -> None:
    bootstrap = kafka_cluster.bootstrap_servers
    job = Job(bootstrap, tmp_path, ())
    names = [make_topic(bootstrap, n, replication=3) for n in (4, 3, 2)]
    job.input, job.output, job.dead_letters = names
    job.configure()
    readings = made_up(200, 20)
    job.send(readings)
    for broker in kafka_cluster.brokers:
        broker.kill()
        for _ in range(LOOKS):
            assert partition_count({"bootstrap_servers": bootstrap}, job.input) == 4
        kafka_cluster.start()
    kafka_cluster.brokers[0].kill()
    assert ewma("check", str(job.path)).returncode == 0
    job.run()
    assert sum(map(len, job.events(len(readings)).values())) == len(readings)


def test_a_first_start_waits_for_brokers(restartable_kafka: ApacheKafka, tmp_path: Path) -> None:
    job = Job(restartable_kafka.bootstrap_servers, tmp_path)
    readings = made_up(100, 20)
    job.send(readings)
    job.configure(kafka={"bootstrap_servers": job.bootstrap, "bootstrap_timeout_ms": 500})
    restartable_kafka.stop()
    with job.running() as run:
        assert run.stderr is not None
        assert "no Kafka broker answered" in run.stderr.readline()
        restartable_kafka.start()
        assert run.wait(90) == 0
    assert sum(map(len, job.events(len(readings)).values())) == len(readings)
