"""All that is in a message: of every format, whatever the job reads of it."""

from __future__ import annotations

from typing import Any

import pytest

from ewma_ops.job.contents import Contents
from ewma_ops.serde.format import Refused
from ewma_ops.settings.load import load_tables

LINE_PATHS = ["measurement", "tags.a", "fields.v", "fields.w", "time"]


def contents(**reads: Any) -> Contents:
    return Contents(
        load_tables(
            {
                "kafka": {"bootstrap_servers": "127.0.0.1:1"},
                "input": {"topic": "t", **reads},
                "smooth": {"beta": 0.5},
                "output": {"topic": "o"},
            }
        )
    )


@pytest.mark.parametrize(
    ("reads", "payload", "paths"),
    [
        ({"value": "x", "series_id": "y"}, b'{"a": {"b.c": 1}, "d": [1]}', ['a."b.c"', "d[0]"]),
        ({"records": "data[]", "value": "x"}, b'{"u": 1, "data": [{"v": 1}, {"w": 1}]}', ["v"]),
        ({"records": "data[]", "value": "x"}, b'{"u": 1, "data": []}', []),
        ({"records": "data[]", "value": "x"}, b'{"u": 1}', []),
        ({"where": {"k": "x"}}, b'{"k": "y"}', ["k"]),
        ({"format": "csv", "columns": ["a", "b"], "value": "b"}, b"1,2", ["a", "b"]),
        ({"format": "csv", "columns": "first-line", "value": "b"}, b"x,b\n1,2", ["x", "b"]),
        ({"format": "line", "value": "fields.v"}, b"m,a=b v=1,w=2 5", LINE_PATHS),
        ({"format": "number"}, b"2.5", []),
        ({"format": "json:loads", "value": "x"}, b'{"z": 1}', ["z"]),
        ({}, b"?", []),
    ],
)  # fmt: skip
def test_the_paths_of_a_message(reads: dict[str, Any], payload: bytes, paths: list[str]) -> None:
    assert contents(**reads).paths(payload) == paths


def test_the_document_of_each_reading() -> None:
    assert contents(records="[]", value="v").readings(b'[{"v": 1, "w": 2}, 5]') == [
        {"v": 1, "w": 2},
        5,
    ]
    for payload in (b"?", None, b"{}"):
        with pytest.raises(Refused):
            contents(records="[]", value="v").readings(payload)
