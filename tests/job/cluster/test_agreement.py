"""Place 0 and another one, over a real socket: when a run begins, ends, and may begin again."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import time
from collections.abc import Iterator

import msgspec
import pytest

from ewma_ops.job.cluster.coordinator import Coordinator
from ewma_ops.job.cluster.errors import ClusterError
from ewma_ops.job.cluster.layout import Cluster
from ewma_ops.job.cluster.link import Link
from ewma_ops.job.cluster.messages import (
    LEASE_S,
    MARGIN_S,
    Answer,
    Beat,
    Ended,
    Hello,
    Run,
    receive,
    send,
)
from tests.helpers.hosts import free_ports
from tests.helpers.jobs import wait_until
from tests.helpers.patience import PATIENCE_S

JOB = {"smoothing": "beta 0.9", "input topic": "readings"}


@pytest.fixture
def cluster() -> Cluster:
    port = free_ports(2)
    return Cluster(tuple(f"127.0.0.{i}:{port}" for i in (1, 2, 3)), 0)


def hello(cluster: Cluster, place: int = 1, machine: str = "") -> Hello:
    name = machine or f"machine-{place}"
    return Hello("1.0", place, list(cluster.addresses), cluster.workers, JOB, name)


@contextlib.contextmanager
def linked(cluster: Cluster, place: int, machine: str = "") -> Iterator[Link]:
    at = Cluster(cluster.addresses, place, cluster.workers)
    with Link(at, hello(cluster, place, machine)) as link:
        yield link


class Clock:
    """Time that a test sets forward."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def __call__(self) -> float:
        return self.at


def await_free(coordinator: Coordinator) -> None:
    wait_until(lambda: not coordinator.waits_for())


def begun(coordinator: Coordinator, *links: Link) -> str:
    run = coordinator.begin(b"manifest")
    for link in links:
        assert await_run(link) == Run(run, b"manifest")
    return run


def await_run(link: Link) -> Run:
    until = time.monotonic() + PATIENCE_S
    while (run := link.begin()) is None:
        assert time.monotonic() < until
        time.sleep(0.02)
    return run


def test_a_run_begins_when_all_are_there_in_any_order(cluster: Cluster) -> None:
    with linked(cluster, 2) as second:
        wait_until(lambda: "Connection refused" in second.waits_for())
        with Coordinator(cluster, hello(cluster, 0)) as coordinator:
            wait_until(lambda: coordinator.waits_for() == [cluster.name(1)])
            wait_until(lambda: second.waits_for() == cluster.name(1))
            assert second.begin() is None
            with linked(cluster, 1) as first:
                await_free(coordinator)
                begun(coordinator, first, second)
                assert coordinator.lost() == coordinator.stopping() == first.lost() == ""


def test_a_stop_goes_to_all_and_the_ends_come_back(cluster: Cluster) -> None:
    with (
        Coordinator(cluster, hello(cluster, 0)) as coordinator,
        linked(cluster, 1) as first,
        linked(cluster, 2) as second,
    ):
        await_free(coordinator)
        run = begun(coordinator, first, second)
        first.stop("stops")
        wait_until(lambda: coordinator.stopping() == f"{cluster.name(1)} stops")
        coordinator.stop("starts its workers again")
        wait_until(lambda: second.stopping() == f"{cluster.name(0)} starts its workers again")
        assert len(coordinator.unfinished()) == 2
        ends = [Ended(run, 0, "stopped", notes=[b"{}"]), Ended(run, 2, "worker 2 failed")]
        for link, end in zip((first, second), ends, strict=True):
            link.end(end)
        wait_until(lambda: not coordinator.unfinished())
        assert coordinator.lost() == f"{cluster.name(2)} says: worker 2 failed"
        assert coordinator.over() == dict(enumerate(ends, 1))
        await_free(coordinator)
        begun(coordinator, first, second)  # what was said of the run before is forgotten
        assert coordinator.lost() == coordinator.stopping() == second.stopping() == ""


def test_a_run_that_is_killed_is_over_for_those_that_come_too_late(cluster: Cluster) -> None:
    with Coordinator(cluster, hello(cluster, 0)) as coordinator, linked(cluster, 2) as second:
        with linked(cluster, 1) as first:
            await_free(coordinator)
            begun(coordinator, first, second)
        wait_until(lambda: coordinator.lost() == f"{cluster.name(1)} is lost")
        coordinator.kill("place 1 is lost")
        wait_until(lambda: second.lost() == f"{cluster.name(0)} says: place 1 is lost")
        with linked(cluster, 1) as first:
            wait_until(lambda: not first.waits_for().endswith("no connection yet"))
            assert first.begin() is None
            second.end(Ended(second.beat.run, 1, "killed", "host"))
            wait_until(lambda: not coordinator.unfinished())
            assert coordinator.over()[1] is None
            await_free(coordinator)
            begun(coordinator, first, second)


