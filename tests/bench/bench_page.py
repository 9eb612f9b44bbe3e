"""The live page in a real browser while events come: how late, how smooth, and at what cost.

python -m tests.bench.bench_page [--series N] [--rate N] [--seconds S] [--forecasts] [--json]

A process of its own feeds the output topic (`events_feeder`), `ewma watch` serves the page, and
Chromium shows a row and the chart of one series among the others. From when a reading is sent to
when its number, or a newer one, stands in the row: both clocks are those of this machine. Then
browsers that read nothing are added.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ewma_ops.demo.broker import EmbeddedBroker
from ewma_ops.watch.pages import STATIC
from tests.bench.contest import make_topic
from tests.bench.events_feeder import FORECASTS, HORIZON, PROBE, STATISTICS, TICK_S
from tests.bench.live import tree_cpu_s
from tests.bench.running import ROOT, memory_mb
from tests.helpers.brokers import ApacheKafka
from tests.helpers.kafka_jars import KafkaUnavailableError
from tests.helpers.servers import BROWSER, installed

_CONFIG = """
kafka.bootstrap_servers = "{bootstrap}"
input = {{ topic = "readings", series_id = "series_id", time = "ts", value = "value" }}
smooth = {{ beta = 0.9, statistics = {statistics}{horizon} }}
output.topic = "{topic}"
"""
_WIDTH = 2000
"""Half of it is the chart: with about 900 pixels it has up to 1,800 points."""
_SETTLE_S = 5.0
_STALLED, _STALLED_S = 4, 15.0
_HOOK = """
window.bench = { frames: [], tasks: [], shown: [] };
const own = Object.getOwnPropertyDescriptor(EventSource.prototype, "onmessage");
Object.defineProperty(EventSource.prototype, "onmessage", {
  ...own,
  set(handler) {
    own.set.call(this, (event) => {
      const began = performance.now();
      handler(event);
      queueMicrotask(() => bench.frames.push(performance.now() - began));  // the chart draws in one
    });
  },
});
new PerformanceObserver((seen) => bench.tasks.push(...seen.getEntries().map((one) => one.duration)))
  .observe({ type: "longtask" });
"""
_OBSERVE = """() => {
  const note = () => {
    const text = document.querySelector("#rows td.value")?.textContent ?? "";
    const number = Number(text.replaceAll(",", ""));
    if (number > 0 && bench.shown.at(-1)?.[1] !== number) bench.shown.push([Date.now(), number]);
  };
  const options = { subtree: true, childList: true, characterData: true };
  new MutationObserver(note).observe(document.querySelector("#rows"), options);
}"""


@contextlib.contextmanager
def a_broker() -> Iterator[tuple[str, str]]:
    """Run Apache Kafka where it can run, else the embedded broker; yields its name and address."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        try:
            kafka = stack.enter_context(ApacheKafka(Path(directory)))
            yield "Apache Kafka", kafka.bootstrap_servers
        except KafkaUnavailableError:
            yield "the embedded broker", stack.enter_context(EmbeddedBroker()).bootstrap_servers


