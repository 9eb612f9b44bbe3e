"""Table ``[kafka]`` of the configuration file: connection options by kafka-python's own names.

Knows which options are the user's to set and how their values are shown; must not import
kafka-python, nor know the rest of the file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta

from ewma_ops.secrets.masking import substituted
from ewma_ops.secrets.option_names import (
    DEFAULT_ISOLATION,
    foreign,
    refused_choice,
    remember_secrets,
    shown,
)

__all__ = ["FIRST_KEY", "KafkaOptions", "noted_secrets", "read_options"]

FIRST_KEY = 'bootstrap_servers = "127.0.0.1:9092"'
_ELSEWHERE = {
    "group_id": "it is input.group_id",
    "auto_offset_reset": "input.start says where to begin",
    "enable_auto_commit": "offsets are committed once they are durable",
}
_Text = Annotated[str, Meta(min_length=1)]
_SERVERS = (
    _Text | Annotated[list[_Text], Meta(min_length=1)],
    'text such as "127.0.0.1:9092", or a list of such',
)
_OPTION = (
    str | bool | int | float | list[str | int],
    "text, a number, true or false, or a list of text or whole numbers",
)


class KafkaOptions(dict[str, object]):
    """Connection options by kafka-python's own names; shown as in the file, secrets masked."""

    def __init__(self, options: Mapping[str, object], written: Mapping[str, object]) -> None:
        super().__init__(options)
        self.shown = {key: shown(key, value) for key, value in written.items()}

    @property
    def isolation_level(self) -> str:
        """Which records of the input are read: those of aborted transactions or not."""
        return str(self.get("isolation_level", DEFAULT_ISOLATION))

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{key!r}: {text}' for key, text in self.shown.items())}}}"


def read_options(values: Mapping[str, Any], mistakes: list[str]) -> KafkaOptions:
    """Read the table; every ``${NAME}`` and ``${file:PATH}`` in a value is replaced.

    Parameters
    ----------
    values
        The table as it was parsed.
    mistakes
        Mistakes are added here; a value is shown only if it is not a secret.
    """
    options: dict[str, object] = {}
    found: set[str | None] = set()
    for key, written in _flat(values):
        other = foreign(key, written)
        remember_secrets(key if other is None else other.name or key, written)
        if other is not None:
            found.add(other.name)
            mistakes.append(f'kafka."{key}" {other}' if "." in key else f"kafka.{key} {other}")
        elif key in _ELSEWHERE:
            mistakes.append(f"kafka.{key} cannot be set: {_ELSEWHERE[key]}")
        else:
            found.add(key)
            with noted_secrets(f"kafka.{key}", mistakes):
                options[key] = _read(key, written, mistakes)
    if "bootstrap_servers" not in found:
        mistakes.insert(0, f"kafka.bootstrap_servers is missing; add {FIRST_KEY}")
    return KafkaOptions(options, values)


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield the keys as written: TOML takes ``bootstrap.servers`` for a table in a table."""
    for key, value in values.items():
        inner = [(f"{key}.{name}", part) for name, part in _leaves(value)]
        if inner and all(foreign(name, part) is not None for name, part in inner):
            yield from inner
        else:
            yield key, value


def _leaves(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, part in value.items():
            if isinstance(part, dict):
                yield from ((f"{key}.{name}", leaf) for name, leaf in _leaves(part))
            else:
                yield key, part


@contextlib.contextmanager
def noted_secrets(key: str, mistakes: list[str]) -> Iterator[None]:
    """Record why the ``${...}`` of a key cannot be replaced."""
    try:
        yield
    except KeyError as error:
        mistakes.append(
            f"{key} needs the environment variable {error.args[0]}, which is not set; "
            "set it where ewma runs"
        )
    except OSError as error:
        mistakes.append(
            f"{key} is to be read from {error.filename}: {error.strerror}; write "
            '"${file:PATH}" with the path of a file that ewma may read'
        )
    except ValueError as error:
        mistakes.append(f"{key} is to be read from a file: {error}; write the secret into it")


def _read(key: str, written: object, mistakes: list[str]) -> object:
    kind, bound = _SERVERS if key == "bootstrap_servers" else _OPTION
    value = substituted(written)
    convert: Callable[..., object] = msgspec.convert
    if (refused := refused_choice(key, value)) is not None:
        mistakes.append(f"kafka.{refused}")
        return None
    try:
        found = convert(value, type=kind)
        if key == "bootstrap_servers" and (refused := _refused_port(found)):
            mistakes.append(f"kafka.{key} = {shown(key, written)}: {refused}")
            return None
        return found
    except msgspec.ValidationError:
        mistakes.append(f"kafka.{key} = {shown(key, written)} must be {bound}")
        return None


def _refused_port(servers: object) -> str | None:
    """Return what is wrong with the port of a server, where it has one."""
    for server in servers.split(",") if isinstance(servers, str) else cast("list[str]", servers):
        host, colon, port = server.strip().rpartition(":")
        if colon and not host.endswith(":") and "]" not in port and not _is_port(port):
            return f"the port {port!r} must be a whole number from 1 to 65535, such as 9092"
    return None


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= 65535
