"""A user's own format: a function from the bytes of a message to a document.

Knows how that function is called, and that it may fail; must not know what it reads.

    def decode(payload: bytes) -> Any: ...

It gets the value of one message and returns what is in it: a dict, list, text, number, `datetime`,
`Decimal`, or any nesting of these, in which the paths of ``[input]`` are followed. A list with
``records = "[]"`` is several readings. Whatever it raises makes the message a dead letter, cause
``not-decoded``, with what was raised. The same bytes must always make the same document: after a
crash they are read again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ewma_ops.errors import ConfigError
from ewma_ops.named import import_named
from ewma_ops.serde.format import Format, Refused

__all__ = ["OwnFormat"]

_LONGEST = 200


class OwnFormat(Format):
    """Call a user's function for each payload.

    Parameters
    ----------
    name
        What is imported: ``"module:function"``; or a class, of which an object is made without
        arguments and called.

    Raises
    ------
    ConfigError
        If it cannot be imported, or not be called.

    Examples
    --------
    >>> rejected: dict[int, tuple[str, str]] = {}
    >>> OwnFormat("json:loads").documents([b'{"x": 1}', b"?"], [0, 1], rejected)
    [{'x': 1}, {}]
    >>> rejected
    {1: ('not-decoded', 'JSONDecodeError: Expecting value: line 1 column 1 (char 0)')}
    """

    def __init__(self, name: str) -> None:
        found = import_named("input.format", name)
        if not callable(found):
            raise ConfigError(
                f'input.format = "{name}" is {type(found).__name__}: name a function of the '
                "payload's bytes, or a class whose objects can be called"
            )
        self._decode: Callable[[bytes], Any] = found

    def document(self, payload: bytes) -> Any:
        """Return what the function makes of a payload; `Refused` where it fails."""
        try:
            return self._decode(payload)
        except Exception as error:  # noqa: BLE001 - any error is reported in the dead letter
            raise Refused("not-decoded", _detail(error)) from None


def _detail(error: Exception) -> str:
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - an error of theirs that cannot say what it is
        text = type(error).__name__
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
