"""Designs, and the command that prints them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from ewma_ops import Decay
from ewma_ops.commands.cli import main
from ewma_ops.errors import ConfigError
from ewma_ops.monitor.chart_design import design


def test_a_design_has_the_published_limit_and_delays() -> None:
    found = design(Decay(alpha=0.03), 499.859)
    assert found.limit == pytest.approx(2.437, abs=1e-5)
    assert found.delays == pytest.approx(
        {0.25: 76.726, 0.5: 29.321, 1.0: 12.598, 2.0: 5.987, 3.0: 4.029}, abs=2e-3
    )


def test_a_decay_by_time_has_no_run_length() -> None:
    with pytest.raises(ConfigError, match="is by time: run lengths are counted in readings"):
        design(Decay(halflife="5min"), 500)


def test_a_spread_rule_is_designed_by_how_much_larger_the_deviation_is() -> None:
    found = design(Decay(alpha=0.1), 500, kind="spread")
    assert (found.limit, found.limits) == (3.332123, "upper")
    assert list(found.delays) == [1.25, 1.5, 2.0, 3.0, 5.0]
    simulated = np.ones(4_000)
    first, random = np.zeros(4_000), np.random.default_rng(4)
    top = 1 + found.limit * math.sqrt(0.2 / 1.9)
    for t in range(1, 400):
        squares = np.minimum(random.normal(0, 1.5, 4_000) ** 2, 25.0)
        simulated += 0.1 * (squares - simulated)
        first[(simulated > top) & (first == 0)] = t
    assert (first > 0).all()
    assert abs(first.mean() - found.delays[1.5]) < 4 * first.std() / math.sqrt(4_000)
    with pytest.raises(ConfigError, match="kind is 'spike': it must be one of level, spread"):
        design(Decay(alpha=0.1), 500, kind="spike")
    with pytest.raises(ConfigError, match="only a level rule has exact limits"):
        design(Decay(alpha=0.1), 500, kind="spread", exact=True)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["design", "--beta", "0.9", "--false-alarms", "1 per 500 readings", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    delays = {shift: float(f"{length:.3g}") for shift, length in found.pop("delays").items()}
    assert delays == {"0.25": 106, "0.5": 31.3, "1": 10.3, "2": 4.36, "3": 2.87}  # published
    assert found == {
        "beta": 0.9,
        "readings_per_false_alarm": 500.0,
        "limits": "fixed",
        "limit": 2.81431,
    }
    spread = ["design", "--beta", "0.9", "--false-alarms", "1 per 500 readings", "--rule", "spread"]
    assert main(spread) == 0
    said = capsys.readouterr().out
    assert said.startswith("limit 3.332123 standard errors (upper limit)\n")
    assert "standard deviation     readings until the alarm\n  (times as large)" in said
    assert main(["design", "--span", "19", "--false-alarms", "1 per 500 readings", "--exact"]) == 0
    assert capsys.readouterr().out.startswith("limit 2.823874 standard errors (exact limits)\n")


def test_the_page_shows_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "alarms.md").read_text("utf-8")
    assert main(["design", "--beta", "0.9", "--false-alarms", "1 per 500 readings"]) == 0
    assert f"```text\n{capsys.readouterr().out}```" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--beta", "0.5", "--false-alarms", "1 per week"], 'such as --readings "100 per s"'),
        (["--beta", "1.5", "--false-alarms", "1 per 9 readings"], "0 <= beta < 1"),
        (["--beta", "0.9", "--false-alarms", "1 per reading"], "2 to 1e+09"),
    ],
)
def test_mistakes_are_explained(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["design", *arguments]) == 2
    assert message in capsys.readouterr().err
