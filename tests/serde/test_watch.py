"""Paths that lead nowhere: noticed by every way of reading, and only then."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.outline import nearest, outline
from ewma_ops.serde.paths import parse_path
from ewma_ops.serde.watch import MOST_WITHOUT


def decoder(**options: Any) -> JsonDecoder:
    made = JsonDecoder(DecoderOptions(series_id=None, **options))
    made.watch.within = lambda payload: (
        list(outline(json.loads(payload))) if payload[:1] == b"{" else []
    )
    return made


def feed(reader: JsonDecoder, *documents: Any, times: int = 1) -> list[str]:
    payloads = [json.dumps(one).encode() for one in documents] * times
    n = len(payloads)
    reader.decode([b"k"] * n, payloads, [0] * n)
    notice = reader.pop_notice()
    return [] if notice is None else notice.split("; ")


@pytest.mark.parametrize("together", [1, 100, 5_000])
def test_it_is_told_once_after_a_thousand(together: int) -> None:
    reader, notices, n = decoder(value="temp.out"), list[list[str]](), 0
    while n < 3 * MOST_WITHOUT:
        said = feed(reader, {"temp": {"outside": 1}}, times=together)
        n += together
        if said:
            notices.append(said)
            assert n - together < MOST_WITHOUT <= n
    ((first, second),) = notices
    assert first.startswith("temp.out has no number in any of ")
    assert second == "did you mean temp.outside?"


def test_what_is_found_once_is_not_told() -> None:
    reader = decoder(value=["a", "b"])
    feed(reader, {"a": 1, "b": None}, times=500)
    feed(reader, {"b": 1})
    assert feed(reader, {}, times=2_000) == []
    assert reader.watch.unfound() == {}
    assert reader.watch.found == ["a", "b"]


def test_of_several_paths_each_is_told() -> None:
    reader = decoder(value=["a", "b", "c"], weight="w")
    said = feed(reader, {"b": 1, "x": 1}, times=MOST_WITHOUT)
    assert [one.split()[0] for one in said if "has no" in one] == ["a", "c", "w"]


def test_what_is_rejected_does_not_count() -> None:
    reader = decoder(value="v")
    payloads = [b"?"] * 5_000 + [b'{"v": "text"}'] * 5_000 + [b"{}"] * 3
    reader.decode([b"k"] * len(payloads), payloads, [0] * len(payloads))
    assert reader.pop_notice() is None
    assert reader.watch.unfound() == {"v": (3, None)}


def test_an_outline_is_of_paths_that_lead_there() -> None:
    document = {"a": 1, "b.c": [{"d": "x"}, 2], "@e": {'"f\\': 1}, " g": None, "h": []}
    found = outline({**document, "": 5})
    assert list(found.values()) == [1, "x", 2, 1, None, []]
    for text, value in found.items():
        path = parse_path(text)
        inner: Any = document
        for step in path.steps:
            inner = inner[step]
        assert inner == value


def test_an_outline_is_bounded() -> None:
    assert len(outline({str(i): {str(j): 0 for j in range(100)} for i in range(100)})) <= 300
    assert list(outline(list(range(10)))) == ["[0]", "[1]", "[2]"]
    assert outline(5) == {}


def test_the_nearest_name() -> None:
    paths = ["sensor.id", "sensor.temp", "temperature", "ts"]
    assert nearest("tmperature", paths) == "temperature"
    assert nearest("temp", paths) == "sensor.temp"
    assert nearest("sensor.temperature", paths) in ("sensor.temp", "temperature")
    assert nearest("TS", paths) == "ts"
    assert nearest("volume", paths) is None
    assert nearest("volume", []) is None
