"""Alarms that a hurt job wrote, held against those of a run that nothing happened to.

The run has the same input and other topics. Its records have the same bytes, but for the name of
the job at the end of an alarm's id.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from tests.chaos.job import PARTITIONS_LETTERS, PARTITIONS_OUT, ROOT, Job
from tests.chaos.judge import IDENTITY_HEADER, Topic, Verdict
from tests.helpers.brokers import make_topic

__all__ = ["judge_alarms"]

_JOB = re.compile(rb'("alarm_id":"[^"]*-)[0-9a-f]{8}"')
_FEWEST = 50


def judge_alarms(job: Job, verdict: Verdict) -> None:
    """Compare each transition, in the order of its series; count what differs."""
    found, whole = _records(job, job.alarms), _records(job, _uninterrupted(job))
    verdict.alarms = sum(map(len, whole.values()))
    if verdict.alarms < _FEWEST:
        verdict.fail(f"only {verdict.alarms} transitions of alarms: they prove nothing")
    if not any(b'"kind":"stale"' in one for own in whole.values() for one in own):
        verdict.fail("no series was silent for long enough to be raised")
    for series in sorted(found.keys() | whole.keys()):
        _compare(series, found[series], whole[series], verdict)
    identities = Counter(
        content
        for row in Topic(job, job.alarms).read()
        for name, content in row.headers
        if name == IDENTITY_HEADER
    )
    same = sum(n - 1 for n in identities.values())
    if same:
        verdict.example(f"{same} records of alarms have the identity of another one")
    verdict.doubled += same


def _compare(series: bytes, found: list[bytes], whole: list[bytes], verdict: Verdict) -> None:
    have, want = Counter(found), Counter(whole)
    lost, more = want - have, have - want
    twice = sum((n for one, n in more.items() if one in want))
    verdict.lost += lost.total()
    verdict.doubled += twice
    verdict.wrong += more.total() - twice
    for kind, which in (("lost", lost), ("too many", more)):
        for one in list(which)[:2]:
            verdict.example(f"alarm {kind}: {one[:300]!r}")
    if have == want and found != whole:
        verdict.disordered += 1
        verdict.example(f"alarms of {series!r} are out of order")


def _records(job: Job, topic: str) -> defaultdict[bytes, list[bytes]]:
    """Return what was written of each series, in order, without the name of the job."""
    rows: Iterable[Any] = Topic(job, topic).read()
    by_series = defaultdict[bytes, list[bytes]](list)
    for row in sorted(rows, key=lambda row: (row.partition, row.offset)):
        by_series[row.key].append(_JOB.sub(rb'\1"', row.value))
    return by_series


def _uninterrupted(job: Job) -> str:
    """Run a job on the same input to its end, with one worker; return its topic of alarms."""
    directory = job.directory / "uninterrupted"
    directory.mkdir()
    topic = partial(make_topic, job.bootstrap, replication=job.plan.replication)
    names = {"target": topic(PARTITIONS_OUT, "target"), "alarms": topic(PARTITIONS_OUT, "alarms")}
    names["letters"] = topic(PARTITIONS_LETTERS, "letters")
    config = directory / "job.toml"
    text = job.configuration(directory / "state", **names)
    config.write_text(text.replace("[smooth]", 'stop = "end"\n[smooth]'))
    _run(config)
    return names["alarms"]


def _run(config: Path) -> None:
    line = [sys.executable, "-m", "ewma_ops.commands.cli", "run", str(config)]
    subprocess.run(line, cwd=ROOT, check=True, capture_output=True, timeout=600)
