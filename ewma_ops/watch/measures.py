"""What an event of a job holds, and which of it belongs together: a value and its statistics.

Knows names of statistics; must not know payloads, topics or pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ewma_ops.columns.event_names import event_key, value_keys
from ewma_ops.stats.composites import Composite
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.smoothing_set import SmoothingLike, SmoothingSet
from ewma_ops.watch.outlook import NAMES, Outlook

__all__ = ["BAND_ERRORS", "Measure", "event_numbers", "measures"]

BAND_ERRORS = 2.0
"""Standard errors on either side of a mean that a chart shades."""

_AVERAGES = ("mean", "dema", "tema", "macd", "sigma")


class Measure(NamedTuple):
    """One smoothing of one field: places of its numbers in an event, None where it has none.

    ``name`` tells it from others, empty where it is the only one. ``lower`` and ``upper`` are the
    bounds of what was expected; without them a band is made of ``sem``. ``outlook`` is what events
    say of where the series is going.
    """

    name: str
    value: int
    average: int | None
    average_name: str
    sem: int | None = None
    std: int | None = None
    settled: int | None = None
    lower: int | None = None
    upper: int | None = None
    z: int | None = None
    revision: int | None = None
    outlook: Outlook | None = None

    @property
    def band(self) -> str:
        """What the shaded band of a chart is, in words; empty where there is none."""
        if self.lower is not None and self.upper is not None:
            return "expected"
        return f"± {BAND_ERRORS:g} standard errors" if self.sem is not None else ""


def event_numbers(smoothing_set: SmoothingSet, scores: Sequence[str] = ()) -> list[str]:
    """Return the keys of the numbers in an event, in a fixed order; ``scores`` are of alarms.

    Examples
    --------
    >>> from ewma_ops import Decay, Smoothing
    >>> one = Smoothing(Decay(beta=0.9), statistics=["mean", "std"])
    >>> event_numbers(SmoothingSet.of(one))
    ['value', 'ewma', 'std']
    """
    statistics = map(event_key, [*smoothing_set.names, *scores])
    return [*value_keys(smoothing_set.fields), *statistics]


def measures(
    smoothing_set: SmoothingSet, scores: Sequence[str] = (), charted: Sequence[str] | None = None
) -> list[Measure]:
    """Return what can be looked at: each smoothing of each field; ``scores`` as above.

    Scores of alarms, such as the bounds within which there is none, go to the first of them: those
    that are ``charted``, or all.

    Examples
    --------
    >>> from ewma_ops import Decay, Smoothing
    >>> fast = Smoothing(Decay(beta=0.9), statistics=["mean", "sem"])
    >>> found = measures(SmoothingSet.of({"fast": fast}, ["bid", "ask"]))
    >>> [(one.name, one.value, one.average, one.sem) for one in found]
    [('bid fast', 0, 2, 3), ('ask fast', 1, 4, 5)]
    """
    keys = event_numbers(smoothing_set, scores)
    fields: Sequence[str] = smoothing_set.fields or ("",)
    found = []
    for field in fields:
        for smoothing, options in smoothing_set.smoothings:
            prefix = "_".join(filter(None, (field, smoothing)))
            place = _Places(keys, prefix)
            average_name = next((name for name in _AVERAGES if name in options.statistics), "")
            if isinstance(options, Composite) and not average_name:
                average_name = options.statistics[0]
            found.append(
                Measure(
                    " ".join(filter(None, (field, smoothing))),
                    keys.index(field or "value"),
                    place.of(average_name) if average_name else None,
                    event_key(average_name),
                    place.of("sem"),
                    place.of("std"),
                    place.of("settled"),
                    place.of("lower"),
                    place.of("upper"),
                    place.of("z"),
                    place.of("revision"),
                    _outlook(options, place, 1000.0 * smoothing_set.tick.per_ms),
                )
            )
    of_first = scores if charted is None else charted
    if of_first:
        lower, upper, z = (_first(keys, of_first, part) for part in ("lower", "upper", "z"))
        found[0] = found[0]._replace(lower=lower, upper=upper, z=z)
    return found


def _outlook(options: SmoothingLike, place: _Places, per_s: float) -> Outlook | None:
    found = {name: place.of(name) for name in NAMES if name in options.statistics}
    places = {name: at for name, at in found.items() if at is not None}
    if not places or not isinstance(options, Smoothing):
        return None
    return Outlook(places, options, per_s)


def _first(keys: Sequence[str], scores: Sequence[str], part: str) -> int | None:
    """Return the place of the first rule's score of a kind: rules are about the first measure."""
    named = [name for name in scores if name.endswith(f"_{part}")]
    return keys.index(event_key(named[0])) if named else None


class _Places(NamedTuple):
    keys: Sequence[str]
    prefix: str

    def of(self, statistic: str) -> int | None:
        """Return the place of a statistic; None if events do not have it."""
        key = event_key("_".join(filter(None, (self.prefix, statistic))))
        return self.keys.index(key) if key in self.keys else None
