"""`ewma top`: the live page in the terminal.

Knows the terminal; what there is to see comes from `view`, as on the page.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
from rich.cells import cell_len, set_cell_size
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.coordinate import Coordinate
from textual.widgets import DataTable, Footer, Input, Static

from ewma_ops.watch.choices import MOST_ROWS, SORTS
from ewma_ops.watch.plain import cells, head_line, heads
from ewma_ops.watch.view import Looks, View

__all__ = ["Top"]

_BEAT_S = 0.25
_MOST_WANTED = ("series", "state", "average", "value", "z", "last")
"""Columns that a narrow terminal shows, the first ones first; then those further left."""

_COLOURS = {"live": "green", "settling": "yellow", "stale": "dim", "alarm": "bold red"}


class Top(App[None]):
    """All series of a job in a table that moves.

    Parameters
    ----------
    looker
        What there is to see.
    name
        Of the configuration.
    view
        What is looked at first.
    """

    CSS = """
    #head { height: auto; padding: 0 1; background: $panel; }
    #search { display: none; height: 3; }
    #search.open { display: block; }
    DataTable { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "search"),
        Binding("s", "sort", "sort"),
        Binding("r", "turn", "turn around"),
        Binding("n", "page(1)", "next"),
        Binding("p", "page(-1)", "previous"),
        Binding("j", "move(1)", "down", show=False),
        Binding("k", "move(-1)", "up", show=False),
        Binding("escape", "clear", "clear", show=False),
        Binding("q", "quit", "quit"),
    ]

    ENABLE_COMMAND_PALETTE = False

    def __init__(self, looker: Looks, name: str, view: View) -> None:
        super().__init__()
        self._looker, self._name, self._view = looker, name, view
        self._matched = 0
        self._rows = 0
        self._heads: dict[str, bool] = {}
        self._widths: list[int] = []
        self._places: list[int] = []

    def compose(self) -> ComposeResult:
        """Lay the screen out."""
        yield Static(id="head", markup=False)
        yield Input(placeholder="search, or a pattern such as plant1/*", id="search")
        yield DataTable(cursor_type="row", zebra_stripes=True)
        yield Footer()

    def on_mount(self) -> None:
        """Begin."""
        self._heads = heads(self._looker.table(self._view))
        self._widths = [*map(len, self._heads)]
        self.query_one(DataTable).focus()
        self.set_interval(_BEAT_S, self.look)
        self.look()

    def look(self) -> None:
        """Show what there is now."""
        tables = self.query(DataTable)
        if not tables:  # a beat may come while the screen is being closed
            return
        table = tables.first()
        head = self.query_one("#head", Static)
        room = max(self.size.height - 3 - max(head.size.height, 1), 1)
        asked = _changed(self._view, rows=min(room, MOST_ROWS))
        found = self._looker.table(asked)
        self._matched = found["matched"]
        rows = [self._narrowed(row) for row in cells(found)]
        self._choose_columns(table, rows)
        for i, row in enumerate(rows):
            kind = found["state"][i][0]
            style = _COLOURS.get(kind.split(" ", 1)[0], "")
            shown = [Text(one) for one in row[:-1]] + [Text(row[-1], style=style)]
            for text, is_number in zip(shown, self._heads.values(), strict=True):
                text.justify = "right" if is_number else "left"
            shown[2].stylize("bold cyan")
            shown = [shown[place] for place in self._places]
            if i >= self._rows:
                table.add_row(*shown, key=str(i))
                continue
            for column, text in enumerate(shown):
                at = Coordinate(i, column)
                if table.get_cell_at(at) != text:
                    table.update_cell_at(at, text, update_width=True)
        for i in range(len(rows), self._rows):
            table.remove_row(str(i))
        self._rows = len(rows)
        order = f"{self._view.sort}{' ↓' if self._view.desc else ''}"
        some = f"{self._matched:,} of {found['series']:,} by {order}"
        line = f"ewma  {self._name}   {head_line(self._looker.head())}   {some}"
        head.update(line)

    def _narrowed(self, row: list[str]) -> list[str]:
        """Return a row whose id and state take a third of the screen each, at most."""
        room = max(self.size.width // 3, 12)
        long = [place for place in (0, len(row) - 1) if cell_len(row[place]) > room]
        for place in long:
            row[place] = f"{set_cell_size(row[place], room - 1).rstrip()}…"
        return row

    def _choose_columns(self, table: DataTable[Text], rows: list[list[str]]) -> None:
        """Show the columns that fit, so that the state is seen without scrolling."""
        for row in rows:
            self._widths = [*map(max, self._widths, map(cell_len, row))]
        names, left, places = [*self._heads], self.size.width, list[int]()
        for place in sorted(range(len(names)), key=lambda place: _rank(names[place])):
            width = self._widths[place] + 2 * table.cell_padding
            if width <= left or not places:
                places.append(place)
                left -= width
        if sorted(places) == self._places:
            return
        self._places, self._rows = sorted(places), 0
        table.clear(columns=True)
        for place in self._places:
            name = names[place]
            justify: Any = "right" if self._heads[name] else "left"
            table.add_column(Text(name, justify=justify), key=name)

    def on_resize(self) -> None:
        """Measure the columns anew."""
        self._widths = [*map(len, self._heads)]

    def action_search(self) -> None:
        """Open the search."""
        search = self.query_one(Input)
        search.add_class("open")
        self.set_focus(search)  # at once: what is typed next is for it

    def on_input_changed(self, event: Input.Changed) -> None:
        """Search as it is typed."""
        self._view = _changed(self._view, q=event.value, first=0)
        self.look()

    def on_input_submitted(self) -> None:
        """Go back to the table."""
        self.query_one(DataTable).focus()

    def action_clear(self) -> None:
        """Close the search."""
        search = self.query_one(Input)
        search.value = ""
        search.remove_class("open")
        self.query_one(DataTable).focus()

    def action_sort(self) -> None:
        """Sort by the next thing."""
        names = list(SORTS)
        name = names[(names.index(self._view.sort) + 1) % len(names)]
        self._view = _changed(self._view, sort=name, desc=name != "name", first=0)
        self.look()

    def action_turn(self) -> None:
        """Turn the order around."""
        self._view = _changed(self._view, desc=not self._view.desc, first=0)
        self.look()

    def action_page(self, step: int) -> None:
        """Go a page on, or back."""
        first = max(self._view.first + step * max(self._rows, 1), 0)
        if first < self._matched:
            self._view = _changed(self._view, first=first)
            self.look()

    def action_move(self, step: int) -> None:
        """Move the cursor."""
        table = self.query_one(DataTable)
        (table.action_cursor_down if step > 0 else table.action_cursor_up)()


def _rank(name: str) -> int:
    return _MOST_WANTED.index(name) if name in _MOST_WANTED else len(_MOST_WANTED)


def _changed(view: View, **fields: Any) -> View:
    return msgspec.structs.replace(view, **fields)
