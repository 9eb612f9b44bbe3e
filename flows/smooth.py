"""From a Kafka topic to smoothed events, for Bytewax's own runner.

    EWMA_CONFIG=smooth.toml python -m bytewax.run flows.smooth -r state/parts -s 10 -b 0

does what ``ewma run smooth.toml`` does, with Bytewax's own flags (``-w``, ``-r``, ``-s``, ``-b``,
``-i``, ``-a``). The recovery directory is locked, claimed and cleaned as ``ewma run`` does it, the
job begins where it began when it first ran, and SIGTERM or SIGINT stops the flow after a last
snapshot. What only ``ewma run`` does is to start again: after a failure, and to take up topics and
partitions of the input that came since the start. Here they are read from the next start on.
"""

from __future__ import annotations

import os
import sys

from ewma_ops.errors import ConfigError, EwmaError
from ewma_ops.job.bytewax_flags import store_of_flags
from ewma_ops.job.dataflow import build_job
from ewma_ops.job.lookups import JobLookups
from ewma_ops.job.worker import stop_on_signals
from ewma_ops.settings.load import load

__all__ = ["flow"]

try:
    if "EWMA_CONFIG" not in os.environ:
        raise ConfigError("EWMA_CONFIG is not set: set it to the path of a configuration file")
    settings = load(os.environ["EWMA_CONFIG"])
    lookups = JobLookups(settings)
    store = store_of_flags(lookups)
    flow = build_job(settings, stop_on_signals(), store, lookups.found).flow
except EwmaError as error:
    print(f"ewma: {error}", file=sys.stderr)
    sys.exit(2 if error.fault == "user" else 1)
