"""Imports what a configuration names as ``module:name``.

Knows how to import it, and the errors; must not know what it is for.
"""

from __future__ import annotations

import importlib

from ewma_ops.errors import ConfigError
from ewma_ops.secrets.masking import masked

__all__ = ["import_named"]


def import_named(option: str, name: str) -> object:
    """Import what ``module:name`` names; return an instance if it is a class.

    Parameters
    ----------
    option
        The key of the configuration, for errors: ``"input.format"``.
    name
        The name.

    Raises
    ------
    ConfigError
        If the name is malformed, or cannot be imported; the message has what the module raised.

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
            f'{written}: write "module:function", with the module as in an import statement'
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
        return found() if isinstance(found, type) else found
    except Exception as error:
        raise ConfigError(
            f"{written} cannot be imported: {masked(f'{type(error).__name__}: {error}')}; put its "
            "directory into PYTHONPATH, and correct the names"
        ) from error
