"""Checks that the internals of kafka-python are still what our replacements expect.

Knows how to inspect code without running it; must not know what the replacements do.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["incompatibilities"]


def incompatibilities(
    reads: Mapping[tuple[type[Any], str], Sequence[str]],
    takes: Mapping[type[Any], Sequence[str]],
    stands_in: Mapping[type[Any], type[Any]],
) -> list[str]:
    """Return one sentence for each thing that is not as expected.

    Parameters
    ----------
    reads
        The names that the code of a method, or property, must still use.
    takes
        The parameters of a class's constructor.
    stands_in
        Which class of ours replaces which, and so needs all its public names.
    """
    found = []
    for (owner, name), wanted in reads.items():
        member = getattr(owner, name, None)
        code = getattr(getattr(member, "fget", member), "__code__", None)
        used = set() if code is None else {*code.co_names, *code.co_varnames}
        gone = [one for one in wanted if one not in used]
        if gone:
            found.append(f"{owner.__qualname__}.{name} does not use {', '.join(gone)}")
    for made, expected in takes.items():
        parameters = list(inspect.signature(made).parameters)
        if parameters != list(expected):
            found.append(f"{made.__qualname__} takes {', '.join(parameters)}")
    for own, ours in stands_in.items():
        new = sorted(_public(own) - _public(ours))
        if new:
            found.append(f"{own.__qualname__} has {', '.join(new)}, {ours.__qualname__} has not")
    return found


def _public(kind: type[Any]) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}
