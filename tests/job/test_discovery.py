"""A run that is overtaken by new topics or partitions is stopped gracefully, and followed."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from ewma_ops.errors import BrokerError
from ewma_ops.job.discovery import Discovery
from ewma_ops.job.recovery.manifest import Beginning
from ewma_ops.job.recovery.store import RecoveryStore
from ewma_ops.job.runs import Runs
from tests.helpers.jobs import wait_until
from tests.helpers.lookups import Fixed

SOON = timedelta(milliseconds=20)


def test_it_asks_until_there_is_an_answer_and_then_no_more() -> None:
    answers = iter(["", "", "topic 'b' is new"])
    asked = threading.Semaphore(0)

    def ask() -> str:
        asked.release()
        return next(answers)

    with Discovery(ask, SOON) as discovery:
        wait_until(lambda: bool(discovery.reason()))
    assert discovery.reason() == "topic 'b' is new"
    assert [asked.acquire(blocking=False) for _ in range(4)] == [True, True, True, False]


def test_brokers_that_are_away_are_told_once_and_asked_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failures = iter([BrokerError("no broker"), BrokerError("no broker"), None])

    def ask() -> str:
        if (failure := next(failures)) is not None:
            raise failure
        return "found"

    with Discovery(ask, SOON) as discovery:
        wait_until(lambda: bool(discovery.reason()))
    told = "looking for new topics and partitions failed: no broker\n"
    assert capsys.readouterr().err == told


def test_a_broker_that_does_not_answer_delays_nobody() -> None:
    never = threading.Event()
    with Discovery(lambda: str(never.wait()), SOON):
        pass
    never.set()


def test_workers_are_stopped_gracefully_and_started_again_without_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    program = (
        "import pathlib, signal, sys; path = pathlib.Path(sys.argv[1]); n = len(list(path.parent"
        ".glob('runs*'))); path.with_name(f'runs{n}').touch();\n"
        "if n: sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])\n"
        "path.with_name('ready').touch(); signal.pause()"
    )

    def command(place: int, addresses: Sequence[str]) -> list[str]:
        return [sys.executable, "-c", program, str(runs)]

    asked: list[Beginning] = []
    reasons = iter(["topic 'b' is new"])

    def extend(noted: Beginning) -> Beginning:
        asked.append(noted)
        return Beginning({**noted.offsets, 9: 0}, noted.routed, noted.inputs)

    def ask() -> str:
        return next(reasons, "") if (tmp_path / "ready").exists() else ""

    with RecoveryStore(tmp_path / "state") as store:
        begin = partial(Beginning, {0: 5})
        lookups = Fixed(find_beginning=begin, extend_beginning=extend)
        discovery = partial(Discovery, ask, SOON)
        code = Runs(command, 1, lookups, [], store, discovery=discovery).keep_running({})
        assert store.noted is not None
        assert store.noted.beginning.offsets == {0: 5, 9: 0}
    told = capsys.readouterr().err
    assert code == 0
    assert "topic 'b' is new: starting the workers again\n" in told
    assert told.count("started 1 worker") == 2
    assert "starting again in" not in told, "that is of failures"
    assert [noted.offsets for noted in asked] == [{0: 5}]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
