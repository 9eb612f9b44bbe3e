"""What is done to one run of the job: the row of a campaign, and the seed that repeats it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Plan"]


@dataclass
class Plan:
    """What is done to a run: until ``blows`` kills and hurts were dealt, for ``seconds`` at most.

    Parameters
    ----------
    seed
        Everything is drawn from it; only the timing of the operating system is not.
    blows
        Processes killed and other hurts, together.
    broker
        ``"embedded"``, ``"kafka"`` (one broker behind a bad network) or ``"cluster"`` (three
        brokers, replication factor 3, two in-sync replicas at least).
    seconds
        The longest time for the blows.
    rate
        Readings a second.
    delivery, interval
        As in the configuration file.
    workers
        Numbers of processes, one of which is drawn at each start.
    pause_s
        Shortest and longest pause between two blows, in seconds.
    patient
        Share of the blows that wait until the job writes, so that it makes progress.
    p
        Share of the workers' lives that end at a named step, one of ``steps``.
    steps
        Keys of ``inject/sitecustomize.py``'s table; none means all.
    control
        What to break on purpose, so that the judge must find faults.
    late_s, lag_s
        What the network does to one broker: appends come late, also those of the dead, and high
        watermarks lag behind.
    actions
        Names of ``hurts.HURTS``; one that is named twice is drawn twice as often.
    once
        Hurts that are dealt once each, evenly spread over the run.
    check_every
        Blows between two comparisons of everything written so far; 0 compares at the end only.
    target_configs
        Settings of the output topic.
    alarms
        Whether the job has rules of alarms, several of which one reading raises; and batches so
        small that a kill comes between two alarms of a reading.
    hosts
        On how many hosts it runs, with one worker each; 1 is a launcher that knows of no other.
    """

    seed: int
    blows: int = 20
    broker: str = "embedded"
    seconds: float = 600.0
    rate: int = 500
    delivery: str = "exactly-once"
    interval: str = "1s"
    workers: Sequence[int] = (1, 2, 1, 2, 4)
    pause_s: tuple[float, float] = (0.05, 1.5)
    patient: float = 0.8
    p: float = 0.7
    steps: Sequence[str] = ()
    control: str = ""
    late_s: float = 0.0
    lag_s: float = 0.0
    actions: Sequence[str] = ("worker", "worker", "launcher", "stop", "pause")
    once: Sequence[str] = ()
    check_every: int = 0
    target_configs: Sequence[tuple[str, str]] = ()
    alarms: bool = False
    hosts: int = 1

    @property
    def replication(self) -> int:
        """Replicas of each topic."""
        return 3 if self.broker == "cluster" else 1

    def __str__(self) -> str:
        faults = [f"late {self.late_s:g} s"] * bool(self.late_s)
        faults += [f"lag {self.lag_s:g} s"] * bool(self.lag_s)
        faults += [f"control: {self.control}"] * bool(self.control)
        faults += [", ".join(self.once)] * bool(self.once)
        faults += ["alarms"] * self.alarms
        faults += [f"{self.hosts} hosts"] * (self.hosts > 1)
        named = [f"seed {self.seed}", self.broker, self.delivery, f"interval {self.interval}"]
        return ", ".join([*named, *faults])
