"""A configuration guessed from messages: of the kinds that people have, and of anything at all."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ewma_ops.commands.init import file_text
from ewma_ops.job.draft import draft
from ewma_ops.job.survey import survey
from ewma_ops.settings.load import load
from ewma_ops.settings.model import Settings
from ewma_ops.wire.records import ConsumerRecords

CLIENT = {"bootstrap_servers": "127.0.0.1:1"}


def run_of(
    values: Sequence[object], keys: bytes | Sequence[bytes | None] | None
) -> ConsumerRecords:
    payloads = [
        one if one is None or isinstance(one, bytes) else json.dumps(one).encode() for one in values
    ]
    n = len(payloads)
    every = [keys] * n if keys is None or isinstance(keys, bytes) else list(keys)
    return ConsumerRecords("t", 0, np.arange(n), np.full(n, 5), every, payloads)


def guessed(*values: object, keys: Any = None) -> tuple[dict[str, object], Settings]:
    """Return the keys that were guessed, and the settings of the file that is written of them."""
    runs = [run_of(values, keys)] if values else []
    found = draft("t", runs)
    with TemporaryDirectory() as directory:
        path = Path(directory) / "init.toml"
        path.write_text(file_text(found, CLIENT), "utf-8")
        settings = load(path)
    for key, value in found.keys.items():
        read = getattr(settings.input, key)
        if key == "where":
            assert {name: list(one) for name, one in read.items()} == value
        else:
            assert (list(read) if isinstance(read, tuple) else read) == value
    keys_found = {key: value for key, value in found.keys.items() if key != "topic"}
    return keys_found, settings


KINDS: list[tuple[str, list[object], object, dict[str, object]]] = [
    (
        "plain",
        [{"series_id": "a", "ts": 1_700_000_000_000, "value": 1.5}],
        None,
        {"series_id": "series_id", "time": "ts", "value": "value"},
    ),
    (
        "trades",
        [{"e": "trade", "s": "ABC", "p": "100.10", "q": "2.0", "T": 1_700_000_000_000, "t": 5}],
        None,
        {"series_id": "s", "time": "T", "value": "p", "numbers": "text"},
    ),
    (
        "zigbee2mqtt",
        [
            {"battery": 90, "linkquality": 120, "temperature": 21.5},
            {"battery": 90, "temperature": "unavailable"},
            {"battery": 90, "temperature": ""},
            {"battery": 90, "temperature": "22.5"},
        ],
        b"z2m/kitchen",
        {"value": "temperature", "numbers": "text", "missing_values": ["", "unavailable"]},
    ),
    (
        "nested",
        [{"sensor": {"id": "a"}, "at": "2023-11-14T22:13:20Z", "data": {"celsius": 21.5, "n": 1}}],
        None,
        {"series_id": "sensor.id", "time": "at", "value": "data.celsius"},
    ),
    (
        "seconds",
        [{"id": "a", "t": 1_700_000_000.25, "v": 3}],
        None,
        {"series_id": "id", "time": "t", "time_unit": "s", "value": "v"},
    ),
    (
        "decimal comma",
        [{"id": "a", "kg": "1234,5"}],
        None,
        {"series_id": "id", "value": "kg", "numbers": "text", "decimal": ","},
    ),
    (
        "array",
        [
            [
                {"sym": "A", "p": 1.5, "t": 1_700_000_000_000},
                {"sym": "B", "p": 2, "t": 1_700_000_000_500},
            ]
        ],
        None,
        {"records": "[]", "series_id": "sym", "time": "t", "value": "p"},
    ),
    (
        "debezium",
        [
            {
                "op": "c",
                "before": None,
                "after": {"meter": 7, "kwh": 1.5},
                "source": {"ts_ms": 1_700_000_000_000, "lsn": 24023128},
            }
        ],
        b'{"meter": 7}',
        {
            "where": {"op": ["c", "u", "r"]},
            "tombstones": "skip",
            "series_id": "after.meter",
            "time": "source.ts_ms",
            "value": "after.kwh",
        },
    ),
    (
        "envelope",
        [{"schema": {"name": "x", "version": 1}, "payload": {"meter": "m1", "kwh": 2.5}}],
        None,
        {"series_id": "payload.meter", "value": "payload.kwh"},
    ),
    ("names with dots", [{"sensor.temp": 21.5}], b"a", {"value": '"sensor.temp"'}),
    ("binary key", [{"value": 1}], bytes(7) + b"\x7b", {"key": "int64", "value": "value"}),
    (
        "JSON key",
        [{"value": 1}],
        b'{"sensor": "s1"}',
        {"key": "json", "series_id": "@key.sensor", "value": "value"},
    ),
    ("one series", [{"value": 1}], None, {"series_id": "@topic", "value": "value"}),
    (
        "csv",
        [b"id;ts;kg", b"a;1700000000000;1,5"],
        None,
        {
            "format": "csv",
            "columns": ["id", "ts", "kg"],
            "delimiter": ";",
            "series_id": "id",
            "time": "ts",
            "value": "kg",
            "decimal": ",",
        },
    ),
    (
        "line protocol",
        [b"cpu,host=a usage=98.5,n=1i 1700000000000000000"],
        None,
        {"format": "line", "series_id": "tags.host", "time": "time", "value": "fields.usage"},
    ),
    ("number", [b"21.5", b"22"], b"a", {"format": "number"}),
    ("float64", [struct.pack(">d", 21.5)], b"a", {"format": "float64"}),
    ("avro", [b"\x00\x00\x00\x00\x07\x0ekitchen"], b"a", {"format": "avro", "value": "value"}),
    ("nothing", [], None, {"value": "value"}),
    ("no numbers", [{"state": "open"}], b"a", {"value": "value"}),
    ("garbage", [b"\xff\xfe\xfd"], b"a", {"value": "value"}),
]


@pytest.mark.parametrize(
    ("values", "keys", "expected"), [k[1:] for k in KINDS], ids=[k[0] for k in KINDS]
)
def test_a_kind_of_stream(values: list[object], keys: Any, expected: dict[str, object]) -> None:
    found, settings = guessed(*values, keys=keys)
    assert found == expected
    named = {"nothing", "avro", "no numbers", "garbage"}
    kind = next(name for name, *rest in KINDS if rest[0] is values)
    if kind not in named:
        looked = survey(settings, [run_of(values, keys)])
        header = kind == "csv"
        assert looked.readings >= len(values) - header
        assert looked.dead_letters == {}


def test_an_id_that_one_message_in_ten_lacks() -> None:
    """The whole topic as one series would be worse than a dead letter."""
    values: list[object] = [*({"id": "17", "v": n} for n in range(9)), {"id": None, "v": 1}]
    assert draft("topic", [run_of(values, None)]).keys["series_id"] == "id"
    assert draft("topic", [run_of(values, b"key")]).keys.get("series_id") is None
    assert (
        draft("topic", [run_of([{"id": None, "v": 1}, *values], None)]).keys["series_id"]
        == "@topic"
    )


def test_the_fields_that_were_passed_over_are_named() -> None:
    found = draft("t", [run_of([{"value": 1, "humidity": 40.5, "unit": "C\n[kafka]"}], b"a")])
    text = file_text(found, CLIENT)
    assert "# other fields: humidity (40.5), unit ('C\\n[kafka]')" in text
    assert text.count("\n[kafka]\n") == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=8) | st.sampled_from(["ts", "id", "value"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@pytest.mark.slow
@example([{"value": ":"}], None)
@example([{"value": [":"]}], b"key")
@given(
    st.lists(JSON.filter(lambda one: one is not None), max_size=4),
    st.none() | st.binary(max_size=12),
)
def test_any_documents_make_a_file_that_loads(documents: list[object], key: bytes | None) -> None:
    guessed(*documents, keys=key)


@pytest.mark.slow
@example([b"\t"])
@given(
    st.lists(st.binary(min_size=1, max_size=40) | st.text(max_size=30).map(str.encode), max_size=4)
)
def test_any_bytes_make_a_file_that_loads(payloads: list[bytes]) -> None:
    guessed(*payloads)
