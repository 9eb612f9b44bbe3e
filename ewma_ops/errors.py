"""What can go wrong, whose fault it is, and whether trying again can help.

Knows nothing of the rest of the package; every other module may import it.
Messages name the value, the bound and the fix.
"""

from __future__ import annotations

from typing import ClassVar, Literal

__all__ = [
    "START_OVER",
    "BrokerError",
    "ConfigError",
    "CorruptBatch",
    "DeliveryError",
    "DiskError",
    "EwmaError",
    "ReadingError",
    "RefusedError",
    "RegistryError",
    "StateError",
    "TopicError",
]


START_OVER = (
    "start over with a new recovery directory: exactly once all the same, where the input topic "
    'still has every reading and input.start is not "latest"'
)
"""What to do if the state is lost."""


class EwmaError(Exception):
    """Base of every error raised on purpose by ``ewma_ops``."""

    fault: ClassVar[Literal["user", "data", "environment"]] = "environment"
    """Who can fix it: the ``user``, whoever sent the ``data``, or the ``environment``."""

    retry: ClassVar[bool] = False
    """Whether the same call may succeed later with nothing changed."""

    logged: bool = False
    """Whether it is already logged, because it could not be raised."""


class ConfigError(EwmaError, ValueError):
    """An option, a key of the configuration file or an argument is wrong."""

    fault = "user"


class ReadingError(EwmaError, ValueError):
    """A reading cannot be used: not a number, infinite, or without a time it needs."""

    fault = "data"


class CorruptBatch(EwmaError, ValueError):
    """Bytes that claim to be a Kafka record batch are not one."""

    fault = "data"


class StateError(EwmaError):
    """A snapshot or a recovery store does not belong to this flow, or is damaged."""

    fault = "user"


class DiskError(EwmaError):
    """The recovery store cannot be read or written at the moment, such as on a full disk."""

    retry = True


class BrokerError(EwmaError):
    """Kafka cannot be reached, or no longer has what the flow needs."""

    retry = True


class DeliveryError(BrokerError):
    """A record was handed to Kafka and not acknowledged: the flow stops rather than lose it."""


class RefusedError(DeliveryError):
    """Kafka refused a record and always will: somebody has to change a topic or a permission."""

    fault = "user"
    retry = False


class RegistryError(EwmaError):
    """A Schema Registry cannot be reached, or does not answer as it should."""

    retry = True


class TopicError(BrokerError):
    """A topic is not as the flow left it, and the user must say what is to be done about it."""

    fault = "user"
    retry = False


_MOST_SHOWN = 100


def shown(value: object) -> str:
    """Return how a value is written in Python, cut to 100 characters.

    Examples
    --------
    >>> shown("a" * 1_000)[-3:], len(shown("a" * 1_000))
    ('aa…', 100)
    """
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…"
