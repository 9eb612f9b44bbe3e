"""`ewma top` and `ewma plot`: the same as the page, in a terminal and in files."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from textual.widgets import DataTable, Input

from ewma_ops import Decay, Smoothing
from ewma_ops.commands.cli import main
from ewma_ops.table.smoothing_set import SmoothingSet
from ewma_ops.watch.alarms import Alarms, parse_alarm
from ewma_ops.watch.book import Book
from ewma_ops.watch.looker import Looker
from ewma_ops.watch.measures import measures
from ewma_ops.watch.plain import cells
from ewma_ops.watch.plot import as_png
from ewma_ops.watch.status import Status
from ewma_ops.watch.terminal import Top
from ewma_ops.watch.view import View
from tests.helpers.jobs import EWMA, Job, ewma, started
from tests.helpers.patience import PATIENCE_S, slowness
from tests.helpers.watched import Events

HOSTILE = "\x1b[2Jx\u202ey [bold]z[/]"


def a_looker(
    names: list[str], rounds: int = 40, *, is_live: bool = True, alarms: Alarms | None = None
) -> tuple[Book, Looker]:
    one = Smoothing(Decay(beta=0.9), statistics=["mean", "std"])
    book = Book(measures(SmoothingSet.of(one)), alarms)
    values = np.random.default_rng(1).normal(20, 1, (rounds * len(names), 3)) ** 2
    at = np.arange(len(values), dtype=np.float64) + 1.7e9
    book.take(names * rounds, at, at, values, np.arange(len(values)), 0, is_live=is_live)
    return book, Looker(book, Status(is_caught_up=True), lambda *_: None)


def shown(app: Top) -> list[list[str]]:
    table = app.query_one(DataTable)
    return [[str(cell) for cell in table.get_row_at(i)] for i in range(table.row_count)]


def test_a_job_that_was_quiet_before_one_looks_has_had_events() -> None:
    _, looker = a_looker(["a"], is_live=False)
    head = looker.head()
    assert head["state"] == "quiet"
    assert "no readings for" in head["why"]
    _, nothing = a_looker(["a"], rounds=0, is_live=False)
    assert nothing.head()["state"] == "starting"


def test_without_a_terminal_there_is_a_plain_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "job.toml"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "ewma: ewma top needs a terminal: give --once for a plain table"
    ]


def test_the_title_of_a_picture_is_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    drawn: list[str] = []

    def kept(figure: Figure, *_: object) -> None:
        title: Any = figure.axes[0].title
        drawn.append(title._preprocess_math(title.get_text())[0])  # as it is drawn

    monkeypatch.setattr(Figure, "savefig", kept)
    names = ("x", "value", "average", "lower", "upper")
    chart = {"id": "a", **{name: [1.0, 2.0] for name in names}}
    as_png([chart], {"average": "ewma", "band": ""}, r"$\alpha$", tmp_path / "x.png")
    assert drawn == [r"$\alpha$"]


@pytest.mark.slow
def test_a_picture_has_the_day_and_says_what_its_font_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    drawn: list[str] = []

    save = Figure.savefig

    def kept(figure: Figure, target: Path) -> None:
        save(figure, target)
        drawn.append(figure.axes[0].xaxis.get_offset_text().get_text())

    monkeypatch.setattr(Figure, "savefig", kept)
    chart: dict[str, Any] = {"id": "a", "x": [1.7e9 + i for i in range(9)]}
    chart |= {name: [1.0] * 9 for name in ("value", "average", "lower", "upper")}
    measure = {"average": "ewma", "band": ""}
    assert as_png([chart], measure, "a", tmp_path / "a.png")
    assert not as_png([chart], measure, "日本", tmp_path / "b.png")
    assert drawn == ["14 Nov 2023 22:13 UTC"] * 2


@pytest.mark.slow
def test_a_picture_marks_alarms_and_late_readings(tmp_path: Path) -> None:
    chart: dict[str, Any] = {"id": "a", "x": [1.7e9 + i for i in range(9)]}
    chart |= {name: [1.0] * 9 for name in ("value", "average", "lower", "upper")}
    plain, marked, target = tmp_path / "plain.png", tmp_path / "marked.png", {"average": "ewma"}
    as_png([chart], {**target, "band": ""}, "a", plain)
    alarms = [{"begin": 1.7e9 + 2, "end": 1.7e9 + 4}, {"begin": 1.7e9 + 20, "end": None}]
    as_png([{**chart, "alarms": alarms, "late_at": []}], {**target, "band": ""}, "a", marked)
    with_alarms = marked.read_bytes()
    late = [[1.7e9 + 5, 1.0]]
    as_png([{**chart, "alarms": alarms, "late_at": late}], {**target, "band": ""}, "a", marked)
    assert len({plain.read_bytes(), with_alarms, marked.read_bytes()}) == 3


def test_an_alarm_of_a_silent_series_has_a_mark_of_its_own() -> None:
    book, looker = a_looker(["a", "b"], alarms=Alarms(1000.0, {}))
    record: dict[str, Any] = {
        "alarm_id": "stale-0-7-9f3a51c2",
        "transition": "raised",
        "rule": "stale",
    }
    record |= {"kind": "stale", "series_id": "b", "severity": "warning"}
    record |= {"time": 1_700_000_090_000, "since": 1_700_000_090_000}
    raised = parse_alarm(json.dumps(record).encode())
    cleared = parse_alarm(json.dumps({**record, "transition": "cleared", "by": "resumed"}).encode())
    assert raised is not None
    assert cleared is not None
    book.take_alarms([raised])
    assert looker.table(View())["state"][1] == ["alarm", "stale silent"]
    assert cells(looker.table(View()))[1][-1] == "◆ stale silent"
    assert looker.table(View(only=("alarm",)))["ids"] == ["b"]
    book.take_alarms([cleared])
    assert cells(looker.table(View()))[1][-1] == cells(looker.table(View()))[0][-1]


@pytest.mark.slow
def test_the_terminal_shows_searches_and_sorts() -> None:
    async def use() -> None:
        names = [f"room-{i:02}" for i in range(30)] + [HOSTILE]
        book, looker = a_looker(names)
        app = Top(looker, "job.toml", View())
        async with app.run_test(size=(140, 24)) as pilot:
            await pilot.pause()
            assert shown(app)[0][0] == r"\x1b[2Jx\u202ey [bold]z[/]"
            assert [row[0] for row in shown(app)[1:4]] == ["room-00", "room-01", "room-02"]
            assert len(shown(app)) == 20
            await pilot.press("n")
            assert shown(app)[0][0] == "room-19"
            await pilot.press("slash", *"-07")
            await pilot.pause()
            assert [row[0] for row in shown(app)] == ["room-07"]
            assert app.query_one(Input).has_focus
            await pilot.press("enter", "escape")
            await pilot.pause()
            assert len(shown(app)) == 20
            await pilot.press("s")
            values = [float(row[1].replace(",", "")) for row in shown(app)]
            assert values == sorted(values, reverse=True)
            await pilot.press("r")
            values = [float(row[1].replace(",", "")) for row in shown(app)]
            assert values == sorted(values)
            now = np.array([1.8e9])
            book.take(["room-11"], now, now, np.array([[-5.0, 1.0, 1.0]]), now, 0, is_live=True)
            app.look()
            assert shown(app)[0][0] == "room-11"
            assert shown(app)[0][1] == "-5.0000"

    asyncio.run(use())


@pytest.mark.slow
def test_a_narrow_terminal_shows_the_state_first() -> None:
    async def use() -> None:
        _, looker = a_looker(["a" * 60, "日本" * 20])
        app = Top(looker, "job.toml", View())
        async with app.run_test(size=(40, 12)) as pilot:
            await pilot.pause()
            first, second = shown(app)
            assert first[0] == f"{'a' * 12}…"
            assert second[0] == "日本日本日本…"
            assert first[-1].endswith(("live", "settling", "silent"))
            assert len(first) < 5
            await pilot.resize_terminal(160, 12)
            await pilot.pause(0.5)
            assert len(shown(app)[0]) == 7

    asyncio.run(use())


def test_an_empty_job_is_shown_too() -> None:
    async def use() -> None:
        book = Book(measures(SmoothingSet.of(Smoothing(Decay(beta=0.9)))))
        app = Top(Looker(book, Status(is_missing=True), lambda *_: None), "job.toml", View())
        async with app.run_test(size=(80, 10)) as pilot:
            await pilot.pause()
            assert shown(app) == []

    asyncio.run(use())


def test_what_is_missing_has_a_dash() -> None:
    _, looker = a_looker(["a"], rounds=1)
    (row,) = cells(looker.table(View()))
    assert row[3] == "-"
    assert row[5] == "▄"


@pytest.mark.parametrize("command", [["top", "--once"], ["plot", "--series", "a"]])
def test_without_a_broker_it_is_told_once(command: list[str], tmp_path: Path) -> None:
    job = Job("127.0.0.1:1", tmp_path, partitions=())
    job.configure(kafka={"bootstrap_timeout_ms": 300})
    name, *options = command
    done = ewma(name, str(job.path), *options)
    assert done.returncode == 1
    (said,) = done.stderr.splitlines()
    assert "no Kafka broker answered" in said


def test_an_interrupt_ends_it_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, answers nothing
        job = Job(f"127.0.0.1:{silent.getsockname()[1]}", tmp_path, partitions=())
        command = [*EWMA, "top", str(job.path), "--once"]
        with started(command) as process:
            connection, _ = silent.accept()
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_S) == 130
            took = time.monotonic() - began
            connection.close()
        assert took < 3 * slowness(), took


@pytest.mark.broker
def test_once_and_plot_read_the_topics_of_a_job(embedded: str, tmp_path: Path) -> None:
    job = Job(embedded, tmp_path)
    job.configure(smooth={"beta": 0.9, "statistics": ["mean", "std", "sem", "settled"]})
    events = Events(job)
    events.write(["kitchen", "cellar"] * 300, np.random.default_rng(1).normal(20, 1, 600).tolist())
    done = ewma("top", str(job.path), "--once", "--filter", "kit*")
    assert done.returncode == 0, done.stderr
    head, names, line = done.stdout.splitlines()
    assert re.search(r"2 series +0 dead letters", head)
    assert names.split() == ["series", "value", "average", "z", "last", "readings", "state"]
    assert re.match(r"kitchen +\d\d\.\d{3} +\d\d\.\d{3} +[+-]\d\.\d ", line)

    page = tmp_path / "kitchen.html"
    done = ewma("plot", str(job.path), "--series", "kitchen", "-o", str(page))
    assert done.returncode == 0, done.stderr
    assert "300 readings" in done.stdout
    data = _data(page)
    assert len(data["charts"][0]["x"]) == 300
    assert not re.search(r"(?:src|href)=|@import|url\(|fetch\(", page.read_text("utf-8"))
    picture = tmp_path / "both.png"
    both = ["--series", "kitchen", "--series", "cellar"]
    assert ewma("plot", str(job.path), *both, "-o", str(picture)).returncode == 0
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    done = ewma("plot", str(job.path), "--series", "kichen")
    assert done.returncode == 2
    assert "no event of series 'kichen' within 1 h: did you mean 'kitchen'?" in done.stderr


def _data(page: Path) -> Any:
    found = re.search(r'id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return json.loads(found[1])
