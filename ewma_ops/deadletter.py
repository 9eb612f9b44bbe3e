"""What could not be read, kept whole: the original record and why, from where and when.

Knows rejections and records; must not know formats, what becomes of the letters, or any socket.
"""

from __future__ import annotations

from collections.abc import Sequence

from ewma_ops.readings import Rejection
from ewma_ops.wire.records import ConsumerRecords, Headers, ProducerRecords

__all__ = ["letters"]


def letters(records: ConsumerRecords, rejected: Sequence[Rejection]) -> ProducerRecords:
    """Make the dead letters of a run of records, in the order of ``rejected``.

    Key, value and headers are the original's, byte for byte. Appended to the headers, as UTF-8
    text: ``ewma-cause``, ``ewma-detail``, ``ewma-topic``, ``ewma-partition``, ``ewma-offset`` and
    ``ewma-timestamp`` (milliseconds since the epoch, -1 for none). A letter that is rejected a
    second time has them twice: the last six are the newest.

    Parameters
    ----------
    records
        The run that was read.
    rejected
        Which of its records were rejected, by place, and why.
    """
    at = [rejection.at for rejection in rejected]
    return ProducerRecords(
        [records.keys[i] for i in at],
        [records.values[i] for i in at],
        [_headers(records, rejection) for rejection in rejected],
    )


def _headers(records: ConsumerRecords, rejection: Rejection) -> Headers:
    at, cause, detail = rejection
    told = {
        "ewma-cause": cause,
        "ewma-detail": detail,
        "ewma-topic": records.topic,
        "ewma-partition": str(records.partition),
        "ewma-offset": str(records.offsets[at]),
        "ewma-timestamp": str(records.timestamps_ms[at]),
    }
    original = () if records.headers is None else records.headers[at]
    return [*original, *((name, text.encode()) for name, text in told.items())]
