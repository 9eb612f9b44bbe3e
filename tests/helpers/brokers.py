"""Real brokers for the tests: Apache Kafka, one or a cluster, and how to talk to any broker.

Apache Kafka runs from Maven's jars.

The embedded broker is the demo's own, ``ewma_ops.demo.broker.EmbeddedBroker``.
"""

from __future__ import annotations

import base64
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import KafkaError

from ewma_ops.demo.broker import free_port, speaks_kafka, start_tied
from tests.helpers.kafka_jars import class_path, java, made_once
from tests.helpers.patience import PATIENCE_S

_numbers = itertools.count()


class Record(NamedTuple):
    """One record to produce; ``partition`` None leaves the choice to the producer.

    kafka-python sends no null header value, and no null value without a key.
    """

    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp_ms: int | None = None
    partition: int | None = None


def make_topic(
    bootstrap: str,
    partitions: int = 1,
    name_prefix: str = "topic",
    configs: Mapping[str, str] | None = None,
    replication: int = 1,
    **options: Any,
) -> str:
    """Create a topic with a name never used before, wait until it is served, return its name."""
    name = f"{name_prefix}-{os.getpid()}-{next(_numbers)}"
    topic = NewTopic(name, partitions, replication, topic_configs=dict(configs or {}))
    admin = KafkaAdminClient(bootstrap_servers=bootstrap, **options)
    try:
        admin.create_topics([topic], wait_for_metadata=True)
    finally:
        admin.close()
    return name


def set_configs(bootstrap: str, topic: str, configs: Mapping[str, str]) -> None:
    """Change options of a topic, and wait until they hold."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    asked = ConfigResource(ConfigResourceType.TOPIC, topic, list(configs))
    try:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, dict(configs))])
        deadline = time.monotonic() + PATIENCE_S
        while True:
            told = admin.describe_configs([asked], config_filter="all")["topic"][topic]
            if {name: told[name]["value"] for name in configs} == dict(configs):
                return
            assert time.monotonic() < deadline, f"{topic} has not taken {configs}: {told}"
            time.sleep(0.05)
    finally:
        admin.close()


def add_partitions(bootstrap: str, topic: str, total: int) -> None:
    """Let a topic grow to ``total`` partitions; return when all are led."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        admin.create_partitions({topic: total})
        _wait_for(lambda: len(_led(admin, topic)) == total, f"{total} partitions of {topic}")
    finally:
        admin.close()


def recreate_topic(bootstrap: str, topic: str, partitions: int, replication: int = 1) -> None:
    """Delete a topic and create it again, empty."""
    delete_topic(bootstrap, topic)
    create_topic_again(bootstrap, topic, partitions, replication)


def delete_topic(bootstrap: str, topic: str) -> None:
    """Delete a topic; return when it is gone."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        admin.delete_topics([topic])
        _wait_for(lambda: topic not in admin.list_topics(), f"the end of {topic}")
    finally:
        admin.close()


def create_topic_again(bootstrap: str, topic: str, partitions: int, replication: int = 1) -> None:
    """Create a topic of a name that was in use."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        admin.create_topics([NewTopic(topic, partitions, replication)])
        _wait_for(lambda: len(_led(admin, topic)) == partitions, f"{topic} to be there again")
    finally:
        admin.close()


def _led(admin: Any, topic: str) -> list[Any]:
    (view,) = admin.describe_topics([topic])
    return [partition for partition in view["partitions"] if partition["leader_id"] >= 0]


