"""A flow that ticks, as ``python -m tests.helpers.ticking worker|launcher ...``; without pytest.

Its state fails on a number that is lost or comes again, so that a run proves its resume.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from ewma_ops.errors import BrokerError, ConfigError, ReadingError
from ewma_ops.job.processes import exit_now
from ewma_ops.job.recovery.store import RecoveryStore
from ewma_ops.job.worker import die_with_parent, run_worker
from tests.helpers.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}


class _Ticks(StatefulSourcePartition[tuple[str, int], int]):
    def __init__(self, key: str, last: int, limit: int, mode: str, stop: threading.Event) -> None:
        self.key, self.last, self.limit, self.mode, self.stop = key, last, limit, mode, stop

    def next_batch(self) -> list[tuple[str, int]]:
        if self.last == self.limit or (self.stop.is_set() and self.mode != "deaf"):
            raise StopIteration
        self.last += 1
        if self.mode == "noisy":
            print("noise " * 200, file=sys.stderr)
        if self.mode == "broker-fails" and self.key == "0" and self.last > 20:
            try:
                raise OSError("connection reset")
            except OSError as error:
                raise BrokerError("no broker at example:9092: start one") from error
        return [(self.key, self.last)]

    def next_awake(self) -> datetime:
        return datetime.now(timezone.utc) + timedelta(milliseconds=2)

    def snapshot(self) -> int:
        return self.last


class Ticks(FixedPartitionedSource[tuple[str, int], int]):
    def __init__(self, limit: int, mode: str, stop: threading.Event) -> None:
        self.limit, self.mode, self.stop = limit, mode, stop

    def list_parts(self) -> list[str]:
        return ["0", "1", "2"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> _Ticks:
        return _Ticks(for_part, resume_state or 0, self.limit, self.mode, self.stop)


class _Lines(StatelessSinkPartition[tuple[str, int]]):
    def __init__(self, path: Path) -> None:
        self.file = path.open("a")

    def write_batch(self, items: list[tuple[str, int]]) -> None:
        for key, n in items:
            self.file.write(f"{key} {n}\n")
        self.file.flush()


class Lines(DynamicSink[tuple[str, int]]):
    def __init__(self, path: Path) -> None:
        self.path = path

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Lines:
        return _Lines(self.path)


def in_sequence(last: int | None, n: int) -> tuple[int, int]:
    """Fail on a number that was lost or comes again: state and source then disagree."""
    if n != (last or 0) + 1:
        raise ReadingError(f"{n} came after {last}")
    return n, n


def ticking(directory: Path, place: int, limit: int, mode: str, stop: threading.Event) -> Dataflow:
    if mode == "build-fails" or (mode == "first-fails" and place == 0):
        raise ConfigError("value = 'x': not a number")
    flow = Dataflow("ticking")
    ticks = op.input("in", flow, Ticks(limit, mode, stop))
    if mode == "bug":
        ticks = op.map("bug", ticks, lambda tick: (tick[0], tick[1] + 0 // (20 - tick[1])))
    counted = op.stateful_map("count", ticks, in_sequence)
    op.output("out", counted, Lines(directory / "out"))
    return flow


def command(
    directory: Path, place: int, addresses: Sequence[str], limit: int = 10**9, mode: str = "ok"
) -> list[str]:
    arguments = [str(directory), str(place), ";".join(addresses), str(limit), mode]
    return [sys.executable, "-m", "tests.helpers.ticking", "worker", *arguments]


def worker_program(directory: str, place: str, addresses: str, limit: str, mode: str) -> int:
    die_with_parent(os.getppid())
    return run_worker(
        lambda stop: ticking(Path(directory), int(place), int(limit), mode, stop),
        process_id=int(place),
        addresses=addresses.split(";"),
        interval=timedelta(seconds=0.1),
        parts=RecoveryStore(Path(directory) / "state").parts,
    )


def launcher_program(directory: str, options: str) -> int:
    from ewma_ops.job.relay import relayed_stderr
    from ewma_ops.job.supervisor import collecting_signals, run_once

    workers, limit, mode, grace_s = json.loads(options)

    def worker(place: int, addresses: Sequence[str]) -> list[str]:
        line = command(Path(directory), place, addresses, limit, mode)
        print(place, flush=True)
        return line

    with (
        RecoveryStore(Path(directory) / "state") as store,
        relayed_stderr(),
        collecting_signals() as signals,
    ):
        return run_once(worker, workers, store, store.prepare({}), signals, grace_s).code


def lines(directory: Path) -> dict[str, list[int]]:
    out: dict[str, list[int]] = {"0": [], "1": [], "2": []}
    if (directory / "out").exists():
        for line in (directory / "out").read_text().splitlines():
            key, n = line.split()
            out[key].append(int(n))
    return out


def await_progress(directory: Path, beyond: int = 40, limit_s: float = PATIENCE_S) -> None:
    until = time.monotonic() + limit_s
    while not all(ns and ns[-1] > beyond for ns in lines(directory).values()):
        assert time.monotonic() < until, "the flow does not get on"
        time.sleep(0.02)


if __name__ == "__main__":
    exit_now((worker_program if sys.argv[1] == "worker" else launcher_program)(*sys.argv[2:]))
