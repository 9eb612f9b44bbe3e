"""``ewma tune`` as its user meets it: on files and on a job's topic, as text and as JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from ewma_ops.commands.cli import main
from ewma_ops.demo.data import recorded_series
from tests.helpers.jobs import START_MS, Job, Reading
from tests.helpers.minimal import MINIMAL

MINUTE_MS = 60_000


def walk(n: int) -> list[float]:
    random = np.random.default_rng(1)
    return list(np.cumsum(random.normal(0, 0.2, n)) + random.normal(0, 1, n))


def costs(field: dict[str, Any]) -> list[float]:
    return [one["cost"] for one in field["candidates"]]


def test_a_parquet_and_a_csv_file_give_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    n = 3_000
    times = pa.array([START_MS + i * MINUTE_MS for i in range(n)], pa.timestamp("ms"))
    whole = pa.table({"time": times, "level": walk(n)})
    pq.write_table(whole, tmp_path / "past.parquet")
    pyarrow.csv.write_csv(whole, tmp_path / "past.csv")
    found = []
    for name in ("past.parquet", "past.csv"):
        arguments = ["tune", "--file", str(tmp_path / name), "--value", "level", "--json"]
        assert main(arguments) == 0
        (field,) = json.loads(capsys.readouterr().out)["fields"]
        found.append(field)
        assert main([*arguments, "--by-time"]) == 0
        (by_time,) = json.loads(capsys.readouterr().out)["fields"]
        minutes = by_time["best"]["halflife_ms"] / MINUTE_MS
        assert minutes == pytest.approx(field["best"]["halflife"], rel=1e-6)
    assert costs(found[0]) == pytest.approx(costs(found[1]))
    assert found[0]["readings"] == n - 1
    beta = found[0]["suggested"]["beta"]
    assert 0.82 < beta < 0.93  # theory: 1 - 0.181 is best, and this the smoother end


def test_a_job_is_tuned_from_its_topic(
    embedded: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = Job(embedded, tmp_path, partitions=(2, 1, 1))
    levels = {name: walk(800) for name in ("a", "b")}
    readings = [
        Reading(name, START_MS + i * 1000, levels[name][i]) for i in range(800) for name in "ab"
    ]
    job.send(readings)
    assert main(["tune", str(job.path), "--json"]) == 0
    out, err = capsys.readouterr()
    (of_topic,) = json.loads(out)["fields"]
    assert (of_topic["readings"], of_topic["series"], err) == (1_598, 2, "")

    flat = {
        "series_id": [one.series_id for one in readings],
        "ts": [one.time_ms for one in readings],
        "value": [one.value for one in readings],
    }
    path = tmp_path / "past.parquet"
    pq.write_table(pa.table(flat), path)
    assert main(["tune", str(job.path), "--file", str(path), "--json"]) == 0
    (of_file,) = json.loads(capsys.readouterr().out)["fields"]
    assert costs(of_file) == pytest.approx(costs(of_topic))
    assert of_file["readings"] == of_topic["readings"]

    assert main(["tune", str(job.path), "--to", "2000-01-01"]) == 2
    assert "has no readings in that time" in capsys.readouterr().err


def test_real_temperatures_are_predicted_best_by_the_newest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The half-hourly sea: its level moves more than a reading scatters."""
    sea = recorded_series()["sea-surface"]
    path = tmp_path / "sea.csv"
    rows = [f"{one.time_ms},{one.value}" for one in sea]
    path.write_text("\n".join(["time,value", *rows, ""]))
    assert main(["tune", "--file", str(path)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{path}: 19,225 readings of 1 series predicted from those before\n")
    assert "the newest reading predicts best" in said
    assert "take:" not in said


def sentence(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["tune", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


def test_what_cannot_be_read_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "past.csv"
    path.write_text("time,value\n1,2.5\n2,7\n3,1\n")
    own = ["--file", str(path)]
    assert "give a configuration file, or --file" in sentence(capsys)
    assert "there is no such file" in sentence(capsys, "--file", str(tmp_path / "not.csv"))
    assert "has no column 'x'; it has time, value" in sentence(capsys, *own, "--value", "x")
    assert sentence(capsys, *own, "--value", "x").count("all") == 0  # a column of its own making
    span = ["--from", "2020-01-02", "--to", "2020-01-01"]
    assert "--from 2020-01-02T00:00:00.000Z is not before --to" in sentence(capsys, *own, *span)
    late = sentence(capsys, *own, "--from", "2020-01-02", "--by-time")
    assert "has no readings in that time: correct --from" in late
    path.with_suffix(".parquet").write_bytes(b"no parquet")
    wrong = sentence(capsys, "--file", str(path.with_suffix(".parquet")))
    assert "cannot be read as Parquet" in wrong
    assert "the name of a CSV file ends in .csv" in wrong
    path.write_text("level\n1\n5\n2\n")
    assert "'value'; name that of the values with --value; it has level" in sentence(capsys, *own)
    path.write_text("value\n1\n5\n2\n")
    assert "has no times, which decay by time needs" in sentence(capsys, *own, "--by-time")
    assert "has no column of times: name it" in sentence(capsys, *own, "--from", "2020-01-01")
    path.write_text("time,value\n1,a\n")
    assert "it must hold numbers" in sentence(capsys, *own)


@pytest.mark.slow
def test_the_season_of_a_job_is_tuned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = [x + 9 * (k % 4) for k, x in enumerate(walk(600))]
    pq.write_table(pa.table({"value": values}), tmp_path / "past.parquet")
    asked = 'beta = 0.8\nstatistics = ["mean", "season"]\nseason = 4'
    config = tmp_path / "smooth.toml"
    config.write_text(MINIMAL.replace("beta = 0.9", asked))
    arguments = ["tune", str(config), "--file", str(tmp_path / "past.parquet")]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "predicted by a line through those before, with a season\n" in text
    assert "season, with the decay as it is: take season_halflife = 90.5\n" in text
    assert "the season has not changed in this time: any slow half-life will do\n" in text
    assert main([*arguments, "--json"]) == 0
    (field,) = json.loads(capsys.readouterr().out)["fields"]
    assert field["predicted_by"] == "line"
    assert field["season"]["at_edge"] == "longest"
    assert len(field["season"]["candidates"]) == 14
    config.write_text(MINIMAL.replace("beta = 0.9", asked + '\noutlook = "level"'))
    pq.write_table(pa.table({"value": values[:60]}), tmp_path / "past.parquet")
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "predicted from those before, with a season\n" in text
    assert "line" not in text
    pq.write_table(pa.table({"value": values[:4]}), tmp_path / "past.parquet")
    assert main(arguments) == 2
    assert "with a season a period or more after its first" in capsys.readouterr().err


def test_a_span_of_time_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "past.csv"
    day_ms = 86_400_000
    values = walk(100)
    rows = [f"{i * day_ms},{value}" for i, value in enumerate(values)]
    path.write_text("\n".join(["time,value", *rows]))
    span = ["--from", "1970-01-11", "--to", "1970-03-01"]
    assert main(["tune", "--file", str(path), "--json", *span]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["fields"][0]["readings"] == 48  # 49 days: the first is predicted by nothing
    assert math.isfinite(document["fields"][0]["best"]["beta"])