def test_a_machine_that_is_not_back_may_have_workers_until_its_lease_ends(cluster: Cluster) -> None:
    clock = Clock()
    with (
        Coordinator(cluster, hello(cluster, 0), now=clock) as coordinator,
        linked(cluster, 2) as second,
    ):
        with linked(cluster, 1) as first:
            await_free(coordinator)
            run = begun(coordinator, first, second)
            wait_until(lambda: coordinator.unfinished() == [cluster.name(1), cluster.name(2)])
        wait_until(lambda: bool(coordinator.lost()))
        second.end(Ended(run, 1, "killed", "host"))
        wait_until(lambda: not coordinator.unfinished())
        coordinator.over()
        with linked(cluster, 1, "another machine"):
            wait_until(lambda: "a machine that is gone" in str(coordinator.waits_for()))
            clock.at += LEASE_S + MARGIN_S - 0.1
            assert coordinator.waits_for()
            clock.at += 0.2
            await_free(coordinator)
        with linked(cluster, 1):  # or it is back, and holds the lock that its workers had
            await_free(coordinator)


def test_the_machines_of_a_run_before_this_launcher_have_a_lease_too(cluster: Cluster) -> None:
    two = Cluster(cluster.addresses[:2], 0)
    with (
        Coordinator(two, hello(two, 0), ["machine-1", "machine-2"], Clock()) as coordinator,
        linked(two, 1),
    ):
        wait_until(lambda: "a machine that is gone" in str(coordinator.waits_for()))


def test_a_place_whose_coordinator_falls_silent_ends_its_workers(cluster: Cluster) -> None:
    clock = Clock()
    two = Cluster(cluster.addresses[:2], 0)
    with (
        Coordinator(two, hello(two, 0)) as coordinator,
        Link(Cluster(two.addresses, 1), hello(two, 1), clock) as link,
    ):
        await_free(coordinator)
        begun(coordinator, link)
        assert link.lost() == ""
        clock.at += LEASE_S + 0.1
        assert link.lost() == f"{two.name(0)} has not answered for 5 s"
    with Coordinator(two, hello(two, 0)) as coordinator, linked(two, 1) as link:
        await_free(coordinator)
        begun(coordinator, link)
        coordinator.__exit__(None, None, None)
        wait_until(lambda: f"{two.name(0)} is lost" in link.lost())


def test_the_end_of_a_job_is_heard_by_all(cluster: Cluster) -> None:
    two = Cluster(cluster.addresses[:2], 0)
    with Coordinator(two, hello(two, 0)) as coordinator, linked(two, 1) as link:
        await_free(coordinator)
        coordinator.exit(2, patience_s=0.5)
        wait_until(lambda: link.exit_code == 2)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": "1.1"}, "place 1 runs ewma_ops 1.1, and place 0 1.0"),
        ({"workers": 2}, "place 1 has --workers 2, and place 0 1"),
        ({"addresses": ["a:1", "b:1"]}, "place 1 has --cluster 'a:1;b:1', and place 0 '127.0.0.1:"),
        (
            {"job": {**JOB, "smoothing": "beta 0.8"}},
            "place 1 has another configuration: smoothing is 'beta 0.8' there, and 'beta 0.9' at",
        ),
        ({"place": 3}, "place 3 is not open to others"),
        ({"place": 0}, "place 0 is not open to others"),
    ],
)
def test_who_does_not_fit_is_told_why(
    cluster: Cluster, change: dict[str, object], sentence: str
) -> None:
    own = msgspec.structs.replace(hello(cluster), **change)
    with (
        Coordinator(cluster, hello(cluster, 0)) as coordinator,
        Link(Cluster(cluster.addresses, 1), own) as link,
    ):
        wait_until(lambda: link.refused.startswith(sentence))
        assert link.begin() is None
        assert sentence in link.waits_for()
        assert len(coordinator.waits_for()) == 2


def test_a_place_is_taken_once(cluster: Cluster) -> None:
    with Coordinator(cluster, hello(cluster, 0)), linked(cluster, 1) as first:
        wait_until(lambda: first.waits_for() == cluster.name(2))
        with linked(cluster, 1, "another") as other:
            wait_until(lambda: f"{cluster.name(1)} is taken by another machine" in other.refused)
        assert not first.refused


@pytest.mark.parametrize("place", [1, 2])
def test_a_machine_whose_disk_was_cloned_is_refused_and_the_first_one_stays(
    cluster: Cluster, place: int
) -> None:
    clone = msgspec.structs.replace(hello(cluster, place, "machine-1"), launcher="of the clone")
    with (
        Coordinator(cluster, hello(cluster, 0), now=Clock()) as coordinator,
        linked(cluster, 1) as first,
    ):
        wait_until(lambda: not first.waits_for().endswith("no connection yet"))
        with Link(Cluster(cluster.addresses, place), clone) as link:
            wait_until(lambda: bool(link.refused))
            assert link.refused.startswith(f"the launcher at {cluster.name(1)} has the same mach")
            assert 'delete the directory "member"' in link.waits_for()
            wait_until(lambda: first.waits_for() == cluster.name(2))
        assert coordinator.machines() == ["machine-1"]


