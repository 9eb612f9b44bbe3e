"""Debian's Alertmanager, started for the tests, and what it says of its alerts."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ewma_ops.demo.broker import free_port, start_tied
from tests.helpers.patience import PATIENCE_S
from tests.helpers.servers import ALERTMANAGER, required

__all__ = ["alertmanager", "alerts"]

_CONFIG = """
route:
  receiver: hook
  group_by: [alertname, series]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 1h
receivers:
  - name: hook
    webhook_configs:
      - url: "{url}"
        send_resolved: true
"""


@contextlib.contextmanager
def alertmanager(directory: Path, pages: str, port: int | None = None) -> Iterator[str]:
    """Run an Alertmanager during the block, which pages a webhook; yields its address.

    Its template of Debian's package is read from an absolute path, so it needs the whole package.
    """
    program, port = required(ALERTMANAGER), free_port() if port is None else port
    directory.mkdir(exist_ok=True)
    config = directory / "alertmanager.yml"
    config.write_text(_CONFIG.format(url=pages))
    command = [program, f"--config.file={config}", f"--storage.path={directory / 'data'}",
               f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]  # fmt: skip
    log = directory / "log"
    with log.open("wb") as output:
        child = start_tied(command, stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + PATIENCE_S
        while not _is_ready(url):
            assert child.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < until, log.read_text()[-2000:]
            time.sleep(0.05)
        yield url
    finally:
        child.kill()
        child.wait()


def alerts(url: str, job: str) -> dict[str, dict[str, Any]]:
    """Return the alerts of a job that are on, by the label ``series``."""
    query = urllib.parse.urlencode({"active": "true", "filter": f'job="{job}"'})
    with urllib.request.urlopen(f"{url}/api/v2/alerts?{query}", timeout=5) as answer:
        found = json.load(answer)
    by_series = {one["labels"]["series"]: one for one in found}
    assert len(by_series) == len(found), found
    return by_series


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
