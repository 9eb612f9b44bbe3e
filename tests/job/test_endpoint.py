"""One endpoint for all workers: metrics that Prometheus takes, health, and what is not served."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.jobs import EWMA, ROOT, Job, Reading, assert_told, ewma, made_up, wait_until
from tests.helpers.patience import slowness
from tests.helpers.servers import PROMTOOL, required

SAMPLE = re.compile(r"(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def parsed(text: str) -> dict[tuple[str, str], float]:
    """Return the value of each sample by name and labels."""
    found = map(SAMPLE.fullmatch, filter(lambda line: line[:1] != "#", text.splitlines()))
    return {(m["name"], m["labels"] or ""): float(m["value"]) for m in found if m is not None}


def listening_everywhere(port: int) -> bool:
    """Return whether something listens on a port of all interfaces, by Linux's table."""
    tables = [Path("/proc/net/tcp").read_text(), Path("/proc/net/tcp6").read_text()]
    return any(f" {zeros}:{port:04X} " in t for t in tables for zeros in ("0" * 8, "0" * 32))


@contextmanager
def serving(job: Job, here: Path, workers: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a job with metrics on a free port; yields it and the address."""
    variables = {"PYTHONPATH": str(ROOT), "BYTEWAX_DATAFLOW_API_ENABLED": "1"}
    command = [*EWMA, "run", str(job.path), f"--workers={workers}"]
    log = here.with_name("log")
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            command, env={**os.environ, **variables}, cwd=here, stderr=stderr, text=True
        ) as run,
    ):
        try:
            wait_until(lambda: "metrics at" in log.read_text())
            text = log.read_text()
            assert "BYTEWAX_DATAFLOW_API_ENABLED is left out of account" in text
            found = re.search(r"metrics at (http://\S+)/metrics", text)
            assert found is not None
            yield run, found[1]
        finally:
            run.send_signal(signal.SIGTERM)
            assert run.wait(60) == 0


def workers_of(launcher: int) -> list[int]:
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return [pid for pid in map(int, children) if command_line(pid).startswith(b"ewma worker-")]


def is_forked(pid: int) -> bool:
    """Return whether a process runs the program that its parent ran, by Linux' flag of it."""
    flags = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[6])
    return bool(flags & 0x40)  # PF_FORKNOEXEC


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_all_workers_are_on_one_endpoint(embedded: str, tmp_path: Path) -> None:
    job = Job(embedded, tmp_path)
    job.configure(input={"stop": "never"}, metrics={"bind": "127.0.0.1:0"})
    here = tmp_path / "working directory"
    here.mkdir()
    with serving(job, here, workers=2) as (run, address):
        assert get(f"{address}/healthz") == (200, '{"alive": true}\n')
        status, body = get(f"{address}/readyz")
        assert status == 200 or json.loads(body)["why"]
        n = 3_000
        job.send([Reading(r.series_id, int(time.time() * 1000), r.value) for r in made_up(n, 30)])
        job.send([])
        wait_until(lambda: get(f"{address}/readyz")[0] == 200)
        assert json.loads(get(f"{address}/readyz")[1]) == {"ready": True, "why": []}

        def whole() -> bool:
            found = parsed(get(f"{address}/metrics")[1])
            lag = total(found, "ewma_ops_consumer_lag")  # which is looked at once a second
            return total(found, "ewma_ops_latency_seconds_count") == n and lag == 0

        wait_until(whole)
        port = int(address.rpartition(":")[2])
        assert not listening_everywhere(port)
        text = get(f"{address}/metrics")[1]
        found = parsed(text)
        for name in ("readings_total", "events_total", "event_lag_seconds_count"):
            assert total(found, f"ewma_ops_{name}") == n, name
        assert total(found, "ewma_ops_series") == 30
        assert {w for w in (0, 1) if found["ewma_ops_worker_up", f'worker="{w}"'] == 1} == {0, 1}
        assert not [key for key in found if "sensor-" in key[1]], "a series id is a label"
        check_by_promtool(text)
        check_time(address)
        check_without_a_worker(run, address)
        assert get(f"{address}/dataflow")[0] == 404
    assert list(here.iterdir()) == []


def total(found: dict[tuple[str, str], float], name: str) -> float:
    return sum(value for (one, _), value in found.items() if one == name)


def check_by_promtool(text: str) -> None:
    tool = required(PROMTOOL)
    done = subprocess.run(
        [tool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if line.startswith("ewma_ops_")]
    assert not complaints, complaints
    assert "error while linting" not in done.stderr, done.stderr


def check_time(address: str) -> None:
    """Two workers answer in time; four are no slower, as they answer side by side."""
    times = []
    for _ in range(20):
        began = time.monotonic()
        get(f"{address}/metrics")
        times.append(time.monotonic() - began)
    assert min(times) < 0.05 * slowness(), times


def check_without_a_worker(run: subprocess.Popen[str], address: str) -> None:
    """See that a worker that hangs is left out, and one that is killed replaced and counted."""
    first, second = sorted(workers_of(run.pid))
    assert is_forked(first)
    assert is_forked(second)
    os.kill(second, signal.SIGSTOP)
    try:
        text = get(f"{address}/metrics")[1]
        found = parsed(text)
        up = [found["ewma_ops_worker_up", f'worker="{w}"'] for w in (0, 1)]
        assert sorted(up) == [0, 1]
        check_by_promtool(text)
        assert total(found, "ewma_ops_unanswered_scrapes_total") > 0
        assert total(found, "ewma_ops_readings_total") > 0 or up[0] == 0
        assert get(f"{address}/readyz")[0] == 503
    finally:
        os.kill(second, signal.SIGCONT)
    os.kill(second, signal.SIGKILL)
    check_by_promtool(get(f"{address}/metrics")[1])

    def replaced() -> bool:
        status, text = get(f"{address}/metrics")
        assert status == 200
        found = parsed(text)
        restarts = found.get(("ewma_ops_restarts_total", 'reason="failed"'), 0)
        return restarts >= 1 and total(found, "ewma_ops_worker_up") == 2

    wait_until(replaced)
    again = workers_of(run.pid)
    assert len(again) == 2
    assert not any(map(is_forked, again)), "the launcher has threads by now"


def test_an_address_that_is_taken_is_told(embedded: str, tmp_path: Path) -> None:
    job = Job(embedded, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        job.configure(metrics={"bind": bind})
        done = ewma("run", str(job.path), limit_s=60)
    assert_told(
        done, 2, f"metrics.bind = '{bind}'", "Address already in use", "a port that is free"
    )


@pytest.mark.parametrize("bind", ["9464", "127.0.0.1:http", "127.0.0.1:65536", "[::zz]:1", ":9464"])
def test_an_address_that_is_none_is_told(tmp_path: Path, bind: str) -> None:
    job = Job("127.0.0.1:1", tmp_path, ())
    job.configure(metrics={"bind": bind})
    assert_told(ewma("check", "--offline", str(job.path)), 2, "metrics.bind", "127.0.0.1:9464")
