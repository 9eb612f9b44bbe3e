"""A sample of ``make chaos``: the real job, hurt a few times in each way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.harness import Plan, run, surroundings

ROUGH = (*Plan.actions, "broker", "answers")

pytestmark = pytest.mark.timeout(300)


def check(directory: Path, broker: str, plan: Plan, late_s: float = 0.0) -> None:
    with surroundings(broker, directory, plan.seed, late_s) as (bootstrap, hurts):
        verdict = run(bootstrap, directory / "run", plan, hurts)
    assert verdict.right, f"{plan}: {verdict}"
    assert verdict.readings > 0


def test_on_the_embedded_broker(tmp_path: Path) -> None:
    check(tmp_path, "embedded", Plan(1, kills=3, seconds=20))


@pytest.mark.usefixtures("own_kafka")  # skips where there is none
def test_on_apache_kafka(tmp_path: Path) -> None:
    check(tmp_path, "kafka", Plan(2, kills=4, seconds=25, actions=ROUGH), late_s=0.5)


@pytest.mark.usefixtures("own_kafka")
def test_transactions_on_apache_kafka(tmp_path: Path) -> None:
    check(tmp_path, "kafka", Plan(3, kills=3, seconds=20, delivery="transactional"))


def test_without_the_ledger_the_harness_sees_doubles(tmp_path: Path) -> None:
    """A control: a harness that cannot fail proves nothing."""
    plan = Plan(4, kills=3, seconds=60, p=1.0, steps=["send"], workers=[1], actions=["nothing"])
    plan.control = "no de-duplication"
    with surroundings("embedded", tmp_path, plan.seed) as (bootstrap, hurts):
        assert run(bootstrap, tmp_path / "run", plan, hurts).doubled > 0
