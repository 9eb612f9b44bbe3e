"""Exponentially weighted moving averages, bias-corrected, for streams of readings."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
