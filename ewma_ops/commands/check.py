"""``ewma check``: what a configuration amounts to, its topics, and what it finds in their messages.

Knows the job's parts and what is printed; writes nothing, except topics if asked to.
"""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from ewma_ops.commands.terminal import painted, table
from ewma_ops.connectors import create_topic, partition_count
from ewma_ops.connectors.client.options import check_options
from ewma_ops.connectors.client.topic_configs import concerns
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.connectors.newest import read_newest
from ewma_ops.job.builders import open_history, warm_table
from ewma_ops.job.identity import look_up_inputs
from ewma_ops.job.report import by_cause, counted
from ewma_ops.job.survey import Survey, survey
from ewma_ops.job.topics import letters_cut, topic_uses
from ewma_ops.job.waiting import once_ready
from ewma_ops.monitor.rules import ChartRule
from ewma_ops.settings.describe import describe
from ewma_ops.settings.load import load
from ewma_ops.settings.model import Settings

__all__ = ["check"]

_REGISTRY_S = 15.0
_MOST_COMPUTED = 1e6
"""Readings per false alarm beyond which a computed limit is doubtful."""


@dataclass
class _Findings:
    """The findings, printed as they come, or as JSON at the end."""

    as_json: bool
    document: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def say(self, text: str = "") -> None:
        """Print text, unless everything is printed as JSON."""
        if not self.as_json:
            print(text)

    def report(self, text: str, *, grave: bool) -> None:
        """Record a problem, and print it on standard error."""
        (self.errors if grave else self.warnings).append(text)
        if not self.as_json:
            sys.stdout.flush()
            head = painted("error:", "red", sys.stderr)
            if not grave:
                head = painted("warning:", "yellow", sys.stderr)
            print(f"{head} {text}", file=sys.stderr)

    def conclude(self) -> int:
        """Print the JSON if asked for; return the exit code."""
        if self.as_json:
            lists = {"warnings": self.warnings, "errors": self.errors}
            print(msgspec.json.encode({**self.document, **lists}).decode())
        return 2 if self.errors else 0


def check(
    config: Path,
    *,
    offline: bool = False,
    create_topics: bool = False,
    wait_s: float = 0.0,
    sample: int = 100,
    as_json: bool = False,
) -> int:
    """Check a configuration, its topics and some of their messages; return an exit code.

    Parameters
    ----------
    config
        The configuration file.
    offline
        Whether not to connect to Kafka.
    create_topics
        Whether output topics that are missing are created.
    wait_s
        How many seconds to wait for brokers.
    sample
        How many of the newest messages are looked at; 0 for none.
    as_json
        Whether to print one object of JSON.

    Returns
    -------
    int
        0, with warnings or without; 2 where the job could not run, or every message would be a
        dead letter.

    Raises
    ------
    EwmaError
        If the configuration is wrong, or brokers do not answer.
    """
    settings = load(config)
    findings = _Findings(as_json)
    findings.document["settings"] = dict(_described(settings))
    findings.say(describe(settings))
    if settings.warm_start is not None:
        warm, readings = warm_table(settings, open_history(settings))
        findings.document["warm_start"] = {"readings": readings, "series": len(warm)}
        findings.say(f"\n{settings.warm_start}: {readings:,} readings of {len(warm):,} series")
    for text in _doubtful_limits(settings):
        findings.report(text, grave=False)
    check_options(settings.kafka)
    if not offline:
        inputs = _check_topics(settings, findings, wait_s, create_topics=create_topics)
        if sample:
            _look(settings, inputs, sample, findings)
    return findings.conclude()


def _doubtful_limits(settings: Settings) -> Iterator[str]:
    """Warn of computed limits so far out that no real readings are normal there."""
    alarms = settings.alarms
    for name, rule in () if alarms is None else alarms.rules.rules:
        if alarms is None or name not in alarms.computed or not isinstance(rule, ChartRule):
            continue
        if rule.run_length() > _MOST_COMPUTED and not rule.least:
            yield (
                f"alarms.{name}: a limit for {rule.designed} rests on the far tail of the normal "
                "distribution, which few real readings follow: give a limit found from history, or "
                "least = a deviation in your units"
            )


