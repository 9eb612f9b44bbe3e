"""Which tests a worker of pytest-xdist runs together, and which come first.

What takes long in one piece comes first, then what starts programs and waits for them; tests that
need nothing but the processor fill the gaps at the end, those that are marked slow before others.
"""

from __future__ import annotations

from pathlib import PurePath

from xdist.scheduler import LoadScopeScheduling

__all__ = ["Scheduling", "rank", "unit"]

_WAITING = ("commands", "connectors", "flows", "helpers", "job")
"""Folders of tests whose time goes into starts and waits."""

_LONG = "test_chaos.py"
"""Its tests take longest, each by itself."""

_WHOLE = ("demo", "test_apicurio.py", "test_packaging.py", "test_pandas_own.py")
"""Folders and files whose tests load the machine as it is, or share something that is costly."""

_CLUSTER = "test_cluster.py"
"""Files by this name share the one cluster of three brokers, so one worker runs them all."""

_SHARED = ("test_layers.py",)
"""Files whose tests share what costs more than they do."""

_ORACLES = "test_oracles.py"
"""Its tests by the same rules share what comes out by definition; the last parameter is the cut."""


def unit(nodeid: str) -> str:
    """Return the name of what is run by one worker, in order: most tests are by themselves."""
    file = _file(nodeid)
    if file.name == _CLUSTER:
        return _CLUSTER
    if _is_whole(file) or file.name in _SHARED:
        return str(file)
    return nodeid.rpartition("-")[0] or nodeid if file.name == _ORACLES else nodeid


def rank(nodeid: str, fixtures: set[str], *, slow: bool = False) -> int:
    """Return where a test stands in the order of all: the lowest number comes first."""
    file = _file(nodeid)
    kinds = [
        file.name == _CLUSTER,
        file.name == _LONG,
        _is_whole(file),
        bool(fixtures & {"restartable_kafka", "kafka_of_properties"}),
        bool(fixtures & {"broker", "kafka", "kafka_sasl", "own_kafka"}),
        file.parts[0] == "tests" and file.parts[1] in _WAITING,
        slow,
        True,
    ]
    return kinds.index(True)


def _file(nodeid: str) -> PurePath:
    return PurePath(nodeid.partition("::")[0])


def _is_whole(file: PurePath) -> bool:
    return file.parts[0] == "tests" and any(part in _WHOLE for part in file.parts[1:])


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out units in the order of the collection."""

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)
