"""One job on several hosts: each may die, come back, be stopped and be moved."""

from __future__ import annotations

import shutil
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.hosts import Hosts
from tests.helpers.jobs import Job, Watch, assert_same, by_series, made_up, pandas_says
from tests.helpers.patience import PATIENCE_S

pytestmark = [pytest.mark.broker, pytest.mark.slow]

MakeHosts = Callable[..., Hosts]


@pytest.fixture
def make_hosts(embedded: str, tmp_path: Path) -> Iterator[MakeHosts]:
    made: list[Hosts] = []

    def make(count: int, partitions: int = 4) -> Hosts:
        made.append(Hosts(Job(embedded, tmp_path, (partitions, 3, 2)), tmp_path, count))
        return made[-1]

    yield make
    for hosts in made:
        hosts.close()


def test_a_job_outlives_each_of_its_hosts(make_hosts: MakeHosts) -> None:
    hosts = make_hosts(2)
    job = hosts.job
    with job.sending(20) as sent, Watch(job.bootstrap, job.output) as watch:
        hosts.start(1)
        hosts.await_told(1, "waiting for place 0 (127.0.0.1:")
        hosts.start(0)
        watch.until(len(sent) + 1)
        for place, other in ((1, 0), (0, 1)):
            hosts.kill(place)
            hosts.await_told(other, f"waiting for place {place} (127.0.0.{place + 1}:")
            hosts.start(place)
            watch.until(len(sent) + 1)
        assert hosts.stop(1) == [0]
        hosts.await_told(0, "stops: starting the workers again")
        hosts.await_told(0, "waiting for place 1 (127.0.0.2:")
        hosts.start(1)
        watch.until(len(sent) + 1)
    watch = Watch(job.bootstrap, job.output)
    watch.until(len(sent))
    assert hosts.stop(0, 1)[0] == 0
    assert_same(by_series(watch.records), pandas_says(sent))
    assert "Traceback" not in hosts.told(0) + hosts.told(1)


def test_hosts_come_go_and_lose_their_disks_on_the_same_state(make_hosts: MakeHosts) -> None:
    hosts = make_hosts(3, partitions=2)  # the third has none to read
    job, directory = hosts.job, hosts.directory
    with hosts.path(2).open("a") as file:
        file.write('[metrics]\nbind = "127.0.0.3:0"\n')
    readings = made_up(1_000, 20)
    first = 0
    with Watch(job.bootstrap, job.output) as watch:
        for count, last in [(1, 200), (3, 500), (2, 700)]:
            job.send(readings[first:last])
            hosts.count, first = count, last
            hosts.start()
            watch.until(last)
            if count == 3:
                assert_ready(hosts.told(2))
            assert hosts.stop(*range(count))[0] == 0
        shutil.rmtree(hosts.state(1))
        assert not list(directory.glob("state-[12]/parts"))
        job.send(readings[first:900])
        hosts.start()
        watch.until(900)
        assert hosts.stop(0, 1)[0] == 0
        shutil.rmtree(hosts.state(0))  # what is lost with it is read again, and not written again
        job.send(readings[900:])
        hosts.start()
        watch.until(len(readings))
        assert hosts.stop(0, 1)[0] == 0
    assert_same(by_series(watch.records), pandas_says(readings))
    assert "state in" not in hosts.told(1) + hosts.told(2)


def assert_ready(told: str) -> None:
    address = told.rpartition("metrics at ")[2].partition("/metrics")[0]
    with urllib.request.urlopen(f"{address}/readyz", timeout=10) as answer:
        assert answer.status == 200


def test_what_does_not_fit_is_refused_and_the_job_ends_with_its_input(
    make_hosts: MakeHosts,
) -> None:
    hosts = make_hosts(2)
    job = hosts.job
    readings = made_up(200, 5)
    job.send(readings[:100])
    hosts.configure(input={"stop": "end"}, smooth={"beta": 0.8})
    other = hosts.path(1).read_text()
    hosts.configure(input={"stop": "end"})
    right = hosts.path(1).read_text()
    hosts.path(1).write_text(other)
    hosts.start(0)
    hosts.start(1, options=["--wait=1s"])
    assert hosts.processes[1].wait(PATIENCE_S) == 2
    assert "place 1 has another configuration: smoothing is" in hosts.told(1)
    assert "place 1 has another configuration: smoothing is" in hosts.told(0)
    hosts.path(1).write_text(right)
    hosts.start(1)
    assert [hosts.processes[place].wait(PATIENCE_S) for place in (0, 1)] == [0, 0]
    assert_same(job.events(100), pandas_says(readings[:100]))
    shutil.copytree(hosts.state(0), hosts.state(1), dirs_exist_ok=True)  # the wrong way round
    shutil.rmtree(hosts.state(0))
    hosts.start()
    assert hosts.processes[0].wait(PATIENCE_S) == 2
    assert "has a store of this job of epoch" in hosts.told(0)
    assert hosts.stop(1) == [1]
    shutil.rmtree(hosts.state(0))
    hosts.state(1).rename(hosts.state(0))
    job.send(readings[100:])
    hosts.start()
    assert [hosts.processes[place].wait(PATIENCE_S) for place in (0, 1)] == [0, 0]
    assert_same(job.events(len(readings)), pandas_says(readings))
    assert "Traceback" not in hosts.told(0) + hosts.told(1)
