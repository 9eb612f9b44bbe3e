"""The flow of this project as ``ewma run`` starts it: a launcher, and one or more workers."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.bench.contest import make_topic

_CONFIG = """
kafka.bootstrap_servers = "{bootstrap}"
input = {{ topic = "{topic}", series_id = "series_id", time = "ts", value = "value" }}
smooth.beta = 0.9
output = {{ topic = "{output}", delivery = "{delivery}" }}
dead_letters.topic = "{output}-dead"
"""
_RECOVERY = 'recovery = {{ directory = "{directory}/state", interval = "{interval_s}s" }}\n'
_INTERVAL_S = 2
"""Short, so that snapshots weigh more here than at the default of 10 s."""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("bootstrap", "topic", "output", "readings"):
        parser.add_argument(name)
    parser.add_argument("--workers", default="1")
    parser.add_argument("--recovery", action="store_true")
    parser.add_argument("--exactly-once", action="store_true")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="ewma-bench-"))
    delivery = "exactly-once" if options.exactly_once else "at-least-once"
    text = _CONFIG.format(**vars(options), delivery=delivery)
    if options.recovery:
        text += _RECOVERY.format(directory=directory, interval_s=_INTERVAL_S)
    make_topic(options.bootstrap, f"{options.output}-dead")
    (directory / "flow.toml").write_text(text)
    command = [sys.executable, "-m", "ewma_ops.commands.cli", "run", str(directory / "flow.toml")]
    os.execv(sys.executable, [*command, "--workers", options.workers])
