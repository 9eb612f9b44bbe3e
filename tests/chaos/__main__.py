"""``make chaos``: every kind of kill and hurt, in every mode, moves, and controls that must fail.

    make chaos ARGS="--share 0.1"      a tenth of the kills and hurts
    make chaos ARGS="--only modes"     one campaign: modes, hurts, cluster, alarms, hosts, moves,
                                       controls
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

from tests.chaos.harness import BROKERS, CLUSTERED, HOSTED, ROUGH, run, surroundings
from tests.chaos.judge import Verdict
from tests.chaos.plan import Plan
from tests.chaos.scene import Surroundings
from tests.chaos.steady import ROUND_TRIP, rescale, soak

FENCED = (*ROUGH, "zombie")
MOVES = (*ROUND_TRIP, 1, 1)
"""There and back, and two restarts."""

Run = Callable[[Surroundings, Path, Plan], Verdict]


MODES = [
    Plan(0, 150),
    Plan(0, 70, interval="0s"),
    Plan(0, 150, "kafka", actions=ROUGH),
    Plan(0, 80, "kafka", actions=ROUGH, late_s=0.6),
    Plan(0, 60, "kafka", actions=ROUGH, interval="0s"),
    Plan(0, 30, "kafka", lag_s=0.6),
    Plan(0, 110, "kafka", actions=FENCED, late_s=0.6, delivery="transactional"),
    Plan(0, 40, "kafka", actions=FENCED, lag_s=2.0, delivery="transactional"),
    Plan(0, 40, "kafka", delivery="transactional", interval="0s"),
]
"""Together more than 500 kills."""

BOUNDARIES = (
    "damaged snapshot",
    "input partition",
    "output partition",
    "input again",
    "output again",
    "letters again",
    "bomb",
    "long ids",
    "blocked log",
    "closed log",
    "clock",
    "garbage",
    "lower limit",
    "full disk",
)
"""What a job must survive or stop at with the right sentence; all of it is in ``hurts.HURTS``."""

ALL = (*BROKERS, *BOUNDARIES)
CLUSTER = [
    Plan(0, 300, "cluster", 5400.0, 300, actions=CLUSTERED, once=ALL, check_every=50),
    Plan(
        0,
        100,
        "cluster",
        2700.0,
        300,
        delivery="transactional",
        actions=(*CLUSTERED, "zombie"),
        once=(*BROKERS, "lower limit", "full disk"),
        check_every=25,
    ),
]
"""Each in one run, to its end; the first has 300 kills and hurts."""

HURTS = [
    Plan(0, 0, "kafka", actions=("worker", "pause"), once=(name,), check_every=5)
    for name in BOUNDARIES
]
"""One of each alone, so that it is plain which one does harm."""

ALARMS = [
    Plan(0, 100, alarms=True),
    Plan(0, 100, "kafka", actions=ROUGH, late_s=0.6, alarms=True),
    Plan(0, 40, "kafka", actions=FENCED, late_s=0.6, delivery="transactional", alarms=True),
]
"""Transitions of alarms: each once, with the bytes of a run that nothing happened to."""

HOSTS = [
    Plan(0, 60, hosts=2, actions=HOSTED, p=0.2),
    Plan(0, 70, "kafka", hosts=3, actions=HOSTED, p=0.2, late_s=1.5),
    Plan(0, 30, "kafka", hosts=2, actions=(*HOSTED, "successor"), p=0.2, interval="30s"),
    Plan(0, 40, "kafka", hosts=3, actions=HOSTED, p=0.2, delivery="transactional"),
]
"""One job on several hosts. What the dead have sent is appended later than the flow waits for it,
and a host that wakes may go on for half a minute: only fences keep both out. Fewer processes die by
themselves than elsewhere, since the death of any is that of the run of all hosts."""

CAMPAIGNS = {
    "modes": MODES,
    "hurts": HURTS,
    "cluster": CLUSTER,
    "alarms": ALARMS,
    "hosts": HOSTS,
}


WAKING = Plan(0, 3, "kafka", hosts=2, actions=("successor",), interval="1h", p=0.0)
"""A host that wakes beside the one that has its place, and goes on until an epoch ends."""


def drawn(plans: list[Plan], seed: int, share: float) -> list[Plan]:
    """Return plans with seeds of their own, and a share of their kills and hurts."""
    return [
        dataclasses.replace(
            plan,
            seed=seed + i,
            blows=max(len(plan.once) + 1, round(plan.blows * share)),
        )
        for i, plan in enumerate(plans)
    ]


def controls(seed: int) -> list[Plan]:
    """Return runs that are broken on purpose: the harness must see it."""
    dying = Plan(seed, 10, p=1.0, steps=["send"], actions=["nothing"], workers=[2])
    return [
        dataclasses.replace(dying, control="no de-duplication"),
        dataclasses.replace(dying, control="highest offset"),
        Plan(seed, 60, control="no purge", interval="0s"),
        dataclasses.replace(dying, control="identity without rule and series", alarms=True),
        dataclasses.replace(WAKING, seed=seed, control="no fence"),
    ]


class Report:
    """Says what is done, as it is done, and counts."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.kinds: Counter[str] = Counter()
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
        mode = f"{plan.broker}, {plan.delivery}, interval {plan.interval}"
        self.kills[mode] += verdict.blows
        self.kinds += verdict.deaths + verdict.hurts + verdict.stops
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
    parser.add_argument("--share", type=float, default=1.0, help="of the kills and hurts")
    parser.add_argument("--only", choices=[*CAMPAIGNS, "moves", "controls"], help="one campaign")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="a kill each minute")
    parser.add_argument("--rate", type=int, default=1000, help="readings a second, of the soak")
    options = parser.parse_args()
    report = Report()
    report.tell(f"seed {options.seed}")
    if options.soak is not None:
        soak_it(report, options.seed, options.soak, options.rate)
    else:
        hurt_it(report, options.seed, options.share, options.only)
    report.tell("all runs together, by kind:")
    for kind, n in sorted(report.kinds.items()):
        report.tell(f"{n:4} {kind}")
    for mode, blows in sorted(report.kills.items()):
        report.tell(f"{blows:4} kills and hurts: {mode}")
    report.tell(f"{report.kills.total()} kills and hurts, {report.wrong} runs not as they must be")
    return 1 if report.wrong else 0


