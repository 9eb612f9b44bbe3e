"""The recovery store of a job that Bytewax's own runner starts, as the runner's flags name it.

Knows the flags and what a store needs before a run; must not know the dataflow.
"""

from __future__ import annotations

import argparse
import os

from ewma_ops.columns.sealed import check_pickle
from ewma_ops.job.lookups import JobLookups
from ewma_ops.job.recovery.guard import guard_parts, guarded_store
from ewma_ops.job.recovery.store import RecoveryStore

__all__ = ["store_of_flags"]


def store_of_flags(lookups: JobLookups) -> RecoveryStore | None:
    """Return the store of this process's command line, ``None`` if it names none.

    The first process of the run locks and prepares it; the others wait until it has.

    Raises
    ------
    EwmaError
        If the store is in use, damaged or of another job, or brokers do not answer.
    """
    flags = argparse.ArgumentParser(add_help=False)
    directory, process = os.getenv("BYTEWAX_RECOVERY_DIRECTORY"), os.getenv("BYTEWAX_PROCESS_ID")
    flags.add_argument("-r", "--recovery-directory", default=directory)
    flags.add_argument("-i", "--process-id", type=int, default=0 if process is None else process)
    given, _ = flags.parse_known_args()
    if given.recovery_directory is None:
        return None
    if given.process_id == 0:
        guard_parts(
            given.recovery_directory,
            lookups.identify(),
            lookups.find_beginning,
            check_pickle,
            lookups.extend_beginning,
        )
    return guarded_store(given.recovery_directory)
