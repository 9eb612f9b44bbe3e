"""An event time that is too far ahead of its record's: one fast clock harms no series."""

from __future__ import annotations

from typing import Any

import pytest

from ewma_ops import Decay, Smoothing
from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.serde import decoder as decoder_module
from ewma_ops.serde.decoder import Decoded
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.table.table import SeriesTable

START_MS = 1_700_000_000_000


def decode(
    times_ms: list[int], values: list[float], records_ms: list[int], column: bool = False,
    **options: Any,
) -> Decoded:  # fmt: skip
    decoder = JsonDecoder(DecoderOptions(series_id=None, time="t", **options))
    payloads: Any = [b'{"t":%d,"value":%g}' % pair for pair in zip(times_ms, values, strict=True)]
    if column:
        payloads = BytesColumn.of(payloads)
    return decoder.decode([b"a"] * len(payloads), payloads, records_ms)


def test_one_fast_clock_does_not_lock_a_series() -> None:
    """Five honest readings, one two hours ahead, and twenty honest ones that must all enter."""
    times = [START_MS + 1_000 * i for i in range(26)]
    values = [20.0, 21.0, 20.0, 21.0, 20.0, 20.0] + [30.0] * 20
    fast = [*times[:5], START_MS + 7_200_000, *times[6:]]
    decoded = decode(fast, values, times, max_ahead=300_000)
    [rejection] = decoded.rejected
    assert (rejection.at, rejection.cause) == (5, "ahead")
    assert rejection.detail == (
        "t is 7,195.000 s ahead of the record's timestamp, at most 300 s (smooth.max_ahead)"
    )
    table = SeriesTable(Smoothing(Decay(halflife="30s"), max_lateness="10min"))
    means = table.update(decoded.readings).statistics["mean"].tolist()
    assert len(means) == 25
    assert means[5] == pytest.approx(22.126206280737883, rel=1e-12)
    assert means[-1] == pytest.approx(28.525293591602264, rel=1e-12)


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize(
    ("ahead_ms", "kept"), [(0, True), (300_000, True), (300_001, False), (-(10**9), True)]
)
def test_the_bound(
    monkeypatch: pytest.MonkeyPatch, ahead_ms: int, kept: bool, *, column: bool
) -> None:
    monkeypatch.setattr(decoder_module, "_FEW", 1)
    times, records = [START_MS + ahead_ms] * 3, [START_MS] * 3
    decoded = decode(times, [1.0] * 3, records, column, max_ahead=300_000)
    assert len(decoded.readings) == (3 if kept else 0)
    clipped = decode(times, [1.0] * 3, records, column, max_ahead=300_000, ahead="clip")
    assert clipped.readings.times_ms is not None
    assert clipped.readings.times_ms.tolist() == [START_MS + min(ahead_ms, 300_000)] * 3
    assert clipped.clipped == (0 if kept else 3)


def test_a_record_without_a_timestamp_says_nothing() -> None:
    assert len(decode([START_MS], [1.0], [-1], max_ahead=0).readings) == 1


def test_what_is_rejected_for_another_cause_keeps_it() -> None:
    decoded = decode([START_MS], [float("1e301")], [0], max_ahead=0, highest=5.0)
    assert [one.cause for one in decoded.rejected] == ["ahead"]
    decoder = JsonDecoder(DecoderOptions(series_id=None, time="t", max_ahead=0))
    [rejection] = decoder.decode([b"a"], [b'{"t":5,"value":"x"}'], [0]).rejected
    assert rejection.cause == "wrong-type"
