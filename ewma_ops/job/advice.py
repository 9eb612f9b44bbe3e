"""What to write in the configuration if it does not match the messages.

Knows the keys of ``[input]`` and what was found; must not know brokers or Bytewax.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ewma_ops.job.report import counted
from ewma_ops.job.sample import FieldFound, Sample, key_format, key_paths
from ewma_ops.job.showing import shown_text
from ewma_ops.serde.decoder import Decoded
from ewma_ops.serde.documents import found_at
from ewma_ops.serde.format import Refused
from ewma_ops.serde.moments import likely_unit
from ewma_ops.serde.outline import nearest, outline
from ewma_ops.serde.paths import parse_path
from ewma_ops.serde.sniff import Guess, sniff
from ewma_ops.settings.model import Settings

__all__ = ["advise", "as_toml", "is_base64_number"]

_MOST_NAMES = 8
_ADVICE_OF_A_CAUSE = 3
_BASE64 = re.compile(r"[A-Za-z0-9+/]{2,22}={0,2}")
_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?")


def advise(
    settings: Settings, sample: Sample, fields: Sequence[FieldFound], decoded: Decoded | None
) -> tuple[str | None, list[str]]:
    """Return the apparent format of unreadable messages, and sentences on what to write."""
    if decoded is None:
        return None, []
    looks_like, advice = None, list[str]()
    guess = sniff(sample.payloads)
    is_other = not any(isinstance(one, (Mapping, list, tuple)) for one in sample.documents)
    if is_other and not len(decoded.readings) and guess is not None:
        looks_like, sentence = _other_format(settings, guess)
        advice.append(sentence)
    if guess is not None and guess.format == "json" and settings.input.format == "json":
        advice += _records(settings, sample)
    if not is_other:
        for field in fields:
            advice += _of_field(settings, sample, field)
    advice += _keys(settings, sample)
    advice += _where(settings, sample, decoded)
    advice += _letters(decoded, is_explained=bool(looks_like))
    return looks_like, list(dict.fromkeys(advice))


def as_toml(value: object) -> str:
    """Write a value in TOML: text, a number, true or false, or a list of these.

    Examples
    --------
    >>> print(as_toml(["a", 1.5, True]), as_toml('"a.b"'))
    ["a", 1.5, true] '"a.b"'
    """
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(as_toml, value))}]"
    if isinstance(value, str) and '"' in value and "'" not in value and value.isprintable():
        return f"'{value}'"  # verbatim, without escapes
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")


def _other_format(settings: Settings, guess: Guess) -> tuple[str | None, str]:
    reads = settings.input
    if guess.format is None:
        return guess.words, f"the messages look like {guess.words}"
    keys: dict[str, object] = {}
    if guess.format != reads.format:
        keys["format"] = guess.format
    keys |= {k: v for k, v in guess.keys.items() if getattr(reads, k, None) != v}
    if not keys:
        return None, f"the messages look like {guess.words}, and cannot be read as such"
    text = ", ".join(f"{key} = {as_toml(value)}" for key, value in keys.items())
    more = ", and the address of the registry in [registry]" if "Registry" in guess.words else ""
    return guess.words, f"this looks like {guess.words}: write {text} in [input]{more}"


def _of_field(settings: Settings, sample: Sample, field: FieldFound) -> list[str]:
    path = parse_path(field.path)
    if not field.found and path.source == "document" and path.steps:
        return [_nowhere(settings, sample, field)]
    values = [value for value in sample.values(path) if value is not None]
    if field.role == "time" and path.source == "document":
        return _unit(settings, field, values)
    if field.role in ("value", "weight"):
        texts = [value for value in values if isinstance(value, str)]
        if texts and settings.input.format in ("json", "avro") and _are_base64(texts, sample):
            fix = 'set decimal.handling.mode = "string" in the connector, and write '
            fix += 'numbers = "text" in [input]'
            shown = repr(shown_text(texts[-1]))
            return [f"{field.path} looks like a base64 decimal of Debezium, {shown}: {fix}"]
    return []


def _nowhere(settings: Settings, sample: Sample, field: FieldFound) -> str:
    """Say that no reading has a field, and list the fields that exist."""
    paths = [path for path in sample.paths() if path != field.path]
    meant = nearest(field.path, paths)
    if meant is not None:
        shown = f"'{meant}'" if '"' in meant else meant
        fix = f"did you mean {shown}?"
    elif not paths:
        fix = "they have no fields"
    else:
        more = f" and {len(paths) - _MOST_NAMES} more" if len(paths) > _MOST_NAMES else ""
        fix = f"there are {shown_text(', '.join(paths[:_MOST_NAMES]), 200)}{more}"
    of = "reading" if settings.input.records else "message"
    return f"{field.role}: no {of} has {field.path}; {fix}"


def _unit(settings: Settings, field: FieldFound, values: Sequence[Any]) -> list[str]:
    numbers = [
        value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    texts = [value for value in values if isinstance(value, str) and _NUMBER.fullmatch(value)]
    if settings.input.time_unit is not None or not (numbers or texts):
        return []
    every = numbers or [float(text.replace(",", ".")) for text in texts]
    unit = likely_unit(sorted(every)[len(every) // 2])
    own = {"csv": "ms", "line": "ns"}.get(settings.input.format)
    if unit is None or unit == own or (unit == "ms" and numbers):
        return []
    names = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
    return [f'{field.path} looks like {names[unit]}: write time_unit = "{unit}" in [input]']


def _are_base64(texts: Sequence[str], sample: Sample) -> bool:
    """Recognize Debezium decimals in base64, as opposed to words: short, and all decode."""
    if not all(map(is_base64_number, texts)):
        return False
    if any(re.search(r"[=+/0-9]|[a-z][A-Z]", text) for text in texts):
        return True
    return b"connect.data.Decimal" in (sample.payloads[-1] or b"")


def is_base64_number(text: str) -> bool:
    """Return whether text could be the unscaled bytes of a decimal in base64, and not a number.

    Examples
    --------
    >>> is_base64_number("AJY="), is_base64_number("21.5"), is_base64_number("unavailable")
    (True, False, False)
    """
    if not _BASE64.fullmatch(text) or len(text) % 4 or _NUMBER.fullmatch(text):
        return False
    try:
        return 0 < len(b64decode(text, validate=True)) <= 16
    except binascii.Error:
        return False


def _records(settings: Settings, sample: Sample) -> list[str]:
    """Say where the arrays of readings are, if messages are arrays or hold them."""
    if settings.input.records is not None:
        return []
    wanted = settings.input.value if isinstance(settings.input.value, str) else ""
    found = Counter(filter(None, (arrays_of(one, wanted) for one in sample.documents)))
    if not found:
        return []
    (records, n), *_ = found.most_common(1)
    if 2 * n < len(sample.documents) and any(
        isinstance(one, Mapping) and _has(one, wanted) for one in sample.documents
    ):
        return []
    fix = f"write records = {as_toml(records)} in [input]; the other paths then begin at an item"
    return [f"{n:,} of {len(sample.documents):,} messages hold arrays of readings: {fix}"]


def _has(document: object, wanted: str) -> bool:
    try:
        return bool(wanted) and found_at(document, parse_path(wanted)) is not None
    except Refused:
        return False


def arrays_of(document: object, wanted: str = "") -> str | None:
    """Return the path of ``records`` to the readings in a document.

    Examples
    --------
    >>> arrays_of([{"p": 1}]), arrays_of({"data": [{"p": 1}]}, "p"), arrays_of({"tags": ["a"]})
    ('[]', 'data[]', None)
    >>> arrays_of([42, [["1.5", "2"]], "trade"])
    '[1][]'
    """
    if isinstance(document, list):
        if any(isinstance(item, Mapping) for item in document):
            return "[]"
        for place, item in enumerate(document[:10]):
            if isinstance(item, list) and item and isinstance(item[0], (list, Mapping)):
                return f"[{place}][]"
        return None
    if not isinstance(document, Mapping) or _has(document, wanted):
        return None
    for path in {re.sub(r"\[\d+\].*", "", text) for text in outline(document) if "[" in text}:
        try:
            inner = found_at(document, parse_path(path)) if path else None
        except Refused:
            continue
        if isinstance(inner, list) and any(_has(item, wanted) for item in inner):
            return f"{path}[]"
    return None


def _keys(settings: Settings, sample: Sample) -> list[str]:
    """Say which type binary keys seem to have, if they are the series' ids."""
    ids = settings.input.series_id
    asked = ids is None or any(
        text.startswith("@key") for text in ([ids] if isinstance(ids, str) else ids)
    )
    keys = [key for key in sample.keys if key]
    if not asked or settings.input.key is not None or not keys:
        return []
    if (kind := key_format(keys)) is not None:
        of = f"the keys have {len(keys[0])} bytes that are not text"
        return [f'{of}: write key = "{kind}" in [input]']
    if all(key[:1] == b"{" for key in keys) and ids is None:
        path = f"@key.{next(iter(key_paths(keys[-1])), 'name')}"
        own = f'key = "json" in [input], and series_id = {as_toml(path)}'
        return [f"the keys are objects of JSON: write {own}"]
    return []


