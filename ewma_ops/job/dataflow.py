"""The dataflow behind ``ewma run``: Kafka in, smoothed events and dead letters out.

The one place that joins connectors, codecs and operators; each of them knows none of the others.

    source -> decode -> Readings -> smooth -> encode -----> sink
                    |                     |-> alarms -----> alarms sink
                    |                     `-> put aside -.
                    `-> unreadable -----------------------`-> dead letters
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple, TypeGuard, cast

import bytewax.operators as op
from bytewax.dataflow import Dataflow, Stream
from bytewax.inputs import Source
from bytewax.operators import KeyedStream
from bytewax.outputs import Sink

import ewma_ops.operators as ew
from ewma_ops.columns.murmur2 import murmur2
from ewma_ops.columns.readings import Readings, Smoothed
from ewma_ops.connectors.client.connect import TopicView
from ewma_ops.connectors.client.fencing import Fence
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.connectors.parts import Addressed
from ewma_ops.connectors.sink.sink import KafkaSink
from ewma_ops.connectors.source.source import KafkaSource
from ewma_ops.job.alarms import AlarmRecords, RouteAlarms
from ewma_ops.job.builders import build_encoder
from ewma_ops.job.contents import Contents
from ewma_ops.job.decoding import build_run_decoder
from ewma_ops.job.identity import JobIdentity, gone_partitions, identify, inputs_as_noted
from ewma_ops.job.recovery.manifest import Beginning, refuse_other_job
from ewma_ops.job.recovery.store import RecoveryStore
from ewma_ops.job.report import Report
from ewma_ops.job.steps import DeadLetters, Decode, Encode, RouteRejected
from ewma_ops.job.topics import letters_cut
from ewma_ops.serde.parquet import History
from ewma_ops.settings.model import Settings
from ewma_ops.wire.records import ConsumerRecords, ProducerRecords

__all__ = ["AlarmsOut", "Job", "Partitions", "build_job", "join"]

_log = logging.getLogger(__name__)


class Job(NamedTuple):
    """A dataflow, its source and its report.

    `KafkaSource.commit` is to be called when the flow has ended, and `Report.close`.
    """

    flow: Dataflow
    source: KafkaSource
    report: Report


def build_job(
    settings: Settings,
    stopping: threading.Event | None = None,
    store: RecoveryStore | None = None,
    identity: JobIdentity | None = None,
    *,
    only_worker: bool = False,
    fence: Fence | None = None,
    answered_at: float | None = None,
) -> Job:
    """Build the dataflow of a configuration.

    Parameters
    ----------
    settings
        What to read, compute and write.
    stopping
        When set, the source ends and Bytewax takes a last snapshot.
    store
        The state that this run resumes from, prepared with the answers of
        :class:`~ewma_ops.job.lookups.JobLookups`. ``None`` for a job that keeps no state, and
        begins where its configuration says each time.
    identity
        The job's identity, if this process has looked it up; None to do it now.
    only_worker
        As for `KafkaSource`.
    fence, answered_at
        As for `KafkaSink`.

    Raises
    ------
    BrokerError, ConfigError
        If Kafka cannot be reached with the options given, or a topic does not exist; or if the file
        of the warm start cannot be read.
    StateError
        If the store belongs to another job, for example because the configuration file was changed
        meanwhile.
    """
    reads = settings.input
    stopping = threading.Event() if stopping is None else stopping
    noted = None if store is None else store.noted
    if identity is None:
        identity = identify(settings, {} if noted is None else noted.job)
    if store is not None and noted is not None:
        refuse_other_job(store.directory, noted.job, identity.store)
    offsets, routed, notes, _ = Beginning() if noted is None else noted.beginning
    identity = replace(identity, inputs=inputs_as_noted(identity.inputs, notes))
    source = KafkaSource(
        settings.kafka,
        list(identity.inputs.names),
        start=reads.start,
        stop=reads.stop,
        group_id=reads.group_id,
        on_lost=reads.on_lost,
        stopping=stopping,
        start_offsets=offsets or None,
        inputs=identity.inputs,
        gone=gone_partitions(notes),
        only_worker=only_worker,
        interval=_interval(settings),
    )
    sink = partial(_sink, settings, offsets, routed, fence, answered_at)
    events = sink(settings.output.topic, identity)
    dead_letters = sink(settings.dead_letters.topic, identity)
    report = Report(lambda line: _log.warning("%s", line))
    given = settings, source, events, dead_letters, identity.history, identity.inputs
    flow = join(
        *given,
        Partitions(events.partitions, dead_letters.partitions),
        _letter_bytes(settings),
        report,
        stopping=stopping,
        alarms=_alarms_out(settings, identity, sink),
    )
    return Job(flow, source, report)


class Partitions(NamedTuple):
    """How many partitions of the two output topics are written to."""

    events: int = 1
    dead_letters: int = 1


class AlarmsOut(NamedTuple):
    """Where a job's alarms go: a sink of `Addressed` records, and the properties of its topic.

    ``identity`` is that of the alarms, and ``step`` the name of the step that writes them: state of
    one topic is of no use to another.
    """

    sink: Sink[Any]
    identity: str = ""
    partitions: int = 1
    step: str = "alarms"


def join(
    settings: Settings,
    source: Source[ConsumerRecords],
    events: Sink[Any],
    dead_letters: Sink[Any],
    history: History | None,
    inputs: InputTopics | None = None,
    partitions: Partitions = Partitions(),  # noqa: B008 - immutable
    letter_bytes: int | None = None,
    report: Report | None = None,
    stopping: threading.Event | None = None,
    alarms: AlarmsOut | None = None,
) -> Dataflow:
    """Join the steps of a job between a source and two sinks, which need not be Kafka's.

    Parameters
    ----------
    settings
        What to decode, compute and encode.
    source
        Of runs of records.
    events, dead_letters
        Sinks of `Addressed` records.
    history
        What the job starts from.
    inputs
        The topics that the source reads; ``None`` where a number alone identifies a partition.
    partitions
        How many partitions each sink writes to.
    letter_bytes
        Most bytes of a dead letter; ``None`` for the limit in the settings.
    report
        Counts the results of the messages.
    stopping
        When set, ends the wait for a Schema Registry.
    alarms
        Where transitions of alarms go; needed where the settings have rules.
    """
    report = Report() if report is None else report
    most = settings.dead_letters.max_bytes if letter_bytes is None else letter_bytes
    if inputs is None:
        inputs = InputTopics.alone(settings.input.source, TopicView(None, 1))
    letters = DeadLetters(inputs, partitions.dead_letters, most, report)
    runs = build_run_decoder(settings, inputs, stopping)
    runs.decoder.watch.within = Contents(settings, stopping).paths
    report.watch = runs.decoder.watch
    policies, on = settings.smoothing_set.policies, settings.metrics is not None
    decode = Decode(runs, letters, keeps=policies.keeps_originals, measured=on)
    tick = settings.input.tick if on else None
    encode = Encode(build_encoder(settings, stopping), partitions.events, report, tick)

    flow = Dataflow("ewma")
    if runs.has_clocks and isinstance(source, KafkaSource):
        source.read_through(decode)
        items = cast("Stream[Readings | Addressed]", op.input("source", flow, source))
    else:
        items = op.flat_map_batch("decode", op.input("source", flow, source), decode)
    decoded = op.branch("readable", items, _is_readings)
    unreadable = cast("KeyedStream[ProducerRecords]", decoded.falses)
    smoothed = ew.smooth_batches(
        "smooth",
        decoded.trues,
        settings.smoothing_set,
        settings.shards,
        warm_start=history,
        alarms=None if settings.alarms is None else settings.alarms.rules,
    )
    op.output("sink", op.flat_map_batch("encode", smoothed, encode), events)
    rejected = op.flat_map_batch("route-rejected", smoothed, RouteRejected(policies, letters))
    op.output("dead-letters", op.merge("merge-dead-letters", unreadable, rejected), dead_letters)
    _join_alarms(settings, smoothed, alarms, inputs, report)
    return flow


def _join_alarms(
    settings: Settings,
    smoothed: Stream[Smoothed],
    alarms: AlarmsOut | None,
    inputs: InputTopics,
    report: Report,
) -> None:
    if settings.alarms is None or alarms is None:
        return
    tick = settings.input.tick
    records = AlarmRecords(settings.alarms.rules, alarms.identity, inputs, tick.per_ms)
    route = RouteAlarms(records, alarms.partitions, report)
    op.output(alarms.step, op.flat_map_batch("route-alarms", smoothed, route), alarms.sink)


def _alarms_out(
    settings: Settings, identity: JobIdentity, sink: Callable[[str, JobIdentity], KafkaSink]
) -> AlarmsOut | None:
    if settings.alarms is None:
        return None
    topic, own = settings.alarms.topic, replace(identity, events=identity.alarms)
    out = sink(topic, own)
    named = murmur2(f"{topic} {identity.written[topic].topic_id}".encode())
    return AlarmsOut(out, identity.alarms, out.partitions, f"alarms-{named:08x}")


def _letter_bytes(settings: Settings) -> int:
    max_bytes, why = letters_cut(settings)
    if why:
        _log.warning("%s", why)
    return max_bytes


def _sink(
    settings: Settings,
    start_offsets: Mapping[int, int],
    routed: Mapping[str, int],
    fence: Fence | None,
    answered_at: float | None,
    topic: str,
    identity: JobIdentity,
) -> KafkaSink:
    return KafkaSink(
        settings.kafka,
        topic,
        delivery=settings.output.delivery,
        job=identity.events,
        start_offsets=start_offsets,
        partitions=routed.get(topic),
        input_topics=identity.inputs.by_number,
        view=identity.written[topic],
        fence=fence,
        answered_at=answered_at,
        interval=_interval(settings),
    )


def _interval(settings: Settings) -> timedelta:
    return timedelta(seconds=10) if settings.recovery is None else settings.recovery.interval


def _is_readings(item: Readings | Addressed) -> TypeGuard[Readings]:
    return isinstance(item, Readings)
