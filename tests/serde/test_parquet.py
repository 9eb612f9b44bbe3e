"""Histories from Parquet and Arrow: what becomes of each column, and what is wrong with a file."""

from __future__ import annotations

import os
import re
import sys
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ewma_ops.columns.readings import Readings
from ewma_ops.errors import ConfigError
from ewma_ops.serde.parquet import History, file_digest
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.table import SeriesTable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.parquet"


def read(source: Any, **how: Any) -> Readings:
    return Readings.concat(list(History(source, **how)))


def refused(source: Any, **how: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        list(History(source, **how))
    return str(caught.value)


def test_a_table_built_from_a_file_is_that_of_the_stream(path: Path) -> None:
    draw = np.random.default_rng(3)
    n = 150_000
    ids = [f"s{k}" for k in draw.integers(0, 500, n).tolist()]
    values = np.where(draw.random(n) < 0.1, np.nan, draw.normal(20, 5, n))
    times = np.cumsum(draw.integers(-100, 1000, n))  # some are late
    columns = {"series_id": ids, "value": values, "time": times.astype("datetime64[ms]")}
    pq.write_table(pa.table(columns), path, row_group_size=40_000)
    smoothing = Smoothing(Decay(halflife="5min"), statistics=["mean", "std", "n_eff"])
    built, streamed = SeriesTable(smoothing), SeriesTable(smoothing)
    sizes = []
    for part in History(path, time="time"):
        built.update(part)
        sizes.append(len(part))
    streamed.update(Readings.of(ids, values, times))
    assert sum(sizes) == n
    assert max(sizes) <= 8_192
    for name, column in streamed.snapshot().columns.items():
        np.testing.assert_array_equal(built.snapshot().columns[name], column, name)


@pytest.mark.parametrize("library", [pa.table, pd.DataFrame, pl.DataFrame])
def test_any_table_that_speaks_arrow(library: Any) -> None:
    history = History(library({"series_id": ["a", "b"], "value": [1, None]}))
    for _ in range(2):  # it can be read again
        (part,) = history
        assert part.series_ids == ["a", "b"]
        np.testing.assert_array_equal(part.values, [1.0, np.nan])
        assert part.times_ms is None


def test_a_large_table_comes_in_batches() -> None:
    n = 200_000
    frame = pd.DataFrame({"series_id": ["a"] * n, "value": np.arange(n)})
    parts = [part.values for part in History(frame)]
    assert max(map(len, parts)) <= 8_192
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(n))


DAY_MS = 86_400_000
MOMENT = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([5, DAY_MS]), [5, DAY_MS]),
        (pa.array([MOMENT, MOMENT], pa.timestamp("us", "Europe/Berlin")), [1769860800000] * 2),
        (pa.array([-1, 1_999], pa.timestamp("us")), [-1, 1]),
        (pa.array([date(1970, 1, 2), date(1, 1, 1)]), [DAY_MS, -62_135_596_800_000]),
    ],
)
def test_times(path: Path, column: Any, expected: list[int]) -> None:
    pq.write_table(pa.table({"series_id": ["a", "b"], "value": [1.0, 2.0], "at": column}), path)
    times = read(path, time="at").times_ms
    assert times is not None
    assert times.tolist() == expected


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array(["x", "y"], pa.large_string()), ["x", "y"]),
        (pa.array(["x", "x"]).dictionary_encode(), ["x", "x"]),
        (pa.array([7, -8]), ["7", "-8"]),
    ],
)
def test_ids(path: Path, column: Any, expected: list[str]) -> None:
    pq.write_table(pa.table({"series_id": column, "value": [1.0, 2.0]}), path)
    assert read(path).series_ids == expected


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.float32(), pa.decimal128(5, 2)])
def test_values(path: Path, kind: Any) -> None:
    values = [Decimal(1), None, Decimal(3)] if pa.types.is_decimal(kind) else [1, None, 3]
    pq.write_table(pa.table({"series_id": ["a"] * 3, "value": pa.array(values, kind)}), path)
    np.testing.assert_array_equal(read(path).values, [1.0, np.nan, 3.0])


