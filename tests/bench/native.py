"""Peers in Java and Go: built once into ``.peers`` from pinned versions, and how they are started.

Knows Maven, Go and where their output goes; must not know what the peers do. Maven and Go fetch
what is not there yet, so nothing here is called by the tests.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from tests.helpers.kafka_jars import KafkaUnavailableError, alone_with, java

__all__ = ["MissingToolError", "go_peer", "java_peer"]

SOURCES = Path(__file__).parent / "peers"
BUILT = Path(__file__).parents[2] / ".peers"
_TIMEOUT_S = 1_800
_OPENED = ("java.lang", "java.util", "java.time", "java.nio", "sun.nio.ch")
"""Packages of the JVM that Flink reads by reflection."""
_JVM_OPTIONS = (
    "-Xms1g",
    "-Xmx1g",
    "-XX:-UseDynamicNumberOfCompilerThreads",  # one that ended would take its CPU time with it
    *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED),
)


class MissingToolError(Exception):
    """A peer cannot be built or run here; the message says what is missing."""


def java_peer(main: str) -> list[str]:
    """Return the command line of a class of ``peers/java``, built if it is not.

    Raises
    ------
    MissingToolError
        Without a JVM, a compiler or Maven; or if Maven cannot build it.
    """
    try:
        jvm = java()
    except KafkaUnavailableError as error:
        raise MissingToolError(str(error).split(",")[0]) from None
    maven = _tool("mvn", "Maven")
    folder, classes = BUILT / "java", BUILT / "java" / "classes"
    listed = folder / "classpath"
    _build(
        SOURCES / "java",
        folder,
        [
            *(maven, "-B", "-q", "-f", str(SOURCES / "java" / "pom.xml")),
            *("compiler:compile", "dependency:build-classpath"),
            f"-Dpeers.directory={folder}",
            f"-Dmdep.outputFile={listed}",
        ],
    )
    class_path = f"{classes}:{listed.read_text().strip()}"
    return [jvm, *_JVM_OPTIONS, "-cp", class_path, f"bench.{main}"]


def go_peer() -> list[str]:
    """Return the command line of ``peers/go``, built if it is not; errors as `java_peer`."""
    go = _tool("go", "Go")
    binary = BUILT / "go" / "loop"
    source = SOURCES / "go"
    _build(source, BUILT / "go", [go, "build", "-C", str(source), "-o", str(binary), "."])
    return [str(binary)]


def _tool(command: str, name: str) -> str:
    found = shutil.which(command)
    if found is None:
        raise MissingToolError(f"no {name}: install {command}")
    return found


def _build(source: Path, folder: Path, command: list[str]) -> None:
    """Run a build unless it ran on the same sources before."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp, digest = folder / "built", _digest(source)
    with alone_with(stamp):
        if stamp.is_file() and stamp.read_text() == digest:
            return
        done = subprocess.run(
            command,
            env={**os.environ, "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            said = (done.stdout + done.stderr).strip()[:800]
            raise MissingToolError(f"{Path(command[0]).name} cannot build it: {said}")
        stamp.write_text(digest)


def _digest(source: Path) -> str:
    """Return the digest of all files of a folder, by their names."""
    digest = hashlib.sha256()
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(source)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
