"""``ewma try``: what stands where, and with which exit code."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.jobs import EWMA, Job, assert_told, ewma, started
from tests.helpers.patience import PATIENCE_S

pytestmark = pytest.mark.slow

LINES: list[dict[str, Any]] = [
    {"value": {"series_id": "a", "ts": 1000, "value": 1.0}},
    {"value": {"series_id": "a", "ts": 2000, "value": "4,5"}},
    {"value": "\x1b[2J", "key": "k"},
    {"value": {"series_id": "a", "ts": 3000, "value": 4.0}},
    {"value_base64": "/w=="},
]

NO_NUMBER = (
    "line 2: wrong-type: value is '4,5': not a number; "
    'numbers = "text" and decimal = "," in [input] reads it'
)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    job = Job("127.0.0.1:1", tmp_path, partitions=())
    job.configure(smooth={"beta": 0.5})
    return job


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def write(*lines: object) -> str:
        path = tmp_path / "messages.jsonl"
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        path.write_text("".join(f"{text}\n" for text in texts), "utf-8")
        return str(path)

    return write


def events(stdout: str) -> list[float]:
    return [json.loads(line)["ewma"] for line in stdout.splitlines()]


def test_a_silence_needs_timestamps_and_without_them_it_says_so(
    job: Job, write: Callable[..., str]
) -> None:
    job.configure(alarms={"silent": {"kind": "stale", "least": "2s", "warm_up": 3}})
    lines = [
        {"value": {"series_id": name, "ts": 0, "value": 1.0}, "timestamp": 1000 * k}
        for k in range(12)
        for name in ("a", "b")
        if name == "b" or k < 6
    ]
    done = ewma("try", str(job.path), write(*lines, {**lines[0], "timestamp": 30_000}))
    assert "silent raised (warning): a is silent: nothing for 10 s" in done.stderr
    assert "silent cleared (warning): a sends again after 25 s: 1" in done.stderr
    assert "goes by the timestamps" not in done.stderr
    untimed = [{"value": line["value"]} for line in lines]
    done = ewma("try", str(job.path), write(*untimed), "--json")
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["alarms"] == 0
    (notice,) = told["notices"]
    assert notice == (
        "alarms.silent goes by the timestamps of the messages, and none has one: give "
        '"timestamp" beside "value"'
    )


def test_alarms_stand_beside_the_events(job: Job, write: Callable[..., str]) -> None:
    hot = {"kind": "bounds", "above": 30.0, "clear_above": 28.0}
    job.configure(smooth={"beta": 0.5}, alarms={"too_hot": hot})
    values = [20.0, 31.0, 29.0, 27.0]
    lines = [
        {"value": {"series_id": "a", "ts": 1_000 * i, "value": v}} for i, v in enumerate(values)
    ]
    done = ewma("try", str(job.path), write(*lines))
    assert done.returncode == 0
    assert len(events(done.stdout)) == 4
    assert done.stderr.splitlines() == [
        "line 2: too_hot raised (warning): a is above 30: 31",
        "line 4: too_hot cleared (warning): a is back after 2 s: 27",
        "read 4: 4 events, 0 dead letters, 1 alarm (too_hot 1)",
    ]
    done = ewma("try", str(job.path), write(*lines), "--json")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    alarms = [one for one in found if one["type"] == "alarm"]
    assert [(one["line"], one["key"], one["value"]["transition"]) for one in alarms] == [
        (2, "a", "raised"),
        (4, "a", "cleared"),
    ]
    assert found[-1]["alarms"] == 1


def test_globs_that_match_no_series_are_told(job: Job, write: Callable[..., str]) -> None:
    job.configure(
        alarms={
            "high": {"kind": "bounds", "above": 1.0, "series": ["plnt1/*"]},
            "low": {"kind": "bounds", "below": 1.0, "series": ["plant1/*"]},
        }
    )
    done = ewma(
        "try", str(job.path), write({"value": {"series_id": "plant1/a", "ts": 1, "value": 0.5}})
    )
    assert done.returncode == 0
    assert (
        "alarms.high.series matches no series of the first 1 reading, such as 'plant1/a': it"
        in (done.stderr)
    )
    assert "alarms.low.series" not in done.stderr


def test_events_and_dead_letters(job: Job, write: Callable[..., str]) -> None:
    done = ewma("try", str(job.path), write(*LINES))
    assert done.returncode == 0
    assert events(done.stdout) == [1.0, 3.0]
    assert done.stderr.splitlines() == [
        NO_NUMBER,
        "line 3: not-json: JSON is malformed: invalid character (byte 0)",
        "line 5: not-utf8: not UTF-8: invalid start byte (byte 0)",
        "read 5: 2 events, 3 dead letters (not-json 1, not-utf8 1, wrong-type 1)",
    ]
    assert not job.state.exists()


def test_as_json(job: Job, write: Callable[..., str]) -> None:
    done = ewma("try", "--json", str(job.path), write(*LINES, "?"))
    assert (done.returncode, done.stderr) == (2, "")
    found: dict[str, list[dict[str, Any]]] = {}
    for line in done.stdout.splitlines():
        document = json.loads(line)
        found.setdefault(document.pop("type"), []).append(document)
    assert [(one["line"], one["key"], one["value"]["ewma"]) for one in found["event"]] == [
        (1, "a", 1.0),
        (4, "a", 3.0),
    ]
    letters = found["dead-letter"]
    assert [(one["line"], one["cause"]) for one in letters] == [
        (2, "wrong-type"),
        (3, "not-json"),
        (5, "not-utf8"),
    ]
    assert letters[0]["value"] == LINES[1]["value"]
    assert (letters[1]["key"], letters[1]["value"]) == ("k", "\x1b[2J")
    assert letters[2]["value_base64"] == "/w=="
    assert found["bad-line"][0]["line"] == 6
    assert found["end"] == [
        {
            "read": 5,
            "events": 2,
            "skipped": 0,
            "dead_letters": {"wrong-type": 1, "not-json": 1, "not-utf8": 1},
            "bad_lines": 1,
            "notices": [],
        }
    ]


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_what_a_terminal_might_obey_is_escaped_and_stays_json(
    job: Job, write: Callable[..., str], option: list[str]
) -> None:
    name = "\u009b2J\u202e a\u00a0b \U000e0001 é"
    done = ewma(
        "try", str(job.path), write({"value": {"series_id": name, "ts": 1, "value": 1}}), *option
    )
    first = done.stdout.splitlines()[0]
    assert first.isprintable()
    assert "é" in first
    found = json.loads(first)
    assert (found["value"] if option else found)["series_id"] == name


def test_values_as_they_stand(job: Job, write: Callable[..., str]) -> None:
    job.configure(input={"series_id": None, "time": None, "value": "v"})
    done = ewma("try", "--values", str(job.path), write('{"v": 1}', ""))
    assert done.returncode == 1
    assert done.stderr.endswith("read 2: 0 events, 2 dead letters (empty 1, no-series-id 1)\n")


def test_lines_that_are_no_messages(job: Job, write: Callable[..., str]) -> None:
    path = write(LINES[0], '{"vals": 1}', "", "{", LINES[3])
    done = ewma("try", str(job.path), path)
    assert_told(
        done, 2, f"{path}, line 2: vals is not a field", "did you mean value?", "line 4: not"
    )
    assert events(done.stdout) == [1.0, 3.0]
    assert "read 2: 2 events, 0 dead letters; 2 lines not read" in done.stderr


def test_a_file_of_none_ends_early(job: Job, write: Callable[..., str]) -> None:
    done = ewma("try", str(job.path), write(*['{"id": 1}'] * 100))
    assert_told(done, 2, "--values", "5 lines not read")
    assert len(done.stderr.splitlines()) == 6


@pytest.mark.parametrize(
    ("file", "said"),
    [("no-such-file", "cannot be read: No such file"), (".", "is a directory")],
)
def test_a_file_that_cannot_be_read(job: Job, file: str, said: str) -> None:
    assert_told(ewma("try", str(job.path), file), 2, f"ewma: {file}: {said}")


def test_standard_input_is_read_as_it_comes(job: Job) -> None:
    command = [*EWMA, "try", str(job.path), "-"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for value in (1.0, 4.0):
            line = {"value": {"series_id": "a", "ts": 0, "value": value}}
            child.stdin.write(f"{json.dumps(line)}\n")
            child.stdin.flush()
            assert json.loads(child.stdout.readline())["value"] == value
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=PATIENCE_S)
    assert (child.returncode, out, err) == (0, "", "read 2: 2 events, 0 dead letters\n")


def test_a_reader_that_has_enough(job: Job, write: Callable[..., str]) -> None:
    path = write(*[LINES[0]] * 20_000)
    with started([*EWMA, "try", str(job.path), path]) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.stdout.close()
        child.stdout = None
        assert child.communicate(timeout=PATIENCE_S)[1] == ""
        assert child.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_only_where_they_are_wanted(
    job: Job, write: Callable[..., str], variables: dict[str, str], coloured: bool
) -> None:
    ours, theirs = pty.openpty()
    command = [*EWMA, "try", str(job.path), write(*LINES)]
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm"}
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment | variables,
        check=True,
        timeout=PATIENCE_S,
    )
    os.close(theirs)
    said = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert ("\x1b[31mline 3: not-json:\x1b[0m" in said) == coloured
    assert ("\x1b" in said) == coloured, "what a message says never reaches the terminal raw"
    assert b"\x1b" not in done.stdout
