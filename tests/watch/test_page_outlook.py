"""Where a series is going, as a person sees it on the page: in a real browser, without a broker."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ewma_ops import Smoothing
from ewma_ops.settings.load import load_tables
from ewma_ops.watch.outlook import NAMES
from ewma_ops.watch.plot import as_html
from ewma_ops.watch.server import about
from tests.helpers.patience import PATIENCE_S
from tests.helpers.watched import served
from tests.watch.test_outlook import Seen
from tests.watch.test_page import AUDIT

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

JOB = load_tables(
    {
        "kafka": {"bootstrap_servers": "127.0.0.1:1"},
        "input": {"topic": "in"},
        "output": {"topic": "out"},
        "smooth": {"halflife": "10min", "horizon": "15min", "statistics": ["mean", "sem", *NAMES]},
    }
)
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture
def seen() -> Seen:
    smoothing = JOB.smoothing_set.smoothings[0][1]
    assert isinstance(smoothing, Smoothing)
    return Seen(smoothing)


@pytest.fixture
def opened(browser: Any, seen: Seen) -> Iterator[Callable[..., Any]]:
    problems: list[str] = []
    contexts = []
    with served(book=seen.book, job=JOB) as (host, port):

        def open_page(fragment: str, **options: Any) -> Any:
            context = browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **options})
            contexts.append(context)
            page = context.new_page()
            page.set_default_timeout(1000 * PATIENCE_S)
            page.on("console", lambda one: problems.append(one.text) if one.type != "log" else None)
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.goto(f"http://{host}:{port}/#{fragment}")
            return page

        yield open_page
        for context in contexts:
            context.close()
    assert problems == []


def rising(n: int) -> list[float]:
    noise = np.random.default_rng(3).normal(0, 0.5, n)
    found: list[float] = (20 + 0.05 * np.arange(n) + noise).tolist()
    return found


def picture(page: Any) -> str:
    return str(page.evaluate("document.querySelector('#chart canvas').toDataURL()"))


def test_the_forecast_is_drawn_ahead_and_goes_on_with_the_readings(
    seen: Seen, opened: Callable[..., Any]
) -> None:
    values = rising(120)
    page = opened("open=tank")
    page.get_by_text("it is shown as soon as one does").wait_for()
    seen.write("tank", [0], values[:1])
    page.locator("#summary", has_text="reading what was written before").or_(
        page.locator("#summary", has_text="Reading what was written before")
    ).wait_for()
    seen.write("tank", range(1, 80), values[1:80])
    page.locator("#summary", has_text="79 readings").wait_for()
    before = picture(page)
    seen.write("tank", range(80, 120), values[80:])
    page.locator("#summary", has_text="119 readings").wait_for()
    text = page.locator("#summary").inner_text()
    number = r"2\d\.\d{3}"
    assert re.search(f"Forecast in 15 min: {number}, 95 % between {number} and {number}\\.", text)
    assert re.search(r"it is better than the last value \(mase 0\.\d\d\)", text)
    assert re.search(r"Of 10\d readings \d+ % came within the bounds forecast 15 min before", text)
    for place, terms in (
        ("#now", ("in 15 min", "95 % within", "trend /h", "mase")),
        ("#legend", ("forecast", "95 % within", "forecast 15 min before")),
    ):
        shown = page.locator(place).inner_text()
        assert [term for term in terms if term not in shown] == []
    assert picture(page) != before
    other = opened("open=tank")
    other.locator("#summary", has_text="119 readings").wait_for()
    assert picture(other) == picture(page), "told in parts, and at once"
    box = page.locator("#chart canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] - 20, box["y"] + 100)
    hovered = page.locator("#legend li", has_text=re.compile("^at"))
    hovered.filter(has_text=re.compile("2023-11-15 00:2")).wait_for()
    assert "\u2013" in page.locator("#legend li").first.inner_text(), "no reading is there yet"


def test_a_row_has_its_trend_and_its_forecast(seen: Seen, opened: Callable[..., Any]) -> None:
    seen.write("tank", range(40), rising(40))
    page = opened("")
    page.locator("#rows td.trend", has_text=re.compile(r"^↗ \+\d\.\d{3}$")).wait_for()
    assert page.locator("#trend-name").inner_text() == "trend /h"
    assert page.locator("#forecast-name").inner_text() == "in 15 min"
    assert re.fullmatch(r"2\d\.\d{3}", page.locator("#rows td.forecast").inner_text())


@pytest.mark.parametrize(
    "options", [{"color_scheme": "light"}, {"color_scheme": "dark"}, PHONE], ids=str
)
def test_names_contrast_and_width(
    seen: Seen, opened: Callable[..., Any], options: dict[str, Any]
) -> None:
    seen.write("tank", [0], [20.0])
    seen.chart("tank")
    seen.write("tank", range(1, 40), rising(39))
    page = opened("open=tank", **options)
    page.locator("#legend", has_text="95 % within").wait_for()
    assert page.evaluate(AUDIT) == []
    width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1]


@pytest.mark.parametrize("n", [1, 2, 40])
def test_a_plot_of_its_file_alone_has_it_too(
    seen: Seen, opened: Callable[..., Any], tmp_path: Path, n: int
) -> None:
    for name in ("tank", "vat"):
        seen.write(name, [0], [20.0])
        seen.chart(name)
        seen.write(name, range(1, n + 1), rising(n))
    (measure,) = about(JOB, Path("job.toml"), 60.0)["measures"]
    page = opened("")
    for names in (["tank"], ["tank", "vat"]):
        charts = json.loads(json.dumps([seen.chart(name) for name in names]))
        (tmp_path / "plot.html").write_text(as_html(charts, measure, "plot"), "utf-8")
        page.goto((tmp_path / "plot.html").as_uri())
        page.locator("#chart canvas").wait_for()
        said = "Forecast in 15 min: " if len(names) == 1 else "dashed, their forecasts"
        assert said in page.locator("#summary").inner_text()
