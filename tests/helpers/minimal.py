"""The shortest configuration file that loads; tests add tables to its end."""

from __future__ import annotations

__all__ = ["MINIMAL"]

MINIMAL = """
[kafka]
bootstrap_servers = "127.0.0.1:9092"
[input]
topic = "readings"
[smooth]
beta = 0.9
[output]
topic = "smoothed"
"""
