"""Make the pictures of the page: ``python -m tests.docs.make_page_pictures``, with Chromium.

``watch.png`` is the page of ``ewma demo`` once all that was recorded has been replayed;
``forecast.png`` and ``season.png`` are charts of the last days of recorded temperatures, with the
forecasts of a line and with those of a season.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ewma_ops import Readings
from ewma_ops.demo.data import recorded_series
from ewma_ops.demo.faults import FAULTY, faulty_series
from ewma_ops.settings.load import load_tables
from ewma_ops.table import SeriesTable
from ewma_ops.watch.book import Book
from ewma_ops.watch.deep import Deep, Part
from ewma_ops.watch.looker import Looker
from ewma_ops.watch.outlook import NAMES
from ewma_ops.watch.plot import as_html
from ewma_ops.watch.server import about, measures_of
from ewma_ops.watch.status import Status
from ewma_ops.watch.view import View
from tests.helpers.jobs import EWMA
from tests.helpers.patience import PATIENCE_S
from tests.helpers.servers import BROWSER, required

PICTURES = Path(__file__).parents[2] / ".github"
_ADDRESS = re.compile(r"see it live: (\S+)")
_SETTLE_MS = 2_000
_SERIES = "seattle-hourly"
LINE: dict[str, Any] = {"beta": 0.2, "horizon": 3, "damping": 4}
SEASON: dict[str, Any] = {"beta": 0.9, "horizon": 24, "season": 24, "season_halflife": 24}


def temperatures(options: dict[str, Any], days: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the chart of the last temperatures, smoothed with some options, and its measure."""
    rows = recorded_series()[_SERIES]
    job = load_tables(
        {
            "kafka": {"bootstrap_servers": "127.0.0.1:1"},
            "input": {"topic": "readings"},
            "smooth": {**options, "statistics": ["mean", *NAMES]},
            "output": {"topic": "smoothed"},
        }
    )
    values, times = np.array([one.value for one in rows]), np.array([one.time_ms for one in rows])
    readings = Readings.of([_SERIES] * len(rows), values, times)
    found = SeriesTable(job.smoothing_set).update(readings).statistics
    numbers = np.column_stack([values, *found.values()])
    book, offsets, seconds = Book(measures_of(job)), np.arange(len(rows)), times / 1000

    def read_back(_: int, place: int, deep: Deep) -> None:
        with book.lock:
            deep.live_from = len(rows)
            deep.add_past(Part(offsets, book.numbers(place, seconds, numbers)))
            deep.is_read = True

    written = np.full(len(rows), time.time())
    book.take([_SERIES] * len(rows), seconds, written, numbers, offsets, 0, is_live=True)
    looker = Looker(book, Status(is_caught_up=True), read_back)
    (chart,) = looker.charts(View(open=(_SERIES,), span=86_400.0 * days, width=900))
    (measure,) = about(job, Path("job.toml"), 3600.0)["measures"]
    return chart, measure


def draw_forecast(browser: Any, name: str, options: dict[str, Any], days: int) -> None:
    """Picture the temperatures."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "plot.html"
        chart, measure = temperatures(options, days)
        file.write_text(as_html([chart], measure, _SERIES), "utf-8")
        page = browser.new_page(viewport={"width": 960, "height": 760})
        page.goto(file.as_uri())
        page.locator("#chart canvas").wait_for()
        page.locator("#right").screenshot(path=PICTURES / f"{name}.png")


def draw_demo(browser: Any) -> None:
    """Picture the page of the demo."""
    with tempfile.TemporaryDirectory() as directory:
        command = [*EWMA, "demo", "--forever", "--directory", directory]
        demo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert demo.stdout is not None
            address = next(found[1] for line in demo.stdout if (found := _ADDRESS.search(line)))
            page = browser.new_page(viewport={"width": 1280, "height": 740})
            page.set_default_timeout(1000 * PATIENCE_S)
            page.goto(f"{address}#open={FAULTY}")
            whole = f"{len(faulty_series()):,} readings"
            page.locator("#summary", has_text=whole).wait_for()
            page.locator("#rows", has_text="synthetic-04").wait_for()
            page.wait_for_timeout(_SETTLE_MS)
            page.screenshot(path=PICTURES / "watch.png")
        finally:
            demo.terminate()
            demo.communicate(timeout=PATIENCE_S)


def main() -> None:
    """Make all."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = required(BROWSER)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        draw_forecast(browser, "forecast", LINE, 3)
        draw_forecast(browser, "season", SEASON, 5)
        draw_demo(browser)
        browser.close()


if __name__ == "__main__":
    main()
