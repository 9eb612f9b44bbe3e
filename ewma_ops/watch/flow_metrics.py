"""The flow's own metrics, if ``[metrics]`` is set: lag, snapshots, restarts.

Knows the names of metrics; must not know the page.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from urllib.request import ProxyHandler, build_opener

from ewma_ops.settings.bind import Bind
from ewma_ops.watch.status import Said, Status

__all__ = ["FlowMetrics", "parse_metrics"]

_EVERY_S = 2.0
_ANSWER_S = 2.0
_MOST_BYTES = 8 << 20
_LINE = re.compile(r"^ewma_ops_(\w+?)(?:_total)?(?:\{[^}]*\})? (\S+)", re.MULTILINE)
_WANTED = {"consumer_lag", "snapshot_timestamp_seconds", "restarts", "worker_up"}


def parse_metrics(text: str) -> Said:
    """Read the exposition of a flow's metrics.

    Examples
    --------
    >>> lines = ["# HELP ewma_ops_consumer_lag Readings.", 'ewma_ops_consumer_lag{worker="0"} 5.0']
    >>> parse_metrics(chr(10).join(lines)).lag
    5
    """
    found = defaultdict[str, list[float]](list)
    for name, number in _LINE.findall(text):
        if name in _WANTED:
            found[name].append(float(number))
    lags, up = found["consumer_lag"], found["worker_up"]
    return Said(
        int(sum(lags)) if lags else None,
        max(found["snapshot_timestamp_seconds"], default=None),
        int(sum(found["restarts"])),
        len(up),
        int(sum(up)),
    )


class FlowMetrics:
    """Ask the flow every two seconds, until stopped.

    Parameters
    ----------
    bind
        Where it answers, as ``[metrics]`` says.
    status
        Where the metrics are stored: None while the flow does not answer.
    """

    def __init__(self, bind: Bind, status: Status) -> None:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind.host, bind.host)
        self._url = f"http://{bind._replace(host=host)}/metrics"
        self._status = status
        self._opener = build_opener(ProxyHandler({}))

    def run(self) -> None:
        """Ask; a flow that does not answer does not run, or not here."""
        while not self._status.stopping.wait(_EVERY_S if self._status.asked_s else 0):
            try:
                with self._opener.open(self._url, timeout=_ANSWER_S) as answer:
                    said = parse_metrics(answer.read(_MOST_BYTES).decode(errors="replace"))
            except (OSError, ValueError):
                said = None
            self._status.said, self._status.asked_s = said, time.time()
