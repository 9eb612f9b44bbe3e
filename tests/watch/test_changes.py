"""What is told of a chart: only what differs, and with it the page has all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ewma_ops.watch.changes import POINTS, Sent
from ewma_ops.watch.deep import COLUMNS, Deep, Part, drawn
from ewma_ops.watch.view import View
from tests.watch.test_terminal import a_looker


class Page:
    """Joins what it is told with what it has, as the page does."""

    def __init__(self) -> None:
        self.has: dict[str, Any] = {}
        self.told = 0

    def take(self, told: dict[str, Any]) -> None:
        self.told += len(told["x"])
        if "after" in told:
            assert told["after"] == self.has["number"]
            drop, keep = told["drop"], told["keep"]
            told |= {name: self.has[name][drop : drop + keep] + told[name] for name in POINTS}
        self.has = told


@pytest.mark.slow
@pytest.mark.parametrize("spans", [(np.inf,), (300.0,), (3_000.0,), (300.0, np.inf, 3_000.0)])
@pytest.mark.parametrize("late_share", [0.0, 0.02])
def test_a_page_has_what_is_drawn_and_is_told_little(
    spans: tuple[float, ...], late_share: float
) -> None:
    rng = np.random.default_rng(1)
    deep, sent, page = Deep(live_from=0), Sent(), Page()
    points = drawn_points = 0
    clock, width = 1.7e9, 200
    for turn in range(300):
        n = int(rng.integers(0, 20))
        times = clock + np.sort(rng.random(n))
        late = rng.random(n) < late_share
        times[late] -= 30.0
        clock += 1.0
        numbers = np.full((n, COLUMNS), np.nan)
        numbers[:, 0] = times
        numbers[:, 1:3] = rng.normal(20, 1, (n, 2))
        numbers[rng.random(n) < 0.05, 1] = np.nan
        deep.add_live(Part(np.arange(n), numbers))
        whole = deep.whole()
        newest = float(whole.numbers[-1, 0]) if len(whole.numbers) else 0.0
        seen = drawn(whole, width, newest - spans[turn // 100 % len(spans)], np.inf)
        told = sent.points("a", seen)
        points += len(told["x"])
        drawn_points += len(seen.x)
        page.take(told)
        for name in POINTS:
            right = [None if np.isnan(one) else one for one in getattr(seen, name).tolist()]
            assert page.has[name] == right, name
        assert np.isin(numbers[late, 0], whole.numbers[whole.late, 0]).all()
    assert len(page.has["x"]) <= 2 * width + 4
    if not late_share:
        assert points < 0.15 * drawn_points, (points, drawn_points)


def test_nothing_new_is_told_as_nothing_and_a_closed_chart_begins_anew() -> None:
    deep, sent = Deep(live_from=0), Sent()
    deep.add_live(Part(np.arange(50), np.arange(350.0).reshape(50, COLUMNS)))
    seen = drawn(deep.whole(), 200, -np.inf, np.inf)
    assert "after" not in sent.points("a", seen)
    again = sent.points("a", seen)
    assert (again["number"], again["after"], again["keep"], again["x"]) == (1, 1, 50, [])
    assert sent.points("a", seen) == again
    sent.forget_all_but(["b"])
    assert len(sent.points("a", seen)["x"]) == 50


def test_a_chart_that_is_named_twice_is_told_once() -> None:
    _, looker = a_looker(["a", "b"])
    told = looker.charts(View(open=("a", "b", "a")), Sent())
    assert [one["id"] for one in told] == ["a", "b"]
    assert not any("after" in one for one in told), "points that follow on none"
