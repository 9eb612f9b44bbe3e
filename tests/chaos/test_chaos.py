"""A sample of ``make chaos``: the real job, hurt a few times in each way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.harness import behind, run, surroundings
from tests.chaos.plan import Plan
from tests.chaos.sample import KILLED, check, sample
from tests.chaos.scene import Surroundings
from tests.chaos.steady import LONGEST_GAP_S, LONGEST_STOP_S, rescale
from tests.helpers.brokers import ApacheKafka
from tests.helpers.patience import slowness_during

pytestmark = [pytest.mark.broker, pytest.mark.timeout(900)]


@pytest.mark.parametrize("interval", ["1s", "0s"])
def test_on_the_embedded_broker(tmp_path: Path, interval: str) -> None:
    plan = sample(1, blows=3, interval=interval)
    with surroundings(plan, tmp_path) as around:
        check(run(around, tmp_path / "run", plan), plan)


def test_on_a_full_disk(tmp_path: Path) -> None:
    plan = sample(9, 2, once=("full disk",), p=0.0, workers=(1,))
    with surroundings(plan, tmp_path) as around:
        check(run(around, tmp_path / "run", plan), plan)


def test_with_a_limit_that_is_lowered(kafka: str, tmp_path: Path) -> None:
    """The job stops and says what to raise; then nothing is lost."""
    plan = sample(10, 2, "kafka", once=("lower limit",), p=0.0, workers=(1,))
    verdict = run(Surroundings(kafka), tmp_path, plan)
    check(verdict, plan)
    assert verdict.hurts["lower limit"] == 1


def test_on_apache_kafka(restartable_kafka: ApacheKafka, tmp_path: Path) -> None:
    plan = sample(2, 4, "kafka", late_s=0.5, actions=(*KILLED, "broker"))
    with behind(restartable_kafka, plan.seed) as around:
        check(run(around, tmp_path, plan), plan)


@pytest.mark.parametrize(
    "plan",
    [
        sample(3, 3, "kafka", late_s=0.6, delivery="transactional"),
        sample(4, 2, "kafka", lag_s=2.0, delivery="transactional", interval="0s"),
    ],
    ids=str,
)
def test_transactions_on_apache_kafka(kafka: str, tmp_path: Path, plan: Plan) -> None:
    with behind(kafka, plan.seed) as around:
        check(run(around, tmp_path, plan), plan)


@pytest.mark.parametrize("delivery", ["exactly-once", "transactional"])
def test_a_zombie_without_a_lock(kafka: str, tmp_path: Path, delivery: str) -> None:
    """Its successor has a copy of the store, as on another machine: only a fence keeps it out."""
    plan = sample(5, blows=1, p=0, delivery=delivery, actions=["zombie"], workers=[1])
    if delivery == "transactional":
        # On a busy machine a zombie may be awake before its successor has begun to write.
        for attempt in range(3):
            verdict = run(Surroundings(kafka), tmp_path / str(attempt), plan)
            check(verdict, plan)
            if verdict.hurts["zombie, fenced"]:
                break
        assert verdict.hurts["zombie, fenced"] > 0
    else:
        verdict = run(Surroundings(kafka), tmp_path, plan)
        assert verdict.doubled > 0
        assert "another run of this job" in (tmp_path / "job.log").read_text()


def test_moving_between_numbers_of_processes(kafka: str, tmp_path: Path) -> None:
    plan = sample(6, p=0.0)
    with slowness_during() as slowest:
        verdict = rescale(Surroundings(kafka), tmp_path, plan, print)
    check(verdict, plan)
    assert verdict.slowest_stop_s < LONGEST_STOP_S * slowest()
    assert verdict.longest_gap_s < LONGEST_GAP_S * slowest()


def test_without_the_ledger_the_harness_sees_doubles(tmp_path: Path) -> None:
    """A control: a harness that cannot fail proves nothing."""
    plan = sample(7, blows=3, p=1.0, steps=["send"], workers=[1], actions=["nothing"])
    plan.control = "no de-duplication"
    with surroundings(plan, tmp_path) as around:
        assert run(around, tmp_path / "run", plan).doubled > 0


def test_alarms_are_those_of_an_uninterrupted_run(tmp_path: Path) -> None:
    plan = Plan(11, blows=3, p=1.0, steps=["send", "ack"], alarms=True)
    with surroundings(plan, tmp_path) as around:
        verdict = run(around, tmp_path / "run", plan)
    check(verdict, plan)
    assert verdict.alarms > 0


def test_with_the_identity_of_readings_alarms_are_lost(tmp_path: Path) -> None:
    """A control: two alarms of one reading are two records."""
    plan = Plan(12, blows=1, p=1.0, steps=["send"], workers=[1], actions=["nothing"], alarms=True)
    plan.control = "identity without rule and series"
    with surroundings(plan, tmp_path) as around:
        assert run(around, tmp_path / "run", plan).doubled > 0
