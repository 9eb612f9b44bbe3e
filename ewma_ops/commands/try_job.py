"""``ewma try``: messages of a file through the flow of a job, without a broker.

Knows files, lines and what is printed; the flow is the one that ``ewma run`` runs.
"""

from __future__ import annotations

import base64
import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec

from ewma_ops.commands.terminal import painted
from ewma_ops.errors import ConfigError
from ewma_ops.job.message_lines import LineError, parse_line
from ewma_ops.job.offline import Record, as_records, build_offline, in_runs, usual_topic
from ewma_ops.job.report import Report, counted, total
from ewma_ops.job.showing import shown_bytes, shown_json, shown_text
from ewma_ops.job.signs import STOP_SIGNALS
from ewma_ops.job.worker import run_worker
from ewma_ops.settings.load import load
from ewma_ops.settings.model import Settings
from ewma_ops.wire.records import ConsumerRecords, ProducerRecords

__all__ = ["try_job"]

_CHUNK_BYTES = 1 << 16
_PAUSE = timedelta(milliseconds=20)
_MOST_BAD_LINES = 5
"""Further ones are only counted; a file that begins with this many is not read any further."""


def try_job(config: Path | str, file: str, *, values: bool = False, as_json: bool = False) -> int:
    """Read messages from a file or standard input, and print what the job makes of them.

    Parameters
    ----------
    config
        The configuration file.
    file
        Path of the messages, or ``"-"``: each line is one, as `ewma_ops.job.message_lines` has it.
    values
        Whether each line is a value, verbatim.
    as_json
        Whether to print everything as JSON.

    Returns
    -------
    int
        0; 1 where every message was a dead letter; 2 where a line was no message.

    Raises
    ------
    ConfigError
        If the configuration is wrong, or the file cannot be read.
    """
    settings = load(config)
    with _opened(file) as fd, _kept_handlers():
        trial = _Trial(settings, fd, "stdin" if file == "-" else file, values, as_json)
        return trial.run()


