"""Progress of commands that read history: a bar on a terminal, else a line now and then.

Knows shares and the time; must not know what is read.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TextIO

from ewma_ops.columns.readings import Readings
from ewma_ops.commands.past import Past
from ewma_ops.errors import ConfigError

__all__ = ["with_progress"]

_EACH_S = 0.1
_LINE_EACH_S = 10.0
_WIDTH = 30


def with_progress(past: Past, stream: TextIO | None = None) -> Iterator[Readings]:
    """Yield past readings, and show the progress on standard error.

    Parameters
    ----------
    past
        What is read.
    stream
        Where to show it; ``None`` for standard error.

    Raises
    ------
    ConfigError
        At the end, if there was none.
    """
    shown = sys.stderr if stream is None else stream
    bar, some = _Bar(past.name, shown), False
    try:
        for readings in past:
            yield readings
            some = True
            bar.advance(past.share, len(readings))
    finally:
        bar.clear()
    if not some:
        wrong = f", and {past.rejected:,} messages that are none" if past.rejected else ""
        raise ConfigError(
            f"{past.name} has no readings in that time{wrong}: correct --from and --to, "
            "or what is read"
        )


class _Bar:
    def __init__(self, name: str, stream: TextIO) -> None:
        self._name, self._stream, self._tty = name, stream, stream.isatty()
        self._each_s = _EACH_S if self._tty else _LINE_EACH_S
        self._begun = self._shown_at = time.monotonic()
        self._readings, self._width = 0, 0

    def advance(self, share: float, readings: int) -> None:
        """Note what was read, and show it if it is time."""
        self._readings += readings
        now = time.monotonic()
        if now < self._shown_at + self._each_s:
            return
        self._shown_at = now
        text = self._text(share, now - self._begun)
        if not self._tty:
            self._stream.write(f"{text}\n")
            return
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)

    def _text(self, share: float, took_s: float) -> str:
        per_s = self._readings / max(took_s, 1e-9)
        counts = f"{share:4.0%}  {self._readings:,} readings, {per_s:,.0f}/s"
        if share > 0.01:
            counts += f", {took_s / share - took_s:,.0f} s left"
        if not self._tty:
            return f"{self._name}: {counts.strip()}"
        done = round(_WIDTH * min(share, 1.0))
        return f"{'█' * done}{'░' * (_WIDTH - done)} {counts}"

    def clear(self) -> None:
        """Erase the bar."""
        if self._tty and self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()
