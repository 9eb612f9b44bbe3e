"""Prometheus' Alertmanager: alarms as alerts of its API v2, sent again while they are on.

Knows the API and its traps; must not know Kafka or when something is sent again.

An Alertmanager knows an alert by its labels, so no value, time or id is among them. An alert that
is not sent again expires, so a notifier that dies leaves none behind. If one alert of a list is
bad, it accepts the others and answers 400.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from ewma_ops.http_client import Opener, basic_authorization
from ewma_ops.notify.alarm import Transition
from ewma_ops.notify.calls import RefusedCallError, post

__all__ = ["Alert", "Alertmanager", "Labels", "labels_of"]

_PATH = "/api/v2/alerts"
_EXPIRES_AFTER = 5
"""How many resend intervals an alert lasts without being sent again."""
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_EMPTY = "(empty)"
_NOTED = ("value", "ewma", "expected", "lower", "upper", "score", "limit", "designed", "by")

Labels = tuple[tuple[str, str], ...]


class Alert(NamedTuple):
    """An alert: which one (by its labels), of which transition, and whether it is on."""

    labels: Labels
    transition: Transition
    firing: bool


class Alertmanager:
    """Post alarms to one Alertmanager.

    Parameters
    ----------
    url
        Its address, without the path of the API.
    opens
        What opens requests.
    job
        Label ``job`` of all alerts.
    resend_s, timeout_s
        Seconds until active alerts are sent again, and that a call may take.
    username, password
        For HTTP Basic.
    link
        An address for people, with ``{series}`` in it.
    ticks_per_ms
        How many ticks of event times are a millisecond.
    """

    together = 64
    """How many transitions one call takes."""

    def __init__(
        self,
        url: str,
        opens: Opener,
        *,
        job: str,
        resend_s: float,
        timeout_s: float,
        username: str | None = None,
        password: str | None = None,
        link: str | None = None,
        ticks_per_ms: int = 1,
    ) -> None:
        self.name = url
        self._url, self._open, self._job = url.rstrip("/") + _PATH, opens, job
        self._expires = timedelta(seconds=_EXPIRES_AFTER * resend_s)
        self._timeout_s, self._link, self._per_ms = timeout_s, link, ticks_per_ms
        self._username, self._password = username, password
        self._firing: dict[Labels, Transition] = {}
        self._labels: dict[str, Labels] = {}

    def restore(self, active: Sequence[Transition]) -> None:
        """Add alarms that are on: the next :meth:`send_again` sends them."""
        for one in active:
            self._note(one)

    def send(self, transitions: Sequence[Transition]) -> dict[str, str]:
        """Post transitions; return why some are refused, by their key."""
        found: dict[Labels, Alert] = {}
        before = dict(self._firing), dict(self._labels)
        for one in transitions:
            for alert in self._note(one):
                found[alert.labels] = alert
        try:
            refused = self._post(list(found.values()))
        except BaseException:  # the caller sends the same transitions again
            self._firing, self._labels = before
            raise
        for alert, _ in refused:
            self._firing.pop(alert.labels, None)
        return {alert.transition.key: why for alert, why in refused}

    def send_again(self) -> int:
        """Send all alerts that are on; return how many."""
        firing = [Alert(labels, one, firing=True) for labels, one in self._firing.items()]
        for first in range(0, len(firing), self.together):
            for alert, _ in self._post(firing[first : first + self.together]):
                self._firing.pop(alert.labels, None)
        return len(firing)

    def _note(self, one: Transition) -> list[Alert]:
        """Record a transition; return the alerts to post, with new labels also an end."""
        labels = labels_of(one, self._job)
        before = self._labels.get(one.alarm_id)
        changes = []
        if before is not None and before != labels:
            self._firing.pop(before, None)
            changes.append(Alert(before, one, firing=False))
        if one.active:
            self._labels[one.alarm_id] = labels
            self._firing[labels] = one
        else:
            self._labels.pop(one.alarm_id, None)
            self._firing.pop(labels, None)
        return [*changes, Alert(labels, one, firing=one.active)]

    def _post(self, alerts: Sequence[Alert]) -> list[tuple[Alert, str]]:
        """Post alerts; return those that are refused, each with the answer."""
        if not alerts:
            return []
        try:
            self._call(alerts)
        except RefusedCallError as error:
            if len(alerts) == 1:
                return [(alerts[0], str(error))]
            # The answer does not say which one is bad, nor whether the others were accepted.
            return [refusal for one in alerts for refusal in self._post([one])]
        return []

    def _call(self, alerts: Iterable[Alert]) -> None:
        now = datetime.fromtimestamp(time.time(), timezone.utc)
        body = msgspec.json.encode([self._document(one, now) for one in alerts])
        headers = {}
        if self._username is not None:
            headers["Authorization"] = basic_authorization(self._username, self._password)
        post(self._open, self._url, body, headers, self._timeout_s)

    def _document(self, alert: Alert, now: datetime) -> dict[str, Any]:
        one = alert.transition
        noted = msgspec.json.decode(one.document)
        annotations = {key: _text(noted[key]) for key in _NOTED if noted.get(key) is not None}
        annotations |= {"summary": one.summary, "alarm_id": one.alarm_id}
        if one.runbook:
            annotations["runbook_url"] = one.runbook
        document: dict[str, Any] = {
            "labels": dict(alert.labels),
            "annotations": {key: text for key, text in annotations.items() if text},
            "startsAt": _moment(min(self._time(one.since, now), now)),
            "endsAt": _moment(now + self._expires if alert.firing else now),
        }
        if self._link is not None:
            series = quote(one.series_id, safe="")
            document["generatorURL"] = self._link.replace("{series}", series)
        return document

    def _time(self, ticks: int | None, now: datetime) -> datetime:
        """Return an event time; the present where there is none, or one beyond the calendar."""
        if ticks is None:
            return now
        try:
            return _EPOCH + timedelta(milliseconds=ticks // self._per_ms)
        except OverflowError:
            return now


def labels_of(one: Transition, job: str) -> Labels:
    """Return the labels by which an Alertmanager identifies an alarm.

    Examples
    --------
    >>> made = Transition(
    ...     alarm_id="too_hot-0-7-9f3a51c2", transition="raised", rule="too_hot", kind="bounds",
    ...     series_id="", severity="warning", time=5, since=5,
    ... )
    >>> dict(labels_of(made, "rooms"))["series"], dict(labels_of(made, "rooms"))["alertname"]
    ('(empty)', 'EwmaTooHot')
    """
    words = "".join(part[:1].upper() + part[1:] for part in one.rule.replace("-", "_").split("_"))
    labels = {
        "alertname": f"Ewma{words}",
        "job": job,
        "kind": one.kind,
        "rule": one.rule,
        "series": one.series_id,
        "severity": one.severity,
    }
    # An empty label counts as absent, and two series without one would be one alert.
    return tuple((name, value or _EMPTY) for name, value in labels.items())


def _moment(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
