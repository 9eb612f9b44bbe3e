"""Operators in a flow of the user's own fill the same families, without Kafka and settings."""

from __future__ import annotations

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main
from prometheus_client import REGISTRY

import ewma_ops.operators as ew
from ewma_ops.columns.readings import Readings
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing


def value(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(name, labels)
    assert found is not None
    return found


def test_readings_series_and_time_by_stage_are_counted() -> None:
    names = ("route", "update")
    before = [value("ewma_ops_stage_seconds_total", stage=name) for name in names]
    readings = value("ewma_ops_readings_total")
    held: list[float] = []

    def look(item: object) -> object:
        held.append(value("ewma_ops_series"))
        held.append(value("ewma_ops_state_bytes"))
        return item

    flow = Dataflow("own")
    pairs = [(f"s{i % 7}", float(i)) for i in range(20)]
    few = ew.smooth(
        "few", op.input("pairs", flow, TestingSource(pairs)), Smoothing(Decay(beta=0.5))
    )
    op.output("out", op.map("look", few, look), TestingSink([]))
    many = Readings.of([f"m{i}" for i in range(500)], [1.0] * 500)
    columns = op.input("columns", flow, TestingSource([many, many]))
    smoothed = ew.smooth_batches("many", columns, Smoothing(Decay(beta=0.5)))
    op.output("out-columns", op.map("look-too", smoothed, look), TestingSink([]))
    run_main(flow)

    assert value("ewma_ops_readings_total") - readings == 20 + 1_000
    after = [value("ewma_ops_stage_seconds_total", stage=name) for name in names]
    assert all(new > old for new, old in zip(after, before, strict=True))
    assert max(held[::2]) >= 507
    assert max(held[1::2]) > 507 * 24
