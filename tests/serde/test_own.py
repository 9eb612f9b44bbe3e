"""A format of the user's own: what it returns is read, and what it raises is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ewma_ops.errors import ConfigError
from ewma_ops.serde.decoder import Decoded, Decoder
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.own import OwnFormat

SOURCE = """
import json
from datetime import datetime, timezone
from decimal import Decimal

def decode(payload):
    if payload == b"exit":
        raise KeyError("no such sensor")
    if payload == b"long":
        raise ValueError("x\\n" * 1000)
    if payload == b"odd":
        class Odd(Exception):
            def __str__(self):
                raise RuntimeError
        raise Odd
    if payload == b"none":
        return None
    if payload == b"typed":
        moment = datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc)
        return {"id": 5, "t": moment, "v": Decimal("0.1")}
    return json.loads(payload)

class Decode:
    def __call__(self, payload):
        return {"id": "of a class", "t": 1, "v": len(payload)}

number = 5
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_frames.py").write_text(SOURCE)
    (tmp_path / "own_broken.py").write_text("import no_such_module_anywhere")
    monkeypatch.syspath_prepend(tmp_path)


def decode(name: str, *payloads: bytes | None, **options: Any) -> Decoded:
    options = {"value": "v", "series_id": "id", "time": "t", **options}
    decoder = Decoder(OwnFormat(name), DecoderOptions(**options))
    return decoder.decode([None] * len(payloads), payloads, [0] * len(payloads))


def test_documents_of_any_types() -> None:
    readings = decode("own_frames:decode", b"typed", b'{"id": "a", "t": 7, "v": null}').readings
    assert readings.times_ms is not None
    assert (list(readings.series_ids), readings.times_ms.tolist()) == (["5", "a"], [1000, 7])
    np.testing.assert_array_equal(readings.values, [0.1, np.nan])


def test_an_object_of_a_class() -> None:
    readings = decode("own_frames:Decode", b"123").readings
    assert (list(readings.series_ids), readings.values.tolist()) == (["of a class"], [3.0])


def test_what_is_raised_is_told_in_the_letter() -> None:
    decoded = decode("own_frames:decode", b"exit", b"long", b"odd", None, b"none", b"[]")
    assert [(one.at, one.cause) for one in decoded.rejected] == [
        (0, "not-decoded"),
        (1, "not-decoded"),
        (2, "not-decoded"),
        (3, "tombstone"),
        (4, "no-series-id"),
        (5, "wrong-type"),
    ]
    details = decoded.rejected.details
    assert details[0] == "KeyError: 'no such sensor'"
    assert details[1].startswith("ValueError: x x x")
    assert len(details[1]) == 200
    assert details[2] == "Odd"


def test_several_readings_of_a_payload_as_of_json() -> None:
    payload = json.dumps([{"id": "a", "t": 1, "v": 2.5}, {"id": "b", "t": 2, "v": "?"}]).encode()
    own = decode("own_frames:decode", payload, records="[]")
    options = DecoderOptions(value="v", series_id="id", time="t", records="[]")
    by_json = JsonDecoder(options).decode([None], [payload], [0])
    assert own.rejected == by_json.rejected
    assert own.readings.values.tolist() == by_json.readings.values.tolist() == [2.5]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("own_frames:decoed", "has no attribute 'decoed'; put its directory into PYTHONPATH"),
        ("own_broken:decode", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("no_such:decode", "cannot be imported"),
        ("own_frames:number", "is int: name a function"),
    ],
)
def test_what_cannot_be_called_is_a_sentence(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f'input.format = "{name}".*{said}'):
        OwnFormat(name)
