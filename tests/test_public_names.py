"""The public API by name: what may be imported, and what a rename would break."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
COMPOSITES = {"Composite", "bollinger", "dema", "macd", "risk_metrics", "tema"}
ERRORS = {"BrokerError", "ConfigError", "CorruptBatch", "DeliveryError", "DiskError", "EwmaError"}
ERRORS |= {"ReadingError", "RefusedError", "RegistryError", "StateError", "TopicError"}

PUBLIC = {
    "ewma_ops": {
        *("Decay", "Smoothing", "Reading", "Readings", "Smoothed", "SmoothedReading"),
        *("SeriesTable", "History", "EwmaError", "__version__"),
        *COMPOSITES,
    },
    "ewma_ops.operators": {"smooth", "smooth_batches", "watch"},
    "ewma_ops.composites": COMPOSITES,
    "ewma_ops.history": {"History"},
    "ewma_ops.monitor": {
        *(
            "AlarmRules",
            "Bounds",
            "Change",
            "Design",
            "Flat",
            "Frozen",
            "Given",
            "Level",
            "Spike",
            "Spread",
            "Stale",
            "Transition",
            "Transitions",
            "design",
        ),
    },
    "ewma_ops.table": {"SeriesTable", "TableSnapshot"},
    "ewma_ops.errors": ERRORS,
    "ewma_ops.testing": {"Record", "Result", "read_records", "run_dataflow", "run_job", "timed"},
    "ewma_ops.connectors": {
        *("KafkaSink", "KafkaSource", "create_topic", "part_key", "partition_count"),
    },
}
"""Every module that users may import from, and all that they may import from it."""

DOCUMENTS = [REPOSITORY / "README.md"]
DOCUMENTS += sorted((REPOSITORY / "docs").glob("*.md"))


@pytest.mark.parametrize("module", PUBLIC)
def test_a_public_module_has_its_names_and_no_others(module: str) -> None:
    found = importlib.import_module(module)
    assert {name for name in found.__all__ if not name.isupper()} == PUBLIC[module]
    assert not [name for name in found.__all__ if not hasattr(found, name)]


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_explained(module: str) -> None:
    found = importlib.import_module(module)
    unexplained = [
        name for name in found.__all__ if not (getattr(found, name).__doc__ or "").strip()
    ]
    assert found.__doc__
    assert not unexplained


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_import_public_names_only(document: Path) -> None:
    text = document.read_text("utf-8")
    found = re.findall(r"^(?:>>> )?from (ewma_ops[\w.]*) import (.+)$", text, re.MULTILINE)
    modules = re.findall(r"^(?:>>> )?import (ewma_ops[\w.]*)", text, re.MULTILINE)
    assert found or modules or document.parent.name == "docs"
    assert not set(modules) - set(PUBLIC)
    for module, names in found:
        assert set(names.strip("()").split(", ")) <= PUBLIC[module]


def test_every_public_name_is_used_in_the_typing_example() -> None:
    """``tests/typing/api.py`` uses the API as a user would; mypy strict checks it."""
    tree = ast.parse((REPOSITORY / "tests" / "typing" / "api.py").read_text("utf-8"))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    used |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not set().union(*PUBLIC.values()) - used


def test_the_root_needs_no_engine_and_no_broker() -> None:
    script = (
        "import sys, ewma_ops; [getattr(ewma_ops, name) for name in ewma_ops.__all__];"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not {"bytewax", "kafka", "pyarrow", "prometheus_client"} & set(done.stdout.split())
