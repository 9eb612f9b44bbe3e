"""What is done to the topics of a job while it runs: partitions added, topics created again."""

from __future__ import annotations

import random
import time

from tests.chaos.scene import Scene
from tests.helpers.brokers import set_configs

__all__ = [
    "CREATED_AGAIN",
    "LIMIT_LOWERED",
    "add_input_partition",
    "add_output_partition",
    "create_input_again",
    "create_letters_again",
    "create_output_again",
    "lower_limit",
]

CREATED_AGAIN = "created (again|anew)"
PARTITIONS_CHANGED = "partitions"
LIMIT = "max.message.bytes"
LIMIT_LOWERED = f"[Rr]aise {LIMIT}"
LOW_BYTES, USUAL_BYTES = 1500, 1_048_588
WIDE_ID_BYTES = 1000
"""Of an id that is allowed; its event has it twice, and so is larger than ``LOW_BYTES``."""


def add_input_partition(scene: Scene, rng: random.Random) -> int:
    """Add a partition with series of its own; the next start must read it from its beginning."""
    partition = _add_partition(scene, scene.job.source)
    scene.feeder.use_new_partition(partition)
    time.sleep(rng.uniform(0.5, 4))
    return _end_run(scene, rng)


def add_output_partition(scene: Scene, rng: random.Random) -> int:
    """Add a partition to the output: series move to other partitions, with what is there of them.

    The next start goes on, or refuses with an advice that is followed.
    """
    scene.tolerated.append(PARTITIONS_CHANGED)
    _add_partition(scene, rng.choice([scene.job.target, scene.job.letters]))
    time.sleep(rng.uniform(0.5, 4))
    return _end_run(scene, rng)


def create_output_again(scene: Scene, _: random.Random) -> int | None:
    return _create_again(scene, scene.job.target)


def create_letters_again(scene: Scene, _: random.Random) -> int | None:
    return _create_again(scene, scene.job.letters)


def create_input_again(scene: Scene, _: random.Random) -> int | None:
    return _create_again(scene, scene.job.source)


def lower_limit(scene: Scene, _: random.Random) -> int:
    """Lower what the output takes below an event of the job; then raise it, as the job says."""
    job = scene.job
    since = len(job.told())
    set_configs(job.bootstrap, job.target, {LIMIT: str(LOW_BYTES)})
    scene.keep_running(1)
    scene.feeder.send_wide_ids(WIDE_ID_BYTES)
    if scene.must_end(LIMIT_LOWERED, since):
        job.process = None  # that it refused to go on is as it must be
    set_configs(job.bootstrap, job.target, {LIMIT: str(USUAL_BYTES)})
    return 0


def _create_again(scene: Scene, topic: str) -> int | None:
    """Delete a topic and create it again under the job; then do what the job says."""
    job, judge = scene.job, scene.judge
    reason = f"before {topic} is created again"
    if not scene.must_catch_up(reason):
        return None
    judge.compare(scene.verdict)
    job.await_writing()
    since = len(job.told())
    scene.feeder.pause()
    scene.create_again(topic)
    forget = {job.source: judge.forget, job.target: judge.forget_output}
    forget.get(topic, judge.forget_letters)()
    scene.feeder.resume()
    if scene.must_end(CREATED_AGAIN, since):
        if topic != job.source:  # it has what the job wrote until it noticed: to be emptied
            scene.create_again(topic)
            forget.get(topic, judge.forget_letters)()
        job.use_new_directory()
    return 0


def _add_partition(scene: Scene, topic: str) -> int:
    """Add one; return its number."""
    with scene.admin() as admin:
        number = len(admin.describe_topics([topic])[0]["partitions"])
        admin.create_partitions({topic: number + 1})
        admin.wait_for_topics([topic])
    return number


def _end_run(scene: Scene, rng: random.Random) -> int:
    """Have the job start again, after a stop or a kill."""
    if rng.random() < 0.5:
        scene.must_stop("after a partition was added")
        return 0
    pids = scene.job.worker_pids()
    scene.job.kill()
    return 1 + len(pids)
