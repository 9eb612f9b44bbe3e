"""The page of `ewma watch` as a person sees it: in a real browser, on a real broker."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import pytest

from ewma_ops import Decay, Readings, Smoothing
from ewma_ops.demo.broker import free_port
from ewma_ops.settings.load import load
from ewma_ops.table import SeriesTable
from ewma_ops.watch.plot import as_html
from tests.helpers.brokers import Record, make_topic, produce
from tests.helpers.jobs import EWMA, Job, started
from tests.helpers.patience import PATIENCE_S, slowness, slowness_during
from tests.helpers.watched import Events, watching_page

pytestmark = [pytest.mark.broker, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

MS = 1000 * PATIENCE_S
HOSTILE = [
    "<img src=x onerror=\"document.title='taken'\">",
    "\u202egnp.exe",
    "a\nb\tc\x07",
    "x" * 10_000,
    "'; DROP TABLE series; --",
    "=1+cmd|' /C calc'!A0",
]


class Shown(NamedTuple):
    """A page of its own: what it shows, and how to see the same in another."""

    address: str
    events: Events
    job: Job
    open: Callable[..., Any]


@pytest.fixture(scope="module")
def served(
    browser: Any, embedded: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Events, Job]]:
    """One server for all: twelve named series, two thousand numbered ones, and hostile ids."""
    job = Job(embedded, tmp_path_factory.mktemp("watch"))
    job.configure(
        kafka={"bootstrap_servers": embedded, "fetch_max_wait_ms": 20},
        input={"topic": job.input, "series_id": "series_id", "time": "ts", "max_id_bytes": 20_000},
        smooth={"beta": 0.9, "statistics": ["mean", "std", "sem", "settled"]},
        alarms={
            "topic": make_topic(embedded, 2, "alarms"),
            "in_events": False,
            "level": {"false_alarms": "1 per 1000 readings"},
        },
    )
    events = Events(job)
    rng = np.random.default_rng(7)
    names = [f"room-{i:02}" for i in range(12)]
    events.write(names * 60, rng.normal(20, 1, 720).tolist())
    events.write(
        [f"plant{i % 7}/sensor-{i:04}" for i in range(2000)], rng.normal(size=2000).tolist()
    )
    events.write(HOSTILE, [1.0] * len(HOSTILE))
    letter = [("ewma-cause", b"not-json"), ("ewma-detail", b"<b>bold</b>"), ("ewma-topic", b"t")]
    letter += [("ewma-partition", b"0"), ("ewma-offset", b"7"), ("ewma-timestamp", b"5")]
    produce(embedded, job.dead_letters, [Record(b"{<script>", b"k", letter)])
    with watching_page(job.path) as address:
        yield address, events, job


@pytest.fixture
def shown(browser: Any, served: tuple[str, Events, Job]) -> Iterator[Shown]:
    address, events, job = served
    problems: list[str] = []
    with contextlib.ExitStack() as open_ones:

        def open_page(fragment: str = "", **options: Any) -> Any:
            context = browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **options})
            open_ones.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(MS)
            page.on("console", lambda message: _note(message, problems))
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.goto(f"{address}#{fragment}")
            return page

        yield Shown(address, events, job, open_page)
    assert problems == []


def _note(message: Any, problems: list[str]) -> None:
    if message.type in ("error", "warning"):
        problems.append(message.text)


def row(page: Any, name: str) -> Any:
    return page.locator("#rows tr").filter(has=page.get_by_text(name, exact=True))


def test_a_reading_is_on_the_page_within_half_a_second(shown: Shown) -> None:
    page = shown.open("q=room-")
    row(page, "room-03").wait_for()
    took = []
    for i in range(5):
        value = 7000.5 + i
        shown.events.write(["room-03"], [value])
        began = time.monotonic()
        row(page, "room-03").locator("td.value", has_text=re.compile(f"7,00{i}")).wait_for()
        took.append(time.monotonic() - began)
    assert sorted(took)[2] <= 0.5 * slowness(), took


def test_a_new_series_gets_its_row_and_the_chart_moves(shown: Shown) -> None:
    page = shown.open("q=fresh-&open=fresh-one")
    page.get_by_text("it is shown as soon as one does").wait_for()
    shown.events.write(["fresh-one"] * 30, list(range(30)))
    row(page, "fresh-one").wait_for()
    page.locator("#summary", has_text="30 readings").wait_for()
    before = _picture(page)
    shown.events.write(["fresh-one"] * 10, [90.0] * 10)
    page.locator("#summary", has_text="40 readings").wait_for()
    assert _picture(page) != before


def test_a_page_is_told_what_is_new_and_a_late_reading_is_marked(shown: Shown) -> None:
    shown.events.write(["told"] * 800, [20.0] * 800)
    page = shown.open("q=told&open=told")
    page.locator("#summary", has_text="800 readings").wait_for()
    page.evaluate(
        """window.told = [];
        const parse = JSON.parse;
        JSON.parse = (text) => {
          const frame = parse(text);
          if (frame?.charts?.length) told.push(frame.charts[0].x.length);
          return frame;
        }"""
    )
    shown.events.write(["told"] * 5, [21.0] * 5)
    page.locator("#summary", has_text="805 readings").wait_for()
    assert page.evaluate("Math.max(...told)") == 5
    with shown.events.clock_back(30):
        shown.events.write(["told"], [99.0])
    page.locator("#legend li", has_text="late or corrected").wait_for()
    page.locator("#summary", has_text="806 readings").wait_for()
    assert page.evaluate("Math.max(...told)") <= 36, "from the late one on"
    other = shown.open("q=told&open=told")
    other.locator("#summary", has_text="806 readings").wait_for()
    assert _picture(other) == _picture(page)


def _picture(page: Any) -> str:
    return str(page.evaluate("document.querySelector('#chart canvas').toDataURL()"))


def test_search_finds_one_of_many_and_tells_how_many(shown: Shown) -> None:
    page = shown.open()
    page.locator("#rows tr").first.wait_for()
    page.keyboard.press("/")
    page.keyboard.type("sensor-1234")
    row(page, "plant2/sensor-1234").wait_for()
    page.locator("#range", has_text=re.compile(r"1.1 of 1 that match, of 2,0\d\d")).wait_for()
    page.locator("#q").fill("plant3/*")
    page.locator("#range", has_text=re.compile(r"of 286 that match")).wait_for()
    page.locator("#q").fill("no such series")
    page.get_by_text("No series matches").wait_for()


def test_a_link_opens_exactly_the_same_view(shown: Shown) -> None:
    page = shown.open("q=room-")
    row(page, "room-05").wait_for()
    row(page, "room-05").get_by_role("button").click()
    page.locator("#chart-name", has_text="room-05").wait_for()
    row(page, "room-07").get_by_role("button").click(modifiers=["Shift"])
    page.locator("#legend li", has_text="room-07").wait_for()
    page.locator("#sort").select_option("z")
    fragment = page.evaluate("location.hash.slice(1)")
    other = shown.open(fragment)
    other.locator("#legend li", has_text="room-07").wait_for()
    for what in ("#chart-name", "#range", "#legend"):
        assert _without_numbers(other, what) == _without_numbers(page, what)
    assert other.locator("#sort").input_value() == "z"
    assert other.locator("#q").input_value() == "room-"


def _without_numbers(page: Any, selector: str) -> str:
    return re.sub(r"[\d.,\u2212]+", "#", page.locator(selector).inner_text())


def test_keys_move_open_add_and_close(shown: Shown) -> None:
    page = shown.open("q=room-")
    row(page, "room-00").wait_for()
    for key in ("j", "j", "Enter"):
        page.keyboard.press(key)
    page.locator("#chart-name", has_text="room-01").wait_for()
    page.keyboard.press("j")
    page.keyboard.press("o")
    page.locator("#chart-name", has_text="room-02").wait_for()
    page.keyboard.press("Escape")
    page.locator("#right").wait_for(state="hidden")
    page.keyboard.press("?")
    page.get_by_role("dialog").get_by_text("add the row to the chart").wait_for()
    page.keyboard.press("Escape")
    dark = page.evaluate("document.documentElement.dataset.theme")
    page.keyboard.press("d")
    assert page.evaluate("document.documentElement.dataset.theme") != dark


@pytest.mark.parametrize("fragment", ["", "q=room-&open=room-01"])
def test_a_phone_needs_no_sideways_scroll(shown: Shown, fragment: str) -> None:
    phone = {"width": 390, "height": 844}
    page = shown.open(fragment, viewport=phone, has_touch=True, is_mobile=True)
    page.locator("#rows tr").first.wait_for()
    if fragment:
        page.locator("#chart canvas").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= phone["width"]
    small = page.evaluate(
        """[...document.querySelectorAll("button, a, select, input")]
        .filter((one) => one.offsetParent && one.getBoundingClientRect().height < 44)
        .map((one) => one.outerHTML.slice(0, 80))"""
    )
    assert small == []


def test_hostile_ids_and_letters_are_shown_as_text(shown: Shown) -> None:
    page = shown.open()
    row(page, "'; DROP TABLE series; --").wait_for()
    last = shown.open("desc=1")
    row(last, r"\u{202e}gnp.exe").wait_for()
    text = page.locator("#rows").inner_text() + last.locator("#rows").inner_text()
    assert '<img src=x onerror="document.title' in text
    assert "\u202e" not in text
    assert r"a\u{a}b\u{9}c\u{7}" in text
    assert "xxxxxxxx" in text
    assert "x" * 500 not in text
    assert page.evaluate("document.querySelectorAll('#rows img').length") == 0
    assert last.evaluate("document.documentElement.scrollWidth") <= 1400
    page.get_by_text("<img src=x").click()
    page.locator("#chart canvas").wait_for()
    page.locator("#letters").click()
    page.get_by_role("dialog").get_by_text("<b>bold</b>").wait_for()
    page.get_by_role("dialog").get_by_text("{<script>").wait_for()
    assert "taken" not in page.title()


def test_an_alarm_turns_its_row_and_tells_what_was_expected(shown: Shown) -> None:
    shown.events.write(["room-09"] * 50, [20.0] * 50)
    page = shown.open("q=room-&open=room-09")
    row(page, "room-09").wait_for()
    alarm = {
        "alarm_id": "level-0-7-9f3a51c2",
        "transition": "raised",
        "rule": "level",
        "kind": "level",
        "severity": "warning",
        "direction": "high",
        "series_id": "room-09",
        "time": 1_700_000_790_000,
        "since": 1_700_000_790_000,
        "designed": "1 per 1000 readings",
        "summary": "room-09 is high: 24.1, expected 20.0 <b>",
    }
    _tell(shown.job, alarm)
    state = row(page, "room-09").locator("td.st")
    state.filter(has_text="level high").wait_for()
    assert state.get_attribute("data-kind") == "alarm high"
    page.locator("#extra").get_by_text("expected 20.0 <b>").wait_for()
    page.locator("#extra").get_by_text("designed for 1 per 1000 readings").wait_for()
    page.locator("#legend", has_text="1 on now").wait_for()
    page.locator("[data-only=alarm]").click()
    page.locator("#range", has_text=re.compile("1.1 of 1 that match")).wait_for()
    page.keyboard.press("a")
    page.get_by_role("dialog").get_by_text("Alarms: 1 on").wait_for()
    page.get_by_role("dialog").get_by_role("button", name="room-09 is high").wait_for()
    page.keyboard.press("Escape")
    _tell(shown.job, {**alarm, "transition": "cleared", "by": "back", "time": 1_700_000_800_000})
    page.get_by_text("No series matches").wait_for()
    page.locator("[data-only=alarm]").click()
    state.filter(has_text="live").or_(state.filter(has_text="silent")).wait_for()


def _tell(job: Job, alarm: dict[str, object]) -> None:
    topic = load(job.path).alarms
    assert topic is not None
    key = str(alarm["series_id"]).encode()
    produce(job.bootstrap, topic.topic, [Record(json.dumps(alarm).encode(), key)])


AUDIT = """(() => {
  const problems = [];
  const visible = (one) => one.offsetParent && getComputedStyle(one).visibility !== "hidden";
  for (const one of document.querySelectorAll("button, a[href], input, select")) {
    if (!visible(one)) continue;
    const label = one.labels?.[0]?.innerText;
    const name = one.getAttribute("aria-label") || one.innerText.trim() || label;
    if (!name) problems.push("no name: " + one.outerHTML.slice(0, 100));
  }
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const part = [r, g, b].map((c) => c / 255)
      .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  };
  const behind = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const c = parse(getComputedStyle(at).backgroundColor);
      if (c.length && (c.length < 4 || c[3] > 0.99)) return c;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const one = walker.currentNode.parentElement;
    const text = walker.currentNode.data.trim();
    if (!text || !visible(one) || one.disabled) continue;
    const a = light(parse(getComputedStyle(one).color)), b = light(behind(one));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) problems.push(`contrast ${ratio.toFixed(2)}: ${text.slice(0, 40)}`);
  }
  if (document.querySelector("th:not([scope])")) problems.push("a th without a scope");
  if (!document.documentElement.lang) problems.push("no language");
  return [...new Set(problems)];
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_names_and_contrast(shown: Shown, scheme: str) -> None:
    page = shown.open("q=room-&open=room-01", color_scheme=scheme)
    page.locator("#chart canvas").wait_for()
    row(page, "room-01").wait_for()
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert page.evaluate(AUDIT) == []
    page.keyboard.press("l")
    page.get_by_role("dialog").wait_for()
    assert page.evaluate(AUDIT) == []


