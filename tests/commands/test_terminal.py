"""Tables that fit the terminal, and colours that only a terminal sees."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ewma_ops.commands.terminal import painted, table


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert painted("x", "red", Screen()) == "\x1b[31mx\x1b[0m"
    assert painted("x", "red", io.StringIO()) == "x"
    monkeypatch.setenv("TERM", "dumb")
    assert painted("x", "red", Screen()) == "x"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert painted("x", "red", Screen()) == "x"


@given(st.lists(st.lists(st.text("ab ", max_size=60), min_size=3, max_size=3), max_size=4))
def test_a_table_fits(rows: list[list[str]]) -> None:
    lines = table(["one", "two", "three"], rows, 40, {1})
    assert len(lines) == len(rows) + 1
    if all(len(row[1]) < 12 for row in rows):
        assert max(map(len, lines)) <= 40


def test_wide_characters_take_two_cells() -> None:
    lines = table(["series", "n"], [["日本", "1"], ["e\u0301a", "2"], ["日本日本", "3"]], 9, {1})
    assert lines == ["series    n", "日本      1", "e\u0301a        2", "日本日本  3"]
    assert table(["s"], [["日本日本日本"]], 8) == ["s", "日本日…"]


def test_what_is_cut_is_the_last_column_first() -> None:
    row = ["value", "sensor.temperature", "10", '{"a": "long"}']
    assert table(["field", "path", "found", "example"], [row], 44, {2})[1] == (
        'value  sensor.temperature     10  {"a": "lo…'
    )
