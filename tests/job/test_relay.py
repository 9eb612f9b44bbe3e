"""The log: written as it comes, and waited for by nobody."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from ewma_ops.job.relay import Relay, write_line
from tests.helpers.patience import PATIENCE_S, slowness
from tests.helpers.ticking import ENV


def all_of(fd: int) -> bytes:
    with open(fd, "rb") as file:
        return file.read()


def test_lines_arrive_in_order_and_whole() -> None:
    reader, writer = os.pipe()
    relay = Relay(writer)
    for text in ("one\ntw", "o\n", "\n", "grüße", ""):
        relay.write(text)
    relay.finish()
    os.close(writer)
    assert all_of(reader).decode() == "one\ntwo\n\ngrüße\n"


def test_what_nobody_reads_is_dropped_and_counted() -> None:
    reader, writer = os.pipe()
    relay = Relay(writer, buffer_bytes=10_000)
    line = "x" * 999 + "\n"
    began = time.monotonic()
    for _ in range(1000):
        relay.write(line)
    assert time.monotonic() - began < 5 * slowness()
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(all_of(reader)))
    thread.start()
    relay.finish(30)
    os.close(writer)
    thread.join()
    text = found[0].decode()
    whole = text.count(line)
    assert 10 <= whole < 1000
    lines = [one for one in text.splitlines() if not one.startswith("x")]
    dropped = [int(one.split()[1]) for one in lines]
    assert sum(dropped) == 1000 - whole
    assert all("lines of the log were dropped" in one for one in lines)


def test_a_reader_that_is_gone_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    relay = Relay(writer)
    for _ in range(100):
        relay.write("nobody\n")
    relay.finish(5)
    relay.write("still nobody\n")
    os.close(writer)


def test_the_lines_of_another_process_pass_through() -> None:
    reader, writer = os.pipe()
    relay = Relay(writer)
    ours, theirs = os.pipe()
    thread = relay.forward(ours)
    program = "import os; os.write(2, b'panicked\\nat the end')"
    subprocess.run([sys.executable, "-c", program], stderr=theirs, check=True, timeout=PATIENCE_S)
    os.close(theirs)
    thread.join(10)
    relay.finish()
    os.close(writer)
    assert all_of(reader) == b"panicked\nat the end\n"


@pytest.mark.parametrize("gone", [True, False])
def test_a_last_word_keeps_no_process_alive(gone: bool) -> None:
    reader, writer = os.pipe()
    if gone:
        os.close(reader)
    else:
        os.set_blocking(writer, False)
        while True:
            try:
                os.write(writer, bytes(512))
            except BlockingIOError:
                break
        os.set_blocking(writer, True)
    program = (
        "from ewma_ops.job.relay import write_line; write_line('the last'); raise SystemExit(3)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, stderr=writer, env=ENV, timeout=PATIENCE_S, check=False)
    assert done.returncode == 3
    os.close(writer)
    if not gone:
        os.close(reader)


def test_a_last_word_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    write_line("ewma: so it is")
    assert capfd.readouterr().err == "ewma: so it is\n"
