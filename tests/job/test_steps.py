"""How records are cut into runs is nobody's business: short ones are decoded together."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.columns.origins import Origins
from ewma_ops.columns.readings import Original, Readings, Rejected
from ewma_ops.columns.rejections import Rejection, Rejections
from ewma_ops.connectors.client.connect import TopicView
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.connectors.parts import Addressed, part_key
from ewma_ops.job.decoding import RunDecoder, decode_runs
from ewma_ops.job.steps import DeadLetters, Decode
from ewma_ops.serde.decoder import Decoded
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.wire.records import ConsumerRecords, ProducerRecords

BAD = {3: b"not JSON", 4: None, 11: b'{"v": 1}', 29: b"{}"}
INPUTS = InputTopics.alone("readings", TopicView(None, 3))
T = InputTopics.alone("t", TopicView(None, 2))


def payload(at: int) -> bytes | None:
    return BAD.get(at, b'{"series_id": "s%d", "value": %d.5, "ts": %d}' % (at % 3, at, 1000 + at))


def run_of(partition: int, first: int, n: int, *, column: bool = False) -> ConsumerRecords:
    places = range(first, first + n)
    values = [payload(at) for at in places]
    return ConsumerRecords(
        "readings",
        partition,
        np.array([100 * partition + at for at in places]),
        np.array([9_000 + at for at in places]),
        [b"k%d" % at for at in places],
        BytesColumn.of(values) if column else values,
        [[("h", b"%d" % at)] for at in places] if partition == 1 else None,
    )


def decode(batch: list[ConsumerRecords], *, keeps: bool = False) -> list[Readings | Addressed]:
    decoder = JsonDecoder(DecoderOptions(time="ts"))
    letters = DeadLetters(INPUTS, 2, 1_000)
    return list(Decode(RunDecoder(decoder, INPUTS), letters, keeps=keeps)(batch))


def rows(decoded: list[Readings | Addressed]) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for item in decoded:
        if isinstance(item, Readings):
            assert item.times_ms is not None
            assert item.origins is not None
            columns: list[NDArray[Any]] = [item.values, item.times_ms, *item.origins[:2]]
            originals: list[Any] = item.originals or [None] * len(item)
            found += zip(
                item.series_ids, *(column.tolist() for column in columns), originals, strict=True
            )
    return found


def letters(decoded: list[Readings | Addressed]) -> dict[str, list[tuple[Any, ...]]]:
    found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for item in decoded:
        if not isinstance(item, Readings):
            part, made = item
            assert isinstance(made, ProducerRecords)
            assert made.headers is not None
            assert made.origins is not None
            origins = zip(*(column.tolist() for column in made.origins[:2]), strict=True)
            found[part] += zip(
                made.keys, made.values, map(list, made.headers), origins, strict=True
            )
    return found


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("column", [False, True])
def test_runs_decoded_together_are_what_they_are_alone(*, keeps: bool, column: bool) -> None:
    runs = [
        run_of(0, 0, 5, column=column),
        run_of(1, 5, 10, column=column),
        run_of(2, 15, 1),
        run_of(0, 16, 15, column=column),
    ]
    alone = [item for run in runs for item in decode([run], keeps=keeps)]
    together = decode(runs, keeps=keeps)
    assert sum(isinstance(item, Readings) for item in together) == 1
    assert rows(together) == rows(alone)
    assert len(rows(together)) == 31 - len(BAD)
    assert letters(together) == letters(alone)
    assert {offset for own in letters(together).values() for *_, (_, offset) in own} == {
        3, 4, 111, 29,
    }  # fmt: skip


def test_long_runs_are_decoded_by_themselves() -> None:
    together = decode([run_of(0, 30, 8_000), run_of(1, 8_030, 300), run_of(0, 8_330, 20)])
    assert [len(one) for one in together if isinstance(one, Readings)] == [8_000, 320]


def test_what_is_nothing_but_unreadable_gives_letters_only() -> None:
    [letter] = decode([run_of(1, 3, 2)])
    assert isinstance(letter, tuple)
    assert (letter[0], len(letter[1])) == (part_key(1), 2)


@pytest.mark.parametrize("column", [False, True])
def test_fields_of_the_records_belong_to_their_run(*, column: bool) -> None:
    options = DecoderOptions(series_id=["@topic", "@partition", "@key"], value="@header.h")
    decoded = decode_runs(
        JsonDecoder(options), [run_of(0, 0, 3, column=column), run_of(1, 5, 2, column=column)]
    )
    ids = ["readings/0/k0", "readings/0/k1", "readings/0/k2", "readings/1/k5", "readings/1/k6"]
    assert not decoded.rejected
    assert decoded.readings.series_ids == ids
    np.testing.assert_array_equal(decoded.readings.values, [np.nan, np.nan, np.nan, 5.0, 6.0])


class SeveralDecoder:
    """Each payload holds a reading for each digit of it; 9 is none."""

    beside: frozenset[str] = frozenset()

    def pop_notice(self) -> str | None:
        return None

    def decode(self, keys: Any, values: Any, *beside: Any) -> Decoded:
        every = [
            (place, ordinal, float(digit))
            for place, value in enumerate(values)
            for ordinal, digit in enumerate(value.decode())
        ]
        good = [one for one in every if one[2] != 9]
        bad = [one for one in every if one[2] == 9]
        readings = Readings.of(["s"] * len(good), [one[2] for one in good], [0] * len(good))
        why = ["missing"] * len(bad)
        return Decoded(
            np.array([one[0] for one in good], np.intp),
            readings,
            Rejections(
                np.array([one[0] for one in bad], np.intp),
                why,
                why,
                np.array([one[1] for one in bad], np.uint64),
            ),
            np.array([one[1] for one in good], np.uint64),
        )


@pytest.mark.parametrize("keeps", [False, True])
def test_a_message_of_several_readings_gives_each_its_own_origin(keeps: bool) -> None:
    values = [b"129", b"", b"9949", b"1"]
    runs = [
        ConsumerRecords("t", 1, np.arange(5, 7), np.zeros(2, np.int64), [b"k"] * 2, values[:2]),
        ConsumerRecords("t", 0, np.arange(3, 5), np.zeros(2, np.int64), [b"k"] * 2, values[2:]),
    ]
    decoder: Any = SeveralDecoder()
    decoding = RunDecoder(decoder, T)
    decoded = list(Decode(decoding, DeadLetters(T, 2, 1_000), keeps=keeps)(runs))
    (readings,) = [item for item in decoded if isinstance(item, Readings)]
    assert readings.values.tolist() == [1, 2, 4, 1]
    assert _positions(readings.origins) == [(1, 5, 0), (1, 5, 1), (0, 3, 2), (0, 4, 0)]
    if keeps:
        assert [one.value for one in readings.originals or ()] == [b"129", b"129", b"9949", b"1"]
    found = [item for item in decoded if not isinstance(item, Readings)]
    assert [_positions(made.origins) for _, made in found] == [
        [(1, 5, 2)],
        [(0, 3, 0), (0, 3, 1), (0, 3, 3)],
    ]
    assert [list(made.values) for _, made in found] == [[b"129"], [b"9949"] * 3]
    assert all(dict(h)["ewma-ordinal"] for _, made in found for h in made.headers or ())


def test_a_reading_that_a_policy_rejects_keeps_its_ordinal() -> None:
    origins = Origins(np.array([0, 0], np.int32), np.array([7, 7]), np.array([1, 4], np.uint64))
    originals = [Original(b"k", b"v", (), 0)] * 2
    readings = Readings(["a", "a"], np.ones(2), np.zeros(2, np.int64), origins, originals=originals)
    why = [Rejection(i, "late", "x") for i in range(2)]
    ((_, made),) = DeadLetters(T, 2, 1_000).of_readings(Rejected(readings, why))
    assert _positions(made.origins) == [(0, 7, 1), (0, 7, 4)]
    assert [dict(headers)["ewma-ordinal"] for headers in made.headers or ()] == [b"1", b"4"]


def _positions(origins: Origins | None) -> list[tuple[int, int, int]]:
    assert origins is not None
    columns = origins.partitions, origins.offsets, origins.ordinals_or_zeros()
    return list(zip(*(column.tolist() for column in columns), strict=True))
