"""A sample of ``make chaos`` on three brokers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.harness import run
from tests.chaos.sample import KILLED, check, sample
from tests.chaos.scene import Surroundings
from tests.helpers.brokers import KafkaCluster


@pytest.mark.timeout(900)
def test_on_three_brokers(kafka_cluster: KafkaCluster, tmp_path: Path) -> None:
    """The leader of a partition is killed, and the job is hurt beside it."""
    once = ("leader", "garbage", "stopped broker", "clock", "input partition")
    plan = sample(8, 7, "cluster", once=once, actions=KILLED[:-1], workers=(1, 2))
    around = Surroundings(kafka_cluster.bootstrap_servers, cluster=kafka_cluster)
    check(run(around, tmp_path, plan), plan)
