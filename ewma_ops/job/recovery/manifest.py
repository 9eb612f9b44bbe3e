"""The manifest: a JSON file that says which job a recovery directory belongs to.

Knows the file's format; must not know the parts beside it.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ewma_ops.errors import START_OVER, StateError
from ewma_ops.job.recovery.lock import PRIVATE_FILE

__all__ = [
    "FORMAT",
    "MANIFEST",
    "Beginning",
    "FindBeginning",
    "Identity",
    "read_manifest",
    "sync_directory",
    "write_manifest",
]


Identity = Mapping[str, str | int]
"""What makes a job this job: topics, partition counts, fingerprints, by readable names."""


class Beginning(NamedTuple):
    """Where a job begins: offsets by input partition, and partitions written to by topic."""

    offsets: Mapping[int, int] = MappingProxyType({})
    routed: Mapping[str, int] = MappingProxyType({})


FindBeginning = Callable[[], Beginning]
"""Says where a job that begins now begins."""
FORMAT = 4
MANIFEST = "manifest.json"


def write_manifest(path: Path, identity: Identity, beginning: Beginning) -> None:
    """Replace the manifest whole: a reader finds the old one or the new one."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    with open(fd, "w", encoding="utf-8") as file:
        content = {
            "format": FORMAT,
            "job": dict(identity),
            "start_offsets": {
                str(partition): offset for partition, offset in beginning.offsets.items()
            },
            "routed": dict(beginning.routed),
        }
        json.dump({**content, "checksum": _checksum(content)}, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_directory(path.parent)


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest, checked; ``StateError`` if it is damaged or of another format."""
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
        version = manifest["format"]
        if version == FORMAT:
            sound = manifest.pop("checksum") == _checksum(manifest)
            manifest["job"] = dict(manifest["job"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        version, sound = FORMAT, False
    if version != FORMAT:
        raise StateError(
            f"'{path}' has format {version!r}, not {FORMAT}: run the version of ewma_ops that "
            f"wrote it, or {START_OVER}"
        )
    if not sound:
        raise StateError(f"'{path}' is damaged: restore a copy of it, or {START_OVER}")
    return manifest


def _checksum(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
