"""The flow of this project, from its settings, in one worker."""

from __future__ import annotations

import sys
import threading
import time

from bytewax.testing import cluster_main

from ewma_ops.job.allocator import keep_freed_memory
from ewma_ops.job.dataflow import build_job
from ewma_ops.job.measurements import gathered
from ewma_ops.settings.bind import Bind
from ewma_ops.settings.load import KafkaOptions
from ewma_ops.settings.model import DeadLetters, Input, Metrics, Output, Settings
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.smoothing_set import SmoothingSet
from ewma_ops.threads import COARSE_S, set_timer_slack


def settings(
    bootstrap: str, topic: str, output: str, *, forever: bool, once: bool, metrics: bool = False
) -> Settings:
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
        metrics=Metrics(bind=Bind("127.0.0.1", 0)) if metrics else None,
    )


def scrape() -> None:
    """Have the metrics gathered once a second, as for a launcher whose endpoint is scraped."""
    while True:
        gathered()
        time.sleep(1)


if __name__ == "__main__":
    bootstrap, topic, output = sys.argv[1:4]
    flags = ("--forever", "--exactly-once", "--metrics")
    forever, once, metrics = (flag in sys.argv for flag in flags)
    if metrics:
        threading.Thread(target=scrape, daemon=True).start()
    configured = settings(bootstrap, topic, output, forever=forever, once=once, metrics=metrics)
    job = build_job(configured, threading.Event())
    set_timer_slack(COARSE_S)  # as `ewma run` does
    keep_freed_memory()
    cluster_main(job.flow, [], 0)
