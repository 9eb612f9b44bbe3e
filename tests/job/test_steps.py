"""How records are cut into runs is nobody's business: short ones are decoded together."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.columns.readings import Readings
from ewma_ops.connectors.parts import part_key
from ewma_ops.job.steps import Addressed, DeadLetters, Decode, decode_runs
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.wire.records import ConsumerRecords, ProducerRecords

BAD = {3: b"not JSON", 4: None, 11: b'{"v": 1}', 29: b"{}"}


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
    return list(Decode(decoder, DeadLetters("readings", 2, 1_000), keeps=keeps)(batch))


def rows(decoded: list[Readings | Addressed]) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for item in decoded:
        if isinstance(item, Readings):
            assert item.times_ms is not None
            assert item.origins is not None
            columns: list[NDArray[Any]] = [item.values, item.times_ms, *item.origins]
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
            origins = zip(*(column.tolist() for column in made.origins), strict=True)
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
