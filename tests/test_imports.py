"""What a start imports: countable, where the time that it costs depends on the machine.

`tests.bench.bench_start` measures what a start takes.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"asyncio", "bytewax", "kafka", "msgspec", "numpy", "prometheus_client", "pyarrow", "ssl"}


PACKAGES = ("ewma_ops", "ewma_ops.table", "ewma_ops.connectors")


def _imported(*steps: str) -> list[set[str]]:
    """Return what is imported after each step of a new interpreter."""
    told = "\nprint('>', *sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{told.join(steps)}{told}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = [set(line.split()[1:]) for line in done.stdout.splitlines() if line.startswith(">")]
    assert len(found) == len(steps)
    return found


def test_arguments_are_read_without_what_the_commands_need() -> None:
    commands = [["--help"], ["run", "--help"], ["design", "--help"], ["no"]]
    read = "try:\n main({})\nexcept SystemExit:\n pass"
    found = _imported(
        "from ewma_ops.commands.cli import main", *(read.format(each) for each in commands)
    )
    assert "ewma_ops.commands.cli" in found[0]
    for command, modules in zip([[], *commands], found, strict=True):
        assert not HEAVY & modules, command


@pytest.mark.slow
def test_a_launcher_imports_no_more_of_the_engine_than_the_recovery_store_needs() -> None:
    (found,) = _imported(
        "import ewma_ops.job.launcher, ewma_ops.job.lookups, ewma_ops.settings.load"
    )
    assert "ewma_ops.job.launcher" in found
    assert not {"asyncio", "bytewax.inputs", "ewma_ops.operators", "ewma_ops.job.worker"} & found


@pytest.mark.slow
def test_a_package_looks_its_names_up_when_they_are_used() -> None:
    use = "import {0}; [getattr({0}, name) for name in {0}.__all__]"
    before, root, table, connectors = _imported(
        f"import {', '.join(PACKAGES)}", *(use.format(package) for package in PACKAGES)
    )
    assert set(PACKAGES) <= before
    assert "numpy" not in before
    assert "numpy" in root
    assert "bytewax" not in table
    assert "bytewax" in connectors


@pytest.mark.parametrize("enabled", [True, False])
def test_imports_are_made_without_collections_and_not_looked_at_later(*, enabled: bool) -> None:
    script = """
import gc, sys
from ewma_ops.lazy import importing
gc.enable() if {enabled} else gc.disable()
collections = []
gc.callbacks.append(lambda phase, _: collections.append(phase))
try:
    with importing():
        import ewma_ops.job.launcher
        seen = gc.isenabled(), len(collections)
        1 / 0
except ZeroDivisionError:
    print(*seen, gc.isenabled(), gc.get_freeze_count())
with importing():
    pass
print(gc.get_freeze_count() > 10_000, gc.isenabled(), len(gc.get_objects()) < 1_000)
"""
    done = subprocess.run(
        [sys.executable, "-c", script.format(enabled=enabled)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.split() == ["False", "0", str(enabled), "0", "True", str(enabled), "True"]


def test_commands_import_what_they_need_without_collections() -> None:
    """What a check of an argument, or a table in the terminal, imports more is little."""
    small = {"_bind", "_past", "_top", "_top_elsewhere", "_look", "_print"}
    for name in ("cli", "watch"):
        tree = ast.parse((Path(__file__).parents[1] / f"ewma_ops/commands/{name}.py").read_text())
        inside = {
            one
            for block in ast.walk(tree)
            if isinstance(block, ast.With) and "importing()" in ast.unparse(block.items[0])
            for one in block.body
        }
        assert inside
        for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
            imported = {one for one in ast.walk(function) if isinstance(one, ast.ImportFrom)}
            assert function.name in small or imported <= inside, function.name


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_looked_up_is_what_type_checkers_are_told(package: str) -> None:
    tree = ast.parse(Path(str(importlib.import_module(package).__file__)).read_text())
    (choice,) = [node for node in tree.body if isinstance(node, ast.If)]
    told = {
        str(node.module): [alias.name for alias in node.names]
        for node in choice.body
        if isinstance(node, ast.ImportFrom)
    }
    (assigned,) = choice.orelse
    assert isinstance(assigned, ast.Assign)
    assert isinstance(assigned.value, ast.Call)
    assert ast.literal_eval(assigned.value.args[1]) == told


def test_a_name_that_is_not_there_is_said_to_be_missing() -> None:
    import ewma_ops

    with pytest.raises(AttributeError, match=r"module 'ewma_ops' has no attribute 'Nothing'"):
        ewma_ops.Nothing  # type: ignore[attr-defined]  # noqa: B018
