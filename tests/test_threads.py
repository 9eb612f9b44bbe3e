from __future__ import annotations

import ctypes
import subprocess
import sys
import threading

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, cluster_main

from ewma_ops.threads import COARSE_S, FINE_S, pin_thread_state, set_timer_slack

_PR_GET_TIMERSLACK = 30


def _slack_s() -> float:
    return float(ctypes.CDLL(None).prctl(_PR_GET_TIMERSLACK)) / 1e9


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux knows timer slack")
def test_a_thread_has_its_own_and_hands_it_on() -> None:
    found: list[float] = []

    def started_by_a_dozing_thread() -> None:
        found.append(_slack_s())
        set_timer_slack(FINE_S)
        found.append(_slack_s())

    def dozing() -> None:
        set_timer_slack(COARSE_S)
        child = threading.Thread(target=started_by_a_dozing_thread)
        child.start()
        child.join()
        found.append(_slack_s())

    ours = _slack_s()
    thread = threading.Thread(target=dozing)
    thread.start()
    thread.join()
    assert found == [COARSE_S, FINE_S, COARSE_S]
    assert _slack_s() == ours


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux knows timer slack")
def test_the_main_thread_dozes_later_and_what_it_starts_until_then_does_not() -> None:
    script = """
import threading, time
from ewma_ops.threads import COARSE_S, widen_timer_slack_later
from tests.test_threads import _slack_s
found = []
widen_timer_slack_later(0.5)
thread = threading.Thread(target=lambda: [time.sleep(1), found.append(_slack_s())])
thread.start()
until = time.monotonic() + 60
while _slack_s() != COARSE_S and time.monotonic() < until:
    time.sleep(0.01)
thread.join()
print(_slack_s(), *found)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    coarse, started_before = map(float, done.stdout.split())
    assert coarse == COARSE_S
    assert started_before < COARSE_S


@pytest.mark.parametrize("stays", [False, True])
def test_a_thread_of_the_engine_stays_known_if_it_asks_to(*, stays: bool) -> None:
    """When the first of these fails, Bytewax keeps its threads known by itself."""
    local, calls = threading.local(), 20
    news: list[bool] = []

    def note(item: int) -> int:
        news.append(not hasattr(local, "seen"))
        local.seen = True
        if stays:
            pin_thread_state()
        return item

    flow = Dataflow("flow")
    op.output(
        "out",
        op.map("note", op.input("in", flow, TestingSource(list(range(calls)))), note),
        TestingSink([]),
    )
    cluster_main(flow, [], 0)
    assert len(news) == calls
    assert sum(news) == (1 if stays else calls)
