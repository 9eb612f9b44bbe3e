"""One Apache Kafka for all processes of a test run, which ends with the last of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_SH, flock
from pathlib import Path
from typing import NamedTuple

from ewma_ops.demo.broker import speaks_kafka
from tests.helpers.brokers import ApacheKafka

__all__ = ["Listeners", "shared_kafka"]


_AUTHENTICATES_AGAIN = {"listener.name.sasl.plain.connections.max.reauth.ms": "3600000"}
"""So that clients may authenticate again; without a limit of time a broker refuses that."""


class Listeners(NamedTuple):
    """Where clients connect to it, and with what; nobody who shares it may stop it."""

    bootstrap_servers: str
    sasl_bootstrap_servers: str
    tls_bootstrap_servers: str
    certificate: str
    user: str
    password: str


@contextmanager
def shared_kafka(directory: Path) -> Iterator[Listeners]:
    """Yield the Apache Kafka of all who name this directory; the first of them starts it.

    Who started it waits at the end of the block until the others have left theirs. Who comes
    after that, or after a death of the first, starts another.
    """
    own: ApacheKafka | None = None
    with (directory / "kafka.users").open("w") as users:
        try:
            with (directory / "kafka.start").open("w") as start:
                flock(start, LOCK_EX)
                flock(users, LOCK_SH)
                listeners = _running(directory)
                if listeners is None:
                    own = ApacheKafka(
                        directory / f"kafka-{os.getpid()}", _AUTHENTICATES_AGAIN, tls=True
                    )
                    own.start()
                    listeners = Listeners(*(str(getattr(own, at)) for at in Listeners._fields))
                    _note(directory).write_text(json.dumps(listeners))
            yield listeners
        finally:
            if own is not None:
                flock(users, LOCK_EX)
                own.kill()


def _note(directory: Path) -> Path:
    return directory / "kafka.json"


def _running(directory: Path) -> Listeners | None:
    if not _note(directory).exists():
        return None
    noted = Listeners(*json.loads(_note(directory).read_text()))
    return noted if speaks_kafka(noted.bootstrap_servers) else None
