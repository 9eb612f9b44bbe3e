"""A program that is forked is as one that has an interpreter of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.helpers.forking import ROOT, Forked, can_fork, start
from tests.helpers.jobs import EWMA
from tests.helpers.patience import PATIENCE_S

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands children on")

PROBE = [sys.executable, "-m", "tests.helpers.probe"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
PIPES: dict[str, Any] = {
    "stdin": subprocess.PIPE,
    "stdout": subprocess.PIPE,
    "stderr": subprocess.PIPE,
}


@linux
@pytest.mark.parametrize("code", [0, 3])
def test_it_is_as_with_an_interpreter_of_its_own(code: int) -> None:
    found = []
    for kind in (subprocess.Popen, Forked):
        with kind(
            [*PROBE, str(code), "--option"],
            env={**ENVIRONMENT, "WORD": "ü"},
            cwd=ROOT,
            text=True,
            **PIPES,
        ) as child:
            out, err = child.communicate("some text", timeout=PATIENCE_S)
            found.append((json.loads(out), err, child.returncode))
    (by_itself, *_), (forked, *_) = found
    for name in by_itself:
        assert (name, forked[name]) == (name, by_itself[name])
    assert found[0] == found[1]
    assert found[1][1:] == ("to stderr\n", code)
    assert found[1][0]["parent"] == os.getpid()


@linux
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_it_ignores_what_its_parent_does(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with start([*PROBE, "0"], ENVIRONMENT, **PIPES) as child:
            out, _ = child.communicate("", timeout=PATIENCE_S)
    finally:
        signal.signal(number, before)
    assert json.loads(out)["signals"][str(int(number))] == str(signal.SIG_IGN)


_AS_IN_THE_BACKGROUND = """
import signal

stopping = [signal.SIGHUP, signal.SIGINT]
for number in stopping:
    signal.signal(number, signal.SIG_IGN)
import tests.conftest

print(*[signal.getsignal(number) == signal.SIG_IGN for number in stopping])
"""


@pytest.mark.slow
@linux
def test_tests_in_the_background_hand_no_ignored_signals_on() -> None:
    line = [sys.executable, "-c", _AS_IN_THE_BACKGROUND]
    assert subprocess.check_output(line, cwd=ROOT, text=True) == "False False\n"


@linux
def test_it_ends_by_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with start(PROBE, ENVIRONMENT, stdin=subprocess.PIPE) as child:
            assert child.poll() is None
            child.send_signal(number)
            assert child.wait(PATIENCE_S) == -number


@linux
def test_a_fault_is_shown_as_ever() -> None:
    with start([*PROBE, "no-number"], ENVIRONMENT, **PIPES) as child:
        _, err = child.communicate(timeout=PATIENCE_S)
        assert "Traceback" in err
        assert err.endswith("ValueError: invalid literal for int() with base 10: 'no-number'\n")
        assert child.returncode == 1


@linux
def test_what_is_read_before_the_first_line_takes_an_interpreter() -> None:
    assert can_fork(EWMA, ENVIRONMENT)
    assert can_fork(EWMA, {**ENVIRONMENT, "EWMA_CONFIG": "job.toml"})
    assert not can_fork(EWMA, {**ENVIRONMENT, "PYTHONPATH": "elsewhere"})
    assert not can_fork(EWMA, {**ENVIRONMENT, "EWMA_COMPILED": "never"})
    assert not can_fork(EWMA, {**ENVIRONMENT, "OPENBLAS_NUM_THREADS": "3"})
    assert not can_fork([sys.executable, "-c", "pass"], ENVIRONMENT)
    assert not can_fork(["setpriv", *EWMA], ENVIRONMENT)
