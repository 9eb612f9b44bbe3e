"""Avro through the whole job: a registry that is away loses nothing and makes no dead letters."""

from __future__ import annotations

import io
import json
import signal
import sys
from pathlib import Path

import fastavro
import pytest

from ewma_ops.errors import ConfigError
from ewma_ops.job.builders import build_decoder
from ewma_ops.settings.load import load
from tests.helpers.brokers import Record, produce, read_all
from tests.helpers.jobs import (
    START_MS,
    Event,
    Job,
    Reading,
    Watch,
    assert_same,
    assert_told,
    by_series,
    ewma,
    made_up,
    pandas_says,
    wait_until,
)
from tests.helpers.patience import PATIENCE_S
from tests.helpers.registry import SmallRegistry, framed, small_registry
from tests.serde.avro.test_format import logical, plain, record, written

N, SERIES = 600, 7
OLD = record(id="string", at=logical("long", "timestamp-millis"), v=["null", "double"])
NEW = record("S", unit="string", v=["null", "double"], at=OLD["fields"][1]["type"], id="string")
INPUT = {"format": "avro", "series_id": "id", "time": "at", "value": "v"}


def as_avro(reading: Reading, schema_id: int) -> Record:
    schema = OLD if schema_id == 7 else NEW
    fields = {"id": reading.series_id, "at": reading.time_ms, "v": reading.value, "unit": "C"}
    return Record(framed(schema_id, written(plain(schema), fields)), reading.series_id.encode())


def configured(job: Job, registry: SmallRegistry, **input_: object) -> None:
    job.configure(
        input={**INPUT, **input_}, registry={"url": registry.url}, recovery={"interval": "300ms"}
    )


def test_avro_is_smoothed_while_its_subject_evolves_and_its_registry_is_away(
    broker: str, tmp_path: Path
) -> None:
    job, readings = Job(broker, tmp_path), made_up(N, SERIES)
    half = N // 2
    with small_registry() as registry, Watch(broker, job.output) as watch:
        registry.add(OLD, 7)
        produce(broker, job.input, [as_avro(one, 7) for one in readings[:half]])
        configured(job, registry, stop="never")
        with job.running() as run:
            watch.until(half)
            registry.add(NEW, 8)
            registry.fail = lambda: (503, {"message": "away"})
            produce(broker, job.input, [as_avro(one, 8) for one in readings[half:]])
            asked = len(registry.asked)
            wait_until(lambda: len(registry.asked) >= asked + 3)
            run.send_signal(signal.SIGKILL)
            run.communicate(timeout=PATIENCE_S)
        with job.running() as run:
            asked = len(registry.asked)
            wait_until(lambda: len(registry.asked) >= asked + 2)
            run.send_signal(signal.SIGTERM)
            _, said = run.communicate(timeout=PATIENCE_S)
            assert run.returncode == 1  # the next start resumes from the snapshot before
        assert "answered 503" in said
        assert "Traceback" not in said
        with job.running() as run:
            asked = len(registry.asked)
            wait_until(lambda: len(registry.asked) >= asked + 2)
            registry.fail = lambda: None
            watch.until(N)
            run.send_signal(signal.SIGTERM)
            run.communicate(timeout=PATIENCE_S)
        events = watch.records
        assert len(events) == N
        assert_same(by_series(events), pandas_says(readings))
        verified = ewma("verify", str(job.path))
    assert (verified.returncode, verified.stdout.splitlines()[-1]) == (0, "exactly once")
    assert "0 dead letters" in verified.stdout


def test_events_of_avro_are_written_exactly_once_and_verified(broker: str, tmp_path: Path) -> None:
    job, readings = Job(broker, tmp_path), made_up(N, SERIES)
    job.send(readings)
    with small_registry() as registry:
        registry.fail = lambda: None if len(registry.asked) > 2 else (503, {"message": "away"})
        tables: dict[str, dict[str, object]] = {
            "output": {"format": "avro"},
            "registry": {"url": registry.url},
        }
        job.configure(input={"stop": "never"}, **tables)
        with job.running() as run:
            read_all(broker, job.output, N // 3)
            run.send_signal(signal.SIGKILL)
            run.communicate(timeout=PATIENCE_S)
        job.configure(**tables)
        job.run()
        [schema_id] = set(registry.subjects[f"{job.output}-value"])
        schema = json.loads(registry.by_id[schema_id]["schema"])
        records = read_all(broker, job.output, N)
        verified = ewma("verify", str(job.path))
        registry.subjects.clear()
        other = ewma("verify", str(job.path))
    assert len(records) == N
    assert (verified.returncode, verified.stdout.splitlines()[-1]) == (0, "exactly once")
    assert_told(other, 2, "does not have the schema of these events")
    parsed, events = fastavro.parse_schema(plain(schema)), dict[str, list[Event]]()
    for one in records:
        assert one.value[:5] == b"\0" + schema_id.to_bytes(4, "big")
        found = fastavro.schemaless_reader(io.BytesIO(one.value[5:]), parsed, None)
        assert isinstance(found, dict)
        assert one.key.decode() == found["series_id"]
        event = Event(found["time"], found["value"], found["ewma"])
        events.setdefault(found["series_id"], []).append(event)
    assert_same(events, pandas_says(readings))


@pytest.mark.parametrize(("name", "package"), [("avro", "fastavro"), ("protobuf", "grpc_tools")])
def test_an_extra_that_is_not_installed_is_named(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job("127.0.0.1:1", tmp_path, partitions=())
    job.configure(input={"format": name}, registry={"url": "http://127.0.0.1:1"})
    for module in [one for one in sys.modules if one.startswith(f"ewma_ops.serde.{name}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"pip install 'ewma-ops\[{name}\]'"):
        build_decoder(load(job.path))


def test_an_unknown_id_is_a_dead_letter_and_the_others_enter(embedded: str, tmp_path: Path) -> None:
    job = Job(embedded, tmp_path)
    reading = Reading("a", START_MS, 1.5)
    records = [as_avro(reading, 7), Record(b"\0\0\0\0\x09"), Record(json.dumps({}).encode())]
    produce(embedded, job.input, records)
    with small_registry() as registry:
        registry.add(OLD, 7)
        job.configure(input=INPUT, registry={"url": registry.url, "unknown_after": "500ms"})
        said = job.run()
    assert "has no schema 9" in said
    assert len(job.events(1)) == 1
    causes = {dict(one.headers)["ewma-cause"] for one in job.letters(2)}
    assert causes == {b"unknown-schema", b"not-avro"}
