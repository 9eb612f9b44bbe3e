"""A format of one's own: the binary frames of a scale, for ``ewma run``.

    [input]
    topic = "scales"
    format = "flows.scale_frames:decode"
    series_id = "scale"
    value = "kg"

A frame is 8 bytes, big-endian: the mark ``SC``, the number of the scale in 2 bytes, and grams in 4.
"""

from __future__ import annotations

import struct

__all__ = ["decode"]

_FRAME = struct.Struct(">2sHI")


def decode(payload: bytes) -> dict[str, float]:
    """Return what is in one frame; whatever is raised makes the message a dead letter.

    Examples
    --------
    >>> decode(b"SC" + bytes([0, 7, 0, 0, 0x04, 0xD2]))
    {'scale': 7, 'kg': 1.234}
    """
    mark, scale, grams = _FRAME.unpack(payload)
    if mark != b"SC":
        raise ValueError(f"a frame begins with SC, not {mark!r}")
    return {"scale": scale, "kg": grams / 1000}
