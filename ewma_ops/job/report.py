"""Counts of what a run has read and made so far, and the lines that report them while it runs.

Knows counts and the time; must not know records or settings, nor where the lines go.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import msgspec

from ewma_ops.job.showing import shown_text
from ewma_ops.monitor.globs import GlobWatch
from ewma_ops.serde.watch import MOST_WITHOUT, PathWatch, unfound_notice

__all__ = ["PERIOD_S", "Counts", "Recurring", "Report", "by_cause", "counted", "total"]

PERIOD_S = 60.0
"""Least time between two lines on dead letters."""


class Recurring:
    """Lines on what keeps happening: the first at once, then at most one a minute.

    Parameters
    ----------
    noun
        What is counted, in the singular.
    say
        Called with a line; ``None`` for nothing.
    """

    def __init__(self, noun: str, say: Callable[[str], None] | None) -> None:
        self.counts: Counter[str] = Counter()
        """How often it has happened, by kind."""
        self._noun, self._say = noun, say
        self._lock = threading.RLock()
        self._unreported: Counter[str] = Counter()
        self._example = ""
        self._reported_at = -math.inf
        self._timer: threading.Timer | None = None

    def add(self, kinds: Mapping[str, int], example: Callable[[], str]) -> None:
        """Count what has happened by its kind; ``example`` shows one of it."""
        with self._lock:
            self.counts.update(kinds)
            if self._say is None:
                return
            if not self._unreported:
                self._example = example()
            self._unreported.update(kinds)
            wait_s = self._reported_at + PERIOD_S - time.monotonic()
            if wait_s <= 0:
                self.report()
            elif self._timer is None:
                self._timer = threading.Timer(wait_s, self.report)
                self._timer.daemon = True
                self._timer.start()

    def report(self) -> None:
        """Report what has happened since the last report, if anything has."""
        with self._lock:
            self._timer = None
            n, total = self._unreported.total(), self.counts.total()
            if not n or self._say is None:
                return
            so_far = "" if n == total else f", {total:,} in all"
            kinds = by_cause(self._unreported.items())
            self._say(f"{counted(n, self._noun)}{so_far} ({kinds}), such as {self._example}")
            self._unreported.clear()
            self._reported_at = time.monotonic()

    def close(self) -> None:
        """Cancel the report that is still pending."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._say = None


class Report:
    """Count what becomes of the messages of a run; any thread may add.

    Parameters
    ----------
    say
        Called with a line on dead letters, and one on alarms: at the first one, then at most once
        a minute each.

    Examples
    --------
    >>> report = Report()
    >>> report.add(read=5, readings=3)
    >>> report.add(events=3)
    >>> report.add_letters({"not-json": 2}, lambda: "offset 7 of readings/0: no JSON")
    >>> report.summary()
    'read 5: 3 events, 2 dead letters (not-json 2)'
    """

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        self.read = self.readings = self.events = self.skipped = 0
        self.watch: PathWatch | None = None
        """Of the decoder: which paths have led nowhere."""
        self.globs: GlobWatch | None = None
        """Of the rules of alarms: which of their globs match no series."""
        self._lock = threading.RLock()
        self._say = say
        self._letters = Recurring("dead letter", say)
        self._raises = Recurring("alarm", say)
        self._skips_reported = False

    @property
    def letters(self) -> Counter[str]:
        """Dead letters, by cause."""
        return self._letters.counts

    @property
    def alarms(self) -> Counter[str]:
        """Alarms that were raised, by rule."""
        return self._raises.counts

    def add(self, *, read: int = 0, readings: int = 0, events: int = 0, skipped: int = 0) -> None:
        """Count messages that were read, and readings, events and what was skipped of them."""
        with self._lock:
            self.read += read
            self.readings += readings
            self.events += events
            self.skipped += skipped
            if self._say is not None and not self._skips_reported and self.skips_all:
                self._skips_reported = self.skipped >= MOST_WITHOUT
                if self._skips_reported:
                    self._say(all_skipped(self.skipped))

    def add_letters(self, causes: Mapping[str, int], example: Callable[[], str]) -> None:
        """Count dead letters by their cause; ``example`` shows one of them."""
        self._letters.add(causes, example)

    def add_alarms(self, rules: Mapping[str, int], example: Callable[[], str]) -> None:
        """Count alarms that were raised by their rule; ``example`` is the summary of one."""
        self._raises.add(rules, example)

    def include(self, other: Report) -> None:
        """Add what another report has counted."""
        self.add(
            read=other.read, readings=other.readings, events=other.events, skipped=other.skipped
        )
        self.letters.update(other.letters)
        self.alarms.update(other.alarms)

    def close(self) -> None:
        """Cancel the reports that are still pending; the summary covers them."""
        self._letters.close()
        self._raises.close()
        with self._lock:
            self._say = None

    @property
    def skips_all(self) -> bool:
        """Whether messages came, and every one of them was skipped."""
        return self.skipped > 0 and not self.readings and not self.letters

    @property
    def nothing_readable(self) -> bool:
        """Whether messages came, and every one of them is a dead letter."""
        return not self.readings and not self.skipped and self.letters.total() > 0

    def summary(self) -> str:
        """Return one line: messages read, events, alarms, dead letters, skipped messages."""
        parts = [counted(self.events, "event"), counted(self.letters.total(), "dead letter")]
        if self.letters:
            parts[1] += f" ({by_cause(self.letters.items())})"
        if self.skipped:
            parts.append(f"{self.skipped:,} skipped")
        if self.alarms:
            raised = counted(self.alarms.total(), "alarm")
            parts.append(f"{raised} ({by_cause(self.alarms.items())})")
        return f"read {self.read:,}: {', '.join(parts)}"

    def counts(self) -> Counts:
        """Return the numbers, for another process to add up."""
        watch = self.watch
        unfound = {} if watch is None or watch.is_reported else watch.unfound()
        with self._lock:
            return Counts(
                read=self.read,
                readings=self.readings,
                events=self.events,
                skipped=self.skipped,
                letters=dict(self.letters),
                alarms=dict(self.alarms),
                unfound=unfound,
                found=[] if watch is None else watch.found,
                unmatched={} if self.globs is None or self.globs.is_over else self.globs.unmatched,
                matched=[] if self.globs is None else self.globs.settled,
            )


