"""Formats through the whole job: under a kill no reading is lost, and none doubled."""

from __future__ import annotations

import json
import signal
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.brokers import Record, produce
from tests.helpers.jobs import START_MS, Job, Watch, assert_told, ewma
from tests.helpers.patience import PATIENCE_S

MESSAGES, LINES, SERIES = 300, 3, 7

Line = Callable[[str, int, float], str]

LINES_OF: dict[str, tuple[dict[str, object], Line]] = {
    "csv": (
        {"columns": ["id", "at", "t", "unit"], "series_id": "id", "time": "at", "value": "t"},
        lambda name, at, value: f"{name},{at},{value},C",
    ),
    "line": (
        {"series_id": "tags.id", "time": "time", "value": "fields.t"},
        lambda name, at, value: f"m,id={name},unit=C t={value} {at}000000",
    ),
}


def reading(place: int) -> tuple[str, int, float]:
    return f"s{place % SERIES}", START_MS + place, place / 4


@pytest.mark.parametrize("name", LINES_OF)
def test_a_kill_loses_no_line_and_doubles_none(broker: str, tmp_path: Path, name: str) -> None:
    # A message holds lines of several series: in one partition, so that each of them has an order.
    job = Job(broker, tmp_path, partitions=(1, 3, 2))
    keys, line = LINES_OF[name]
    n = MESSAGES * LINES

    def message(place: int) -> Record:
        lines = [line(*reading(LINES * place + i)) for i in range(LINES)]
        if place % 10 == 0:
            lines.insert(1, "nonsense")
        return Record("\n".join(lines).encode(), key=b"k%d" % (place % SERIES))

    produce(broker, job.input, map(message, range(MESSAGES)))
    include = "unit" if name == "csv" else "tags.unit"
    asked = {"format": name, **keys}
    output = {"include": [include]}
    job.configure(input={**asked, "stop": "never"}, output=output, recovery={"interval": "300ms"})
    with Watch(broker, job.output) as watch:
        with job.running() as run:
            watch.until(n // 3)
            run.send_signal(signal.SIGKILL)
            run.communicate(timeout=PATIENCE_S)
        job.configure(input=asked, output=output)
        job.run()
        watch.until(n)
        events = [json.loads(record.value) for record in watch.records]
    found = sorted((one["time"], one["series_id"], one["value"]) for one in events)
    assert found == sorted((at, series, value) for series, at, value in map(reading, range(n)))
    assert {one[include.replace(".", "_")] for one in events} == {"C"}
    headers = [dict(letter.headers) for letter in job.letters(MESSAGES // 10)]
    assert {(one["ewma-cause"], one["ewma-ordinal"]) for one in headers} == {
        (f"not-{name}".encode(), b"1")
    }
    verified = ewma("verify", str(job.path))
    assert (verified.returncode, verified.stdout.splitlines()[-1]) == (0, "exactly once")


@pytest.mark.parametrize(
    ("name", "write"),
    [("number", lambda v: repr(v).encode()), ("float64", lambda v: struct.pack(">d", v))],
)
def test_bare_numbers_by_key(
    embedded: str, tmp_path: Path, name: str, write: Callable[[float], bytes]
) -> None:
    job = Job(embedded, tmp_path)
    job.configure(input={"format": name, "series_id": None, "time": None})
    values = [i / 4 for i in range(300)]
    produce(
        embedded, job.input, [Record(write(v), key=b"s%d" % (i % 5)) for i, v in enumerate(values)]
    )
    job.run()
    events = job.events(300)
    for place in range(5):
        assert sorted(one.value or 0.0 for one in events[f"s{place}"]) == values[place::5]


def test_a_function_of_ones_own(embedded: str, tmp_path: Path) -> None:
    job = Job(embedded, tmp_path)
    (tmp_path / "own_frames.py").write_text(
        "def decode(payload):\n"
        "    name, value = payload.split(b'=')\n"
        "    return {'id': name.decode(), 'v': float(value)}\n"
    )
    asked = {"series_id": "id", "time": None, "value": "v"}
    job.configure(input={**asked, "format": "own_frames:decode"})
    produce(embedded, job.input, [Record(b"a=1"), Record(b"a"), Record(b"a=2")])
    done = ewma("run", str(job.path), PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert sorted(one.value or 0.0 for one in job.events(2)["a"]) == [1.0, 2.0]
    [letter] = job.letters(1)
    told = dict(letter.headers)
    assert told["ewma-cause"] == b"not-decoded"
    assert told["ewma-detail"].startswith(b"ValueError: not enough values to unpack")
    for command in ("run", "check", "verify"):
        done = ewma(command, str(job.path))
        assert_told(done, 2, "own_frames", "cannot be imported", "PYTHONPATH")
