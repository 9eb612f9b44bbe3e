"""``ewma notify`` as a process, between a real broker, a real Alertmanager and a real webhook."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from kafka import KafkaConsumer, TopicPartition

from ewma_ops.columns.murmur2 import murmur2
from ewma_ops.commands.notify import run_notify
from ewma_ops.job.identity import identify
from ewma_ops.settings.load import load
from tests.helpers.alertmanager import alertmanager, alerts
from tests.helpers.brokers import Record, make_topic, produce
from tests.helpers.hooks import Hook, hook
from tests.helpers.jobs import EWMA, Job, started, wait_until
from tests.helpers.patience import PATIENCE_S
from tests.notify.alarms import document, now_ms

GROUP = "rooms"
SECRET = "a-key-of-nobody"
DAY_MS = 86_400_000


@pytest.fixture
def webhook() -> Iterator[Hook]:
    with hook() as server:
        yield server


@pytest.fixture
def topic(embedded: str) -> str:
    return make_topic(embedded, 2, "alarms")


def configured(embedded: str, topic: str, webhook: Hook, directory: Path, **more: str) -> str:
    """Write a configuration, and return its path."""
    job = Job(embedded, directory, partitions=())
    secret = directory / "secret"
    secret.write_text(f"{SECRET}\n")
    told = {"webhook": f"{webhook.url}/T0K3N", "secret": f"${{file:{secret}}}", "resend": "1s"}
    job.configure(input={"group_id": GROUP}, notify={"topic": topic, **told, **more})
    return str(job.path)


def alarm(series: str, kind: str, offset: int, **more: object) -> Record:
    return Record(document(series, kind, offset, **more), series.encode(), partition=offset % 2)


def keys(*pairs: str) -> list[str]:
    """Return idempotency keys; ``"7 raised"`` is short for one."""
    made = []
    for pair in pairs:
        offset, kind = pair.split()
        made.append(f"level-0-{offset}-9f3a51c2/{kind}")
    return made


def committed(bootstrap: str, topic: str) -> int:
    """Return how many records of the topic are done."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=f"{GROUP}-notify")
    try:
        return sum(consumer.committed(TopicPartition(topic, p)) or 0 for p in (0, 1))
    finally:
        consumer.close()


