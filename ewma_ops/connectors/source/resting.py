"""How long a worker rests when nothing comes.

Knows turns; must not know what is read, or what wakes a worker. The engine by itself looks a
thousand times a second whether there is something to do.
"""

from __future__ import annotations

__all__ = ["Resting"]

_TURNS_BEFORE_REST = 3
_SHORT_REST_S = 0.002
_TURNS_BEFORE_LONG_REST = 32
"""More than a flow has steps: with each turn, data between workers and the end of an epoch advance
by one step. In a single worker, records pass through in one turn."""
_REST_S = 0.01
_LONG_REST_S = 0.05
_TURNS_BEFORE_IDLE_REST = _TURNS_BEFORE_LONG_REST + 40
_IDLE_REST_S = 0.2
"""After two seconds without a record. New records wake the worker; a stop waits this long."""


class Resting:
    """Count a worker's turns since something came.

    Parameters
    ----------
    only_worker
        Whether it is the only one, which has other work only at the end of an epoch.
    """

    def __init__(self, *, only_worker: bool) -> None:
        self._after_records = _TURNS_BEFORE_LONG_REST if only_worker else 0
        self._turns = 0

    @property
    def is_due(self) -> bool:
        """Whether nothing has come for some turns."""
        return self._turns > _TURNS_BEFORE_REST

    def turn_begins(self) -> None:
        """Count a turn."""
        self._turns += 1

    def records_came(self) -> None:
        """Begin again, as records were taken."""
        self._turns = self._after_records

    def epoch_ends(self) -> None:
        """Begin again, as the engine has work for some turns, whatever comes."""
        self._turns = 0

    def seconds(self, *, is_awaited: bool, reads_all: bool) -> float:
        """Return how long to rest; ``reads_all`` if no other worker reads the topics too."""
        if self._turns <= _TURNS_BEFORE_LONG_REST or is_awaited:
            return _SHORT_REST_S
        if not reads_all:
            return _REST_S
        return _LONG_REST_S if self._turns <= _TURNS_BEFORE_IDLE_REST else _IDLE_REST_S
