"""The flow of this project, from its settings, in one worker."""

from __future__ import annotations

import sys
import threading

from bytewax.testing import cluster_main

from ewma_ops.decay import Decay
from ewma_ops.flow import build_flow
from ewma_ops.settings import DeadLetters, Input, KafkaOptions, Output, Settings
from ewma_ops.smoothing import Smoothing


def settings(bootstrap: str, topic: str, output: str, stop: str = "end") -> Settings:
    client = {"bootstrap_servers": bootstrap}
    return Settings(
        kafka=KafkaOptions(client, client),
        input=Input(topic=topic, series_id="series_id", time="ts", stop=stop, group_id=output),  # type: ignore[arg-type]
        smoothing=Smoothing(Decay(beta=0.9)),
        shards=16,
        output=Output(topic=output),
        dead_letters=DeadLetters(topic=output),
        recovery=None,
    )


if __name__ == "__main__":
    bootstrap, topic, output = sys.argv[1:4]
    until = "never" if "--forever" in sys.argv else "end"
    cluster_main(build_flow(settings(bootstrap, topic, output, until), threading.Event()), [], 0)
