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
from typing import NamedTuple, TypeGuard, cast

import bytewax.operators as op
import numpy as np
from bytewax.dataflow import Dataflow
from bytewax.operators import KeyedStream

import ewma_ops.operators as ew
from ewma_ops.columns.readings import Readings
from ewma_ops.connectors.client.topic_configs import Use, refuse_or_warn
from ewma_ops.connectors.client.topics import largest_record, look_up, partition_count
from ewma_ops.connectors.sink.routing import by_key, by_source, routed_partitions
from ewma_ops.connectors.sink.sink import KafkaSink
from ewma_ops.connectors.source.offsets import start_offsets
from ewma_ops.connectors.source.source import KafkaSource
from ewma_ops.job.recovery.store import Beginning, RecoveryStore
from ewma_ops.job.steps import Addressed, Decode, Encode, Letters, PutAside
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.json.encoder import JsonEncoder
from ewma_ops.serde.parquet import History, file_digest
from ewma_ops.settings.load import Settings
from ewma_ops.table.table import SeriesTable
from ewma_ops.wire.records import ProducerRecords

__all__ = [
    "Job",
    "begin",
    "build_job",
    "decoder_of",
    "encoder_of",
    "identify",
    "job_of",
    "letters_cut",
    "topic_uses",
    "warmed",
]

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
        What this run goes on with: prepared with :func:`identify` and :func:`begin`. ``None`` for
        a job that keeps no state, and begins where its configuration says each time.

    Raises
    ------
    BrokerError, ConfigError
        If Kafka cannot be reached with the options given, or a topic does not exist; or if the
        file of the warm start cannot be read.
    """
    reads, family = settings.input, settings.family
    began = None if store is None else store.began
    routed = {} if store is None else store.routed
    source = KafkaSource(
        settings.kafka,
        reads.topic,
        start=reads.start,
        stop=reads.stop,
        group_id=reads.group_id,
        on_lost=reads.on_lost,
        stopping=stopping,
        began=began,
    )
    job = job_of(settings)
    events = _sink(settings, settings.output.topic, job, began, routed)
    dead_letters = _sink(settings, settings.dead_letters.topic, job, began, routed)
    policies = family.policies
    letters = Letters(reads.topic, dead_letters.partitions, _letter_bytes(settings))
    decode = Decode(decoder_of(settings), letters, keeps=policies.keeps_originals)
    encode = Encode(encoder_of(settings), events.partitions)

    flow = Dataflow("ewma")
    records = op.input("source", flow, source)
    decoded = op.branch("readable", op.flat_map_batch("decode", records, decode), _is_readings)
    unreadable = cast("KeyedStream[ProducerRecords]", decoded.falses)
    smoothed = ew.smooth_batches(
        "smooth", decoded.trues, family, settings.shards, warm_start=history_of(settings)
    )
    op.output("sink", op.flat_map_batch("encode", smoothed, encode), events)
    put_aside = op.flat_map_batch("put-aside", smoothed, PutAside(policies, letters))
    op.output("dead-letters", op.merge("letters", unreadable, put_aside), dead_letters)
    return Job(flow, source)


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


def decoder_of(settings: Settings) -> JsonDecoder:
    """Return what reads the job's payloads."""
    reads, policies = settings.input, settings.family.policies
    lowest, highest = settings.family.bounds
    if policies.out_of_range != "dead-letter":
        lowest, highest = -np.inf, np.inf
    return JsonDecoder(
        value=reads.value,
        series_id=reads.series_id,
        time=reads.time,
        weight=reads.weight,
        lowest=lowest,
        highest=highest,
        nulls=policies.missing != "dead-letter",
        infinite=policies.non_finite != "dead-letter",
        max_id_bytes=reads.max_id_bytes,
        max_value_bytes=reads.max_value_bytes,
    )


