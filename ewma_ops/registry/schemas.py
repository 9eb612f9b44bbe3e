"""The schemas of a registry by id: each requested once, retried while the registry is away.

Knows which answers are final and which may change; must not know HTTP or formats.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from ewma_ops.errors import RegistryError
from ewma_ops.registry.client import UnknownIdError, segment
from ewma_ops.serde.schemas import WrittenSchema

__all__ = ["RegistrySchemas"]

_log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 5.0
_LOG_S = 60.0
_PATIENT_AGAIN_S = 600.0
_ASKED_AGAIN_S = 60.0
_MOST_UNKNOWN = 10_000
_MOST_REFERENCES = 1_000
_DESCRIPTORS = "?format=serialized"
"""Asks for descriptors in base64; some registries answer with the text all the same."""

T = TypeVar("T")


class Client(Protocol):
    """What asks a registry once."""

    def get(self, path: str) -> Any: ...

    def post(self, path: str, fields: object) -> Any: ...


class RegistrySchemas:
    """The schemas of a registry, each requested once.

    A registry that is away is waited for, however long that takes, with a line in the log at
    first and then each minute. An id that it does not know may be one that has not reached the
    server asked, so that is waited for too, ``unknown_after_s`` at the most; after one that
    stayed unknown, others are asked for without waiting, until one is found or ten minutes are
    over: otherwise a topic full of invalid messages would wait as long for each of them.

    Parameters
    ----------
    client
        Asks the registry once.
    stopping
        When set, nothing is waited for any longer.
    unknown_after_s
        Seconds until an id is taken to be unknown, >= 0.
    away_s
        Seconds that a registry may be away, > 0.
    """

    def __init__(
        self,
        client: Client,
        stopping: threading.Event | None = None,
        *,
        unknown_after_s: float = 60.0,
        away_s: float = math.inf,
    ) -> None:
        self._client = client
        self._stopping = threading.Event() if stopping is None else stopping
        self._unknown_after_s = unknown_after_s
        self._away_s = away_s
        self._known: dict[int, WrittenSchema] = {}
        self._unknown: dict[int, float] = {}
        self._patient_from = 0.0
        self._warned_at = -_LOG_S

    def schema(self, schema_id: int) -> WrittenSchema | None:
        """Return the schema of an id, or ``None``; of Protobuf as descriptors, if there are such.

        Raises
        ------
        RegistryError
            If the job is stopped while this waits, or the registry is away for too long.
        ConfigError
            If the registry refuses the user, or the configuration does not fit it.
        """
        if schema_id in self._known:
            return self._known[schema_id]
        if time.monotonic() < self._unknown.get(schema_id, 0.0):
            return None
        found = self._find(schema_id)
        if found is None:
            if len(self._unknown) >= _MOST_UNKNOWN:
                self._unknown.clear()
            self._unknown[schema_id] = time.monotonic() + _ASKED_AGAIN_S
        else:
            self._known[schema_id] = found
        return found

    def register(self, subject: str, schema: str) -> int:
        """Return the id of a schema under a subject, registered if it is not there yet.

        Raises
        ------
        RegistryError, ConfigError
            As for :meth:`schema`; also where the registry refuses the schema.
        """
        answer = self._once_there(
            lambda: self._client.post(f"/subjects/{segment(subject)}/versions", {"schema": schema})
        )
        return _id_of(answer)

    def registered(self, subject: str, schema: str) -> int | None:
        """Return the id of a schema under a subject, ``None`` if it is not there.

        Raises
        ------
        RegistryError, ConfigError
            As for :meth:`schema`.
        """
        try:
            answer = self._once_there(
                lambda: self._client.post(f"/subjects/{segment(subject)}", {"schema": schema})
            )
        except UnknownIdError:
            return None
        return _id_of(answer)

    def _find(self, schema_id: int) -> WrittenSchema | None:
        """Request a schema until it is found, or until an id counts as unknown."""
        started = time.monotonic()
        until = started + self._unknown_after_s if started >= self._patient_from else started
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                found = self._once_there(lambda: self._fetch(schema_id))
                self._patient_from = 0.0
                return found
            except UnknownIdError:
                if time.monotonic() >= until:
                    break
            self._warn(
                f"the registry has no schema {schema_id}, which a message names: asking again for "
                f"{self._unknown_after_s:g} s (registry.unknown_after)"
            )
            self._pause(min(pause_s, max(until - time.monotonic(), 0.01)))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self._patient_from = time.monotonic() + _PATIENT_AGAIN_S
        return None

    def _fetch(self, schema_id: int) -> WrittenSchema:
        path = f"/schemas/ids/{schema_id}"
        text, kind, references = _parts(self._client.get(path))
        suffix = _DESCRIPTORS if kind == "PROTOBUF" else ""
        if suffix:
            text, kind, references = _parts(self._client.get(path + suffix))
        found: dict[str, str] = {}
        self._collect(references, suffix, found, set())
        return WrittenSchema(text, kind, tuple(found.items()))

    def _collect(
        self, references: list[Any], suffix: str, found: dict[str, str], seen: set[object]
    ) -> None:
        """Add the referenced schemas, each after those it references itself."""
        for reference in references:
            try:
                name, subject, version = (reference[k] for k in ("name", "subject", "version"))
            except (TypeError, KeyError):
                raise _not_understood() from None
            if name in seen:
                continue
            seen.add(name)
            if len(seen) > _MOST_REFERENCES:
                raise RegistryError(f"a schema refers to more than {_MOST_REFERENCES} others")
            path = f"/subjects/{segment(str(subject))}/versions/{segment(str(version))}{suffix}"
            text, _, inner = _parts(self._client.get(path))
            self._collect(inner, suffix, found, seen)
            found[name] = text

    def _once_there(self, ask: Callable[[], T]) -> T:
        """Ask until the registry answers."""
        pause_s, until = _FIRST_PAUSE_S, time.monotonic() + self._away_s
        while True:
            try:
                return ask()
            except RegistryError as error:
                if self._stopping.is_set() or time.monotonic() >= until:
                    raise
                self._warn(f"{error}; trying again")
                if self._stopping.wait(pause_s):
                    raise
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _pause(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise RegistryError("stopped while a schema was waited for: it is asked for again at "
                                "the next start")  # fmt: skip

    def _warn(self, line: str) -> None:
        now = time.monotonic()
        if now - self._warned_at >= _LOG_S:
            self._warned_at = now
            _log.warning("%s", line)


def _parts(answer: Any) -> tuple[str, str, list[Any]]:
    """Return text, kind and references of a schema as it is answered."""
    try:
        text, kind = answer["schema"], answer.get("schemaType") or "AVRO"
        references = answer.get("references") or []
        if isinstance(text, str) and isinstance(kind, str) and isinstance(references, list):
            return text, kind, references
    except (TypeError, KeyError, AttributeError):
        pass
    raise _not_understood()


def _id_of(answer: Any) -> int:
    if isinstance(answer, dict) and isinstance(answer.get("id"), int):
        return int(answer["id"])
    raise _not_understood()


def _not_understood() -> RegistryError:
    return RegistryError(
        "the registry answered with something other than a schema: correct registry.url"
    )
