"""The flow that the demo runs: its configuration file, and its process.

Knows what ``ewma run`` is given and how to start and stop it; must not know what is fed or shown.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType

from ewma_ops.demo.child import end_command, start_command
from ewma_ops.demo.faults import READINGS_PER_FALSE_ALARM, WATCHED
from ewma_ops.errors import EwmaError

__all__ = [
    "ALARMS",
    "BETA",
    "DEAD_LETTERS",
    "FETCH_MAX_WAIT_MS",
    "INPUT",
    "OUTPUT",
    "Flow",
    "write_config",
]

BETA = 0.98
INPUT, OUTPUT, DEAD_LETTERS, ALARMS = "readings", "smoothed", "dead-letters", "alarms"

FETCH_MAX_WAIT_MS = 20
"""Kafka answers a fetch as soon as there is something; the embedded broker only looks now and
then, about twice within this time."""

_STOPPING_S = 20.0
_ENDING_S = 5.0

_CONFIG = """\
# What `ewma demo` runs, as `ewma run demo.toml` would. Its broker ends with the demo.
[kafka]
bootstrap_servers = {bootstrap_servers}
fetch_max_wait_ms = {fetch_max_wait_ms}  # for the embedded broker; Kafka needs no such thing

[input]
topic = "{input}"
series_id = "series_id"
time = "ts"
value = "value"

[smooth]
beta = {beta}
statistics = ["mean", "std", "sem", "n_eff", "settled"]

[output]
topic = "{output}"
delivery = "at-least-once"

[dead_letters]
topic = "{dead_letters}"

[alarms]
topic = "{alarms}"
false_alarms = "1 per {per_false_alarm} readings"  # level and spike together

[alarms.level]  # limits that history calls for: its greatest scores are 11.6 and 6.1
limit = 13
series = ["{watched}"]
decay = {{ beta = 0.9 }}
baseline = {{ beta = 0.997 }}
warm_up = 300

[alarms.spike]
limit = 7
series = ["{watched}"]
decay = {{ beta = 0.9 }}
baseline = {{ beta = 0.997 }}
warm_up = 300

[alarms.stuck]
kind = "flat"
repeats = 30  # the longest of history is 9
series = ["{watched}"]

[alarms.silent]
kind = "stale"
least = "2s"
series = ["{watched}"]

[recovery]
directory = {state}
interval = "2s"
"""


def write_config(config: Path, bootstrap_servers: str, state: Path) -> None:
    """Write the configuration file of the flow."""
    text = _CONFIG.format(
        bootstrap_servers=json.dumps(bootstrap_servers),
        fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
        input=INPUT,
        beta=BETA,
        output=OUTPUT,
        dead_letters=DEAD_LETTERS,
        alarms=ALARMS,
        per_false_alarm=READINGS_PER_FALSE_ALARM,
        watched=WATCHED,
        state=json.dumps(str(state), ensure_ascii=False),
    )
    config.write_text(text, encoding="utf-8")


class Flow:
    """Run ``ewma run`` on a configuration file as a child for the length of a ``with`` block.

    Parameters
    ----------
    config
        The configuration file.
    log
        Where the flow's output is written.
    """

    def __init__(self, config: Path, log: Path) -> None:
        self.config = config
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Flow:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        self._process = start_command(["run", str(self.config)], self.log)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        end_command(self._process, _ENDING_S)

    def check(self) -> None:
        """Raise if the flow has ended unexpectedly.

        Raises
        ------
        EwmaError
            Saying with which code, and what it wrote last.
        """
        assert self._process is not None
        code = self._process.poll()
        if code is not None:
            last = self.log.read_text(encoding="utf-8", errors="replace").strip()[-1500:]
            raise EwmaError(
                f"the flow ended unexpectedly with code {code}; {self.log} ends:\n{last}"
            )

    def stop(self) -> int | None:
        """Ask the flow to stop and return its exit code; ``None`` if it does not stop."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(timeout=_STOPPING_S)
        except subprocess.TimeoutExpired:
            return None
