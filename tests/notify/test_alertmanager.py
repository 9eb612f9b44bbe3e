"""Alarms in a real Alertmanager: Debian's package, with the traps of its API."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ewma_ops.notify.alarm import Transition
from ewma_ops.notify.alertmanager import Alertmanager, Labels, labels_of
from ewma_ops.notify.calls import AwayError
from tests.helpers.alertmanager import alertmanager, alerts
from tests.helpers.hooks import Hook, hook
from tests.helpers.jobs import wait_until
from tests.notify.alarms import now_ms, transition


@pytest.fixture(scope="module")
def pages() -> Iterator[Hook]:
    with hook() as server:
        yield server


@pytest.fixture(scope="module")
def url(pages: Hook, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with alertmanager(tmp_path_factory.mktemp("alertmanager"), pages.url) as address:
        yield address


def client(url: str, job: str, **more: Any) -> Alertmanager:
    opens = urllib.request.build_opener().open
    return Alertmanager(url, opens, job=job, resend_s=60, timeout_s=5, **more)


def shown(url: str, job: str, n: int) -> dict[str, Any]:
    """Return the alerts of a job when there are so many: they are shown a moment later."""
    wait_until(lambda: len(alerts(url, job)) == n)
    return alerts(url, job)


def paged(pages: Hook, job: str) -> list[tuple[str, str]]:
    """Return series and state of each alert that a person was paged with."""
    documents = [taken.document for taken in pages.taken]
    every = [alert for document in documents for alert in document["alerts"]]
    own = [alert for alert in every if alert["labels"]["job"] == job]
    return [(alert["labels"]["series"], alert["status"]) for alert in own]


def test_an_alarm_is_shown_with_its_evidence_and_ends(url: str, pages: Hook) -> None:
    receiver = client(url, "evidence", link="http://127.0.0.1:8765/#series={series}")
    raised = transition("küche/°C", runbook="https://example.org/r", summary="x" * 5_000)
    assert receiver.send([raised]) == {}
    (alert,) = shown(url, "evidence", 1).values()
    labels = {"alertname": "EwmaLevel", "job": "evidence", "kind": "level", "rule": "level"}
    assert alert["labels"] == {**labels, "series": "küche/°C", "severity": "warning"}
    assert alert["annotations"]["alarm_id"] == raised.alarm_id
    assert alert["annotations"]["expected"] == "21.5"
    assert alert["annotations"]["runbook_url"] == "https://example.org/r"
    assert len(alert["annotations"]["summary"]) == 5_000
    assert alert["generatorURL"] == "http://127.0.0.1:8765/#series=k%C3%BCche%2F%C2%B0C"
    wait_until(lambda: ("küche/°C", "firing") in paged(pages, "evidence"))

    assert receiver.send([transition("küche/°C", "cleared")]) == {}
    wait_until(lambda: alerts(url, "evidence") == {})
    wait_until(lambda: ("küche/°C", "resolved") in paged(pages, "evidence"))


def severities(url: str) -> list[str]:
    every = urllib.request.urlopen(f"{url}/api/v2/alerts?filter=job%3Dseverity", timeout=5)
    with every as answer:
        return [one["labels"]["severity"] for one in json.load(answer)]


def test_another_severity_is_another_alert_and_ends_the_one_before(url: str) -> None:
    receiver = client(url, "severity")
    receiver.send([transition()])
    assert receiver.send([transition("kitchen", "changed", severity="critical")]) == {}
    wait_until(
        lambda: (
            [one["labels"]["severity"] for one in alerts(url, "severity").values()] == ["critical"]
        )
    )
    receiver.send([transition("kitchen", "cleared", severity="critical")])
    wait_until(lambda: alerts(url, "severity") == {})


def test_series_without_a_name_are_kept_apart_from_those_without_a_label(url: str) -> None:
    receiver = client(url, "empty")
    receiver.send([transition("", offset=1), transition("(other)", offset=2)])
    wait_until(lambda: set(alerts(url, "empty")) == {"(empty)", "(other)"})


def test_times_that_an_alertmanager_refuses_are_mended(url: str) -> None:
    receiver = client(url, "times")
    times = {"ahead": now_ms() + 10**9, "far": 10**18, "old": -(10**12)}
    made = [transition(name, offset=i, time=at) for i, (name, at) in enumerate(times.items())]
    assert receiver.send(made) == {}
    wait_until(lambda: set(alerts(url, "times")) == set(times))


def test_one_bad_alert_neither_stops_nor_repeats_the_others(
    url: str, pages: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An Alertmanager answers 400 to the whole list, and takes the good ones."""

    def bad_labels(one: Transition, job: str) -> Labels:
        labels = labels_of(one, job)
        return (*labels, ("series-id", "x")) if one.series_id == "bad" else labels

    monkeypatch.setattr("ewma_ops.notify.alertmanager.labels_of", bad_labels)
    receiver = client(url, "bad")
    made = [transition(name, offset=i) for i, name in enumerate(["a", "bad", "b"])]
    refused = receiver.send(made)
    assert list(refused) == [made[1].key]
    assert "series-id" in refused[made[1].key]
    wait_until(lambda: set(alerts(url, "bad")) == {"a", "b"})
    assert receiver.send_again() == 2  # without the bad one
    wait_until(lambda: len(paged(pages, "bad")) >= 2)
    assert sorted(paged(pages, "bad")) == [("a", "firing"), ("b", "firing")]


def test_what_is_long_over_is_never_shown(url: str, pages: Hook) -> None:
    receiver = client(url, "replay")
    made = [
        transition("old", kind, i, time=now_ms() - 86_400_000 + i)
        for i in range(50)
        for kind in ("raised", "cleared")
    ]
    assert receiver.send(made) == {}
    receiver.send([transition("new", offset=99)])
    wait_until(lambda: ("new", "firing") in paged(pages, "replay"))
    assert paged(pages, "replay") == [("new", "firing")]


def test_alarms_that_are_on_are_sent_again_so_that_they_do_not_expire(url: str) -> None:
    opens = urllib.request.build_opener().open
    brief = Alertmanager(url, opens, job="again", resend_s=0.3, timeout_s=5)
    brief.send([transition("a", offset=1), transition("b", offset=2)])
    ends = {name: one["endsAt"] for name, one in shown(url, "again", 2).items()}
    time.sleep(0.01)
    assert brief.send_again() == 2
    wait_until(lambda: all(alerts(url, "again")[name]["endsAt"] > ends[name] for name in ends))
    # Nobody sends them again: they end by themselves, as after the death of a notifier.
    wait_until(lambda: alerts(url, "again") == {})


def test_alarms_that_were_on_before_a_restart_are_sent_again(url: str) -> None:
    receiver = client(url, "restart")
    receiver.restore([transition("a", offset=1)])
    assert receiver.send_again() == 1
    wait_until(lambda: set(alerts(url, "restart")) == {"a"})
    receiver.send([transition("a", "cleared", offset=1)])
    wait_until(lambda: alerts(url, "restart") == {})


@pytest.mark.slow
def test_an_alertmanager_that_is_away_changes_nothing_until_it_is_back(
    pages: Hook, tmp_path: Path
) -> None:
    with alertmanager(tmp_path / "first", pages.url) as address:
        pass
    receiver = client(address, "away")
    with pytest.raises(AwayError, match="cannot be reached"):
        receiver.send([transition("a")])
    assert receiver.send_again() == 0
    with alertmanager(tmp_path / "second", pages.url, int(address.rpartition(":")[2])):
        assert receiver.send([transition("a")]) == {}
        wait_until(lambda: set(alerts(address, "away")) == {"a"})
