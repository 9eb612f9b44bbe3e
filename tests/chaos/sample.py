"""What the sample of ``make chaos`` in the suite has in common."""

from __future__ import annotations

from functools import partial

from tests.chaos.judge import Verdict
from tests.chaos.plan import Plan

sample = partial(Plan, rate=200)
"""A plan whose readings a test's own producer sends at little cost."""

KILLED = ("worker", "worker", "launcher", "stop", "pause", "answers")


def check(verdict: Verdict, plan: Plan) -> None:
    assert verdict.right, f"{plan}: {verdict}"
    assert verdict.readings > 0