class Counts(msgspec.Struct, frozen=True):
    """The numbers of a `Report`; ``unfound`` is what its `PathWatch` says, and ``found``.

    ``unmatched`` is what its `GlobWatch` says and was not said yet; ``matched`` names the rules of
    which nothing more is to be said.
    """

    read: int = 0
    readings: int = 0
    events: int = 0
    skipped: int = 0
    letters: dict[str, int] = {}
    unfound: dict[str, tuple[int, str | None]] = {}
    found: list[str] = []
    alarms: dict[str, int] = {}
    unmatched: dict[str, tuple[int, str]] = {}
    matched: list[str] = []


def total(parts: Iterable[Counts]) -> tuple[Report, list[str]]:
    """Add up what several processes have counted; return it, and what is to be said of it.

    Examples
    --------
    >>> some = Counts(read=2, readings=2, events=2, unfound={"temp": (2, "t")})
    >>> report, notices = total([some, some])
    >>> report.summary()
    'read 4: 4 events, 0 dead letters'
    >>> notices
    ['temp has no number in any of 4 readings; did you mean t?']
    >>> total([some, Counts(found=["temp"])])[1]
    []
    """
    report, found, matched = Report(), set[str](), set[str]()
    looked_at: dict[str, tuple[int, str]] = {}
    seen: dict[str, tuple[int, str | None]] = {}
    for one in parts:
        report.add(read=one.read, readings=one.readings, events=one.events, skipped=one.skipped)
        report.letters.update(one.letters)
        report.alarms.update(one.alarms)
        found.update(one.found)
        matched.update(one.matched)
        for rule, (n, example) in one.unmatched.items():
            looked_at[rule] = looked_at.get(rule, (0, ""))[0] + n, example
        for path, (n, meant) in one.unfound.items():
            before = seen.get(path, (0, None))
            seen[path] = before[0] + n, before[1] or meant
    notices = [unfound_notice(path, *why) for path, why in seen.items() if path not in found]
    notices += [unmatched(rule, *why) for rule, why in looked_at.items() if rule not in matched]
    if report.skips_all:
        notices.append(all_skipped(report.skipped))
    return report, notices


def unmatched(rule: str, n: int, example: str) -> str:
    """Say that the globs of a rule match no series."""
    return (
        f"alarms.{rule}.series matches no series of the first {counted(n, 'reading')}, such as "
        f"{shown_text(example)!r}: it judges none"
    )


def all_skipped(n: int) -> str:
    """Say that nothing but skipped messages came."""
    what = "the only one" if n == 1 else f"all {n:,} so far"
    return (
        f"input.where or input.tombstones has left out every message, {what}; ewma check shows "
        "what their fields are"
    )


def counted(n: int, noun: str) -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> counted(1, "event"), counted(1200, "event")
    ('1 event', '1,200 events')
    """
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def by_cause(causes: Iterable[tuple[str, int]]) -> str:
    """List causes, the most frequent first."""
    ranked = sorted(causes, key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{cause} {n:,}" for cause, n in ranked)
