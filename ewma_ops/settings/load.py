"""The configuration file: TOML in, typed `Settings` out, every mistake reported at once.

Knows the keys, their bounds and how to correct them; must not know Kafka, payloads or dataflows.
Passwords stay hidden: neither `repr` nor `describe` nor an error shows one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ewma_ops.columns.event_names import own_keys
from ewma_ops.errors import ConfigError
from ewma_ops.secrets.masking import masked
from ewma_ops.serde.paths import parse_path
from ewma_ops.settings.alarms_table import read_alarms
from ewma_ops.settings.formats import completed, refuse_paths, refuse_unread
from ewma_ops.settings.kafka_table import KafkaOptions, read_options
from ewma_ops.settings.model import (
    Alarms,
    DeadLetters,
    Input,
    Metrics,
    Output,
    Recovery,
    Settings,
)
from ewma_ops.settings.notify_table import Notify, read_notify
from ewma_ops.settings.registry_table import Registry, read_registry
from ewma_ops.settings.schemas import refuse_schemas
from ewma_ops.settings.smooth_table import read_smooth
from ewma_ops.settings.tables import (
    FIRST_KEYS,
    find_table,
    read_table,
    refuse_unknown_keys,
    refuse_unknown_tables,
)
from ewma_ops.settings.toml_file import parse_file
from ewma_ops.settings.topics import derived_group, loops, topic_mistakes
from ewma_ops.settings.watch_table import Watch, read_watch
from ewma_ops.table.smoothing_set import SmoothingSet

__all__ = ["KafkaOptions", "load", "load_tables"]


_Servers = TypeVar("_Servers", Registry, Notify, Watch)

_MOST_MISTAKES = 15
_LONGEST_TRANSACTION = timedelta(minutes=5)


def load(path: Path | str) -> Settings:
    """Read and check a configuration file.

    ``${NAME}`` in the values of ``[kafka]`` stands for the environment variable ``NAME``, and
    ``${file:PATH}`` for the content of a file.

    Raises
    ------
    ConfigError
        If the file cannot be read, is larger than 256 KiB or not TOML, or any key in it is wrong.
        All mistakes are reported together, each with its key, its value and what to write.
    """
    return _settings(parse_file(path), path)


def load_tables(tables: Mapping[str, Any]) -> Settings:
    """Check a configuration given as tables, as :func:`load` does for a file.

    Raises
    ------
    ConfigError
        If any key in it is wrong.
    """
    return _settings(dict(tables), "the configuration")


def _settings(tables: dict[str, Any], path: Path | str) -> Settings:
    mistakes: list[str] = []
    refuse_unknown_tables(tables, mistakes)
    kafka = _read_kafka(tables, mistakes)
    registry = _read_servers("registry", read_registry, tables, mistakes)
    notify = _read_servers("notify", read_notify, tables, mistakes)
    input_ = _read_input(tables, mistakes)
    smooth = read_smooth(tables, input_, mistakes)
    output = read_table(Output, "output", tables, mistakes)
    dead_letters = read_table(DeadLetters, "dead_letters", tables, mistakes)
    recovery = read_table(Recovery, "recovery", tables, mistakes) if "recovery" in tables else None
    metrics = read_table(Metrics, "metrics", tables, mistakes) if "metrics" in tables else None
    smoothing_set = None if smooth is None else smooth.smoothing_set
    alarms = read_alarms(tables, smoothing_set, mistakes) if "alarms" in tables else None
    watch = _read_servers("watch", read_watch, tables, mistakes)
    if input_ is not None and output is not None and dead_letters is not None:
        written = {"output.topic": output.topic, "dead_letters.topic": dead_letters.topic}
        if alarms is not None:
            written["alarms.topic"] = alarms.topic
        mistakes += loops(input_, written)
    if input_ is not None:
        mistakes += topic_mistakes(input_, FIRST_KEYS["input"])
        refuse_paths(input_, () if output is None else output.include, mistakes)
        refuse_schemas(input_, output, registry="registry" in tables, mistakes=mistakes)
    if output is not None and smooth is not None:
        scores = () if alarms is None else alarms.rules.score_names
        _refuse_twice(output.include, smooth.smoothing_set, scores, mistakes)
    if output is not None and output.delivery == "transactional" and recovery is not None:
        _refuse_long_transactions(recovery, mistakes)
    if mistakes or not (kafka and input_ and smooth and output and dead_letters):
        raise ConfigError(_message(path, mistakes))
    if not input_.group_id:
        input_ = msgspec.structs.replace(input_, group_id=derived_group(input_, output.topic))
    return Settings(
        kafka=kafka,
        registry=registry,
        input=input_,
        smoothing_set=smooth.smoothing_set,
        shards=smooth.shards,
        warm_start=smooth.warm_start,
        max_ahead=smooth.max_ahead,
        ahead=smooth.ahead,
        output=output,
        dead_letters=dead_letters,
        recovery=recovery,
        metrics=metrics,
        notify=notify if alarms is None else _of_alarms(notify, alarms, tables),
        alarms=alarms,
        watch=Watch() if watch is None else watch,
    )


def _of_alarms(notify: Notify | None, alarms: Alarms, tables: dict[str, Any]) -> Notify | None:
    """Return ``[notify]`` with the job's own alarms topic, unless it names another."""
    if notify is None or "topic" in tables["notify"]:
        return notify
    return msgspec.structs.replace(notify, topic=alarms.topic)


