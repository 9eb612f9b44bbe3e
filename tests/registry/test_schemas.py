"""Schemas of a registry: waited for while it is away, kept once they are known."""

from __future__ import annotations

import base64
import logging
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ewma_ops.errors import ConfigError, RegistryError
from ewma_ops.registry.client import RegistryClient, UnknownIdError
from ewma_ops.registry.schemas import RegistrySchemas
from ewma_ops.secrets.masking import substituted
from tests.helpers.patience import PATIENCE_S
from tests.helpers.registry import SmallRegistry, small_registry

SCHEMA = {"type": "record", "name": "R", "fields": [{"name": "v", "type": "double"}]}


@pytest.fixture
def registry() -> Iterator[SmallRegistry]:
    with small_registry() as running:
        running.add(SCHEMA, 7)
        yield running


def schemas_of(registry: SmallRegistry, unknown_after_s: float = 0.0) -> RegistrySchemas:
    return RegistrySchemas(RegistryClient([registry.url]), unknown_after_s=unknown_after_s)


def test_a_schema_is_asked_for_once(registry: SmallRegistry) -> None:
    schemas = schemas_of(registry)
    found = schemas.schema(7)
    assert found is not None
    assert '"double"' in found.text
    assert found.kind == "AVRO"
    assert schemas.schema(7) is found
    assert registry.asked == ["GET /schemas/ids/7"]


def test_references_come_before_what_refers_to_them(registry: SmallRegistry) -> None:
    def reference(name: str) -> dict[str, object]:
        return {"name": name, "subject": f"of/{name}", "version": 1}

    registry.versions["of%2Fb", 1] = {"schema": '"b"', "references": [reference("c")]}
    registry.versions["of%2Fc", 1] = {"schema": '"c"', "references": [reference("b")]}
    registry.add('"a"', 8, references=[reference("b"), reference("c")])
    found = schemas_of(registry).schema(8)
    assert found is not None
    assert found.references == (("c", '"c"'), ("b", '"b"'))