def history_of(settings: Settings) -> History | None:
    """Return what the job starts from, as its file is by now.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    reads, family, path = settings.input, settings.family, settings.warm_start
    if path is None:
        return None
    return History(
        path,
        reads.value,
        "series_id" if reads.series_id is None else reads.series_id,
        None if family.by_time is None else reads.time or "time",
        reads.weight,
        family.largest,
        file_digest(path),
    )


def warmed(settings: Settings) -> tuple[SeriesTable, int]:
    """Return the table that the job starts from, and how many readings are in it.

    Raises
    ------
    ConfigError
        If the history cannot be read, or a row of it is no reading.
    """
    table, readings = SeriesTable(settings.family), 0
    for part in history_of(settings) or ():
        table.update(part)
        readings += len(part)
    return table, readings


def encoder_of(settings: Settings) -> JsonEncoder:
    """Return what writes the job's events."""
    return JsonEncoder(settings.family.names, settings.family.fields)


def identify(settings: Settings) -> dict[str, str]:
    """Return what a recovery store belongs to: the settings' identity and that of the topics.

    Raises
    ------
    BrokerError, ConfigError
        As of :func:`build_job`.
    """
    topics = {
        "input": settings.input.topic,
        "output": settings.output.topic,
        "dead-letter": settings.dead_letters.topic,
    }
    identity = settings.identity()
    if (history := history_of(settings)) is not None:
        history.check()
    for name, topic in topics.items():
        view = look_up(settings.kafka, topic)
        identity[f"{name} topic id"] = str(view.topic_id)
    refuse_or_warn(settings.kafka, topic_uses(settings))
    return identity


def topic_uses(settings: Settings) -> list[Use]:
    """Return what the job's topics are for, to look at their settings."""
    exact = settings.output.delivery != "at-least-once"
    ids = settings.input.max_id_bytes
    largest, smaller = encoder_of(settings).largest(ids), f"lower input.max_id_bytes ({ids})"
    return [
        Use(settings.input.topic, "input", record_time=settings.input.time is None),
        Use(settings.output.topic, "output", exact, False, largest, smaller),
        Use(settings.dead_letters.topic, "dead letters", exact),
    ]


def begin(settings: Settings) -> Beginning:
    """Return where a job begins that begins now.

    Noted once, in the recovery store: a run that goes on with the job begins there too, also
    after a crash before the first snapshot. An input partition that the note does not name was
    added later, and is read from its first offset. The output topics are written to by as many
    partitions as they have now; or had, where events of this job are there already, of a run
    whose store is lost: else what it wrote would not be found, and be written again.

    Raises
    ------
    BrokerError, ConfigError
        As of :func:`build_job`.
    """
    reads, client, routed = settings.input, settings.kafka, {}
    for topic, route in ((settings.output.topic, by_key), (settings.dead_letters.topic, by_source)):
        if settings.output.delivery == "at-least-once":
            routed[topic] = partition_count(client, topic)
        else:
            routed[topic] = routed_partitions(client, topic, job_of(settings), route)
    return Beginning(start_offsets(client, reads.topic, reads.group_id, reads.start), routed)


def job_of(settings: Settings) -> str:
    """Return whose events these are: what else they depend on than the readings' positions.

    Where this changes, all events are new ones. So the input topic's id is in it: a topic created
    anew has other readings at the same offsets.
    """
    parts = settings.identity()
    del parts["shards"]  # no bit of an event depends on it
    view = look_up(settings.kafka, settings.input.topic)
    return repr(sorted({**parts, "input topic id": str(view.topic_id)}.items()))


def _sink(
    settings: Settings,
    topic: str,
    job: str,
    began: Mapping[int, int] | None,
    routed: Mapping[str, int],
) -> KafkaSink:
    recovery = settings.recovery
    return KafkaSink(
        settings.kafka,
        topic,
        delivery=settings.output.delivery,
        job=job,
        began=began or {},
        partitions=routed.get(topic),
        interval=timedelta(seconds=10) if recovery is None else recovery.interval,
    )


def _is_readings(item: Readings | Addressed) -> TypeGuard[Readings]:
    return isinstance(item, Readings)
