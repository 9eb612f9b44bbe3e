"""What a start imports: countable, where the time that it costs depends on the machine.

`tests.bench.bench_start` measures what a start takes.
"""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"asyncio", "bytewax", "kafka", "msgspec", "numpy", "prometheus_client", "pyarrow", "ssl"}


def _imported(code: str) -> set[str]:
    script = f"import sys, json\ntry:\n {code}\nfinally:\n print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["design", "--help"], ["no"]])
def test_arguments_are_read_without_what_the_commands_need(arguments: list[str]) -> None:
    found = _imported(f"from ewma_ops.commands.cli import main; main({arguments})")
    assert "ewma_ops.commands.cli" in found
    assert not HEAVY & found


def test_a_launcher_imports_no_more_of_the_engine_than_the_recovery_store_needs() -> None:
    found = _imported("import ewma_ops.job.launcher, ewma_ops.job.lookups, ewma_ops.settings.load")
    assert "ewma_ops.job.launcher" in found
    assert not {"asyncio", "bytewax.inputs", "ewma_ops.operators", "ewma_ops.job.worker"} & found


@pytest.mark.parametrize("package", ["ewma_ops", "ewma_ops.table", "ewma_ops.connectors"])
def test_a_package_looks_its_names_up_when_they_are_used(package: str) -> None:
    assert "numpy" not in _imported(f"import {package}")
    found = _imported(f"import {package} as p; [getattr(p, name) for name in p.__all__]")
    assert "numpy" in found
    assert ("bytewax" in found) == (package == "ewma_ops.connectors")


@pytest.mark.parametrize("package", ["ewma_ops", "ewma_ops.table", "ewma_ops.connectors"])
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
