"""Imports that cost less: made when a name is used, or without the garbage collector.

Knows names of modules; must not know what is in them.

A package that imports everything it offers makes users of one module wait for all:
``ewma --help`` took 0.2 s of CPU to print arguments.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["importing", "lazy_names"]


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Keep the garbage collector away from the imports of a block, during and after it.

    Objects of modules stay alive. During imports, collections take a seventh of the CPU and free
    nothing; later each full one would visit 60,000 objects, for tens of milliseconds.

    Examples
    --------
    >>> with importing():
    ...     import decimal
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if enabled:
            gc.enable()


def lazy_names(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], object]:
    """Return a ``__getattr__`` for a package that looks its public names up when they are used.

    Assign it where ``TYPE_CHECKING`` is false, beside the plain imports for type checkers.

    Parameters
    ----------
    package
        Full name of the package.
    homes
        Full names of modules, each with the names that it has.

    Examples
    --------
    >>> lazy_names("ewma_ops", {"ewma_ops.stats.decay": ["Decay"]})("Decay")
    <class 'ewma_ops.stats.decay.Decay'>
    """
    home = {name: module for module, names in homes.items() for name in names}

    def __getattr__(name: str) -> object:  # noqa: N807 - what Python looks for in a module
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found: object = getattr(importlib.import_module(home[name]), name)
        setattr(sys.modules[package], name, found)  # the next use finds it without a lookup
        return found

    return __getattr__
