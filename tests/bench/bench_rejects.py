"""What a message costs that is unusual or no reading, against a usual one: ratios of CPU time.

python -m tests.bench.bench_rejects [--messages N]

From fetched batches to batches ready to be sent, in one process and without a broker: decode the
batch, decode the payloads, then smooth and encode the events, or make the dead letters. The kinds
take turns, and the best of some rounds counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np

from ewma_ops.columns.readings import Readings
from ewma_ops.connectors.client.connect import TopicView
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.connectors.sink.ledger import Ledger
from ewma_ops.connectors.sink.sink import identified
from ewma_ops.job.decoding import RunDecoder
from ewma_ops.job.steps import DeadLetters, Decode, Encode
from ewma_ops.serde.decoder import Decoder
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.json.encoder import JsonEncoder
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.table import SeriesTable
from ewma_ops.wire.batch import decode_batches
from ewma_ops.wire.encode import encode_batch
from ewma_ops.wire.records import ConsumerRecords, ProducerRecords

ROUNDS = 5
TIME_MS = 1_700_000_000_000

Make = Callable[[int], bytes | None]


def usual(i: int) -> bytes:
    return b'{"series_id":"s%d","ts":%d,"value":%d.25}' % (i % 1000, TIME_MS + i, i % 977)


def _with(ts: bytes, value: bytes = b"1.5") -> Make:
    return lambda i: b'{"series_id":"s%d","ts":%b,"value":%b}' % (i % 1000, ts, value)


VALID: dict[str, Make] = {
    "usual": usual,
    "ISO 8601, full": _with(b'"2026-01-31T10:20:30.123Z"'),
    "ISO 8601, seconds": _with(b'"2026-01-31T10:20:30Z"'),
    "ISO 8601, date": _with(b'"2026-01-31"'),
    "ISO 8601, minutes": _with(b'"2026-01-31T10:20"'),
    "integer id": lambda i: b'{"series_id":%d,"ts":%d,"value":1.5}' % (i % 1000, TIME_MS + i),
    "null value": _with(b"1700000000000", b"null"),
    "two shapes in turn": lambda i: usual(i) if i % 2 else usual(i).replace(b",", b", "),
}
REJECTED: dict[str, Make] = {
    "one byte": lambda _: b"x",
    "garbage": lambda i: b"garbage %d" % i,
    "empty": lambda _: b"",
    "tombstone": lambda _: None,
    "not UTF-8": lambda _: b"\xff\xfe{",
    "true": lambda _: b"true",
    "array": lambda _: b"[1,2,3]",
    "object without fields": lambda _: b"{}",
    "cut off": lambda i: usual(i)[:-3],
    "value is text": _with(b"1700000000000", b'"1.5"'),
    "value is true": _with(b"1700000000000", b"true"),
    "value 1e400": _with(b"1700000000000", b"1e400"),
    "time 1e300": _with(b"1e300"),
    "time true": _with(b"true"),
    "time absent": lambda i: b'{"series_id":"s%d","value":1.5}' % (i % 1000),
    "time no ISO 8601": _with(b'"yesterday"'),
    "time 1.5": _with(b"1.5"),
    "id empty": lambda i: b'{"series_id":"","ts":%d,"value":1.5}' % (TIME_MS + i),
    "id null": lambda i: b'{"series_id":null,"ts":%d,"value":1.5}' % (TIME_MS + i),
}
BY_BYTE: dict[str, Make] = {
    "number of 4,000 digits": _with(b"1700000000000", b"9" * 4_000),
    "id of 4,000 digits": lambda _: b'{"series_id":%b,"ts":5,"value":1}' % (b"9" * 4_000),
    "garbage of 4,000 bytes": lambda _: b"x" * 4_000,
    "nested 4,000 deep": lambda _: b"[" * 4_000,
}


class Way:
    """All that a message goes through on its way, but for the sockets."""

    def __init__(self, decoder: Decoder | None = None, encoder: JsonEncoder | None = None) -> None:
        decoder = JsonDecoder(DecoderOptions(time="ts")) if decoder is None else decoder
        inputs = InputTopics.alone("in", TopicView(None, 1))
        letters = DeadLetters(inputs, 1, 1_000_000)
        self.decode = Decode(RunDecoder(decoder, inputs), letters, keeps=False)
        self.table = SeriesTable(Smoothing(Decay(halflife="1s")))
        self.encode = Encode(JsonEncoder(["mean"]) if encoder is None else encoder, 1)
        self.offset = 0

    def __call__(self, batch: bytes, n: int) -> int:
        """Let a fetched batch through; return how many records come out."""
        outlets = Ledger(), Ledger()
        sent = 0
        for columns in decode_batches(batch, 0):
            run = ConsumerRecords("in", 0, *columns[:-1])
            for item in self.decode([run]):
                if isinstance(item, Readings):
                    for _, records in self.encode([self.table.update(item)]):
                        sent += self._send(records, outlets[0])
                else:
                    sent += self._send(item[1], outlets[1])
        assert sent == n
        return sent

    @staticmethod
    def _send(records: ProducerRecords, ledger: Ledger) -> int:
        assert records.origins is not None
        assert ledger.admit(records.origins).all()
        encode_batch(identified(records, 7), timestamp_ms=TIME_MS)
        return len(records)


def _batch(make: Make, n: int) -> bytes:
    payloads = [make(i) for i in range(n)]
    keys = [b"s%d" % (i % 1000) for i in range(n)]
    return bytes(encode_batch(ProducerRecords(keys, payloads), timestamp_ms=TIME_MS))


def measure(kinds: dict[str, Make], n: int, rounds: int = ROUNDS) -> Iterator[tuple[str, float]]:
    """Yield the CPU seconds that a message of each kind takes, at best."""
    batches = {name: _batch(make, n) for name, make in kinds.items()}
    ways = {name: Way() for name in kinds}
    best = dict.fromkeys(kinds, np.inf)
    for _ in range(rounds):
        for name, batch in batches.items():
            began = time.process_time()
            ways[name](batch, n)
            best[name] = min(best[name], (time.process_time() - began) / n)
    yield from best.items()


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=8_000)
    options = parser.parse_args(arguments)
    times = dict(measure(VALID | REJECTED, options.messages))
    base = times["usual"]
    print(f"{'':28}{'us':>8}{'times':>8}")
    for name, seconds in times.items():
        print(f"{name:28}{seconds * 1e6:8.2f}{seconds / base:8.1f}")
    usual_byte = base / len(usual(1))
    for name, seconds in measure(BY_BYTE, max(100, options.messages // 10)):
        byte = seconds / len(BY_BYTE[name](0) or b"") / usual_byte
        print(f"{name:28}{seconds * 1e6:8.2f}{seconds / base:8.1f}   by byte {byte:.1f}")


if __name__ == "__main__":
    main()
