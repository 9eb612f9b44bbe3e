"""What a configuration names as ``module:name``: an object of the user's own, imported.

Knows how it is imported and what to say where it cannot be; must not know what it is for.
"""

from __future__ import annotations

import importlib

from ewma_ops.errors import ConfigError
from ewma_ops.secrets.masking import masked

__all__ = ["import_named"]


def import_named(option: str, name: str) -> object:
    """Import what ``module:name`` names; of a class return an object, made without arguments.

    Parameters
    ----------
    option
        The key of the configuration, for errors: ``"input.format"``.
    name
        The name.

    Raises
    ------
    ConfigError
        If it is no such name, or it cannot be imported; whatever the module raises is told in it.

    Examples
    --------
    >>> import_named("input.format", "math:sqrt")
    <built-in function sqrt>
    >>> import_named("input.format", "math:squirt")
    Traceback (most recent call last):
    ...
    ewma_ops.errors.ConfigError: input.format = "math:squirt" cannot be imported: AttributeError: \
module 'math' has no attribute 'squirt'; put its directory into PYTHONPATH, and correct the names
    """
    module, _, attribute = name.partition(":")
    written = f'{option} = "{name}"'
    if not module or not attribute:
        raise ConfigError(
            f'{written}: it must be "module:function", as a Python module is imported'
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
        return found() if isinstance(found, type) else found
    except Exception as error:
        raise ConfigError(
            f"{written} cannot be imported: {masked(f'{type(error).__name__}: {error}')}; put its "
            "directory into PYTHONPATH, and correct the names"
        ) from error
