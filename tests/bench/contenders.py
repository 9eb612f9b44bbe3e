"""Who takes part in the benchmarks of the flow, and how each of them is started.

Knows commands; must not know how they are measured. Each is called with a broker, a topic of
readings, a topic for events and the number of readings; after so many it may end.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from tests.bench.native import SOURCES, MissingToolError, go_peer, java_peer

__all__ = ["CONTENDERS", "MEASURED", "ONCE", "OURS", "Contender", "available"]

OURS = "ours"
ONCE = "ours, exactly once"
MEASURED = "ours, with metrics"


class Contender(NamedTuple):
    """One of those who take part.

    ``command`` returns the beginning of its command line, given the Python of the peers, and raises
    `MissingToolError` where it cannot run; ``options`` follow the arguments. ``apache`` is whether
    it needs Apache Kafka: the embedded broker understands no client of Java or Go.
    """

    label: str
    command: Callable[[str], list[str]]
    options: tuple[str, ...] = ()
    apache: bool = False


def _own(_: str) -> list[str]:
    return [sys.executable, str(SOURCES / "ours.py")]


def _python(script: str, modules: str, python: str) -> list[str]:
    asked = subprocess.run([python, "-c", f"import {modules}"], capture_output=True, check=False)
    if asked.returncode:
        raise MissingToolError(f"{python} lacks one of {modules}")
    return [python, str(SOURCES / f"{script}.py")]


def _peer(label: str, script: str, modules: str) -> Contender:
    return Contender(label, partial(_python, script, modules))


def _jvm(label: str, main: str) -> Contender:
    return Contender(label, lambda _: java_peer(main), apache=True)


CONTENDERS = {
    OURS: Contender("ewma_ops", _own),
    ONCE: Contender("ewma_ops, exactly once", _own, ("--exactly-once",)),
    MEASURED: Contender("ewma_ops, with metrics", _own, ("--metrics",)),
    "go": Contender("Go loop, franz-go", lambda _: go_peer(), apache=True),
    "java": _jvm("Java loop, kafka-clients", "Loop"),
    "flink": _jvm("Flink", "Flink"),
    "streams": _jvm("Kafka Streams", "Streams"),
    "confluent_loop": _peer("librdkafka loop, Python", "confluent_loop", "confluent_kafka, orjson"),
    "csp_node": _peer("csp, one Python node", "csp_node", "csp"),
    "pathway_groups": _peer("Pathway", "pathway_groups", "pathway"),
    "bytewax_own": _peer(
        "Bytewax, own connector", "bytewax_own", "bytewax, confluent_kafka, orjson"
    ),
    "quix": _peer("Quix Streams", "quix", "quixstreams"),
    "kafka_python_loop": _peer("kafka-python loop", "kafka_python_loop", "kafka, crc32c, orjson"),
}


def available(
    python: str, names: Iterable[str] = CONTENDERS, *, apache: bool
) -> dict[str, list[str]]:
    """Return the command of each contender that can run here; say of the others why not.

    Parameters
    ----------
    python
        The Python that has the peers' packages.
    names
        Of these.
    apache
        Whether they are to run on Apache Kafka.
    """
    commands = {}
    for name in names:
        contender = CONTENDERS[name]
        try:
            if contender.apache and not apache:
                raise MissingToolError("it needs Apache Kafka, --apache")
            commands[name] = contender.command(python)
        except MissingToolError as reason:
            print(f"{contender.label}: left out, {reason}", file=sys.stderr)
    return commands
