"""The flow of this project, from its settings, in one worker."""

from __future__ import annotations

import sys
import threading

from bytewax.testing import cluster_main

from ewma_ops.job.allocator import keep_freed_memory
from ewma_ops.job.dataflow import build_job
from ewma_ops.settings.load import KafkaOptions
from ewma_ops.settings.model import DeadLetters, Input, Output, Settings
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.smoothing_set import SmoothingSet
from ewma_ops.threads import COARSE_S, set_timer_slack


def settings(bootstrap: str, topic: str, output: str, *, forever: bool, once: bool) -> Settings:
    client = {"bootstrap_servers": bootstrap}
    stop = "never" if forever else "end"
    return Settings(
        kafka=KafkaOptions(client, client),
        input=Input(topic=topic, series_id="series_id", time="ts", stop=stop, group_id=output),  # type: ignore[arg-type]
        smoothing_set=SmoothingSet.of(Smoothing(Decay(beta=0.9))),
        shards=16,
        output=Output(topic=output, delivery="exactly-once" if once else "at-least-once"),
        dead_letters=DeadLetters(topic=output),
        recovery=None,
    )


if __name__ == "__main__":
    bootstrap, topic, output = sys.argv[1:4]
    forever, once = "--forever" in sys.argv, "--exactly-once" in sys.argv
    job = build_job(
        settings(bootstrap, topic, output, forever=forever, once=once), threading.Event()
    )
    set_timer_slack(COARSE_S)  # as `ewma run` does
    keep_freed_memory()
    cluster_main(job.flow, [], 0)
