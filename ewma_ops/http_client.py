"""HTTP calls that are bounded: in the size of an answer, its time, and where they lead.

Knows HTTP and TLS; must not know what is requested, nor whether a call is repeated.
"""

from __future__ import annotations

import base64
import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ewma_ops.errors import ConfigError
from ewma_ops.secrets.masking import Secret

__all__ = [
    "LongAnswerError",
    "Opener",
    "basic_authorization",
    "content_of",
    "opener",
    "secret_text",
]

Opener = Callable[..., Any]
"""Opens a request within ``timeout`` seconds, as `urllib.request.urlopen` does."""

_CHUNK = 64 << 10


class LongAnswerError(Exception):
    """An answer is larger than any that is expected."""


def opener(
    table: str,
    who: str,
    *,
    ca_file: Path | None = None,
    cert_file: Path | None = None,
    key_file: Path | None = None,
) -> Opener:
    """Return an opener that follows no redirect, whose target would be sent the password.

    Parameters
    ----------
    table, who
        For messages: the table of the configuration file, and which server its keys are for.
    ca_file
        PEM file of the authority that certifies the server; ``None`` for those of the system.
    cert_file, key_file
        PEM files of the client's own certificate and its key, which may stand in one file.

    Raises
    ------
    ConfigError
        If a PEM file cannot be read.
    """
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if ca_file is not None or cert_file is not None:
        context = _context(table, who, ca_file, cert_file, key_file)
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers).open


def basic_authorization(username: str, password: str | None) -> str:
    """Return the header ``Authorization`` of HTTP Basic; a password from a file is read again."""
    both = f"{username}:{secret_text(password or '')}"
    return f"Basic {base64.b64encode(both.encode()).decode()}"


def secret_text(secret: str) -> str:
    """Return the current value of a secret: a file may have been replaced."""
    return str.__str__(secret.read_again() if isinstance(secret, Secret) else secret)


def content_of(answer: http.client.HTTPResponse, limit_s: float, most_bytes: int) -> bytes:
    """Return the answer.

    Raises
    ------
    LongAnswerError
        If it is larger than ``most_bytes``.
    TimeoutError
        If it takes longer than ``limit_s`` seconds.
    """
    until = time.monotonic() + limit_s
    content = bytearray()
    while chunk := answer.read1(_CHUNK):
        content += chunk
        if len(content) > most_bytes:
            raise LongAnswerError(f"an answer has more than {most_bytes} bytes")
        if time.monotonic() > until:
            raise TimeoutError(f"no answer within {limit_s:g} s")
    return bytes(content)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _context(
    table: str, who: str, ca_file: Path | None, cert_file: Path | None, key_file: Path | None
) -> ssl.SSLContext:
    """Return the TLS context; `ConfigError` if a file cannot be read."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{table}.ca_file = {ca_file} cannot be read as PEM: {error}; give the file of the "
            f"authority that certified {who}"
        ) from None
    if cert_file is not None:
        try:
            # An empty password, or OpenSSL would ask for one on the terminal.
            context.load_cert_chain(cert_file, key_file, password="")
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"{table}.cert_file = {cert_file} cannot be read as PEM with its key: {error}; "
                f"give a certificate, and its key without a password in it or in {table}.key_file"
            ) from None
    return context
