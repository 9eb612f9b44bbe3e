"""Tokens of a function and of a token endpoint, and Apache Kafka that takes them."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ewma_ops.connectors import partition_count
from ewma_ops.connectors.client.oauth import Endpoint, provider_of
from ewma_ops.errors import BrokerError, ConfigError
from ewma_ops.secrets.masking import Secret, masked
from tests.helpers.brokers import ApacheKafka, Record, produce, read_all
from tests.helpers.jobs import Job, ewma

OAUTH = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "OAUTHBEARER"}


def unsecured_token(lifetime_s: float = 3600.0) -> str:
    """Return a token that Kafka's own unsecured validator takes.

    It counts milliseconds: to it, a token of the same one with a fraction is of the future.
    """
    now = int(time.time())
    claims = {"sub": "smoother", "iat": now, "exp": now + lifetime_s}
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."


class TokenEndpoint:
    """A token endpoint on a free port; answers client ``id`` with ``secret`` by tokens."""

    def __init__(self) -> None:
        self.secret = "s3cr3t-of-id"
        self.lifetime_s: float = 3600.0
        self.broken = 0
        self.asked: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                outer.asked.append({"body": body, "type": self.headers["Content-Type"]})
                wanted = base64.b64encode(f"id:{outer.secret}".encode()).decode()
                if outer.broken:
                    self._answer(outer.broken, {"error": "later"})
                elif self.headers["Authorization"] != f"Basic {wanted}":
                    self._answer(401, {"error": "invalid_client"})
                else:
                    token = unsecured_token(outer.lifetime_s)
                    self._answer(200, {"access_token": token, "expires_in": outer.lifetime_s})

            def _answer(self, code: int, fields: dict[str, Any]) -> None:
                self.send_response(code)
                self.end_headers()
                self.wfile.write(json.dumps(fields).encode())

            def log_message(self, *given: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def options(self) -> dict[str, str]:
        return {
            **OAUTH,
            "sasl_oauthbearer_token_endpoint_url": self.url,
            "sasl_oauthbearer_client_id": "id",
            "sasl_oauthbearer_client_secret": self.secret,
        }


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    server = TokenEndpoint()
    yield server
    server.close()


class OfThisTest:
    """A provider as kafka-python's own are built."""

    made: ClassVar[int] = 0

    def token(self) -> str:
        type(self).made += 1
        return f"token-{self.made}"

    def extensions(self) -> dict[str, str]:
        return {"logicalCluster": "lkc-1"}


def test_a_token_is_kept_and_renewed_before_it_ends(endpoint: TokenEndpoint) -> None:
    endpoint.lifetime_s = 2.0
    source = Endpoint(endpoint.url, "id", endpoint.secret, "kafka all")
    first = source.token()
    assert source.token() == first
    assert endpoint.asked == [
        {
            "body": "grant_type=client_credentials&scope=kafka+all",
            "type": "application/x-www-form-urlencoded",
        }
    ]
    assert first not in masked(f"a log with {first}")
    endpoint.broken = 503
    time.sleep(1.65)  # four fifths of its life
    assert source.token() == first, "still valid"
    endpoint.broken = 0
    time.sleep(0.5)
    assert source.token() != first
    endpoint.broken = 503
    time.sleep(2.1)
    with pytest.raises(BrokerError, match=r"/token answered 503: try again later"):
        source.token()


