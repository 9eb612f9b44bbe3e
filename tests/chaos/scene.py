"""What a hurt has in its hands: the job, what feeds it, who judges it, and the brokers."""

from __future__ import annotations

import contextlib
import re
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from tests.chaos.alarms import judge_alarms
from tests.chaos.feeder import Feeder
from tests.chaos.job import Job
from tests.chaos.judge import Judge, Verdict, ask_verify
from tests.chaos.plan import Plan
from tests.chaos.proxy import Proxy
from tests.helpers.brokers import ApacheKafka, KafkaCluster
from tests.helpers.patience import PATIENCE_S

__all__ = ["Scene", "Surroundings"]

LONGEST_STOP_S = 60.0


@dataclass
class Surroundings:
    """Where a job runs: the broker's address, and the brokers, as far as they can be hurt."""

    bootstrap: str
    kafka: ApacheKafka | None = None
    proxy: Proxy | None = None
    cluster: KafkaCluster | None = None


class Scene:
    """One run of one plan."""

    def __init__(
        self,
        around: Surroundings,
        directory: Path,
        plan: Plan,
        make_job: Callable[[str, Path, Plan], Job] = Job,
    ) -> None:
        self.around, self.directory, self.plan = around, directory, plan
        self.verdict = Verdict()
        self.job = make_job(around.bootstrap, directory, plan)
        self.feeder = Feeder(around.bootstrap, self.job.source, plan)
        self.judge = Judge(self.job)
        self.tolerated: list[str] = []
        """Sentences with which the job may refuse to start, and advise a new directory."""
        self._beside = ThreadPoolExecutor(1)
        self._running: Future[None] | None = None

    def do_beside(self, work: Callable[[], None]) -> bool:
        """Do something to the brokers beside all else; return False if they are busy with it."""
        if self._running is not None and not self._running.done():
            return False
        self.await_brokers()
        self._running = self._beside.submit(work)
        return True

    def await_brokers(self) -> None:
        """Wait until what is done to the brokers is over, and raise what it failed with."""
        if self._running is not None:
            self._running.result()

    def close(self) -> None:
        self.job.close()
        self.feeder.abandon()
        self._beside.shutdown()

    def keep_running(self, workers: int) -> bool:
        """Start the job where it is gone; return False where it says that it cannot go on."""
        job = self.job
        if job.running():
            return True
        if job.process is not None and job.process.returncode == 2:
            told = job.told()[-600:]
            if not any(re.search(sentence, told) for sentence in self.tolerated):
                self.verdict.fail("the job refused to go on: " + told)
                return False
            self.verdict.stops[f"{self.tolerated} ({told.splitlines()[-1]})"] += 1
            job.use_new_directory()
        job.start(workers)
        return True

    def must_catch_up(self, reason: str, limit_s: float = PATIENCE_S) -> bool:
        """Wait until everything sent until now is written, and start the job where it is gone.

        A backlog may take as long as it needs: only ``limit_s`` seconds in which nothing that was
        missing is written are a fault.
        """
        self.await_brokers()
        self.judge.read_input()
        fewest, since = sys.maxsize, time.monotonic()
        while self.keep_running(1):
            self.judge.read_output()
            missing = self.judge.missing()
            if not missing:
                return True
            if len(missing) < fewest:
                fewest, since = len(missing), time.monotonic()
            elif time.monotonic() > since + limit_s:
                told = f"none of {len(missing)} missing readings was written in {limit_s:g} s"
                self.verdict.fail(f"{reason}: {told}, such as {sorted(missing)[:3]}")
                return False
            time.sleep(0.3)
        return False

    def must_stop(self, reason: str, number: int = signal.SIGTERM) -> None:
        """Stop it gracefully; a stop that takes too long is a fault."""
        took_s = self.job.stop(LONGEST_STOP_S, number)
        self.verdict.slowest_stop_s = max(self.verdict.slowest_stop_s, took_s)
        if took_s > LONGEST_STOP_S:
            self.verdict.fail(f"{reason}: it did not stop within {LONGEST_STOP_S:g} s")

    def must_end(self, sentence: str, since: int, limit_s: float = PATIENCE_S) -> bool:
        """Wait until it ends by itself, with the right sentence in its log after ``since``."""
        until = time.monotonic() + limit_s
        code = self.job.await_end(limit_s)
        # The plan's own deaths go on: of the launcher, or of so many workers that it gives up.
        while (
            code == -signal.SIGKILL or (code == 1 and "giving up" in self.job.told()[since:])
        ) and time.monotonic() < until:
            self.job.start(1)
            code = self.job.await_end(max(0.0, until - time.monotonic()))
        told = self.job.told()[since:]
        if code is None:
            self.verdict.fail(f"it did not stop, and must say {sentence!r}; it said: {told[-400:]}")
            self.job.kill()
            return False
        if not re.search(sentence, told):
            self.verdict.fail(f"code {code}, and no word of {sentence!r}; it said: {told[-600:]}")
            return False
        if "Traceback" in told or "panicked" in told:
            self.verdict.fail(f"it showed a traceback: {told[-1500:]}")
        self.verdict.stops[sentence] += 1
        return True

    def check(self) -> None:
        """Have everything written that was sent until now, and judge all of it."""
        self.must_catch_up("a check")
        self.judge.compare(self.verdict)

    def finish(self) -> None:
        """Let the job come to the end in peace, judge it, and ask ``ewma verify`` for its own."""
        (self.directory / "calm").touch()
        self.await_brokers()
        self.feeder.stop()
        self.must_stop("before the end")  # partitions that were added are read by the next run
        self.check()
        time.sleep(0.5)
        self.judge.read_output()
        self.must_stop("at the end")
        self.judge.compare(self.verdict)
        right = self.events_are_right
        if self.plan.alarms:
            before = self.verdict.faults
            judge_alarms(self.job, self.verdict)
            right = right and self.verdict.faults == before
        code, told = ask_verify(self.job.config)
        if (code == 0) != right:
            self.verdict.fail(f"ewma verify does not agree (code {code}): {told}")

    @property
    def events_are_right(self) -> bool:
        """Whether the events are, the letters aside: those ``ewma verify`` does not look at."""
        events, truth = self.judge.events, self.judge.truth
        wanted = {position for position, event in truth.items() if event is not None}
        right = events.keys() == wanted and events.total() == len(wanted)
        return right and not self.judge.wrong_events and not self.verdict.disordered

    def admin(self) -> contextlib.closing[KafkaAdminClient]:
        return contextlib.closing(KafkaAdminClient(bootstrap_servers=self.around.bootstrap))

    def create_again(self, topic: str) -> None:
        """Delete a topic and create one of its name, with as many partitions."""
        with self.admin() as admin:
            partitions = len(admin.describe_topics([topic])[0]["partitions"])
            admin.delete_topics([topic])
            until = time.monotonic() + 30
            while topic in admin.list_topics() and time.monotonic() < until:
                time.sleep(0.05)
            admin.create_topics([NewTopic(topic, partitions, -1)], wait_for_metadata=True)
