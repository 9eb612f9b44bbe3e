"""Apicurio Registry, which speaks the API of Confluent's: a real one for the tests.

Fetched by Maven once on a machine (142 MB, a JVM application), started in memory on a port of its
own. Java 17 or later; without it, or Maven, the tests are skipped, as those on Apache Kafka.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from ewma_ops.demo.broker import free_port, start_tied
from tests.helpers.kafka_jars import KafkaUnavailableError, alone_with, cached, java
from tests.helpers.patience import PATIENCE_S

__all__ = ["apicurio"]

_VERSION = "2.6.13.Final"  # the last line that runs on Java 17
_ARTIFACT = f"io.apicurio:apicurio-registry-app:{_VERSION}:tar.gz:all"
_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
_API = "/apis/ccompat/v7"


@contextlib.contextmanager
def apicurio(log: Path) -> Iterator[str]:
    """Run a registry during the block; yields the address of its API."""
    jvm, jar, port = java(), _jar(), free_port()
    command = [jvm, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx384m",
               "-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={port}",
               "-jar", str(jar)]  # fmt: skip
    with log.open("wb") as output:
        child = start_tied(command, stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}{_API}"
    try:
        until = time.monotonic() + PATIENCE_S
        while not _answers(f"{url}/subjects"):
            assert child.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < until, log.read_text()[-2000:]
            time.sleep(0.1)
        yield url
    finally:
        child.kill()
        child.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _jar() -> Path:
    folder = cached(f"apicurio-{_VERSION}")
    jar = folder / f"apicurio-registry-app-{_VERSION}-runner.jar"
    with alone_with(folder):
        if not jar.is_file():
            if shutil.which("mvn") is None:
                raise KafkaUnavailableError("no Maven: install mvn, for Apicurio Registry")
            done = subprocess.run(
                ["mvn", "-B", "-q", f"{_PLUGIN}:unpack", f"-Dartifact={_ARTIFACT}",
                 f"-DoutputDirectory={folder}"],
                cwd=folder.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=900, check=False,
            )  # fmt: skip
            if not jar.is_file():
                output = (done.stdout + done.stderr)[:800]
                raise KafkaUnavailableError(f"Maven could not fetch Apicurio Registry: {output}")
    return jar