def test_a_table_comes_as_csv_with_its_formulas_escaped(shown: Shown) -> None:
    page = shown.open(f"q={quote('=1+cmd')}")
    page.locator("#rows tr").first.wait_for()
    with page.expect_download() as download:
        page.locator("#csv").click()
    lines = Path(download.value.path()).read_text("utf-8").splitlines()
    assert lines[0] == "series,time,value,ewma,z,readings,state"
    assert lines[1].startswith("'=1+cmd|' /C calc'!A0,2023-11-14T")
    assert len(lines) == 2


def test_a_killed_flow_turns_the_head_and_recovers_by_itself(
    browser: Any, embedded: str, tmp_path: Path
) -> None:
    job = Job(embedded, tmp_path)
    job.configure(
        kafka={"bootstrap_servers": embedded, "fetch_max_wait_ms": 20},
        input={"topic": job.input, "series_id": "series_id", "time": "ts", "stop": "never"},
        metrics={"bind": f"127.0.0.1:{free_port()}"},
    )
    run = [*EWMA, "run", str(job.path)]
    with watching_page(job.path) as address:
        page = browser.new_page()
        page.set_default_timeout(MS)
        page.goto(address)
        page.locator("#word", has_text="starting").wait_for()
        page.get_by_text("No events yet", exact=True).wait_for()
        with job.sending(series=3, per_second=100):
            with started(run) as flow:
                page.locator("#word", has_text="live").wait_for()
                page.locator("#rows tr").nth(2).wait_for()
                page.locator("#snapshot", has_text=re.compile("now|s$")).wait_for()
                page.locator("#lag-name", has_text=re.compile("^lag$")).wait_for()
                with slowness_during() as slowest:
                    flow.kill()
                    began = time.monotonic()
                    page.locator("#word", has_text="stopped").wait_for()
                    took = time.monotonic() - began
                assert took < 10 * slowest()
            with started(run):
                page.locator("#word", has_text="live").wait_for()
        page.close()


