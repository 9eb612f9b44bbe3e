"""What is done to three brokers while a job runs on them: one at a time is away, never two.

Each of these waits until every replica is in sync again, as an operator would. They run beside
what is done to the job itself.
"""

from __future__ import annotations

import random
import time

from kafka.protocol.admin.client_quotas import AlterClientQuotasRequest

from tests.chaos.scene import Scene
from tests.helpers.brokers import ApacheKafka, KafkaCluster

__all__ = [
    "kill_controller",
    "kill_leader",
    "pause_broker",
    "reassign",
    "restart_all",
    "throttle",
]

QUOTA_BYTES_S = 20_000
"""Of every client: less than the feeder sends, so that all of them are throttled."""

_WHOLE_S = 180.0


def kill_leader(scene: Scene, rng: random.Random) -> int:
    """Kill the broker that leads a partition of the input, the output or the dead letters."""
    _kill(scene, _cluster(scene).leader(rng.choice(_topics(scene)), rng.randrange(2)), rng)
    return 0


def kill_controller(scene: Scene, rng: random.Random) -> int:
    _kill(scene, _cluster(scene).controller(), rng)
    return 0


def restart_all(scene: Scene, _: random.Random) -> int:
    """Restart one broker after the other, as an upgrade does."""
    cluster = _cluster(scene)
    for broker in cluster.brokers:
        broker.stop(_WHOLE_S)
        broker.start(_WHOLE_S)
        cluster.wait_until_whole(_WHOLE_S)
    return 0


def pause_broker(scene: Scene, rng: random.Random) -> int:
    """Stop a broker for a while (SIGSTOP): connections stay open, and nothing answers."""
    cluster = _cluster(scene)
    broker = rng.choice(cluster.brokers)
    broker.pause()
    time.sleep(rng.uniform(1, 12))
    broker.resume()
    cluster.wait_until_whole(_WHOLE_S)
    return 0


def reassign(scene: Scene, rng: random.Random) -> int:
    """Take a replica of each partition of a topic away, and put it back elsewhere in the order."""
    cluster, topic = _cluster(scene), rng.choice(_topics(scene))
    ids = [broker.node_id for broker in cluster.brokers]
    with scene.admin() as admin:
        partitions = range(len(admin.describe_topics([topic])[0]["partitions"]))
    for replicas in (2, 3):
        moves = {p: rng.sample(ids, replicas) for p in partitions}
        cluster.reassign(topic, moves, _WHOLE_S)
    cluster.wait_until_whole(_WHOLE_S)
    return 0


def throttle(scene: Scene, rng: random.Random) -> int:
    """Set a quota of bytes a second for every client, for some seconds."""
    _set_quota(scene, remove=False)
    time.sleep(rng.uniform(2, 8))
    _set_quota(scene, remove=True)
    return 0


def _kill(scene: Scene, broker: ApacheKafka, rng: random.Random) -> None:
    broker.kill()
    time.sleep(rng.uniform(0, 6))
    broker.start(_WHOLE_S)
    _cluster(scene).wait_until_whole(_WHOLE_S)


def _set_quota(scene: Scene, *, remove: bool) -> None:
    """Set the quota of the default client, or take it away; kafka-python has no call for it."""
    entry = AlterClientQuotasRequest.EntryData
    quota = entry(
        entity=[entry.EntityData(entity_type="client-id", entity_name=None)],
        ops=[
            entry.OpData(key=key, value=QUOTA_BYTES_S, remove=remove)
            for key in ("producer_byte_rate", "consumer_byte_rate")
        ],
    )
    request = AlterClientQuotasRequest(entries=[quota], validate_only=False)
    with scene.admin() as admin:
        answer = admin._manager.run(admin._manager.send, request)
    errors = [(one.error_code, one.error_message) for one in answer.entries]
    assert errors == [(0, None)], f"the quota was not set: {errors}"


def _topics(scene: Scene) -> list[str]:
    return [scene.job.source, scene.job.target, scene.job.letters]


def _cluster(scene: Scene) -> KafkaCluster:
    assert scene.around.cluster is not None, "this hurt needs a cluster"
    return scene.around.cluster
