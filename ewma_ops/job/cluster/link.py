"""A place other than 0: its connection to the launcher of place 0, and its lease.

Knows sockets, times and messages; must not know processes, nor what a run does. A thread sends
beats and keeps the latest answer for the launcher. If no answer comes for the length of the lease,
the workers must end: only then does place 0 continue without them.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import final

import msgspec

from ewma_ops.job.cluster.layout import Cluster
from ewma_ops.job.cluster.messages import (
    BEAT_S,
    LEASE_S,
    Answer,
    Beat,
    Ended,
    Hello,
    ProtocolError,
    Run,
    receive,
    send,
)

__all__ = ["Link"]

_CONNECT_S = 2.0
_AGAIN_S = 0.5
_CLOSE_S = 2.0


@final
class Link:
    """The orders of place 0 to a place while the ``with`` block runs; thread-safe.

    Parameters
    ----------
    cluster
        The machines.
    own
        The description of this place.
    now
        A monotonic clock; replaced in tests.
    """

    def __init__(
        self, cluster: Cluster, own: Hello, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.cluster = cluster
        self._own, self._now = own, now
        self._lock = threading.Lock()  # guards the attributes below
        self._beat = Beat()
        self._answer = Answer()
        self._trouble = "no connection yet"
        self._delivered: Beat | None = None
        self._lease_until = 0.0
        self._broken = False
        self._fence = ""
        self._ended = threading.Event()
        self._soon = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ewma_ops-cluster", daemon=True)

    def __enter__(self) -> Link:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._soon.set()
        self._thread.join(_CLOSE_S)

    @property
    def beat(self) -> Beat:
        """What is reported to place 0 next."""
        with self._lock:
            return self._beat

    @property
    def exit_code(self) -> int | None:
        """The exit code, once the job has ended; None before."""
        with self._lock:
            return self._answer.exit_code

    @property
    def refused(self) -> str:
        """Why place 0 refuses this one; "" if it does not, or cannot be asked."""
        with self._lock:
            return self._answer.refused

    @property
    def fence(self) -> str:
        """The fence that the workers of the run write with."""
        return self._fence

    def waits_for(self) -> str:
        """Return what a run waits for, in words; "" if there is one to start."""
        with self._lock:
            answer = self._answer
            if self._trouble:
                return f"{self.cluster.name(0)}: {self._trouble}"
            if answer.refused:
                return f"{self.cluster.name(0)}: {answer.refused}"
            return "" if answer.start else ", ".join(answer.waits_for) or self.cluster.name(0)

    def begin(self) -> Run | None:
        """Return the run to start, if any: from now on its workers are part of it."""
        with self._lock:
            run = self._answer.start
            if run is None or self._trouble or self._now() > self._lease_until:
                return None
            self._broken = False
            self._beat, self._fence = Beat(run=run.id), run.fence
            self._answer = Answer(stop=self._answer.stop, kill=self._answer.kill)
        self._soon.set()
        return run

    def stop(self, reason: str) -> None:
        """Report that the workers here are being stopped gracefully."""
        with self._lock:
            beat = self._beat
            self._beat = Beat(beat.run, beat.stopping or reason, beat.ended)
        self._soon.set()

    def stopping(self) -> str:
        """Return why all places stop their workers; "" while they do not."""
        with self._lock:
            return f"{self.cluster.name(0)} {self._answer.stop}" if self._answer.stop else ""

    def lost(self) -> str:
        """Say why the workers here must end at once; "" while there is no reason."""
        name = self.cluster.name(0)
        with self._lock:
            if self._answer.kill:
                return f"{name} says: {self._answer.kill}"
            if self._answer.exit_code is not None:
                return f"{name} has ended the job"
            if self._broken:
                trouble = self._trouble
                return f"{name} is lost ({trouble})" if trouble else f"{name} was lost for a moment"
            if self._now() > self._lease_until:
                return f"{name} has not answered for {LEASE_S:g} s"
        return ""

    def end(self, ended: Ended) -> None:
        """Report the outcome of the run here: no worker of it is alive."""
        with self._lock:
            self._beat, self._answer = Beat(ended=ended), Answer(exit_code=self._answer.exit_code)
        self._soon.set()

    def await_delivery(self, patience_s: float = _CLOSE_S) -> None:
        """Wait briefly until place 0 has received the last report."""
        until = self._now() + patience_s
        with self._lock:
            beat = self._beat
        while self._now() < until and self._delivered is not beat and not self._trouble:
            time.sleep(0.01)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                with contextlib.closing(self._connect()) as connection:
                    self._talk(connection)
            except ProtocolError as error:
                self._note_trouble(f"it does not speak as a launcher does: {error}")
            except OSError as error:
                self._note_trouble(error.strerror or str(error))
            self._ended.wait(_AGAIN_S)

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(self.cluster.socket_address(0), _CONNECT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(LEASE_S)
        return connection

    def _talk(self, connection: socket.socket) -> None:
        with self._lock:
            own = msgspec.structs.replace(self._own, beat=self._beat)
        send(connection, own)
        self._take_answer(connection, own.beat)
        while not self._ended.is_set() and not self._answer.refused:
            with self._lock:
                beat = self._beat
            sent_at = self._now()
            send(connection, beat)
            self._take_answer(connection, beat)
            with self._lock:
                self._lease_until = sent_at + LEASE_S
            self._soon.wait(BEAT_S)
            self._soon.clear()

    def _take_answer(self, connection: socket.socket, beat: Beat) -> None:
        answer = receive(connection)
        if not isinstance(answer, Answer):
            raise ProtocolError(f"a {type(answer).__name__} in place of an Answer")
        with self._lock:
            self._trouble, self._delivered = "", beat
            # The answer to an older beat is not about the current run.
            if beat.run == self._beat.run and beat.ended is self._beat.ended:
                self._answer = answer

    def _note_trouble(self, trouble: str) -> None:
        with self._lock:
            self._trouble = trouble
            if self._beat.run:
                self._broken = True
            else:
                self._answer = Answer()