def test_several_fields_ids_and_weights_by_name(path: Path) -> None:
    quotes = pa.array([{"bid": 1, "ask": 2.5}, {"bid": None, "ask": 3.5}, None])
    columns = {"site": ["n", "n", "s"], "no": [1, 2, 1], "quote": quotes, "size": [1, None, 0.5]}
    pq.write_table(pa.table(columns), path)
    found = read(path, value=["quote.bid", "quote.ask"], series_id=["site", "no"], weight="size")
    assert found.series_ids == ["n/1", "n/2", "s/1"]
    np.testing.assert_array_equal(found.values, [[1, 2.5], [np.nan, 3.5], [np.nan, np.nan]])
    np.testing.assert_array_equal(found.weights, [1.0, 0.0, 0.5])


def columns(**changes: Any) -> Any:
    whole = {"series_id": ["a", "b"], "value": [1.0, 2.0], "time": [0, 1], **changes}
    return pa.table({name: column for name, column in whole.items() if column is not None})


NOT_UTF8 = pa.array([b"\xff", b"b"]).view(pa.string())


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (columns(value=None), "no column 'value'; it has series_id, time"),
        (columns(series_id=["a", None]), "row 1: series_id is null or empty"),
        (columns(series_id=["", "b"]), "row 0: series_id is null or empty"),
        (columns(time=pa.array([0, None], pa.timestamp("ms"))), "row 1: time is null"),
        (columns(series_id=[b"a", b"b"]), "'series_id' of .* is of type binary: it must hold text"),
        (columns(series_id=NOT_UTF8), "rows 0 to 1: 'utf-8' codec can't decode byte 0xff"),
        (columns(value=["1", "2"]), "'value' of .* is of type string: it must hold numbers"),
        (columns(value=[True, False]), "is of type bool: it must hold numbers"),
        (columns(time=["x", "y"]), "is of type string: it must hold timestamps or integers"),
        (columns(time=[0.5, 1.0]), "is of type double: it must hold timestamps or integers"),
        (columns(value=[1.0, np.inf]), "rows 0 to 1: a value is beyond"),
        (columns(value=[1.0, 1e200]), r"rows 0 to 1: a value is beyond \+-1e\+100"),
        (columns(time=[0, 1 << 60]), "rows 0 to 1: time 1152921504606846976 of series 'b'"),
        (columns(weight=[1.0, -1.0]), "rows 0 to 1: weight -1.0 of series 'b'"),
    ],
)
def test_what_is_wrong_is_named(path: Path, table: Any, said: str) -> None:
    pq.write_table(table, path)
    weight = "weight" if "weight" in table.column_names else None
    message = refused(path, time="time", weight=weight, largest=1e100)
    assert message.startswith((str(path), "column"))
    assert re.search(said, message)


def test_a_row_is_counted_from_the_beginning_of_the_file(path: Path) -> None:
    ids = ["a"] * 150_000
    ids[140_000] = ""
    pq.write_table(pa.table({"series_id": ids, "value": np.zeros(150_000)}), path)
    assert "row 140000: " in refused(path)


def test_columns_are_checked_before_any_row_is_read(path: Path) -> None:
    pq.write_table(columns(series_id=["a", None]), path)
    History(path).check()
    with pytest.raises(ConfigError, match="no column 'price'"):
        History(path, "price").check()


def test_no_file_and_no_parquet(path: Path) -> None:
    assert refused(path) == f"{path}: there is no such file; give the path of a Parquet file"
    path.write_text("series_id,value\na,1\n")
    assert "cannot be read as Parquet" in refused(path)
    assert "cannot be read as Parquet" in refused(path.parent)
    with pytest.raises(ConfigError, match="there is no such file"):
        file_digest(path.with_name("other"))


def test_no_pyarrow(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert refused(path).endswith("without pyarrow: pip install 'ewma-ops[arrow]'")


def test_a_file_that_has_changed_is_not_read(path: Path) -> None:
    pq.write_table(columns(), path)
    digest = file_digest(path)
    assert len(read(path, digest=digest)) == 2
    os.utime(path, (0, 0))
    assert len(read(path, digest=digest)) == 2
    pq.write_table(columns(value=[1.0, 2.5]), path)
    assert "has changed since the job began" in refused(path, digest=digest)
