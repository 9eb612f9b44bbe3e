"""What is committed to a part file reaches it without its writer, and never in its way."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import time
from pathlib import Path

import pytest
from bytewax.recovery import init_db_dir

from ewma_ops.job.recovery.checkpoints import checkpointing
from tests.helpers.jobs import wait_until
from tests.helpers.patience import PATIENCE_S

ROW = "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES ('s', ?, 1, ?)"
SNAPSHOT = bytes(100_000)


def opened(path: Path) -> sqlite3.Connection:
    part = sqlite3.connect(path, isolation_level=None)
    part.execute("PRAGMA wal_autocheckpoint = 0")
    return part


def rows_in_file(path: Path, directory: Path) -> int:
    """Count the snapshots in a part file itself, as if its log had never been."""
    alone = directory / "alone.sqlite3"
    shutil.copyfile(path, alone)
    part = sqlite3.connect(alone)
    try:
        return int(part.execute("SELECT count(*) FROM snaps").fetchone()[0])
    finally:
        part.close()
        for leftover in directory.glob("alone*"):
            leftover.unlink()


def await_rows(path: Path, directory: Path, rows: int) -> None:
    def are_there() -> bool:
        try:
            return rows_in_file(path, directory) >= rows
        except sqlite3.DatabaseError:  # copied in the middle of a checkpoint
            return False

    wait_until(are_there)


def test_what_is_committed_reaches_the_file_while_its_writer_goes_on(tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    init_db_dir(parts, 2)
    paths = sorted(parts.glob("*.sqlite3"))
    writers = [opened(path) for path in paths]
    for at, writer in enumerate(writers):
        writer.execute(ROW, (f"{at}", SNAPSHOT))
    assert [rows_in_file(path, tmp_path) for path in paths] == [0, 0]
    with checkpointing(parts):
        for path in paths:
            await_rows(path, tmp_path, 1)
        writers[0].execute("BEGIN IMMEDIATE")
        writers[0].execute(ROW, ("more", SNAPSHOT))
        writers[1].execute(ROW, ("more", SNAPSHOT))
        await_rows(paths[1], tmp_path, 2)
        writers[0].execute("COMMIT")
        await_rows(paths[0], tmp_path, 2)
    for writer in writers:
        writer.close()


def test_a_log_that_cannot_be_emptied_is_said_and_harms_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "part-0.sqlite3").write_bytes(b"not a database, but as long as the head of one" * 9)
    log = tmp_path / "part-0.sqlite3-wal"
    log.write_bytes(b"x")
    with caplog.at_level(logging.WARNING), checkpointing(tmp_path):
        deadline = time.monotonic() + PATIENCE_S
        while "are left to those who write them" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.05)
