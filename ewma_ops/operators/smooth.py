"""Bytewax operators: exponentially weighted statistics of streams.

Knows Bytewax and the types of input items; must not know Kafka, JSON or files, or how shards work.

    smooth          (series id, value) -> columns -> shards -> table -> (series id, smoothed)
    smooth_batches                        columns -> shards -> table -> columns
    watch           transitions of alarms only
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from numbers import Integral
from pathlib import PurePath

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream

from ewma_ops.columns.readings import (
    Readings,
    Smoothed,
    SmoothedReading,
)
from ewma_ops.columns.transitions import Transition
from ewma_ops.errors import ConfigError
from ewma_ops.monitor.rules import AlarmRules, ChartRule
from ewma_ops.operators.items import (
    ItemShard,
    Value,
    check_readings,
    flush_items,
    route_items,
    with_step_name,
)
from ewma_ops.operators.routing import route
from ewma_ops.operators.shards import BatchShard, Tables, WarmStart, flush, no_log
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.smoothing_set import SmoothingLike, SmoothingSet

__all__ = ["smooth", "smooth_batches", "watch"]

Smoothings = SmoothingLike | Mapping[str, SmoothingLike] | SmoothingSet

MAX_SHARDS = 1024


@operator
def smooth_batches(
    step_id: str,
    up: Stream[Readings],
    smoothing: Smoothings,
    shards: int = 16,
    fields: Sequence[str] | int = 1,
    warm_start: Iterable[Readings] | None = None,
    forget_after: timedelta | str | None = None,
    alarms: AlarmRules | None = None,
) -> Stream[Smoothed]:
    """Smooth columns of readings: the fast path, without a Python object for each reading.

    Parameters
    ----------
    step_id
        Unique id of the step.
    up
        Runs of readings of any number of series, each series' own in order.
    smoothing
        What to compute: one `Smoothing` or `Composite`, or several by name, all in one pass.
    shards
        1 to 1024 groups of series, which is the greatest number of workers that can share the
        step. Fixed for the life of a recovery store: state is stored by shard.
    fields
        Names of the fields of a reading, or the length of the vector that its value is.
    warm_start
        Readings before the stream, such as a list of them or a `History`: the output is as if they
        had been streamed, without their own events. Every process reads all of them once, when it
        has its first shard without state; a shard that resumes ignores them. So they must be the
        same at every start, and it must be possible to iterate over them again.
    forget_after
        How long a series may be idle, such as ``"7d"``: a reading that is further past its newest
        resets it, with count decay too, so readings need times. The memory of a series is freed
        when the readings of its worker are more than twice as far past it: give more than a
        reading can be late, since one that comes later than that finds the series new.
    alarms
        Rules of alarms: what becomes of them is in ``transitions`` of the result. A flow that
        resumes with other rules keeps its statistics, and its alarms warm up again. A stale rule
        needs readings with ``logged`` and ``heartbeats``, as those of a job.

    Returns
    -------
    Stream
        The readings with their statistics, those of a series in order. Readings whose policy is
        ``"dead-letter"`` are in ``rejected``.

    Raises
    ------
    ConfigError
        If ``shards`` is out of bounds, or names are incompatible.

    Notes
    -----
    Recoverable and rescalable: the state of each shard is a snapshot of its table. Outputs do not
    depend, in one bit, on the batches, the shards or the workers.

    Examples
    --------
    >>> import bytewax.operators as op
    >>> import ewma_ops.operators as ew
    >>> from bytewax.dataflow import Dataflow
    >>> from bytewax.testing import TestingSink, TestingSource, run_main
    >>> from ewma_ops import Decay, Smoothing
    >>> flow, out = Dataflow("columns"), []
    >>> up = op.input("in", flow, TestingSource([Readings.of(["a", "a"], [1.0, 4.0])]))
    >>> smoothed = ew.smooth_batches("smooth", up, Smoothing(Decay(beta=0.5)))
    >>> op.output("out", smoothed, TestingSink(out))
    >>> run_main(flow)
    >>> out[0].statistics["mean"]
    array([1., 3.])
    """
    _check_shards(shards)
    smoothing_set = SmoothingSet.of(smoothing, fields, forget_after)
    tables = _tables(smoothing_set, shards, warm_start, alarms)
    named = with_step_name(step_id)
    routed = op.flat_map_batch(
        "route",
        up,
        named(lambda batch: route(check_readings(batch), shards, all_here=tables.all_here())),
    )
    pending = op.stateful_batch("update", routed, lambda resumed: BatchShard(tables, resumed))
    return op.flat_map_batch("flush", pending, named(flush))


@operator
def smooth(
    step_id: str,
    up: KeyedStream[Value],
    smoothing: Smoothings,
    shards: int = 16,
    fields: Sequence[str] | int = 1,
    warm_start: Iterable[Readings] | None = None,
    forget_after: timedelta | str | None = None,
    alarms: AlarmRules | None = None,
) -> KeyedStream[SmoothedReading]:
    """Smooth the values of each key: one more operator for any dataflow.

    Parameters
    ----------
    step_id
        Unique id of the step.
    up
        Keyed by series id, a ``str``. A value is a real number (``int``, ``float``, ``Decimal``,
        ``Fraction``, a NumPy scalar, but no ``bool``); or a ``(time, value)`` pair, with the time
        in milliseconds since the epoch (int) or as an aware ``datetime``; or a `Reading`. ``None``
        or NaN is a missing reading. With several fields, a list of numbers or a mapping by name
        stands for the number. Within a series, in order.
    smoothing, shards, fields, warm_start, forget_after
        As for `smooth_batches`.
    alarms
        Rules of alarms: what becomes of them is in ``alarms`` of each reading; `watch` yields that
        alone. No stale rule: it needs the clock of a Kafka partition, which only a job knows.

    Returns
    -------
    KeyedStream
        A `SmoothedReading` for each value, keyed by series id: a series' own in order.

    Raises
    ------
    ConfigError
        If an option has another type or is out of bounds, or names are incompatible.
    ReadingError
        While the flow runs: if the stream is not keyed, a value is not a number, has no time and
        the decay is by time, or has the policy ``"dead-letter"``, as infinite ones have by
        default. The message names the step, the series and the value.

    Examples
    --------
    >>> import bytewax.operators as op
    >>> import ewma_ops.operators as ew
    >>> from bytewax.dataflow import Dataflow
    >>> from bytewax.testing import TestingSink, TestingSource, run_main
    >>> from ewma_ops import Decay, Smoothing
    >>> flow, out = Dataflow("ticks"), []
    >>> ticks = op.input("in", flow, TestingSource([("a", 1.0), ("a", 4.0)], batch_size=2))
    >>> smoothed = ew.smooth("smooth", ticks, Smoothing(Decay(beta=0.5)))
    >>> op.output("out", smoothed, TestingSink(out))
    >>> run_main(flow)
    >>> [(series_id, reading.ewma) for series_id, reading in out]
    [('a', 1.0), ('a', 3.0)]
    """
    _check_shards(shards)
    if isinstance(alarms, AlarmRules) and alarms.by_log:
        raise ConfigError(no_log(alarms.by_log))
    smoothing_set = SmoothingSet.of(smoothing, fields, forget_after)
    tables = _tables(smoothing_set, shards, warm_start, alarms)
    rules = () if alarms is None else alarms.names
    named = with_step_name(step_id)
    routed = op.flat_map_batch(
        "route",
        up,
        named(lambda batch: route_items(batch, shards, smoothing_set, all_here=tables.all_here())),
    )
    pending = op.stateful_batch(
        "update", routed, lambda resumed: ItemShard(step_id, tables, resumed)
    )
    return op.flat_map_batch("flush", pending, named(lambda batch: flush_items(batch, rules)))


@operator
def watch(
    step_id: str,
    up: KeyedStream[Value],
    rules: AlarmRules,
    decay: Decay | None = None,
    shards: int = 16,
    fields: Sequence[str] | int = 1,
    warm_start: Iterable[Readings] | None = None,
) -> KeyedStream[Transition]:
    """Watch the values of each key, and yield only transitions of alarms.

    Parameters
    ----------
    step_id
        Unique id of the step.
    up
        As for `smooth`.
    rules
        The rules; no stale rule, as for `smooth`.
    decay
        The decay of rules without their own; ``None`` if each has its own, or none needs one, such
        as bounds.
    shards, fields, warm_start
        As for `smooth_batches`.

    Returns
    -------
    KeyedStream
        A `Transition` for each alarm that is raised, changed, held or cleared, by series id.

    Raises
    ------
    ConfigError
        If a rule does not fit the fields, or has no decay.

    Examples
    --------
    >>> import bytewax.operators as op
    >>> import ewma_ops.operators as ew
    >>> from bytewax.dataflow import Dataflow
    >>> from bytewax.testing import TestingSink, TestingSource, run_main
    >>> from ewma_ops.monitor import AlarmRules, Bounds
    >>> rules = AlarmRules.of({"too_hot": Bounds(above=30.0, clear_above=28.0)})
    >>> flow, out = Dataflow("kitchen"), []
    >>> values = [("oven", 21.0), ("oven", 31.0), ("oven", 29.0), ("oven", 27.5)]
    >>> up = op.input("in", flow, TestingSource(values))
    >>> op.output("out", ew.watch("watch", up, rules), TestingSink(out))
    >>> run_main(flow)
    >>> [(one.transition, one.evidence["value"]) for _, one in out]
    [('raised', 31.0), ('cleared', 27.5)]
    """
    _check_rules("rules", rules)
    smoothing = Smoothing(Decay(beta=0.0) if decay is None else decay)
    if decay is None:
        _check_decays(rules)
        rules = rules.with_limits(None)
    smoothed = smooth("smooth", up, smoothing, shards, fields, warm_start, None, rules)
    return op.flat_map_batch("transitions", smoothed, with_step_name(step_id)(_only_alarms))


def _only_alarms(
    batch: list[tuple[str, SmoothedReading]],
) -> Iterable[tuple[str, Transition]]:
    return [(series_id, one) for series_id, reading in batch for one in reading.alarms]


def _check_decays(rules: AlarmRules) -> None:
    for name, rule in rules.rules:
        if isinstance(rule, ChartRule) and rule.decay is None:
            raise ConfigError(
                f"alarms.{name}: the {rule.kind} rule has no decay: give watch(..., "
                "decay=Decay(beta=0.9)) for all rules, or each its own"
            )


def _check_rules(parameter: str, rules: object) -> None:
    if not isinstance(rules, AlarmRules):
        raise ConfigError(
            f"{parameter} is {rules!r:.80}: give AlarmRules, such as "
            'AlarmRules.of({"level": Level(limit=4.5)})'
        )


def _check_shards(shards: object) -> None:
    whole = isinstance(shards, Integral) and not isinstance(shards, bool)
    if not whole or shards not in range(1, MAX_SHARDS + 1):
        raise ConfigError(f"shards = {shards!r}: give a whole number from 1 to {MAX_SHARDS}")


def _tables(
    smoothing_set: SmoothingSet,
    shards: int,
    history: Iterable[Readings] | None,
    alarms: AlarmRules | None,
) -> Tables:
    if alarms is not None:
        _check_rules("alarms", alarms)
    if history is None:
        return Tables(smoothing_set, shards, None, alarms)
    if isinstance(history, (str, bytes, PurePath)) or hasattr(history, "__arrow_c_stream__"):
        raise ConfigError(
            f"warm_start is a {type(history).__name__}: give ewma_ops.history.History(...) of it, "
            "or a list of Readings"
        )
    if isinstance(history, (Readings, Iterator)) or not isinstance(history, Iterable):
        raise ConfigError(
            f"warm_start is a {type(history).__name__}, which cannot be iterated over repeatedly: "
            "give a list of Readings, or a History"
        )
    warm_start = WarmStart(history, smoothing_set, shards, alarms)
    return Tables(smoothing_set, shards, warm_start, alarms)
