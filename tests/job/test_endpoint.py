"""Metrics are served to this machine only, and nothing is left in the working directory."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import urllib.request
from http.client import HTTPException
from pathlib import Path

from tests.helpers.jobs import EWMA, ROOT, Job, assert_told, ewma, wait_until


def listening_everywhere(port: int) -> bool:
    """Tell whether something listens on a port of all interfaces, by Linux's table."""
    tables = [Path("/proc/net/tcp").read_text(), Path("/proc/net/tcp6").read_text()]
    return any(f" {zeros}:{port:04X} " in t for t in tables for zeros in ("0" * 8, "0" * 32))


def served(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return b"ewma_ops_" in answer.read()
    except (OSError, HTTPException):  # it is just starting
        return False


def two_free_ports() -> int:
    """Return the first of two ports in a row, below those that clients are given at random."""
    while True:
        first = random.randrange(20_000, 30_000)
        try:
            for port in (first, first + 1):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return first


def test_metrics_are_on_loopback_only(embedded: str, tmp_path: Path) -> None:
    job = Job(embedded, tmp_path)
    job.configure(input={"stop": "never"})
    first = two_free_ports()
    variables = {"BYTEWAX_DATAFLOW_API_ENABLED": "1", "BYTEWAX_DATAFLOW_API_PORT": str(first)}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    here = tmp_path / "working directory"
    here.mkdir()
    command = [*EWMA, "run", str(job.path), "--workers=2"]
    with subprocess.Popen(command, env=environment, cwd=here, stderr=subprocess.DEVNULL) as run:
        try:
            wait_until(lambda: served(first) and served(first + 1), limit_s=60)
            assert not listening_everywhere(first)
            assert not listening_everywhere(first + 1)
        finally:
            run.send_signal(signal.SIGTERM)
        assert run.wait(30) == 0
    assert list(here.iterdir()) == []


def test_a_port_that_is_taken_is_told(embedded: str, tmp_path: Path) -> None:
    job = Job(embedded, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        variables = {
            "BYTEWAX_DATAFLOW_API_ENABLED": "1",
            "BYTEWAX_DATAFLOW_API_PORT": str(taken.getsockname()[1]),
        }
        done = ewma("run", str(job.path), limit_s=60, **variables)
    assert_told(done, 2, "metrics cannot be served on 127.0.0.1", "Address already in use")
    variables["BYTEWAX_DATAFLOW_API_PORT"] = "http"
    assert_told(
        ewma("run", str(job.path), limit_s=60, **variables), 2, "set it to a port from 1 to 65535"
    )
