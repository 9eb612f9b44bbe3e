"""The Prometheus families of all processes of a job, merged, with the worker as a label.

Knows families and samples; must not know HTTP, or their meaning.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

import msgspec
from msgspec import Struct

from ewma_ops import __version__
from ewma_ops.job.answers import Lines
from ewma_ops.job.health import why_not_ready

__all__ = ["RESTARTS", "Family", "Measurements", "Sample", "Taken", "gathered", "of_this_process"]

_PREFIX = "ewma_ops_"
RESTARTS = ("failed", "unavailable", "new-input", "clock", "host")
"""Reasons for restarts of the workers; all of them are exported from the start, as 0."""


class Sample(Struct, frozen=True, array_like=True):
    """One number of a family."""

    name: str
    labels: dict[str, str]
    value: float


class Family(Struct, frozen=True, array_like=True):
    """A Prometheus family; ``name`` lacks the ``_total`` of a counter."""

    name: str
    kind: str
    documentation: str
    samples: list[Sample]


def gathered() -> bytes:
    """Return the families of this process, to be sent to the launcher."""
    from prometheus_client import REGISTRY

    families = [
        Family(
            metric.name,
            metric.type,
            metric.documentation,
            [
                Sample(one.name, one.labels, float(one.value))
                for one in metric.samples
                if not one.name.endswith("_created")
            ],
        )
        for metric in REGISTRY.collect()
    ]
    return msgspec.msgpack.encode(families)


class Taken(Struct, frozen=True):
    """The answers of the workers at one time, and why the job is not ready."""

    families: list[Family]
    answered: list[bool]
    why_not_ready: list[str] = []

    def samples(self, name: str) -> list[Sample]:
        """Return all samples by their name."""
        return [one for family in self.families for one in family.samples if one.name == name]

    def values(self, name: str) -> list[float]:
        """Return the values of all samples by their name."""
        return [one.value for one in self.samples(name)]


class Measurements:
    """The measurements of a job: of its workers, which are asked, and of its launcher.

    Parameters
    ----------
    lines
        To the workers.
    delivery
        ``output.delivery``, for ``build_info``.
    interval_s
        Time between two snapshots; None if none are taken.
    first
        Number of the first worker of this machine, where the job has several machines.
    """

    def __init__(
        self, lines: Lines, delivery: str, interval_s: float | None = None, first: int = 0
    ) -> None:
        self.lines = lines
        self._delivery = delivery
        self._interval_s = interval_s
        self._first = first
        self._restarts = dict.fromkeys(RESTARTS, 0)
        self._unanswered: Counter[int] = Counter()
        self._most = 0
        self._lock = threading.Lock()

    def restarted(self, reason: str) -> None:
        """Count a restart of the workers."""
        with self._lock:
            self._restarts[reason] += 1

    def take(self) -> Taken:
        """Ask the workers; return all families, each sample labelled with its worker."""
        answers = self.lines.ask()
        merged: dict[str, Family] = {}
        for worker, answer in enumerate(answers, self._first):
            if answer is not None:
                families = msgspec.msgpack.decode(answer, type=list[Family])
                _merge(merged, families, {"worker": str(worker)})
        answered = [answer is not None for answer in answers]
        why = why_not_ready(Taken(list(merged.values()), answered), self._interval_s)
        _merge(merged, self._own(answered, ready=not why), {})
        return Taken([merged[name] for name in sorted(merged)], answered, why)

    def _own(self, answered: list[bool], *, ready: bool) -> Iterator[Family]:
        with self._lock:
            # Workers that are restarting are down, not unknown.
            self._most = max(self._most, len(answered))
            answered = answered + [False] * (self._most - len(answered))
            self._unanswered.update(i for i, up in enumerate(answered) if not up)
            restarts = dict(self._restarts)
            unanswered = {self._first + i: self._unanswered[i] for i in range(self._most)}
        up = {str(i): float(one) for i, one in enumerate(answered, self._first)}
        text = "Whether a worker has answered this time."
        yield _labelled("worker_up", "gauge", text, "worker", up)
        text = "Times that a worker has not answered when it was asked for its metrics."
        counts = {str(i): float(n) for i, n in unanswered.items()}
        yield _labelled("unanswered_scrapes", "counter", text, "worker", counts)
        text = "Times that the workers were started again, by reason."
        yield _labelled("restarts", "counter", text, "reason", restarts)
        text = "Version of ewma_ops and of Bytewax, and how events are delivered."
        yield _family("build_info", text, _build(self._delivery), 1.0)
        yield _family("ready", "Whether the job is ready, as /readyz says.", {}, float(ready))
        if self._interval_s is not None:
            text = "Time between two snapshots, as configured."
            yield _family("snapshot_interval_seconds", text, {}, self._interval_s)
        yield from of_this_process({"worker": "launcher"})


@cache
def _build(delivery: str) -> dict[str, str]:
    from importlib.metadata import version  # takes time, and is computed once

    return {"version": __version__, "bytewax": version("bytewax"), "delivery": delivery}


def _family(name: str, documentation: str, labels: dict[str, str], value: float) -> Family:
    whole = f"{_PREFIX}{name}"
    return Family(whole, "gauge", documentation, [Sample(whole, labels, value)])


def _labelled(
    name: str, kind: str, documentation: str, label: str, values: Mapping[str, float]
) -> Family:
    whole = f"{_PREFIX}{name}{'_total' if kind == 'counter' else ''}"
    samples = [Sample(whole, {label: key}, value) for key, value in values.items()]
    return Family(f"{_PREFIX}{name}", kind, documentation, samples)


def of_this_process(labels: Mapping[str, str]) -> Iterable[Family]:
    """Return memory, CPU and files of this process, under the same names as the workers'."""
    own: dict[str, Family] = {}
    families = msgspec.msgpack.decode(gathered(), type=list[Family])
    _merge(own, [one for one in families if one.name.startswith("process_")], labels)
    return own.values()


def _merge(into: dict[str, Family], families: Iterable[Family], labels: Mapping[str, str]) -> None:
    for family in families:
        known = into.setdefault(
            family.name, Family(family.name, family.kind, family.documentation, [])
        )
        known.samples.extend(
            Sample(one.name, {**one.labels, **labels}, one.value) for one in family.samples
        )
