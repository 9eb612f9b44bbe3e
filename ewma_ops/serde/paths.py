r"""Paths: where in a message a value, an id, a time or a weight stands.

Knows the grammar; must not know what a document is made of, nor what is done with what is found.

    path    = (up "."?)* steps | "@value"
            | "@key" ("." steps)? | "@header." part | "@partition" | "@timestamp" | "@topic"
    up      = "^"                        one level out of a reading of `records`
    steps   = (part | index) ("." part | index)*
    part    = a name without . [ ] " and not beginning with ^ @ / or a blank
            | '"' any characters, \" and \\ escaped '"'
    index   = "[" digits "]"             counted from 0

    records = (steps? ("[]" | "{}"))+    "data[]": each item of an array is a reading; "{}": each
                                         member of an object, as an object of name and value
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from ewma_ops.errors import ConfigError

__all__ = [
    "KEY",
    "TIMESTAMP",
    "Path",
    "Paths",
    "parse_path",
    "parse_records",
    "refuse_overlap",
]

Source = Literal["document", "key", "header", "partition", "timestamp", "topic"]

_PART = re.compile(r'"((?:[^"\\]|\\["\\])+)"|([^.\[\]"]+)')
_INDEX = re.compile(r"\[(\d{1,9})\]", re.ASCII)
_PLACES: dict[str, Source] = {
    "@partition": "partition",
    "@timestamp": "timestamp",
    "@topic": "topic",
}
_KNOWN = "@key, @header.name, @partition, @timestamp, @topic or @value"


class Path(NamedTuple):
    """A path, read.

    ``text`` is what was written. ``source`` is what it leads into: the document, or a field of the
    record beside it. ``up`` is how many enclosing documents out it begins; ``steps`` are names and
    positions from there, none for all of it.
    """

    text: str
    source: Source
    up: int
    steps: tuple[str | int, ...]

    @property
    def is_plain(self) -> bool:
        """Whether it is names alone, joined with dots, inside the document itself."""
        names = [step for step in self.steps if isinstance(step, str)]
        joined = ".".join(names)
        return (self.source, self.up, joined) == ("document", 0, self.text) and bool(names)

    @property
    def name(self) -> str:
        """What a field is called that is read from here.

        Examples
        --------
        >>> parse_path('data."a.b"').name, parse_path("p[0]").name, parse_path("@key.t").name
        ('data_a_b', 'p_0', 'key_t')
        """
        if self.is_plain:
            return self.text.replace(".", "_")
        parts = [str(step) for step in self.steps]
        if self.source != "document":
            parts.insert(0, self.source)
        return re.sub(r"\W+", "_", "_".join(parts)).strip("_") or "value"


def parse_path(text: str) -> Path:
    r"""Read a path.

    Raises
    ------
    ConfigError
        If it is invalid; the message says what to write.

    Examples
    --------
    >>> parse_path("sensor.out[0]").steps
    ('sensor', 'out', 0)
    >>> parse_path('"sensor.temp"').steps, parse_path("^.site").up, parse_path("@key.id").source
    (('sensor.temp',), 1, 'key')
    >>> parse_path("p[0")
    Traceback (most recent call last):
    ...
    ewma_ops.errors.ConfigError: path 'p[0': write a position as [0], with a closing bracket
    """
    if text == "@value":
        return Path(text, "document", 0, ())
    if text in _PLACES:
        return Path(text, _PLACES[text], 0, ())
    if text.startswith("@"):
        return _of_record(text)
    up, rest = 0, text
    while rest.startswith("^"):
        up, rest = up + 1, rest[1:].removeprefix(".")
        if not rest:
            return Path(text, "document", up, ())
    return Path(text, "document", up, _steps(text, rest))


def parse_records(text: str) -> tuple[Path, ...]:
    r"""Read where the readings of a message are: a path to each array, within the one before.

    A path whose text ends with ``{}`` leads to an object instead.

    Raises
    ------
    ConfigError
        If it is invalid; the message says what to write.

    Examples
    --------
    >>> [path.steps for path in parse_records("sensors[].readings[]")]
    [('sensors',), ('readings',)]
    >>> [path.steps for path in parse_records("[1][]")]
    [(1,)]
    """
    *inner, last = re.split(r"(\[\]|\{\})", text)
    if last or not inner:
        raise ConfigError(f'records {text!r}: end it with the array whose items are read, "name[]"')
    paths = []
    for at, (part, mark) in enumerate(zip(inner[::2], inner[1::2], strict=True)):
        bare = part[1:] if at and part.startswith(".") else part
        if bare != part and not bare:
            raise ConfigError(f"records {text!r}: a name is missing beside a dot")
        if at and part and part[0] not in ".[":
            raise ConfigError(f"records {text!r}: put a dot before {part!r}")
        if bare.startswith(("^", "@")):
            raise ConfigError(f"records {text!r}: begin with a field of the message")
        paths.append(Path(f"{part}{mark}", "document", 0, _steps(text, bare) if bare else ()))
    return tuple(paths)


KEY = Path("@key", "key", 0, ())
TIMESTAMP = Path("@timestamp", "timestamp", 0, ())


class Asked(Protocol):
    """The paths of some options, as they are written."""

    @property
    def value(self) -> str | Sequence[str]: ...

    @property
    def series_id(self) -> str | Sequence[str] | None: ...

    @property
    def time(self) -> str | None: ...

    @property
    def weight(self) -> str | None: ...

    @property
    def where(self) -> Mapping[str, object]: ...

    @property
    def records(self) -> str | None: ...


class Paths(NamedTuple):
    """Where each thing stands in a message; what has no path is the record's own.

    ``ids`` are joined, and none where the record's key is the id; ``time`` is ``None`` where it is
    the record's timestamp. ``numbers`` are the values, and what a reading weighs behind them.
    ``where`` is looked at first, and may lead to the same fields. ``records`` lead to the arrays
    whose items are readings, each within the one before; none where a message is one reading.
    ``include`` is passed through to the event, and may lead to the same fields too.
    """

    ids: tuple[Path, ...]
    time: Path | None
    numbers: tuple[Path, ...]
    where: tuple[Path, ...] = ()
    records: tuple[Path, ...] = ()
    include: tuple[Path, ...] = ()

    @classmethod
    def of(cls, options: Asked, include: Sequence[str] = ()) -> Paths:
        """Read the paths of some options, and those of what is passed through.

        Raises
        ------
        ConfigError
            If one is no path, there is no value, or two lead to the same field.
        """
        values = [options.value] if isinstance(options.value, str) else list(options.value)
        if not values:
            raise ConfigError('value = []: name at least one field, such as "value"')
        series_id = () if options.series_id is None else options.series_id
        ids = [series_id] if isinstance(series_id, str) else list(series_id)
        weights = [] if options.weight is None else [options.weight]
        id_paths = tuple(map(parse_path, ids))
        numbers = tuple(map(parse_path, [*values, *weights]))
        time = None if options.time is None else parse_path(options.time)
        where = tuple(map(parse_path, options.where))
        records = () if options.records is None else parse_records(options.records)
        through = tuple(map(parse_path, include))
        read = [*numbers, *id_paths, *(() if time is None else (time,))]
        _check(read, [*where, *through], records)
        return cls(
            () if id_paths == (KEY,) else id_paths,
            None if time == TIMESTAMP else time,
            numbers,
            where,
            records,
            through,
        )

    def heads(self) -> list[str] | None:
        """Return the fields of a document that are looked at; ``None`` for any part of it."""
        inside = [path for path in self.every if path.source == "document"]
        outermost = [path for path in inside if path.up == len(self.records)]
        steps = [path.steps for path in (*outermost, *self.records[:1])]
        names = [first[0] for first in steps if first and isinstance(first[0], str)]
        return list(dict.fromkeys(names)) if len(names) == len(steps) else None

    def shares_fields(self) -> bool:
        """Return whether what is passed through is also read otherwise, or holds what is."""
        if not self.include:
            return False
        try:
            refuse_overlap(self.every)
        except ConfigError:
            return True
        return False

    @property
    def every(self) -> tuple[Path, ...]:
        """All of them."""
        time = () if self.time is None else (self.time,)
        return (*self.ids, *time, *self.numbers, *self.where, *self.include)


def _check(read: Sequence[Path], where: Sequence[Path], records: Sequence[Path]) -> None:
    """Refuse paths that cannot be read together.

    Parameters
    ----------
    read
        Of values, ids, times and weights: each leads to a field of its own.
    where
        Of what is compared or passed through; these may lead to the same fields.
    records
        To the arrays of readings: no path leads further out than there are.

    Raises
    ------
    ConfigError
        If there are such; the message says what to write.
    """
    refuse_overlap(read)
    for path in (*read, *where):
        if path.up > len(records):
            raise ConfigError(
                f"path {path.text!r} leads {path.up} levels out, and records has {len(records)}: "
                "write one ^ for each [] of records at most"
            )


def refuse_overlap(paths: Sequence[Path]) -> None:
    """Refuse two paths of which one leads inside what the other reads, or that are the same.

    Raises
    ------
    ConfigError
        If there are such.
    """
    for at, one in enumerate(paths):
        for other in paths[at + 1 :]:
            if one[1:3] != other[1:3]:
                continue
            short, long = sorted((one, other), key=lambda path: len(path.steps))
            if short.steps == long.steps:
                raise ConfigError(
                    f"{short.text!r} is read twice: value, series_id, time and weight must be "
                    "different fields"
                )
            if short.steps == long.steps[: len(short.steps)]:
                raise ConfigError(
                    f"field {short.text!r} cannot be read itself and hold {long.text} too"
                )


def _of_record(text: str) -> Path:
    head, dot, rest = text.partition(".")
    if head == "@key":
        if text == "@key":
            return Path(text, "key", 0, ())
        if dot:
            return Path(text, "key", 0, _steps(text, rest))
    if head == "@header":
        if dot and rest:  # a header's name may have dots in it
            quoted = _PART.fullmatch(rest)
            name = _unquoted(quoted[1]) if quoted and quoted[1] is not None else rest
            return Path(text, "header", 0, (name,))
        raise ConfigError(f"path {text!r}: name the header, such as @header.sensor")
    raise ConfigError(f'path {text!r}: write {_KNOWN}; a field of that name as "\\"{text}\\""')


def _steps(text: str, rest: str) -> tuple[str | int, ...]:
    if why := _no_beginning(rest):
        raise ConfigError(f"path {text!r}: {why}")
    steps: list[str | int] = []
    at = 0
    while at < len(rest):
        if rest[at] == "[":
            index = _INDEX.match(rest, at)
            if index is None:
                raise ConfigError(f"path {text!r}: {_no_index(rest[at:])}")
            steps.append(int(index[1]))
            at = index.end()
            continue
        if at:
            if rest[at] != ".":
                raise ConfigError(f"path {text!r}: put a dot before {rest[at:]!r}")
            at += 1
        part = _PART.match(rest, at)
        if part is None:
            raise ConfigError(f"path {text!r}: {_no_part(rest[at:])}")
        steps.append(part[2] if part[1] is None else _unquoted(part[1]))
        at = part.end()
    return tuple(steps)


def _unquoted(part: str) -> str:
    return re.sub(r"\\(.)", r"\1", part)


def _no_beginning(rest: str) -> str:
    """Say why a path cannot begin so, or nothing."""
    if not rest:
        return "it is empty; write the name of a field, such as value or sensor.value"
    if rest == "$" or rest.startswith(("$.", "$[", "/")):
        bare = re.sub(r"^[$/.]+", "", rest).replace("/", ".")
        return (
            f"it begins with {rest[0]}; write names joined with dots"
            + (f", such as {bare}" if bare else "")
            + f", or '\"{rest}\"' if that is the name of one field"
        )
    if rest != rest.strip():
        return "a blank stands at its beginning or end; leave it out, or put the name in quotes"
    return ""


def _no_index(rest: str) -> str:
    if "]" not in rest:
        return "write a position as [0], with a closing bracket"
    inside = rest[1 : rest.index("]")]
    if inside in ("", "*"):
        return 'several items are read with records = "name[]"; here write one position, as [0]'
    if inside[:1] in "\"'":
        return f'write the name behind a dot, as ."{inside.strip(inside[0])}"'
    return f"[{inside}] is not a position; write a whole number from 0 on, as [0]"


def _no_part(rest: str) -> str:
    if rest.startswith('"'):
        if rest.startswith('""'):
            return "a name in quotes must not be empty"
        return 'a name in quotes needs a closing quote, and \\" or \\\\ for those inside it'
    if not rest or rest.startswith("."):
        return "a name is missing beside a dot; write names joined with single dots"
    return f"{rest[0]} cannot stand here; put a name with such characters in quotes"
