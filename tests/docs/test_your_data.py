"""The page "Your data": every example is read as it says."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from ewma_ops.job.builders import build_decoder
from ewma_ops.job.steps import decode_runs
from ewma_ops.serde.decoder import Decoded
from ewma_ops.settings.load import load
from ewma_ops.wire.records import ConsumerRecords
from tests.docs.test_pages import ROOT, Block, completed
from tests.docs.test_pages import _blocks_of as blocks_of

PAGE = ROOT / "docs" / "your-data.md"


class Example(NamedTuple):
    table: Block
    messages: Block
    read: Block


def examples() -> list[Any]:
    blocks = blocks_of(PAGE)
    assert [block.kind for block in blocks] == ["toml", "json", "text"] * (len(blocks) // 3)
    return [
        pytest.param(Example(*blocks[at : at + 3]), id=f"line {blocks[at].line}")
        for at in range(0, len(blocks), 3)
    ]


def key_of(message: dict[str, Any]) -> bytes | None:
    if "key_base64" in message:
        return base64.b64decode(message["key_base64"])
    key = message.get("key")
    return None if key is None else key.encode() if isinstance(key, str) else as_json(key)


def value_of(message: dict[str, Any]) -> bytes | None:
    if "value_base64" in message:
        return base64.b64decode(message["value_base64"])
    if "value_text" in message:
        return str(message["value_text"]).encode()
    return None if message["value"] is None else as_json(message["value"])


def as_json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()


@pytest.mark.parametrize("example", examples())
def test_example(example: Example, tmp_path: Path) -> None:
    path = tmp_path / "page.toml"
    path.write_text(completed(example.table), "utf-8")
    settings = load(path)
    messages = [json.loads(line) for line in example.messages.text.splitlines()]
    run = ConsumerRecords(
        settings.input.topic,
        0,
        np.arange(len(messages)),
        np.array([message.get("timestamp", -1) for message in messages]),
        [key_of(message) for message in messages],
        [value_of(message) for message in messages],
        [[(k, v.encode()) for k, v in one.get("headers", {}).items()] for one in messages],
    )
    decoded = decode_runs(build_decoder(settings), [run])
    assert read_of(decoded, len(messages)) == example.read.text.splitlines()


def read_of(decoded: Decoded, n: int) -> list[str]:
    """Return a line for each reading, dead letter and skipped message or item, in order."""
    readings, rejected = decoded.readings, decoded.rejected
    assert readings.times_ms is not None
    ordinals = np.zeros(len(readings)) if decoded.ordinals is None else decoded.ordinals
    of_letters = np.zeros(len(rejected)) if rejected.ordinals is None else rejected.ordinals
    lines = {
        (one.at, int(ordinal)): f"dead letter: {one.cause}"
        for one, ordinal in zip(rejected, of_letters, strict=True)
    }
    columns = decoded.kept, ordinals, readings.series_ids, readings.times_ms, readings.values
    for place, ordinal, series_id, time_ms, value in zip(*columns, strict=True):
        lines[int(place), int(ordinal)] = f"{series_id} {time_ms} {value}"
    every = [(place, 0) for place in range(n)]
    for place in every:
        lines.setdefault(place, "skipped")
    assert decoded.skipped == list(lines.values()).count("skipped")
    return [lines[at] for at in sorted(lines)]
