"""The library of compiled loops: found, up to date, or left alone with the reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ewma_ops.compiled import library, sources
from ewma_ops.compiled.make_powers import powers_header


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the sources, and no library."""
    for path in [*sources.FOLDER.glob("*.c"), *sources.FOLDER.glob("*.h")]:
        shutil.copy(path, tmp_path)
    return tmp_path


def test_where_there_is_a_compiler_the_tests_run_with_the_loops() -> None:
    if sources.compiler() is None or library.missing.startswith(library.SWITCH):
        pytest.skip("there is no C compiler, or the loops are switched off")
    assert library.kernels is not None, library.missing


def test_the_powers_of_ten_are_those_of_their_maker() -> None:
    assert (sources.FOLDER / "powers.h").read_text("ascii") == powers_header()


def test_without_a_library_it_says_so(folder: Path) -> None:
    assert library.load(folder, {}) == (None, "they were not compiled")


def test_a_switch_leaves_the_library_alone() -> None:
    assert library.load(environment={"EWMA_COMPILED": "off"}) == (None, "EWMA_COMPILED=off")


def test_a_damaged_library_is_left_alone(folder: Path) -> None:
    sources.library_path(folder).write_bytes(b"no library")
    kernels, why = library.load(folder, {})
    assert kernels is None
    assert "kernels.so" in why


@pytest.mark.skipif(library.kernels is None, reason=library.missing)
def test_a_library_of_other_sources_is_left_alone(folder: Path) -> None:
    shutil.copy(sources.library_path(), sources.library_path(folder))
    assert library.load(folder, {})[0] is not None
    with (folder / "text.c").open("a") as source:
        source.write("/* changed */")
    assert library.load(folder, {}) == (None, "they were compiled from other sources")


@pytest.mark.slow
def test_what_does_not_compile_says_why_and_replaces_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sources.compiler() is None:
        pytest.skip("there is no C compiler")
    target = sources.library_path(folder)
    target.write_bytes(b"old")
    assert "cannot be written" in (sources.compile_to(target / "below", folder) or "")
    (folder / "text.c").write_text("no C at all")
    assert "text.c" in (sources.compile_to(target, folder) or "")
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(sources, "find_spec", lambda _: None)
    assert "no C compiler" in (sources.compile_to(target, folder) or "")
    assert target.read_bytes() == b"old"