def _message(path: Path | str, mistakes: list[str]) -> str:
    cut = [text if len(text) <= 240 else text[:239] + "…" for text in map(masked, mistakes)]
    if len(cut) == 1:
        return f"{path}: {cut[0]}"
    if len(cut) > _MOST_MISTAKES:
        cut[_MOST_MISTAKES:] = [f"and {len(cut) - _MOST_MISTAKES} more"]
    return "\n  ".join([f"{path}: {len(mistakes)} mistakes", *cut])


def _refuse_twice(
    include: Sequence[str], smoothed: SmoothingSet, scores: Sequence[str], mistakes: list[str]
) -> None:
    """Note fields that are passed through, and scores, by a name that an event has already."""
    taken = own_keys(smoothed.names, smoothed.fields)
    for name in scores:
        if name in taken:
            mistakes.append(f"alarms.in_events: an event already has {name!r}; rename the rule")
        taken.append(name)
    for path in include:
        if (name := parse_path(path).name) in taken:
            mistakes.append(f"output.include: an event already has {name!r}; remove {path!r}")
        taken.append(name)


def _refuse_long_transactions(recovery: Recovery, mistakes: list[str]) -> None:
    if recovery.interval > _LONGEST_TRANSACTION:
        mistakes.append(
            f"recovery.interval is {recovery.interval}, and a transaction would stay open that "
            f"long: it must be at most {_LONGEST_TRANSACTION} for transactional delivery"
        )


def _read_input(tables: dict[str, Any], mistakes: list[str]) -> Input | None:
    reads = read_table(Input, "input", tables, mistakes)
    if reads is None:
        return None
    refuse_unread(reads, tables["input"], mistakes)
    return completed(reads, tables["input"])


def _read_kafka(tables: dict[str, Any], mistakes: list[str]) -> KafkaOptions | None:
    values = find_table("kafka", tables, mistakes)
    return None if values is None else read_options(values, mistakes)


def _read_servers(
    name: str,
    read: Callable[[Mapping[str, Any], list[str]], _Servers | None],
    tables: dict[str, Any],
    mistakes: list[str],
) -> _Servers | None:
    values = find_table(name, tables, mistakes) if name in tables else None
    if values is None:
        return None
    refuse_unknown_keys(name, values, mistakes)
    return read(values, mistakes)
