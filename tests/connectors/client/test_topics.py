from __future__ import annotations

import logging
import time
from collections.abc import Callable

import pytest
from kafka import KafkaAdminClient

from ewma_ops.connectors import create_topic, partition_count
from ewma_ops.connectors.client.connect import TopicView, connect_consumer, view_of
from ewma_ops.connectors.client.topics import TopicWatch, topic_configs
from ewma_ops.errors import BrokerError, ConfigError, TopicError

MakeTopic = Callable[..., str]


def test_partition_count(broker: str, topic: MakeTopic) -> None:
    assert partition_count({"bootstrap_servers": [broker]}, topic(broker, 3)) == 3


def test_a_missing_topic_is_an_error_and_stays_missing(broker: str, topic: MakeTopic) -> None:
    there = topic(broker, name_prefix="readings")
    missing = there.replace("readings", "reading")
    client = {"bootstrap_servers": broker}
    with pytest.raises(BrokerError, match=f"did you mean '{there}'.*--create --topic {missing}"):
        partition_count(client, missing)
    consumer = connect_consumer(client, "group")
    consumer._cluster.add_topic(missing)
    time.sleep(0.5)  # a look-up every 0.1 s
    assert view_of(consumer, missing).partitions == 0
    consumer.close()
    admin = KafkaAdminClient(bootstrap_servers=broker)
    assert missing not in admin.list_topics()
    admin.close()


def test_a_topic_name_that_cannot_be(kafka: str) -> None:
    with pytest.raises(ConfigError, match="not a topic name"):
        partition_count({"bootstrap_servers": kafka}, "no spaces allowed")


def test_the_options_of_a_topic_that_the_broker_tells(broker: str, topic: MakeTopic) -> None:
    client = {"bootstrap_servers": broker}
    name = topic(broker, configs={"max.message.bytes": "20000"})
    assert topic_configs(client, name, "max.message.bytes", "no.such.option") == {
        "max.message.bytes": "20000"
    }
    assert topic_configs(client, "no-such-topic", "max.message.bytes") == {}


def test_create_topic_once_or_twice(broker: str, topic: MakeTopic) -> None:
    client, name = {"bootstrap_servers": broker}, topic(broker) + "-created"
    create_topic(client, name, 5)
    create_topic(client, name, 7)
    assert partition_count(client, name) == 5


def test_a_topic_may_be_missing_for_a_while_but_not_for_long() -> None:
    watch = TopicWatch("readings", TopicView("one", 2))
    watch.look(TopicView("one", 2), 0.0)
    watch.look(TopicView(None, 0), 1.0)
    watch.look(TopicView(None, 0), 10.9)
    watch.look(TopicView("one", 2), 11.0)
    watch.look(TopicView(None, 0), 12.0)
    watch.look(TopicView(None, 0), 22.0)
    with pytest.raises(TopicError, match="'readings' was deleted while the flow read it"):
        watch.look(TopicView(None, 0), 22.1)


def test_another_topic_of_the_same_name_is_told() -> None:
    watch = TopicWatch("readings", TopicView("one", 2))
    for topic_id in ("one", None, "one"):  # brokers before 3.1 tell none
        watch.look(TopicView(topic_id, 2), 0.0)
    with pytest.raises(TopicError, match="deleted and created again while the flow read it"):
        watch.look(TopicView("other", 2), 1.0)


def test_growth_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    watch = TopicWatch("readings", TopicView("one", 2))
    with caplog.at_level(logging.WARNING):
        for partitions in (2, 5, 5, 7):
            watch.look(TopicView("one", partitions), 0.0)
    said = [record.args[:3] for record in caplog.records if isinstance(record.args, tuple)]
    assert said == [("readings", 2, 5), ("readings", 5, 7)]
