"""SeriesTable: the state of millions of series as columns, and one row for each series id.

Knows series ids, rows and growth; must not know streams, Kafka, the clock ("now" is an argument)
or how a statistic is computed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops import kernel
from ewma_ops.errors import ConfigError, ReadingError, StateError
from ewma_ops.readings import Readings, Smoothed
from ewma_ops.scalar import Stepper
from ewma_ops.smoother import Smoother
from ewma_ops.smoothing import Smoothing

__all__ = ["SeriesTable", "TableSnapshot"]

_VERSION = 1

# Fewer readings than this cost less one by one than as columns (measured).
_SMALLEST_BATCH = 96


class TableSnapshot(NamedTuple):
    """The state of a table as plain arrays: independent of the table, and picklable.

    ``ids`` is the UTF-8 of all series ids end to end, ``id_sizes`` the bytes of each.
    """

    version: int
    fingerprint: str
    ids: bytes
    id_sizes: NDArray[np.uint32]
    columns: dict[str, NDArray[Any]]


class SeriesTable:
    """Smooth the readings of any number of series.

    A series' outputs do not depend, in one bit, on how its readings are cut into batches, on the
    other series of the table, or on a snapshot and restore in between.

    Parameters
    ----------
    smoothing
        What to compute.
    snapshot
        What an earlier table's :meth:`snapshot` returned, to go on from there.

    Raises
    ------
    StateError
        If the snapshot was taken with another smoothing, or by an unknown version.

    Notes
    -----
    A series costs 24 bytes of state for the mean (32 by time; 8 more for each of ``n_eff`` and
    ``settled`` by time), and about 130 bytes for its id and its place in the index.

    Examples
    --------
    >>> from ewma_ops.decay import Decay
    >>> table = SeriesTable(Smoothing(Decay(beta=0.9), start_up="uncorrected"))
    >>> table.update(Readings.of(["s", "s"], [30, 17])).statistics["mean"].round(12)
    array([3. , 4.4])
    """

    def __init__(self, smoothing: Smoothing, snapshot: TableSnapshot | None = None) -> None:
        self.smoothing = smoothing
        self._smoother = Smoother(smoothing)
        self._rows: dict[str, int] = {}
        self._columns: dict[str, NDArray[Any]] = {}
        if snapshot is None:
            self._adopt([], {n: np.empty(0, t) for n, (t, _) in self._smoother.columns.items()})
        else:
            self._restore(snapshot)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, series_id: str) -> bool:
        return series_id in self._rows

    def update(self, readings: Readings) -> Smoothed:
        """Take in readings, in order of arrival, and return each with its statistics.

        Series that are not in the table yet are added. Nothing is changed if an error is raised.

        Raises
        ------
        ReadingError
            If decay is by time and the readings have none.
        """
        if readings.times_ms is None:
            self._check_timed()
        if len(readings) < _SMALLEST_BATCH:
            return self._step_through(readings)
        plan = kernel.plan(self._locate(readings.series_ids))
        state = {name: column[plan.series] for name, column in self._columns.items()}
        times = None if readings.times_ms is None else readings.times_ms[plan.order]
        results = self._smoother.advance(plan, readings.values[plan.order], times, state)
        for name, column in self._columns.items():
            column[plan.series] = state[name]
        return Smoothed(readings, {n: _arrival(plan, result) for n, result in results.items()})

    def step(self, series_id: str, value: float, time_ms: int | None = None) -> tuple[float, ...]:
        """Take in one reading and return its statistics, in the order they were asked for.

        The same to the last bit as :meth:`update` with one reading, and quicker for few.

        Parameters
        ----------
        series_id
            The series; it is added if new.
        value
            A finite number up to `LARGEST_VALUE`, or NaN for a missing reading.
        time_ms
            Event time in milliseconds since the epoch; needed for decay by time.

        Raises
        ------
        ReadingError
            If decay is by time and there is none.

        Examples
        --------
        >>> from ewma_ops.decay import Decay
        >>> table = SeriesTable(Smoothing(Decay(beta=0.5)))
        >>> table.step("s", 1.0), table.step("s", 4.0)
        ((1.0,), (3.0,))
        """
        if time_ms is None:
            self._check_timed()
        row = self._rows.get(series_id)
        if row is None:
            row = self._rows[series_id] = len(self._rows)
            self._grow(row + 1)
        return self._stepper.step(row, value, time_ms)

    def _step_through(self, readings: Readings) -> Smoothed:
        n = len(readings)
        times = [None] * n if readings.times_ms is None else readings.times_ms.tolist()
        steps = list(map(self.step, readings.series_ids, readings.values.tolist(), times))
        names = self.smoothing.statistics
        columns = np.array(steps, np.float64).reshape(n, len(names)).T
        return Smoothed(readings, dict(zip(names, columns.copy(), strict=True)))

    def _check_timed(self) -> None:
        if self.smoothing.decay.by_time:
            raise ReadingError(
                f"{self.smoothing.decay} decays by time, but a reading has none: "
                "give (time, value) pairs, or a half-life counted in readings"
            )

    def _locate(self, series_ids: list[str]) -> NDArray[np.intp]:
        """Row of each series id, adding the new ones."""
        rows = self._rows
        try:
            return np.fromiter(map(rows.__getitem__, series_ids), np.intp, len(series_ids))
        except KeyError:
            for series_id in series_ids:
                rows.setdefault(series_id, len(rows))
        self._grow(len(rows))
        return np.fromiter(map(rows.__getitem__, series_ids), np.intp, len(series_ids))

    def _grow(self, needed: int) -> None:
        size = len(self._columns["count"])
        if needed <= size:
            return
        size = max(needed, size + size // 4, 64)
        for name, (dtype, initial) in self._smoother.columns.items():
            grown = np.full(size, initial, dtype)
            grown[: len(self._columns[name])] = self._columns[name]
            self._columns[name] = grown
        self._stepper = Stepper(self.smoothing, self._columns)

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
        if "newest_ms" not in self._columns:
            raise ConfigError(
                f"{self.smoothing.decay} keeps no times, so idle series cannot be told: "
                "use decay by time, for example Decay(halflife='5min')"
            )
        n = len(self._rows)
        stays = self._columns["newest_ms"][:n] >= before_ms
        kept_ids = [
            series_id for series_id, stay in zip(self._rows, stays.tolist(), strict=True) if stay
        ]
        self._adopt(kept_ids, {name: c[:n][stays] for name, c in self._columns.items()})
        return n - len(kept_ids)

    def snapshot(self) -> TableSnapshot:
        """Copy the state. The table goes on unchanged."""
        n = len(self._rows)
        encoded = [series_id.encode("utf-8", "surrogatepass") for series_id in self._rows]
        return TableSnapshot(
            _VERSION,
            self.smoothing.fingerprint(),
            b"".join(encoded),
            np.fromiter(map(len, encoded), np.uint32, n),
            {name: column[:n].copy() for name, column in self._columns.items()},
        )

    def _restore(self, snapshot: TableSnapshot) -> None:
        if snapshot.version != _VERSION:
            raise StateError(
                f"the snapshot has version {snapshot.version}, this release reads {_VERSION}: "
                "resume with the release that wrote it, or start from an empty recovery directory"
            )
        fingerprint = self.smoothing.fingerprint()
        if snapshot.fingerprint != fingerprint:
            raise StateError(
                f"the snapshot was taken with {snapshot.fingerprint}, but the flow now asks for "
                f"{fingerprint}: resume with the old options, or start from an empty recovery "
                "directory to smooth from the beginning"
            )
        ends = np.cumsum(snapshot.id_sizes, dtype=np.int64).tolist()
        spans = zip(ends, snapshot.id_sizes.tolist(), strict=True)
        ids = snapshot.ids
        self._adopt(
            [ids[end - size : end].decode("utf-8", "surrogatepass") for end, size in spans],
            snapshot.columns,
        )

    def _adopt(self, series_ids: list[str], columns: dict[str, NDArray[Any]]) -> None:
        self._rows = {series_id: row for row, series_id in enumerate(series_ids)}
        self._columns = {name: columns[name].copy() for name in self._smoother.columns}
        self._stepper = Stepper(self.smoothing, self._columns)
        self._check()

    def _check(self) -> None:
        """Raise StateError unless the table is sound: for tests, and after every restore."""
        n = len(self._rows)
        for name, column in self._columns.items():
            if len(column) < n:
                raise StateError(f"column {name!r} has {len(column)} rows for {n} series")
        weight, count = self._columns["weight"][:n], self._columns["count"][:n]
        if not (np.isfinite(weight).all() and (weight >= 0.0).all() and (count >= 0).all()):
            raise StateError("a sum of weights or a count is negative or not finite: damaged state")
        if not np.isfinite(self._columns["mean"][:n]).all():
            raise StateError("a mean is not finite: damaged state")


def _arrival(plan: kernel.Plan, column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Put a column of the plan back into the order of arrival."""
    restored = np.empty_like(column)
    restored[plan.order] = column
    return restored
