"""What could not be read or may not enter, kept whole: the original and why, from where and when.

Knows rejections and records; must not know formats, what becomes of the letters, or any socket.
"""

from __future__ import annotations

from collections.abc import Sequence

from ewma_ops.readings import Rejection
from ewma_ops.wire.records import ConsumerRecords, Headers, ProducerRecords

__all__ = ["MAX_BYTES", "letters"]


MAX_BYTES = 1_000_000
"""What every topic takes whose ``max.message.bytes`` is Kafka's default, with room for a batch."""


def letters(
    records: ConsumerRecords, rejected: Sequence[Rejection], max_bytes: int = MAX_BYTES
) -> ProducerRecords:
    """Make the dead letters of a run of records, in the order of ``rejected``.

    Key, value and headers are the original's, byte for byte. Appended to the headers, as UTF-8
    text: ``ewma-cause``, ``ewma-detail``, ``ewma-topic``, ``ewma-partition``, ``ewma-offset`` and
    ``ewma-timestamp`` (milliseconds since the epoch, -1 for none). A letter that is rejected a
    second time has them twice: the last six are the newest.

    A letter above ``max_bytes`` would be refused by its topic and stop the flow. Of such a one the
    value is cut, then the key, and the original headers are left out; ``ewma-cut`` says how many
    bytes key and value had. The whole record still stands where topic and offset say.

    Parameters
    ----------
    records
        The run that was read.
    rejected
        Which of its records were rejected, by place, and why.
    max_bytes
        Largest size of a letter: of key, value and headers together.
    """
    parts = [_letter(records, rejection, max_bytes) for rejection in rejected]
    return ProducerRecords(
        [key for key, _, _ in parts],
        [value for _, value, _ in parts],
        [headers for _, _, headers in parts],
    )


def _letter(
    records: ConsumerRecords, rejection: Rejection, max_bytes: int
) -> tuple[bytes | None, bytes | None, Headers]:
    key, value = records.keys[rejection.at], records.values[rejection.at]
    told = _told(records, rejection)
    original = () if records.headers is None else records.headers[rejection.at]
    headers = [*original, *told]
    if len(key or b"") + len(value or b"") + _size(headers) <= max_bytes:
        return key, value, headers
    sizes = " ".join("-1" if part is None else str(len(part)) for part in (key, value))
    told.append(("ewma-cut", sizes.encode()))
    room = max(0, max_bytes - _size(told))
    key = None if key is None else key[: room // 2]
    value = None if value is None else value[: room - len(key or b"")]
    return key, value, told


def _size(headers: Headers) -> int:
    return sum(len(name) + len(content or b"") + 8 for name, content in headers)


def _told(records: ConsumerRecords, rejection: Rejection) -> list[tuple[str, bytes | None]]:
    at, cause, detail = rejection
    told = {
        "ewma-cause": cause,
        "ewma-detail": detail,
        "ewma-topic": records.topic,
        "ewma-partition": str(records.partition),
        "ewma-offset": str(records.offsets[at]),
        "ewma-timestamp": str(records.timestamps_ms[at]),
    }
    return [(name, text.encode()) for name, text in told.items()]
