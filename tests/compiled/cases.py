"""Each compiled loop against its reference, over odd input: the same to the bit.

``python -m tests.compiled.cases FOLDER ROUNDS`` runs them with the library of a folder, such as one
with sanitizers in it.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import msgspec
import numpy as np

from ewma_ops.columns.byte_columns import BytesColumn, TextColumn, copy_into
from ewma_ops.columns.murmur2 import murmur2_column, ordered_by_partition, partition_for
from ewma_ops.columns.readings import Readings, Smoothed
from ewma_ops.compiled import library
from ewma_ops.serde.json import encoder as encoder_module
from ewma_ops.serde.json.encoder import JsonEncoder
from ewma_ops.serde.json.shape import learn
from ewma_ops.serde.spans import read_floats, read_integers, read_text_floats
from ewma_ops.stats import recurrences
from ewma_ops.stats.batch_plan import plan_batch
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table import table as table_module
from ewma_ops.table.index import SeriesIndex
from ewma_ops.table.table import SeriesTable
from ewma_ops.wire import encode as encode_module
from ewma_ops.wire.encode import encode_batch
from ewma_ops.wire.headers import EncodedHeaders, LikeHeaders
from ewma_ops.wire.records import ProducerRecords
from tests.wire import fuzz_batch

T = TypeVar("T")

SIZES = (0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 300)
NUMBERS = (
    b"0", b"-0", b"-0.0", b"1", b"-1", b"12.5", b"1e3", b"1.", b".5", b"01", b"null", b"NaN", b"-",
    b"9007199254740993", b"9007199254740992", b"0.1234567890123456789", b"123456789012345678",
    b"9219999999999999999", b"9220000000000000000", b"9223372036854775807", b"99999999999999999999",
    b"1700000000000", b"1.7976931348623157e308", b"00", b"+1", b" 1", b"1 ", b"1_0", b"", b"1.5.2",
    b"1.0000000000000000000000", b"0.00000000000000000001", b"\xff1", b"1\x00",
    b"12345678.12345678",
)  # fmt: skip


def without(call: Callable[[], T]) -> T:
    """Call something where there are no compiled loops."""
    with patch.object(library, "kernels", None):
        return call()


def scattered(rng: random.Random, pieces: Sequence[bytes | None]) -> BytesColumn:
    """Lay byte strings anywhere in a buffer that ends with spare bytes."""
    order = list(range(len(pieces)))
    rng.shuffle(order)
    data, spans = b"", [(0, 0)] * len(pieces)
    for i in order:
        data += rng.randbytes(rng.choice((0, 0, 1, 5)))
        piece = pieces[i]
        spans[i] = (len(data), len(data) - 1 if piece is None else len(data) + len(piece))
        data += piece or b""
    starts, stops = np.array(spans, np.int64).reshape(-1, 2).T.copy()
    return BytesColumn(data + bytes(64), starts, stops)


def texts(rng: random.Random, n: int, longest: int = 40) -> list[str]:
    alphabet = rng.choice(["ab", "sensor-0123456789", 'a"\\\n\u00e9\U0001f600\0'])
    return ["".join(rng.choices(alphabet, k=rng.randrange(1, longest))) for _ in range(n)]


def byte_strings(rng: random.Random, n: int) -> list[bytes]:
    return [rng.randbytes(rng.choice(SIZES)) for _ in range(n)]


def check_copies(rng: random.Random) -> None:
    pieces = [rng.choice((None, piece)) for piece in byte_strings(rng, rng.randrange(60))]
    column = scattered(rng, pieces)
    sizes = np.maximum(column.sizes, 0)
    at = np.cumsum(sizes) - sizes
    found, expected = np.zeros((2, int(sizes.sum())), np.uint8)
    copy_into(found, at, column)
    without(lambda: copy_into(expected, at, column))
    assert column.nbytes == without(lambda: column.nbytes) == int(sizes.sum())
    assert found.tobytes() == expected.tobytes() == b"".join(piece or b"" for piece in pieces)


def check_hashes(rng: random.Random) -> None:
    column = TextColumn(scattered(rng, byte_strings(rng, rng.randrange(20, 60))))
    assert (murmur2_column(column) == without(lambda: murmur2_column(column))).all()


def check_partitions(rng: random.Random) -> None:
    hashes = np.frombuffer(rng.randbytes(4 * rng.randrange(300)), np.uint32)
    n = rng.choice((1, 2, 7, 100, 70_000))
    order, ends = ordered_by_partition(hashes, n)
    others, expected = without(lambda: ordered_by_partition(hashes, n))
    assert (order == others).all()
    assert ends == expected
    sizes = np.diff(ends)
    assert (partition_for(hashes[order], n) == np.repeat(np.arange(n), sizes)).all()


def check_index(rng: random.Random) -> None:
    longest = rng.choice((3, 12, 40, 300))
    first, others = ({*texts(rng, rng.randrange(200), longest)} for _ in range(2))
    index = SeriesIndex()
    index.locate(list(first))
    asked = TextColumn(scattered(rng, [text.encode() for text in [*first, *others]]))
    found = index.look_up(asked).rows
    assert found.tolist() == without(lambda: index.look_up(asked)).rows.tolist()


def check_numbers(rng: random.Random) -> None:
    pieces = list(NUMBERS)
    for _ in range(100):
        digits = "".join(rng.choices("0123456789", k=rng.randrange(1, 22)))
        point = rng.randrange(len(digits) + 3)
        pieces.append((rng.choice(("", "-")) + digits[:point] + "." + digits[point:]).encode())
        pieces.append(digits.encode())
        pieces.append(rng.randbytes(rng.randrange(4)))
    column = scattered(rng, pieces)
    asked = np.array([rng.random() < 0.9 for _ in pieces])
    for read in (read_floats, read_text_floats):
        (values, good), (others, fine) = (f(column, asked) for f in (read, _without(read)))
        assert (good == fine).all()
        assert values[good].tobytes() == others[good].tobytes()
    for most in (None, 15, 19):
        (whole, good), (wholes, fine) = (
            f(column, most) for f in (read_integers, _without(read_integers))
        )
        assert (good == fine).all()
        assert (whole[good] == wholes[good]).all()


def _without(call: Callable[..., T]) -> Callable[..., T]:
    return lambda *given: without(lambda: call(*given))


PAYLOADS = (
    b'{"series_id":"s1","ts":1700000000000,"value":21.5}',
    b'{"a": {"b": [1, "x"]}, "t" : "2026-01-01", "value": -3 , "n": null, "ok": true}',
    b'{"v":1}',
    b'{"only":"text"}',
)


def check_shapes(rng: random.Random) -> None:
    payload = rng.choice(PAYLOADS)
    shape = learn(payload)
    assert shape is not None
    pieces: list[bytes | None] = [payload, None, b""]
    for _ in range(60):
        one = bytearray(payload)
        for _ in range(rng.randrange(3)):
            at = rng.randrange(len(one))
            new = rng.choice((b"", b"7", b'"', b"\\", b"\xc3\xa9", b"}", b",", b" ", b"9" * 140))
            one[at : at + rng.randrange(2)] = new
        pieces.append(bytes(one))
    column = scattered(rng, pieces)
    wanted = [path for path in (*shape.texts, *shape.numbers) if rng.random() < 0.7]
    found, expected = shape.match(column, wanted), without(lambda: shape.match(column, wanted))
    assert (found.matches == expected.matches).all()
    places = np.flatnonzero(found.matches)
    for name in ("texts", "numbers"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert ours.keys() == theirs.keys()
        for path in ours:
            assert ours[path].take(places) == theirs[path].take(places)


def floats(rng: random.Random, n: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    bits = np.frombuffer(rng.randbytes(8 * n), np.uint64).view(np.float64).copy()
    kinds = np.array([rng.randrange(4) for _ in range(n)])
    usual = np.array([round(rng.gauss(20, 5), rng.randrange(9)) for _ in range(n)])
    scaled = np.array([rng.random() * 10.0 ** rng.randrange(-25, 25) for _ in range(n)])
    odd = np.array(
        [rng.choice((0.0, -0.0, 1e16, 1e-5, 9.5e-6, 5e-324, np.nan, 123.0)) for _ in range(n)]
    )
    return np.choose(kinds, [bits, usual, scaled, odd])


def check_events(rng: random.Random) -> None:
    n = rng.choice((1, 2, 50, 300))
    ids = [text if rng.random() < 0.99 else 'odd"' for text in texts(rng, n)]
    counts = np.array([rng.choice((0.0, 3.0, np.nan, 2.0**60)) for _ in range(n)])
    times = np.array([rng.choice((0, -1, 1_700_000_000_000, -(2**63))) for _ in range(n)])
    several = rng.random() < 0.3
    values = np.array([floats(rng, n), floats(rng, n)]).T if several else floats(rng, n)
    included = [b'"u":%d' % rng.randrange(100) for _ in range(n)] if rng.random() < 0.3 else None
    readings = Readings(ids, values, times if rng.random() < 0.8 else None, included=included)
    what = Smoothed(readings, {"count": counts, "mean": floats(rng, n)})
    encoder = JsonEncoder(
        ["mean", "count"], ["x", "y"] if several else [], ["u"] if included else []
    )
    order = None if rng.random() < 0.3 else np.array(rng.sample(range(n), n), np.intp)
    with patch.object(encoder_module, "_FEW_COMPILED", 1):
        keys, events = encoder.encode_in(order, what)
        assert list(encoder.encode(what)) == list(without(lambda: encoder.encode(what)))
    own_keys, own_events = without(lambda: encoder.encode_in(order, what))
    assert (list(keys), list(events)) == (list(own_keys), list(own_events))


def check_number_text(rng: random.Random) -> None:
    numbers = floats(rng, 1000)
    assert float_texts(numbers) == msgspec.json.encode(numbers.tolist())[1:-1].split(b",")


def float_texts(numbers: np.ndarray[Any, np.dtype[np.float64]]) -> list[bytes]:
    """Return the JSON of each number, by the compiled loop."""
    assert library.kernels is not None
    out = np.empty(len(numbers) * 48, np.uint8)
    starts, stops = np.empty((2, len(numbers)), np.int64)
    written = library.kernels.write_floats(numbers, out, starts, stops)
    return list(BytesColumn(out[:written].tobytes() + bytes(64), starts, stops))  # type: ignore[arg-type]  # none is null


def check_recurrences(rng: random.Random) -> None:
    n, series, width = rng.choice((1, 40, 400)), rng.choice((1, 7, 300)), rng.choice((1, 3))
    rows = np.array([rng.randrange(series) for _ in range(n)], np.intp)
    draw = np.random.default_rng(rng.randrange(2**32))
    factors, shares = draw.random((2, n))
    gains, values = draw.normal(size=(2, width, n))
    times, counted = draw.integers(-5, 5, n), draw.random(n) < 0.5
    state: dict[str, Any] = {
        "y": draw.normal(size=(width, series)),
        "m": draw.normal(size=(width, series)),
    }
    state |= {"t": draw.integers(-5, 5, series), "n": draw.integers(0, 9, series)}

    def moved() -> list[bytes]:
        plan = plan_batch(rows, width)
        own = {name: np.take(column, plan.series, axis=-1) for name, column in state.items()}
        a, p, g, x, t, c = map(plan.planned, (factors, shares, gains, values, times, counted))
        apart = np.empty(x.shape)
        found = [
            recurrences.accumulate(plan, a, g, own["y"]),
            recurrences.accumulate(plan, a, g[0].copy(), own["y"][0]),
            recurrences.means(plan, p, 1.0 - p, x, own["m"], apart),
            recurrences.means(plan, p, 1.0 - p, x, own["m"]),
            recurrences.latest(plan, t, own["t"]),
            recurrences.counts(plan, c, own["n"]),
        ]
        after = {name: column.copy() for name, column in state.items()}
        for name, column in after.items():
            column[..., plan.series] = own[name]
        return [plan.arrived(one).tobytes() for one in [*found, apart]] + [
            one.tobytes() for one in after.values()
        ]

    assert moved() == without(moved)


def check_seasons(rng: random.Random) -> None:
    draw = np.random.default_rng(rng.randrange(2**32))
    n, series, width = rng.choice((1, 30, 120)), rng.choice((1, 7, 100)), rng.choice((1, 2))
    by_time, factor = rng.random() < 0.6, rng.random() < 0.5
    options: dict[str, Any] = {"season": 3, "horizon": rng.choice((1, 4)), "season_halflife": 5.0}
    if by_time:
        options = {"season": "70s", "season_phases": 7, "horizon": rng.choice(("30s", "1.5s"))}
        options |= {"utc_offset": "+05:30", "season_halflife": rng.choice((None, "2min"))}
    if factor:
        options |= {"season_kind": "multiplicative", "lowest": 1e-3, "out_of_range": "clip"}
    names = ["mean", "level", "season", "forecast", "forecast_error", "forecast_upper", "mase"]
    smoothing = Smoothing(
        Decay(halflife="40s") if by_time else Decay(beta=0.7),
        statistics=["mean", *rng.sample(names[1:], rng.randrange(1, len(names)))],
        outlook=rng.choice(("level", "trend")),
        missing=rng.choice(("skip", "decay")),
        **options,
    )
    values = draw.normal(20.0, rng.choice((0.1, 30.0)), (2, n, width))
    values = np.where(draw.random(values.shape) < 0.1, np.nan, abs(values) if factor else values)
    gaps = draw.choice([-30_000, 0, 1, 4_999, 10_000, 800_000], (2, n))
    times = (
        rng.choice((-400_000, 1_700_000_000_000))
        + np.cumsum(gaps.ravel()).reshape(2, n) // 10_000 * 5_000
    )
    ids = [[f"s{draw.integers(series)}" for _ in range(n)] for _ in range(2)]

    def smoothed() -> list[bytes]:
        table = SeriesTable(smoothing, fields=["x", "y"][:width])
        found = [
            table.update(Readings.of(i, x if width > 1 else x[:, 0], t)).statistics
            for i, x, t in zip(ids, values, times, strict=True)
        ]
        columns = [column for statistics in found for column in statistics.values()]
        return [column.tobytes() for column in [*columns, *table.snapshot().columns.values()]]

    with patch.object(table_module, "_SMALLEST_BATCH", 1):
        assert smoothed() == without(smoothed)


def check_batches_out(rng: random.Random) -> None:
    kind = rng.choice(("none", "like", "encoded"))

    def run() -> ProducerRecords:
        n = rng.choice((1, 3, 300))
        keys = [rng.choice((None, b"", *byte_strings(rng, 3))) for _ in range(n)]
        values = [rng.choice((None, b"x" * 9000, *byte_strings(rng, 3))) for _ in range(n)]
        columns = rng.random() < 0.5
        headers: Any = None
        if kind == "like":
            headers = LikeHeaders("id", rng.randbytes(3 * n), 3)
        elif kind == "encoded":
            headers = EncodedHeaders.of(
                [[("a", b"1"), ("b", None)][: rng.randrange(3)] for _ in range(n)]
            )
        lay = scattered if columns else lambda _, pieces: pieces
        return ProducerRecords(lay(rng, keys), lay(rng, values), headers)

    runs = [run() for _ in range(rng.randrange(1, 4))]
    with patch.object(encode_module, "_FEW_COMPILED", 1):
        found = encode_batch(runs, timestamp_ms=5)
    assert found == without(lambda: encode_batch(runs, timestamp_ms=5))


def check_batches_in(rng: random.Random) -> None:
    for _ in range(20):
        fuzz_batch.check(fuzz_batch.damaged(rng), rng.choice((0, 0, 1, 5, 7)))


CHECKS = [check for name, check in list(globals().items()) if name.startswith("check_")]


if __name__ == "__main__":
    library.kernels, failure = library.load(Path(sys.argv[1]))
    assert library.kernels is not None, failure
    for check in CHECKS:
        for number in range(int(sys.argv[2])):
            check(random.Random(f"{check.__name__}/{number}"))
        print(check.__name__, "ok", flush=True)
