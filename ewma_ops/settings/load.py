"""The configuration file: TOML in, typed `Settings` out, every mistake reported at once.

Knows the keys, their bounds and how to correct them; must not know Kafka, payloads or dataflows.
What a password is stays inside: neither `repr` nor `describe` nor an error shows one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from ewma_ops.columns.readings import event_key
from ewma_ops.errors import ConfigError
from ewma_ops.secrets.masking import masked
from ewma_ops.secrets.option_names import SECRETS, SHOWN
from ewma_ops.serde.paths import parse_path, parse_records
from ewma_ops.settings.formats import (
    completed,
    csv_columns,
    csv_mark,
    format_name,
    refuse_paths,
    refuse_unread,
)
from ewma_ops.settings.kafka_table import FIRST_KEY, KafkaOptions, read_options
from ewma_ops.settings.model import DeadLetters, Input, Output, Recovery, Settings, Text, show_value
from ewma_ops.settings.moments import moment_ms
from ewma_ops.settings.registry_table import REGISTRY_KEY, Registry, read_registry
from ewma_ops.settings.schemas import refuse_schemas
from ewma_ops.settings.smooth import KEYS, read_smoothings
from ewma_ops.settings.topics import (
    derived_group,
    discover_interval,
    loops,
    topic_mistakes,
    topic_pattern,
)
from ewma_ops.stats.durations import duration_ms
from ewma_ops.table.smoothing_set import SmoothingSet

__all__ = ["KafkaOptions", "load", "load_tables"]

_LARGEST_FILE = 256 << 10
_MOST_DOTS = 500
_MOST_NESTED = 8
_MOST_MISTAKES = 15
_LONGEST_TRANSACTION = timedelta(minutes=5)
_FIRST_KEYS = {
    "kafka": FIRST_KEY,
    "input": 'topic = "readings"',
    "smooth": 'beta = 0.9 or halflife = "5min"',
    "output": 'topic = "smoothed"',
    "recovery": 'directory = "state"',
    "registry": REGISTRY_KEY,
}
"""What a table cannot do without."""

_SHARDS = (Annotated[int, Meta(ge=1, le=1024)], "a whole number from 1 to 1024")
_Ahead = Literal["dead-letter", "clip"]
_Struct = TypeVar("_Struct", bound=Struct)


_KEYS: dict[str, tuple[str, ...]] = {
    "kafka": ("bootstrap_servers",),
    "input": Input.__struct_fields__,
    "smooth": (*KEYS, "shards", "warm_start", "max_ahead", "ahead", "forget_after"),
    "output": Output.__struct_fields__,
    "dead_letters": DeadLetters.__struct_fields__,
    "recovery": Recovery.__struct_fields__,
    "registry": Registry.__struct_fields__,
}


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
    return _settings(_parse(path), path)


def load_tables(tables: Mapping[str, Any]) -> Settings:
    """Check a configuration that is given as its tables, as :func:`load` does a file's.

    Raises
    ------
    ConfigError
        If any key in it is wrong.
    """
    return _settings(dict(tables), "the configuration")


def _settings(tables: dict[str, Any], path: Path | str) -> Settings:
    mistakes: list[str] = []
    _refuse_unknown_tables(tables, mistakes)
    kafka = _read_kafka(tables, mistakes)
    registry = _read_registry(tables, mistakes)
    input_ = _read_input(tables, mistakes)
    smooth = _read_smooth(tables, input_, mistakes)
    output = _read(Output, "output", tables, mistakes)
    dead_letters = _read(DeadLetters, "dead_letters", tables, mistakes)
    recovery = _read(Recovery, "recovery", tables, mistakes) if "recovery" in tables else None
    if input_ is not None and output is not None and dead_letters is not None:
        mistakes += loops(input_, output.topic, dead_letters.topic)
    if input_ is not None:
        mistakes += topic_mistakes(input_, _FIRST_KEYS["input"])
        refuse_paths(input_, () if output is None else output.include, mistakes)
        refuse_schemas(input_, output, registry="registry" in tables, mistakes=mistakes)
    if output is not None and smooth is not None:
        _refuse_twice(output.include, smooth[0], mistakes)
    if output is not None and output.delivery == "transactional" and recovery is not None:
        _refuse_long_transactions(recovery, mistakes)
    if mistakes or not (kafka and input_ and smooth and output and dead_letters):
        raise ConfigError(_message(path, mistakes))
    if not input_.group_id:
        input_ = msgspec.structs.replace(input_, group_id=derived_group(input_, output.topic))
    smoothing_set, shards, warm_start, max_ahead_ms, ahead = smooth
    return Settings(
        kafka=kafka,
        registry=registry,
        input=input_,
        smoothing_set=smoothing_set,
        shards=shards,
        warm_start=warm_start,
        max_ahead_ms=max_ahead_ms,
        ahead=ahead,
        output=output,
        dead_letters=dead_letters,
        recovery=recovery,
    )


def _parse(path: Path | str) -> dict[str, Any]:
    try:
        text = _text(path)
        tables = msgspec.toml.decode(text, type=dict[str, Any])
    except ConfigError:
        raise
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; give the path of a TOML file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from None
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        found = re.fullmatch(r"(.*) \(at (line .*|end of document)\)", str(error), re.DOTALL)
        what, where = found.groups() if found else (str(error), "somewhere")
        raise ConfigError(
            f'{path}, {where}: {what}; write tables as [input] and keys as topic = "readings", '
            "text in quotes, each key once"
        ) from None
    if _deeper(tables, _MOST_NESTED):
        raise ConfigError(
            f"{path}: tables and lists are nested more than {_MOST_NESTED} deep, which no "
            "key needs; remove dots and brackets"
        )
    return tables


def _text(path: Path | str) -> str:
    """Read a file that the parser can take in a moment: its time grows as the dots' square."""
    with Path(path).open("rb") as file:
        content = file.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise ConfigError(
            f"{path}: larger than {_LARGEST_FILE:,} bytes, which is the most that is read; "
            "give the path of a configuration file"
        )
    text = content.decode("utf-8-sig")
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > _MOST_DOTS:
            raise ConfigError(
                f"{path}, line {number}: more than {_MOST_DOTS:,} dots in one line; break a list "
                "into lines, and write keys without dots"
            )
    return text


