"""What the guide says of its pictures of forecasts is what the page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.make_page_pictures import LINE, PICTURES, SEASON, temperatures

PAGE = Path(__file__).parents[2] / "docs" / "forecasting.md"


@pytest.mark.slow
def test_the_figures_of_the_pictures_of_forecasts() -> None:
    text = " ".join(PAGE.read_text("utf-8").split())
    chart, measure = temperatures(LINE, 3)
    assert measure["outlook"]["horizon"] == "3 readings"
    assert "Of 73 readings 79 % came within" in chart["outlook"]["sentence"]
    assert "`beta = 0.2`, `horizon = 3` and `damping = 4`, 79 % came within bounds for 95 %" in text
    assert LINE == {"beta": 0.2, "horizon": 3, "damping": 4}
    chart, measure = temperatures(SEASON, 5)
    assert measure["outlook"]["horizon"] == "24 readings"
    assert "Of 121 readings 49 % came within" in chart["outlook"]["sentence"]
    said = "`beta = 0.9`, `horizon = 24`, `season = 24` and `season_halflife = 24`"
    assert said in text
    assert "but 49 % within the bounds" in text
    assert SEASON == {"beta": 0.9, "horizon": 24, "season": 24, "season_halflife": 24}
    assert (PICTURES / "forecast.png").is_file()
    assert (PICTURES / "season.png").is_file()
