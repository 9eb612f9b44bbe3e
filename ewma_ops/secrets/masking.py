"""Values that must not be shown: text made from ``${...}``, and how it is masked in other text.

Knows environment variables and files that hold a secret; must not know which options there are.
"""

from __future__ import annotations

import logging
import os
import re
import traceback
from collections.abc import Callable
from pathlib import Path

__all__ = [
    "LONGEST_FILE",
    "Secret",
    "mask_logs",
    "masked",
    "masked_traceback",
    "remember",
    "substituted",
]

_log = logging.getLogger(__name__)

LONGEST_FILE = 64 << 10
"""Bytes that a file with a secret may have."""

_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_FILE = "file:"
_SHORT = 6
"""Shorter values are masked only where they stand alone, not inside a word."""

_remembered: dict[str, str] = {}


class Secret(str):
    """Text made from ``${...}``: used with its value, shown as it was written.

    Parameters
    ----------
    value
        Its value now.
    template
        How it is written in the configuration file.

    Examples
    --------
    >>> secret = Secret("hunter2", "${KAFKA_PASSWORD}")
    >>> secret, secret == "hunter2"
    ('${KAFKA_PASSWORD}', True)
    """

    __slots__ = ("template",)
    template: str

    def __new__(cls, value: str, template: str) -> Secret:  # noqa: D102, PYI034 - no subclasses
        made = super().__new__(cls, value)
        made.template = template
        remember(value, template)
        return made

    def __repr__(self) -> str:
        return repr(self.template)

    def __reduce__(self) -> tuple[type[Secret], tuple[str, str]]:
        return Secret, (str.__str__(self), self.template)

    @property
    def from_file(self) -> bool:
        """Whether a file holds it, or a part of it."""
        return f"${{{_FILE}" in self.template

    def read_again(self) -> Secret:
        """Return the current value of the template; the former one if it cannot be read."""
        if not self.from_file:
            return self
        try:
            return Secret(_expand(self.template), self.template)
        except (KeyError, OSError, ValueError) as error:
            _log.warning(
                "%s cannot be read again: %s; using the former value", self.template, error
            )
            return self


def substituted(written: object) -> object:
    """Return a value of the configuration file with every ``${...}`` in it replaced.

    ``${NAME}`` is an environment variable; ``${file:PATH}`` is what a file holds, without a line
    break at its end. Text and lists of text are searched, other values returned as they are.

    Raises
    ------
    KeyError
        If an environment variable is not set; it is the argument.
    OSError
        If a file cannot be read.
    ValueError
        If a file is empty, larger than 64 KiB, or not UTF-8.

    Examples
    --------
    >>> substituted(["${HOME}", 5])
    ['${HOME}', 5]
    """
    if isinstance(written, str):
        return Secret(_expand(written), written) if _REFERENCE.search(written) else written
    if isinstance(written, list):
        return [substituted(part) for part in written]
    return written


def _expand(template: str) -> str:
    return _REFERENCE.sub(lambda found: _stands_for(found[1]), template)


def _stands_for(name: str) -> str:
    if not name.startswith(_FILE):
        return os.environ[name]
    path = Path(name.removeprefix(_FILE))
    with path.open("rb") as file:
        content = file.read(LONGEST_FILE + 1)
    if len(content) > LONGEST_FILE:
        raise ValueError(f"{path} has more than {LONGEST_FILE} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError(f"{path} is empty")
    return text


def remember(value: str, shown: str = "***") -> None:
    """Make :func:`masked` replace ``value`` from now on, if it has three characters or more."""
    if len(value) > 2 and value != shown:
        _remembered[value] = shown


def masked(text: str) -> str:
    """Return text with each secret that this process has read replaced by how it was written."""
    for value in sorted(_remembered, key=len, reverse=True):
        if value in text:
            text = _replacer(value)(text)
    return text


def masked_traceback(error: BaseException) -> str:
    """Return the traceback of an error, masked, without a line break at its end."""
    return masked("".join(traceback.format_exception(error))).rstrip("\n")


def _replacer(value: str) -> Callable[[str], str]:
    pattern = re.escape(value)
    if len(value) < _SHORT:
        pattern = rf"(?<!\w){pattern}(?!\w)"
    return lambda text: re.sub(pattern, lambda _: _remembered[value], text)


class _Mask(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if _remembered:
            said = record.getMessage()
            if (hidden := masked(said)) != said:
                record.msg, record.args = hidden, ()
            if record.exc_info and not record.exc_text:
                record.exc_text = masked(_FORMATTER.formatException(record.exc_info))
        return True


_FORMATTER = logging.Formatter()
_MASK = _Mask()


def mask_logs(*packages: str) -> None:
    """Mask what the loggers of these packages log, of all their modules imported until now."""
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] in packages:
            logging.getLogger(name).addFilter(_MASK)
