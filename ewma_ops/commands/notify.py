"""``ewma notify``: alarms from their topic to Alertmanagers and a webhook, until it is stopped.

Knows settings, signals and what is printed; `notify` sends the alarms.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from ewma_ops.columns.murmur2 import murmur2
from ewma_ops.errors import ConfigError, EwmaError
from ewma_ops.http_client import opener
from ewma_ops.job.identity import identify
from ewma_ops.job.relay import relayed_stderr, write_line
from ewma_ops.notify.alarms_topic import AlarmsTopic
from ewma_ops.notify.alertmanager import Alertmanager
from ewma_ops.notify.delivery import Receiver
from ewma_ops.notify.notifier import Notifier
from ewma_ops.notify.ongoing import Ongoing, OwnAlarms
from ewma_ops.notify.webhook import Webhook
from ewma_ops.secrets.masking import masked
from ewma_ops.settings.bind import Bind
from ewma_ops.settings.load import load
from ewma_ops.settings.model import Settings
from ewma_ops.settings.notify_table import NOTIFY_KEY, Notify

__all__ = ["notify", "run_notify"]


def run_notify(config: Path) -> int:
    """Send alarms to receivers until a signal stops it; return an exit code."""
    stopping, connected = threading.Event(), threading.Event()

    def stop(*_: object) -> None:
        first = not stopping.is_set()
        stopping.set()
        if first and not connected.is_set():  # a wait for brokers checks no event
            raise _StoppedError

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with relayed_stderr():
            summary = notify(load(config), stopping, _say, connected.set)
    except _StoppedError:
        summary = "stopped before it was connected"
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    write_line(f"ewma notify: {summary}")
    return 0


class _StoppedError(BaseException):
    """A signal came before there was anything to stop."""


def notify(
    settings: Settings,
    stopping: threading.Event,
    tell: Callable[[str], None],
    on_connected: Callable[[], None] = lambda: None,
) -> str:
    """Send a job's alarms to receivers until ``stopping`` is set; return a summary.

    Parameters
    ----------
    settings
        With a table ``[notify]``.
    tell
        Called with lines on progress and failures.
    on_connected
        Called when the topic is open; from then on ``stopping`` is checked.

    Raises
    ------
    ConfigError
        If the table is missing, or a PEM file cannot be read.
    BrokerError
        If no broker answers, or the alarms topic does not exist.
    """
    asked = settings.notify
    if asked is None:
        raise ConfigError(f"[notify] is missing; add it with {NOTIFY_KEY}")
    resend_s = asked.resend.total_seconds()
    tick = settings.input.tick
    ongoing = Ongoing(_ms(asked.old_after), _ms(asked.resend), tick.per_ms)
    receivers = list(_receivers(settings, asked))
    own = _own_alarms(settings, tell)
    group = asked.group_id or f"{settings.input.group_id}-notify"
    topic = AlarmsTopic(settings.kafka, asked.topic, group, tell)
    on_connected()
    notifier = Notifier(topic, receivers, ongoing, resend_s, tell, own)
    with _serving(asked.bind, notifier, tell):
        notifier.run(stopping)
    return notifier.summary()


@contextlib.contextmanager
def _serving(bind: Bind | None, notifier: Notifier, tell: Callable[[str], None]) -> Iterator[None]:
    """Serve metrics and health for the length of a ``with`` block, if the file says where."""
    if bind is None:
        yield
        return
    # Imported here, because it takes a tenth of a second.
    from ewma_ops.commands.notify_metrics import NotifyMeasurements
    from ewma_ops.job.endpoint import serving

    with serving(bind, NotifyMeasurements(notifier), "notify.bind") as address:
        tell(f"metrics at {address}/metrics, health at /healthz and /readyz")
        yield


def _own_alarms(settings: Settings, tell: Callable[[str], None]) -> OwnAlarms | None:
    """Return how ids of the job's alarms end, one for each input topic, and these topics."""
    if settings.alarms is None:
        return None
    try:
        identity = identify(settings, {}, letters=False)
    except EwmaError as error:
        tell(f"alarms of earlier rules cannot be distinguished from current ones: {error}")
        return None
    job = murmur2(identity.alarms.encode())
    endings = frozenset(f"{job ^ number:08x}" for number in identity.inputs.by_number)
    return OwnAlarms(endings, frozenset(identity.inputs.names))


def _receivers(settings: Settings, asked: Notify) -> list[Receiver]:
    timeout_s = asked.timeout.total_seconds()
    found: list[Receiver] = []
    if asked.alertmanager:
        opens = opener("notify", "the Alertmanager", ca_file=asked.ca_file)
        found += [
            Alertmanager(
                url,
                opens,
                job=settings.input.group_id,
                resend_s=asked.resend.total_seconds(),
                timeout_s=timeout_s,
                username=asked.username,
                password=asked.password,
                link=asked.link,
                ticks_per_ms=settings.input.tick.per_ms,
            )
            for url in asked.alertmanager
        ]
    if asked.webhook is not None:
        found.append(Webhook(asked.webhook, asked.secret, timeout_s))
    return found


def _ms(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)


def _say(line: str) -> None:
    write_line(masked(f"ewma notify: {line}"))
