"""``ewma check`` on a broker: what is shown of the messages, in 80 columns, and as JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ewma_ops.commands.cli import main
from ewma_ops.settings.load import load
from tests.helpers.brokers import Record, make_topic, produce, set_configs
from tests.helpers.jobs import Job, made_up
from tests.helpers.registry import framed, small_registry
from tests.serde.avro.test_format import logical, plain, record, written


@pytest.fixture
def job(embedded: str, tmp_path: Path) -> Job:
    return Job(embedded, tmp_path, partitions=(2, 1, 1))


@pytest.fixture
def check(
    job: Job, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, list[str], list[str]]]:
    monkeypatch.setenv("COLUMNS", "80")

    def check(*options: str) -> tuple[int, list[str], list[str]]:
        capsys.readouterr()
        code = main(["check", str(job.path), *options])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err.splitlines()

    return check


Check = Callable[..., tuple[int, list[str], list[str]]]


def send(job: Job, *values: object, key: bytes | None = b"k") -> None:
    payloads = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in values]
    produce(job.bootstrap, job.input, [Record(one, key, (), 1_700_000_000_000) for one in payloads])


def test_what_the_fields_found(job: Job, check: Check) -> None:
    job.send(made_up(300, series=3))
    code, out, err = check()
    assert (code, err) == (0, [])
    table = out[-5:]
    assert [line.split()[:2] for line in table[:4]] == [
        ["field", "path"],
        ["series", "id"],
        ["time", "ts"],
        ["value", "value"],
    ]
    assert out[-6].startswith(f"{job.input}, the newest 100: 100 readings")
    assert table[1].split()[2:5] == ["series_id", "100", "0"]
    assert table[2].split()[2:4] == ["100", "0"] or table[2].split()[1:4] == ["ts", "100", "0"]
    assert table[4].startswith("a reading: sensor-")
    assert "2023-11-14 22:" in table[4]
    assert max(map(len, table)) <= 80


def test_the_topic_of_alarms_is_created_and_looked_at(
    embedded: str, kafka: str, job: Job, check: Check
) -> None:
    """Like that of the events: with as many partitions, and never compacted."""
    rules = {"level": {"limit": 4.0}}
    job.configure(alarms={"topic": f"{job.input}-alarms", **rules})
    code, out, _ = check("--create-topics", "--sample=0")
    assert code == 0
    assert f"{job.input}-alarms: 2 partitions" in out
    assert "  rule       level: limit 4; warning" in out
    topics = [make_topic(kafka, 1, name) for name in ("in", "out", "letters", "alarms")]
    job.bootstrap = kafka
    job.configure(
        input={"topic": topics[0]},
        output={"topic": topics[1]},
        dead_letters={"topic": topics[2]},
        alarms={"topic": topics[3], **rules},
    )
    set_configs(kafka, topics[3], {"cleanup.policy": "compact"})
    code, _, err = check("--sample=0")
    assert code == 2
    assert f"topic '{topics[3]}' (alarms.topic) is compacted" in " ".join(err)


def test_as_json(job: Job, check: Check) -> None:
    send(job, {"series_id": "a", "ts": 1_700_000_000, "value": 1}, b"?")
    code, [line], err = check("--json")
    found = json.loads(line)
    assert (code, err) == (0, [])
    assert found["partitions"] == {job.input: 2, job.output: 1, job.dead_letters: 1}
    assert found["sample"]["dead_letters"] == {"not-json": 1}
    assert [one["role"] for one in found["sample"]["fields"]] == ["series id", "time", "value"]
    assert found["sample"]["newest"]["values"] == [1.0]
    assert any('time_unit = "s"' in warning for warning in found["warnings"])
    assert found["errors"] == []
    assert found["settings"]["reads"].startswith(job.input)


def test_nothing_is_read_where_that_is_not_wanted(job: Job, check: Check) -> None:
    send(job, b"?")
    assert check("--sample", "0")[::2] == (0, [])
    assert check("--offline")[::2] == (0, [])


def test_an_empty_topic(job: Job, check: Check) -> None:
    code, out, err = check()
    assert (code, err) == (0, [])
    assert out[-1] == f"{job.input} is empty"


def test_nothing_that_could_be_read(job: Job, check: Check) -> None:
    """Case 04: Avro of a Schema Registry, read as JSON."""
    values = ["AAAAAAcOa2l0Y2hlbgAAAAAAgDVA", "AAAAAAcOa2l0Y2hlbgAAAAAAgDZA"]
    send(job, *map(base64.b64decode, values))
    code, _, err = check()
    assert code == 2
    assert err[0] == "error: none of the messages can be read: each would be a dead letter"
    assert "looks like Schema Registry Avro, schema 7: write format = " in err[1]


CASES: dict[str, tuple[dict[str, Any], list[Any], bytes | None, str]] = {
    "01-binance-trade": (
        {"series_id": "s", "time": "T", "value": "p"},
        [{"e": "trade", "s": "ABCUSDT", "p": "100.10", "q": "2.0", "T": 1_700_000_000_000}],
        None,
        'numbers = "text" in [input] reads numbers in quotes',
    ),
    "05-csv": ({}, [b"series_id,ts,value", b"kitchen,1,21.5"], None, "this looks like CSV"),
    "06-int-keys": (
        {"series_id": None, "time": None},
        [{"value": 1}],
        bytes(7) + b"\x7b",
        'write key = "int64" in [input]',
    ),
    "08-dotted-field": (
        {"series_id": None, "time": None, "value": "sensor.temp"},
        [{"sensor.temp": 21.5}],
        b"a",
        "no message has sensor.temp; did you mean '\"sensor.temp\"'?",
    ),
    "09-typo-path": (
        {"series_id": None, "time": None, "value": "tmperature"},
        [{"temperature": 0}],
        b"a",
        "no message has tmperature; did you mean temperature?",
    ),
    "10-kraken-array": (
        {"series_id": "pair", "time": None, "value": "price"},
        [[42, [["100.1", "0.5"], ["100.2", "0.1"]], "trade", "ABC/USD"]],
        b"x",
        'write records = "[1][]" in [input]',
    ),
    "11-epoch-seconds": (
        {"series_id": "id", "time": "t"},
        [{"id": "a", "t": 1_700_000_000, "value": 10}, {"id": "a", "t": 1.7e9 + 0.5, "value": 1}],
        None,
        't looks like seconds: write time_unit = "s" in [input]',
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_kind_of_stream_is_told_what_to_write(job: Job, check: Check, case: str) -> None:
    reads, values, key, said = CASES[case]
    job.configure(input=reads)
    send(job, *values, key=key)
    _, _, err = check()
    assert any(said in line for line in err), err


def test_avro_of_a_registry(job: Job, check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    schema = record(id="string", at=logical("long", "timestamp-millis"), celsius="double")
    document = {"id": "a", "at": 1_700_000_000_000, "celsius": 21.5}
    with small_registry() as registry:
        registry.add(schema, 7)
        send(job, framed(7, written(plain(schema), document)))
        options = [f"--bootstrap-servers={job.bootstrap}", f"--registry={registry.url}"]
        capsys.readouterr()
        assert (
            main(["init", f"--topic={job.input}", *options, f"--output={job.path}", "--force"]) == 0
        )
        assert capsys.readouterr().err.startswith("1 message read as this file says: 1 reading\n")
        reads = load(job.path).input
        assert (reads.format, reads.series_id, reads.time, reads.value) == (
            "avro",
            "id",
            "at",
            "celsius",
        )
        code, out, err = check("--create-topics")
    assert (code, err) == (0, [])
    assert [line.split()[-1] for line in out[-4:-1]] == ['"a"', "1700000000000", "21.5"]
    assert out[-1] == "a reading: a, 2023-11-14 22:13:20 UTC, 21.5"


@pytest.mark.parametrize("sample", ["-1", "ten", "10001"])
def test_how_many_is_a_number(check: Check, sample: str) -> None:
    with pytest.raises(SystemExit) as end:
        check("--sample", sample)
    assert end.value.code == 2
