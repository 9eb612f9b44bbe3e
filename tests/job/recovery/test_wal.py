"""Damage to SQLite's log is told from a write that was cut short."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from ewma_ops.job.recovery.wal import is_damaged

COMMITS = 8


@pytest.fixture(params=[4096, 16384])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return the log of a database whose writer was killed after some commits."""
    writer = sqlite3.connect(tmp_path / "live", isolation_level=None)
    writer.execute(f"PRAGMA page_size = {request.param}")
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE t (x BLOB)")
    writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for i in range(COMMITS):
        writer.execute("INSERT INTO t VALUES (?)", (random.Random(i).randbytes(20_000),))
    copy = tmp_path / "copy-wal"
    copy.write_bytes((tmp_path / "live-wal").read_bytes())
    writer.close()
    return copy


def test_a_whole_log_is_sound(log: Path, tmp_path: Path) -> None:
    assert not is_damaged(log)
    assert not is_damaged(tmp_path / "no such file")
    log.write_bytes(b"")
    assert not is_damaged(log)


def test_a_log_that_was_cut_is_sound_wherever_it_ends(log: Path) -> None:
    data = log.read_bytes()
    for end in range(32, len(data), 997):
        log.write_bytes(data[:end])
        assert not is_damaged(log)


def test_what_an_earlier_log_left_behind_is_sound(log: Path) -> None:
    data = log.read_bytes()
    page = int.from_bytes(data[8:12], "big")
    old = bytearray(data[-(24 + page) :])
    old[8:16] = bytes(8)  # other salts
    log.write_bytes(data + old * 5)
    assert not is_damaged(log)


def test_a_flipped_bit_is_noticed_before_the_last_commit(log: Path) -> None:
    data = log.read_bytes()
    random_ = random.Random(2)
    end = 32 + (len(data) - 32) * (COMMITS - 2) // COMMITS
    for _ in range(300):
        damaged = bytearray(data)
        at = random_.randrange(8 * end)
        damaged[at // 8] ^= 1 << at % 8
        log.write_bytes(damaged)
        assert is_damaged(log), at // 8
