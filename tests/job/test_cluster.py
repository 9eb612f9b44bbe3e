"""Jobs on three brokers, one of which is away: no failure."""

from __future__ import annotations

from pathlib import Path

from ewma_ops.connectors import partition_count
from tests.helpers.brokers import KafkaCluster, make_topic
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
        kafka_cluster.start()
        broker.kill()
        for _ in range(LOOKS):
            assert partition_count({"bootstrap_servers": bootstrap}, job.input) == 4
    assert ewma("check", str(job.path)).returncode == 0
    job.run()
    assert sum(map(len, job.events(len(readings)).values())) == len(readings)