def _deeper(value: object, limit: int) -> bool:
    """Return whether tables and lists are nested more than ``limit`` deep."""
    level: list[Any] = [value]
    for _ in range(limit):
        parts = [part.values() if isinstance(part, dict) else part for part in level]
        level = [inner for part in parts for inner in part if isinstance(inner, (dict, list))]
        if not level:
            return False
    return True


def _message(path: Path | str, mistakes: list[str]) -> str:
    cut = [text if len(text) <= 240 else text[:239] + "…" for text in map(masked, mistakes)]
    if len(cut) == 1:
        return f"{path}: {cut[0]}"
    if len(cut) > _MOST_MISTAKES:
        cut[_MOST_MISTAKES:] = [f"and {len(cut) - _MOST_MISTAKES} more"]
    return "\n  ".join([f"{path}: {len(mistakes)} mistakes", *cut])


def _refuse_unknown_tables(tables: dict[str, Any], mistakes: list[str]) -> None:
    for name, value in tables.items():
        if name in _KEYS:
            continue
        if not isinstance(value, dict) and (home := _home(name)):
            mistakes.append(
                f"{name} = {show_value(name, value)} stands in no table; move it to {home}"
            )
        elif name in SHOWN | SECRETS:
            mistakes.append(f"{name} stands in no table; move it to [kafka]")
        else:  # its value may be a secret
            unknown = f"[{name}]" if isinstance(value, dict) else name
            mistakes.append(f"{unknown} is not known; {_nearest(name, _KEYS)}")


def _refuse_unknown_keys(name: str, values: dict[str, Any], mistakes: list[str]) -> None:
    for key, value in values.items():
        if key in _KEYS[name] or (name == "smooth" and isinstance(value, dict)):
            continue
        mend = _nearest(key, _KEYS[name])
        if (home := _home(key)) and not mend.startswith("did you mean"):
            mend = f"it belongs in {home}"
        mistakes.append(f"{name}.{key} is not known; {mend}")


def _refuse_twice(include: Sequence[str], smoothed: SmoothingSet, mistakes: list[str]) -> None:
    """Note fields that are passed through by a name that an event has already."""
    taken = ["series_id", "time", *(smoothed.fields or ["value"]), *map(event_key, smoothed.names)]
    for path in include:
        if (name := parse_path(path).name) in taken:
            mistakes.append(f"output.include: an event has {name!r} already; remove {path!r}")
        taken.append(name)


