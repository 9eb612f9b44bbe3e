"""Which messages are ours: others, and tombstones, are left out without a letter, and counted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.serde import decoder as decoder_module
from ewma_ops.serde.decoder import Decoded
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.options import DecoderOptions


def decode(*documents: Any, column: bool = False, **options: Any) -> Decoded:
    decoder = JsonDecoder(DecoderOptions(series_id=None, **options))
    payloads: Any = [None if one is None else json.dumps(one).encode() for one in documents]
    n = len(payloads)
    if column:
        payloads = BytesColumn.of(payloads)
    headers = [[("kind", b"t")] if i % 2 == 0 else [] for i in range(n)]
    return decoder.decode([b"k"] * n, payloads, [0] * n, headers)


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ({"op": ["c", "u"]}, [0, 1]),
        ({"op": ["c"]}, [0]),
        ({"n": [1]}, [0, 1]),
        ({"n": [True]}, [2]),
        ({"n": ["1"]}, [3]),
        ({"op": ["c", "d"], "n": [1]}, [0]),
        ({"in.type": ["x"]}, [1]),
        ({"@header.kind": ["t"]}, [0, 2]),
        ({"@key": ["k"]}, [0, 1, 2, 3]),
        ({"@key": ["z"]}, []),
    ],
)
def test_what_has_another_value_is_left_out(
    monkeypatch: pytest.MonkeyPatch, where: dict[str, Any], kept: list[int], *, column: bool
) -> None:
    monkeypatch.setattr(decoder_module, "_FEW", 1)
    decoded = decode(
        {"op": "c", "n": 1, "value": 1},
        {"op": "u", "n": 1.0, "value": 2, "in": {"type": "x"}},
        {"op": "d", "n": True, "value": 3, "in": 7},
        {"op": ["c"], "n": "1", "value": 4, "in": {"type": None}},
        where=where,
        column=column,
    )
    assert decoded.kept.tolist() == kept
    assert not decoded.rejected
    assert decoded.skipped == 4 - len(kept)


def test_what_is_not_ours_may_be_anything() -> None:
    good, other = {"type": "trade", "value": 1}, {"type": "heartbeat", "value": "x" * 9}
    decoded = decode(other, good, {"value": []}, where={"type": ["trade"]})
    assert (decoded.kept.tolist(), decoded.skipped, len(decoded.rejected)) == ([1], 2, 0)


def test_what_is_ours_and_cannot_be_read_is_a_letter() -> None:
    decoded = decode({"type": "trade", "value": "x"}, [1], where={"type": ["trade"]})
    assert [(one.at, one.cause) for one in decoded.rejected] == [
        (0, "wrong-type"),
        (1, "wrong-type"),
    ]


@pytest.mark.parametrize("column", [False, True])
def test_tombstones(monkeypatch: pytest.MonkeyPatch, *, column: bool) -> None:
    monkeypatch.setattr(decoder_module, "_FEW", 1)
    good = {"value": 1}
    skipping = decode(good, None, good, tombstones="skip", column=column)
    assert (skipping.kept.tolist(), skipping.skipped, len(skipping.rejected)) == ([0, 2], 1, 0)
    letters = decode(good, None, good, column=column)
    assert [one.cause for one in letters.rejected] == ["tombstone"]
    forgetting = decode(good, None, good, tombstones="forget", column=column)
    assert (forgetting.kept.tolist(), forgetting.skipped, forgetting.n_readings) == (
        [0, 1, 2],
        1,
        2,
    )
    marks = forgetting.readings.tombstones
    assert marks is not None
    assert marks.tolist() == [False, True, False]
    assert letters.skipped == 0
