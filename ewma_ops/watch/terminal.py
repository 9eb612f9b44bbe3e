"""`ewma top`: the live page in the terminal.

Knows the terminal; what there is to see comes from `view`, as on the page.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
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
    #head { height: 1; padding: 0 1; background: $panel; }
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

    def __init__(self, looker: Looks, name: str, view: View) -> None:
        super().__init__()
        self._looker, self._name, self._view = looker, name, view
        self._matched = 0
        self._rows = 0
        self._numbers: list[int] = []

    def compose(self) -> ComposeResult:
        """Lay the screen out."""
        yield Static(id="head", markup=False)
        yield Input(placeholder="search, or a pattern such as plant1/*", id="search")
        yield DataTable(cursor_type="row", zebra_stripes=True)
        yield Footer()

    def on_mount(self) -> None:
        """Begin."""
        table = self.query_one(DataTable)
        shown = heads(self._looker.table(self._view))
        self._numbers = [place for place, is_number in enumerate(shown.values()) if is_number]
        for head, is_number in shown.items():
            table.add_column(Text(head, justify="right" if is_number else "left"), key=head)
        table.focus()
        self.set_interval(_BEAT_S, self.look)
        self.look()

    def look(self) -> None:
        """Show what there is now."""
        tables = self.query(DataTable)
        if not tables:  # a beat may come while the screen is being closed
            return
        table = tables.first()
        room = max(self.size.height - 4, 1)
        asked = _changed(self._view, rows=min(room, MOST_ROWS))
        found = self._looker.table(asked)
        self._matched = found["matched"]
        rows = cells(found)
        for i, row in enumerate(rows):
            kind = found["state"][i][0]
            style = _COLOURS.get(kind.split(" ", 1)[0], "")
            shown = [Text(one) for one in row[:-1]] + [Text(row[-1], style=style)]
            for column in self._numbers:
                shown[column].justify = "right"
            shown[2].stylize("bold cyan")
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
        self.query_one("#head", Static).update(line)

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


def _changed(view: View, **fields: Any) -> View:
    return msgspec.structs.replace(view, **fields)
