"""Place 0: waits for the launchers of all places, and decides when a run begins and ends.

Knows sockets, times and messages; must not know processes, nor what a run does. A run begins when
every place is connected and no worker of an earlier run can be alive: each place has reported that
its workers ended, or is the same machine as before, or its lease has expired.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import final

from ewma_ops.job.cluster.layout import Cluster
from ewma_ops.job.cluster.listener import Listener
from ewma_ops.job.cluster.messages import (
    BEAT_S,
    LARGEST_HELLO,
    LEASE_S,
    MARGIN_S,
    Answer,
    Beat,
    Ended,
    Hello,
    ProtocolError,
    Run,
    receive,
    send,
)
from ewma_ops.job.cluster.refusal import refusal

__all__ = ["Coordinator"]

_log = logging.getLogger(__name__)

_HELLO_S = 5.0
_SILENT_S = 4 * BEAT_S

_TAKEN = "{} is taken by another machine: give each host a --place of its own"
_COPIED = (
    "the launcher at {} has the same machine id, perhaps because a disk was cloned: delete the "
    "directory "
    '"member" in the recovery directory of one of the two hosts while its launcher is stopped'
)


@dataclass
class _Seat:
    """The state of one other place."""

    hello: Hello | None = None
    session: int = 0
    beat: Beat = field(default_factory=Beat)
    seen_at: float = 0.0
    started: str = ""
    """The last run that was sent to it."""
    lost: bool = False
    """Whether it was lost since the run began."""


@final
class Coordinator:
    """Tracks the other places from place 0 while the ``with`` block runs; thread-safe.

    Parameters
    ----------
    cluster
        The machines; this one is place 0.
    own
        The description of this place, which the others must match.
    machines
        Machines of the last run of this store: until they connect again, their workers may be
        alive.
    now
        A monotonic clock; replaced in tests.

    Raises
    ------
    ClusterError
        On entering: this machine does not have the address of place 0, or its port is not free.
    """

    def __init__(
        self,
        cluster: Cluster,
        own: Hello,
        machines: Iterable[str] = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cluster = cluster
        self._own, self._now = own, now
        self._lock = threading.Lock()  # guards the attributes below
        self._seats = {place: _Seat() for place in cluster.places[1:]}
        # Machines that may still have workers of an earlier run, and until when.
        self._leases = dict.fromkeys(machines, now() + LEASE_S + MARGIN_S)
        self._run: Run | None = None
        self._stop = self._kill = ""
        self._exit_code: int | None = None
        self._sessions = 0
        self._refused: set[str] = set()
        self._listener = Listener(cluster.addresses[0], self._serve)

    def __enter__(self) -> Coordinator:
        self._listener.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.__exit__(kind, error, traceback)

    def waits_for(self) -> list[str]:
        """Return what the next run waits for, place by place; nothing if it may begin."""
        with self._lock:
            return self._waits_for()

    def _waits_for(self) -> list[str]:
        found = []
        for place, seat in self._seats.items():
            if seat.hello is None:
                found.append(self.cluster.name(place))
            elif seat.beat.run:
                found.append(f"{self.cluster.name(place)} to end the workers of the last run")
        left_s = max(self._leases.values(), default=0.0) - self._now()
        if not found and left_s > 0:
            found.append(f"the end of workers on a machine that is gone, {left_s:.0f} s")
        return found

    def machines(self) -> list[str]:
        """Return the machines that are at the other places."""
        with self._lock:
            hellos = [seat.hello for seat in self._seats.values()]
        return [hello.machine for hello in hellos if hello is not None]

    def holding(self) -> dict[int, int]:
        """Return the places that have a recovery store of this job, each with its epoch."""
        with self._lock:
            hellos = [seat.hello for seat in self._seats.values() if seat.hello is not None]
        return {hello.place: hello.holds for hello in hellos if hello.holds >= 0}

    @property
    def fence(self) -> str:
        """The fence that the workers of the run write with."""
        with self._lock:
            return "" if self._run is None else self._run.fence

    def begin(self, manifest: bytes, fence: str = "") -> str:
        """Make all places start a run; return its name."""
        with self._lock:
            self._run = Run(os.urandom(8).hex(), manifest, fence)
            self._stop = self._kill = ""
            for seat in self._seats.values():
                seat.lost = seat.hello is None
            return self._run.id

    def stop(self, reason: str) -> None:
        """Make all places stop their workers gracefully."""
        with self._lock:
            self._stop = self._stop or reason

    def stopping(self) -> str:
        """Return which place stops its workers, and why; "" for none."""
        with self._lock:
            for place, seat in self._seats.items():
                if self._is_in_run(seat) and seat.beat.stopping:
                    return f"{self.cluster.name(place)} {seat.beat.stopping}"
        return ""

    def lost(self) -> str:
        """Return which place is lost, or has failed; "" for none."""
        with self._lock:
            for place, seat in self._seats.items():
                ended = self._ended(seat)
                if ended is not None and ended.code and not ended.again:
                    return f"{self.cluster.name(place)} says: {ended.text}"
                if self._run is not None and ended is None and not self._is_here(seat):
                    return f"{self.cluster.name(place)} is lost"
        return ""

    def kill(self, reason: str) -> None:
        """Make all places kill the remaining workers of the run."""
        with self._lock:
            self._kill = self._kill or reason

    def unfinished(self) -> list[str]:
        """Return the connected places at which the run has not ended."""
        with self._lock:
            run = self._run
            return [
                self.cluster.name(place)
                for place, seat in self._seats.items()
                if run is not None
                and seat.started == run.id
                and self._is_here(seat)
                and self._ended(seat) is None
            ]

    def over(self) -> dict[int, Ended | None]:
        """Mark the run as over, and return its outcome at each place.

        None if it is unknown: the place is lost, or was killed before it began.
        """
        with self._lock:
            ended = {place: self._ended(seat) for place, seat in self._seats.items()}
            self._run = None
            return ended

    def exit(self, code: int, patience_s: float = 2.0) -> None:
        """Make all places exit too; wait briefly until they have received that."""
        with self._lock:
            self._exit_code = code
        until = self._now() + patience_s
        while self._now() < until:
            with self._lock:
                if all(seat.hello is None for seat in self._seats.values()):
                    return
            time.sleep(0.02)

    def _is_in_run(self, seat: _Seat) -> bool:
        return self._run is not None and seat.beat.run == self._run.id

    def _ended(self, seat: _Seat) -> Ended | None:
        ended = seat.beat.ended
        return ended if self._run is not None and ended and ended.run == self._run.id else None

    @staticmethod
    def _is_here(seat: _Seat) -> bool:
        return seat.hello is not None and not seat.lost

    def _serve(self, connection: socket.socket, peer: str) -> None:
        """Handle one launcher's messages, until it disconnects or its lease expires."""
        place = session = 0
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(_HELLO_S)
            hello = receive(connection, LARGEST_HELLO)
            if not isinstance(hello, Hello):
                raise ProtocolError(f"a {type(hello).__name__} before a Hello")
            place = hello.place
            refused, session = self._seat(hello)
            send(connection, Answer(refused=refused))
            if refused:
                self._say_refused(refused)
                return
            connection.settimeout(LEASE_S)
            while True:
                beat = receive(connection)
                if not isinstance(beat, Beat):
                    raise ProtocolError(f"a {type(beat).__name__} in place of a Beat")
                send(connection, self._answer(place, session, beat))
                if not self._has(place, session):
                    return  # a closed launcher connects again, and gets its place back
        except ProtocolError as error:
            _log.warning("%s has connected to the port of the cluster, and sent %s", peer, error)
        except OSError:
            pass
        finally:
            if session:
                self._vacate(place, session)

    def _seat(self, hello: Hello) -> tuple[str, int]:
        """Assign a place to a launcher; return why not, or the number of the session."""
        reason = refusal(self._own, hello)
        with self._lock:
            seat = self._seats.get(hello.place)
            if reason or seat is None:
                return reason or f"place {hello.place} is not open to others", 0
            if reason := self._taken(seat, hello):
                return reason, 0
            self._sessions += 1
            if seat.hello is not None:  # the same launcher again, or its former one was killed
                seat.lost = True
            seat.hello, seat.session, seat.beat = hello, self._sessions, hello.beat
            seat.seen_at, seat.started = self._now(), ""
            self._leases.pop(hello.machine, None)  # it holds the lock that its workers had
            return "", self._sessions

    def _taken(self, seat: _Seat, hello: Hello) -> str:
        """Return which other launcher has a place; "" for none."""
        for place, other in self._seats.items():
            there = other.hello
            if there is None:
                continue
            if there.machine != hello.machine:
                if other is seat:
                    return _TAKEN.format(self.cluster.name(place))
            elif there.launcher != hello.launcher and not (other is seat and self._is_silent(seat)):
                return _COPIED.format(self.cluster.name(place))
        return ""

    def _is_silent(self, seat: _Seat) -> bool:
        """Whether a launcher was probably killed, and its connection broke without a sign."""
        return self._now() - seat.seen_at > _SILENT_S

    def _has(self, place: int, session: int) -> bool:
        with self._lock:
            return self._seats[place].session == session

    def _say_refused(self, reason: str) -> None:
        with self._lock:
            if reason in self._refused:
                return
            self._refused.add(reason)
        _log.warning("refused a launcher: %s", reason)

    def _vacate(self, place: int, session: int) -> None:
        with self._lock:
            seat = self._seats[place]
            if seat.session != session or seat.hello is None:
                return
            ended = seat.beat.ended
            if seat.started and (ended is None or ended.run != seat.started):
                seat.lost = True
                self._leases[seat.hello.machine] = seat.seen_at + LEASE_S + MARGIN_S
            # The outcome of its run is kept: it is needed when the run is over.
            seat.hello, seat.beat = None, Beat(ended=ended)

    def _answer(self, place: int, session: int, beat: Beat) -> Answer:
        with self._lock:
            seat = self._seats[place]
            if seat.session != session:
                return Answer(kill="another launcher of this machine has taken its place")
            seat.beat, seat.seen_at = beat, self._now()
            if self._exit_code is not None:
                return Answer(exit_code=self._exit_code)
            run = self._run
            if beat.run and (run is None or beat.run != run.id or seat.lost):
                return Answer(kill="the run is over")
            if run is None:
                return Answer(waits_for=self._waits_for())
            if seat.lost or (beat.ended is not None and beat.ended.run == run.id):
                return Answer()
            if not beat.run:
                if self._kill and seat.started != run.id:
                    return Answer()
                # A launcher that received the run may be about to begin it, and has to report its
                # outcome.
                seat.started = run.id
                return Answer(start=run, stop=self._stop, kill=self._kill)
            return Answer(stop=self._stop, kill=self._kill)
