"""Where a series is going, as its chart and its row show it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from textual.coordinate import Coordinate
from textual.widgets import DataTable

from ewma_ops import Decay, Readings, Smoothing
from ewma_ops.settings.load import load_tables
from ewma_ops.table import SeriesTable
from ewma_ops.table.smoothing_set import SmoothingSet
from ewma_ops.watch.book import Book
from ewma_ops.watch.looker import Looker
from ewma_ops.watch.measures import measures
from ewma_ops.watch.outlook import NAMES, Lead, Outlook, ahead, past_forecasts
from ewma_ops.watch.plain import cells, heads
from ewma_ops.watch.plot import as_png
from ewma_ops.watch.remote import page_address, watching_page
from ewma_ops.watch.server import about
from ewma_ops.watch.status import Status
from ewma_ops.watch.terminal import Top
from ewma_ops.watch.view import Looks, View
from tests.helpers.watched import served

AT_S = 1.7e9
LINE = Smoothing(Decay(halflife="10min"), statistics=["mean", *NAMES], horizon="15min")


class Seen:
    """A book of one job, its readings made into events by a table."""

    def __init__(self, smoothing: Smoothing = LINE) -> None:
        self.book = Book(measures(SmoothingSet.of(smoothing)))
        self.looker = Looker(self.book, Status(is_caught_up=True), lambda *_: None)
        self._table, self._offset = SeriesTable(smoothing), 0

    def write(self, series: str, minutes: Sequence[float], values: Sequence[float]) -> None:
        n = len(values)
        times = np.round(1000 * (AT_S + 60 * np.asarray(minutes, np.float64))).astype(np.int64)
        given = np.asarray(values, np.float64)
        found = self._table.update(Readings.of([series] * n, given, times)).statistics
        numbers = np.column_stack([given, *found.values()])
        offsets = self._offset + np.arange(n)
        self._offset += n
        self.book.take([series] * n, times / 1000, times / 1000, numbers, offsets, 0, is_live=True)

    def chart(self, series: str, **view: Any) -> dict[str, Any]:
        (found,) = self.looker.charts(View(open=(series,), **view))
        return found


def opened(smoothing: Smoothing = LINE, n: int = 60) -> tuple[Seen, dict[str, Any]]:
    """Return the chart of a series that rises by 1 in each minute."""
    seen = Seen(smoothing)
    seen.write("tank", [0], [0.0])
    seen.chart("tank")  # what comes from now on is kept
    seen.write("tank", range(1, n + 1), range(1, n + 1))
    return seen, seen.chart("tank")


# What is drawn ahead ---------------------------------------------------------------------------


def test_a_line_goes_from_the_level_to_the_forecast_and_its_bounds_open() -> None:
    _, chart = opened()
    found = chart["outlook"]["ahead"]
    assert found["from"] == AT_S + 3600
    assert (found["x"][0], found["x"][-1]) == (AT_S + 3600, AT_S + 3600 + 900)
    assert found["complete"]
    assert found["forecast"] == pytest.approx(np.linspace(60, 75, 9), abs=1e-6)
    widths = np.subtract(found["upper"], found["lower"])
    assert (np.diff(widths) >= 0).all()
    outlook = chart["outlook"]
    assert found["lower"][-1] == pytest.approx(outlook["forecast_lower"], rel=1e-8)
    assert found["upper"][-1] == pytest.approx(outlook["forecast_upper"], rel=1e-8)
    assert outlook["trend"] == pytest.approx(60.0), "an hour"


def test_with_decay_per_reading_it_is_drawn_at_the_usual_gap() -> None:
    counted = Smoothing(Decay(beta=0.5), statistics=["mean", *NAMES], horizon=3)
    _, chart = opened(counted)
    found = chart["outlook"]["ahead"]
    assert found["x"][-1] - found["from"] == 180.0
    assert found["forecast"][-1] == pytest.approx(63.0)
    assert chart["past_forecast"][-1] == pytest.approx(60.0)
    assert chart["outlook"]["trend"] == pytest.approx(1.0), "a reading"


def test_without_a_gap_there_is_nowhere_to_draw_it() -> None:
    counted = Smoothing(Decay(beta=0.5), statistics=["mean", "forecast"], horizon=3)
    _, chart = opened(counted, n=0)
    assert chart["outlook"]["ahead"] is None
    assert "forecast_lower" not in chart["outlook"]


@pytest.mark.parametrize("names", [(), ("forecast_lower", "forecast_upper")])
@pytest.mark.parametrize("decay", [LINE.decay, Decay(beta=0.5)], ids=["time", "count"])
def test_where_events_do_not_tell_the_level_it_is_what_had_been_forecast(
    decay: Decay, names: tuple[str, ...]
) -> None:
    horizon = "15min" if decay.by_time else 15
    bare = Smoothing(decay, statistics=["mean", "forecast", *names], horizon=horizon)
    seen, chart = opened(bare)
    found = chart["outlook"]["ahead"]
    minutes = (np.array(found["x"]) - AT_S) / 60
    assert minutes.tolist() == list(range(61, 76)), "each was forecast 15 minutes before it"
    assert found["forecast"] == pytest.approx(minutes)
    assert [len(found["lower"]), len(found["upper"])] == [15 * bool(names)] * 2
    seen.write("tank", [20.5], [-400.0])  # late: what it forecasts is for no time that is drawn
    late = seen.chart("tank")["outlook"]
    if decay.by_time:
        assert late["ahead"]["forecast"][:-1] == pytest.approx(found["forecast"][:-1])
        assert late["ahead"]["forecast"][-1] == pytest.approx(late["forecast"], rel=1e-8)
    _, few = opened(bare, n=5)
    assert few["outlook"]["ahead"] is None, "the horizon is too far away, and nothing before it"


def test_with_a_season_the_way_goes_up_and_down_with_it() -> None:
    def wave(minutes: Any) -> Any:
        return 20 + 5 * np.sin(np.asarray(minutes) * (2 * np.pi / 20))

    seen = Seen(replace(LINE, horizon="15min", season="20min", season_phases=20))
    seen.write("tank", [0], [20.0])
    seen.chart("tank")
    seen.write("tank", range(1, 400), wave(range(1, 400)))
    outlook = seen.chart("tank")["outlook"]
    found = outlook["ahead"]
    minutes = (np.array(found["x"]) - AT_S) / 60
    assert minutes.tolist() == list(range(400, 415))
    assert found["forecast"] == pytest.approx(wave(minutes), abs=0.2)
    assert found["upper"][-1] == pytest.approx(outlook["forecast_upper"], rel=1e-8)


def test_the_level_follows_from_the_trend_or_is_the_forecast() -> None:
    names = ["mean", "trend", "forecast"]
    damped = Smoothing(LINE.decay, statistics=names, horizon="15min", damping="5min")
    _, chart = opened(damped)
    way = chart["outlook"]["ahead"]["forecast"]
    assert way[0] == pytest.approx(60.0)
    assert (np.diff(np.diff(way)) < 0).all(), "it bends"
    flat = Smoothing(LINE.decay, statistics=["mean", "forecast"], horizon="5min", outlook="level")
    _, chart = opened(flat)
    assert len(set(chart["outlook"]["ahead"]["forecast"])) == 1


def test_a_far_horizon_leaves_half_of_the_chart_to_the_readings() -> None:
    seen, chart = opened(n=5)
    found = chart["outlook"]["ahead"]
    assert (found["x"][-1], found["complete"]) == (AT_S + 540, False)  # after four minutes
    assert found["forecast"][-1] == pytest.approx(9.0)
    found = seen.chart("tank", span=60.0)["outlook"]["ahead"]
    assert found["x"][-1] == AT_S + 360
    found = seen.chart("tank", between=(AT_S, AT_S + 1e6))["outlook"]["ahead"]
    assert (found["x"][-1], found["complete"]) == (AT_S + 300 + 900, True)
    assert seen.chart("tank", between=(AT_S, AT_S + 200))["outlook"]["ahead"] is None


def test_one_reading_has_a_forecast_and_no_bounds() -> None:
    _, chart = opened(n=0)
    assert chart["outlook"]["ahead"] is None, "its chart is not read back yet"
    newest = dict.fromkeys(NAMES, math.nan) | {"forecast": 5.0, "level": 5.0}
    places = {name: 2 + i for i, name in enumerate(NAMES)}
    times, none = np.array([AT_S]), np.full((1, 3), np.nan)
    found = ahead(Outlook(places, LINE), newest, times, none, math.inf)
    assert found is not None
    assert (set(found["forecast"]), found["lower"], found["upper"]) == ({5.0}, [], [])
    assert ahead(Outlook(places, LINE), newest | {"forecast": math.nan}, times, none, 1.0) is None


def test_a_job_without_an_outlook_is_as_it_was() -> None:
    _, chart = opened(Smoothing(Decay(beta=0.5)))
    assert chart["outlook"] is None
    assert "past_forecast" not in chart


# What had been forecast ------------------------------------------------------------------------


def test_past_forecasts_are_the_newest_of_a_horizon_before() -> None:
    rng = np.random.default_rng(4)
    times = np.cumsum(rng.exponential(10.0, 500))
    made = np.column_stack([rng.normal(size=500), np.zeros(500), np.ones(500)])
    made[rng.random(500) < 0.1] = np.nan
    for lead_s in (3.0, 25.0, 90.0):
        found = past_forecasts(times, made, Lead(lead_s), 100, 490)
        for i, row in zip(range(100, 490), found[:, 0].tolist(), strict=True):
            before = [j for j in range(i + 1) if times[j] <= times[i] - lead_s]
            known = [j for j in before if not math.isnan(made[j, 0])]
            right = made[known[-1], 0] if known else math.nan
            if known and times[i] - times[known[-1]] > 1.5 * lead_s:
                right = math.nan
            np.testing.assert_equal(row, right)


def test_readings_are_counted_that_came_within_their_bounds() -> None:
    wide = Smoothing(LINE.decay, statistics=["mean", *NAMES], horizon="2min", coverage=0.9)
    seen = Seen(wide)
    seen.write("tank", [0], [20.0])
    seen.chart("tank")
    values = np.random.default_rng(2).normal(20, 1, 400).tolist()
    seen.write("tank", range(1, 401), values)
    said = seen.chart("tank")["outlook"]["sentence"]
    assert said.startswith("Forecast in 2 min: ")
    assert ", 90 % between " in said
    assert "it is better than the last value (mase 0." in said
    of, share = said.split("Of ")[1].split(" readings ")
    assert 390 < int(of) < 400
    assert 85 <= int(share.split(" %")[0]) <= 95


def test_a_late_reading_forecasts_nothing_for_a_time_before_it_came() -> None:
    seen, chart = opened(n=40)
    seen.write("tank", [5.5], [500.0])
    late = seen.chart("tank")
    assert len(late["x"]) == len(chart["x"]) + 1
    place = late["x"].index(AT_S + 330)
    del late["past_forecast"][place]
    assert late["past_forecast"] == chart["past_forecast"]
    assert late["outlook"]["ahead"]["from"] == chart["outlook"]["ahead"]["from"]
    assert late["outlook"]["forecast"] != chart["outlook"]["forecast"]


def test_a_wild_forecast_leaves_room_for_the_readings() -> None:
    _, chart = opened(Smoothing(LINE.decay, statistics=["mean", *NAMES], horizon="10d"))
    low, high = chart["outlook"]["axis"]
    assert (low, high) == (pytest.approx(60.0), pytest.approx(120.0, rel=0.05))


# In tables, files and words --------------------------------------------------------------------


def test_rows_have_a_trend_with_an_arrow_and_a_forecast_where_events_have_them() -> None:
    seen, _ = opened()
    seen.write("flat", [60, 61], [3.0, 3.0])
    seen.write("one", [60], [3.0])
    seen.write("sinking", [60, 61], [3.0, 2.0])
    table = seen.looker.table(View())
    assert table["trend_unit"] == "h"
    assert [*heads(table)] == [
        "series", "value", "average", "z", "trend /h", "in 15 min", "last", "readings", "state",
    ]  # fmt: skip
    assert cells(table)[-1][5] == "75.000"
    found = {row[0]: row[4] for row in cells(table)}
    assert found["flat"] == "→ 0.0000"
    assert found["one"] == "-"
    assert found["sinking"].startswith("↘ -60.0")
    assert found["tank"].startswith("↗ +60.0")
    lines = list(seen.looker.lines(View(), 10))
    assert lines[0] == ["series", "time", "value", "ewma", "z", *NAMES, "readings", "state"]
    tank = dict(zip(lines[0], lines[-1], strict=True))
    assert tank["trend"] == pytest.approx(1 / 60)
    assert tank["forecast"] == pytest.approx(75.0)


@pytest.mark.slow
def test_terminals_show_them_here_and_elsewhere() -> None:
    async def heads_of(looker: Looks) -> list[str]:
        app = Top(looker, "job.toml", View())
        async with app.run_test(size=(140, 10)) as pilot:
            await pilot.pause()
            table = app.query_one(DataTable)
            assert str(table.get_cell_at(Coordinate(0, 5))) == "75.000"
            return [str(column.label) for column in table.columns.values()]

    seen, _ = opened()
    right = [*heads(seen.looker.table(View()))]
    assert right[4:6] == ["trend /h", "in 15 min"]
    assert asyncio.run(heads_of(seen.looker)) == right
    status = Status(is_caught_up=True)
    with served(book=seen.book, status=status) as (host, port):
        address = page_address(f"http://{host}:{port}")
        with watching_page(address, View()) as elsewhere:
            assert asyncio.run(heads_of(elsewhere)) == right


def test_readings_have_their_forecasts_as_csv() -> None:
    seen, chart = opened()
    lines = seen.looker.reading_lines("tank", 0)
    assert lines is not None
    names, *rows = lines
    assert names[5:] == ["forecast", "forecast_lower", "forecast_upper"]
    assert rows[-1][5] == pytest.approx(75.0)
    assert rows[-1][6] == chart["outlook"]["forecast_lower"]


def test_several_fields_have_their_own() -> None:
    asked = {"fast": LINE, "slow": Smoothing(Decay(beta=0.9))}
    found = measures(SmoothingSet.of(asked, ["bid", "ask"]))
    assert [one.outlook is not None for one in found] == [True, False, True, False]
    first, third = found[0].outlook, found[2].outlook
    assert first is not None
    assert third is not None
    assert third.places["forecast"] - third.places["level"] == (
        first.places["forecast"] - first.places["level"]
    )
    assert first.about() == {
        "horizon": "15 min", "within": "95 % within", "trend": True, "unit": "h",
    }  # fmt: skip


def test_a_picture_has_the_forecast_and_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    drawn: list[Any] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, _: drawn.append(figure.axes[0]))
    tables = {"kafka": {"bootstrap_servers": "x:1"}, "input": {"topic": "in"}}
    smooth = {"halflife": "10min", "statistics": ["mean", *NAMES], "horizon": "15min"}
    job = load_tables({**tables, "output": {"topic": "out"}, "smooth": smooth})
    (measure,) = about(job, Path("job.toml"), 60.0)["measures"]
    seen, chart = opened()
    as_png([chart], measure, "tank", tmp_path / "x.png")
    (axes,) = drawn
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["value", "ewma", "forecast 15 min before", "95 % within", "in 15 min"]
    assert axes.get_xlabel().startswith("Forecast in 15 min: 75.000, 95 % between ")
    low, high = axes.get_ylim()
    assert low <= 0 < 75 <= high < 150
    seen.write("other", range(3), range(3))
    other = seen.chart("other")
    as_png([chart, other, {**chart, "outlook": None}], measure, "both", tmp_path / "x.png")
    assert [text.get_text() for text in drawn[1].get_legend().get_texts()] == [
        "tank", "other", "tank",
    ]  # fmt: skip
