"""``make chaos``: more than 500 kills in every mode, and the controls that must fail.

Prints one line for each run. A run is repeated by its seed: ``python -m tests.chaos.harness``.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.harness import Plan, Verdict, run, surroundings

ROUGH = (*Plan.actions, "broker", "answers", "answers")


def campaign(seed: int, share: float) -> list[tuple[str, float, Plan]]:
    """Return what is run: the broker, by how much requests are late, and the plan."""
    rows = [
        ("embedded", 0.0, Plan(0, 120)),
        ("embedded", 0.0, Plan(0, 60, interval="0s")),
        ("kafka", 0.0, Plan(0, 120, actions=ROUGH)),
        ("kafka", 0.6, Plan(0, 60, actions=ROUGH)),
        ("kafka", 0.0, Plan(0, 40, actions=ROUGH, interval="0s")),
        ("kafka", 0.0, Plan(0, 20, lag_s=0.6)),
        ("kafka", 0.6, Plan(0, 80, actions=ROUGH, delivery="transactional")),
        ("kafka", 0.0, Plan(0, 20, delivery="transactional", interval="0s")),
    ]
    return [
        (broker, late_s, dataclasses.replace(plan, seed=seed + i, kills=round(plan.kills * share)))
        for i, (broker, late_s, plan) in enumerate(rows)
    ]


def controls(seed: int) -> list[Plan]:
    """Return runs that are broken on purpose: the harness must see it."""
    dying = Plan(seed, 10, p=1.0, steps=["send"], actions=["nothing"], workers=[2])
    return [
        dataclasses.replace(dying, control="no de-duplication"),
        dataclasses.replace(dying, control="highest offset"),
        Plan(seed, 60, control="no purge", interval="0s"),
    ]


def one(broker: str, late_s: float, plan: Plan) -> Verdict:
    """Do one run in a directory of its own, which stays where it is wrong."""
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    with surroundings(broker, directory, plan.seed, late_s) as (bootstrap, hurts):
        verdict = run(bootstrap, directory / "run", plan, hurts)
    if verdict.right:
        shutil.rmtree(directory)
    else:
        verdict.failed += f" (see {directory})"
    return verdict


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--share", type=float, default=1.0, help="of the kills")
    options = parser.parse_args()
    kills, wrong = 0, 0
    for broker, late_s, plan in campaign(options.seed, options.share):
        verdict = one(broker, late_s, plan)
        kills, wrong = kills + verdict.kills, wrong + (not verdict.right)
        name = f"seed {plan.seed}, {broker}, {plan.delivery}, interval {plan.interval}"
        print(f"{name}, late {late_s:g} s, lag {plan.lag_s:g} s: {verdict}", flush=True)
    for plan in controls(options.seed):
        verdict = one("embedded", 0.0, plan)
        wrong += verdict.right
        seen = "not seen, and must be" if verdict.right else "seen, as it must be"
        print(f"control, {plan.control}: {seen}: {verdict}", flush=True)
    print(f"{kills} kills, {wrong} runs not as they must be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
