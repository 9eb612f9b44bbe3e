"""What the keys of an event are called, and in which order they stand.

Knows names; must not know formats, or how a statistic comes about.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["event_key", "in_event_order", "is_whole", "own_keys", "value_keys"]


def value_keys(fields: Sequence[str]) -> list[str]:
    """Return the keys of what is smoothed: its fields, or ``value`` where it has none.

    Examples
    --------
    >>> value_keys(["bid", "ask"]), value_keys([])
    (['bid', 'ask'], ['value'])
    """
    return list(fields) or ["value"]


def event_key(name: str) -> str:
    """Return the name of a statistic in an event, in which the mean is ``ewma``.

    Examples
    --------
    >>> event_key("mean"), event_key("bid_fast_mean"), event_key("bid_fast_std")
    ('ewma', 'bid_fast_ewma', 'bid_fast_std')
    """
    return name[:-4] + "ewma" if name == "mean" or name.endswith("_mean") else name


def is_whole(name: str) -> bool:
    """Return whether a statistic is a whole number, by its name.

    Examples
    --------
    >>> is_whole("count"), is_whole("bid_fast_revision"), is_whole("mean")
    (True, True, False)
    """
    return name.rpartition("_")[2] in ("count", "revision")


def in_event_order(statistics: Sequence[str]) -> list[str]:
    """Return the names of statistics in the order of an event: a mean is the first of them."""
    return sorted(statistics, key=lambda name: name != "mean")


def own_keys(statistics: Sequence[str], fields: Sequence[str]) -> list[str]:
    """Return the keys of an event but for those of what it passes through, which stand behind.

    Examples
    --------
    >>> own_keys(["std", "mean"], [])
    ['series_id', 'time', 'value', 'ewma', 'std']
    """
    return ["series_id", "time", *value_keys(fields), *map(event_key, in_event_order(statistics))]
