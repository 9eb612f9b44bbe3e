"""The newest event time of each input partition, up to each of its readings.

Knows readings and where they are from; must not know what is computed from them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ewma_ops.columns.readings import Readings

__all__ = ["Clocks"]


class Clocks:
    """Clocks of input partitions: they advance with the readings that can be read.

    Examples
    --------
    >>> from ewma_ops.columns.origins import Origins
    >>> clocks = Clocks()
    >>> origins = Origins(np.array([0, 1, 0], np.int32), np.array([7, 3, 8]))
    >>> readings = Readings(["a", "b", "a"], np.ones(3), np.array([50, 10, 20]), origins)
    >>> clocks.stamp(readings).clocks_ms, clocks.state(0)
    (array([50, 10, 50]), 50)
    """

    def __init__(self) -> None:
        self._newest_ms: dict[int, int] = {}

    def state(self, partition: int) -> int | None:
        """Return the clock of a partition in ticks; ``None`` if it has none yet."""
        return self._newest_ms.get(partition)

    def resume(self, partition: int, state: int | None) -> None:
        """Restore the clock of a partition."""
        self._newest_ms.pop(partition, None)
        if state is not None:
            self._newest_ms[partition] = state

    def stamp(self, readings: Readings) -> Readings:
        """Return readings with their clocks, and advance these."""
        times, origins = readings.times_ms, readings.origins
        assert times is not None
        assert origins is not None
        clocks_ms = np.empty_like(times)
        for partition, places in origins.by_partition():
            own = np.maximum.accumulate(times[places])
            if (before := self._newest_ms.get(partition)) is not None:
                np.maximum(own, before, out=own)
            clocks_ms[places] = own
            self._newest_ms[partition] = int(own[-1])
        return replace(readings, clocks_ms=clocks_ms)
