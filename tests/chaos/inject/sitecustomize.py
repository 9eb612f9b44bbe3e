"""Faults inside the flow's own processes, by patching it at named steps; the product knows nothing.

Python imports this by its name where the harness puts its directory on the path. ``EWMA_CHAOS``
is a JSON object: ``directory`` (the harness's), ``seed``, ``p`` (the share of lives that end at a
named step), ``steps`` (which) and ``control`` (what to break on purpose).
"""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATCHED: dict[str, tuple[str, str, str]] = {
    "start": ("ewma_ops.job.dataflow", "", "build_job"),
    "send": ("ewma_ops.connectors.sink.producer", "", "send"),
    "ack": ("ewma_ops.connectors.sink.producer", "Producer", "wait_for_acks"),
    "commit": ("ewma_ops.connectors.sink.producer", "", "commit_transaction"),
    "snapshot of the sink": ("ewma_ops.connectors.sink.sink", "_OncePart", "snapshot"),
    "snapshot of the state": ("ewma_ops.operators.shards", "BatchShard", "snapshot"),
    "snapshot of the source": ("ewma_ops.connectors.source.source", "_Part", "snapshot"),
    "read-back": ("ewma_ops.connectors.sink.recalls", "Recall", "wait"),
    "read-back poll": ("ewma_ops.connectors.sink.readback", "Readback", "_poll"),
}

IN_LAUNCHER: dict[str, tuple[str, str, str]] = {
    "identity": ("ewma_ops.job.lookups", "JobLookups", "identify"),
    "preparation of the store": ("ewma_ops.job.recovery.store", "RecoveryStore", "prepare"),
    "purge": ("ewma_ops.job.recovery.store", "", "purge_ghosts"),
}
LAUNCHERS = 0.1
"""Share of the launchers' lives that end at one of these, of those of the workers' that do."""


def replace(module: str, owner: str, name: str, make: Callable[[Any], Any]) -> None:
    __import__(module)
    target = getattr(sys.modules[module], owner) if owner else sys.modules[module]
    setattr(target, name, make(getattr(target, name)))


class Death:
    """Kill this process before or after the n-th call of one step."""

    def __init__(self, directory: Path, step: str, moment: str, n: int) -> None:
        self.directory, self.step, self.moment, self.n = directory, step, moment, n

    def at(self, moment: str) -> None:
        if moment != self.moment or (self.directory / "calm").exists():
            return
        self.n -= 1
        if self.n <= 0:
            mark = self.directory / "deaths" / f"{os.getpid()}-{time.monotonic_ns()}"
            mark.write_text(f"{self.moment} {self.step}")
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def dying(*arguments: Any, **named: Any) -> Any:
            self.at("before")
            result = function(*arguments, **named)
            self.at("after")
            return result

        return dying


def plan(chaos: dict[str, Any], directory: Path, *, launcher: bool) -> None:
    if (directory / "calm").exists():
        return
    life = sum(1 for _ in (directory / "lives").iterdir())
    (directory / "lives" / f"{life}-{os.getpid()}").touch()
    rng = random.Random(f"{chaos['seed']} {life}")
    steps = IN_LAUNCHER if launcher else PATCHED
    wanted = [step for step in steps if not chaos["steps"] or step in chaos["steps"]]
    if not wanted or rng.random() >= chaos["p"] * (LAUNCHERS if launcher else 1):
        return
    step = rng.choice(sorted(wanted))
    n = rng.randint(1, 60 if step == "send" else 1 if step in ("start", *IN_LAUNCHER) else 3)
    death = Death(directory, step, rng.choice(["before", "after"]), n)
    replace(*steps[step], death.around)


def mark_first_write(directory: Path) -> None:
    """Let the harness know which processes have come so far as to write."""

    def marking(write: Any) -> Any:
        @functools.wraps(write)
        def marked(*arguments: Any) -> Any:
            result = write(*arguments)
            mark = directory / "writing" / str(os.getpid())
            if not mark.exists():
                mark.touch()
            return result

        return marked

    replace("ewma_ops.connectors.sink.producer", "Producer", "write", marking)


def break_on_purpose(control: str) -> None:
    import numpy as np

    from ewma_ops.columns.origins import Origins
    from ewma_ops.job.recovery import part_files

    def everything(self: Any, origins: Any) -> Any:
        return np.ones(len(origins.offsets), np.bool_)

    def up_to_the_highest(recall: Any) -> Any:
        def recalled(self: Any, origins: Any) -> None:
            for partition, places in origins.by_partition():
                offsets = np.arange(origins.offsets[places].max() + 1)
                recall(self, Origins(np.full(len(offsets), partition, np.int32), offsets))

        return recalled

    def only_of_the_reading(job: int, rule: str, series_id: str, ordinal: int) -> int:
        return ordinal

    def unpurged(directory: Path) -> Any:
        import contextlib

        with contextlib.ExitStack() as stack:
            epoch = part_files._resume_epoch(part_files.open_parts(directory, stack))
        return part_files.ResumePoint(epoch, 0)

    if control == "no de-duplication":
        replace("ewma_ops.connectors.sink.ledger", "Ledger", "admit", lambda _: everything)
    elif control == "highest offset":
        replace("ewma_ops.connectors.sink.ledger", "Ledger", "recall", up_to_the_highest)
    elif control == "identity without rule and series":
        replace("ewma_ops.serde.json.alarms", "", "_ordinal", lambda _: only_of_the_reading)
    elif control == "no fence":
        replace("ewma_ops.job.lookups", "JobLookups", "fence", lambda _: lambda _: "")
    elif control == "no purge":
        replace("ewma_ops.job.recovery.store", "", "purge_ghosts", lambda _: unpurged)


def main() -> None:
    chaos = json.loads(os.environ["EWMA_CHAOS"])
    if chaos.get("control"):
        break_on_purpose(chaos["control"])
    directory = Path(chaos["directory"])

    def be_worker() -> None:
        mark_first_write(directory)
        plan(chaos, directory, launcher=False)

    if "ewma_ops.job.worker" in sys.orig_argv:
        be_worker()
    elif "run" in sys.orig_argv:
        plan(chaos, directory, launcher=True)
        os.register_at_fork(after_in_child=be_worker)


if "EWMA_CHAOS" in os.environ and {"ewma_ops.job.worker", "ewma_ops.commands.cli"} & set(
    sys.orig_argv
):
    main()
