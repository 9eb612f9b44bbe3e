"""What the guide says of its picture of forecasts is what the page says."""

from __future__ import annotations

from pathlib import Path

from tests.docs.make_page_pictures import PICTURES, SMOOTH, temperatures

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"


def test_the_figures_of_the_picture_of_forecasts() -> None:
    chart, measure = temperatures()
    said = chart["outlook"]["sentence"]
    assert measure["outlook"]["horizon"] == "3 readings"
    assert "Of 73 readings 79 % came within" in said
    assert "(mase 0.68)" in said
    text = " ".join(GUIDE.read_text("utf-8").split())
    assert "`beta = 0.2`, `horizon = 3` and `damping = 4`, 79 % came within bounds for 95 %" in text
    assert (SMOOTH["beta"], SMOOTH["horizon"], SMOOTH["damping"]) == (0.2, 3, 4)
    assert (PICTURES / "forecast.png").is_file()
