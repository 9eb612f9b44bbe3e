"""Programs from the system's packages that tests run: a browser, Prometheus, Alertmanager.

A test that needs one is skipped with the reason where there is none, and fails there with
``EWMA_REQUIRE_SERVERS=1``, as `.ci/run` sets it.
"""

from __future__ import annotations

import os
import shutil

import pytest

__all__ = ["ALERTMANAGER", "AMTOOL", "BROWSER", "PROMETHEUS", "PROMTOOL", "installed", "required"]

BROWSER = ("chromium", "chromium-browser", "google-chrome")
PROMETHEUS = ("prometheus",)
PROMTOOL = ("promtool",)
ALERTMANAGER = ("prometheus-alertmanager", "alertmanager")
AMTOOL = ("amtool",)


def installed(names: tuple[str, ...]) -> str | None:
    """Return the path of the first of these programs that is installed."""
    return next((path for path in map(shutil.which, names) if path is not None), None)


def required(names: tuple[str, ...]) -> str:
    """Return the path of the first of these programs that is installed, or skip the test."""
    if (path := installed(names)) is not None:
        return path
    reason = f"no {' or '.join(names)} here: .ci/run says which packages have it"
    if os.environ.get("EWMA_REQUIRE_SERVERS"):
        pytest.fail(f"{reason}, and it is required (EWMA_REQUIRE_SERVERS is set)")
    pytest.skip(reason)