def test_what_if_computes_what_the_flow_would(shown: Shown) -> None:
    values = np.random.default_rng(5).normal(20, 1, 300)
    values[200] = 60.0
    shown.events.write(["tried"] * len(values), values.tolist())
    page = shown.open("q=tried&open=tried")
    page.locator("#summary", has_text="300 readings").wait_for()
    page.get_by_role("button", name="what if").click()
    page.get_by_label("limit").fill("8")
    page.get_by_text("Spikes beyond 8.0 standard errors: 1, one in 294 readings").wait_for()
    page.locator("#legend", has_text="beta 0.900").wait_for()
    page.get_by_text("Weights of the newest readings: 10.0 %, 9.0 %, 8.1 %").wait_for()
    found = page.evaluate(
        "async (values) => (await import('/static/whatif.js')).smooth(values, 0.93)",
        values.tolist(),
    )
    smoothing = Smoothing(Decay(beta=0.93), statistics=["mean", "std", "n_eff"])
    right = SeriesTable(smoothing).update(Readings.of(["s"] * 300, values)).statistics
    assert found["average"] == pytest.approx(right["mean"].tolist(), rel=1e-12)
    before = {name: column[5:-1] for name, column in right.items()}
    errors = before["std"] * np.sqrt(1 + 1 / before["n_eff"])
    scores = (values[6:] - before["mean"]) / errors
    assert found["score"][6:] == pytest.approx(scores.tolist(), rel=1e-9)


