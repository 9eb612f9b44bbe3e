"""Tokens for ``sasl_mechanism = "OAUTHBEARER"``: from a function or an OAuth 2 token endpoint.

Knows how a token is fetched, kept and renewed; must not know kafka-python's inside.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ewma_ops.errors import BrokerError, ConfigError, EwmaError
from ewma_ops.named import import_named
from ewma_ops.secrets.masking import Secret, masked, remember
from ewma_ops.secrets.option_names import shown

__all__ = ["OWN_OPTIONS", "Endpoint", "Provider", "provider_of"]

_log = logging.getLogger(__name__)

OWN_OPTIONS = {
    "sasl_oauthbearer_token_endpoint_url": "",
    "sasl_oauthbearer_client_id": "",
    "sasl_oauthbearer_client_secret": "",
    "sasl_oauthbearer_scope": "",
}
"""Options that kafka-python lacks: librdkafka's, with underscores."""

_PREFIX = "sasl_oauthbearer_"
_URL = "sasl_oauthbearer_token_endpoint_url"
_TIMEOUT_S = 10.0
_LONGEST_ANSWER = 1 << 20
_DEFAULT_LIFETIME_S = 300.0
_RENEW_AT = 0.8
"""A token is renewed when this share of its lifetime is over."""
_RETRY_S = 10.0
_HOW = (
    'set sasl_oauth_token_provider = "module:function", or sasl_oauthbearer_token_endpoint_url, '
    "sasl_oauthbearer_client_id and sasl_oauthbearer_client_secret"
)


class Provider(NamedTuple):
    """Provides the token and the extensions, at every authentication of a connection."""

    token: Callable[[], str]
    extensions: Callable[[], dict[str, str]] = dict


def provider_of(client: Mapping[str, object]) -> Provider | None:
    """Return the provider that the options ask for; None for another mechanism.

    Raises
    ------
    ConfigError
        If there is none, more than one, or it cannot be imported.
    """
    named = client.get("sasl_oauth_token_provider")
    own = [option for option in OWN_OPTIONS if client.get(option) is not None]
    if client.get("sasl_mechanism") != "OAUTHBEARER":
        if named is not None or own:
            option = own[0] if named is None else "sasl_oauth_token_provider"
            raise ConfigError(
                f'kafka.{option} is used with sasl_mechanism = "OAUTHBEARER" only: set that, and '
                'security_protocol = "SASL_SSL"'
            )
        return None
    if named is not None and own:
        raise ConfigError(
            f"kafka.sasl_oauth_token_provider and kafka.{own[0]} both provide the token: remove one"
        )
    if named is not None:
        return _imported(named) if isinstance(named, str) else _wrapped(named, "the provider")
    missing = [option for option in list(OWN_OPTIONS)[:3] if client.get(option) is None]
    if missing:
        raise ConfigError(f"kafka.{missing[0]} is missing, which OAUTHBEARER requires: {_HOW}")
    values = {option.removeprefix(_PREFIX): client.get(option) for option in OWN_OPTIONS}
    return Provider(Endpoint(**values).token)  # type: ignore[arg-type]  # text, checked as such


class Endpoint:
    """An OAuth 2 token endpoint, asked with client credentials (RFC 6749, section 4.4).

    The token is cached, and renewed after four fifths of its lifetime; while the endpoint does not
    answer, the old one is used as long as it is valid.

    Parameters
    ----------
    token_endpoint_url
        An ``https`` address; ``http`` for tests and sidecars.
    client_id, client_secret
        The client's credentials, sent by HTTP Basic; a secret from a file is read again each time.
    scope
        Scopes, separated by blanks, or None.
    """

    def __init__(
        self,
        token_endpoint_url: str,
        client_id: str,
        client_secret: str,
        scope: str | None = None,
    ) -> None:
        if urllib.parse.urlsplit(token_endpoint_url).scheme not in ("http", "https"):
            raise ConfigError(
                f"kafka.{_URL} = {shown(_URL, token_endpoint_url)}: it must begin with https://"
            )
        self._url = token_endpoint_url
        self._client_id = client_id
        self._client_secret = client_secret
        self._scope = scope
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at = self._valid_until = 0.0

    def token(self) -> str:
        """Return a valid token; asks the endpoint if the cached one is old.

        Raises
        ------
        ConfigError
            If the endpoint refuses the client.
        BrokerError
            If it does not answer with a token within ten seconds.
        """
        with self._lock:
            now = time.monotonic()
            if now < self._renew_at:
                return self._token
            try:
                self._token, lifetime_s = self._fetch()
            except EwmaError as error:
                if now >= self._valid_until:
                    raise
                _log.warning("%s; using the token that is still valid", error)
                self._renew_at = min(now + _RETRY_S, self._valid_until)
                return self._token
            self._renew_at = now + _RENEW_AT * lifetime_s
            self._valid_until = now + lifetime_s
            return self._token

    def _fetch(self) -> tuple[str, float]:
        at = f"the token endpoint {shown(_URL, self._url)[1:-1]}"
        try:
            with urllib.request.urlopen(self._request(), timeout=_TIMEOUT_S) as answer:
                content = answer.read(_LONGEST_ANSWER)
        except urllib.error.HTTPError as error:
            refusal = masked(error.read(200).decode(errors="replace"))
            if error.code in (400, 401, 403, 404):
                raise ConfigError(
                    f"{at} refused the client ({error.code}): correct kafka.{_URL}, "
                    f"{_PREFIX}client_id, {_PREFIX}client_secret or {_PREFIX}scope ({refusal})"
                ) from None
            raise BrokerError(f"{at} answered {error.code}: try again later ({refusal})") from None
        except (OSError, ValueError) as error:
            raise BrokerError(
                f"{at} cannot be reached: start it, or correct kafka.{_URL} ({masked(str(error))})"
            ) from None
        try:
            fields = json.loads(content)
            token = fields["access_token"]
            lifetime_s = float(fields.get("expires_in", _DEFAULT_LIFETIME_S))
            if not isinstance(token, str) or not token:
                raise TypeError
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BrokerError(
                f"{at} answered with something other than a token: correct kafka.{_URL}"
            ) from None
        remember(token)
        return token, lifetime_s

    def _request(self) -> urllib.request.Request:
        secret = self._client_secret
        secret = secret.read_again() if isinstance(secret, Secret) else secret
        both = f"{urllib.parse.quote(self._client_id)}:{urllib.parse.quote(secret)}"
        fields = {"grant_type": "client_credentials"}
        if self._scope is not None:
            fields["scope"] = self._scope
        return urllib.request.Request(
            self._url,
            urllib.parse.urlencode(fields).encode(),
            {
                "Authorization": f"Basic {base64.b64encode(both.encode()).decode()}",
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
            },
        )


def _imported(name: str) -> Provider:
    option = "kafka.sasl_oauth_token_provider"
    return _wrapped(import_named(option, name), f'{option} = "{name}"')


def _wrapped(found: object, option: str) -> Provider:
    """Take a function that returns a token, or an object with ``token`` and ``extensions``."""
    give = getattr(found, "token", found)
    if not callable(give):
        raise ConfigError(f"{option}: it must be a function that returns a token, or a class")

    def token() -> str:
        try:
            text = give()
        except Exception as error:
            raise BrokerError(
                f"{option} failed: {masked(f'{type(error).__name__}: {error}')}"
            ) from error
        if not isinstance(text, str):
            raise ConfigError(f"{option} returned {type(text).__name__}: it must return text")
        remember(text)
        return text

    return Provider(token, getattr(found, "extensions", dict))
