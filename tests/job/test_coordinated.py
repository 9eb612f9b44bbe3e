"""Runs of several hosts, as place 0 sees them and as another one does, over real sockets."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from ewma_ops.errors import EwmaError, StateError
from ewma_ops.job.answers import Lines
from ewma_ops.job.cluster.errors import ClusterError
from ewma_ops.job.cluster.layout import Cluster
from ewma_ops.job.cluster.link import Link
from ewma_ops.job.cluster.messages import Ended, Hello
from ewma_ops.job.coordinated import Coordinated, coordinated, go_on_alone
from ewma_ops.job.follower import follow
from ewma_ops.job.outcome import LOST_HOST, Outcome
from ewma_ops.job.place import epoch_kept, machine_of, member_store
from ewma_ops.job.recovery.store import RecoveryStore
from ewma_ops.job.signs import LOST_PEER, UNAVAILABLE
from ewma_ops.job.supervisor import Others
from ewma_ops.settings.load import load
from tests.helpers.hosts import free_ports
from tests.helpers.jobs import Job, wait_until


def never() -> bool:
    return False


@pytest.fixture
def cluster() -> Cluster:
    port = free_ports(2)
    return Cluster((f"127.0.0.1:{port}", f"127.0.0.2:{port}"), 0)


def hello(cluster: Cluster, place: int, *, holds: int = -1, version: str = "1.0") -> Hello:
    return Hello(version, place, list(cluster.addresses), 1, {}, f"machine-{place}", holds)


@pytest.fixture
def together(cluster: Cluster, tmp_path: Path) -> Iterator[Coordinated]:
    with RecoveryStore(tmp_path / "state") as store:
        store.prepare({})
        with coordinated(cluster, hello(cluster, 0), store) as made:
            yield made


@contextlib.contextmanager
def linked(cluster: Cluster, *, holds: int = -1) -> Iterator[Link]:
    with Link(Cluster(cluster.addresses, 1), hello(cluster, 1, holds=holds)) as link:
        yield link


@contextlib.contextmanager
def running(link: Link, act: Callable[[str], None]) -> Iterator[None]:
    """Do something at place 1 with the name of the run that it is given."""

    def run() -> None:
        while (run := link.begin()) is None:
            time.sleep(0.01)
        act(run.id)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join()


def machines(tmp_path: Path) -> list[str]:
    return [str(one) for one in json.loads((tmp_path / "state" / "machines.json").read_bytes())]


def test_a_mistake_at_another_place_ends_the_run_here(
    cluster: Cluster, together: Coordinated, tmp_path: Path
) -> None:
    noted: list[list[str]] = []

    def run(*, others: Others) -> Outcome:
        noted.append(machines(tmp_path))
        wait_until(lambda: bool(others.lost()))
        return Outcome(1, f"killed, as {others.lost()},", again=LOST_HOST)

    with linked(cluster) as link:
        assert together.gather(never)
        with running(link, lambda run: link.end(Ended(run, 2, "worker 1 failed", notes=[b"{}"]))):
            outcome = together.run(run, [], 20.0)
    assert (outcome.code, outcome.again, outcome.text) == (2, "", "worker 1 failed")
    assert outcome.notes == [b"{}"]
    assert noted == [["machine-1"]]  # before its workers could have been started
    assert machines(tmp_path) == []  # as it has said that they are gone


def test_workers_that_only_lost_others_let_the_first_one_say_why(
    cluster: Cluster, together: Coordinated
) -> None:
    def run(*, others: Others) -> Outcome:
        wait_until(lambda: bool(link.beat.run))
        assert not others.lost()
        return Outcome(LOST_PEER, "worker 0 lost touch with the others", again=LOST_HOST)

    def fail_slowly(run: str) -> None:
        time.sleep(0.3)  # a process that failed takes its time to end
        link.end(Ended(run, 2, "worker 1 failed"))

    with linked(cluster) as link:
        assert together.gather(never)
        with running(link, fail_slowly):
            outcome = together.run(run, [], 20.0)
    assert outcome.code == 2


def test_a_place_that_is_lost_leaves_its_machine_noted(
    cluster: Cluster, together: Coordinated, tmp_path: Path
) -> None:
    def run(*, others: Others) -> Outcome:
        wait_until(lambda: bool(link.beat.run))
        link.__exit__(None, None, None)
        wait_until(lambda: bool(others.lost()))
        return Outcome(1, "killed", again=LOST_HOST)

    with linked(cluster) as link:
        assert together.gather(never)
        with running(link, lambda _: None):
            assert together.run(run, [], 20.0).again == LOST_HOST
    assert machines(tmp_path) == ["machine-1"]
    assert together.run(run, [], 20.0).again == LOST_HOST, "it is not there: nothing begins"


def test_one_host_that_goes_on_alone_fences_the_others_off_once(tmp_path: Path) -> None:
    raised: list[int] = []

    def fence() -> str:
        raised.append(1)
        return "1:2"

    with RecoveryStore(tmp_path / "state") as store:
        store.prepare({})
        assert not go_on_alone(store, fence)
        assert not raised, "there never was another host"
        (store.directory / "machines.json").write_text('["machine-1"]')
        assert go_on_alone(store, fence)
        assert not go_on_alone(store, fence)
    assert raised == [1]


def test_a_stop_is_heard_while_places_are_waited_for(together: Coordinated) -> None:
    assert not together.gather(lambda: True)


def test_a_store_that_is_newer_elsewhere_is_not_left_behind(
    cluster: Cluster, together: Coordinated
) -> None:
    with linked(cluster, holds=1):
        assert together.gather(never)
        together.check_store()

    def refused() -> bool:
        """Whether the other host is known as it is now, and refused; its former link may linger."""
        assert together.gather(never)
        try:
            together.check_store()
        except StateError as error:
            return "has a store of this job of epoch 7, and place 0" in str(error)
        return False

    with linked(cluster, holds=7):
        wait_until(refused)


def test_a_place_that_does_not_fit_gives_up_after_a_while(
    cluster: Cluster, together: Coordinated, tmp_path: Path
) -> None:
    assert together
    at = Cluster(cluster.addresses, 1)
    with RecoveryStore(tmp_path / "member") as store:
        own = msgspec.structs.replace(hello(cluster, 1), version="1.1")
        with pytest.raises(ClusterError, match=r"1\.1, and place 0 1\.0: install"):
            follow(at, own, lambda *_: [], store, [], 1.0, 0.2, Lines())


def test_a_disk_that_fails_ends_the_run_at_each_place_and_no_launcher(
    cluster: Cluster, together: Coordinated, tmp_path: Path
) -> None:
    with RecoveryStore(tmp_path / "member") as store:
        here, there = tmp_path / "state" / "machines.new", store.directory / "manifest.new"
        there.mkdir()  # so that no file of this name can be written
        signals: list[int] = []
        at, own = Cluster(cluster.addresses, 1), hello(cluster, 1)
        following = threading.Thread(
            target=lambda: follow(at, own, lambda *_: [], store, signals, 1.0, 60.0, Lines())
        )
        following.start()
        try:
            assert together.gather(never)
            here.mkdir()
            outcome = together.run(lambda **_: Outcome(0, "finished"), [], 1.0)
            assert outcome.code == UNAVAILABLE
            assert f"'{tmp_path / 'state'}' cannot be used now: Is a directory" in outcome.text
            here.rmdir()

            def without_room_at_its_end(*, others: Others) -> Outcome:
                here.mkdir()
                return until_lost(others=others)

            outcome = together.run(without_room_at_its_end, [], 1.0)
            here.rmdir()
            assert outcome.code == UNAVAILABLE
            assert f"'{store.directory}' cannot be used now: Is a directory" in outcome.text
            assert together.gather(never)
        finally:
            signals.append(signal.SIGTERM)
            following.join()


def until_lost(*, others: Others) -> Outcome:
    wait_until(lambda: bool(others.lost()))
    return Outcome(1, f"killed, as {others.lost()},", again=LOST_HOST)


def test_a_machine_keeps_its_name_with_its_directory(tmp_path: Path) -> None:
    kept = RecoveryStore(tmp_path)
    with member_store(kept) as store:
        name = machine_of(store)
    with member_store(kept) as store:
        assert machine_of(store) == name
        (store.directory / "machine").unlink()
        (store.directory / "machine.new").mkdir()  # as no file of this name can be written
        with pytest.raises(EwmaError, match="cannot be used now: Is a directory"):
            machine_of(store)
    with member_store(RecoveryStore(tmp_path / "other")) as store:
        assert machine_of(store) != name


def test_only_a_store_of_the_same_job_counts_as_kept(tmp_path: Path) -> None:
    job = Job("127.0.0.1:1", tmp_path, ())
    settings = load(job.path)
    kept = RecoveryStore(job.state)
    assert epoch_kept(settings, kept) == -1
    with kept:
        kept.prepare({**settings.identity(), "output topic id": "known to brokers only"})
    assert epoch_kept(settings, kept) == 1
    job.configure(smooth={"beta": 0.8})
    assert epoch_kept(load(job.path), kept) == -1
