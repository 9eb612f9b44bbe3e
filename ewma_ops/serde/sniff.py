"""Guess the format of payloads: in words, and as keys of the configuration file.

Knows the marks of formats; must not decode any, nor know settings.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

__all__ = ["Guess", "sniff"]

_NUMBER = re.compile(r"\s*[+-]?[0-9]+([.,][0-9]*)?([eE][+-]?[0-9]+)?\s*")
_LINE_PROTOCOL = re.compile(
    r"(?:[^,\s\\]|\\.)+(?:,(?:[^,=\s\\]|\\.)+=(?:[^,=\s\\]|\\.)+)*"
    r" (?:[^,=\s\\]|\\.)+=(?:\"(?:[^\"\\]|\\.)*\"|[^\s,]+)"
    r"(?:,(?:[^,=\s\\]|\\.)+=(?:\"(?:[^\"\\]|\\.)*\"|[^\s,]+))*(?: -?[0-9]+)?\s*"
)
_DELIMITERS = ",;\t|"
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"\x04\x22\x4d\x18": "LZ4",
    b"PK\x03\x04": "ZIP",
}
_MOST = 100
_MOST_BYTES = 4_096


class Guess(NamedTuple):
    """A format: in words; its name, where ``input.format`` has one; and further keys of [input]."""

    words: str
    format: str | None = None
    keys: Mapping[str, object] = {}


def sniff(payloads: Sequence[bytes | None]) -> Guess | None:
    r"""Guess the format of most payloads; ``None`` without any evidence.

    Examples
    --------
    >>> sniff([bytes([0, 0, 0, 0, 7]) + b"\x0ekitchen"])
    Guess(words='Schema Registry Avro, schema 7', format='avro', keys={})
    >>> sniff([b"id;t", b"a;21,5", b"b;22,5"])
    Guess(words="CSV, delimiter ';'", format='csv', keys={'columns': ['id', 't'], 'delimiter': ';'})
    >>> sniff([b"21.5", b"22"]).format, sniff([b"\x40\x35\x80\0\0\0\0\0"]).format
    ('number', 'float64')
    """
    pieces = [one[:_MOST_BYTES] for one in payloads[-_MOST:] if one]
    if not pieces:
        return None
    for look in (_framed, _json, _packed, _binary_number, _text):
        if (found := look(pieces)) is not None:
            return found
    return Guess("binary data of an unknown format")


def _most(pieces: Sequence[bytes], test: Callable[[bytes], object]) -> bool:
    return 2 * sum(bool(test(one)) for one in pieces) > len(pieces)


def _is_json(piece: bytes) -> bool:
    head = piece.lstrip()[:1]
    if head not in (b"{", b"["):
        return False
    try:
        msgspec.json.decode(piece)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return len(piece) >= _MOST_BYTES  # it was cut
    return True


def _json(pieces: Sequence[bytes]) -> Guess | None:
    return Guess("JSON", "json") if _most(pieces, _is_json) else None


def _framed(pieces: Sequence[bytes]) -> Guess | None:
    """Tell the wire formats of a Schema Registry, and of Avro itself."""
    if _most(pieces, lambda one: one[:4] == b"Obj\x01"):
        return Guess("whole Avro files; send each record separately")
    if _most(pieces, lambda one: one[:2] == b"\xc3\x01" and len(one) > 10):
        return Guess("Avro with a fingerprint before it (single-object encoding)", "avro")
    framed = [one for one in pieces if len(one) > 5 and one[0] == 0 and one[1:5] != b"\0\0\0\0"]
    if 2 * len(framed) <= len(pieces):
        return None
    ids = Counter(int.from_bytes(one[1:5], "big") for one in framed)
    schema = f"schema {', '.join(str(one) for one, _ in ids.most_common(3))}"
    if max(ids) >= 1 << 24 and len({len(one) for one in pieces}) == 1:
        return None  # numbers that begin with a zero byte
    rests = [one[5:] for one in framed]
    if all(map(_is_json, rests)):
        return Guess(f"JSON after the id of {schema}", "json")
    if all(rest[0] == 0 and is_protobuf(rest[1:]) for rest in rests):
        return Guess(f"Schema Registry Protobuf, {schema}", "protobuf")
    return Guess(f"Schema Registry Avro, {schema}", "avro")


def is_protobuf(piece: bytes) -> bool:
    """Return whether bytes could be fields of Protobuf, to the last one; at least one of them."""
    at, size, fields = 0, len(piece), 0
    while at < size:
        tag, at = _varint(piece, at)
        kind = tag & 7
        if at < 0 or not 1 <= tag >> 3 <= 10_000 or kind in (3, 4, 6, 7):
            return False
        if kind == 0:
            _, at = _varint(piece, at)
        elif kind == 2:
            length, at = _varint(piece, at)
            at = at if at < 0 else at + length
        else:
            at += 8 if kind == 1 else 4
        if at < 0 or at > size:
            return False
        fields += 1
    return fields > 0


def _varint(piece: bytes, at: int) -> tuple[int, int]:
    """Return a number and where the next one begins; -1 for nowhere."""
    number = shift = 0
    for place in range(at, min(at + 10, len(piece))):
        number |= (piece[place] & 0x7F) << shift
        shift += 7
        if piece[place] < 0x80:
            return number, place + 1
    return 0, -1


def _packed(pieces: Sequence[bytes]) -> Guess | None:
    for mark, name in _PACKED.items():
        if _most(pieces, lambda one, mark=mark: one.startswith(mark)):  # type: ignore[misc]
            return Guess(
                f"{name}, compressed by its producer; leave compression to Kafka "
                "(compression.type), or read it with a format of your own"
            )
    return None


def _is_text(piece: bytes) -> bool:
    try:
        text = piece.decode()
    except UnicodeDecodeError as error:
        if len(piece) < _MOST_BYTES or error.start < len(piece) - 4:
            return False
        text = piece[: error.start].decode()
    return all(one.isprintable() or one in "\t\r\n" for one in text)


def _binary_number(pieces: Sequence[bytes]) -> Guess | None:
    sizes = {len(one) for one in pieces}
    if len(sizes) != 1 or not sizes <= {4, 8} or _most(pieces, _is_text):
        return None
    (size,) = sizes
    bits = 8 * size
    packed = b"".join(pieces)
    with np.errstate(invalid="ignore"):  # a NaN that signals
        floats = np.abs(np.frombuffer(packed, f">f{size}").astype(np.float64))
    usual = (floats == 0) | ((floats > 1e-9) & (floats < 1e15))
    kind = "float" if 2 * np.count_nonzero(usual & (floats != 0)) > len(pieces) else "int"
    words = f"numbers of {size} bytes, such as Kafka's own serializers write"
    return Guess(words, f"{kind}{bits}")


def _text(pieces: Sequence[bytes]) -> Guess | None:
    if not _most(pieces, _is_text):
        if all(map(is_protobuf, pieces)):
            return Guess("Protobuf without a Schema Registry", "protobuf")
        return None
    texts = [one.decode(errors="replace").strip() for one in pieces if _is_text(one)]
    if all(_NUMBER.fullmatch(text) for text in texts):
        commas = any("," in text for text in texts)
        return Guess("a number as text", "number", {"decimal": ","} if commas else {})
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("#")] or lines
    if not lines:
        return Guess("text of an unknown format")
    if 10 * sum(bool(_LINE_PROTOCOL.fullmatch(line)) for line in lines) >= 9 * len(lines):
        return Guess("InfluxDB line protocol", "line")
    if (csv := _csv(lines, texts)) is not None:
        return csv
    if _most(pieces, lambda one: one.lstrip()[:1] == b"<"):
        return Guess("XML, which needs a format of your own")
    return Guess("text of an unknown format")


def _csv(lines: Sequence[str], texts: Sequence[str]) -> Guess | None:
    """Tell CSV by a delimiter that stands equally often in almost every line."""
    best: tuple[int, str, int] | None = None
    for delimiter in _DELIMITERS:
        counts = Counter(line.count(delimiter) for line in lines)
        n, often = counts.most_common(1)[0]
        if n and 10 * often >= 9 * len(lines) and (best is None or n > best[0]):
            best = n, delimiter, often
    if best is None:
        return None
    n, delimiter, _ = best
    rows = [line.split(delimiter) for line in lines if line.count(delimiter) == n]
    head = [name.strip().strip('"') for name in rows[0]]
    is_head = all(head) and len(set(head)) == len(head) and not any(map(_NUMBER.fullmatch, head))
    numeric = any(_NUMBER.fullmatch(field) for row in rows[1:] for field in row)
    columns: object = [f"column_{place}" for place in range(1, n + 2)]
    if is_head and numeric:
        firsts = [text.splitlines()[0].strip() for text in texts if "\n" in text]
        each = len(firsts) == len(texts) and len(set(firsts)) == 1
        columns = "first-line" if each else head
    keys: dict[str, object] = {"columns": columns}
    if delimiter != ",":
        keys["delimiter"] = delimiter
    return Guess(f"CSV, delimiter {delimiter!r}", "csv", keys)