def _described(settings: Settings) -> Iterator[tuple[str, str]]:
    for line in describe(settings).splitlines():
        yield line[:13].strip(), line[13:]


def _partitions(count: int) -> str:
    return f"{count} partition{'' if count == 1 else 's'}"


def _check_topics(
    settings: Settings, findings: _Findings, wait_s: float, *, create_topics: bool
) -> InputTopics:
    inputs = once_ready(partial(look_up_inputs, settings), (), wait_s)
    counts = {topic.name: topic.view.partitions for topic in inputs.by_number.values()}
    partitions = max(counts.values())
    findings.say()
    for topic, count in counts.items():
        findings.say(f"{topic}: {_partitions(count)}")
    written = [settings.output.topic, settings.dead_letters.topic]
    if settings.alarms is not None:
        written.append(settings.alarms.topic)
    for topic in written:
        if create_topics:
            create_topic(settings.kafka, topic, partitions)
        counts[topic] = partition_count(settings.kafka, topic)
        findings.say(f"{topic}: {_partitions(counts[topic])}")
    findings.document["partitions"] = counts
    _, why = letters_cut(settings)
    if why:
        findings.say(f"\n{why}")
        findings.document["letters_cut"] = why
    for concern in concerns(settings.kafka, topic_uses(settings, inputs.names)):
        findings.report(concern.text, grave=concern.grave)
    return inputs


def _look(settings: Settings, inputs: InputTopics, most: int, findings: _Findings) -> None:
    """Read the newest messages, and show what the job finds in them."""
    runs = read_newest(settings.kafka, list(inputs), most)
    with _for_a_while() as stopping:
        found = survey(settings, runs, stopping)
    findings.document["sample"] = msgspec.to_builtins(found)
    findings.say("")
    for line in _lines(settings, found):
        findings.say(line)
    if found.nothing_readable:
        findings.report("none of the messages can be read: each would be a dead letter", grave=True)
    for text in found.advice:
        findings.report(text, grave=False)


@contextmanager
def _for_a_while() -> Iterator[threading.Event]:
    """Yield an event that is set when the wait for a registry has lasted long enough."""
    stopping = threading.Event()
    timer = threading.Timer(_REGISTRY_S, stopping.set)
    timer.daemon = True
    timer.start()
    try:
        yield stopping
    finally:
        timer.cancel()


def _lines(settings: Settings, found: Survey) -> Iterator[str]:
    """Yield the table of fields and the newest reading, no wider than the terminal."""
    came = [counted(found.readings, "reading")]
    if found.dead_letters:
        letters = sum(found.dead_letters.values())
        came.append(f"{counted(letters, 'dead letter')} ({by_cause(found.dead_letters.items())})")
    if found.skipped:
        came.append(f"{found.skipped:,} skipped")
    newest = "the newest message" if found.messages == 1 else f"the newest {found.messages:,}"
    if not found.messages:
        yield f"{settings.input.source} is empty"
        return
    yield f"{settings.input.source}, {newest}: {', '.join(came)}"
    rows = [
        [
            one.role,
            one.path,
            f"{one.found:,}",
            f"{one.missing:,}",
            ", ".join(one.types) or "-",
            one.example or "-",
        ]
        for one in found.fields
    ]
    heads = ["field", "path", "found", "missing", "type", "example"]
    yield from table(heads, rows, shutil.get_terminal_size().columns, right={2, 3})
    if found.newest is not None:
        one = found.newest
        values = ", ".join("missing" if value is None else repr(value) for value in one.values)
        weight = "" if one.weight is None else f", weight {one.weight!r}"
        yield f"a reading: {one.series_id}, {one.time}, {values}{weight}"