def _refuse_long_transactions(recovery: Recovery, mistakes: list[str]) -> None:
    if recovery.interval > _LONGEST_TRANSACTION:
        mistakes.append(
            f"recovery.interval is {recovery.interval}, and so long a transaction would stay "
            f"open: it must be at most {_LONGEST_TRANSACTION} for transactional delivery"
        )


def _table(name: str, tables: dict[str, Any], mistakes: list[str]) -> dict[str, Any] | None:
    if name not in tables and name in _FIRST_KEYS:
        mistakes.append(f"[{name}] is missing; add it with {_FIRST_KEYS[name]}")
        return None
    values = tables.get(name, {})
    if not isinstance(values, dict):
        mistakes.append(f"{name} must be a table; write [{name}]")
        return None
    return values


def _read(
    kind: type[_Struct], name: str, tables: dict[str, Any], mistakes: list[str]
) -> _Struct | None:
    """Convert a table key by key, so that one mistake does not hide the next."""
    values = _table(name, tables, mistakes)
    if values is None:
        return None
    _refuse_unknown_keys(name, values, mistakes)
    known = len(mistakes)
    kept: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if field.name in values:
            bound = next(meta.description for meta in reversed(field.type.__metadata__))
            parse = _PARSERS.get(f"{name}.{field.name}", partial(msgspec.convert, type=field.type))
            kept[field.name] = _value(name, field.name, values, parse, bound, mistakes)
        elif field.required:
            mistakes.append(f"{name}.{field.name} is missing; add {_FIRST_KEYS[name]}")
    return kind(**kept) if len(mistakes) == known else None


def _read_input(tables: dict[str, Any], mistakes: list[str]) -> Input | None:
    reads = _read(Input, "input", tables, mistakes)
    if reads is None:
        return None
    refuse_unread(reads, tables["input"], mistakes)
    return completed(reads, tables["input"])


def _value(
    name: str,
    key: str,
    values: dict[str, Any],
    parse: Callable[[Any], Any],
    bound: str | None,
    mistakes: list[str],
) -> Any:
    try:
        return parse(values[key])
    except _PathError as error:
        mistakes.append(f"{name}.{key}: {error}")
    except (msgspec.ValidationError, ValueError, OverflowError):
        mistakes.append(f"{name}.{key} = {show_value(key, values[key])} must be {bound}")


def _read_kafka(tables: dict[str, Any], mistakes: list[str]) -> KafkaOptions | None:
    values = _table("kafka", tables, mistakes)
    return None if values is None else read_options(values, mistakes)


def _read_registry(tables: dict[str, Any], mistakes: list[str]) -> Registry | None:
    values = _table("registry", tables, mistakes) if "registry" in tables else None
    if values is None:
        return None
    _refuse_unknown_keys("registry", values, mistakes)
    return read_registry(values, mistakes)


def _read_smooth(
    tables: dict[str, Any], input_: Input | None, mistakes: list[str]
) -> tuple[SmoothingSet, int, Path | None, int | None, _Ahead] | None:
    values = _table("smooth", tables, mistakes)
    if values is None:
        return None
    _refuse_unknown_keys("smooth", values, mistakes)
    smoothings = read_smoothings(values, mistakes, _nearest)
    shards = 16
    if "shards" in values:
        convert = partial(msgspec.convert, type=_SHARDS[0])
        shards = _value("smooth", "shards", values, convert, _SHARDS[1], mistakes)
    warm_start = None
    if "warm_start" in values:
        bound = "the path of a Parquet file, as text"
        warm_start = _value("smooth", "warm_start", values, _path, bound, mistakes)
    max_ahead_ms, ahead = _read_ahead(values, input_, mistakes)
    if smoothings is None or input_ is None:
        return None
    paths = (input_.value,) if isinstance(input_.value, str) else input_.value
    fields = [parse_path(path).name for path in paths]
    try:
        smoothing_set = SmoothingSet.of(smoothings, fields, values.get("forget_after"))
    except ConfigError as error:
        mistakes.append(f"[smooth] {error}")
        return None
    if smoothing_set.by_volume and input_.weight is None:
        mistakes.append('weighting "volume" needs input.weight; add weight = "volume" to [input]')
    if input_.weight is not None and not smoothing_set.by_volume:
        mistakes.append('input.weight is not used; add weighting = "volume" to [smooth]')
    return smoothing_set, shards, warm_start, max_ahead_ms, ahead


