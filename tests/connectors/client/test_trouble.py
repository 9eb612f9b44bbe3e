"""What is said of a connection that fails names the fault, on real brokers."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from kafka.errors import (
    KafkaConnectionError,
    KafkaTimeoutError,
    RequestTimedOutError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)
from kafka.net.manager import KafkaConnectionManager

from ewma_ops.connectors import partition_count
from ewma_ops.connectors.client import trouble
from ewma_ops.connectors.client.connect import to_ewma_error
from ewma_ops.connectors.client.options import check_options
from ewma_ops.errors import BrokerError, ConfigError
from ewma_ops.secrets.masking import substituted
from tests.helpers.brokers import ApacheKafka, Record, produce, read_all
from tests.helpers.jobs import Job
from tests.helpers.patience import PATIENCE_S, slowness
from tests.helpers.shared_kafka import Listeners

PLAIN_USER = {
    "sasl_mechanism": "PLAIN",
    "sasl_plain_username": "smoother",
    "sasl_plain_password": "right-password",
}


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trouble, "_failed", {})
    monkeypatch.setattr(trouble, "_accepted", set())
    monkeypatch.setattr(trouble, "_refused_since", {})


@pytest.mark.parametrize(
    ("listener", "options", "kind", "says"),
    [
        (
            "",
            {"security_protocol": "SASL_PLAINTEXT", **PLAIN_USER},
            ConfigError,
            'does not authenticate users: set kafka.security_protocol = "PLAINTEXT"',
        ),
        (
            "sasl_",
            {
                "security_protocol": "SASL_PLAINTEXT",
                **PLAIN_USER,
                "sasl_mechanism": "SCRAM-SHA-512",
            },
            ConfigError,
            'does not offer kafka.sasl_mechanism = "SCRAM-SHA-512"',
        ),
        ("sasl_", {}, BrokerError, 'set kafka.security_protocol = "SASL_PLAINTEXT"'),
        ("", {"security_protocol": "SSL"}, BrokerError, "does not speak TLS"),
        ("tls_", {}, BrokerError, 'speaks TLS: set kafka.security_protocol = "SSL"'),
        (
            "tls_",
            {"security_protocol": "SASL_PLAINTEXT", **PLAIN_USER},
            BrokerError,
            'speaks TLS: set kafka.security_protocol = "SASL_SSL"',
        ),
    ],
)
def test_a_listener_of_another_kind(
    own_kafka: Listeners, listener: str, options: dict[str, object], kind: type, says: str
) -> None:
    address = getattr(own_kafka, f"{listener}bootstrap_servers")
    enough_ms = int(2_000 * slowness())
    client = {"bootstrap_servers": address, "bootstrap_timeout_ms": enough_ms, **options}
    with pytest.raises(kind) as caught:
        partition_count(client, "topic")
    assert says in str(caught.value)
    assert address in str(caught.value)
    assert "start it" not in str(caught.value)


def test_a_web_server_is_not_a_broker() -> None:
    with _web_server() as address:
        client = {"bootstrap_servers": address, "bootstrap_timeout_ms": int(1_000 * slowness())}
        with pytest.raises(BrokerError, match=f"{address} is a web server"):
            partition_count(client, "topic")


def test_a_peer_that_says_nothing_to_tls_is_waited_for_only_so_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(
        KafkaConnectionManager.DEFAULT_CONFIG, "socket_connection_setup_timeout_ms", 100
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:  # its backlog accepts
        client = {
            "bootstrap_servers": f"127.0.0.1:{silent.getsockname()[1]}",
            "security_protocol": "SSL",
            "bootstrap_timeout_ms": 50,
        }
        with pytest.raises(BrokerError, match=r"security_protocol \(now SSL\)"):
            partition_count(client, "topic")


UNREACHABLE = {"plain": "kafka.invalid:9092", "sasl": "localhost:1"}
ADVERTISES = {
    "advertised.listeners": ",".join(f"{k.upper()}://{at}" for k, at in UNREACHABLE.items()),
    "listener.security.protocol.map": "PLAIN:PLAINTEXT,SASL:PLAINTEXT,CONTROLLER:PLAINTEXT",
}


@pytest.mark.parametrize("kafka_of_properties", [ADVERTISES], ids=[""], indirect=True)
def test_an_advertised_address_that_cannot_be_reached(kafka_of_properties: ApacheKafka) -> None:
    broker = kafka_of_properties
    for address, advertised in zip(
        (broker.bootstrap_servers, broker.sasl_bootstrap_servers),
        UNREACHABLE.values(),
        strict=True,
    ):
        enough_ms = int(4_000 * slowness())
        client = {"bootstrap_servers": address, "request_timeout_ms": enough_ms}
        with pytest.raises(BrokerError) as caught:
            partition_count(client, "topic")
        assert f"advertises a broker at {advertised}" in str(caught.value)
        assert "advertised.listeners" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "kafka.sasl_mechanism is missing"),
        ({"sasl_mechanism": "PLAIN"}, "kafka.sasl_plain_username is missing"),
        (
            {"sasl_mechanism": "SCRAM-SHA-256", "sasl_plain_username": "u"},
            "kafka.sasl_plain_password is missing",
        ),
    ],
)
def test_half_a_user(options: dict[str, object], says: str) -> None:
    client = {"bootstrap_servers": "127.0.0.1:1", "security_protocol": "SASL_SSL", **options}
    with pytest.raises(ConfigError, match=says):
        check_options(client)


def test_a_password_that_is_changed_while_the_flow_runs(
    restartable_kafka: ApacheKafka, tmp_path: Path
) -> None:
    """The broker has the new password before the file has it."""
    broker, secret = restartable_kafka, tmp_path / "password"
    secret.write_text("right-password\n")
    job = Job(broker.bootstrap_servers, tmp_path, (1, 1, 1))
    job.configure(
        kafka={
            "bootstrap_servers": broker.sasl_bootstrap_servers,
            "security_protocol": "SASL_PLAINTEXT",
            **PLAIN_USER,
            "sasl_plain_password": f"${{file:{secret}}}",
            "reconnect_backoff_max_ms": 200,
        },
        input={"series_id": None, "time": None, "stop": "never"},
    )

    def send(value: float) -> None:
        payload = json.dumps({"value": value}).encode()
        produce(broker.bootstrap_servers, job.input, [Record(payload, b"a")])

    text = broker._config.read_text()
    with job.running() as flow, contextlib.ExitStack() as afterwards:
        send(1)
        assert len(read_all(broker.bootstrap_servers, job.output, 1)) == 1
        broker.stop()
        afterwards.callback(broker.kill)  # the others' has the old password
        afterwards.callback(broker._config.write_text, text)
        broker._config.write_text(text.replace("right-password", "next-password"))
        broker.start()
        send(2)
        time.sleep(3)
        assert flow.poll() is None, flow.communicate(timeout=PATIENCE_S)
        secret.write_text("next-password\n")
        assert len(read_all(broker.bootstrap_servers, job.output, 2)) == 2
        flow.send_signal(signal.SIGTERM)
        _, said = flow.communicate(timeout=PATIENCE_S)
    assert flow.returncode == 0, said
    assert "-password" not in said


def test_a_password_in_a_file_is_waited_for_and_then_given_up(
    own_kafka: Listeners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "password"
    secret.write_text("wrong-password\n")
    client = {
        "bootstrap_servers": own_kafka.sasl_bootstrap_servers,
        "bootstrap_timeout_ms": int(2_000 * slowness()),
        "security_protocol": "SASL_PLAINTEXT",
        **PLAIN_USER,
        "sasl_plain_password": substituted(f"${{file:{secret}}}"),
    }
    with pytest.raises(BrokerError, match=r"refused user 'smoother'.*trying again meanwhile"):
        partition_count(client, "topic")
    timer = threading.Timer(0.5, secret.write_text, ["right-password\n"])
    timer.start()
    with pytest.raises(BrokerError, match="does not exist"):  # by now it is let in
        partition_count({**client, "bootstrap_timeout_ms": 20_000}, "topic")
    secret.write_text("wrong-password\n")
    monkeypatch.setattr(trouble, "PATIENCE_S", 0.0)
    with pytest.raises(ConfigError, match="refused user 'smoother'"):
        partition_count(client, "topic")


class _web_server:  # noqa: N801 - a context manager
    def __enter__(self) -> str:
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def _serve(self) -> None:
        try:
            while True:
                peer, _ = self._socket.accept()
                with peer:
                    peer.recv(4096)
                    peer.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        except OSError:
            pass


def test_a_refusal_is_final_only_where_nothing_may_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where kafka-python raises it at once, as it does of a request that was waiting."""
    (tmp_path / "password").write_text("old-password")
    refused = SaslAuthenticationFailedError("Invalid username or password")
    client = {"bootstrap_servers": "127.0.0.1:1", **PLAIN_USER}
    assert isinstance(to_ewma_error(refused, client, "reading"), ConfigError)
    changing = {**client, "sasl_plain_password": substituted(f"${{file:{tmp_path}/password}}")}
    error = to_ewma_error(refused, changing, "reading")
    assert isinstance(error, BrokerError)
    assert error.retry
    monkeypatch.setattr(trouble, "PATIENCE_S", 0.0)
    assert isinstance(to_ewma_error(refused, changing, "reading"), ConfigError)
    trouble.clear(client, 1)
    monkeypatch.setattr(trouble, "PATIENCE_S", 60.0)
    assert isinstance(to_ewma_error(refused, client, "reading"), BrokerError)
    unsupported = UnsupportedSaslMechanismError()
    assert isinstance(to_ewma_error(unsupported, client, "reading"), ConfigError)


