"""``ewma plan``, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ewma_ops.commands.cli import main

ASKED = ["plan", "--rate", "500000", "--series", "2000000"]


def test_the_plan_is_told_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(ASKED) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "500,000 readings a second of 2,000,000 series"
    told = [line.split()[0] for line in lines[2:9]]
    assert told == ["workers", "one", "shards", "partitions", "memory", "snapshot", "recovery"]


def test_json_has_the_same_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    main([*ASKED, "--json"])
    found = json.loads(capsys.readouterr().out)
    main(ASKED)
    lines = capsys.readouterr().out.splitlines()
    for line, name in zip(
        (lines[2], *lines[4:6]), ("workers", "shards", "partitions"), strict=True
    ):
        assert int(line.split()[1].replace(",", "")) == found[name]
    assert f"{found['snapshot_mb']:,.0f} MB" in lines[7]


def test_a_file_says_what_a_series_keeps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "job.toml"
    config.write_text(
        """
        kafka.bootstrap_servers = "127.0.0.1:9092"
        input = { topic = "readings", series_id = "id", value = "x", time = "t" }
        smooth = { halflife = "1min", statistics = ["mean", "std", "rate"], lowest = 100 }
        output.topic = "smoothed"
        dead_letters.topic = "letters"
        recovery = { directory = "state", interval = "2s" }
        alarms = { topic = "alarms", high = { kind = "level", limit = 4.0 } }
        """
    )
    found = []
    for arguments in (["plan"], ["plan", str(config)]):
        assert main([*arguments, *ASKED[1:], "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    mean, more = found
    assert more["snapshot_mb"] > 1.5 * mean["snapshot_mb"]
    assert (more["further_us"] > 0.0, mean["further_us"]) == (True, 0.0)
    assert more["most_per_worker"] == 1e6 / more["cpu_us"] < mean["most_per_worker"]
    assert more["written_mb_s"] == pytest.approx(more["snapshot_mb"] / 2)


@pytest.mark.parametrize("text", ["0", "-3", "many", "1e6", "9999999999999"])
def test_what_is_no_count_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["plan", "--rate", text, "--series", "10"])
    assert exit_.value.code == 2
    assert "is not a whole number from 1 to 1,000,000,000,000" in capsys.readouterr().err


def test_an_id_longer_than_any_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*ASKED, "--id-bytes", "1000000000"])
    assert "'1000000000' is not a whole number from 1 to 10,000" in capsys.readouterr().err


def test_too_much_for_one_job_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--rate", "900000000", "--series", "10"]) == 2
    assert "split the topic over several jobs" in capsys.readouterr().err
