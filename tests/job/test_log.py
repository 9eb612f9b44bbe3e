"""Every line of the log has a time, a level and a speaker; no text can break or forge one."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

from ewma_ops.job.log import LogFormat, configured, framed, print_line, wrapper
from ewma_ops.job.relay import Relay
from tests.helpers.brokers import Record, produce
from tests.helpers.jobs import ROOT, Job, Reading, made_up, started

HEAD = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) +(launcher|worker-\d+): \S"
)
HOSTILE = "a\x1b[2J\r\x00b\u202ec\u200fd\u2028e\x85f\udc80"
_log = logging.getLogger("ewma_ops.tests")


def assert_lines(text: str) -> list[str]:
    lines = text.split("\n")
    assert lines.pop() == ""
    assert not [line for line in lines if not HEAD.match(line)]
    assert all(map(str.isprintable, lines))
    return lines


@pytest.mark.parametrize("form", ["text", "json"])
def test_hostile_text_stays_on_its_line(
    form: LogFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    forged = "2026-01-01T00:00:00.000Z INFO    launcher: all is well"
    with configured("worker-3", form):
        print_line(HOSTILE)
        _log.warning("a letter: %s", f"x\n{forged}")
    text = capsys.readouterr().err
    if form == "json":
        first, second = map(json.loads, text.splitlines())
        assert (first["message"], first["level"], first["worker"]) == (HOSTILE, "info", "worker-3")
        assert second["message"] == f"a letter: x\n{forged}"
        return
    first, second, third = assert_lines(text)
    assert r"worker-3: a\x1b[2J\r\x00b\u202ec\u200fd\u2028e\x85f\udc80" in first
    assert second.endswith("worker-3: a letter: x")
    assert third.endswith(f"worker-3: | {forged}")
    assert not third.startswith(forged)


def test_levels(capsys: pytest.CaptureFixture[str]) -> None:
    others = [logging.getLogger("kafka.tests"), logging.getLogger("others")]
    told = {}
    for verbosity in ("quiet", "normal", "verbose"):
        with configured("launcher", verbosity=verbosity):
            for log in (_log, *others):
                log.debug("debug")
                log.info("info")
                log.warning("warning")
        told[verbosity] = [line.split(": ")[1] for line in assert_lines(capsys.readouterr().err)]
    assert told["quiet"] == ["warning", "warning"]  # kafka-python says nothing
    assert told["normal"] == ["info", "warning", "warning"]
    assert told["verbose"] == ["debug", *(["info", "warning"] * 3)]


def test_faults_and_warnings_are_lines_too(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ValueError("so\x07it is")

    with configured("launcher"):
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old", DeprecationWarning, stacklevel=1)
        try:
            fail()
        except ValueError:
            _log.exception("failed")
    text = capsys.readouterr().err
    assert_lines(text)
    assert text.count(r"ValueError: so\x07it is") == 2
    assert "DeprecationWarning: old" in text


def test_dropped_lines_are_told_in_a_line() -> None:
    reader, writer = os.pipe()
    with configured("launcher"):
        relay = Relay(writer, 1_000, framed)
        relay.write("x" * 2_000 + "\n")  # too long for the buffer
        relay.write(f"{framed('short')}\n")
        relay.finish()
    os.close(writer)
    with open(reader, encoding="utf-8") as file:
        short, dropped = assert_lines(file.read())
    assert short.endswith(" launcher: short")
    assert dropped.endswith("ewma: 1 lines of the log were dropped: its reader was too slow")


def test_what_a_worker_writes_past_its_log_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    ours, theirs = os.pipe()
    with configured("launcher"):
        relay = Relay(writer)
        thread = relay.forward(ours, wrapper("worker-1"))
    program = (
        "import os; from ewma_ops.job.log import configured, print_line\n"
        "with configured('worker-1'): print_line('by the log')\n"
        "os.write(2, b'thread panicked\\x1b[2J\\nnote: \\xff')"
    )
    monkeypatch.setenv("EWMA_LOG_MARKED", "1")
    with open(theirs, "wb") as stderr:
        subprocess.run([sys.executable, "-c", program], stderr=stderr, check=True, cwd=ROOT)
    thread.join(10)
    relay.finish()
    os.close(writer)
    with open(reader, encoding="utf-8") as file:
        told, panic, note = assert_lines(file.read())
    assert "INFO    worker-1: by the log" in told
    assert panic.endswith(r"WARNING worker-1: thread panicked\x1b[2J")
    assert note.endswith("worker-1: note: \N{REPLACEMENT CHARACTER}")


def test_every_line_of_a_job(embedded: str, tmp_path: Path) -> None:
    """Also those that say how it goes on, and on messages that would break a terminal."""
    job = Job(embedded, tmp_path)
    job.configure(input={"stop": "never"})
    job.send([Reading(r.series_id, r.time_ms, r.value) for r in made_up(500, 5)])
    produce(embedded, job.input, [Record(HOSTILE.encode(errors="replace"), b"\x1b]0;x\n")])
    lines: list[dict[str, str]] = []
    stopped = False
    with started([sys.executable, "-c", _QUICKLY, str(job.path)]) as run:
        assert run.stderr is not None
        for text in run.stderr:
            assert text.isascii()
            lines.append(json.loads(text))
            if _PROGRESS.search(lines[-1]["message"]) and not stopped:
                stopped = True  # a second signal would kill the workers
                run.send_signal(signal.SIGTERM)
        assert run.wait(60) == 0
    assert {tuple(line) for line in lines} == {("time", "level", "worker", "message", "logger")}
    assert {line["level"] for line in lines} == {"info", "warning"}
    told = {line["worker"]: line["message"] for line in lines if "dead letter" in line["message"]}
    assert "1 dead letter (not-json 1), such as offset" in told["worker-0"]
    assert told["launcher"] == "read 501: 500 events, 1 dead letter (not-json 1)"


_PROGRESS = re.compile(r"in \d+ s: .*, 5 series, last snapshot \d s ago$")
_QUICKLY = """
import sys
from functools import partial
from ewma_ops.commands.cli import main
from ewma_ops.job import launcher
launcher.launch = partial(launcher.launch, report_every_s=0.2)
sys.exit(main(["run", sys.argv[1], "--log-format=json"]))
"""