class Run:
    """A feeder and a page, for the length of a ``with`` block."""

    def __init__(
        self, bootstrap: str, directory: Path, series: int, rate: int, *, forecasts: bool
    ) -> None:
        topic = f"page-{os.getpid()}"
        make_topic(bootstrap, topic)
        config = directory / "job.toml"
        text = _CONFIG.format(
            bootstrap=bootstrap,
            topic=topic,
            statistics=json.dumps([*STATISTICS, *(FORECASTS if forecasts else ())]),
            horizon=f", horizon = {HORIZON}" if forecasts else "",
        )
        config.write_text(text)
        feeds = [sys.executable, "-m", "tests.bench.events_feeder", bootstrap, topic]
        self._feeds = [*feeds, f"--series={series}", f"--rate={rate}"]
        self._feeds += ["--forecasts"] * forecasts
        self._serves = [sys.executable, "-m", "ewma_ops.commands.cli", "watch", str(config)]

    def __enter__(self) -> Run:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        piped: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True, "env": environment}
        self._feeder = subprocess.Popen(self._feeds, stdin=subprocess.PIPE, **piped)
        self.began_s = float(self._said(self._feeder))
        assert self._said(self._feeder) == "filled"
        self._page = subprocess.Popen([*self._serves, "--bind=127.0.0.1:0"], **piped)
        self.address = "http://" + self._said(self._page).split("http://")[1].split("/")[0]
        return self

    def _said(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    def cpu_s(self) -> float:
        """Return the CPU seconds that `ewma watch` has used."""
        return tree_cpu_s(self._page.pid)

    def memory_mb(self) -> float:
        """Return its resident megabytes."""
        return memory_mb(self._page.pid)[0]

    def fed(self) -> tuple[float, float]:
        """End the feeder; return events a second, and its share of a core."""
        assert self._feeder.stdin is not None
        self._feeder.stdin.close()
        sent, seconds, used = map(float, self._said(self._feeder).split())
        return sent / seconds, used / seconds

    def __exit__(self, *_: object) -> None:
        for process in (self._feeder, self._page):
            process.kill()
            process.wait()


def delays_ms(shown: list[list[float]], began_s: float) -> list[float]:
    """Return how long after it was sent each reading of the probe, or a newer one, was shown.

    ``shown`` are times in milliseconds since the epoch, and numbers that are since ``began_s``.
    """
    found: list[float] = []
    for (_, before), (at, number) in itertools.pairwise(shown):
        sent = np.arange(number, before, -1000 * TICK_S)
        found += (at - 1000 * began_s - sent).tolist()
    return found


@contextlib.contextmanager
def stalled_browsers(address: str) -> Iterator[None]:
    """Keep some browsers that look at much and read nothing."""
    host, port = address.removeprefix("http://").split(":")
    view = json.dumps({"rows": 60, "open": [PROBE], "width": 2000}).encode()
    with contextlib.ExitStack() as stack:
        for i in range(_STALLED):
            one = stack.enter_context(socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect((host, int(port)))
            one.sendall(f"GET /stream?tab=stalled{i} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            time.sleep(0.2)
            with socket.create_connection((host, int(port))) as asking:
                head = f"POST /view?tab=stalled{i} HTTP/1.1\r\nHost: {host}\r\n"
                asking.sendall(f"{head}Content-Length: {len(view)}\r\n\r\n".encode() + view)
                assert b" 200 " in asking.recv(1000)
        yield


def watched(run: Run, page: Any, seconds: float) -> dict[str, float]:
    """Return what one page, and the process that serves it, did within some seconds."""
    page.evaluate("bench.frames.length = bench.tasks.length = bench.shown.length = 0")
    used, began = run.cpu_s(), time.monotonic()
    page.wait_for_timeout(1000 * seconds)
    took, used = time.monotonic() - began, run.cpu_s() - used
    seen = page.evaluate("bench")
    delays = delays_ms(seen["shown"], run.began_s)
    return {
        "share of a core": used / took,
        "reading to page, p50 ms": float(np.percentile(delays, 50)),
        "reading to page, p99 ms": float(np.percentile(delays, 99)),
        "updates a second": len(seen["frames"]) / took,
        "update, p50 ms": float(np.percentile(seen["frames"], 50)),
        "update, p95 ms": float(np.percentile(seen["frames"], 95)),
        "longest task, ms": max(seen["tasks"], default=0.0),
    }


def heap_mb(page: Any) -> float:
    """Return the megabytes that the page's scripts hold, after a collection."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used: float = session.send("Runtime.getHeapUsage")["usedSize"] / 2**20
    session.detach()
    return used


def measure(series: int, rate: int, seconds: float, *, forecasts: bool) -> dict[str, Any]:
    """Return the figures, by their names."""
    from playwright.sync_api import sync_playwright

    files = [path for path in STATIC.rglob("*") if path.suffix in (".js", ".css")]
    size = sum(len(gzip.compress(path.read_bytes())) for path in files)
    with contextlib.ExitStack() as stack:
        name, bootstrap = stack.enter_context(a_broker())
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        run = stack.enter_context(
            Run(bootstrap, Path(directory), series, rate, forecasts=forecasts)
        )
        playwright = stack.enter_context(sync_playwright())
        options: dict[str, Any] = {"executable_path": installed(BROWSER), "args": ["--no-sandbox"]}
        browser = playwright.chromium.launch(**options)
        stack.callback(browser.close)
        page = browser.new_page(viewport={"width": _WIDTH, "height": 1000})
        page.add_init_script(_HOOK)
        page.goto(f"{run.address}/#q={PROBE}&open={PROBE}")
        page.locator("#chart canvas").wait_for(timeout=60_000)
        page.locator("#word", has_text="live").wait_for(timeout=60_000)
        page.evaluate(_OBSERVE)
        page.wait_for_timeout(1000 * _SETTLE_S)
        found: dict[str, Any] = {"broker": name, "JS and CSS, kB gzip": size / 1000}
        heap = heap_mb(page)
        found |= watched(run, page, seconds)
        found |= {"heap at first, MB": heap, "heap at last, MB": heap_mb(page)}
        found["MB"] = before = run.memory_mb()
        with stalled_browsers(run.address):
            beside = watched(run, page, _STALLED_S)
            found["MB of a stalled browser"] = (run.memory_mb() - before) / _STALLED
        found["reading to page beside stalled ones, p99 ms"] = beside["reading to page, p99 ms"]
        found["events a second"], found["share of a core, feeder"] = run.fed()
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--rate", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--forecasts", action="store_true", help="events that have forecasts")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if installed(BROWSER) is None:
        print("the page in a browser: left out, no chromium here", file=sys.stderr)
        return
    found = measure(options.series, options.rate, options.seconds, forecasts=options.forecasts)
    if options.json:
        print(json.dumps(found))
        return
    print(
        f"the live page at {options.rate:,}/s of {options.series:,} series, {found.pop('broker')}"
    )
    for name, number in found.items():
        print(f"  {name:<46}{number:>10,.2f}")


if __name__ == "__main__":
    main()
