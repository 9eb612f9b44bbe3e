"""Table [notify] of the configuration file: who is told of alarms."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from ewma_ops.errors import ConfigError
from ewma_ops.settings.describe import describe
from ewma_ops.settings.load import load
from ewma_ops.settings.model import Settings
from tests.helpers.minimal import MINIMAL

JOB = f"{MINIMAL}[notify]\n{{keys}}\n"


def loaded(tmp_path: Path, keys: str) -> Settings:
    path = tmp_path / "job.toml"
    path.write_text(JOB.format(keys=keys))
    return load(path)


def test_every_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER", "hunter22")
    monkeypatch.setenv("HOOK_URL", "https://hooks.example.org/T0K3N/x?y=z")
    keys = """
    alertmanager = ["http://a:9093", "https://b/alerts"]
    username = "me"
    password = "${PAGER}"
    ca_file = "ca.pem"
    webhook = "${HOOK_URL}"
    secret = "correct-horse"
    resend = "30s"
    timeout = "2s"
    old_after = "1h"
    link = "http://127.0.0.1:8765/#series={series}"
    group_id = "own"
    """
    settings = loaded(tmp_path, keys)
    notify = settings.notify
    assert notify is not None
    assert notify.alertmanager == ("http://a:9093", "https://b/alerts")
    assert (notify.username, notify.ca_file, notify.group_id) == ("me", Path("ca.pem"), "own")
    assert str.__str__(notify.webhook or "") == "https://hooks.example.org/T0K3N/x?y=z"
    assert (notify.resend, notify.timeout) == (timedelta(seconds=30), timedelta(seconds=2))
    assert notify.old_after == timedelta(hours=1)
    shown = f"{settings!r}{notify!r}{describe(settings)}"
    assert not [secret for secret in ("hunter22", "T0K3N", "correct-horse") if secret in shown]
    assert "http://a:9093, https://b/alerts, webhook" in describe(settings)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("", '[notify] has no receiver: add alertmanager = "http://127.0.0.1:9093"'),
        ('alertmanager = "a:9093"', "notify.alertmanager = 'a:9093' must be text such as"),
        ('alertmanager = "http://me:pw123@a"', "without a user in it"),
        ('webhook = "ftp://hook"', "notify.webhook must be text such as"),
        ('webhook = "http://me:hidden@a/b"', '"${WEBHOOK_URL}", without a user in it'),
        ('alertmanager = "http://a"\nsecret = "s3cr3t"', "notify.secret signs what a webhook gets"),
        ('webhook = "http://hook"\npassword = "s3cr3t"', "notify.password is for an Alertmanager"),
        ('alertmanager = "http://a"\npassword = "s3cr3t"', "notify.password needs a user"),
        ('webhook = "http://hook"\nresend = "10ms"', "must be a duration from \"1s\" to \"1h\""),
        ('webhook = "http://hook"\nlink = "http://a/"', "must be an address with {series} in it"),
        ('webhook = "http://hook"\nlink = "{series}"', "must be an address with {series} in it"),
        ('webhook = "http://hook"\nbind = "9465"', "notify.bind = '9465' must be a host and"),
        ('webhok = "http://a"', "notify.webhok is not known; did you mean webhook?"),
        ('webhook = "${NOT_THERE}"', "needs the environment variable NOT_THERE"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, keys: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)) as caught:
        loaded(tmp_path, keys)
    assert "s3cr3t" not in str(caught.value)
    assert "pw123" not in str(caught.value)
