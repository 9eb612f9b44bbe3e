"""A webhook: posts each transition as it is on the alarms topic, signed.

Knows the headers; must not know Kafka or when something is sent again.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from urllib.parse import quote

from ewma_ops.http_client import opener, secret_text
from ewma_ops.notify.alarm import Transition
from ewma_ops.notify.calls import RefusedCallError, post

__all__ = ["Webhook"]


class Webhook:
    """Post transitions one by one, in order.

    The header ``Idempotency-Key`` is ``ALARM_ID/raised``, ``ALARM_ID/cleared``, or
    ``ALARM_ID/changed/TIME``: what was posted twice has it twice. With a secret the header
    ``X-Ewma-Signature`` is ``sha256=`` and the HMAC of the body in hexadecimal digits.

    Parameters
    ----------
    url
        The address.
    secret
        The key of the HMAC; ``None`` for no signature.
    timeout_s
        Seconds that a call may take.
    """

    name = "webhook"
    together = 1
    """How many transitions one call takes."""

    def __init__(self, url: str, secret: str | None, timeout_s: float) -> None:
        self._url, self._secret, self._timeout_s = url, secret, timeout_s
        self._open = opener("notify", "the webhook")

    def restore(self, active: Sequence[Transition]) -> None:
        """Do nothing: a webhook has no state."""

    def send(self, transitions: Sequence[Transition]) -> dict[str, str]:
        """Post transitions; return why some are refused, by their key."""
        refused = {}
        for one in transitions:
            headers = {"Idempotency-Key": quote(one.key, safe="/-_.")}
            if self._secret is not None:
                key = secret_text(self._secret).encode()
                digest = hmac.new(key, one.document, hashlib.sha256).hexdigest()
                headers["X-Ewma-Signature"] = f"sha256={digest}"
            try:
                post(self._open, self._url, one.document, headers, self._timeout_s)
            except RefusedCallError as error:
                refused[one.key] = str(error)
        return refused

    def send_again(self) -> int:
        """Send nothing: a webhook repeats nothing."""
        return 0
