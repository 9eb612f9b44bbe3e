"""No secret is shown, wherever it stands in the file and whatever is said of it."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

from ewma_ops.commands.cli import main
from ewma_ops.connectors.client import options
from ewma_ops.connectors.client.connect import to_ewma_error
from ewma_ops.errors import ConfigError
from ewma_ops.secrets import masking
from ewma_ops.secrets.masking import (
    LONGEST_FILE,
    Secret,
    mask_logs,
    masked,
    masked_traceback,
    remember,
    substituted,
)
from ewma_ops.secrets.option_names import SECRETS, SHOWN, foreign, shown
from ewma_ops.settings.load import load
from tests.helpers.jobs import ewma

MARKER = "M4rk3r-hunter2"
CONFIG = """
{top}
[kafka]
{kafka}
[input]
topic = "readings"
[smooth]
beta = 0.9
[output]
topic = "smoothed"
"""
SERVER = 'bootstrap_servers = "127.0.0.1:1"\nbootstrap_timeout_ms = 300\n'


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_remembered", {})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flow.toml"


PLACES = [
    f'sasl_plain_pass = "{MARKER}"',
    f'sasl_plain_password = "{MARKER}"',
    f'sasl_plain_password = ["{MARKER}"]',
    f'sasl_plain_password = {{x = "{MARKER}"}}',
    f'"sasl.password" = "{MARKER}"',
    f'sasl.password = "{MARKER}"',
    f'sasl.jaas.config = "PlainLoginModule required password={MARKER};"',
    f'ssl_context = "{MARKER}"',
    f'proxy_url = "socks5://user:{MARKER}@127.0.0.1:1"',
    f'proxy_url = "nonsense://user:{MARKER}@127.0.0.1:1"',
    f'sasl_oauthbearer_token_endpoint_url = "http://127.0.0.1:1/?client_secret={MARKER}"',
    f'client_id = {{password = "{MARKER}"}}',
    f'sasl_plain_password = "{MARKER}"\nclient_id = "with-{MARKER}-in-it"',
    'client_id = "${SECRET}"',
    'client_id = "mine-${SECRET}"',
    'request_timeout_ms = "${SECRET}"',
    'security_protocol = "${SECRET}"',
    'isolation_level = "${SECRET}"',
    'api_version = "${SECRET}"',
    'api_version = ["${SECRET}"]',
    'ssl_cafile = "/${SECRET}"',
    'sasl_plain_username = "${SECRET}"',
    'zzz = "${SECRET}"',
    (
        'security_protocol = "SASL_PLAINTEXT"\nsasl_mechanism = "PLAIN"\n'
        'sasl_plain_username = "${SECRET}"\nsasl_plain_password = "${SECRET}"'
    ),
]
SERVERS = [
    f'bootstrap_servers = "user:{MARKER}@127.0.0.1:1"',
    f'bootstrap_servers = "SASL_SSL://user:{MARKER}@127.0.0.1:1"',
    f'bootstrap_servers = ["127.0.0.1:1", "{MARKER}@127.0.0.1:1"]',
    f'bootstrap_servers = "{MARKER} 127.0.0.1:1"',
    'bootstrap_servers = "${SECRET}"',
    'bootstrap_servers = "${SECRET}:1"',
    'bootstrap_servers = ["${SECRET}:1", "127.0.0.1:1"]',
    'bootstrap_servers = "user:${SECRET}@127.0.0.1:1"',
]


@pytest.mark.parametrize(
    ("top", "kafka"),
    [("", SERVER + place) for place in PLACES]
    + [("", f"bootstrap_timeout_ms = 300\n{servers}") for servers in SERVERS]
    + [(f'sasl_plain_pass = "{MARKER}"', SERVER)]
    + [(f'sasl_plain_password = "{MARKER}"', SERVER)]
    + [(f'bootstrap_servers = "user:{MARKER}@127.0.0.1:1"', SERVER)],
)
def test_the_marker_is_in_no_message_and_no_log(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    top: str,
    kafka: str,
) -> None:
    monkeypatch.setenv("SECRET", MARKER)
    path.write_text(CONFIG.format(top=top, kafka=kafka))
    caplog.set_level(logging.DEBUG, "kafka")
    monkeypatch.setattr(logging.getLogger("kafka"), "handlers", [logging.StreamHandler()])
    for command in (["check", "--offline"], ["check"], ["verify"]):
        main([command[0], str(path), *command[1:]])
    try:
        settings = load(path)
    except ConfigError:
        pass
    else:
        said = (repr(settings), str(settings), settings.identity())
        assert MARKER not in repr(said)
        assert MARKER not in repr(pickle.loads(pickle.dumps(settings)))
    output = "".join(capfd.readouterr())
    assert output
    assert MARKER not in output


def test_a_process_of_its_own_says_as_little(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", MARKER)
    kafka = f'{SERVER}client_id = "${{SECRET}}"\nproxy_url = "http://u:{MARKER}@127.0.0.1:1"'
    path.write_text(CONFIG.format(top="", kafka=kafka))
    done = ewma("check", str(path))
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr
    assert MARKER not in done.stdout + done.stderr


def test_an_error_of_kafka_python_is_masked() -> None:
    client = {"bootstrap_servers": "127.0.0.1:1", "sasl_plain_password": MARKER}
    options.check_options(client)
    assert MARKER not in str(to_ewma_error(ValueError(f"wrong: {MARKER}"), client, "doing"))


def test_logs_are_masked_with_their_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    remember(MARKER)
    log = logging.getLogger("ewma_ops.test_masking")
    mask_logs("ewma_ops")
    try:
        raise ValueError(MARKER)
    except ValueError:
        log.warning("it was %s", MARKER, exc_info=True)
    assert "it was ***" in caplog.text
    assert "ValueError: ***" in caplog.text
    assert MARKER not in caplog.text


def test_short_values_are_masked_where_they_stand_alone() -> None:
    remember("ab1")
    remember("x")
    assert masked("ab1, cab1n and x") == "***, cab1n and x"


@pytest.mark.parametrize(
    ("content", "value"),
    [(b"one\n", "one"), (b"one\r\n", "one"), (b"one", "one"), (b" a b \n\n", " a b \n")],
)
def test_a_file_loses_one_line_break_at_its_end(tmp_path: Path, content: bytes, value: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    assert substituted(f"${{file:{file}}}") == value


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff", "not UTF-8"),
        (b"x" * (LONGEST_FILE + 1), "more than 65536 bytes"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    path: Path, tmp_path: Path, content: bytes | None, says: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    kafka = f'{SERVER}sasl_plain_password = "${{file:{file}}}"'
    path.write_text(CONFIG.format(top="", kafka=kafka))
    with pytest.raises(ConfigError, match=f"kafka.sasl_plain_password .*{file}.*{says}"):
        load(path)


def test_a_file_is_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "secret"
    file.write_text("old-password\n")
    secret = substituted(f"${{file:{file}}}")
    assert isinstance(secret, Secret)
    file.write_text("new-password\n")
    assert secret.read_again() == "new-password"
    assert masked("old-password new-password") == f"${{file:{file}}} ${{file:{file}}}"
    file.unlink()
    assert secret.read_again() == "old-password"
    assert "cannot be read again" in caplog.text
    assert "old-password" not in caplog.text


@pytest.fixture
def known() -> set[str]:
    factories = (KafkaConsumer, KafkaProducer, KafkaAdminClient)
    return {option for factory in factories for option in factory.DEFAULT_CONFIG}


def test_every_option_is_shown_secret_or_not_the_users(known: set[str]) -> None:
    """When this fails, an upgrade of kafka-python has options that somebody must look at."""
    never = {"kafka_client", "metric_reporters", "selector", "socket_options", "ssl_context"}
    assert SHOWN | SECRETS | options._OWNED.keys() | never >= known
    assert not SHOWN & (SECRETS | never)


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("bootstrap.servers", "a:1", 'bootstrap_servers = "a:1"'),
        ("metadata.broker.list", "a:1", 'bootstrap_servers = "a:1"'),
        ("security.protocol", "SASL_SSL", 'security_protocol = "SASL_SSL"'),
        ("sasl.mechanisms", "PLAIN", 'sasl_mechanism = "PLAIN"'),
        ("sasl.username", "me", 'sasl_plain_username = "me"'),
        ("sasl_password", "x", 'sasl_plain_password = "${KAFKA_PASSWORD}"'),
        ("ssl.ca.location", "/ca.pem", 'ssl_cafile = "/ca.pem"'),
        ("ssl.truststore.location", "/a.jks", 'ssl_cafile = "ca.pem"'),
        ("linger.ms", 5, "linger_ms = 5"),
        ("fetch.max.wait.ms", 5, "fetch_max_wait_ms = 5"),
        ("group.id", "g", '[input] group_id = "..."'),
        ("auto.offset.reset", "latest", '[input] start = "earliest"'),
        ("sasl.jaas.config", "x", 'sasl_plain_username = "..." and sasl_plain_password = "${...}"'),
        ("isolation.level", "read_committed", 'isolation_level = "read_committed"'),
    ],
)
def test_names_of_other_clients(path: Path, name: str, value: object, line: str) -> None:
    written = f'"{value}"' if isinstance(value, str) else str(value)
    for key in (name, f'"{name}"'):
        servers = "" if "server" in line else SERVER
        path.write_text(CONFIG.format(top="", kafka=f"{servers}{key} = {written}"))
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert len(str(caught.value).splitlines()) == 1
        assert f"is the name that other clients use: write {line}" in str(caught.value)
        assert name in str(caught.value)


@pytest.mark.parametrize("name", sorted((SHOWN | SECRETS) - {"ssl_context"}))
def test_names_of_kafka_python_are_its_own(name: str) -> None:
    assert foreign(name, "x") is None
    assert (shown(name, "secret") == "***") == (name in SECRETS), name


def test_a_log_without_a_secret_keeps_its_arguments(caplog: pytest.LogCaptureFixture) -> None:
    remember(MARKER)
    mask_logs("ewma_ops")
    logging.getLogger("ewma_ops.test_masking").warning("%s of %d", "one", 2)
    assert caplog.records[-1].args == ("one", 2)


def test_a_traceback_holds_no_secret() -> None:
    remember(MARKER, "${KAFKA_PASSWORD}")
    with pytest.raises(RuntimeError) as caught:
        raise RuntimeError(f"cannot log in with {MARKER}")
    text = masked_traceback(caught.value)
    assert MARKER not in text
    assert "RuntimeError: cannot log in with ${KAFKA_PASSWORD}" in text
    assert "Traceback (most recent call last):" in text
