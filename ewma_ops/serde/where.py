"""``input.where``: fields that must have one of some values.

Knows plain Python objects; must not know where they were found.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from ewma_ops.errors import ConfigError
from ewma_ops.serde.format import SKIPPED, Reasons
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.paths import Path, parse_path

__all__ = ["Where"]

_Value = str | float | bool


class Where:
    """Skip what has other values than are wanted.

    Parameters
    ----------
    options
        ``where`` of them: values by path.

    Raises
    ------
    ConfigError
        If a path is invalid, or has no values.

    Examples
    --------
    >>> where, rejected = Where(DecoderOptions(where={"op": ["c", "u"]})), dict()
    >>> [wanted] = where.wanted.values()
    >>> where.skip(wanted, ["c", "d", None], [0, 1, 2], rejected)
    >>> list(rejected)
    [1, 2]
    """

    def __init__(self, options: DecoderOptions) -> None:
        self.wanted: Mapping[Path, frozenset[tuple[bool, _Value]]] = {
            parse_path(text): _wanted(text, values) for text, values in options.where.items()
        }

    @staticmethod
    def skip(
        wanted: frozenset[tuple[bool, _Value]],
        found: Sequence[Any],
        places: Sequence[int],
        rejected: Reasons,
        unknown: Container[int] = (),
    ) -> None:
        """Note what was found to be another value as skipped, unless it is rejected already.

        ``unknown`` are places at which the value could not be read.
        """
        for place, one in zip(places, found, strict=True):
            try:
                is_ours = (isinstance(one, bool), one) in wanted
            except TypeError:  # a list or an object
                is_ours = False
            if not is_ours and place not in unknown:
                rejected.setdefault(place, SKIPPED)


def _wanted(text: str, values: Sequence[_Value]) -> frozenset[tuple[bool, _Value]]:
    if isinstance(values, (str, int, float)):
        values = [values]
    if not values:
        raise ConfigError(f"where = {{ {text} = [] }}: give at least one value")
    return frozenset((isinstance(value, bool), value) for value in values)
