"""``ewma backtest --forecast`` as its user meets it: on files and on a topic, as text and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ewma_ops.commands.cli import main
from ewma_ops.demo.data import recorded_series
from tests.helpers.jobs import START_MS, Job, Reading

Out = pytest.CaptureFixture[str]
LINE = {"beta": 0.2, "statistics": ["mean", "forecast"], "horizon": 6}


def configured(directory: Path, bootstrap: str = "127.0.0.1:1", **smooth: Any) -> Job:
    partitions = () if bootstrap.endswith(":1") else (2, 1, 1)
    job = Job(bootstrap, directory, partitions=partitions)
    job.configure(smooth=smooth or LINE)
    return job


def written(path: Path, gap_ms: int = 60_000, **series: list[float]) -> str:
    rows = [
        f"{name},{START_MS + i * gap_ms},{value!r}"
        for name, values in series.items()
        for i, value in enumerate(values)
    ]
    path.write_text("\n".join(["series_id,ts,value", *rows, ""]))
    return str(path)


def walk(n: int, seed: int) -> list[float]:
    return [float(x) for x in np.cumsum(np.random.default_rng(seed).normal(0, 1, n))]


def forecast(*arguments: object) -> int:
    return main(["backtest", *map(str, arguments), "--forecast"])


def document(capsys: Out, *arguments: object) -> dict[str, Any]:
    assert forecast(*arguments, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_temperatures_as_a_person_reads_them(tmp_path: Path, capsys: Out) -> None:
    """The figures of the guide."""
    path = tmp_path / "seattle.csv"
    rows = [f"a,{one.time_ms},{one.value}" for one in recorded_series()["seattle-hourly"]]
    path.write_text("\n".join(["series_id,ts,value", *rows, ""]))
    job = configured(tmp_path)
    assert forecast(job.path, "--file", path, "--season", "24", "--horizons", "1,6,24") == 0
    said, err = capsys.readouterr()
    assert err == ""
    lines = [line.split() for line in said.splitlines()]
    assert said.startswith(f"{path}: 8,759 readings of 1 series\n")
    assert "forecast by the line of [smooth], each by the readings before it alone" in said
    assert ["1", "8,709", "0.4637", "0.6194", "0.496", "1", "0.17", "8.26", "93.5%"] in lines
    assert "the last value is better at 6, 24" in said
    assert "the value of a season ago is better at every horizon" in said


def test_of_random_walks_the_last_value_is_better(tmp_path: Path, capsys: Out) -> None:
    job = configured(tmp_path)
    path = written(tmp_path / "past.csv", a=walk(2_000, 1), b=walk(2_000, 2))
    assert forecast(job.path, "--file", path, "--horizons", "1") == 0
    said = capsys.readouterr().out
    assert "the last value is better at every horizon" in said
    assert "series where the last value is better, 1 ahead: 2; by how much:" in said
    assert "season ago" not in said


def test_a_topic_and_a_file_give_the_same(embedded: str, tmp_path: Path, capsys: Out) -> None:
    job = configured(tmp_path, embedded)
    values = walk(1_500, 3)
    job.send(Reading("a", START_MS + i * 60_000, value) for i, value in enumerate(values))
    of_topic = document(capsys, job.path)
    of_file = document(capsys, job.path, "--file", written(tmp_path / "past.csv", a=values))
    assert of_topic.pop("source") != of_file.pop("source")
    assert of_topic == of_file
    (field,) = of_topic["fields"]
    assert [one["horizon"] for one in field["horizons"]] == ["1", "2", "3", "6", "12", "24"]
    assert field["by_series"] == {"a": field["horizons"]}
    assert field["horizons"][0]["compared"] == 1_500 - 50
    assert 0.9 < field["horizons"][0]["within_bounds"] < 1.0


def test_one_horizon_written_in_two_ways_is_one(tmp_path: Path, capsys: Out) -> None:
    """The usual gaps say "6 min" where the configuration says "6min"."""
    timed: dict[str, Any] = {"beta": None, "halflife": "5min", "statistics": ["mean", "forecast"]}
    job = configured(tmp_path, **timed, horizon="6min", outlook="level", season="hour")
    path = written(tmp_path / "past.csv", a=walk(400, 4))
    horizons = document(capsys, job.path, "--file", path)["fields"][0]["horizons"]
    gaps = ["1 min", "2 min", "3 min", "6min", "12 min", "24 min"]
    assert [one["horizon"] for one in horizons] == gaps
    assert forecast(job.path, "--file", path, "--horizons", "1min, 60s") == 0
    said = capsys.readouterr().out
    assert "forecast by the mean and the season of [smooth], each" in said
    assert said.count("\n  60s ") == 1
    assert "\n  1min " not in said


def test_horizons_by_time_are_usual_gaps(tmp_path: Path, capsys: Out) -> None:
    job = configured(tmp_path, beta=None, halflife="5min", statistics=["mean", "level"])
    path = written(tmp_path / "past.csv", a=walk(400, 4))
    found = document(capsys, job.path, "--file", path, "--season", "1h", "--warm-up", "10")
    horizons = found["fields"][0]["horizons"]
    gaps = ["1 min", "2 min", "3 min", "6 min", "12 min", "24 min"]
    assert [one["horizon"] for one in horizons] == gaps
    assert found["season"] == "1h"
    assert horizons[0]["season_before"]["mae"] > horizons[0]["outlook"]["mae"]


def test_forecasts_with_a_season_are_compared_with_the_season_before(
    tmp_path: Path, capsys: Out
) -> None:
    season: dict[str, Any] = {
        "beta": None,
        "halflife": "2h",
        "season": "day",
        "statistics": ["mean", "level"],
    }
    job = configured(tmp_path, **season)
    hours = np.arange(24 * 40)
    values = 5 * np.sin(hours / 24 * 2 * np.pi) + np.random.default_rng(1).normal(0, 1, len(hours))
    path = written(tmp_path / "past.csv", 3_600_000, a=values.tolist())
    found = document(capsys, job.path, "--file", path, "--horizons", "6h", "--warm-up", "240")
    assert found["season"] == "day"
    (six,) = found["fields"][0]["horizons"]
    assert six["outlook"]["mae"] < 0.9 * six["season_before"]["mae"]  # which has two noises
    assert six["season_before"]["mae"] < 0.5 * six["last_value"]["mae"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--forecast", "--write"], "--write is about alarms"),
        (["--forecast", "--horizons", "1h"], "of readings"),
        (["--forecast", "--horizons", "1,,2"], "horizon is ''"),
        (["--forecast", "--season", "day"], "--season is 'day'"),
        (["--forecast", "--warm-up", "2"], "at least 3"),
        (["--season", "24"], "add --forecast"),
        ([], "give --forecast"),
    ],
)
def test_what_does_not_go_together_is_said(
    tmp_path: Path, capsys: Out, options: list[str], said: str
) -> None:
    job = configured(tmp_path)
    path = written(tmp_path / "past.csv", a=walk(100, 5))
    assert main(["backtest", str(job.path), "--file", path, *options]) == 2
    assert said in capsys.readouterr().err


def test_a_history_that_is_too_short_is_said_to_be(tmp_path: Path, capsys: Out) -> None:
    job = configured(tmp_path)
    assert forecast(job.path, "--file", written(tmp_path / "past.csv", a=walk(20, 6))) == 0
    assert "no forecast met a reading" in capsys.readouterr().out