def test_an_outage_is_waited_for_and_told_once(
    registry: SmallRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([(503, {"message": "starting"}), (500, b"<html>"), (200, b"<html>")])
    registry.fail = lambda: next(answers, None)
    with caplog.at_level(logging.WARNING):
        assert schemas_of(registry).schema(7) is not None
    assert len(registry.asked) == 4
    [line] = caplog.messages
    assert "answered 503" in line
    assert line.endswith("; trying again")


def test_a_registry_that_is_not_there_is_waited_for_until_the_job_stops() -> None:
    with small_registry() as gone:
        url = gone.url
    stopping = threading.Event()
    threading.Timer(0.5, stopping.set).start()
    began = time.monotonic()
    with pytest.raises(RegistryError, match="cannot be reached: start it") as caught:
        RegistrySchemas(RegistryClient([url]), stopping).schema(7)
    assert time.monotonic() - began < 30
    assert caught.value.retry


def test_without_a_job_an_outage_is_an_error_after_a_while(registry: SmallRegistry) -> None:
    registry.fail = lambda: (503, {"message": "away"})
    with pytest.raises(RegistryError, match="answered 503"):
        RegistrySchemas(RegistryClient([registry.url]), away_s=0.3).schema(7)
    assert len(registry.asked) >= 2


def test_the_next_server_answers_for_one_that_is_away(registry: SmallRegistry) -> None:
    with small_registry() as gone:
        url = gone.url
    client = RegistryClient([url, registry.url])
    assert client.get("/schemas/ids/7")["schema"]
    assert client.get("/schemas/ids/7")["schema"]
    assert len(registry.asked) == 2


def test_an_id_may_be_late(registry: SmallRegistry) -> None:
    def late() -> None:
        if len(registry.asked) == 3:
            registry.add(SCHEMA, 9)

    registry.fail = late
    assert schemas_of(registry, unknown_after_s=60).schema(9) is not None
    assert len(registry.asked) == 3


def test_an_unknown_id_is_waited_for_once(registry: SmallRegistry) -> None:
    schemas = schemas_of(registry, unknown_after_s=0.3)
    began = time.monotonic()
    assert schemas.schema(99) is None
    assert time.monotonic() - began >= 0.3
    asked = len(registry.asked)
    assert schemas.schema(99) is None
    assert len(registry.asked) == asked
    assert schemas.schema(98) is None
    assert len(registry.asked) == asked + 1
    assert schemas.schema(7) is not None


def test_what_is_no_registry_is_said(registry: SmallRegistry) -> None:
    registry.fail = lambda: (404, b"<html>not here</html>")
    with pytest.raises(ConfigError, match="is no Schema Registry"):
        schemas_of(registry).schema(7)


def test_a_redirect_is_not_followed(registry: SmallRegistry) -> None:
    registry.fail = lambda: (302, b"")
    with pytest.raises(ConfigError, match=r"registry\.url"):
        schemas_of(registry).schema(7)


@pytest.mark.parametrize("answer", [(404, b"<html>"), (302, b""), (422, b"{}"), (409, b"{}")])
def test_what_answered_before_may_heal(registry: SmallRegistry, answer: tuple[int, object]) -> None:
    client = RegistryClient([registry.url])
    assert client.get("/schemas/ids/7")
    registry.fail = lambda: answer
    with pytest.raises(RegistryError):
        client.get("/schemas/ids/7")


def test_a_refused_schema_is_said(registry: SmallRegistry) -> None:
    registry.fail = lambda: (409, {"error_code": 409, "message": "incompatible"})
    with pytest.raises(ConfigError, match=r"refused the schema.*incompatible"):
        schemas_of(registry).register("out-value", '"string"')


def test_another_server_may_know_the_id(registry: SmallRegistry) -> None:
    with small_registry() as behind:
        client = RegistryClient([behind.url, registry.url])
        assert client.get("/schemas/ids/7")["schema"]
        registry.by_id.clear()
        with pytest.raises(UnknownIdError):
            client.get("/schemas/ids/7")


def test_only_protobuf_is_asked_for_as_descriptors(registry: SmallRegistry) -> None:
    registry.add("syntax", 8, schemaType="PROTOBUF")
    schemas = schemas_of(registry)
    assert schemas.schema(7) is not None
    assert schemas.schema(8) is not None
    path = "GET /schemas/ids/8"
    assert registry.asked == ["GET /schemas/ids/7", path, f"{path}?format=serialized"]


def test_the_user_is_sent_and_a_wrong_one_said(registry: SmallRegistry) -> None:
    registry.authorization = "Basic " + base64.b64encode(b"me:secret").decode()
    client = RegistryClient([registry.url], username="me", password="secret")
    assert client.get("/schemas/ids/7")
    with pytest.raises(ConfigError, match=r"registry\.password") as caught:
        RegistryClient([registry.url], username="me", password="wrong").get("/schemas/ids/7")
    assert "wrong" not in str(caught.value)


def test_a_password_that_is_changed_in_its_file_is_read_again(
    registry: SmallRegistry, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("first-one")
    password = substituted(f"${{file:{file}}}")
    assert isinstance(password, str)
    registry.authorization = "Basic " + base64.b64encode(b"me:second-one").decode()
    client = RegistryClient([registry.url], username="me", password=password)

    def later() -> None:
        if len(registry.asked) == 2:
            file.write_text("second-one")

    registry.fail = later
    assert RegistrySchemas(client).schema(7) is not None


def test_an_answer_without_end_is_cut_off(registry: SmallRegistry) -> None:
    registry.fail = lambda: (200, b"[" * (17 << 20))
    with pytest.raises(RegistryError, match="more than"):
        RegistryClient([registry.url]).get("/schemas/ids/7")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_https_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {certificate} -days 1"
    subject = ["-subj", "/CN=registry", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*make.split(), *subject], check=True, capture_output=True, timeout=PATIENCE_S)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with small_registry(context) as registry:
        registry.add(SCHEMA, 7)
        url = registry.url.replace("http:", "https:")
        assert RegistryClient([url], ca_file=certificate).get("/schemas/ids/7")
        with pytest.raises(ConfigError, match=r"cannot be trusted.*registry\.ca_file"):
            RegistryClient([url]).get("/schemas/ids/7")
        with pytest.raises(RegistryError, match="cannot be reached"):
            RegistryClient([registry.url]).get("/schemas/ids/7")
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    with small_registry(context) as registry:
        registry.add(SCHEMA, 7)
        own = registry.url.replace("http:", "https:")
        client = RegistryClient([own], ca_file=certificate, cert_file=certificate, key_file=key)
        assert client.get("/schemas/ids/7")
        with pytest.raises(RegistryError, match="cannot be reached"):
            RegistryClient([own], ca_file=certificate).get("/schemas/ids/7")
    with pytest.raises(ConfigError, match=r"registry\.cert_file"):
        RegistryClient([url], cert_file=certificate, key_file=certificate)
    with pytest.raises(ConfigError, match="cannot be read as PEM"):
        RegistryClient([url], ca_file=key)
    with pytest.raises(ConfigError, match="cannot be read as PEM"):
        RegistryClient([url], ca_file=tmp_path / "absent.pem")


def test_a_schema_is_registered_and_looked_up(registry: SmallRegistry) -> None:
    schemas = schemas_of(registry)
    assert schemas.registered("out-value", '"string"') is None
    schema_id = schemas.register("out-value", '"string"')
    assert schemas.register("out-value", '"string"') == schema_id
    assert schemas.registered("out-value", '"string"') == schema_id
