"""`ewma watch`: the threads that read a job's topics, and the server of its page.

Knows how the parts of this room are put together; must not know what they do.
"""

from __future__ import annotations

import importlib.util
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ewma_ops.errors import ConfigError
from ewma_ops.monitor.rules import ChartRule
from ewma_ops.settings.bind import Bind
from ewma_ops.settings.model import Settings
from ewma_ops.watch.alarms import Alarms
from ewma_ops.watch.book import Book
from ewma_ops.watch.flow_metrics import FlowMetrics
from ewma_ops.watch.follower import Follower, InputEnds
from ewma_ops.watch.history import History
from ewma_ops.watch.looker import Looker
from ewma_ops.watch.measures import Measure, measures
from ewma_ops.watch.status import Status

__all__ = ["Watching", "serve", "watching"]

_JOIN_S = 0.5
"""Threads that wait for a broker longer than this end with the process: they only read."""
_GRACE_S = 1


class Watching(NamedTuple):
    """A job that is watched."""

    book: Book
    status: Status
    history: History

    def looker(self, *, show_brokers: bool = False) -> Looker:
        """Return a `Looker`; with ``show_brokers`` its answers may name the brokers."""
        return Looker(self.book, self.status, self.history.ask, show_brokers=show_brokers)


@contextmanager
def watching(settings: Settings, history_s: float, *, logs: bool = True) -> Iterator[Watching]:
    """Read a job's topics for the length of a ``with`` block, in threads.

    Parameters
    ----------
    settings
        Of the job.
    history_s
        How far back it begins, in seconds.
    logs
        Whether to log errors too, unless they are shown elsewhere.
    """
    book, status = Book(measures_of(settings), _alarms(settings)), Status()
    follower = Follower(settings, book, status, history_s, logs=logs)
    history = History(settings, book, status, follower.parts, history_s, logs=logs)
    runs: list[Callable[[], None]] = [
        follower.run,
        InputEnds(settings, status, logs=logs).run,
        history.run,
    ]
    if settings.metrics is not None:
        runs.append(FlowMetrics(settings.metrics.bind, status).run)
    threads = [threading.Thread(target=run, daemon=True) for run in runs]
    for thread in threads:
        thread.start()
    try:
        yield Watching(book, status, history)
    finally:
        status.stopping.set()
        until = time.monotonic() + _JOIN_S
        for thread in threads:
            thread.join(max(until - time.monotonic(), 0))


def serve(
    settings: Settings,
    config: Path,
    tell: Callable[[str], None],
    *,
    bind: Bind,
    hosts: tuple[str, ...] = (),
    token: str | None = None,
    history_s: float = 3600.0,
) -> int:
    """Serve a job's page until interrupted, and return the exit code.

    Parameters
    ----------
    settings, config
        Of the job, and the file that they are from.
    tell
        Takes the line with the page's address.
    bind
        Host and port; port 0 for any that is free.
    hosts
        Further names by which the page may be called.
    token
        What a browser must know.
    history_s
        How far back it begins, in seconds.

    Raises
    ------
    ConfigError
        If the extra is not installed, the address cannot be had, or it can be reached from other
        machines and there is no token.
    """
    missing = [n for n in ("starlette", "uvicorn") if importlib.util.find_spec(n) is None]
    if missing:
        raise ConfigError(
            f"ewma watch needs {' and '.join(missing)}: install with pip install 'ewma-ops[watch]'"
        )
    import uvicorn

    from ewma_ops.watch.guard import Guard, refuse_open
    from ewma_ops.watch.pages import Pages

    refuse_open(bind, token)
    with _bound(bind) as listening, watching(settings, history_s) as watched:
        pages = Pages(
            about(settings, config, history_s),
            watched.looker,
            lambda: watched.book.version,
            lambda: server.should_exit,
        )
        guard = pages.guard = Guard(pages.app, bind, hosts, token)
        server = uvicorn.Server(
            uvicorn.Config(
                guard,
                log_level=logging.WARNING,
                access_log=False,
                lifespan="off",
                loop="asyncio",
                http="h11",
                ws="none",
                server_header=False,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )
        at = listening.getsockname()[1]
        tell(f"http://{bind._replace(port=at)}/" + ("" if token is None else "#token=<the token>"))
        server.run(sockets=[listening])
    return 0


@contextmanager
def _bound(bind: Bind) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    with socket.socket(family) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((bind.host, bind.port))
            listening.listen()  # who calls before there is a server waits for it
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {bind}: {error.strerror}; give another address with "
                "--bind HOST:PORT"
            ) from None
        yield listening


_BOUNDS = ("z", "lower", "upper")


def measures_of(settings: Settings) -> list[Measure]:
    """Return the measures in an event of a job."""
    scores = settings.event_statistics[len(settings.smoothing_set.names) :]
    rules = () if settings.alarms is None else settings.alarms.rules.rules
    # The bounds of a spread rule are about a standard deviation, not about readings.
    other = {f"{n}_{part}" for n, r in rules if r.kind == "spread" for part in _BOUNDS}
    return measures(settings.smoothing_set, scores, [one for one in scores if one not in other])


def _alarms(settings: Settings) -> Alarms | None:
    if settings.alarms is None:
        return None
    rules = settings.alarms.rules.rules
    designed = {n: r.run_length() for n, r in rules if isinstance(r, ChartRule) and r.designed}
    return Alarms(1000.0 * settings.input.tick.per_ms, designed)


def about(settings: Settings, config: Path, history_s: float) -> dict[str, Any]:
    """Return the constant part of a job's page, without connection options."""
    of = settings.smoothing_set
    return {
        "config": config.name,
        "input": settings.input.source,
        "output": settings.output.topic,
        "letters": settings.dead_letters.topic,
        "alarms": None if settings.alarms is None else settings.alarms.topic,
        "delivery": settings.output.delivery,
        "history": history_s,
        "measures": [
            {
                "name": one.name,
                "average": one.average_name,
                "band": one.band,
                "settles": one.settled is not None,
                "z": one.z is not None or (one.std is not None and one.average is not None),
                "outlook": None if one.outlook is None else one.outlook.about(),
            }
            for one in measures_of(settings)
        ],
        "statistics": list(of.names),
    }
