"""How far a look back has come: a bar on a terminal, lines elsewhere, and nothing left behind."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest

from ewma_ops.columns.readings import Readings
from ewma_ops.commands import progress_bar
from ewma_ops.commands.progress_bar import with_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Parts:
    """Ten batches of 100 readings."""

    name = "past.parquet"
    rejected = 0
    share = 0.0

    def __iter__(self) -> Iterator[Readings]:
        for i in range(10):
            self.share = (i + 1) / 10
            yield Readings(["a"] * 100, np.zeros(100))


def test_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_bar, "_EACH_S", 0.0)
    terminal = Terminal()
    assert sum(map(len, with_progress(Parts(), terminal))) == 1_000
    shown = terminal.getvalue().split("\r")
    assert shown[5].startswith("█" * 15 + "░" * 15 + "  50%  500 readings, ")
    assert "s left" in shown[5]
    assert shown[-2].strip() == "" == shown[-1]
    assert "\n" not in terminal.getvalue()


def test_lines_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_bar, "_LINE_EACH_S", 0.0)
    log = io.StringIO()
    list(with_progress(Parts(), log))
    lines = log.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[4].startswith("past.parquet: 50%  500 readings, ")


def test_nothing_where_it_is_over_at_once() -> None:
    log = io.StringIO()
    list(with_progress(Parts(), log))
    assert log.getvalue() == ""


def test_the_bar_goes_away_where_reading_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_bar, "_EACH_S", 0.0)
    terminal = Terminal()
    for _ in with_progress(Parts(), terminal):
        if "20%" in terminal.getvalue():
            break
    assert "20%" in terminal.getvalue()
    assert terminal.getvalue().endswith(" \r")
