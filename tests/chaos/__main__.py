"""``make chaos``: more than 500 kills in every mode, moves, and the controls that must fail.

    make chaos ARGS="--share 0.1"      a tenth of the kills
    make chaos ARGS="--soak 30"        instead: 30 minutes at a steady rate, a kill each minute
    make chaos ARGS="--seed 7"         the same again

Prints a line for each run, with what repeats it, and what was done to it how often.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.chaos.harness import ROUGH, Surroundings, run, surroundings
from tests.chaos.job import Plan
from tests.chaos.judge import Verdict
from tests.chaos.steady import ROUND_TRIP, rescale, soak

FENCED = (*ROUGH, "zombie")
MOVES = (*ROUND_TRIP, 1, 1)
"""There and back, and two restarts."""

Run = Callable[[Surroundings, Path, Plan], Verdict]


def campaign(seed: int, share: float) -> list[Plan]:
    """Return what is run; together more than 500 kills, where ``share`` is 1."""
    rows = [
        Plan(0, 110),
        Plan(0, 50, interval="0s"),
        Plan(0, 110, "kafka", actions=ROUGH),
        Plan(0, 60, "kafka", actions=ROUGH, late_s=0.6),
        Plan(0, 40, "kafka", actions=ROUGH, interval="0s"),
        Plan(0, 20, "kafka", lag_s=0.6),
        Plan(0, 80, "kafka", actions=FENCED, late_s=0.6, delivery="transactional"),
        Plan(0, 30, "kafka", actions=FENCED, lag_s=2.0, delivery="transactional"),
        Plan(0, 30, "kafka", delivery="transactional", interval="0s"),
    ]
    return [
        dataclasses.replace(plan, seed=seed + i, kills=round(plan.kills * share))
        for i, plan in enumerate(rows)
    ]


def controls(seed: int) -> list[Plan]:
    """Return runs that are broken on purpose: the harness must see it."""
    dying = Plan(seed, 10, p=1.0, steps=["send"], actions=["nothing"], workers=[2])
    return [
        dataclasses.replace(dying, control="no de-duplication"),
        dataclasses.replace(dying, control="highest offset"),
        Plan(seed, 60, control="no purge", interval="0s"),
    ]


class Report:
    """Says what is done, as it is done, and counts."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.kills: Counter[str] = Counter()
        self.wrong = 0

    def tell(self, line: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
        print(f"[{minutes:3}:{seconds:02}] {line}", flush=True)

    def do(self, plan: Plan, what: Run) -> Verdict:
        """Do one run in a directory of its own, which stays where it is wrong."""
        directory = Path(tempfile.mkdtemp(prefix="chaos-"))
        with surroundings(plan, directory) as around:
            verdict = what(around, directory / "run", plan)
        self.kills[f"{plan.broker}, {plan.delivery}, interval {plan.interval}"] += verdict.kills
        as_wanted = verdict.right != bool(plan.control)
        if as_wanted:
            shutil.rmtree(directory)
        else:
            self.wrong += 1
            self.tell(f"NOT AS IT MUST BE; what is left of it: {directory}")
        return verdict


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make chaos", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--share", type=float, default=1.0, help="of the kills")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="a kill each minute")
    parser.add_argument("--rate", type=int, default=1000, help="readings a second, of the soak")
    options = parser.parse_args()
    report = Report()
    report.tell(f"seed {options.seed}")
    if options.soak is not None:
        soak_it(report, options.seed, options.soak, options.rate)
    else:
        hurt_it(report, options.seed, options.share)
    for mode, kills in sorted(report.kills.items()):
        report.tell(f"{kills:4} kills: {mode}")
    report.tell(f"{report.kills.total()} kills, {report.wrong} runs not as they must be")
    return 1 if report.wrong else 0


def hurt_it(report: Report, seed: int, share: float) -> None:
    for plan in campaign(seed, share):
        report.tell(f"{plan}, {plan.kills} kills ...")
        verdict = report.do(plan, run)
        report.tell(f"{plan}: {verdict}\n{verdict.details()}")
    for delivery in ("exactly-once", "transactional"):
        plan = Plan(seed, 0, "kafka", delivery=delivery, p=0.0)
        verdict = report.do(plan, lambda a, d, p: rescale(a, d, p, report.tell, MOVES))
        report.tell(f"{plan}, moved: {verdict}")
    for plan in controls(seed):
        verdict = report.do(plan, run)
        seen = "NOT seen, and must be" if verdict.right else "seen, as it must be"
        report.tell(f"{plan}: {seen}: {verdict}")


def soak_it(report: Report, seed: int, minutes: float, rate: int) -> None:
    plan = Plan(seed, 0, "kafka", rate=rate, p=0.0)
    verdict = report.do(plan, lambda a, d, p: soak(a, d, p, report.tell, minutes))
    report.tell(f"{plan}, {minutes:g} minutes at {rate} readings/s: {verdict}")


if __name__ == "__main__":
    sys.exit(main())
