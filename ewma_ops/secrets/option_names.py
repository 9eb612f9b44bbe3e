"""The names of connection options: which may be shown, and what other clients call them.

Knows names and no values' meaning; must not import kafka-python.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable
from typing import NamedTuple

from ewma_ops.secrets.masking import Secret, masked, remember

__all__ = [
    "DEFAULT_ISOLATION",
    "SECRETS",
    "SHOWN",
    "Foreign",
    "foreign",
    "is_address",
    "refused_choice",
    "remember_secrets",
    "shown",
]

_SHOWN = (
    "api_version batch_size bootstrap_servers bootstrap_timeout_ms client_dns_lookup client_id "
    "client_rack compression_type connections_max_idle_ms delivery_timeout_ms "
    "enable_incremental_fetch_sessions exclude_internal_topics fetch_max_bytes fetch_max_wait_ms "
    "fetch_min_bytes heartbeat_interval_ms isolation_level linger_ms max_block_ms "
    "max_partition_fetch_bytes max_poll_interval_ms max_poll_records max_request_size "
    "metadata_max_age_ms metric_group_prefix metrics_enabled metrics_num_samples "
    "metrics_sample_window_ms proxy_url receive_buffer_bytes receive_message_max_bytes "
    "reconnect_backoff_max_ms reconnect_backoff_ms request_timeout_ms retry_backoff_ms "
    "sasl_kerberos_domain_name sasl_kerberos_name sasl_kerberos_service_name sasl_mechanism "
    "sasl_oauth_token_provider sasl_oauthbearer_client_id sasl_oauthbearer_scope "
    "sasl_oauthbearer_token_endpoint_url sasl_plain_username security_protocol send_buffer_bytes "
    "session_timeout_ms socks5_proxy ssl_cafile ssl_certfile ssl_check_hostname ssl_ciphers "
    "ssl_crlfile ssl_keyfile "
)
SHOWN = frozenset(_SHOWN.split())
"""The options whose values may be shown. Of every other one, known or not, only the name is."""

SECRETS = frozenset({"sasl_plain_password", "ssl_password", "sasl_oauthbearer_client_secret"})

DEFAULT_ISOLATION = "read_committed"
"""Which records of the input are read: aborted transactions are not."""

_CHOICES = {
    "security_protocol": ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
    "sasl_mechanism": (
        "PLAIN",
        "SCRAM-SHA-256",
        "SCRAM-SHA-512",
        "OAUTHBEARER",
        "GSSAPI",
        "AWS_MSK_IAM",
    ),
    "isolation_level": ("read_committed", "read_uncommitted"),
    "compression_type": ("gzip", "snappy", "lz4", "zstd"),
    "client_dns_lookup": ("use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"),
}
"""Options that take a few values: kafka-python replaces some unknown ones without a word."""

_USER = re.compile(r"(?:^|://|,)([^/@\s,]*)@")
_USER_IN_TEXT = re.compile(r"[^\s,/]*@")
_USER_IN_URL = re.compile(r"://[^/\s]*@")
_QUERY_OF_URL = re.compile(r"(://[^?#\s\"]*)[?#][^\s\"]*")
_ADDRESS = re.compile(
    r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?|[0-9A-Fa-f:]*::[0-9A-Fa-f:.]*"
)
_LONGEST = 60

_ELSEWHERE = {
    "group_id": '[input] group_id = "..."',
    "auto_offset_reset": '[input] start = "earliest"',
    "auto_offset_store": "nothing: offsets are committed once they are durable",
    "enable_auto_commit": "nothing: offsets are committed once they are durable",
    "enable_auto_offset_store": "nothing: offsets are committed once they are durable",
    "sasl_jaas_config": 'sasl_plain_username = "..." and sasl_plain_password = "${...}"',
    "transactional_id": '[output] delivery = "transactional"',
}
_ALIASES = {
    "broker_list": "bootstrap_servers",
    "brokers": "bootstrap_servers",
    "bootstrap_server": "bootstrap_servers",
    "metadata_broker_list": "bootstrap_servers",
    "sasl_mechanisms": "sasl_mechanism",
    "sasl_username": "sasl_plain_username",
    "sasl_password": "sasl_plain_password",
    "sasl_kerberos_principal": "sasl_kerberos_name",
    "sasl_oauth_client_id": "sasl_oauthbearer_client_id",
    "sasl_oauth_client_secret": "sasl_oauthbearer_client_secret",
    "ssl_ca_location": "ssl_cafile",
    "ssl_truststore_location": "ssl_cafile",
    "ssl_certificate_location": "ssl_certfile",
    "ssl_keystore_location": "ssl_certfile",
    "ssl_key_location": "ssl_keyfile",
    "ssl_key_password": "ssl_password",
    "ssl_keystore_password": "ssl_password",
    "ssl_crl_location": "ssl_crlfile",
    "ssl_cipher_suites": "ssl_ciphers",
    "ssl_endpoint_identification_algorithm": "ssl_check_hostname",
    "enable_ssl_certificate_verification": "ssl_check_hostname",
    "queue_buffering_max_ms": "linger_ms",
    "compression_codec": "compression_type",
    "message_max_bytes": "max_request_size",
    "fetch_wait_max_ms": "fetch_max_wait_ms",
    "fetch_message_max_bytes": "max_partition_fetch_bytes",
    "max_partition_fetch_bytes": "max_partition_fetch_bytes",
    "receive_message_max_bytes": "receive_message_max_bytes",
    "socket_timeout_ms": "request_timeout_ms",
    "socket_receive_buffer_bytes": "receive_buffer_bytes",
    "socket_send_buffer_bytes": "send_buffer_bytes",
    "topic_metadata_refresh_interval_ms": "metadata_max_age_ms",
    "sasl_login_callback_handler_class": "sasl_oauth_token_provider",
    "oauthbearer_token_endpoint_url": "sasl_oauthbearer_token_endpoint_url",
}
_OTHER_VALUES = {
    ("ssl_cafile", "ssl_truststore_location"): '"ca.pem"',
    ("ssl_certfile", "ssl_keystore_location"): '"client.pem"',
    ("ssl_check_hostname", "ssl_endpoint_identification_algorithm"): "false",
    ("sasl_oauth_token_provider", "sasl_login_callback_handler_class"): '"module:function"',
}
"""Values that are another kind of thing here: Java's key stores are not PEM files."""


