"""The log of a job: lines with time, level and process, as text or as JSON.

Knows lines; must not know what they are about, nor who reads them. Text from outside cannot break
or forge a line: control characters and directional marks are escaped, and text after a line break
gets the same head and a bar.

    2026-11-29T10:07:13.123Z INFO    worker-0: read 5,000: 4,988 events, 12 dead letters
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Literal

from ewma_ops.job.showing import cut, printable
from ewma_ops.secrets.masking import masked, masked_traceback

__all__ = [
    "MARKED",
    "LogFormat",
    "Verbosity",
    "configured",
    "framed",
    "print_line",
    "wrapper",
]

LogFormat = Literal["text", "json"]
Verbosity = Literal["quiet", "normal", "verbose"]

MARKED = "EWMA_LOG_MARKED"
"""Environment variable that makes a worker begin its lines with a mark."""

_MARK = "\x1e"
"""Shows the launcher which lines of a worker's standard error are whole lines of its log."""

_MOST_CHARACTERS = 16_000
_NEVER = logging.CRITICAL + 1
_LEVELS: dict[Verbosity, dict[str, int]] = {
    "quiet": {"ewma_ops": logging.WARNING, "kafka": _NEVER, "": logging.WARNING},
    "normal": {"ewma_ops": logging.INFO, "kafka": _NEVER, "": logging.WARNING},
    "verbose": {"ewma_ops": logging.DEBUG, "kafka": logging.INFO, "": logging.INFO},
}
"""Levels by logger: our own errors sum up kafka-python's lines on each connection."""

_log = logging.getLogger(__name__)
_configured: list[_Handler] = []


class _Handler(logging.Handler):
    """Writes records to the current ``sys.stderr``, each in a single write."""

    def __init__(self, speaker: str, form: LogFormat) -> None:
        super().__init__()
        self.speaker, self.form = speaker, form
        self._mark = _MARK if os.environ.pop(MARKED, None) else ""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
            if record.exc_info and record.exc_info[1] is not None:
                text += f"\n{record.exc_text or masked_traceback(record.exc_info[1])}"
            for line in self.lines(text, record.levelname, record.created, record.name):
                sys.stderr.write(f"{self._mark}{line}\n")
            sys.stderr.flush()
        except Exception:  # noqa: BLE001 - logging must not end a flow
            self.handleError(record)

    def lines(self, text: str, level: str, created: float, logger: str) -> list[str]:
        """Return the lines of a message."""
        milliseconds = int(created * 1000) % 1000
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created)) + f".{milliseconds:03d}Z"
        if self.form == "json":
            content = {
                "time": moment,
                "level": level.lower(),
                "worker": self.speaker,
                "message": cut(text, _MOST_CHARACTERS),
                "logger": logger,
            }
            return [json.dumps(content)]
        head = f"{moment} {level:<7} {self.speaker}: "
        first, *others = [cut(printable(one), _MOST_CHARACTERS) for one in text.split("\n")]
        return [f"{head}{first}", *(f"{head}| {one}" for one in others)]


@contextlib.contextmanager
def configured(
    speaker: str, form: LogFormat = "text", verbosity: Verbosity = "normal"
) -> Iterator[None]:
    """Write all that this process logs to standard error, for the length of a ``with`` block.

    Parameters
    ----------
    speaker
        The process: ``"launcher"``, or ``"worker-0"``.
    form
        ``"text"`` or ``"json"``: one object a line with ``time`` (UTC), ``level``, ``worker``,
        ``message`` and ``logger``.
    verbosity
        ``"quiet"`` leaves out all but warnings and errors, ``"verbose"`` shows what helps to find
        a fault.
    """
    handler = _Handler(speaker, form)
    loggers = {logging.getLogger(name): level for name, level in _LEVELS[verbosity].items()}
    levels = [(logger, logger.level) for logger in loggers]
    handlers, hooks = logging.root.handlers[:], (sys.excepthook, threading.excepthook)
    outer = _configured[:]
    for logger, level in loggers.items():
        logger.setLevel(level)
    logging.root.handlers[:] = _configured[:] = [handler]
    logging.captureWarnings(capture=True)
    sys.excepthook, threading.excepthook = _log_fault, _log_fault_of_thread
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        sys.excepthook, threading.excepthook = hooks
        for logger, level in levels:
            logger.setLevel(level)
        logging.root.handlers[:], _configured[:] = handlers, outer


def _log_fault(
    kind: type[BaseException], error: BaseException | None, _: TracebackType | None
) -> None:
    if not issubclass(kind, (KeyboardInterrupt, SystemExit)):
        message = kind.__name__ if error is None else masked_traceback(error)
        _log.error("a fault in the program\n%s", message)


def _log_fault_of_thread(failed: threading.ExceptHookArgs) -> None:
    _log_fault(failed.exc_type, failed.exc_value, failed.exc_traceback)


def print_line(line: str, level: int = logging.INFO) -> None:
    """Write a line to the log if it is `configured`, else verbatim to standard error.

    A line is written whole, because other processes of the job may write too.
    """
    if _configured:
        _log.log(level, "%s", line)
        return
    sys.stderr.write(f"{line}\n")  # print would write twice if Python is unbuffered
    sys.stderr.flush()


def framed(text: str) -> str:
    """Return text as a line of the log, or verbatim without a log."""
    if not _configured:
        return text
    return "\n".join(_configured[0].lines(text, "WARNING", time.time(), __name__))


def wrapper(speaker: str) -> Callable[[bytes], bytes] | None:
    """Return a function that makes log lines from a worker's standard error; None without a log.

    A worker begins its own lines with a mark, which is removed. Lines without one bypassed the log,
    such as a panic of the engine, and are logged as warnings of that worker.
    """
    if not _configured:
        return None
    form = _configured[0].form
    raw = _Handler(speaker, form)

    def wrapped(line: bytes) -> bytes:
        text = line.decode(errors="replace").rstrip("\n")
        if text.startswith(_MARK):
            return f"{text[len(_MARK) :]}\n".encode(errors="replace")
        said = raw.lines(masked(text), "WARNING", time.time(), "stderr")
        return "".join(f"{one}\n" for one in said).encode(errors="replace")

    return wrapped
