"""From a Kafka topic to smoothed events, for Bytewax's own runner.

    EWMA_CONFIG=smooth.toml python -m bytewax.run flows.smooth -r state/parts -s 10 -b 0

does what ``ewma run smooth.toml`` does, with Bytewax's own flags (``-w``, ``-r``, ``-s``, ``-b``,
``-i``, ``-a``). The recovery directory is locked, claimed and cleaned as ``ewma run`` does it, the
job begins where it began when it first ran, and SIGTERM or SIGINT stops the flow after a last
snapshot. What only ``ewma run`` does is to start again: after a failure, and to take up topics and
partitions of the input that came since the start. Here they are read from the next start on.
"""

from __future__ import annotations

import argparse
import os
import sys

from ewma_ops.columns.sealed import check_pickle
from ewma_ops.errors import ConfigError, EwmaError
from ewma_ops.job.dataflow import build_job
from ewma_ops.job.lookups import JobLookups
from ewma_ops.job.recovery.guard import guard_parts, guarded_store
from ewma_ops.job.recovery.store import RecoveryStore
from ewma_ops.job.worker import stop_on_signals
from ewma_ops.settings.load import load

__all__ = ["flow"]


def _recovery_store(lookups: JobLookups) -> RecoveryStore | None:
    """Return the store of Bytewax's command line, which its first process locks and prepares."""
    flags = argparse.ArgumentParser(add_help=False)
    flags.add_argument(
        "-r", "--recovery-directory", default=os.getenv("BYTEWAX_RECOVERY_DIRECTORY")
    )
    flags.add_argument("-i", "--process-id", type=int, default=os.getenv("BYTEWAX_PROCESS_ID", "0"))
    known, _ = flags.parse_known_args()
    if known.recovery_directory is None:
        return None
    if known.process_id == 0:
        guard_parts(
            known.recovery_directory,
            lookups.identify(),
            lookups.find_beginning,
            check_pickle,
            lookups.extend_beginning,
        )
    return guarded_store(known.recovery_directory)


try:
    if "EWMA_CONFIG" not in os.environ:
        raise ConfigError("EWMA_CONFIG is not set: set it to the path of a configuration file")
    settings = load(os.environ["EWMA_CONFIG"])
    lookups = JobLookups(settings)
    store = _recovery_store(lookups)
    flow = build_job(settings, stop_on_signals(), store, lookups.found).flow
except EwmaError as error:
    print(f"ewma: {error}", file=sys.stderr)
    sys.exit(2 if error.fault == "user" else 1)
