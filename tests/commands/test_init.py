"""``ewma init``: a topic in, a file out that checks and runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ewma_ops.commands.cli import main
from ewma_ops.settings.load import load
from tests.helpers.brokers import Record, make_topic, produce, read_all
from tests.helpers.jobs import as_record as sent
from tests.helpers.jobs import assert_told, ewma, made_up

START_MS = 1_700_000_000_000


@pytest.fixture
def topic(embedded: str) -> str:
    return make_topic(embedded, 2, "readings")


def test_the_file_checks_and_runs(embedded: str, topic: str, tmp_path: Path) -> None:
    produce(embedded, topic, map(sent, made_up(200, series=3)))
    path = tmp_path / "smooth.toml"
    done = ewma("init", f"--bootstrap-servers={embedded}", f"--topic={topic}", f"--output={path}")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines() == [
        "100 messages read as this file says: 100 readings",
        f"next: ewma check {path} --create-topics; ewma run {path}",
    ]
    assert path.stat().st_mode & 0o077 == 0, "others may read what may hold a password"
    text = path.read_text("utf-8")
    state = f'directory = "{tmp_path}/state"'
    text = text.replace('directory = "state"', state)
    path.write_text(text.replace("[input]", '[input]\nstop = "end"'), "utf-8")
    assert ewma("check", str(path), "--create-topics").returncode == 0
    assert ewma("run", str(path)).returncode == 0
    events = [json.loads(one.value) for one in read_all(embedded, f"{topic}-smoothed", 200)]
    assert {event["series_id"] for event in events} == {"sensor-0", "sensor-1", "sensor-2"}


def test_without_a_file_it_goes_to_standard_output(
    embedded: str, topic: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    produce(embedded, topic, [Record(b'{"value": 1}', b"a", (), START_MS)])
    options = ["--kafka", "client_id=me", "--kafka", "request_timeout_ms=20000"]
    assert main(["init", "--bootstrap-servers", embedded, "--topic", topic, *options]) == 0
    said = capsys.readouterr()
    path = tmp_path / "smooth.toml"
    path.write_text(said.out, "utf-8")
    settings = load(path)
    assert settings.input.topic == topic
    assert settings.kafka["client_id"] == "me"
    assert settings.kafka["request_timeout_ms"] == 20_000
    assert said.err.splitlines()[0] == "1 message read as this file says: 1 reading"
    assert max(map(len, said.out.splitlines())) <= 100


def test_a_secret_is_written_as_it_was_given(
    embedded: str,
    topic: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OWN_CLIENT", "sesame")
    option = "client_id=${OWN_CLIENT}"
    assert (
        main(["init", f"--bootstrap-servers={embedded}", "--topic", topic, "--kafka", option]) == 0
    )
    said = capsys.readouterr()
    assert 'client_id = "${OWN_CLIENT}"' in said.out
    assert "sesame" not in said.out + said.err


def test_an_empty_topic_gives_an_example(
    embedded: str, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "--bootstrap-servers", embedded, "--topic", topic]) == 0
    assert "warning: the topic is empty" in capsys.readouterr().err
    produce(embedded, topic, [Record(None, b"a")])
    assert main(["init", "--bootstrap-servers", embedded, "--topic", topic]) == 0
    assert "warning: no message has a value" in capsys.readouterr().err
    produce(embedded, topic, [Record(b"pending", b"a")] * 3)
    assert main(["init", "--bootstrap-servers", embedded, "--topic", topic]) == 0
    assert "next: correct [input] of smooth.toml; ewma check" in capsys.readouterr().err


def test_a_file_that_exists_is_kept(embedded: str, topic: str, tmp_path: Path) -> None:
    path = tmp_path / "smooth.toml"
    path.write_text("mine")
    ask = ["init", f"--bootstrap-servers={embedded}", f"--topic={topic}", f"--output={path}"]
    assert_told(ewma(*ask), 2, f"{path} exists", "--force")
    assert path.read_text() == "mine"
    assert ewma(*ask, "--force").returncode == 0
    assert path.read_text() != "mine"
    ask[-1] = f"--output={tmp_path}/none/smooth.toml"
    assert_told(ewma(*ask), 2, "cannot be written: No such file or directory")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--topic=no-such-topic"], "topic 'no-such-topic' does not exist"),
        (["--topic=bad name"], "input.topic"),
        (["--kafka", "nonsense"], "write a name and a value"),
        (["--kafka", "fetch_max_wait=7"], "did you mean fetch_max_wait_ms?"),
        (["--kafka", "sasl_plain_password=${NOT_SET_ANYWHERE}"], "NOT_SET_ANYWHERE"),
    ],
)
def test_mistakes_are_told(embedded: str, topic: str, options: list[str], said: str) -> None:
    ask = ["init", f"--bootstrap-servers={embedded}", f"--topic={topic}", *options]
    assert_told(ewma(*ask), 2, said)
