"""The brokers as fixtures: embedded always, Apache Kafka where there is one to be had."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from kafka import cluster
from kafka.net import connection, manager

from ewma_ops.compiled import library, sources
from ewma_ops.demo.broker import EmbeddedBroker, speaks_kafka
from ewma_ops.secrets import masking
from tests.helpers.apicurio import apicurio
from tests.helpers.brokers import ApacheKafka, KafkaCluster, make_topic
from tests.helpers.distribution import Scheduling, rank
from tests.helpers.kafka_jars import KafkaUnavailableError
from tests.helpers.shared_kafka import Listeners, shared_kafka

collect_ignore_glob = ["bench/peers/*"]  # they need the packages they are compared with

# What is ignored here is ignored in every child: SIGHUP under nohup, SIGINT in the background of a
# shell without job control.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Keep byte code whatever the environment says: the tests start Python hundreds of times.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# An example may take long because others want the processor, too.
settings.register_profile("ewma_ops", deadline=None)
settings.load_profile("ewma_ops")

# Hypothesis watches the state of `random`, which threads of a client may change in any test.
for _module in (cluster, connection, manager):
    vars(_module)["random"] = random.Random()

_NEEDS_APACHE_KAFKA = {"kafka", "kafka_sasl", "own_kafka", "kafka_of_properties"}
_NEEDS_APACHE_KAFKA |= {"restartable_kafka", "kafka_cluster"}
_NEEDS_BROKER = {"embedded", "broker", "registry_url"} | _NEEDS_APACHE_KAFKA


def pytest_configure(config: pytest.Config) -> None:
    """Compile the loops, if they are out of date, before any process of the tests begins."""
    if library.kernels is None and not library.missing.startswith(library.SWITCH):
        if not hasattr(config, "workerinput") and sources.compiler() is not None:
            failure = sources.compile_to(sources.library_path())
            assert failure is None, failure
        library.kernels, library.missing = library.load()
    if not hasattr(config, "workerinput") and getattr(config.option, "numprocesses", None):
        _compile_modules()


def _compile_modules() -> None:
    """Compile all modules once on a fresh checkout, where each worker would for itself."""
    tests = Path(__file__).parent
    if not (tests / "stats" / "__pycache__").is_dir():
        collect = [sys.executable, "-m", "pytest", "--numprocesses=0", "--collect-only", "-qq"]
        subprocess.run(collect, cwd=tests.parent, stdout=subprocess.DEVNULL, check=False)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Start four; or eight, where most tests wait for programs; or as many as there are cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(4 if "not broker" in config.option.markexpr else 8, cores or 1)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector what is there for the whole run, and it is most there is."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & _NEEDS_APACHE_KAFKA:
            item.add_marker(pytest.mark.apache_kafka)
        if fixtures & _NEEDS_BROKER:
            item.add_marker(pytest.mark.broker)
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    fixtures, slow = set(getattr(item, "fixturenames", ())), item.get_closest_marker("slow")
    return rank(item.nodeid, fixtures, slow=slow is not None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


@pytest.hookimpl(trylast=True)  # what the test has open is closed while they answer
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop what several tests restart after the last that needs it: idle, it takes its share."""
    for name in ("kafka_cluster", "restartable_kafka"):
        brokers = getattr(item, "funcargs", {}).get(name)
        if brokers is not None and name not in getattr(nextitem, "fixturenames", ()):
            brokers.kill()


@pytest.fixture(autouse=True)
def _own_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave what one test made a secret out of the messages of the next."""
    monkeypatch.setattr(masking, "_remembered", dict(masking._remembered))


@pytest.fixture(scope="session")
def embedded() -> Iterator[str]:
    """Bootstrap servers of the embedded broker."""
    with EmbeddedBroker() as broker:
        yield broker.bootstrap_servers


@pytest.fixture(scope="session")
def own_kafka(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Listeners]:
    """Apache Kafka started by the tests, one for all workers of a run."""
    directory = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        directory = directory.parent
    with _available(), shared_kafka(directory) as listeners:
        yield listeners


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> str:
    """Bootstrap servers of Apache Kafka: ``EWMA_KAFKA``, or else one of our own."""
    address = os.environ.get("EWMA_KAFKA")
    if address:
        return address
    own: Listeners = request.getfixturevalue("own_kafka")
    return own.bootstrap_servers


@pytest.fixture(scope="session")
def kafka_sasl(own_kafka: Listeners) -> tuple[str, str, str]:
    """Bootstrap servers, user and password of an Apache Kafka that asks for SASL/PLAIN."""
    return own_kafka.sasl_bootstrap_servers, own_kafka.user, own_kafka.password


@pytest.fixture(scope="session")
def _restartable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    with _available():
        broker = ApacheKafka(tmp_path_factory.mktemp("kafka"))
    yield broker
    broker.kill()


@pytest.fixture
def restartable_kafka(_restartable: ApacheKafka) -> ApacheKafka:
    """Apache Kafka of one worker's own, up when the test begins: to stop, kill and start again."""
    if not speaks_kafka(_restartable.bootstrap_servers):
        _restartable.kill()
        _restartable.start()
    return _restartable


@pytest.fixture
def kafka_of_properties(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApacheKafka]:
    """Apache Kafka of one test's own, with the properties that are its parameter."""
    with _available(), ApacheKafka(tmp_path_factory.mktemp("kafka"), request.param) as broker:
        yield broker


@pytest.fixture(scope="session")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    with _available():
        cluster = KafkaCluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.kill()


@pytest.fixture
def kafka_cluster(_cluster: KafkaCluster) -> KafkaCluster:
    """Three brokers of Apache Kafka, all up when the test begins: to stop, kill, pause and start.

    Topics need ``replication=3`` to survive one of them.
    """
    _cluster.start()
    return _cluster


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.apache_kafka)])
def broker(request: pytest.FixtureRequest) -> str:
    """Bootstrap servers of each broker in turn."""
    address: str = request.getfixturevalue(request.param)
    return address


@pytest.fixture(scope="session")
def registry_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real Schema Registry's API."""
    with _available(), apicurio(tmp_path_factory.mktemp("registry") / "log") as url:
        yield url


@pytest.fixture
def topic() -> Callable[..., str]:
    """Return the factory of topics: ``topic(bootstrap, partitions=1, name_prefix="topic")``."""
    return make_topic


@contextmanager
def _available() -> Iterator[None]:
    """Skip the test where Apache Kafka cannot run, or fail it where that is required."""
    try:
        yield
    except KafkaUnavailableError as reason:
        if os.environ.get("EWMA_REQUIRE_KAFKA"):
            pytest.fail(f"Apache Kafka is required (EWMA_REQUIRE_KAFKA is set): {reason}")
        pytest.skip(f"Apache Kafka: {reason}")
