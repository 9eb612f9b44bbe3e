"""Peers of the benchmarks in Java and Go: pinned, built once, and left out with a reason.

Nothing is fetched or built by Maven or Go here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.bench import native
from tests.bench.contenders import CONTENDERS, available
from tests.bench.contest import compilers_s
from tests.helpers.patience import PATIENCE_S

NATIVE = [name for name, contender in CONTENDERS.items() if contender.apache]
_POM = {"m": "http://maven.apache.org/POM/4.0.0"}


def test_maven_and_go_are_given_exact_versions() -> None:
    project = ElementTree.parse(native.SOURCES / "java" / "pom.xml").getroot()
    properties = {
        one.tag.split("}")[1]: one.text for one in project.findall("m:properties/*", _POM)
    }
    pinned = [*project.iter(f"{{{_POM['m']}}}dependency"), *project.iter(f"{{{_POM['m']}}}plugin")]
    assert pinned
    for one in pinned:
        version = one.findtext("m:version", "", _POM)
        version = properties.get(version.strip("${}"), version) or ""
        assert re.fullmatch(r"\d+(\.\d+)+(-[\d.]+)?", version), one.findtext(
            "m:artifactId", "", _POM
        )
    required = re.findall(r"^(?:require )?\t?(\S+) (v\S+)", _of_go("go.mod"), re.MULTILINE)
    assert ("github.com/twmb/franz-go", "v1.22.3") in required
    sums = _of_go("go.sum")
    assert all(f"{module} {version} h1:" in sums for module, version in required)


def test_a_peer_without_its_tool_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert available(sys.executable, NATIVE, apache=True) == {}
    told = capsys.readouterr().err
    assert "Go loop, franz-go: left out, no Go: install go" in told
    assert "Flink: left out, no JVM" in told


def test_a_peer_that_needs_apache_kafka_is_left_out_without_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(available(sys.executable, ["ours", *NATIVE], apache=False)) == ["ours"]
    assert capsys.readouterr().err.count("it needs Apache Kafka") == len(NATIVE)


def test_a_peer_is_built_again_only_if_its_sources_changed(tmp_path: Path) -> None:
    source, built = tmp_path / "source", tmp_path / "built"
    source.mkdir()
    builds = tmp_path / "builds"
    command = ["sh", "-c", f"echo >> {builds}"]
    for text, expected in (("a", 1), ("a", 1), ("b", 2)):
        (source / "Main.java").write_text(text)
        native._build(source, built, command)
        assert len(builds.read_text()) == expected


def test_a_build_that_fails_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    for _ in range(2):  # nor is it taken for built the next time
        with pytest.raises(native.MissingToolError, match="sh cannot build it: no such package"):
            native._build(
                tmp_path / "source",
                tmp_path / "built",
                ["sh", "-c", "echo no such package; exit 1"],
            )


@pytest.mark.slow
def test_compilers_are_threads_of_their_names_only() -> None:
    script = """
import ctypes, sys, threading, time
def spin(name):
    ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0)  # as a JVM names its threads
    while time.thread_time() < 0.2:
        pass
    done.wait()
done = threading.Event()
for name in ("C2 CompilerThre", "other"):
    threading.Thread(target=spin, args=[name], daemon=True).start()
time.sleep(0.01)
print(flush=True)
sys.stdin.read()
done.set()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        until = time.monotonic() + PATIENCE_S
        while compilers_s(process.pid) < 0.15 and time.monotonic() < until:
            time.sleep(0.02)
        assert 0.15 <= compilers_s(process.pid) <= 0.25
        assert compilers_s(os.getpid()) == 0
        assert process.stdin is not None
        process.stdin.close()


def _of_go(name: str) -> str:
    return (native.SOURCES / "go" / name).read_text()