class Foreign(NamedTuple):
    """An option by its name in librdkafka, the Java clients or an older guide."""

    name: str | None
    line: str

    def __str__(self) -> str:
        return f"is the name that other clients use: write {self.line}"


def foreign(option: str, value: object) -> Foreign | None:
    """Return what to write instead of another client's option; None if it is not one.

    Parameters
    ----------
    option
        As it stands in ``[kafka]``, such as ``"bootstrap.servers"`` or ``"sasl.username"``.
    value
        As it is written; shown in the answer only where that is no secret.

    Examples
    --------
    >>> foreign("bootstrap.servers", "127.0.0.1:9092").line
    'bootstrap_servers = "127.0.0.1:9092"'
    >>> foreign("sasl.password", "hunter2").line
    'sasl_plain_password = "${KAFKA_PASSWORD}"'
    >>> foreign("sasl.oauthbearer.scope", "all").line
    'sasl_oauthbearer_scope = "all"'
    """
    plain = option.lower().replace(".", "_").replace("-", "_")
    if plain != option and plain in _ELSEWHERE:
        return Foreign(None, _ELSEWHERE[plain])
    name = _ALIASES.get(plain, plain)
    if name == option or name not in SHOWN | SECRETS:
        return Foreign(None, _ELSEWHERE[plain]) if plain == "sasl_jaas_config" else None
    if name in SECRETS:
        text = "${KAFKA_PASSWORD}" if name == "sasl_plain_password" else f"${{{name.upper()}}}"
        return Foreign(name, f'{name} = "{text}"')
    return Foreign(name, f"{name} = {_OTHER_VALUES.get((name, plain)) or shown(name, value)}")


def refused_choice(option: str, value: object) -> str | None:
    """Return why an option cannot have a value, where it has a few to choose from.

    Examples
    --------
    >>> refused_choice("isolation_level", "read_commited").partition(";")[2]
    ' did you mean read_committed?'
    """
    choices = _CHOICES.get(option, ())
    if not choices or value in choices:
        return None
    words = {word.lower(): word for word in choices}
    near = difflib.get_close_matches(str(value).lower(), words, 1, 0.5)
    fix = f"; did you mean {words[near[0]]}?" if near else ""
    return f"{option} = {shown(option, value)}: it must be one of {', '.join(choices)}{fix}"


def shown(option: str, value: object) -> str:
    """Return a value of an option as text that may be shown.

    Examples
    --------
    >>> shown("sasl_plain_pass", "hunter2"), shown("proxy_url", "http://me:hunter2@proxy:80")
    ('***', '"http://***@proxy:80"')
    """
    if option not in SHOWN or isinstance(value, dict):
        return "***"
    written = _as_written(value, _shown_servers if option == "bootstrap_servers" else str)
    # JSON has no line break inside a text.
    text = json.dumps(written, ensure_ascii=False, default=lambda _: "***")
    text = masked(_QUERY_OF_URL.sub(r"\1?***", _USER_IN_URL.sub("://***@", text)))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def remember_secrets(option: str, value: object) -> None:
    """Register the secret parts of a value: everything printed or logged later masks them."""
    if isinstance(value, (list, tuple)):
        for part in value:
            remember_secrets(option, part)
    if isinstance(value, str) and not isinstance(value, Secret):
        if option not in SHOWN:
            remember(value)
        for user in _USER.findall(value):
            remember(user)
            remember(user.partition(":")[2])


def is_address(server: str) -> bool:
    """Return whether text is an address such as ``host``, ``host:9092`` or ``[::1]:9092``."""
    return _ADDRESS.fullmatch(server.strip()) is not None


def _shown_servers(servers: str) -> str:
    return ",".join(one if is_address(one) or not one else "***" for one in servers.split(","))


def _as_written(value: object, text: Callable[[str], str]) -> object:
    if isinstance(value, Secret) or (isinstance(value, str) and "${" in value):
        template = value.template if isinstance(value, Secret) else value
        return _USER_IN_TEXT.sub("***@", template)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, (list, tuple)):
        return [_as_written(part, text) for part in value]
    return value
