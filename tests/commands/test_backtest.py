"""``ewma backtest`` as its user meets it: on files and on a topic, and the limit that it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ewma_ops.commands.cli import main
from ewma_ops.demo.data import recorded_series
from ewma_ops.settings.load import load
from tests.helpers.jobs import START_MS, Job, Reading

RATE = "1 per 500 readings"


def configured(directory: Path, bootstrap: str = "127.0.0.1:1", **rules: dict[str, object]) -> Job:
    partitions = () if bootstrap.endswith(":1") else (2, 1, 1)
    job = Job(bootstrap, directory, partitions=partitions)
    job.configure(alarms=rules or {"level": {"false_alarms": RATE}})
    return job


def written(path: Path, name: str, values: list[float], gap_ms: int = 60_000) -> str:
    rows = [f"{name},{START_MS + i * gap_ms},{value!r}" for i, value in enumerate(values)]
    path.write_text("\n".join(["series_id,ts,value", *rows, ""]))
    return str(path)


def normal(n: int, seed: int = 1) -> list[float]:
    return [float(one) for one in np.random.default_rng(seed).normal(20, 1, n)]


Out = pytest.CaptureFixture[str]


def document(capsys: Out, *arguments: str) -> dict[str, Any]:
    assert main(["backtest", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.slow
def test_sea_temperatures_as_a_person_reads_them(tmp_path: Path, capsys: Out) -> None:
    job = configured(tmp_path)
    sea = recorded_series()["sea-surface"]
    rows = [f"sea,{one.time_ms},{one.value}" for one in sea]
    path = tmp_path / "sea.csv"
    path.write_text("\n".join(["series_id,ts,value", *rows, ""]))
    assert main(["backtest", str(job.path), "--file", str(path)]) == 0
    said, err = capsys.readouterr()
    assert err == ""
    lines = said.splitlines()
    assert lines[0] == f"{path}: 19,226 readings of 1 series, 401.0 days"
    assert "usual gap 30 min; 99 % are up to 30 min, the longest is 12 h" in lines[1]
    quiet = "; a flat rule with repeats = 27 would have been quiet"
    assert lines[2] == "  most equal values in a row: 9 (sea)" + quiet
    assert "calibrate" in lines[3]
    assert "where 38.3 are expected: the theory does not hold here" in said
    assert "are wanted; 11 to 28 would be chance (95 %)" in said
    assert "<- now" in said
    assert "<- calibrated" in said


def test_a_series_that_follows_the_hour_is_said_to(tmp_path: Path, capsys: Out) -> None:
    """Seattle's temperatures: until the rule has a season, and then no more."""
    path = tmp_path / "seattle.csv"
    rows = [f"a,{one.time_ms},{one.value}" for one in recorded_series()["seattle-hourly"]]
    path.write_text("\n".join(["series_id,ts,value", *rows, ""]))
    job = configured(tmp_path)
    assert main(["backtest", str(job.path), "--file", str(path)]) == 0
    assert 'what is expected: try season = "day"' in capsys.readouterr().out
    job = configured(tmp_path, level={"false_alarms": RATE, "season": "day"})
    found = document(capsys, str(job.path), "--file", str(path))
    assert found["share_of_hour"]["day"] < 0.01
    assert found["rules"][0]["calibrated"]["second"] < 9