def test_a_launcher_replaces_one_of_its_machine_that_has_fallen_silent(cluster: Cluster) -> None:
    clock = Clock()
    two = Cluster(cluster.addresses[:2], 0)
    with (
        Coordinator(two, hello(two, 0), now=clock) as coordinator,
        socket.create_connection(two.socket_address(0)) as killed,
    ):
        send(killed, msgspec.structs.replace(hello(two), launcher="killed"))
        receive(killed)
        with linked(two, 1) as link:
            wait_until(lambda: bool(link.refused))
            clock.at += 2.0
            wait_until(lambda: link.waits_for() == two.name(0))
            await_free(coordinator)


def framed(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


@pytest.mark.parametrize(
    "content",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        framed(b"abc"),
        struct.pack(">I", 5 << 20),
        framed(b"\x82\xa4type\xa4Beat\xa3run\xa2\xff\xfe"),  # no UTF-8
        framed(b"\x82\xa4type\xa4Beat\xa4more" + b"\x91" * 100_000 + b"\xc0"),  # too deep
    ],
)
def test_what_is_no_launcher_changes_nothing(
    cluster: Cluster, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with Coordinator(cluster, hello(cluster, 0)) as coordinator:
        with socket.create_connection(cluster.socket_address(0)) as stranger:
            stranger.sendall(content)
            stranger.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                assert stranger.recv(1) == b""
        assert len(coordinator.waits_for()) == 2
    assert "127.0.0.1 has connected to the port of the cluster" in caplog.text


def test_a_place_has_its_seat_back_after_a_late_hello_of_an_older_connection(
    cluster: Cluster,
) -> None:
    with (
        Coordinator(cluster, hello(cluster, 0)) as coordinator,
        linked(cluster, 1) as first,
        linked(cluster, 2) as second,
    ):
        await_free(coordinator)
        with socket.create_connection(cluster.socket_address(0)) as older:
            send(older, hello(cluster, 1))
            receive(older)
            wait_until(lambda: "closed" in first.waits_for())
            wait_until(lambda: first.waits_for() == cluster.name(0))
        begun(coordinator, first, second)


def test_a_place_that_was_given_a_run_says_how_it_ended_although_it_is_killed(
    cluster: Cluster,
) -> None:
    with (
        Coordinator(cluster, hello(cluster, 0)) as coordinator,
        linked(cluster, 2) as second,
        socket.create_connection(cluster.socket_address(0)) as slow,
    ):

        def answer(message: Hello | Beat) -> Answer:
            send(slow, message)
            answered = receive(slow)
            assert isinstance(answered, Answer)
            return answered

        answer(hello(cluster, 1))
        await_free(coordinator)
        run = begun(coordinator, second)
        assert answer(Beat()).start == Run(run, b"manifest")
        coordinator.kill("worker 0 failed")
        # It has not come to begin it, and does so now, or would be waited for for ever.
        late = answer(Beat())
        assert late.start == Run(run, b"manifest")
        assert late.kill == "worker 0 failed"
        answer(Beat(ended=Ended(run, 1, "killed", "host")))
        second.end(Ended(run, 1, "killed", "host"))
        wait_until(lambda: not coordinator.unfinished())


def test_places_are_let_in_after_files_have_run_out(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = socket.socket.accept
    failed: list[bool] = []

    def none_left(listener: socket.socket) -> object:
        if not failed:
            failed.append(True)
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", none_left)
    with Coordinator(cluster, hello(cluster, 0)), linked(cluster, 1) as first:
        wait_until(lambda: first.waits_for() == cluster.name(2))
    assert failed


def test_a_place_is_free_again_where_its_first_answer_cannot_be_sent(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[bool] = []

    def broken(connection: socket.socket, message: Answer) -> None:
        if not failed:
            failed.append(True)
            raise ConnectionResetError
        send(connection, message)

    monkeypatch.setattr("ewma_ops.job.cluster.coordinator.send", broken)
    with Coordinator(cluster, hello(cluster, 0)):
        with socket.create_connection(cluster.socket_address(0)) as gone:
            send(gone, hello(cluster, 1))
            assert gone.recv(1) == b""
        with linked(cluster, 1, "another machine") as link:
            wait_until(lambda: link.waits_for() == cluster.name(2))


def test_a_beat_without_a_hello_is_refused(cluster: Cluster) -> None:
    with (
        Coordinator(cluster, hello(cluster, 0)),
        socket.create_connection(cluster.socket_address(0)) as stranger,
    ):
        send(stranger, Beat())
        stranger.settimeout(10)
        with pytest.raises(ConnectionError):
            receive(stranger)


def test_an_address_that_is_not_of_this_host_is_refused() -> None:
    elsewhere = Cluster(("192.0.2.1:9101", "127.0.0.2:9101"), 0)
    with pytest.raises(ClusterError, match=r"192.0.2.1:9101 of place 0.*cannot be listened on"):
        Coordinator(elsewhere, hello(elsewhere, 0)).__enter__()
