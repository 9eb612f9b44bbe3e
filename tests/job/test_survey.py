"""What is found in messages, and what is advised: kinds of streams that people have."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from ewma_ops.job.sample import FieldFound
from ewma_ops.job.survey import Survey, survey
from ewma_ops.settings.load import load_tables
from ewma_ops.wire.records import ConsumerRecords

AVRO = 'this looks like Schema Registry Avro, schema 7: write format = "avro" in [input]'
NOW_MS = 1_700_000_000_000


def look(*values: object, keys: Any = b"k", headers: Any = None, **reads: Any) -> Survey:
    tables = {
        "kafka": {"bootstrap_servers": "127.0.0.1:1"},
        "input": {"topic": "t", **reads},
        "smooth": {"beta": 0.5},
        "output": {"topic": "o"},
    }
    if "weight" in reads:
        tables["smooth"]["weighting"] = "volume"
    payloads = [
        one if one is None or isinstance(one, bytes) else json.dumps(one).encode() for one in values
    ]
    n = len(payloads)
    keys = keys if isinstance(keys, list) else [keys] * n
    times = np.full(n, NOW_MS)
    run = ConsumerRecords("t", 0, np.arange(n), times, keys, payloads, headers)
    return survey(load_tables(tables), [run] if n else [])


def test_each_field_is_counted_with_its_types_and_an_example() -> None:
    found = look(
        {"id": "a", "at": NOW_MS, "v": 1.5, "w": 2},
        {"id": 7, "at": "2023-11-14T22:13:21Z", "v": None, "w": 1},
        {"id": "b", "at": NOW_MS + 2250, "w": 3, "v": 4},
        b"?",
        series_id="id",
        time="at",
        value="v",
        weight="w",
    )
    assert found.fields == [
        FieldFound("series id", "id", 3, 0, {"text": 2, "number": 1}, '"b"'),
        FieldFound("time", "at", 3, 0, {"number": 2, "text": 1}, "1700000002250"),
        FieldFound("value", "v", 2, 1, {"number": 2}, "4"),
        FieldFound("weight", "w", 3, 0, {"number": 3}, "3"),
    ]
    assert (found.messages, found.readings, found.dead_letters) == (4, 3, {"not-json": 1})
    assert found.newest is not None
    assert (found.newest.series_id, found.newest.values, found.newest.weight) == ("b", [4.0], 3.0)
    assert found.newest.time == "2023-11-14 22:13:22.250 UTC"
    assert not found.nothing_readable
    assert len(found.advice) == 1


def test_fields_beside_the_payload() -> None:
    found = look(
        {"v": 1},
        keys=b'{"s": "a"}',
        headers=[[("unit", b"C")]],
        series_id=["@key.s", "@header.unit", "@topic", "@partition"],
        value="v",
    )
    assert [(one.path, one.example) for one in found.fields] == [
        ("@key.s", '"a"'),
        ("@header.unit", "C"),
        ("@topic", '"t"'),
        ("@partition", "0"),
        ("@timestamp", "1700000000000"),
        ("v", "1"),
    ]
    assert found.newest is not None
    assert found.newest.series_id == "a/C/t/0"


def test_readings_of_arrays_and_what_encloses_them() -> None:
    found = look(
        {"gateway": "g", "data": [{"v": 1}, {"v": 2}, {}]},
        records="data[]",
        series_id="^.gateway",
        value="v",
    )
    assert found.fields[0] == FieldFound("series id", "^.gateway", 3, 0, {"text": 3}, '"g"')
    assert (found.fields[2].found, found.fields[2].missing) == (2, 1)
    assert found.advice == []


def test_an_empty_topic_says_nothing() -> None:
    found = look()
    assert (found.messages, found.newest, found.advice) == (0, None, [])
    assert not found.nothing_readable


@pytest.mark.parametrize(
    ("values", "reads", "advice"),
    [
        (
            [{"temperature": 1}],
            {"value": "temperatre"},
            "value: no message has temperatre; did you mean temperature?",
        ),
        (
            [{"sensor.temp": 1}],
            {"value": "sensor.temp"},
            "did you mean '\"sensor.temp\"'?",
        ),
        (
            [{"a": 1, "b": {"c": 2}}],
            {"value": "xyz"},
            "value: no message has xyz; there are a, b.c",
        ),
        (
            [{str(i): 1 for i in range(30)}],
            {"value": "xyz"},
            "there are 0, 1, 2, 3, 4, 5, 6, 7 and 22 more",
        ),
        ([{}], {"value": "xyz"}, "value: no message has xyz; they have no fields"),
        (
            [{"id": 1, "value": 2}],
            {"series_id": "sensor_id"},
            "series id: no message has sensor_id; did you mean id?",
        ),
        (
            [{"t": 1_700_000_000, "value": 1}],
            {"time": "t"},
            't looks like seconds: write time_unit = "s" in [input]',
        ),
        (
            [{"t": 1_700_000_000_000_000, "value": 1}],
            {"time": "t"},
            't looks like microseconds: write time_unit = "us"',
        ),
        (
            [{"t": "1700000000000", "value": 1}],
            {"time": "t"},
            't looks like milliseconds: write time_unit = "ms"',
        ),
        (
            [{"p": "100.10"}],
            {"value": "p"},
            "1 dead letter, wrong-type: p is '100.10': not a number; numbers = \"text\" in [input]",
        ),
        (
            [{"after": {"kwh": "AJY="}}],
            {"value": "after.kwh"},
            "after.kwh looks like a base64 decimal of Debezium, 'AJY=': set decimal.handling.mode",
        ),
        (
            [[{"p": 1}, {"p": 2}]],
            {"value": "p"},
            '1 of 1 messages hold arrays of readings: write records = "[]" in [input]',
        ),
        ([{"data": [{"p": 1}]}], {"value": "p"}, 'write records = "data[]" in [input]'),
        (
            [[42, [["100.1", "0.5"]], "trade", "ABC/USD"]],
            {"value": "[0]"},
            'write records = "[1][]" in [input]',
        ),
        (
            [{"op": "d"}, {"op": "u"}],
            {"where": {"op": "c"}},
            "where leaves out every message: op is 'd' 1, 'u' 1, and 'c' is asked for",
        ),
        (
            [b"\x00\x00\x00\x00\x07\x0ekitchen"],
            {},
            f"{AVRO}, and the address of the registry in [registry]",
        ),
        (
            [b"id;t;v", b"a;1;2,5"],
            {},
            'write format = "csv", columns = ["id", "t", "v"], delimiter = ";" in [input]',
        ),
        ([b"21.5"], {}, 'this looks like a number as text: write format = "number" in [input]'),
        ([b"<a/>"], {}, "the messages look like XML, which needs a format of your own"),
        ([b"hello"], {}, "the messages look like text of an unknown format"),
    ],
    ids=lambda one: str(one)[:50],
)
def test_what_is_advised(values: list[Any], reads: dict[str, Any], advice: str) -> None:
    assert advice in "\n".join(look(*values, **reads).advice)


def test_keys_that_are_objects_and_binary_ones() -> None:
    found = look({"value": 1}, keys=b'{"sensor": "s1"}')
    assert any('key = "json" in [input], and series_id = "@key.sensor"' in a for a in found.advice)
    found = look({"value": 1}, keys=bytes([0, 0, 0, 0, 0, 0, 0, 123]))
    assert any('write key = "int64" in [input]' in advice for advice in found.advice)


def test_what_fits_needs_no_advice() -> None:
    documents = [
        {"id": "a", "t": NOW_MS + i, "v": i, "data": [1], "word": "AJY="} for i in range(9)
    ]
    found = look(*documents, series_id="id", time="t", value="v")
    assert found.advice == []
    assert found.looks_like is None
    assert look(b"1.5", format="number").advice == []


def test_where_nothing_can_be_read_it_is_known() -> None:
    assert look(b"?", b"??").nothing_readable
    assert not look(b"?", {"value": 1}).nothing_readable
    assert not look({"op": "d"}, where={"op": "c"}).nothing_readable


def test_hostile_content_is_shown_safely() -> None:
    found = look({"value": "\x1b[2J" * 100, "\x1b]0;x\x07": 1}, series_id="nope")
    shown = "\n".join([*found.advice, *(one.example or "" for one in found.fields)])
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert len(shown) < 1_000


def test_decimals_in_base64_are_told_from_words() -> None:
    # Debezium writes the unscaled bytes: 150 is 0x0096.
    assert base64.b64decode("AJY=") == bytes([0, 150])
    words = look({"state": "open"}, {"state": "idle"}, value="state")
    assert not any("Debezium" in advice for advice in words.advice)