def test_a_short_history_is_not_of_no_days(tmp_path: Path, capsys: Out) -> None:
    job = configured(tmp_path)
    path = tmp_path / "past.csv"
    rows = [f"a,{1_700_000_000_000 + 250 * i},{x}" for i, x in enumerate(normal(1_201))]
    path.write_text("\n".join(["series_id,ts,value", *rows, ""]))
    assert main(["backtest", str(job.path), "--file", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(": 1,201 readings of 1 series, 5 min")
    assert lines[1].startswith("  usual gap 250 ms; 99 % are up to 250 ms, the longest is 250 ms")


def test_the_calibrated_limit_is_written_and_used(tmp_path: Path, capsys: Out) -> None:
    job = configured(tmp_path)
    job.path.write_text(job.path.read_text() + "# the end\n")
    path = written(tmp_path / "past.csv", "a", normal(30_000))
    found = document(capsys, str(job.path), "--file", path, "--write")
    (level,) = found["rules"]
    assert found["written"] == {"level": level["calibrated"]["limit"]}
    assert level["calibrated"]["limit"] == pytest.approx(level["limit"], rel=0.15)
    assert job.path.read_text().endswith("# the end\n")
    alarms = load(job.path).alarms
    assert alarms is not None
    ((_, rule),) = alarms.rules.rules
    assert rule.limit == level["calibrated"]["limit"]  # type: ignore[attr-defined]
    assert rule.designed == "1 per 500 readings"

    again = document(capsys, str(job.path), "--file", path)
    assert again["rules"][0]["limit"] == level["calibrated"]["limit"]
    assert again["rules"][0]["readings_per_false_alarm"] == 500


def test_a_topic_and_a_file_give_the_same(embedded: str, tmp_path: Path, capsys: Out) -> None:
    job = configured(
        tmp_path, embedded, level={"false_alarms": RATE}, hot={"kind": "bounds", "above": 22}
    )
    values = normal(4_000)
    job.send(Reading("a", START_MS + i * 60_000, value) for i, value in enumerate(values))
    of_topic = document(capsys, str(job.path))
    path = written(tmp_path / "past.csv", "a", values)
    of_file = document(capsys, str(job.path), "--file", path)
    assert of_topic["source"] == job.input
    assert of_topic | {"source": ""} == of_file | {"source": ""}
    hot = of_topic["rules"][1]
    above = np.array(values) > 22
    assert hot["raised"] == np.count_nonzero(above[1:] & ~above[:-1]) + above[0]
    assert (hot["kind"], hot["expected"], hot["grid"]) == ("bounds", None, [])


def test_a_rate_by_time_goes_by_the_history(tmp_path: Path, capsys: Out) -> None:
    job = configured(tmp_path, level={"limit": 3.0})
    path = written(tmp_path / "past.csv", "a", normal(20_160))  # one a minute: two weeks
    (level,) = document(capsys, str(job.path), "--file", path)["rules"]
    assert (level["readings_per_false_alarm"], level["calibrated"]) == (None, None)
    given = ("--false-alarms", "10 per week")
    (level,) = document(capsys, str(job.path), "--file", path, *given)["rules"]
    assert level["readings_per_false_alarm"] == pytest.approx(1_008, rel=1e-3)
    assert level["calibrated"]["wanted"] == pytest.approx(10, rel=0.01)


def sentence(capsys: Out, *arguments: str) -> str:
    assert main(["backtest", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


def test_what_cannot_be_tested_is_a_sentence(tmp_path: Path, capsys: Out) -> None:
    job = configured(tmp_path)
    path = written(tmp_path / "past.csv", "a", normal(300))
    own = [str(job.path), "--file", path]
    assert "is not a rate above 0" in sentence(capsys, *own, "--false-alarms", "often")
    assert "has no readings in that time" in sentence(capsys, *own, "--from", "2050-01-01")
    job.configure()
    assert "has no rules to test; add [alarms]" in sentence(capsys, *own)


def test_a_limit_that_cannot_be_written_leaves_the_file_as_it_was(
    tmp_path: Path, capsys: Out
) -> None:
    job = configured(tmp_path)
    text = job.path.read_text().replace("[alarms.level]\n", "[alarms]\nlevel = {")
    text = text.replace(f'false_alarms = "{RATE}"\n', f'false_alarms = "{RATE}"}}\n')
    job.path.write_text(text.replace("[alarms]\n[alarms]", "[alarms]"))
    before = job.path.read_text()
    assert load(job.path).alarms is not None
    path = written(tmp_path / "past.csv", "a", normal(20_000))
    assert main(["backtest", str(job.path), "--file", path, "--write"]) == 2
    assert "there yourself" in capsys.readouterr().err
    assert job.path.read_text() == before