class _Trial:
    def __init__(self, settings: Settings, fd: int, name: str, values: bool, as_json: bool) -> None:
        self._settings, self._fd, self._name = settings, fd, name
        self._values, self._as_json = values, as_json
        self._report = Report()
        self._stopping = threading.Event()
        self._rest = b""
        self._number = self._bad = 0
        self._ended = self._unread = self._timed = False

    def run(self) -> int:
        code = run_worker(
            self._build,
            process_id=0,
            addresses=["127.0.0.1:0"],
            interval=timedelta(seconds=10),
            parts=None,
        )
        if self._unread:
            raise BrokenPipeError
        if code:
            return code
        self._conclude()
        return 2 if self._bad else int(self._report.nothing_readable)

    def _build(self, stopping: threading.Event) -> Any:
        self._stopping = stopping
        takers = self._events, self._letters
        return build_offline(self._settings, self._poll, *takers, self._report, self._alarms)

    def _poll(self) -> tuple[list[ConsumerRecords], datetime | None]:
        if self._ended or self._stopping.is_set():
            raise StopIteration
        if not select.select([self._fd], [], [], 0)[0]:
            return [], datetime.now(timezone.utc) + _PAUSE
        chunk = os.read(self._fd, _CHUNK_BYTES)
        self._ended = not chunk
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if self._ended and self._rest:
            lines.append(self._rest)
        records = list(self._records(lines))
        return list(in_runs(records, usual_topic(self._settings))), None

    def _records(self, lines: list[bytes]) -> Iterator[Record]:
        # A made-up timestamp is not compared with times in the payload.
        now_ms = int(time.time() * 1000) if self._settings.input.time is None else None
        for line in lines:
            self._number += 1
            if self._values:
                yield Record(line, timestamp_ms=now_ms, offset=self._number - 1)
                continue
            if not line.strip():
                continue
            try:
                record = parse_line(line, self._number, now_ms)
                self._timed = self._timed or record.timestamp_ms not in (None, now_ms)
                yield record
            except LineError as error:
                self._tell_bad(str(error))
                if self._bad == _MOST_BAD_LINES == self._number:  # no good line yet
                    self._ended = True
                    return

    def _tell_bad(self, why: str) -> None:
        self._bad += 1
        if self._as_json:
            self._put({"type": "bad-line", "line": self._number, "detail": why})
        elif self._bad <= _MOST_BAD_LINES:
            at = painted(f"{self._name}, line {self._number}:", "yellow", sys.stderr)
            self._say(f"{at} {shown_text(why, 240)}")

    def _events(self, made: ProducerRecords) -> None:
        lines = _lines_of(made)
        for line, record in zip(lines, as_records(made), strict=True):
            if self._as_json:
                self._put({"type": "event", "line": line, **_parts(record)})
            else:
                self._write(_event_text(record.value))
        self._flush()

    def _letters(self, made: ProducerRecords) -> None:
        for line, record in zip(_lines_of(made), as_records(made), strict=True):
            cause, detail = record.header("ewma-cause"), record.header("ewma-detail") or ""
            if self._as_json:
                why = {"cause": cause, "detail": detail}
                self._put({"type": "dead-letter", "line": line, **why, **_parts(record)})
            else:
                where = painted(f"line {line}: {cause}:", "red", sys.stderr)
                self._say(f"{where} {shown_text(detail, 400)}")
        self._flush()

    def _alarms(self, made: ProducerRecords) -> None:
        for line, record in zip(_lines_of(made), as_records(made), strict=True):
            if self._as_json:
                self._put({"type": "alarm", "line": line, **_parts(record)})
            else:
                alarm = record.json()
                message = (
                    f"line {line}: {alarm['rule']} {alarm['transition']} ({alarm['severity']}):"
                )
                where = painted(message, "yellow", sys.stderr)
                self._say(f"{where} {shown_text(alarm['summary'], 400)}")
        self._flush()

    def _conclude(self) -> None:
        report = self._report
        if self._as_json:
            counts = {"read": report.read, "events": report.events, "skipped": report.skipped}
            if self._settings.alarms is not None:
                counts["alarms"] = report.alarms.total()
            letters = dict(report.letters)
            notices = self._notices()
            ends = {"dead_letters": letters, "bad_lines": self._bad, "notices": notices}
            self._put({"type": "end", **counts, **ends})
            self._flush()
            return
        for notice in self._notices():
            self._say(painted(notice, "yellow", sys.stderr))
        bad = f"; {counted(self._bad, 'line')} not read" if self._bad else ""
        self._say(painted(report.summary() + bad, "bold", sys.stderr))

    def _notices(self) -> list[str]:
        found = list(total([self._report.counts()])[1])
        rules = () if self._settings.alarms is None else self._settings.alarms.rules.by_log
        if rules and not self._timed:
            found.append(
                f"alarms.{rules[0]} goes by the timestamps of the messages, and none has one: "
                'give "timestamp" beside "value"'
            )
        return found

    def _put(self, document: dict[str, Any]) -> None:
        self._write(shown_json(msgspec.json.encode(document).decode()))

    def _write(self, line: str) -> None:
        self._print(lambda: sys.stdout.write(f"{line}\n"))

    def _flush(self) -> None:
        self._print(sys.stdout.flush)

    def _print(self, act: Callable[[], object]) -> None:
        """Print, and stop the flow when the reader of the output has closed it."""
        if self._unread:
            return
        try:
            act()
        except BrokenPipeError:
            self._unread = True
            self._stopping.set()

    @staticmethod
    def _say(line: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            sys.stderr.write(f"{line}\n")


def _event_text(value: bytes | None) -> str:
    """Return an event unchanged, if it is text."""
    try:
        return shown_json((value or b"").decode())
    except UnicodeDecodeError:
        return shown_bytes(value, 1 << 20)


def _lines_of(made: ProducerRecords) -> list[int]:
    assert made.origins is not None
    return [offset + 1 for offset in made.origins.offsets.tolist()]


def _parts(record: Record) -> dict[str, Any]:
    """Return key and value for JSON: documents unchanged, text as text, other bytes as base64."""
    parts: dict[str, Any] = {}
    for name, content in (("key", record.key), ("value", record.value)):
        try:
            text = None if content is None else content.decode()
        except UnicodeDecodeError:
            parts[f"{name}_base64"] = base64.b64encode(content or b"").decode()
            continue
        is_document = name == "value" and text is not None and text.startswith("{")
        parts[name] = _raw(text) if is_document and text is not None else text
    return parts


def _raw(text: str) -> Any:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return msgspec.Raw(text.encode())


@contextlib.contextmanager
def _opened(file: str) -> Iterator[int]:
    if file == "-":
        yield sys.stdin.fileno()
        return
    try:
        fd = os.open(file, os.O_RDONLY)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    try:
        if os.path.isdir(fd):
            raise ConfigError(f"{file}: is a directory; give the path of a file of messages")
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _kept_handlers() -> Iterator[None]:
    before = [(number, signal.getsignal(number)) for number in STOP_SIGNALS]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
