"""A sample of ``make chaos`` on several hosts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.chaos.__main__ import WAKING
from tests.chaos.harness import HOSTED, run, surroundings
from tests.chaos.sample import check, sample
from tests.chaos.scene import Surroundings
from tests.helpers.namespaces import NamespacesUnavailableError, namespaces

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(900)]


def test_on_two_hosts(tmp_path: Path) -> None:
    plan = sample(13, 3, hosts=2, actions=HOSTED, p=0.2)
    with surroundings(plan, tmp_path) as around:
        check(run(around, tmp_path / "run", plan), plan)


@pytest.mark.parametrize("control", ["", "no fence"])
def test_a_host_that_wakes_is_kept_out_by_the_fence_alone(
    kafka: str, tmp_path: Path, control: str
) -> None:
    try:
        with namespaces(kafka, []):
            pass
    except NamespacesUnavailableError as error:
        pytest.skip(str(error))
    plan = dataclasses.replace(WAKING, seed=14, blows=1, rate=200, control=control)
    verdict = run(Surroundings(kafka), tmp_path, plan)
    if control:
        assert verdict.doubled > 0
    else:
        check(verdict, plan)
        assert verdict.hurts["host that woke, ended by itself"] == 1