def test_a_secret_from_a_file_is_read_again(endpoint: TokenEndpoint, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old-secret-of-id\n")
    source = Endpoint(endpoint.url, "id", Secret("old-secret-of-id", f"${{file:{file}}}"))
    with pytest.raises(ConfigError, match=r"refused the client \(401\).*client_secret"):
        source.token()
    file.write_text(endpoint.secret)
    assert source.token()


@pytest.mark.parametrize(
    ("url", "kind", "says"),
    [
        ("http://127.0.0.1:1/token", BrokerError, "127.0.0.1:1/token cannot be reached"),
        ("ftp://127.0.0.1/token", ConfigError, "must begin with https://"),
    ],
)
def test_an_endpoint_that_is_not_there(url: str, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        Endpoint(url, "id", "secret").token()


def test_a_function_or_a_class_gives_the_token() -> None:
    named = {**OAUTH, "sasl_oauth_token_provider": f"{__name__}:unsecured_token"}
    provider = provider_of(named)
    assert provider is not None
    assert provider.token().endswith(".")
    assert provider.extensions() == {}
    provider = provider_of({**OAUTH, "sasl_oauth_token_provider": f"{__name__}:OfThisTest"})
    assert provider is not None
    assert [provider.token(), provider.token()] == ["token-1", "token-2"]
    assert provider.extensions() == {"logicalCluster": "lkc-1"}
    given = provider_of({**OAUTH, "sasl_oauth_token_provider": OfThisTest()})
    assert given is not None
    assert given.token() == "token-3"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (OAUTH, 'set sasl_oauth_token_provider = "module:function"'),
        ({**OAUTH, "sasl_oauth_token_provider": "json"}, 'write "module:function"'),
        ({**OAUTH, "sasl_oauth_token_provider": "no.such:thing"}, "cannot be imported.*PYTHONPATH"),
        ({**OAUTH, "sasl_oauth_token_provider": "json:nothing"}, "cannot be imported"),
        ({**OAUTH, "sasl_oauth_token_provider": "math:pi"}, "must be a function"),
        ({**OAUTH, "sasl_oauthbearer_client_id": "id"}, "token_endpoint_url is missing"),
        (
            {**OAUTH, "sasl_oauth_token_provider": "a:b", "sasl_oauthbearer_client_id": "id"},
            "both provide the token",
        ),
        ({"sasl_oauthbearer_client_id": "id"}, "OAUTHBEARER"),
    ],
)
def test_mistakes_are_told_without_connecting(options: dict[str, object], says: str) -> None:
    client = {"bootstrap_servers": "127.0.0.1:1", **options}
    with pytest.raises(ConfigError, match=says):
        partition_count(client, "topic")


TAKES_TOKENS = {
    "sasl.enabled.mechanisms": "OAUTHBEARER",
    "listener.name.sasl.sasl.enabled.mechanisms": "OAUTHBEARER",
    "listener.name.sasl.oauthbearer.sasl.jaas.config": (
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
        'unsecuredLoginStringClaim_sub="kafka";'
    ),
    # Each connection must show another token within two seconds.
    "listener.name.sasl.oauthbearer.connections.max.reauth.ms": "2000",
}


@pytest.mark.parametrize("kafka_of_properties", [TAKES_TOKENS], ids=[""], indirect=True)
def test_apache_kafka_takes_the_tokens(
    kafka_of_properties: ApacheKafka, tmp_path: Path, endpoint: TokenEndpoint
) -> None:
    broker = kafka_of_properties
    job = Job(broker.bootstrap_servers, tmp_path, (1, 1, 1))
    own = {"series_id": None, "time": None}
    kafka = {**endpoint.options(), "bootstrap_servers": broker.sasl_bootstrap_servers}
    job.configure(kafka=kafka, input={**own, "stop": "never"})
    with job.running() as flow:
        for i in range(2):
            payload = json.dumps({"value": i}).encode()
            produce(broker.bootstrap_servers, job.input, [Record(payload, b"a")])
            assert len(read_all(broker.bootstrap_servers, job.output, i + 1)) == i + 1
            time.sleep(3)
        assert flow.poll() is None
    named = {"sasl_oauth_token_provider": f"{__name__}:unsecured_token"}
    kafka = {**OAUTH, "bootstrap_servers": broker.sasl_bootstrap_servers, **named}
    assert partition_count(kafka, job.input) == 1
    job.configure(
        kafka={
            **endpoint.options(),
            "sasl_oauthbearer_client_secret": "wrong-one",
            "bootstrap_servers": broker.sasl_bootstrap_servers,
        }
    )
    done = ewma("check", str(job.path))
    assert done.returncode == 2, done.stderr
    assert "refused the client (401)" in done.stderr
    assert "wrong-one" not in done.stdout + done.stderr