def _where(settings: Settings, sample: Sample, decoded: Decoded) -> list[str]:
    if not settings.input.where or len(decoded.readings) or not decoded.skipped:
        return []
    parts = []
    for text, wanted in settings.input.where.items():
        there = Counter(repr(value) for value in sample.values(parse_path(text)))
        seen = ", ".join(f"{shown_text(value, 30)} {n:,}" for value, n in there.most_common(3))
        parts.append(f"{text} is {seen}, and {' or '.join(map(repr, wanted))} is asked for")
    return [f"where leaves out every message: {'; '.join(parts)}"]


def _letters(decoded: Decoded, *, is_explained: bool) -> list[str]:
    """Say what is wrong with dead letters, once for each kind of cause."""
    rejected, lines = decoded.rejected, []
    by_cause: dict[str, dict[str, str]] = {}
    counts: Counter[str] = Counter()
    for one in rejected:
        kinds = by_cause.setdefault(one.cause, {})
        kind = re.sub(r"[0-9.,]+|'[^']*'|\"[^\"]*\"", "", one.detail)[:80]
        kinds.setdefault(kind, one.detail)
        counts[one.cause] += 1
    for cause, n in counts.most_common():
        if is_explained and 2 * n > len(rejected):
            continue  # the advice on the format covers them
        details = list(by_cause[cause].values())[:_ADVICE_OF_A_CAUSE]
        shown = "; ".join(shown_text(detail, 240) for detail in details)
        lines.append(f"{counted(n, 'dead letter')}, {cause}: {shown}")
    return lines
