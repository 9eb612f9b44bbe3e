"""SeriesTable: the state of millions of series as columns, and one row for each series id.

Knows series ids, rows and growth; must not know streams, Kafka, the clock ("now" is an argument)
or how a statistic is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.block import Block
from ewma_ops.chain import Chain
from ewma_ops.errors import ConfigError, ReadingError, StateError
from ewma_ops.family import OF_READING, Asked, ChainUnit, Family, Unit
from ewma_ops.index import EncodedIds, SeriesIndex
from ewma_ops.merge import check_mergeable
from ewma_ops.plan import plan
from ewma_ops.readings import LARGEST_VALUE, Readings, Smoothed

__all__ = ["SeriesTable", "TableSnapshot"]

_VERSION = 2

# Fewer readings than this cost less one by one than as columns (measured).
_SMALLEST_BATCH = 96

_NO_WEIGHTS = "weighting is by volume, but a reading has no weight: give weights with the readings"


class TableSnapshot(NamedTuple):
    """The state of a table as plain arrays: independent of the table, and picklable.

    ``ids`` is the UTF-8 of all series ids end to end, ``id_sizes`` the bytes of each; ``apart``
    tells that each field has weights of its own, since a reading lacked only some of them.
    """

    version: int
    fingerprint: str
    ids: bytes
    id_sizes: NDArray[np.uint32]
    columns: dict[str, NDArray[Any]]
    apart: bool = False


class SeriesTable:
    """Smooth the readings of any number of series.

    A series' outputs do not depend, in one bit, on how its readings are cut into batches, on the
    other series of the table, or on a snapshot and restore in between.

    Parameters
    ----------
    smoothing
        What to compute: one `Smoothing` or `Composite`, or several by name, all in one pass.
    snapshot
        What an earlier table's :meth:`snapshot` returned, to go on from there.
    fields
        Names of the fields of a reading, or how many numbers its value is a vector of. A field
        that is missing is missing alone; a vector is missing whole where any number of it is.

    Raises
    ------
    ConfigError
        If the names of fields and smoothings do not go together.
    StateError
        If the snapshot was taken with another smoothing, or by an unknown version.

    Notes
    -----
    A series costs 24 bytes of state for the mean (32 by time), and about 130 bytes for its id and
    its place in the index. Biased variances take 8 bytes more, unbiased ones 16 (24 by time),
    ``n_eff`` 8, ``settled`` and ``rate`` by time 8, weighting ``last`` and ``linear`` 8. A further
    field costs 8 bytes for its mean, 8 for its variance and 8 for each covariance, as long as no
    reading lacks only some of the fields.

    Statistics are named ``mean``; with several fields and smoothings ``bid_fast_mean``; of two
    fields ``bid_ask_fast_corr``.

    Examples
    --------
    >>> from ewma_ops import Decay, Smoothing
    >>> table = SeriesTable(Smoothing(Decay(beta=0.9), start_up="uncorrected"))
    >>> table.update(Readings.of(["s", "s"], [30, 17])).statistics["mean"].round(12)
    array([3. , 4.4])
    >>> spans = {"fast": Smoothing(Decay(span=3)), "slow": Smoothing(Decay(span=9))}
    >>> table = SeriesTable(spans, fields=["bid", "ask"])
    >>> smoothed = table.update(Readings.of(["s", "s"], [[1.0, 2.0], [4.0, 5.0]]))
    >>> list(smoothed.statistics)
    ['bid_fast_mean', 'bid_slow_mean', 'ask_fast_mean', 'ask_slow_mean']
    >>> smoothed.statistics["ask_fast_mean"]
    array([2., 4.])
    """

    def __init__(
        self,
        smoothing: Asked | Mapping[str, Asked] | Family,
        snapshot: TableSnapshot | None = None,
        fields: Sequence[str] | int = 1,
    ) -> None:
        self.family = Family.of(smoothing, fields)
        self._index = SeriesIndex()
        self._bind([_line(unit) for unit in self.family.units()], apart=False)
        if snapshot is not None:
            self.absorb(snapshot)

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, series_id: str) -> bool:
        return series_id in self._index.rows

    @property
    def hashes(self) -> NDArray[np.uint32]:
        """The stable hash of each series' id, in the order in which the series came."""
        return self._index.hashes()

    def _bind(self, lines: list[Block | Chain], *, apart: bool) -> None:
        self._lines, self._apart = lines, apart
        self._blocks = _blocks(lines)
        places: dict[str, int] = {}
        flat = 0
        for unit in (line.unit for line in lines):
            for statistic, keys in unit.keys.items():
                once = statistic in OF_READING
                for i, key in enumerate(keys):
                    if key is not None:
                        places[key] = flat if once else flat + i
                flat += 1 if once else len(keys)
        self._names = self.family.names
        order = [places[name] for name in self._names]
        self._order = None if order == list(range(flat)) else order
        self._one = lines[0] if self._order is None and len(lines) == 1 else None
        self._timed, self._by_volume = self.family.by_time, self.family.by_volume
        self._fields = self.family.fields
        self._vector = self.family.width > 1 and not self.family.fields

    def update(self, readings: Readings) -> Smoothed:
        """Take in readings, in order of arrival, and return each with its statistics.

        Series that are not in the table yet are added. Nothing is changed if an error is raised.

        Raises
        ------
        ReadingError
            If decay is by time and the readings have none, if weighting is by volume and they
            have no weights, or if values have another shape than the fields.
        """
        self._check_shape(readings)
        if len(readings) < _SMALLEST_BATCH and not self._vector:
            return self._step_through(readings)
        width = self.family.width
        rows = self._locate(readings.series_ids)
        if readings.hashes is None:
            readings = replace(readings, hashes=self.hashes[rows])
        laid_out = plan(rows, width)
        values = np.take(readings.values.T, laid_out.order, axis=-1).reshape(width, -1)
        times, weights = readings.times_ms, readings.weights
        if times is not None:
            times = times[laid_out.order]
        if weights is not None:
            weights = weights[laid_out.order]
        if not self._apart and self.family.fields:
            missing = np.isnan(values)
            if (missing != missing[0]).any():
                self._part()
        found: dict[str, NDArray[np.float64]] = {}
        for line in self._lines:
            found |= line.advance(laid_out, values, times, weights)
        return Smoothed(readings, {name: found[name] for name in self._names})

    def step(
        self,
        series_id: str,
        value: float | Sequence[float],
        time_ms: int | None = None,
        weight: float | None = None,
    ) -> tuple[float, ...]:
        """Take in one reading and return its statistics, in the order of the output.

        The same to the last bit as :meth:`update` with one reading, and quicker for few.

        Parameters
        ----------
        series_id
            The series; it is added if new.
        value
            A finite number up to `LARGEST_VALUE`, or NaN for a missing reading; one for each
            field where there are several. Not for vectors.
        time_ms
            Event time in milliseconds since the epoch; needed for decay by time.
        weight
            >= 0; needed for weighting by volume.

        Raises
        ------
        ReadingError
            If decay is by time and there is none.

        Examples
        --------
        >>> from ewma_ops import Decay, Smoothing
        >>> table = SeriesTable(Smoothing(Decay(beta=0.5)))
        >>> table.step("s", 1.0), table.step("s", 4.0)
        ((1.0,), (3.0,))
        """
        if time_ms is None and self._timed is not None:
            self._check_timed()
        if self._by_volume and weight is None:
            raise ReadingError(_NO_WEIGHTS)
        row = self._index.rows.get(series_id)
        if row is None:
            row = int(self._locate([series_id])[0])
        if not self._fields:
            values: Sequence[float] = (value,)  # type: ignore[assignment] # one number
        else:
            values = value  # type: ignore[assignment] # one for each field
            if not self._apart and 0 < sum([x != x for x in values]) < len(values):
                self._part()
        if self._one is not None:
            return self._one.step(row, values, time_ms, weight)
        flat: list[float] = []
        for line in self._lines:
            places = line.unit.places
            own = values if len(places) == len(values) else [values[i] for i in places]
            flat += line.step(row, own, time_ms, weight)
        return tuple(flat) if self._order is None else tuple([flat[i] for i in self._order])

    def _step_through(self, readings: Readings) -> Smoothed:
        n = len(readings)
        times = [None] * n if readings.times_ms is None else readings.times_ms.tolist()
        weights = [None] * n if readings.weights is None else readings.weights.tolist()
        values = (readings.values if self.family.fields else readings.values.ravel()).tolist()
        steps = list(map(self.step, readings.series_ids, values, times, weights))
        columns = np.array(steps, np.float64).reshape(n, len(self._names)).T
        return Smoothed(readings, dict(zip(self._names, columns.copy(), strict=True)))

    def _part(self) -> None:
        """Give each field weights of its own: a reading lacks some of the fields only."""
        self._bind(_parted(self.family, self._lines), apart=True)

    def _check_shape(self, readings: Readings) -> None:
        if readings.times_ms is None:
            self._check_timed()
        if readings.weights is None and self._by_volume:
            raise ReadingError(_NO_WEIGHTS)
        values, width = readings.values, self.family.width
        if values.size != len(readings) * width:
            raise ReadingError(
                f"values have shape {values.shape}, but there are {width} fields: "
                f"give ({len(readings)}, {width})"
            )
        largest = self.family.largest
        if largest < LARGEST_VALUE and (np.abs(values) > largest).any():
            raise ReadingError(
                f"a value is beyond +-{largest:.3g}, the most that can be squared: clip it, or "
                "leave variances out"
            )

    def _check_timed(self) -> None:
        timed = self._timed
        if timed is not None:
            raise ReadingError(
                f"{timed.decay} decays by time, but a reading has none: "
                "give (time, value) pairs, or a half-life counted in readings"
            )

    def _locate(self, series_ids: Sequence[str]) -> NDArray[np.intp]:
        """Row of each series id, adding the new ones."""
        rows = self._index.locate(series_ids)
        self._grow(len(self._index))
        return rows

    def _grow(self, needed: int) -> None:
        size = self._blocks[0].size
        if needed > size:
            size = max(needed, size + size // 4, 64)
            for block in self._blocks:
                block.grow(size)

    def evict(self, before_ms: int) -> int:
        """Forget every series whose newest reading is older than ``before_ms``.

        A forgotten series that comes back starts anew. Costs a pass over the whole table.

        Returns
        -------
        int
            How many series were forgotten.

        Raises
        ------
        ConfigError
            If decay is by count: its state holds no times.
        """
        timed = [block.state["newest_ms"] for block in self._blocks if "newest_ms" in block.state]
        if not timed:
            raise ConfigError(
                f"{self._blocks[0].unit.smoothing.decay} keeps no times, so idle series cannot be "
                "told: use decay by time, for example Decay(halflife='5min')"
            )
        n = len(self)
        stays = np.maximum.reduce([newest[:n] for newest in timed]) >= before_ms
        kept = np.flatnonzero(stays)
        self._index.keep(kept)
        for block in self._blocks:
            block.take(kept)
        return n - len(kept)

    def retract(
        self,
        series_id: str,
        value: float | Sequence[float],
        time_ms: int,
        weight: float = 1.0,
    ) -> None:
        """Take back a reading: go on as if it had never come.

        Exact to rounding, which what is taken back makes larger the more it outweighs the rest.
        To correct a reading, retract it and take in the right one, with the same time: late
        readings are exact. Decay by time only. Nothing is changed if an error is raised.

        Parameters
        ----------
        series_id, value, time_ms, weight
            The reading as it came.

        Raises
        ------
        ConfigError
            If a smoothing is not by time, or cannot be taken apart.
        ReadingError
            If there is no such series, or no evidence would be left.
        """
        for _, asked in self.family.smoothings:
            check_mergeable(asked)
        for smoothing in (block.unit.smoothing for block in self._blocks):
            if not smoothing.decay.by_time:
                raise ConfigError(
                    f"{smoothing.decay} does not tell how old a reading is: readings can be taken "
                    "back only under decay by time, for example Decay(halflife='5min')"
                )
        row = self._index.rows.get(series_id)
        if row is None:
            raise ReadingError(f"series {series_id!r} is not in the table: nothing to take back")
        values = np.array(value, np.float64, ndmin=1)
        states = [block.without(row, values, time_ms, weight) for block in self._blocks]
        for block, state in zip(self._blocks, states, strict=True):
            block.put(row, state)

    def merge(self, other: SeriesTable) -> None:
        """Take in all series of another table, as if their readings had come to this one.

        Exact to rounding. Under decay by time the two may overlap; under count decay the other's
        readings are taken as the later ones. The other table is not changed.

        Raises
        ------
        ConfigError
            If the tables differ in what they compute, or it cannot be merged.
        """
        if other.family.fingerprint() != self.family.fingerprint():
            raise ConfigError(
                f"a table of {other.family.fingerprint()} cannot be merged into one of "
                f"{self.family.fingerprint()}: give both the same options"
            )
        for _, smoothing in self.family.smoothings:
            check_mergeable(smoothing)
        for table, twin in ((self, other), (other, self)):
            if twin._apart and not table._apart:  # noqa: SLF001 - of this class
                table._part()  # noqa: SLF001 - of this class
        rows = self._locate(list(other._index.rows))
        for block, more in zip(self._blocks, other._blocks, strict=True):
            block.merge(more, rows)

    def encoded_ids(self, rows: NDArray[np.intp]) -> EncodedIds:
        """Return the ids of some series, by the order in which they came; they never change."""
        return self._index.encoded(rows)

    def snapshot(
        self, rows: NDArray[np.intp] | None = None, ids: EncodedIds | None = None
    ) -> TableSnapshot:
        """Copy the state. The table goes on unchanged.

        Parameters
        ----------
        rows
            intp[m]: of which series, by the order in which they came; ``None`` for all.
        ids
            What `encoded_ids` returned of them, to save the time of it.
        """
        utf8, sizes = self._index.encoded(rows) if ids is None else ids
        where = slice(len(self)) if rows is None else rows
        return TableSnapshot(
            _VERSION,
            self.family.fingerprint(),
            utf8,
            sizes,
            {
                name: column[..., where].copy()
                for block in self._blocks
                for name, column in block.columns.items()
            },
            self._apart,
        )

    def absorb(self, snapshot: TableSnapshot) -> None:
        """Take in the series of a snapshot, none of which is in the table yet.

        Their outputs go on to the last bit as they would in the table they come from. Nothing is
        changed if an error is raised.

        Raises
        ------
        StateError
            If the snapshot was taken with another smoothing or by an unknown version, is damaged,
            or holds a series that is in the table.
        """
        self._check_fits(snapshot)
        n, first = len(snapshot.id_sizes), len(self)
        units = self.family.units(apart=snapshot.apart)
        lines = [_line(unit, snapshot.columns) for unit in units]
        _check(_blocks(lines), n)
        self._index.extend(snapshot.ids, snapshot.id_sizes)
        if not first:
            self._bind(lines, apart=snapshot.apart)
            return
        if snapshot.apart and not self._apart:
            self._part()
        elif self._apart and not snapshot.apart:
            lines = _parted(self.family, lines)
        self._grow(first + n)
        for block, more in zip(self._blocks, _blocks(lines), strict=True):
            block.copy_from(more, first, n)

    def _check_fits(self, snapshot: TableSnapshot) -> None:
        if snapshot.version != _VERSION:
            raise StateError(
                f"the snapshot has version {snapshot.version}, this release reads {_VERSION}: "
                "resume with the release that wrote it, or start from an empty recovery directory"
            )
        fingerprint = self.family.fingerprint()
        if snapshot.fingerprint != fingerprint:
            raise StateError(
                f"the snapshot was taken with {snapshot.fingerprint}, but the flow now asks for "
                f"{fingerprint}: resume with the old options, or start from an empty recovery "
                "directory to smooth from the beginning"
            )

    def _check(self) -> None:
        """Raise StateError unless the table is sound: for tests."""
        _check(self._blocks, len(self))


def _line(
    unit: Unit | ChainUnit, columns: Mapping[str, NDArray[Any]] | None = None
) -> Block | Chain:
    return Chain(unit, columns) if isinstance(unit, ChainUnit) else Block(unit, columns)


def _blocks(lines: list[Block | Chain]) -> list[Block]:
    return [block for line in lines for block in line.blocks]


def _parted(family: Family, lines: list[Block | Chain]) -> list[Block | Chain]:
    chains = {line.unit.name: line for line in lines if isinstance(line, Chain)}
    whole = {line.unit.name: line for line in lines if isinstance(line, Block)}
    return [
        chains[unit.name] if isinstance(unit, ChainUnit) else whole[unit.decay].part(unit)
        for unit in family.units(apart=True)
    ]


def _check(blocks: list[Block], n: int) -> None:
    for block in blocks:
        for name, column in block.columns.items():
            if column.shape[-1] < n:
                raise StateError(f"column {name!r} has {column.shape[-1]} rows for {n} series")
        weight, count = block.state["weight"][:n], block.state["count"][:n]
        if not (np.isfinite(weight).all() and (weight >= 0.0).all() and (count >= 0).all()):
            raise StateError("a sum of weights or a count is negative or not finite: damaged state")
        for name, column in block.state.items():
            if column.dtype == np.float64 and not np.isfinite(column[..., :n]).all():
                raise StateError(f"a {name} is not finite: damaged state")
