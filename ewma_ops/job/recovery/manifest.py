"""The manifest: a JSON file that says which job a recovery directory belongs to.

Knows the file's format; must not know the parts beside it.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ewma_ops.errors import START_OVER, StateError
from ewma_ops.job.recovery.files import replace_file

__all__ = [
    "CHANGED",
    "FORMAT",
    "MANIFEST",
    "Beginning",
    "ExtendBeginning",
    "FindBeginning",
    "Identity",
    "InputNote",
    "Noted",
    "as_it_was",
    "noted_in",
    "read_manifest",
    "refuse_other_job",
    "write_manifest",
]


Identity = Mapping[str, str | int]
"""What makes a job this job: topics, partition counts, fingerprints, by readable names."""


class InputNote(NamedTuple):
    """An input topic as it was when the last run began, or when it was last seen, if it is gone."""

    topic: str
    partitions: int
    gone: bool = False


class Beginning(NamedTuple):
    """Where a job begins: offsets by input partition, and partitions written to by topic.

    ``inputs`` are the topics that are read, by their numbers, and ``offsets`` those of partitions
    by the numbers that these have: see :class:`ewma_ops.connectors.inputs.InputTopics`. ``alarms``
    names the rules that the job began with, empty for none; `CHANGED` if it has had others since.
    """

    offsets: Mapping[int, int] = MappingProxyType({})
    routed: Mapping[str, int] = MappingProxyType({})
    inputs: Mapping[int, InputNote] = MappingProxyType({})
    alarms: str = ""


FindBeginning = Callable[[], Beginning]
"""Says where a job that begins now begins."""

ExtendBeginning = Callable[[Beginning], Beginning]
"""Adds to a beginning what the job reads now and did not read then."""


def as_it_was(noted: Beginning) -> Beginning:
    """Add nothing."""
    return noted


class Noted(NamedTuple):
    """What a manifest says: which job the directory belongs to, and where that began."""

    job: Identity
    beginning: Beginning


CHANGED = "changed"
"""In place of the rules that a job began with, where it has had others since."""

FORMAT = 6
MANIFEST = "manifest.json"

_MAY_GROW = ("input topic", "input topic id")
"""Properties that list names or ids with commas; more may be added to them."""

_MAY_CHANGE = {"delivery": [("exactly-once", "transactional")]}
"""Allowed changes of a property: events that were written before still count after it."""


def write_manifest(path: Path, identity: Identity, beginning: Beginning) -> None:
    """Replace the manifest."""
    content = {
        "format": FORMAT,
        "job": dict(identity),
        "start_offsets": {
            str(partition): offset for partition, offset in beginning.offsets.items()
        },
        "routed": dict(beginning.routed),
        "inputs": {str(number): list(note) for number, note in beginning.inputs.items()},
        **({"alarms": beginning.alarms} if beginning.alarms else {}),
    }
    text = json.dumps({**content, "checksum": _checksum(content)}, indent=2)
    replace_file(path, text.encode())


def read_manifest(path: Path) -> Noted:
    """Return the manifest, checked; ``StateError`` if it is damaged or of another format."""
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
        version = manifest["format"]
        if version == FORMAT:
            sound = manifest.pop("checksum") == _checksum(manifest)
            noted = _noted(manifest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        version, sound = FORMAT, False
    if version != FORMAT:
        raise StateError(
            f"'{path}' has format {version!r}, not {FORMAT}: run the version of ewma_ops that "
            f"wrote it, or {START_OVER}"
        )
    if not sound:
        raise StateError(f"'{path}' is damaged: restore a copy of it, or {START_OVER}")
    return noted


def noted_in(directory: Path) -> Noted | None:
    """Return what the manifest in a directory says; None if there is none: errors as of that."""
    path = directory / MANIFEST
    return read_manifest(path) if path.exists() else None


def _noted(manifest: Mapping[str, Any]) -> Noted:
    offsets = {int(place): int(offset) for place, offset in manifest["start_offsets"].items()}
    inputs = {int(number): InputNote(*note) for number, note in manifest["inputs"].items()}
    alarms = str(manifest.get("alarms", ""))
    beginning = Beginning(offsets, dict(manifest["routed"]), inputs, alarms)
    return Noted(dict(manifest["job"]), beginning)


def refuse_other_job(directory: Path, was: Identity, now: Identity) -> None:
    """Raise ``StateError`` if a directory that belongs to one job is used by another."""
    keys = [key for key in {**was, **now} if was.get(key) != now.get(key)]
    keys = [key for key in keys if (was.get(key), now.get(key)) not in _MAY_CHANGE.get(key, ())]
    keys = [key for key in keys if key not in _MAY_GROW or not _grown(was.get(key), now.get(key))]
    # The id of another topic is another one anyway.
    keys = [key for key in keys if key.removesuffix(" id") not in {*keys} - {key}]
    if keys:
        changes = "; ".join(_change(key, was.get(key), now.get(key)) for key in keys)
        raise StateError(
            f"the recovery store '{directory}' belongs to another job: {changes}. {_advice(keys)}"
        )


def _grown(was: str | int | None, now: str | int | None) -> bool:
    """Return whether a list with commas has all that it had, and more."""
    if not (isinstance(was, str) and isinstance(now, str)):
        return False
    return Counter(was.split(", ")) < Counter(now.split(", "))


def _advice(keys: Sequence[str]) -> str:
    """Return the fix where some of a job's properties differ from its store's."""
    if keys == ["delivery"]:
        return (
            "Set the old value again; to change it, start with a new recovery directory and "
            'another output topic (only from "exactly-once" to "transactional" is it changed in '
            "place)"
        )
    recreated = {key.removesuffix(" topic id") for key in keys if key.endswith(" topic id")}
    if "input topic" in keys or "output topic" in keys:
        return "Give each job a recovery directory of its own, or set the old values again"
    if not recreated:
        return "Set the old value again, or use another directory to start over"
    written = " and the ".join(sorted(recreated - {"input"}))
    if not written:
        return (
            "The input topic was deleted and created again: to read what it has now, start with a "
            "new recovery directory"
        )
    return (
        f"The {written} topic was deleted and created again, which lost what it had: to write all "
        "of it again and in order, empty the topic and start with a new recovery directory"
    )


def _change(key: str, was: str | int | None, now: str | int | None) -> str:
    if key == "types":
        return "of numbers, decimal, missing_values, time_unit, time_format and key one was another"
    return f"{key} was {_shown(was)}, now {_shown(now)}"


def _shown(value: str | int | None) -> str:
    if value is None:
        return "not set"
    return value if isinstance(value, str) and value[:1] in ("'", '"', "[", "(") else repr(value)


def _checksum(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