def hurt_it(report: Report, seed: int, share: float, only: str | None) -> None:
    for name, plans in CAMPAIGNS.items():
        for plan in drawn(plans, seed, share) if only in (None, name) else ():
            report.tell(f"{name}: {plan}, {plan.blows} kills and hurts ...")
            verdict = report.do(plan, lambda a, d, p: run(a, d, p, report.tell))
            report.tell(f"{plan}: {verdict}\n{verdict.details()}")
    for delivery in ("exactly-once", "transactional") if only in (None, "moves") else ():
        plan = Plan(seed, 0, "kafka", delivery=delivery, p=0.0)
        verdict = report.do(plan, lambda a, d, p: rescale(a, d, p, report.tell, MOVES))
        report.tell(f"{plan}, moved: {verdict}")
    for plan in controls(seed) if only in (None, "controls") else ():
        verdict = report.do(plan, run)
        seen = "NOT seen, and must be" if verdict.right else "seen, as it must be"
        report.tell(f"{plan}: {seen}: {verdict}")


def soak_it(report: Report, seed: int, minutes: float, rate: int) -> None:
    plan = Plan(seed, 0, "kafka", rate=rate, p=0.0)
    verdict = report.do(plan, lambda a, d, p: soak(a, d, p, report.tell, minutes))
    report.tell(f"{plan}, {minutes:g} minutes at {rate} readings/s: {verdict}")


if __name__ == "__main__":
    sys.exit(main())