def test_an_attempt_that_is_cut_short_hides_no_refusal(
    own_kafka: Listeners, tmp_path: Path
) -> None:
    """Whenever the time is over, the attempt then under way says less than the one before."""
    (tmp_path / "password").write_text("wrong-password")
    client = {
        "bootstrap_servers": own_kafka.sasl_bootstrap_servers,
        "security_protocol": "SASL_PLAINTEXT",
        **PLAIN_USER,
        "sasl_plain_password": substituted(f"${{file:{tmp_path}/password}}"),
    }
    # One millisecond is over before the socket is connected.
    for timeout_ms in (int(2_000 * slowness()), 1, 1, 50, 200, 300, 400, 600, 900):
        with pytest.raises(BrokerError, match="refused user 'smoother'"):
            partition_count({**client, "bootstrap_timeout_ms": timeout_ms}, "topic")


def test_an_attempt_that_took_long_says_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    client = {"bootstrap_servers": "127.0.0.1:1"}
    refused = SaslAuthenticationFailedError("Invalid username or password")
    trouble.note("127.0.0.1:1", 1, trouble.Attempt("127.0.0.1", 1, True, refused))
    monkeypatch.setattr(trouble, "_TELLING_S", 0.0)
    late = RequestTimedOutError("Request timed out after 30000 ms")
    trouble.note("127.0.0.1:1", 1, trouble.Attempt("127.0.0.1", 1, True, late))
    assert trouble.explain(client, "reading") is None


def test_a_time_that_is_over_before_the_socket_is_connected_hides_no_refusal() -> None:
    client = {"bootstrap_servers": "127.0.0.1:1"}
    refused = SaslAuthenticationFailedError("Invalid username or password")
    trouble.note("127.0.0.1:1", 1, trouble.Attempt("127.0.0.1", 1, True, refused))
    try:
        try:
            raise KafkaTimeoutError("I/O wait timed out")
        except KafkaTimeoutError:
            raise KafkaConnectionError("Connection timed out")  # noqa: B904 - as kafka-python does
    except KafkaConnectionError as late:
        trouble.note("127.0.0.1:1", 1, trouble.Attempt("127.0.0.1", 1, True, late))
    explained = trouble.explain(client, "reading")
    assert "refused user" in str(explained)
    gone = KafkaConnectionError("111 ECONNREFUSED")
    trouble.note("127.0.0.1:1", 1, trouble.Attempt("127.0.0.1", 1, True, gone))
    assert trouble.explain(client, "reading") is None