def test_it_is_painted_soon_and_moves_without_long_tasks(shown: Shown) -> None:
    walk = np.cumsum(np.random.default_rng(6).normal(size=4000))
    shown.events.write(["walked"] * len(walk), walk.tolist())
    page = shown.open("q=walked&open=walked")
    page.locator("#summary", has_text="4,000 readings").wait_for()
    with slowness_during() as slowest:
        page.reload()
        page.locator("#summary", has_text="4,000 readings").wait_for()
        page.evaluate(
            """window.long = [];
            const note = (seen) => long.push(...seen.getEntries().map((task) => task.duration));
            new PerformanceObserver(note).observe({ type: "longtask" })"""
        )
        for i in range(8):
            shown.events.write(["walked"] * 50, [float(i)] * 50)
        page.locator("#summary", has_text="4,400 readings").wait_for()
        paint = page.evaluate("performance.getEntriesByType('paint')[0].startTime")
        tasks = page.evaluate("long")
    assert paint < 1000 * slowest()
    assert max(tasks, default=0) < 100 * slowest(), tasks


def test_the_view_of_an_address_may_be_anything(shown: Shown) -> None:
    odd = "q=%00&sort=nope&first=99999999&only=,,&between=a,b&measure=77&span=-4&open=&open=x"
    page = shown.open(odd)
    page.locator("#word", has_text=re.compile("live|quiet")).wait_for()
    assert json.loads(page.evaluate("JSON.stringify(document.title)"))


def test_a_plot_is_drawn_from_its_file_alone(shown: Shown, tmp_path: Path) -> None:
    names = ["x", "value", "average", "lower", "upper"]
    columns = {
        name: [1.7e9 + 60 * i if name == "x" else i % 7 for i in range(99)] for name in names
    }
    chart = {"id": "</script><b>", "known": True, "last": [1, 1, None], "state": ["live", "live"]}
    chart |= {"settled_from": 1.7e9 + 600, "readings": 99, "total": 99, "note": "", "alarms": []}
    chart |= {"std": None, "sem": None, "settled": None, "on": [], **columns}
    file = tmp_path / "plot.html"
    file.write_text(as_html([chart], {"average": "ewma", "band": ""}, "</title><b>"), "utf-8")
    page = shown.open()
    page.goto(file.as_uri())
    page.locator("#chart canvas").wait_for()
    page.locator("#summary", has_text="99 readings, event times 2023-11-14").wait_for()
    assert page.title() == "</title><b>"
    assert page.locator("#chart-name").inner_text() == "</script><b>"
