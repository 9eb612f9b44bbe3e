"""The hash is Kafka's, whichever way it is computed."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.cluster import ClusterMetadata
from kafka.partitioner.default import DefaultPartitioner
from kafka.partitioner.default import murmur2 as kafka_murmur2

from ewma_ops.columns.murmur2 import murmur2, murmur2_column, partition_for

JAVA = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}
ALPHABET = "ab7/ \n\0é€漢😀"


def ids_of(sizes: list[int], seed: int = 1) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices(ALPHABET, k=size)) for size in sizes]


def kafka_of(ids: list[str]) -> list[int]:
    return [kafka_murmur2(series_id.encode()) & 0xFFFFFFFF for series_id in ids]


@pytest.mark.parametrize(("text", "signed"), JAVA.items())
def test_the_vectors_of_the_java_client(text: str, signed: int) -> None:
    assert murmur2(text.encode()) == signed % 2**32
    assert murmur2_column([text]).view(np.int32).tolist() == [signed]


@pytest.mark.parametrize("repeat", [1, 20])
def test_the_vectors_by_the_column(repeat: int) -> None:
    hashes = murmur2_column(list(JAVA) * repeat)
    assert hashes.dtype == np.uint32
    assert hashes.view(np.int32).tolist() == list(JAVA.values()) * repeat


@pytest.mark.parametrize("size", [*range(21), 10_000])
def test_ids_of_one_size_hash_as_in_kafka_python(size: int) -> None:
    ids = ids_of([size] * 50, seed=size)
    assert murmur2_column(ids).tolist() == kafka_of(ids)


@pytest.mark.parametrize("count", [0, 1, 5, 19, 20, 21, 1000])
def test_ids_of_mixed_sizes_hash_as_in_kafka_python(count: int) -> None:
    sizes = [random.Random(count).randrange(40) for _ in range(count)]
    ids = ids_of(sizes, seed=count)
    assert murmur2_column(ids).tolist() == kafka_of(ids)


def test_a_few_very_long_ids_among_short_ones() -> None:
    ids = ids_of([7] * 500 + [10_000, 0, 999, 10_001], seed=3)
    random.Random(4).shuffle(ids)
    assert murmur2_column(ids).tolist() == kafka_of(ids)


def test_an_ascii_column_takes_the_short_way_to_the_same_hash() -> None:
    ids = [f"sensor-{i * 7919}" for i in range(2000)]
    assert murmur2_column(ids).tolist() == kafka_of(ids)


@given(st.lists(st.text(max_size=40), max_size=80))
def test_any_text_hashes_the_same_alone_and_in_a_column(ids: list[str]) -> None:
    assert murmur2_column(ids).tolist() == kafka_of(ids)


@pytest.mark.parametrize("count", [1, 100])
def test_a_lone_surrogate_has_a_hash_of_its_own(count: int) -> None:
    first, second = set(murmur2_column(["\ud800"] * count)), set(murmur2_column(["\ud801"] * count))
    assert len(first) == len(second) == 1
    assert first != second


@pytest.mark.parametrize("n", [1, 3, 6, 16, 64])
def test_partitions_are_those_of_kafka_pythons_default_partitioner(n: int) -> None:
    ids = ids_of(list(range(100)), seed=n)
    cluster = ClusterMetadata(bootstrap_servers=["127.0.0.1:1"])
    cluster.topics = lambda: {"t"}
    cluster.partitions_for_topic = lambda _: set(range(n))
    cluster.available_partitions_for_topic = lambda _: set(range(n))
    choose = DefaultPartitioner().partition
    theirs = [choose("t", i, i.encode(), None, None, cluster) for i in ids]
    chosen = partition_for(murmur2_column(ids), n)
    assert chosen.dtype == np.int32
    assert chosen.tolist() == theirs
