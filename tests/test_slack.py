from __future__ import annotations

import ctypes
import sys
import threading

import pytest

from ewma_ops.slack import COARSE_S, FINE_S, wake_within

_PR_GET_TIMERSLACK = 30


def _slack_s() -> float:
    return float(ctypes.CDLL(None).prctl(_PR_GET_TIMERSLACK)) / 1e9


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux knows timer slack")
def test_a_thread_has_its_own_and_hands_it_on() -> None:
    found: list[float] = []

    def started_by_a_dozing_thread() -> None:
        found.append(_slack_s())
        wake_within(FINE_S)
        found.append(_slack_s())

    def dozing() -> None:
        wake_within(COARSE_S)
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
