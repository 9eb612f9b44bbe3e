from __future__ import annotations

import threading
from pathlib import Path

from ewma_ops.demo.broker import speaks_kafka
from tests.helpers.shared_kafka import Listeners, shared_kafka


def test_the_last_of_those_who_share_it_ends_it(own_kafka: Listeners, tmp_path: Path) -> None:
    """``own_kafka`` only says that Apache Kafka can run here: this one is another."""
    found: list[Listeners] = []
    leave = threading.Event()

    def share() -> None:
        with shared_kafka(tmp_path) as listeners:
            found.append(listeners)
            leave.wait()
            assert speaks_kafka(listeners.bootstrap_servers)

    with shared_kafka(tmp_path) as first:
        other = threading.Thread(target=share)
        other.start()
        while not found:
            other.join(0.01)
        threading.Timer(0.5, leave.set).start()
    other.join()
    assert found == [first]
    assert first != own_kafka
    assert not speaks_kafka(first.bootstrap_servers)