def answer(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def stopped(process: subprocess.Popen[str]) -> Sequence[str]:
    """Stop a notifier as a service is stopped; return what it has said."""
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 0, said
    assert SECRET not in said
    assert "T0K3N" not in said
    assert "Traceback" not in said
    return said.splitlines()


def test_alarms_are_told_once_and_sent_again_while_they_last(
    embedded: str, topic: str, webhook: Hook, tmp_path: Path
) -> None:
    with hook() as pages, alertmanager(tmp_path / "alertmanager", pages.url) as url:
        path = configured(embedded, topic, webhook, tmp_path, alertmanager=url)
        past = now_ms() - DAY_MS
        history = [
            alarm("cellar", kind, offset, time=past + offset)
            for offset in range(20)
            for kind in ("raised", "cleared")
        ]
        produce(embedded, topic, [*history, alarm("kitchen", "raised", 100, time=past)])

        with started([*EWMA, "notify", path]) as first:
            # Of what was before only the alarm that is on.
            wait_until(lambda: set(alerts(url, GROUP)) == {"kitchen"})
            wait_until(lambda: webhook.keys() == keys("100 raised"))
            produce(embedded, topic, [alarm("attic", "raised", 101), Record(b"?", partition=0)])
            wait_until(lambda: set(alerts(url, GROUP)) == {"attic", "kitchen"})
            ends = alerts(url, GROUP)["attic"]["endsAt"]
            wait_until(lambda: alerts(url, GROUP)["attic"]["endsAt"] > ends)
            wait_until(lambda: committed(embedded, topic) == len(history) + 3)
            first.kill()

        clear = alarm("kitchen", "cleared", 100)
        produce(embedded, topic, [clear, alarm("garden", "raised", 103)])
        with started([*EWMA, "notify", path]) as second:
            wait_until(lambda: set(alerts(url, GROUP)) == {"attic", "garden"})
            wait_until(lambda: committed(embedded, topic) == len(history) + 5)
            # A job that reads the past again: silent in both.
            replay = [
                alarm("cellar", kind, offset, time=past, alarm_id=f"level-0-{offset}-00000002")
                for offset in range(20, 40)
                for kind in ("raised", "cleared")
            ]
            produce(embedded, topic, replay)
            wait_until(lambda: committed(embedded, topic) == len(history) + len(replay) + 5)
            assert set(alerts(url, GROUP)) == {"attic", "garden"}
            said = stopped(second)
    told_of = ["100 raised", "101 raised", "100 cleared", "103 raised"]
    assert sorted(webhook.keys()) == sorted(keys(*told_of))
    assert f"ewma notify: telling {url}, webhook; alarms that are on: 2" in said
    assert any("is not an alarm, and is skipped" in line for line in said)
    assert "sent webhook 2 (cleared 1, raised 1)" in said[-1]
    paged = {alert["labels"]["series"] for one in pages.taken for alert in one.document["alerts"]}
    assert paged == {"attic", "garden", "kitchen"}


def test_what_nobody_takes_is_kept_and_told_after_a_restart(
    embedded: str, topic: str, webhook: Hook, tmp_path: Path
) -> None:
    path = configured(embedded, topic, webhook, tmp_path, bind="127.0.0.1:0")
    webhook.answer = lambda _: 503
    with started([*EWMA, "notify", path]) as first:
        assert first.stderr is not None
        address = first.stderr.readline().split("metrics at ")[1].split("/metrics")[0]
        assert "alarms that are on: 0" in first.stderr.readline()
        assert answer(f"{address}/readyz") == (200, '{"ready": true, "why": []}\n')
        produce(embedded, topic, [alarm("kitchen", "raised", 1), alarm("attic", "raised", 2)])
        wait_until(lambda: len(webhook.taken) > 1)
        status, why = answer(f"{address}/readyz")
        assert (status, "webhook has not taken alarms for" in why) == (503, True)
        measured = answer(f"{address}/metrics")[1]
        assert 'ewma_ops_notify_waiting{receiver="webhook"} 2.0' in measured
        assert "ewma_ops_notify_alarms_active 2.0" in measured
        assert "process_resident_memory_bytes " in measured
        assert "T0K3N" not in measured
        said = stopped(first)
    assert any("webhook answered 503; trying again" in line for line in said)
    assert "waiting" in said[-1]
    assert committed(embedded, topic) == 0
    webhook.answer = lambda _: 200
    webhook.taken.clear()
    with started([*EWMA, "notify", path]) as second:
        wait_until(lambda: sorted(webhook.keys()) == keys("1 raised", "2 raised"))
        wait_until(lambda: committed(embedded, topic) == 2)
        stopped(second)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_can_be_stopped_while_no_broker_answers(
    number: signal.Signals, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A server that takes connections and says nothing: a signal need not wait for it."""
    job = Job("127.0.0.1:1", tmp_path, partitions=())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        own = {"bootstrap_servers": f"127.0.0.1:{silent.getsockname()[1]}"}
        job.configure(kafka=own, notify={"webhook": "http://127.0.0.1:1/of-notify"})
        taken: list[float] = []

        def stop() -> None:
            silent.accept()
            taken.append(time.monotonic())
            os.kill(os.getpid(), number)

        thread = threading.Thread(target=stop)
        thread.start()
        assert run_notify(job.path) == 0
        assert time.monotonic() - taken[0] < 8.0  # it was 20 s
        thread.join(PATIENCE_S)
    assert "ewma notify: stopped before it was connected" in capfd.readouterr().err


def test_alarms_of_earlier_rules_end_with_a_restart(
    embedded: str, topic: str, webhook: Hook, tmp_path: Path
) -> None:
    """Nothing clears them, as a job with other rules begins with none; they would page for ever."""
    job = Job(embedded, tmp_path, partitions=(1, 1, 1))
    rules: dict[str, object] = {"topic": topic, "level": {"limit": 3.0}}
    told = {"webhook": webhook.url, "resend": "1s"}

    def own() -> str:
        job.configure(input={"group_id": GROUP}, notify=told, alarms=rules)
        identity = identify(load(job.path), {}, letters=False)
        (number,) = identity.inputs.by_number
        return f"level-0-5-{murmur2(identity.alarms.encode()) ^ number:08x}"

    before = own()
    produce(embedded, topic, [alarm("kitchen", "raised", 6, alarm_id=before)])
    with started([*EWMA, "notify", str(job.path)]) as first:
        wait_until(lambda: webhook.keys() == [f"{before}/raised"])
        wait_until(lambda: committed(embedded, topic) == 1)
        stopped(first)
    rules["level"] = {"limit": 5.0}
    now = own()
    assert now != before
    produce(embedded, topic, [alarm("attic", "raised", 8, alarm_id=now)])
    with started([*EWMA, "notify", str(job.path)]) as second:
        wait_until(lambda: len(webhook.keys()) == 3)
        said = stopped(second)
    assert webhook.keys()[1:] == [f"{before}/cleared", f"{now}/raised"]
    assert webhook.taken[1].document["by"] == "reset"
    assert "ewma notify: alarms of earlier rules, ended: 1" in said
