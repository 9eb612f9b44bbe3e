"""What Apache Kafka runs on: a JVM, Maven's jars, and files made of them that shorten starts.

Knows how to find, fetch and make them once on a machine; must not know of brokers or topics.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from fcntl import LOCK_EX, flock
from functools import cache
from pathlib import Path

__all__ = ["KafkaUnavailableError", "alone_with", "cached", "class_path", "java", "made_once"]

POM = Path(__file__).parents[1] / "kafka" / "pom.xml"
_MINIMUM_JAVA = 17


class KafkaUnavailableError(Exception):
    """Apache Kafka cannot run here; the message says what is missing."""


def java() -> str:
    """Return the path of a JVM that can run Apache Kafka 4."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if found is None:
        raise KafkaUnavailableError("no JVM: install Java 17 or later, or set EWMA_KAFKA=host:port")
    version = _version(found)
    if version is None or version < _MINIMUM_JAVA:
        raise KafkaUnavailableError(
            f"{found} is {'unknown' if version is None else f'Java {version}'}: "
            f"Apache Kafka 4 needs Java {_MINIMUM_JAVA} or later"
        )
    return found


@cache
def _version(jvm: str) -> int | None:
    answer = subprocess.run(
        [jvm, "-version"], capture_output=True, text=True, timeout=60, check=False
    )
    version = re.search(r'version "(\d+)', answer.stderr + answer.stdout)
    return None if version is None else int(version[1])


def class_path() -> str:
    """Return Apache Kafka's jars, fetched by Maven once and kept outside the repository."""
    listed = cached(f"{_digest(POM.read_text())}.classpath")
    with alone_with(listed):
        if not listed.is_file() or not all(map(os.path.isfile, listed.read_text().split(":"))):
            _fetch(listed)
        return listed.read_text()


def made_once(jvm: str, kind: str, make: Callable[[Path], None]) -> Path:
    """Return a file that ``make`` makes at a path, once on a machine for these jars and this JVM.

    It may make nothing: not every JVM can archive classes.
    """
    binary = Path(jvm).resolve()
    path = cached(f"{_digest(f'{class_path()} {binary} {binary.stat().st_mtime_ns}')}.{kind}")
    with alone_with(path):
        if not path.is_file():
            scratch = path.with_suffix(f".{os.getpid()}")
            make(scratch)
            if scratch.is_file():
                scratch.replace(path)
    return path


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def cached(name: str) -> Path:
    """Return the path of what is kept by this name, outside of the repository."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ewma_ops"
    cache.mkdir(parents=True, exist_ok=True)
    return cache / f"kafka-{name}"


@contextlib.contextmanager
def alone_with(path: Path) -> Iterator[None]:
    """Keep others away from a file: tests run side by side, and Maven's cache is for one only."""
    with Path(f"{path}.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        yield


def _fetch(listed: Path) -> None:
    if shutil.which("mvn") is None:
        raise KafkaUnavailableError("no Maven: install mvn, or set EWMA_KAFKA=host:port")
    scratch = listed.with_suffix(f".{os.getpid()}")
    command = ["mvn", "-B", "-q", "-f", str(POM), "dependency:build-classpath"]
    done = subprocess.run(
        [*command, f"-Dmdep.outputFile={scratch}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    if done.returncode != 0:
        output = (done.stdout + done.stderr)[:800]
        raise KafkaUnavailableError(f"Maven could not fetch Apache Kafka: {output}")
    scratch.replace(listed)
