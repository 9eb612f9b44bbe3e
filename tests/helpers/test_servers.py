"""A test that needs a program is skipped where there is none, or fails where it is required."""

from __future__ import annotations

import shutil

import pytest

from tests.helpers.servers import required


def test_the_first_that_is_installed_is_taken() -> None:
    assert required(("no-such-server", "sh")) == shutil.which("sh")


def test_a_missing_program_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EWMA_REQUIRE_SERVERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"no no-such-server or none here: \.ci/run"):
        required(("no-such-server", "none"))
    monkeypatch.setenv("EWMA_REQUIRE_SERVERS", "1")
    with pytest.raises(pytest.fail.Exception, match="EWMA_REQUIRE_SERVERS is set"):
        required(("no-such-server", "none"))
