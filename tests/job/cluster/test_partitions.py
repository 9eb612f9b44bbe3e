"""Hosts that are cut off from the others and not from Kafka, or stand still: each event once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.job import is_alive
from tests.helpers.hosts import Hosts, send_all
from tests.helpers.jobs import Job, Reading, Watch, assert_same, by_series, pandas_says, wait_until
from tests.helpers.namespaces import Namespace, NamespacesUnavailableError, namespaces

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture
def machines(broker: str) -> Iterator[list[Namespace]]:
    """Two hosts for place 0 and 1, and a third that may take the place of the second."""
    try:
        with namespaces(broker, [0, 1, 1]) as made:
            yield made
    except NamespacesUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture
def hosts(broker: str, machines: list[Namespace], tmp_path: Path) -> Iterator[Hosts]:
    hosts = Hosts(Job(broker, tmp_path), tmp_path, 2, machines=machines[:2])
    for machine in machines[:2]:
        machine.join()
    yield hosts
    hosts.close()


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)  # which one does not matter
def test_a_host_that_is_cut_off_ends_its_workers_and_the_others_wait(hosts: Hosts) -> None:
    job, (_, machine) = hosts.job, hosts.machines
    with job.sending(20) as sent:
        hosts.start()
        with Watch(job.bootstrap, job.output) as watch:
            watch.until(len(sent) + 1)
            machine.cut_off()
            hosts.await_told(1, "has not answered for 5 s")
            hosts.await_told(0, "waiting for place 1")
            assert len(hosts.pids(1)) == 1, "its workers are alive"
            machine.join()
            watch.until(len(sent) + 1)
    assert_exactly_once(hosts, sent)


def test_a_host_that_wakes_beside_its_successor_can_write_nothing(
    hosts: Hosts, machines: list[Namespace]
) -> None:
    job = hosts.job
    # For so long a worker goes on without the others: until the successor writes, on any machine.
    hosts.configure(recovery={"interval": "1h"})
    with job.sending(20) as sent:
        hosts.start()
        with Watch(job.bootstrap, job.output) as watch:
            watch.until(len(sent) + 1)
            launcher, worker = hosts.pids(1)
            send_all([launcher, worker], signal.SIGSTOP)  # a virtual machine that is paused ...
            machines[1].cut_off()
            was = hosts.processes.pop(1)
            hosts.machines[1] = machines[2]  # ... and replaced by one with an empty disk
            machines[2].join()
            hosts.replace(1)
            hosts.start(1)
            hosts.await_told(1, "started 1 worker", times=2)
            watch.until(len(sent) + 1)
            os.kill(worker, signal.SIGCONT)
            wait_until(lambda: not is_alive(worker))
            os.kill(launcher, signal.SIGCONT)
            hosts.await_told(1, "another run of this job has taken over")
            watch.until(len(sent) + 1)
            was.kill()
            was.wait()
    assert_exactly_once(hosts, sent)


def assert_exactly_once(hosts: Hosts, sent: list[Reading]) -> None:
    with Watch(hosts.job.bootstrap, hosts.job.output) as watch:
        watch.until(len(sent))
        assert hosts.stop(0, 1)[0] == 0
        watch.until(len(sent))
        assert_same(by_series(watch.records), pandas_says(sent))
