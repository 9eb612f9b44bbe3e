from __future__ import annotations

import pytest

from tests.helpers.distribution import rank, unit

ORACLES = "tests/oracles/test_oracles.py::"
DATAFLOW = "tests/job/test_dataflow.py::"


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("tests/job/test_cluster.py::a", "tests/chaos/test_cluster.py::b", True),
        ("tests/chaos/test_chaos.py::a", "tests/chaos/test_chaos.py::b[1-x]", False),
        ("tests/demo/test_run.py::a", "tests/demo/test_run.py::b", True),
        ("tests/test_layers.py::a", "tests/test_layers.py::b", True),
        ("tests/test_packaging.py::a", "tests/test_packaging.py::b", True),
        (f"{DATAFLOW}a[embedded]", f"{DATAFLOW}a[kafka]", False),
        (f"{ORACLES}a[x-step]", f"{ORACLES}a[x-cuts]", True),
        (f"{ORACLES}a[x-step]", f"{ORACLES}a[y-step]", False),
        (f"{ORACLES}a", f"{ORACLES}b", False),
        ("ewma_ops/demo/data.py::a", "ewma_ops/demo/data.py::b", False),
    ],
)
def test_what_one_worker_runs(one: str, other: str, together: bool) -> None:
    assert (unit(one) == unit(other)) == together


def test_what_takes_longest_comes_first() -> None:
    order = [
        ("tests/job/test_cluster.py::a", {"kafka_cluster"}),
        ("tests/chaos/test_chaos.py::a", {"kafka"}),
        ("tests/demo/test_run.py::a", {"embedded"}),
        ("tests/job/test_dataflow.py::a", {"restartable_kafka", "tmp_path"}),
        ("tests/wire/test_on_brokers.py::a", {"broker"}),
        ("tests/job/test_launcher.py::a", {"tmp_path"}),
        ("tests/stats/test_decay.py::a", set[str]()),
    ]
    places = [rank(*test) for test in order]
    places.insert(-1, rank("tests/table/test_parting.py::a", set(), slow=True))
    assert places == sorted(set(places))
