"""All fields of a message, even those that a job does not read, for commands that show them.

Knows settings and decoders; must not know brokers, or the use of a field.
"""

from __future__ import annotations

import threading
from typing import Any

import msgspec

from ewma_ops.job.builders import build_decoder
from ewma_ops.serde.decoder import Decoder
from ewma_ops.serde.format import Refused
from ewma_ops.serde.outline import outline
from ewma_ops.serde.paths import parse_records
from ewma_ops.serde.several import split
from ewma_ops.settings.model import Settings

__all__ = ["Contents"]


class Contents:
    """Reads messages in a job's format, with all of their fields.

    Parameters
    ----------
    settings
        ``[input]`` of them; paths do not count, but for ``records``.
    stopping
        As for `build_decoder`.
    """

    def __init__(self, settings: Settings, stopping: threading.Event | None = None) -> None:
        self._settings, self._stopping = settings, stopping
        self._decoder: Decoder | None = None
        records = settings.input.records
        self._records = () if records is None else parse_records(records)

    def readings(self, payload: bytes | None) -> list[Any]:
        """Return the document of each reading in a message.

        Raises
        ------
        Refused
            If it holds no reading.
        """
        return [levels[0] for levels in self.rows(payload)]

    def rows(self, payload: bytes | None) -> list[tuple[Any, ...]]:
        """Return the document of each reading, and the enclosing ones from the inside out.

        Raises
        ------
        Refused
            If there is no reading.
        """
        if self._decoder is None:
            # A path to the whole message makes every format read all fields.
            nothing: dict[str, Any] = {"series_id": None, "time": None, "weight": None, "where": {}}
            whole = msgspec.structs.replace(
                self._settings.input, value="@value", records=None, **nothing
            )
            self._decoder = build_decoder(
                msgspec.structs.replace(self._settings, input=whole), self._stopping
            )
        documents = self._decoder.documents(payload)
        if not self._records:
            return [(document,) for document in documents]
        rows = split(documents, self._records, {})
        if rows.broken:
            raise Refused(*next(iter(rows.broken.values())))
        return list(zip(*rows.levels, strict=True))

    def paths(self, payload: bytes) -> list[str]:
        """Return the paths of the first reading in a message; none if it holds no reading."""
        try:
            return [path for one in self.readings(payload)[:1] for path in outline(one)]
        except Refused:
            return []
