"""`SmoothingSet`: several smoothings of several fields; their names, and which share weights.

Knows names; must not know readings, tables, or how anything is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import combinations
from typing import NamedTuple

from ewma_ops.columns.ticks import MILLISECOND, Tick
from ewma_ops.errors import ConfigError
from ewma_ops.stats.composites import Composite
from ewma_ops.stats.durations import whole_ticks
from ewma_ops.stats.policies import Policies
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.stats.statistics import OF_READING, PAIRED

__all__ = ["CompositeGroup", "FieldGroup", "SmoothingLike", "SmoothingSet"]

SmoothingLike = Smoothing | Composite
"""What can be computed for a series."""

MOST_FIELDS = 1 << 16


class FieldGroup(NamedTuple):
    """One smoothing of fields that are observed together: its name, and the places of the fields.

    ``keys[statistic]`` names each row of the result; ``None``: the row is not output. ``unbiased``
    tells how second moments are kept: groups of single fields and pairs keep them as the group of
    all fields does, even if none of their own statistics is unbiased, because their state is copied
    from it and their outputs must have the same bits.
    """

    name: str
    decay: str
    smoothing: Smoothing
    places: tuple[int, ...]
    keys: dict[str, list[str | None]]
    unbiased: bool


class CompositeGroup(NamedTuple):
    """One composite of one field, and the field groups of its stages, by name."""

    name: str
    composite: Composite
    places: tuple[int, ...]
    keys: dict[str, list[str | None]]
    stages: dict[str, FieldGroup]


@dataclass(frozen=True)
class SmoothingSet:
    """Smoothings and composites by name, of fields by name.

    They share the readings, and so the bounds, the newest time of a series, resets and dead
    letters. Whether weights decay past a missing reading, each decides by its own policies.

    Parameters
    ----------
    smoothings
        By name, such as ``{"fast": ..., "slow": ...}``; a single one by the name ``""``.
    fields
        Names of the fields; none for a number or a vector without names.
    width
        Number of values of a reading.
    forget_after
        Ticks after which an idle series is reset; ``None`` for never.
    tick
        In what event times are counted; the smoothings are in the same ticks.
    """

    smoothings: tuple[tuple[str, SmoothingLike], ...]
    fields: tuple[str, ...]
    width: int
    forget_after: int | None = None
    tick: Tick = MILLISECOND

    @classmethod
    def of(
        cls,
        smoothing: SmoothingLike | Mapping[str, SmoothingLike] | SmoothingSet,
        fields: Sequence[str] | int = 1,
        forget_after: timedelta | str | None = None,
        tick: Tick = MILLISECOND,
    ) -> SmoothingSet:
        """Name smoothings and fields, checked.

        Parameters
        ----------
        smoothing
            One, or several by name; a smoothing set is returned as it is.
        fields
            Names of the fields of a reading, or how many numbers its value is a vector of.
        forget_after
            How long a series may be idle before its next reading resets it, such as ``"7d"``.
        tick
            In what event times are counted.

        Raises
        ------
        ConfigError
            If a name is empty or used twice, a statistic of two fields is requested for one, or
            policies of the smoothings differ in more than skip and decay.

        Examples
        --------
        >>> from ewma_ops import Decay
        >>> fast = Smoothing(Decay(span=12), statistics=["mean", "std"])
        >>> SmoothingSet.of({"fast": fast}, ["bid", "ask"]).names
        ('bid_fast_mean', 'bid_fast_std', 'ask_fast_mean', 'ask_fast_std')
        """
        if isinstance(smoothing, SmoothingSet):
            return smoothing
        named = _by_name(smoothing)
        if isinstance(fields, int):
            if isinstance(fields, bool) or not 1 <= fields <= MOST_FIELDS:
                raise ConfigError(f"fields = {fields!r}: give names, or 1 to {MOST_FIELDS}")
            names: tuple[str, ...] = ()
            width = fields
        else:
            listed = isinstance(fields, Sequence) and not isinstance(fields, (str, bytes))
            names = tuple(fields) if listed else ()
            width = len(names)
            texts = all(isinstance(name, str) and name for name in names)
            if not texts or not 0 < width == len(set(names)):
                raise ConfigError(
                    f"fields = {fields!r}: give a list of names, each once, or how many there are"
                )
        if tick.per_ms > 1:
            named = {name: one.in_ticks(tick.per_ms) for name, one in named.items()}
        forgets = None if forget_after is None else _idle_ticks(forget_after, tick)
        several = names if len(names) > 1 else ()
        smoothing_set = cls(tuple(named.items()), several, width, forgets, tick)
        first = smoothing_set.smoothings[0][1].policies
        for one in named.values():
            paired = ", ".join(name for name in one.statistics if name in PAIRED)
            if paired and len(smoothing_set.fields) < 2:
                raise ConfigError(f"{paired} is of two fields, but there is one: name two or more")
            if isinstance(one, Composite) and width > 1 and not smoothing_set.fields:
                raise ConfigError(f"{one.name} is not of vectors: name the fields")
            if one.policies.of_reading != first.of_reading:
                raise ConfigError(
                    f"smoothings {list(named)} differ in what becomes of a reading: give all the "
                    "same bounds and policies; only skip and decay may differ"
                )
        if len(set(smoothing_set.names)) != len(smoothing_set.names):
            raise ConfigError(
                f"fields {list(names)} and smoothings {list(named)} make the same name twice: "
                "rename one"
            )
        return smoothing_set

    @property
    def names(self) -> tuple[str, ...]:
        """Every statistic, in the order of the output: field by field, then pair by pair."""
        single = [
            self._key(field, decay, statistic)
            for field in self.fields or ("",)
            for decay, smoothing in self.smoothings
            for statistic in smoothing.statistics
            if statistic not in PAIRED
        ]
        paired = [
            self._key(f"{left}_{right}", decay, statistic)
            for left, right in combinations(self.fields, 2)
            for decay, smoothing in self.smoothings
            for statistic in smoothing.statistics
            if statistic in PAIRED
        ]
        return (*single, *paired)

    @property
    def only(self) -> Smoothing | None:
        """The smoothing, if there is one; ``None`` if there are several, or a composite."""
        (_, first), *others = self.smoothings
        return first if isinstance(first, Smoothing) and not others else None

    @property
    def by_time(self) -> Smoothing | None:
        """The first smoothing that needs the time of a reading."""
        forgets = self.forget_after is not None
        timed = (s for s in self._single() if forgets or s.decay.by_time or s.policies.watches)
        return next(timed, None)

    @property
    def policies(self) -> Policies:
        """The policies for unusual readings, on which all smoothings agree."""
        first, *others = [one.policies for _, one in self.smoothings]
        return first.joined(others)

    @property
    def by_volume(self) -> bool:
        """Whether readings need a weight."""
        return any(smoothing.weighting == "volume" for smoothing in self._single())

    def _single(self) -> list[Smoothing]:
        """Every smoothing, with the stages of the composites."""
        return [
            single
            for _, one in self.smoothings
            for _, single in (one.stages if isinstance(one, Composite) else [("", one)])
        ]

    @property
    def largest(self) -> float:
        """Greatest magnitude of a value that every smoothing can take."""
        return min(smoothing.largest for _, smoothing in self.smoothings)

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value that is in range."""
        policies, largest = self.policies, self.largest
        return max(policies.lowest, -largest), min(policies.highest, largest)

    def fingerprint(self) -> str:
        """Return a short text, equal for sets that can exchange their state."""
        smoothings = [
            f"{name}: {smoothing.fingerprint()}" if name else smoothing.fingerprint()
            for name, smoothing in self.smoothings
        ]
        fields = [f"fields={','.join(self.fields)}"] if self.fields else []
        vector = [f"vector={self.width}"] if self.width > 1 and not self.fields else []
        unit = self.tick.unit
        forgets = [] if self.forget_after is None else [f"forget_after={self.forget_after}{unit}"]
        counts = [] if self.tick is MILLISECOND else [f"times={unit}"]
        return "; ".join([*smoothings, *fields, *vector, *forgets, *counts])

    def groups(self, *, separate_weights: bool = False) -> list[FieldGroup | CompositeGroup]:
        """Group the fields that share weights: all of them, or each field and each pair by itself.

        Fields share weights until a reading lacks only some of them; from then on there are
        ``separate_weights``. A composite always has a group for each field.
        """
        everything = tuple(range(self.width))
        groups: list[FieldGroup | CompositeGroup] = []
        for name, one in self.smoothings:
            if isinstance(one, Composite):
                groups += [self._composite_group(name, one, place) for place in everything]
            elif separate_weights:
                groups += self._separate_groups(name, one)
            else:
                groups.append(self._group(name, one, everything, ""))
        return groups

    def _separate_groups(self, name: str, smoothing: Smoothing) -> list[FieldGroup]:
        everything = range(self.width)
        single = [s for s in smoothing.statistics if s not in PAIRED]
        alone = replace(smoothing, statistics=single)
        kept = smoothing.unbiased and alone.squares
        groups = [
            self._group(name, alone, (place,), self.fields[place])._replace(unbiased=kept)
            for place in everything
        ]
        if smoothing.pairs:
            statistics = ["mean", *(s for s in smoothing.statistics if s in PAIRED)]
            paired = replace(smoothing, statistics=statistics)
            for pair in combinations(everything, 2):
                own = "*".join(self.fields[place] for place in pair)
                group = self._group(name, paired, pair, own)
                keys: dict[str, list[str | None]] = {**group.keys, "mean": [None, None]}
                groups.append(group._replace(keys=keys, unbiased=smoothing.unbiased))
        return groups

    def order(self, groups: Sequence[FieldGroup | CompositeGroup]) -> list[int] | None:
        """Return the place of each of `names` in the results of the groups; ``None``: in order."""
        places: dict[str, int] = {}
        flat = 0
        for group in groups:
            for statistic, keys in group.keys.items():
                once = statistic in OF_READING
                for i, key in enumerate(keys):
                    if key is not None:
                        places[key] = flat if once else flat + i
                flat += 1 if once else len(keys)
        order = [places[name] for name in self.names]
        return None if order == list(range(flat)) else order

    def _group(
        self, decay: str, smoothing: Smoothing, places: tuple[int, ...], own: str
    ) -> FieldGroup:
        fields = [self.fields[place] for place in places] if self.fields else [""]
        keys: dict[str, list[str | None]] = {}
        for statistic in smoothing.statistics:
            if statistic in PAIRED:
                of = [f"{left}_{right}" for left, right in combinations(fields, 2)]
            else:
                of = fields
            keys[statistic] = [self._key(one, decay, statistic) for one in of]
        name = "/".join(filter(None, (decay, own)))
        return FieldGroup(name, decay, smoothing, places, keys, smoothing.unbiased)

    def _composite_group(self, name: str, composite: Composite, place: int) -> CompositeGroup:
        field = self.fields[place] if self.fields else ""
        own = "/".join(filter(None, (name, field)))
        stages = {
            stage: FieldGroup("/".join(filter(None, (own, stage))), name, s, (0,), {}, s.unbiased)
            for stage, s in composite.stages
        }
        keys: dict[str, list[str | None]] = {
            statistic: [self._key(field, name, statistic)] for statistic in composite.statistics
        }
        return CompositeGroup(own, composite, (place,), keys, stages)

    def _key(self, of: str, decay: str, statistic: str) -> str:
        return "_".join(filter(None, (of, decay, statistic)))


def _idle_ticks(forget_after: object, tick: Tick) -> int:
    ticks = whole_ticks("forget_after", forget_after, tick.per_ms)
    if ticks < 1:
        raise ConfigError(
            f'forget_after is {forget_after!r}: it must be at least 1 {tick.unit}, such as "7d"'
        )
    return ticks


def _by_name(smoothing: object) -> dict[str, SmoothingLike]:
    if not isinstance(smoothing, (SmoothingLike, Mapping)):
        raise ConfigError(
            f"smoothing is {smoothing!r}: give a Smoothing or a Composite, such as "
            'Smoothing(Decay(beta=0.9)), or several by name, {"fast": ..., "slow": ...}'
        )
    named = {"": smoothing} if isinstance(smoothing, SmoothingLike) else dict(smoothing)
    for name, one in named.items():
        if not isinstance(name, str):
            raise ConfigError(f"{name!r} is not the name of a smoothing: it must be a str")
        if not isinstance(one, SmoothingLike):
            raise ConfigError(f"{name!r} is {one!r}: it must be a Smoothing or a Composite")
    if not named:
        raise ConfigError("no smoothing is given: give one, or several by name")
    return named