def _wait_for(true: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"no {what} within {timeout_s:g} s"
        time.sleep(0.05)


def configure_topic(bootstrap: str, topic: str, configs: Mapping[str, str]) -> None:
    """Change settings of a topic that is there."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, dict(configs))])
    finally:
        admin.close()


def produce(bootstrap: str, topic: str, records: Iterable[Record], **options: Any) -> list[int]:
    """Append records in order, wait for every acknowledgement, return their offsets."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=5, **options)
    try:
        futures = [
            producer.send(
                topic,
                value=record.value,
                key=record.key,
                headers=list(record.headers),
                timestamp_ms=record.timestamp_ms,
                partition=record.partition,
            )
            for record in records
        ]
        return [future.get(timeout=PATIENCE_S).offset for future in futures]
    finally:
        producer.close(timeout=10)


def read_all(
    bootstrap: str, topic: str, n: int, timeout_s: float = PATIENCE_S, **options: Any
) -> list[Any]:
    """Read a topic from its start, no group: ``n`` records, and any that follow at once.

    Returns kafka-python's ``ConsumerRecord``s, in order within each partition. Fewer than ``n``
    within ``timeout_s`` fail the test; a surplus is returned for the test to find.
    """
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=None, **options
    )
    records: list[Any] = []
    try:
        partitions = consumer.partitions_for_topic(topic)
        assert partitions, f"topic {topic!r} does not exist at {bootstrap}"
        consumer.assign([TopicPartition(topic, p) for p in sorted(partitions)])
        deadline = time.monotonic() + timeout_s
        while len(records) < n and time.monotonic() < deadline:
            records += _poll(consumer, 100)
        records += _poll(consumer, 250)
    finally:
        consumer.close()
    assert len(records) >= n, f"{len(records)} of {n} records in {topic!r} after {timeout_s} s"
    return records


def _poll(consumer: Any, timeout_ms: int) -> list[Any]:
    return [r for run in consumer.poll(timeout_ms=timeout_ms).values() for r in run]


