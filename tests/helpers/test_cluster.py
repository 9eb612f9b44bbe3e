"""The cluster of three brokers that the other tests rely on."""

from __future__ import annotations

from collections import Counter

from tests.helpers.brokers import KafkaCluster, Record, make_topic, produce, read_all


def test_a_cluster_loses_nothing_while_one_of_three_is_away(kafka_cluster: KafkaCluster) -> None:
    address = kafka_cluster.bootstrap_servers
    name = make_topic(address, partitions=3, replication=3)
    # Who leads at first is Kafka's choice: a broker whose heartbeat is late leads nothing.
    assert {kafka_cluster.leader(name, p).node_id for p in range(3)} <= {1, 2, 3}
    kafka_cluster.reassign(name, {0: [2, 3, 1], 1: [2, 1, 3]})
    assert [kafka_cluster.leader(name, p).node_id for p in range(3)][:2] == [2, 2]

    killed = kafka_cluster.controller()
    killed.kill()
    records = [Record(b"%d" % i, partition=i % 3) for i in range(30)]
    produce(address, name, records, acks="all")
    assert kafka_cluster.controller() is not killed
    kafka_cluster.start()  # whole again before the next one goes

    paused = kafka_cluster.leader(name, 0)
    paused.pause()
    # A new client may ask the paused one first, and waits for its answer in vain.
    others = [b.bootstrap_servers for b in kafka_cluster.brokers if b is not paused]
    produce(",".join(others), name, records, acks="all", request_timeout_ms=2000)
    kafka_cluster.start()
    assert Counter(record.value for record in read_all(address, name, 60)) == Counter(
        2 * [record.value for record in records]
    )
