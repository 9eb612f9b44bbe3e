"""Table ``[notify]`` of the configuration file: where ``ewma notify`` sends alarms.

Knows the keys and how their values are shown; must not know HTTP, nor the rest of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from msgspec import Struct

from ewma_ops.settings.bind import Bind, bind_of
from ewma_ops.settings.servers import (
    PEM_FILE,
    TIMEOUT,
    USER,
    Readers,
    password,
    read_server_table,
    server_urls,
    span,
    text,
    url,
    webhook,
)

__all__ = ["NOTIFY_KEY", "Notify", "read_notify"]

NOTIFY_KEY = 'alertmanager = "http://127.0.0.1:9093"'


class Notify(Struct, frozen=True, kw_only=True):
    """Table ``[notify]``: Alertmanagers, a webhook, and how often active alarms are sent again.

    ``username``, ``password`` and ``ca_file`` are for the Alertmanagers, each of which gets all;
    ``secret`` signs what a webhook gets. A transition whose event time is older than ``old_after``
    is held for one ``resend``, and dropped if its alarm clears meanwhile. ``link`` is an
    address for people, with ``{series}`` in it. ``topic`` is where alarms are.
    ``bind`` is where metrics and health are served; ``None`` for nowhere.
    """

    alertmanager: tuple[str, ...] = ()
    username: str | None = None
    password: str | None = None
    ca_file: Path | None = None
    webhook: str | None = None
    secret: str | None = None
    resend: timedelta = timedelta(minutes=1)
    timeout: timedelta = timedelta(seconds=10)
    old_after: timedelta = timedelta(minutes=15)
    link: str | None = None
    topic: str = "alarms"
    group_id: str = ""
    bind: Bind | None = None

    def __repr__(self) -> str:
        return f"Notify(alertmanager={self.alertmanager!r}, webhook={self.webhook is not None})"

    @property
    def receivers(self) -> str:
        """Where alarms are sent, for people; the path of a webhook may be secret."""
        return ", ".join([*self.alertmanager, *(["webhook"] if self.webhook else [])])


def read_notify(values: Mapping[str, Any], mistakes: list[str]) -> Notify | None:
    """Read the table; every ``${NAME}`` and ``${file:PATH}`` in a value is replaced.

    Parameters
    ----------
    values
        The table as parsed; unknown keys are reported elsewhere.
    mistakes
        Mistakes are added here; they show neither secrets nor the address of a webhook.
    """
    return read_server_table(Notify, "notify", values, _READERS, mistakes, _incomplete)


def _incomplete(values: Mapping[str, Any]) -> Iterator[str]:
    if "alertmanager" not in values and "webhook" not in values:
        yield f'[notify] has no receiver: add {NOTIFY_KEY} or webhook = "https://..."'
    if "secret" in values and "webhook" not in values:
        yield 'notify.secret signs what a webhook gets; add webhook = "https://..." to [notify]'
    for key in ("username", "password", "ca_file"):
        if key in values and "alertmanager" not in values:
            yield f"notify.{key} is for an Alertmanager; add {NOTIFY_KEY} to [notify]"
    if "password" in values and "username" not in values:
        yield 'notify.password needs a user; add username = "..." to [notify]'


def _resend(value: object) -> timedelta:
    found = span(value)
    if not timedelta(seconds=1) <= found <= timedelta(hours=1):
        raise ValueError
    return found


def _link(value: object) -> str:
    template = text(value)
    if "{series}" not in template:
        raise ValueError
    url(template.replace("#", "/").replace("?", "/").replace("{series}", "x"))
    return template


_READERS: Readers = {
    "alertmanager": server_urls(9093),
    "username": USER,
    "password": (password, 'text such as "${ALERTMANAGER_PASSWORD}"'),
    "ca_file": PEM_FILE,
    "webhook": (
        webhook,
        'text such as "https://example.org/alarms" or "${WEBHOOK_URL}", without a user in it',
    ),
    "secret": (password, 'text such as "${WEBHOOK_SECRET}"'),
    "resend": (_resend, 'a duration from "1s" to "1h"'),
    "timeout": TIMEOUT,
    "old_after": (span, 'a duration such as "15min"'),
    "link": (_link, 'an address with {series} in it, such as "http://127.0.0.1:8765/#{series}"'),
    "topic": (text, "the name of the alarms topic, as text"),
    "group_id": (text, "the name of a consumer group, as text"),
    "bind": (bind_of, 'a host and a port, such as "127.0.0.1:9465"'),
}
