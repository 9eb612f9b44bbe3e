"""Settings of topics that break what is promised are refused, and those that weaken it are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ConfigResource,
    ConfigResourceType,
    ResourcePattern,
    ResourceType,
)

from ewma_ops.connectors.client import topic_configs
from ewma_ops.connectors.client.topic_configs import Concern, Use, concerns, refuse_or_warn
from ewma_ops.errors import ConfigError
from tests.helpers.brokers import ApacheKafka, Record, make_topic, produce, read_all
from tests.helpers.jobs import Job, ewma

MakeTopic = Callable[..., str]
OWN_KEYS = {"series_id": None, "time": None}


def of(bootstrap: str, *uses: Use) -> list[Concern]:
    return concerns({"bootstrap_servers": bootstrap}, list(uses))


@pytest.mark.parametrize("table", ["output", "dead_letters"])
def test_a_compacted_topic_is_refused_and_the_advice_works(
    broker: str, tmp_path: Path, table: str
) -> None:
    job = Job(broker, tmp_path, (1, 1, 1))
    compacted = make_topic(broker, 1, "compacted", {"cleanup.policy": "compact"})
    job.configure(**{table: {"topic": compacted}}, input=OWN_KEYS)
    for command in ("check", "run"):
        done = ewma(command, str(job.path))
        assert done.returncode == 2, done.stderr
        assert f"topic '{compacted}' ({table}.topic) is compacted" in done.stderr
    job.configure(
        **{table: {"topic": compacted}}
        | {
            "output": {"topic": job.output}
            | {
                "topic": compacted if table == "output" else job.output,
                "delivery": "at-least-once",
            }
        },
        input=OWN_KEYS,
        recovery={"directory": str(tmp_path / "another")},
    )
    job.run()
    if table == "dead_letters":
        return
    job.configure(output={"topic": job.output}, input=OWN_KEYS)
    payload = json.dumps({"value": 1}).encode()
    produce(broker, job.input, [Record(payload, b"a")])
    job.run()
    assert len(read_all(broker, job.output, 1)) == 1


def test_the_policy_can_be_changed_as_the_message_says(kafka: str, topic: MakeTopic) -> None:
    name = topic(kafka, configs={"cleanup.policy": "compact,delete"})
    use = Use(name, "output", exact=True)
    with pytest.raises(ConfigError, match=r"--add-config cleanup\.policy=delete"):
        refuse_or_warn({"bootstrap_servers": kafka}, [use])
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    change = ConfigResource(ConfigResourceType.TOPIC, name, {"cleanup.policy": "delete"})
    admin.alter_configs([change])
    admin.close()
    assert of(kafka, use) == []


def test_what_weakens_is_told(kafka: str, topic: MakeTopic) -> None:
    short = topic(kafka, configs={"retention.ms": "60000"})
    arrival = topic(kafka, configs={"message.timestamp.type": "LogAppendTime"})
    compacted = topic(kafka, configs={"cleanup.policy": "compact"})
    unclean = topic(kafka, configs={"unclean.leader.election.enable": "true"})
    said = [
        of(kafka, Use(short, "output", exact=True)),
        of(kafka, Use(short, "input")),
        of(kafka, Use(arrival, "input", record_time=True)),
        of(kafka, Use(compacted, "input")),
        of(kafka, Use(unclean, "output", exact=True)),
    ]
    assert [len(each) for each in said] == [1] * 5
    assert not any(each[0].grave for each in said)
    words = ["written twice", "readings are lost", "input.time", "ewma verify", "set it to false"]
    assert [word for word, each in zip(words, said, strict=True) if word in each[0].text] == words
    assert of(kafka, Use(arrival, "input")) == []
    assert of(kafka, Use(compacted, "output")) == []


def test_more_replicas_needed_than_there_are(kafka: str, topic: MakeTopic) -> None:
    name = topic(kafka, configs={"min.insync.replicas": "2"})
    (concern,) = of(kafka, Use(name, "output", exact=True))
    assert concern.grave
    assert "cannot be written to: min.insync.replicas = 2, and it has 1 replicas" in concern.text


def test_topics_as_they_are_made_are_no_concern(broker: str, topic: MakeTopic) -> None:
    name = topic(broker)
    assert of(broker, Use(name, "input", record_time=True), Use(name, "output", exact=True)) == []
    assert of(broker, Use("there-is-no-such-topic", "output", exact=True)) == []


AUTHORIZES = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
    "super.users": "User:nobody",
}


@pytest.mark.parametrize("kafka_of_properties", [AUTHORIZES], ids=[""], indirect=True)
def test_a_user_who_may_not_ask_is_told_once_and_may_run(
    kafka_of_properties: ApacheKafka,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(topic_configs, "_warned", set())
    bootstrap = kafka_of_properties.bootstrap_servers
    job = Job(bootstrap, tmp_path, (1, 1, 1))
    job.configure(input=OWN_KEYS)
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    pattern = ResourcePattern(ResourceType.TOPIC, job.output)
    rules = [
        (ACLOperation.ALL, ACLPermissionType.ALLOW),
        (ACLOperation.DESCRIBE_CONFIGS, ACLPermissionType.DENY),
    ]
    admin.create_acls([ACL("User:ANONYMOUS", "*", *rule, pattern) for rule in rules])
    admin.close()
    for _ in range(2):
        refuse_or_warn({"bootstrap_servers": bootstrap}, [Use(job.output, "output", True)])
    assert caplog.text.count("are not checked") == 1
    assert "DescribeConfigs" in caplog.text
    assert "are not checked" in job.run()
