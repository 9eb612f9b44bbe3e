"""The files of the page: small, of this server alone, and vendored ones as they were published."""

from __future__ import annotations

import gzip
import hashlib
import re

from ewma_ops.watch.pages import STATIC

VENDOR = STATIC / "vendor"


def test_what_is_vendored_is_what_was_published_and_has_its_licence() -> None:
    sums = dict(line.split()[::-1] for line in (VENDOR / "SHA256SUMS").read_text().splitlines())
    assert sums["uplot-1.6.32.min.js"].startswith("19c8d4c6")
    for name, sha256 in sums.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == sha256
    files = {path.name for path in VENDOR.iterdir()}
    assert files == {*sums, "SHA256SUMS", "LICENSE.uplot"}
    assert "MIT License" in (VENDOR / "LICENSE.uplot").read_text()


def test_the_page_is_small() -> None:
    files = [path for path in STATIC.rglob("*") if path.suffix in (".js", ".css")]
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) < 60_000
    own = [path for path in files if path.parent == STATIC and path.suffix == ".js"]
    assert sum(len(path.read_text().splitlines()) for path in own) < 1_200


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    for path in [*STATIC.glob("*.js"), *STATIC.glob("*.css"), *STATIC.glob("*.html")]:
        text = path.read_text("utf-8")
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), path
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    page = (STATIC / "index.html").read_text("utf-8")
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*src=)", page)
