"""Tests that ask for ``way`` run both ways that records can go through kafka-python."""

from __future__ import annotations

import logging

import pytest

from ewma_ops.connectors.client import exchange


@pytest.fixture(params=["runs", "one by one"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have records go through kafka-python in whole runs, or one by one."""
    if request.param == "one by one":
        monkeypatch.setattr(exchange, "_incompatibilities", lambda _: ["a test asks for it"])
        monkeypatch.setattr(exchange._log, "level", logging.ERROR)
        monkeypatch.setattr(exchange._log, "_cache", {})  # of what the level lets through
    way: str = request.param
    return way