def _read_ahead(
    values: dict[str, Any], input_: Input | None, mistakes: list[str]
) -> tuple[int | None, _Ahead]:
    """Return how far an event time may be ahead, and what is done with one that is further."""
    max_ahead_ms: int | None = None
    ahead: _Ahead = "dead-letter"
    if "max_ahead" in values:
        convert = _value(
            "smooth", "max_ahead", values, _interval, 'a duration such as "5min"', mistakes
        )
        max_ahead_ms = None if convert is None else convert // timedelta(milliseconds=1)
        if max_ahead_ms is not None and input_ is not None and input_.time is None:
            mistakes.append("smooth.max_ahead needs an event time in the message; add input.time")
    if "ahead" in values:
        ahead = _value("smooth", "ahead", values, partial(msgspec.convert, type=_Ahead),
                       '"dead-letter" or "clip"', mistakes)  # fmt: skip
        if ahead is not None and "max_ahead" not in values:
            mistakes.append('smooth.ahead needs a bound; add max_ahead = "5min" to [smooth]')
    return max_ahead_ms, ahead


class _PathError(Exception):
    """A path is none; the message says all."""


def _path_text(parse: Callable[[str], object], value: object) -> str:
    text = msgspec.convert(value, str)
    try:
        parse(text)
    except ConfigError as error:
        raise _PathError(str(error)) from None
    return text


_field = partial(_path_text, parse_path)


def _fields(value: object) -> str | tuple[str, ...]:
    if not isinstance(value, list):
        return _field(value)
    if not value:
        raise ValueError(value)
    return tuple(map(_field, value))


def _include(value: object) -> tuple[str, ...]:
    paths = _fields(value)
    if isinstance(paths, str):
        raise ValueError(value)
    return paths


def _time_format(value: object) -> str:
    """Return a format that names a day, and that strptime takes."""
    text = msgspec.convert(value, str)
    if not re.search(r"%[YycxdjD]", text):
        raise ValueError(text)
    moment = datetime(2026, 1, 31, 12)  # noqa: DTZ001  # only to try the format
    datetime.strptime(moment.strftime(text), text)  # noqa: DTZ007
    return text


def _missing_values(value: object) -> tuple[str | float, ...]:
    found = msgspec.convert(value, tuple[str | bool | int | float, ...])
    if any(isinstance(one, bool) or one != one for one in found):
        raise ValueError(value)
    return tuple(one if isinstance(one, str) else float(one) for one in found)


def _where(value: object) -> dict[str, tuple[str | float | bool, ...]]:
    """Return values by path; a table within stands for a path with a dot."""
    table = msgspec.convert(value, dict[str, Any])
    found: dict[str, tuple[str | float | bool, ...]] = {}
    for text, one in table.items():
        if isinstance(one, dict):
            found |= {f"{_field(text)}.{path}": inner for path, inner in _where(one).items()}
            continue
        listed = one if isinstance(one, list) else [one]
        found[_field(text)] = msgspec.convert(listed, tuple[str | bool | int | float, ...])
        if not listed:
            raise ValueError(value)
    if not found:
        raise ValueError(value)
    return found


def _start(value: object) -> str | int:
    if value in ("earliest", "latest", "committed"):
        return str(value)
    if isinstance(value, (datetime, date)):  # TOML has moments of its own
        value = value.isoformat()
    if not isinstance(value, str):
        raise ValueError(value)
    return moment_ms(value)


def _interval(value: object) -> timedelta:
    return timedelta(milliseconds=duration_ms(msgspec.convert(value, str)))


def _path(value: object) -> Path:
    return Path(msgspec.convert(value, Text)).expanduser()


_PARSERS: dict[str, Callable[[object], object]] = {
    "input.columns": csv_columns,
    "input.delimiter": partial(csv_mark, optional=False),
    "input.format": format_name,
    "input.quote": partial(csv_mark, optional=True),
    "input.discover": discover_interval,
    "input.topic_pattern": topic_pattern,
    "input.series_id": _fields,
    "input.time": _field,
    "input.value": _fields,
    "input.weight": _field,
    "input.start": _start,
    "input.time_format": _time_format,
    "input.missing_values": _missing_values,
    "input.where": _where,
    "input.records": partial(_path_text, parse_records),
    "output.include": _include,
    "recovery.interval": _interval,
    "recovery.directory": _path,
    "input.schema": _path,
}


def _home(key: str) -> str:
    return " or ".join(f"[{table}]" for table, keys in _KEYS.items() if key in keys)


def _nearest(word: str, known: Iterable[str]) -> str:
    words = tuple(known)
    near = difflib.get_close_matches(word.lower(), words, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(words)}"
