"""The picture: its curves are the package's, and it is not blank."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ewma_ops.demo.data import RecordedReading, recorded_series
from ewma_ops.demo.picture import curves, draw


@pytest.fixture(scope="module")
def days() -> list[RecordedReading]:
    return recorded_series()["seattle-daily-max"]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_curves_are_those_of_the_formula(days: list[RecordedReading]) -> None:
    (curve,) = curves([RecordedReading("s", 0, 30), RecordedReading("s", 1, 17)], [0.9])
    assert curve.uncorrected == pytest.approx([3, 4.4])
    assert curve.corrected == pytest.approx([30, 4.4 / 0.19])
    slow = curves(days, [0.98])[0]
    assert slow.uncorrected[0] < 0.3
    assert slow.corrected[0] == pytest.approx(12.8)
    assert slow.uncorrected[-1] == pytest.approx(slow.corrected[-1])


@pytest.mark.slow
def test_picture_shows_every_curve(tmp_path: Path, days: list[RecordedReading]) -> None:
    path = tmp_path / "picture.png"
    draw(path, days, {})
    drawn = pixels(path)
    assert drawn.shape == (900, 1400, 3)
    assert drawn.std() > 20
    for colour in ((0xE6, 0x9F, 0x00), (0x00, 0x72, 0xB2), (0x8C, 0x1D, 0x82)):
        assert (drawn == colour).all(axis=2).sum() > 500


@pytest.mark.slow
def test_picture_draws_what_the_flow_put_out(tmp_path: Path, days: list[RecordedReading]) -> None:
    own, flow, wrong = (tmp_path / name for name in ("own.png", "flow.png", "wrong.png"))
    averages = curves(days, [0.98])[0].corrected
    draw(own, days, {})
    draw(flow, days, {0.98: averages})
    draw(wrong, days, {0.98: averages + 5})
    above_the_footer = slice(0, 850)
    assert (pixels(own) == pixels(flow))[above_the_footer].all()
    assert not (pixels(own) == pixels(wrong))[above_the_footer].all()
