"""Table [registry] of the configuration file, and which schemas a job needs."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from ewma_ops.errors import ConfigError
from ewma_ops.settings.describe import describe
from ewma_ops.settings.load import load
from ewma_ops.settings.model import Settings

JOB = """
[kafka]
bootstrap_servers = "127.0.0.1:9092"
[input]
topic = "readings"
{input}
[smooth]
beta = 0.9
[output]
topic = "smoothed"
{rest}
"""


def loaded(tmp_path: Path, rest: str, input_: str = 'format = "avro"') -> Settings:
    path = tmp_path / "job.toml"
    path.write_text(JOB.format(input=input_, rest=rest))
    return load(path)


def test_every_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_PASSWORD", "hunter2")
    keys = """
    [registry]
    url = "http://a:8081, https://b/apis/ccompat/v7"
    username = "me"
    password = "${REGISTRY_PASSWORD}"
    ca_file = "ca.pem"
    cert_file = "own.pem"
    key_file = "key.pem"
    timeout = "2s"
    unknown_after = "0s"
    """
    settings = loaded(tmp_path, keys)
    registry = settings.registry
    assert registry is not None
    assert registry.url == ("http://a:8081", "https://b/apis/ccompat/v7")
    assert (registry.username, str.__str__(registry.password or "")) == ("me", "hunter2")
    files = registry.ca_file, registry.cert_file, registry.key_file
    assert files == (Path("ca.pem"), Path("own.pem"), Path("key.pem"))
    assert (registry.timeout, registry.unknown_after) == (timedelta(seconds=2), timedelta())
    assert "hunter2" not in f"{settings!r}{registry!r}{describe(settings)}"
    assert "http://a:8081" in describe(settings)


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("[registry]", "registry.url is missing"),
        ("[registry]\nurl = 5", "registry.url = 5 must be text such as"),
        ('[registry]\nurl = "ftp://a"', "registry.url = 'ftp://a' must be text"),
        ('[registry]\nurl = "http://a:99999"', "must be text such as"),
        ('[registry]\nurl = "http://a,"', "must be text such as"),
        ('[registry]\nurl = "http://a"\ntimeout = "1ms"', 'from "100ms" to "5min"'),
        ('[registry]\nurl = "http://a"\ntimeout = 5', 'from "100ms" to "5min"'),
        ('[registry]\nurl = "http://a"\nunknown_after = "x"', "registry.unknown_after = 'x'"),
        ('[registry]\nurl = "http://a"\npassword = "x1234567"', "registry.password needs a user"),
        ('[registry]\nurl = "http://a"\nusername = "a:b"', "text without a colon"),
        ('[registry]\nurl = "http://a"\nkey_file = "k.pem"', "add cert_file"),
        ('[registry]\nurl = "http://a"\npasword = "x"', "did you mean password?"),
        ('[registry]\nurl = "http://a"\nusername = "a"\npassword = "${NOT_SET_HERE}"',
         "registry.password needs the environment variable NOT_SET_HERE"),
    ],
)  # fmt: skip
def test_mistakes_in_the_table(tmp_path: Path, rest: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        loaded(tmp_path, rest)
    assert "x1234567" not in str(caught.value)


def test_a_user_in_the_address_is_refused_and_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="without a user") as caught:
        loaded(tmp_path, '[registry]\nurl = "http://me:hunter22@a"')
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize(
    ("input_", "rest", "said"),
    [
        ('format = "avro"', "", "needs schemas: add [registry] with url"),
        ('format = "avro"\nschema = "a.avsc"', '[registry]\nurl = "http://a"', "both give the"),
        ('format = "protobuf"\nschema = "a.proto"', "", "input.message is missing"),
        ('format = "protobuf"\nmessage = "a.B"', '[registry]\nurl = "http://a"', "schema is miss"),
        ('format = "avro"\nmessage = "a.B"', "", 'input.message is not read by format = "avro"'),
        ('key = "avro"', "", 'key = "avro" needs schemas'),
        ("", '[registry]\nurl = "http://a"', '[registry] is not used by format = "json"'),
        ('schema = "a.avsc"', "", 'input.schema is not read by format = "json"'),
    ],
)
def test_schemas_come_from_one_place(tmp_path: Path, input_: str, rest: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        loaded(tmp_path, rest, input_)


def test_the_events_may_need_the_registry(tmp_path: Path) -> None:
    registry = '[registry]\nurl = "http://a"'
    avro = JOB.replace('topic = "smoothed"', 'topic = "smoothed"\nformat = "avro"')
    path = tmp_path / "job.toml"
    path.write_text(avro.format(input="", rest=registry))
    settings = load(path)
    assert "smoothed, exactly-once, avro" in describe(settings)
    assert settings.identity()["output format"] == "avro"
    path.write_text(avro.format(input='format = "avro"\nschema = "a.avsc"', rest=registry))
    assert load(path).registry is not None
    path.write_text(avro.format(input="", rest=""))
    with pytest.raises(ConfigError, match=r'output\.format = "avro" needs a registry'):
        load(path)


def test_a_key_may_need_the_registry_where_the_value_has_a_file(tmp_path: Path) -> None:
    input_ = 'format = "avro"\nschema = "a.avsc"\nkey = "avro"\nseries_id = "@key.id"'
    assert loaded(tmp_path, '[registry]\nurl = "http://a"', input_).registry is not None
