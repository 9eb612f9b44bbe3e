"""One POST to a receiver, and what its answer means: taken, refused, or to be tried again.

Knows HTTP's status codes; must not know what is sent.
"""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping

from ewma_ops.http_client import Opener
from ewma_ops.secrets.masking import masked

__all__ = ["AwayError", "RefusedCallError", "post"]

_REFUSALS = frozenset({400, 413, 414, 415, 422})
"""Answers that concern the content: sending it again would fail again."""
_MOST_SAID = 200


class AwayError(Exception):
    """A receiver cannot be reached or accepts nothing now; ``after_s`` is the wait it asks for."""

    def __init__(self, why: str, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.after_s = after_s


class RefusedCallError(Exception):
    """A receiver refuses what was sent, and always will."""


def post(
    opens: Opener, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
) -> None:
    """Send a JSON document; return once it is accepted (2xx).

    Raises
    ------
    AwayError
        If it may be accepted later.
    RefusedCallError
        If it never will be.
    """
    own = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(url, body, own, method="POST")
    try:
        with opens(request, timeout=timeout_s):
            return
    except urllib.error.HTTPError as error:
        with error:
            said = masked(error.read(_MOST_SAID).decode(errors="replace")).strip()
        answered = f"answered {error.code} ({said})" if said else f"answered {error.code}"
        if error.code in _REFUSALS:
            raise RefusedCallError(answered) from None
        raise AwayError(answered, _seconds(error.headers.get("Retry-After"))) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            reason = f"its certificate is not trusted: {reason.verify_message}"
        why = masked(str(reason)) or type(reason).__name__
        raise AwayError(f"cannot be reached ({why})") from None


def _seconds(text: str | None) -> float:
    """Return the seconds of ``Retry-After``, at most five minutes; its dates are not read."""
    return min(float(text), 300.0) if text is not None and text.isdecimal() else 0.0
