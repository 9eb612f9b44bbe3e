"""The pages on your data: every example is read as its page says."""

from __future__ import annotations

import base64
import json
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from ewma_ops.job.builders import build_decoder
from ewma_ops.job.decoding import decode_runs
from ewma_ops.serde.decoder import Decoded
from ewma_ops.settings.load import load
from ewma_ops.settings.model import Settings
from ewma_ops.wire.records import ConsumerRecords
from tests.docs.test_pages import ROOT, Block, completed
from tests.docs.test_pages import _blocks_of as blocks_of
from tests.helpers.registry import small_registry

PAGES = [ROOT / "docs" / "your-data.md", *sorted((ROOT / "docs" / "data").glob("*.md"))]
SCHEMA_FILES = {"avsc": ("reading.avsc", "AVRO"), "proto": ("reading.proto", "PROTOBUF")}
REGISTRY = "http://127.0.0.1:8081"


class Example(NamedTuple):
    """A table, messages, and what is read of them; ``schema`` is the file or schema 7."""

    schema: Block | None
    table: Block
    messages: Block
    read: Block


def examples() -> list[Any]:
    blocks = [block for page in PAGES for block in blocks_of(page)]
    found, schema = [], None
    while blocks:
        if blocks[0].kind in SCHEMA_FILES:
            schema = blocks.pop(0)
        own = [blocks.pop(0) for _ in range(3)]
        assert [block.kind for block in own] == ["toml", "json", "text"]
        found.append(pytest.param(Example(schema, *own), id=f"{own[0].page.name}:{own[0].line}"))
        schema = None
    return found


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
def test_example(example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT)
    path = tmp_path / "page.toml"
    with small_registry() as registry:
        path.write_text(completed(example.table).replace(REGISTRY, registry.url), "utf-8")
        if example.schema is not None:
            name, kind = SCHEMA_FILES[example.schema.kind]
            registry.add(example.schema.text, 7, schemaType=kind)
            (tmp_path / name).write_text(example.schema.text)
        check(example, load(path))


def check(example: Example, settings: Settings) -> None:
    messages = [json.loads(line) for line in example.messages.text.splitlines()]
    of_topics = groupby(messages, lambda one: one.get("topic", settings.input.source))
    runs = [run_of(topic, list(own)) for topic, own in of_topics]
    decoded = decode_runs(build_decoder(settings), runs)
    assert read_of(decoded, len(messages)) == example.read.text.splitlines()


def run_of(topic: str, messages: list[dict[str, Any]]) -> ConsumerRecords:
    return ConsumerRecords(
        topic,
        0,
        np.arange(len(messages)),
        np.array([message.get("timestamp", -1) for message in messages]),
        [key_of(message) for message in messages],
        [value_of(message) for message in messages],
        [[(k, v.encode()) for k, v in one.get("headers", {}).items()] for one in messages],
    )


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
    for i, (place, ordinal, *read) in enumerate(zip(*columns, strict=True)):
        if readings.included is not None:
            read.append((readings.included[i] or b"").decode())
        lines[int(place), int(ordinal)] = " ".join(map(str, read))
    every = [(place, 0) for place in range(n)]
    for place in every:
        lines.setdefault(place, "skipped")
    assert decoded.skipped == list(lines.values()).count("skipped")
    return [lines[at] for at in sorted(lines)]
