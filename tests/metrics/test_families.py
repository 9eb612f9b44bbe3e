"""Families of metrics are a contract: what is registered is what docs/metrics.md lists."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from prometheus_client import REGISTRY

from ewma_ops import Decay, Readings, SeriesTable, Smoothing
from ewma_ops.commands.notify_metrics import NotifyMeasurements
from ewma_ops.job.answers import Lines
from ewma_ops.job.measurements import Family, Measurements, gathered
from ewma_ops.metrics import families
from ewma_ops.monitor import AlarmRules, Bounds, Level
from ewma_ops.notify.delivery import Delivery
from ewma_ops.notify.webhook import Webhook

ROW = re.compile(r"\| `(ewma_ops_\w+)` \| (\w+) \|(.*?)\| .+ \|")
DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"

importlib.import_module("ewma_ops.job.dataflow")  # every room that registers any


WATCHED = SeriesTable(
    Smoothing(Decay(beta=0.5)),
    alarms=AlarmRules.of(
        {"level": Level(false_alarms="1 per 500 readings"), "high": Bounds(above=1.0)}
    ),
)
WATCHED.update(Readings.of(["a"], [2.0]))
families.TABLES.add(WATCHED)  # for as long as this module lives: labels of alarms are its rules


def documented() -> dict[str, tuple[str, list[str]]]:
    rows = ROW.findall(DOCUMENT.read_text("utf-8"))
    return {name: (kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels in rows}


def notified() -> list[Family]:
    """Return the families of a notifier that has told one receiver of one transition."""
    deliveries = [Delivery(Webhook("http://127.0.0.1:1/", None, 1.0), 1.0, lambda _: None, print)]
    deliveries[0].sent["raised"] += 1
    counts = SimpleNamespace(active=1, held=0, unreadable=0, restored=True, deliveries=deliveries)
    return NotifyMeasurements(counts).take().families  # type: ignore[arg-type]


def in_code() -> dict[str, tuple[str, list[str]]]:
    """Return type and labels by name, of workers and of the launcher; ``worker`` is everywhere."""
    found: dict[str, tuple[str, list[str]]] = {}
    of_worker = msgspec.msgpack.decode(gathered(), type=list[Family])
    of_launcher = Measurements(Lines(), "exactly-once", 10.0).take().families
    of_notify = notified()
    declared = {
        metric.name: list(getattr(collector, "_labelnames", ()))
        for collector in REGISTRY._collector_to_names
        for metric in collector.collect()
    }
    for family in [*of_worker, *of_launcher, *of_notify]:
        if family.name.startswith("ewma_ops_"):
            seen = [name for sample in family.samples for name in sample.labels]
            labels = declared.get(family.name) or [
                name for name in dict.fromkeys(seen) if name not in ("le", "worker")
            ]
            total = "_total" if family.kind == "counter" else ""
            found[family.name + total] = family.kind, labels
    return found


def test_the_table_lists_what_is_registered() -> None:
    measurements = in_code()
    table = documented()
    assert len(table) >= 20
    assert measurements == table


@pytest.mark.parametrize("label", ["series", "series_id", "id", "key"])
def test_no_label_holds_a_series(label: str) -> None:
    assert not [name for name, (_, labels) in in_code().items() if label in labels]


def test_lags_are_in_seconds_whatever_the_unit_of_event_times() -> None:
    def sum_of(name: str) -> float:
        value = REGISTRY.get_sample_value(name)
        assert value is not None
        return value

    before = sum_of("ewma_ops_event_lag_seconds_sum")
    now_ms = families._now_ms()
    for per_ms in (1, 1_000, 1_000_000):
        families.written(np.array([now_ms - 5_000, now_ms + 60_000]) * per_ms, per_ms)
    assert 15.0 <= sum_of("ewma_ops_event_lag_seconds_sum") - before < 60.0
    assert sum_of("ewma_ops_last_event_timestamp_seconds") == (now_ms + 60_000) / 1000


def test_a_record_without_a_timestamp_has_no_latency() -> None:
    name = "ewma_ops_latency_seconds_count"
    before = REGISTRY.get_sample_value(name)
    families.acknowledged(np.array([families._now_ms(), -1, -1]))
    assert before is not None
    assert REGISTRY.get_sample_value(name) == before + 1
