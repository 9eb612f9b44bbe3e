"""Dataflows around the connectors, for their tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.inputs import Source
from bytewax.outputs import Sink
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, cluster_main

from ewma_ops.connectors import part_key
from ewma_ops.wire.records import ConsumerRecords, ProducerRecords

EPOCH = timedelta(milliseconds=100)

both_ways = pytest.mark.usefixtures("way")
"""Of tests of what depends on how records go through kafka-python."""


def run(
    source: Source[Any],
    sink: Sink[Any],
    step: Callable[[Any], Any] = lambda item: item,
    *,
    recovery: Path | None = None,
    workers: int = 1,
    epoch: timedelta = EPOCH,
) -> None:
    """Run source -> step -> sink to its end, snapshots in the directory ``recovery``."""
    flow = Dataflow("flow")
    items = op.input("in", flow, source)
    op.output("out", op.map("step", items, step), sink)
    config = None
    if recovery is not None:
        if not any(recovery.iterdir()):
            init_db_dir(recovery, 1)
        config = RecoveryConfig(str(recovery))
    cluster_main(
        flow, [], 0, epoch_interval=epoch, recovery_config=config, worker_count_per_proc=workers
    )


def read(source: Source[Any], **options: Any) -> list[ConsumerRecords]:
    """Run a source to its end and return the runs of records it gave."""
    runs: list[ConsumerRecords] = []
    run(source, TestingSink(runs), **options)
    return runs


def failure_of(what: Callable[[], None]) -> BaseException:
    """Return the error within the one that Bytewax raises."""
    with pytest.raises(BytewaxRuntimeError) as raised:
        what()
    error: BaseException = raised.value
    while error.__cause__ is not None and isinstance(error, BytewaxRuntimeError):
        error = error.__cause__
    return error


def copied(run: ConsumerRecords) -> tuple[str, ProducerRecords]:
    """Return what a sink needs to write a run to the same partition of another topic."""
    return part_key(run.partition), ProducerRecords(run.keys, run.values, run.headers)


def values(runs: Iterable[ConsumerRecords], partition: int) -> list[bytes | None]:
    return [value for run in runs if run.partition == partition for value in run.values]
