"""The dataflow behind ``ewma run``: Kafka in, smoothed events and dead letters out.

The one place that joins connectors, codecs and operators; each of them knows none of the others.

    source -> decode -> Readings -> smooth -> encode -----> sink
                    |                     `-> put aside -.
                    `-> unreadable -----------------------`-> dead letters
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple, TypeGuard, cast

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.operators import KeyedStream
from bytewax.outputs import Sink

import ewma_ops.operators as ew
from ewma_ops.columns.readings import Readings
from ewma_ops.connectors.client.topics import largest_record
from ewma_ops.connectors.sink.sink import KafkaSink
from ewma_ops.connectors.source.source import KafkaSource
from ewma_ops.job.builders import build_decoder, build_encoder, open_history
from ewma_ops.job.identity import job_identity
from ewma_ops.job.recovery.store import RecoveryStore
from ewma_ops.job.report import Report
from ewma_ops.job.steps import Addressed, DeadLetters, Decode, Encode, RouteRejected
from ewma_ops.settings.model import Settings
from ewma_ops.wire.records import ConsumerRecords, ProducerRecords

__all__ = ["Job", "Partitions", "build_job", "join", "letters_cut"]

_log = logging.getLogger(__name__)


class Job(NamedTuple):
    """A dataflow, and its source: `KafkaSource.commit` is to be called when the flow has ended."""

    flow: Dataflow
    source: KafkaSource


def build_job(
    settings: Settings,
    stopping: threading.Event | None = None,
    store: RecoveryStore | None = None,
) -> Job:
    """Build the dataflow of a configuration.

    Parameters
    ----------
    settings
        What to read, compute and write.
    stopping
        When set, the source ends and Bytewax takes a last snapshot.
    store
        What this run goes on with: prepared with :func:`identify` and :func:`find_beginning`.
        ``None`` for a job that keeps no state, and begins where its configuration says each time.

    Raises
    ------
    BrokerError, ConfigError
        If Kafka cannot be reached with the options given, or a topic does not exist; or if the
        file of the warm start cannot be read.
    """
    reads = settings.input
    start_offsets = None if store is None else store.start_offsets
    routed = {} if store is None else store.routed
    source = KafkaSource(
        settings.kafka,
        reads.topic,
        start=reads.start,
        stop=reads.stop,
        group_id=reads.group_id,
        on_lost=reads.on_lost,
        stopping=stopping,
        start_offsets=start_offsets,
    )
    job = job_identity(settings)
    events = _sink(settings, settings.output.topic, job, start_offsets, routed)
    dead_letters = _sink(settings, settings.dead_letters.topic, job, start_offsets, routed)
    partitions = Partitions(events.partitions, dead_letters.partitions)
    letter_bytes = _letter_bytes(settings)
    return Job(join(settings, source, events, dead_letters, partitions, letter_bytes), source)


class Partitions(NamedTuple):
    """How many partitions the two output topics are written to by."""

    events: int = 1
    dead_letters: int = 1


def join(
    settings: Settings,
    source: Source[ConsumerRecords],
    events: Sink[Any],
    dead_letters: Sink[Any],
    partitions: Partitions = Partitions(),  # noqa: B008 - immutable
    letter_bytes: int | None = None,
    report: Report | None = None,
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
    partitions
        By how many each sink writes.
    letter_bytes
        Most bytes of a dead letter; ``None`` for what the settings say.
    report
        Counts what comes of the messages.
    """
    policies = settings.smoothing_set.policies
    report = Report() if report is None else report
    most = settings.dead_letters.max_bytes if letter_bytes is None else letter_bytes
    letters = DeadLetters(settings.input.topic, partitions.dead_letters, most, report)
    decode = Decode(build_decoder(settings), letters, keeps=policies.keeps_originals)
    encode = Encode(build_encoder(settings), partitions.events, report)

    flow = Dataflow("ewma")
    records = op.input("source", flow, source)
    decoded = op.branch("readable", op.flat_map_batch("decode", records, decode), _is_readings)
    unreadable = cast("KeyedStream[ProducerRecords]", decoded.falses)
    smoothed = ew.smooth_batches(
        "smooth",
        decoded.trues,
        settings.smoothing_set,
        settings.shards,
        warm_start=open_history(settings),
    )
    op.output("sink", op.flat_map_batch("encode", smoothed, encode), events)
    rejected = op.flat_map_batch("route-rejected", smoothed, RouteRejected(policies, letters))
    op.output("dead-letters", op.merge("merge-dead-letters", unreadable, rejected), dead_letters)
    return flow


def letters_cut(settings: Settings) -> tuple[int, str]:
    """Return how many bytes a dead letter may have, and why those are fewer than were asked for.

    The topic's own limit rules, as a letter that it does not take would stop the flow.

    Raises
    ------
    BrokerError, ConfigError
        As of :func:`build_job`.
    """
    topic, asked = settings.dead_letters.topic, settings.dead_letters.max_bytes
    largest = largest_record(settings.kafka, topic)
    if largest is None or asked <= largest:
        return asked, ""
    return largest, (
        f"dead_letters.max_bytes is {asked}, and topic {topic!r} takes {largest} bytes: larger "
        f"letters are cut to that; set dead_letters.max_bytes = {largest}, or raise "
        "max.message.bytes of the topic"
    )


def _letter_bytes(settings: Settings) -> int:
    max_bytes, why = letters_cut(settings)
    if why:
        _log.warning("%s", why)
    return max_bytes


def _sink(
    settings: Settings,
    topic: str,
    job: str,
    start_offsets: Mapping[int, int] | None,
    routed: Mapping[str, int],
) -> KafkaSink:
    recovery = settings.recovery
    return KafkaSink(
        settings.kafka,
        topic,
        delivery=settings.output.delivery,
        job=job,
        start_offsets=start_offsets or {},
        partitions=routed.get(topic),
        interval=timedelta(seconds=10) if recovery is None else recovery.interval,
    )


def _is_readings(item: Readings | Addressed) -> TypeGuard[Readings]:
    return isinstance(item, Readings)