class ApacheKafka:
    """One combined broker and controller in KRaft mode, in ``directory``.

    Ports and data stay the same over ``stop``, ``kill`` and ``start``. There is a second listener
    with SASL/PLAIN for ``user`` and ``password``, and with ``tls`` a third one, whose certificate
    is signed by itself: ``certificate``. Topics must be created: nothing is automatic.

    Alone by default; ``quorum`` (node id to address of the controller) makes it node ``node_id``
    of a cluster: see :class:`KafkaCluster`. ``archived``: with the archive of Kafka's classes
    (Java's CDS), which halves the time of a start.
    """

    user = "smoother"
    password = "right-password"

    def __init__(
        self,
        directory: Path,
        properties: Mapping[str, str] | None = None,
        *,
        tls: bool = False,
        node_id: int = 1,
        quorum: Mapping[int, str] | None = None,
        heap: str = "512m",
        archived: bool = True,
    ) -> None:
        self._java = java()
        self._class_path = class_path()
        self._archive = ""
        if archived:
            self._archive = f"-XX:SharedArchiveFile={made_once(self._java, 'jsa', _archive)}"
        self._directory = directory
        self._heap = heap
        self.node_id = node_id
        taken = set((quorum or {}).values())
        plain, sasl, secure, controller = free_addresses(4, taken)
        self.bootstrap_servers = plain
        self.sasl_bootstrap_servers = sasl
        self.tls_bootstrap_servers = secure
        self.certificate = directory / "certificate.pem"
        self._process: subprocess.Popen[bytes] | None = None
        self._log = directory / "kafka.log"
        self._config = directory / "server.properties"
        directory.mkdir(parents=True, exist_ok=True)
        settings = self._settings(plain, sasl, controller)
        if quorum is not None:
            settings |= _quorum_settings(settings, controller, node_id, quorum)
        settings |= dict(properties or {})
        if tls:
            self._add_tls(settings, secure)
        self._config.write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
        self._format()

    def __enter__(self) -> ApacheKafka:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped or killed since; a paused one is running."""
        return self._process is not None

    def start(self, timeout_s: float = PATIENCE_S) -> None:
        """Start the broker and wait until it serves metadata."""
        self.launch()
        self.wait_until_ready(timeout_s)

    def launch(self) -> None:
        """Start the broker and do not wait."""
        assert self._process is None, "already running"
        with self._log.open("ab") as log:
            self._process = start_tied(
                self._command("kafka.Kafka", str(self._config)),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait until the broker serves metadata."""
        assert self._process is not None, "not running"
        deadline = time.monotonic() + timeout_s
        while not speaks_kafka(self.bootstrap_servers):
            assert self._process.poll() is None, f"Apache Kafka died:\n{self._last_output()}"
            assert time.monotonic() < deadline, f"Apache Kafka is late:\n{self._last_output()}"
            time.sleep(0.05)

    def pause(self) -> None:
        """Stop the process in its tracks (SIGSTOP), as a virtual machine that is suspended."""
        assert self._process is not None, "not running"
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on (SIGCONT)."""
        assert self._process is not None, "not running"
        self._process.send_signal(signal.SIGCONT)

    def stop(self, timeout_s: float = PATIENCE_S) -> None:
        """Stop the broker as an operator would (SIGTERM) and wait for its end."""
        self._end(signal.SIGTERM, timeout_s)

    def kill(self) -> None:
        """Stop the broker as a power cut would (SIGKILL)."""
        self._end(signal.SIGKILL, PATIENCE_S)

    def restart(self) -> None:
        """Stop and start again, data and ports kept."""
        self.stop()
        self.start()

    def _end(self, number: signal.Signals, timeout_s: float) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(number)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def archive_classes(self, path: Path) -> None:
        """Start once and stop, and have the JVM write down which classes it loaded."""
        self._archive = f"-XX:ArchiveClassesAtExit={path}"
        self.start()
        self.stop()

    def _format(self) -> None:
        """Do what Kafka's own tool does, without its JVM: its one binary file never changes."""
        features = made_once(self._java, "checkpoint", self._format_by_tool)
        data = self._directory / "data"
        (data / _FEATURES).parent.mkdir(parents=True)
        shutil.copy(features, data / _FEATURES)
        identity = {
            "version": "1",
            "cluster.id": _CLUSTER_ID,
            "node.id": str(self.node_id),
            "directory.id": base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("="),
        }
        (data / "meta.properties").write_text("".join(f"{k}={v}\n" for k, v in identity.items()))

    def _format_by_tool(self, copy: Path) -> None:
        """Format the storage, and copy the file that says which features a cluster begins with."""
        command = ("format", "--cluster-id", _CLUSTER_ID, "--config", str(self._config))
        done = subprocess.run(
            self._command("kafka.tools.StorageTool", *command),
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if done.returncode:
            raise RuntimeError(f"Kafka's storage cannot be formatted:\n{done.stdout}{done.stderr}")
        shutil.copy(self._directory / "data" / _FEATURES, copy)
        shutil.rmtree(self._directory / "data")

    def _command(self, main: str, *arguments: str) -> list[str]:
        jvm = [f"-Xmx{self._heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        jvm += [self._archive] * bool(self._archive)
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return [self._java, *jvm, quiet, "-cp", self._class_path, main, *arguments]

    def _add_tls(self, settings: dict[str, str], address: str) -> None:
        """Make a key and its certificate, and a listener that shows it."""
        store = str(self._directory / "key.p12")
        keytool = [str(Path(self._java).resolve().with_name("keytool")), "-keystore", store]
        keytool += ["-storepass", self.password, "-alias", "broker"]
        make = ["-genkeypair", "-keyalg", "EC", "-dname", "CN=broker", "-ext", "san=ip:127.0.0.1"]
        show = ["-exportcert", "-rfc", "-file", str(self.certificate)]
        for command in (make, show):
            subprocess.run(
                [*keytool, *command], check=True, capture_output=True, timeout=PATIENCE_S
            )
        settings["listeners"] += f",TLS://{address}"
        settings["advertised.listeners"] += f",TLS://{address}"
        settings["listener.security.protocol.map"] += ",TLS:SSL"
        settings["listener.name.tls.ssl.keystore.location"] = store
        settings["listener.name.tls.ssl.keystore.password"] = self.password

    def _last_output(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]

    def _settings(self, plain: str, sasl: str, controller: str) -> dict[str, str]:
        login = "org.apache.kafka.common.security.plain.PlainLoginModule"
        clients = f"PLAIN://{plain},SASL://{sasl}"
        one = [f"{topic}.replication.factor" for topic in _INTERNAL_TOPICS]
        one += [f"{topic}.num.partitions" for topic in _INTERNAL_TOPICS]
        one += ["transaction.state.log.min.isr", "share.coordinator.state.topic.min.isr"]
        return {
            "process.roles": "broker,controller",
            "node.id": str(self.node_id),
            "controller.quorum.voters": f"{self.node_id}@{controller}",
            "listeners": f"{clients},CONTROLLER://{controller}",
            "advertised.listeners": clients,
            "listener.security.protocol.map": (
                "PLAIN:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT"
            ),
            "inter.broker.listener.name": "PLAIN",
            "controller.listener.names": "CONTROLLER",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl.plain.sasl.jaas.config": (
                f'{login} required user_{self.user}="{self.password}";'
            ),
            "log.dirs": str(self._directory / "data"),
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            # A killed broker is let in again only when its old session has run out.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            # An idle broker takes a third less of a core with these.
            "metadata.max.idle.interval.ms": "0",
            "metric.reporters": "",
            "num.network.threads": "1",
            "num.io.threads": "4",
            "background.threads": "4",
            "log.cleaner.dedupe.buffer.size": str(4 << 20),
            "log.cleaner.backoff.ms": "500",
            # Readings of tests are of years ago: they would go at the first look, after 5 minutes.
            "log.retention.check.interval.ms": "86400000",
            **dict.fromkeys(one, "1"),
        }


def _archive(path: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        ApacheKafka(Path(directory), archived=False).archive_classes(path)


_CLUSTER_ID = "ewmaOpsTestClusterAAAA"
_FEATURES = "__cluster_metadata-0/00000000000000000000-0000000000.checkpoint"
_INTERNAL_TOPICS = ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")


def _quorum_settings(
    alone: Mapping[str, str], controller: str, node_id: int, quorum: Mapping[int, str]
) -> dict[str, str]:
    """Return what differs for one node of several from the settings of one alone."""
    factor = str(min(3, len(quorum)))
    replicated = {name: factor for name in alone if name.endswith(".replication.factor")}
    in_sync = {name: str(max(1, int(factor) - 1)) for name in alone if name.endswith(".min.isr")}
    return {
        **replicated,
        **in_sync,
        "default.replication.factor": factor,
        "min.insync.replicas": str(max(1, int(factor) - 1)),
        "controller.quorum.voters": ",".join(f"{n}@{at}" for n, at in quorum.items()),
        "listeners": alone["listeners"].replace(controller, quorum[node_id]),
        # Defaults are for networks: a lost replica or controller is noticed within seconds here.
        "replica.lag.time.max.ms": "3000",
        "controller.quorum.election.timeout.ms": "1000",
        "controller.quorum.fetch.timeout.ms": "2000",
    }


class KafkaCluster:
    """Apache Kafka as it is run in earnest: three brokers by default, replication 3, two in sync.

    Each node is broker and controller, so that :meth:`controller` finds one to kill, and each is
    an :class:`ApacheKafka` to stop, kill, pause and start. One of three may be away, not two.

    Parameters
    ----------
    directory
        Where the nodes have their data and their logs.
    brokers
        How many nodes, >= 1.
    properties
        Of every broker, over the defaults.
    heap
        Of each JVM.
    """

    def __init__(
        self,
        directory: Path,
        brokers: int = 3,
        properties: Mapping[str, str] | None = None,
        *,
        heap: str = "256m",
    ) -> None:
        quorum = dict(enumerate(free_addresses(brokers), 1))

        def node(node_id: int) -> ApacheKafka:
            at = directory / f"broker-{node_id}"
            return ApacheKafka(at, properties, node_id=node_id, quorum=quorum, heap=heap)

        self.brokers = tuple(map(node, quorum))
        self.bootstrap_servers = ",".join(broker.bootstrap_servers for broker in self.brokers)

    def __enter__(self) -> KafkaCluster:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    def start(self, timeout_s: float = PATIENCE_S) -> None:
        """Start all brokers that are down, resume the others; wait until every replica is in."""
        for broker in self.brokers:
            if broker.running:
                broker.resume()
            else:
                broker.launch()
        for broker in self.brokers:
            broker.wait_until_ready(timeout_s)
        self.wait_until_whole(timeout_s)

    def stop(self) -> None:
        """Stop all brokers as an operator would, one after the other."""
        for broker in self.brokers:
            broker.stop()

    def kill(self) -> None:
        """Stop all brokers as a power cut would."""
        for broker in self.brokers:
            broker.kill()

    def broker(self, node_id: int) -> ApacheKafka:
        """Return the broker with an id: 1 to n."""
        return self.brokers[node_id - 1]

    def leader(self, topic: str, partition: int = 0) -> ApacheKafka:
        """Return the broker that leads a partition, as soon as one does."""

        def leader_id() -> int:
            (found,) = (p for p in self._partitions(topic) if p["partition_index"] == partition)
            return int(found["leader_id"])

        self._wait(
            lambda: leader_id() > 0, PATIENCE_S, f"nobody leads partition {partition} of {topic}"
        )
        return self.broker(leader_id())

    def controller(self) -> ApacheKafka:
        """Return the broker that is the active controller."""
        quorum = self._ask(lambda admin: admin.describe_metadata_quorum())
        return self.broker(quorum["topics"][0]["partitions"][0]["leader_id"])

    def reassign(
        self, topic: str, replicas: Mapping[int, Sequence[int]], timeout_s: float = PATIENCE_S
    ) -> None:
        """Move partitions (number to ids of brokers, the leader first); wait for the end."""
        moves = {TopicPartition(topic, p): list(ids) for p, ids in replicas.items()}
        for tp, error in self._ask(lambda a: a.alter_partition_reassignments(moves)).items():
            assert error is None, f"{tp} cannot be moved to brokers {moves[tp]}: {error}"
        self._wait(
            lambda: not self._ask(lambda a: a.list_partition_reassignments(list(moves))),
            timeout_s,
            f"{topic} is not moved to {dict(replicas)}",
        )
        self._ask(lambda a: a.elect_leaders(0, {topic: list(replicas)}, raise_errors=False))
        self._wait(
            lambda: all(self.leader(topic, p).node_id == ids[0] for p, ids in replicas.items()),
            timeout_s,
            f"{topic} is not led as in {dict(replicas)}",
        )

    def wait_until_whole(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait until all brokers are registered and every replica of every partition is in sync."""
        self._wait(self._whole, timeout_s, "the cluster is not whole")

    def _whole(self) -> bool:
        cluster, topics = self._ask(lambda a: (a.describe_cluster(), a.describe_topics()))
        return len(cluster["brokers"]) == len(self.brokers) and all(
            len(partition["isr_nodes"]) == len(partition["replica_nodes"])
            for topic in topics
            for partition in topic["partitions"]
        )

    def _partitions(self, topic: str) -> list[dict[str, Any]]:
        (found,) = self._ask(lambda admin: admin.describe_topics([topic]))
        partitions: list[dict[str, Any]] = found["partitions"]
        return partitions

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        """Ask with a client of its own, which remembers no dead broker, until one answers."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            up = [broker.bootstrap_servers for broker in self.brokers if broker.running]
            try:
                admin = KafkaAdminClient(bootstrap_servers=up, request_timeout_ms=5000)
                try:
                    return question(admin)
                finally:
                    admin.close()
            except KafkaError:  # a broker has just gone, or an election is under way
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    @staticmethod
    def _wait(until: Callable[[], bool], timeout_s: float, otherwise: str) -> None:
        deadline = time.monotonic() + timeout_s
        last: object = None
        while True:
            try:
                if until():
                    return
            except KafkaError as error:  # an election is under way: ask again
                last = error
            assert time.monotonic() < deadline, f"{otherwise} after {timeout_s:g} s ({last})"
            time.sleep(0.25)  # each asks with a client of its own


def free_addresses(n: int, taken: Iterable[str] = ()) -> list[str]:
    """Return n different loopback addresses with free ports, none of them ``taken``."""
    found: dict[str, None] = {}
    while len(found) < n:  # asked for one by one, two may be the same
        address = f"127.0.0.1:{free_port()}"
        if address not in taken:
            found[address] = None
    return list(found)
