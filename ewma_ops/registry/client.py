"""One call to a Schema Registry: which of its servers answers, and what an answer means.

Knows HTTP and the registry's REST API; must not know payloads or formats, and never waits for what
is temporary: that is `ewma_ops.registry.schemas`.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ewma_ops.errors import ConfigError, RegistryError
from ewma_ops.http_client import LongAnswerError, basic_authorization, content_of, opener
from ewma_ops.secrets.masking import Secret, masked

__all__ = ["RegistryClient", "UnknownIdError", "segment"]

_TYPE = "application/vnd.schemaregistry.v1+json"
_LARGEST_ANSWER = 16 << 20
_PATIENCE_S = 120.0
"""How long a user who was accepted before and is refused now is retried: passwords are rotated."""


class UnknownIdError(Exception):
    """The registry does not have what was requested."""


def segment(name: str) -> str:
    """Return a name as a part of a path."""
    return quote(name, safe="")


class RegistryClient:
    """Ask a registry.

    Parameters
    ----------
    urls
        Its servers; the one that answered last is asked first.
    username, password
        For HTTP Basic; a password from a file is read again for each call. ``None`` for none.
    ca_file
        PEM file of the authority that certifies the servers; ``None`` for those of the system.
    cert_file, key_file
        PEM files of the client's own certificate and its key, which may stand in one file.
    timeout_s
        Seconds that one call may take, > 0.

    Raises
    ------
    ConfigError
        If a PEM file cannot be read.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        username: str | None = None,
        password: str | None = None,
        ca_file: Path | None = None,
        cert_file: Path | None = None,
        key_file: Path | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._username, self._password = username, password
        self._timeout_s = timeout_s
        self._open = opener(
            "registry", "the registry", ca_file=ca_file, cert_file=cert_file, key_file=key_file
        )
        self._was_let_in = False
        self._refused_since: float | None = None

    def get(self, path: str) -> Any:
        """Return the answer to a GET; see :meth:`post` for what is raised."""
        return self._ask(path, None)

    def post(self, path: str, fields: object) -> Any:
        """Return the answer to a POST of JSON.

        Raises
        ------
        UnknownIdError
            If the registry does not have what is requested (404).
        RegistryError
            If no server answers as it should: a later call may succeed.
        ConfigError
            If it refuses the user or what is sent, or the configuration does not fit it.
        """
        return self._ask(path, json.dumps(fields).encode())

    def _ask(self, path: str, body: bytes | None) -> Any:
        failure: Exception | None = None
        for url in list(self._urls):
            try:
                answer = self._answer(url, path, body)
            except UnknownIdError as error:  # another server may know it already
                failure, self._was_let_in = error, True
                continue
            except RegistryError as error:
                failure = failure or error
                continue
            self._urls.remove(url)
            self._urls.insert(0, url)
            self._was_let_in, self._refused_since = True, None
            return answer
        assert failure is not None
        raise failure

    def _answer(self, url: str, path: str, body: bytes | None) -> Any:
        at = f"the registry at {url}"
        request = urllib.request.Request(f"{url}{path}", body, self._headers())
        try:
            with self._open(request, timeout=self._timeout_s) as answer:
                content = content_of(answer, self._timeout_s, _LARGEST_ANSWER)
            return json.loads(content)
        except urllib.error.HTTPError as error:
            self._refuse(at, error, posts=body is not None)
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLCertVerificationError) and not self._was_let_in:
                raise ConfigError(
                    f"{at} cannot be trusted ({reason.verify_message}): set registry.ca_file to "
                    "the file of the authority that certified it"
                ) from None
            raise RegistryError(
                f"{at} cannot be reached: start it, or correct registry.url "
                f"({masked(str(reason) or type(reason).__name__)})"
            ) from None
        except LongAnswerError as error:
            raise RegistryError(f"{at}: {error}") from None
        except ValueError:
            raise RegistryError(
                f"{at} answered with something other than JSON: correct registry.url"
            ) from None

    def _refuse(self, at: str, error: urllib.error.HTTPError, *, posts: bool) -> None:
        """Raise the error that an answer other than 200 means."""
        with error:
            said = masked(error.read(200).decode(errors="replace")).strip()
        if error.code == 404 and "error_code" in said:
            raise UnknownIdError(said)
        if error.code in (401, 403):
            refused = (
                f"{at} refused the user ({error.code}): correct registry.username and "
                f"registry.password ({said})"
            )
            if self._may_be_temporary():
                raise RegistryError(refused)
            raise ConfigError(refused)
        if (error.code == 404 or 300 <= error.code < 400) and not self._was_let_in:
            raise ConfigError(
                f"{at} is no Schema Registry ({error.code}): correct registry.url, with the path "
                f"of the API that Confluent's clients use ({said})"
            )
        if error.code in (409, 422) and posts:
            raise ConfigError(f"{at} refused the schema ({error.code}): {said}")
        raise RegistryError(f"{at} answered {error.code} ({said})")

    def _may_be_temporary(self) -> bool:
        from_file = isinstance(self._password, Secret) and self._password.from_file
        if not (self._was_let_in or from_file):
            return False
        now = time.monotonic()
        if self._refused_since is None:
            self._refused_since = now
        return now - self._refused_since < _PATIENCE_S

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": f"{_TYPE}, application/json", "Content-Type": _TYPE}
        if self._username is not None:
            headers["Authorization"] = basic_authorization(self._username, self._password)
        return headers
