"""``ewma redrive``: dead letters sent back to the topic that they came from, each at most once.

Knows arguments and what is printed; other modules know what a letter is and how records are sent.

    letters + receipts --read--> plan --(a transaction a batch)--> input topic + receipt

A receipt stands on the dead-letter topic, behind the letters in their partition. A run that is
killed leaves a transaction that nobody commits; the next run takes over its transactional id, and
so aborts it, before it reads.
"""

from __future__ import annotations

import difflib
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ewma_ops.commands.terminal import painted, table
from ewma_ops.connectors.client.topics import describe_topic
from ewma_ops.connectors.resend import Resender, Timed, read_topic
from ewma_ops.errors import ConfigError
from ewma_ops.job.identity import look_up_inputs
from ewma_ops.job.letters import Letter, Origin, Plan, Receipts, choose, parse_letter, receipt
from ewma_ops.job.recovery.store import RecoveryStore
from ewma_ops.job.report import counted
from ewma_ops.job.showing import shown_text
from ewma_ops.settings.load import load
from ewma_ops.settings.model import Settings

__all__ = ["redrive"]

_TOGETHER = 200
"""Letters of a transaction: their receipt has to fit into a record of the dead-letter topic."""

_MOST_BYTES = 256 << 20


def redrive(
    config: Path,
    *,
    causes: Sequence[str] = (),
    since_ms: int | None = None,
    until_ms: int | None = None,
    again: bool = False,
    whole_messages: bool = False,
    dry_run: bool = False,
    as_json: bool = False,
) -> int:
    """Send dead letters back to the input topic; return an exit code.

    Parameters
    ----------
    config
        The configuration file in its corrected form: a letter that it still cannot read is left.
    causes
        Of the letters that are sent; all, if none is named.
    since_ms, until_ms
        When letters were written that are sent, in milliseconds since the epoch: from the first,
        up to before the second.
    again, whole_messages
        As for `ewma_ops.job.letters.choose`.
    dry_run
        Whether to only print what would be sent.
    as_json
        Whether to print one object of JSON.

    Raises
    ------
    EwmaError
        If the configuration is wrong, a cause is in no letter, or brokers do not answer. What was
        sent until then has its receipt.
    """
    settings = load(config)
    inputs = look_up_inputs(settings)
    partitions = {topic.name: topic.view.partitions for topic in inputs.by_number.values()}
    selection = _Selection(settings, frozenset(causes), since_ms, until_ms, partitions)
    if _will_read_messages(settings):
        print(f"{painted('warning:', 'yellow', sys.stderr)} {_READ_TWICE}", file=sys.stderr)
    options = {"again": again, "whole_messages": whole_messages}
    notes = settings.dead_letters.topic
    describe_topic(settings.kafka, notes)
    if dry_run:
        plan = selection.plan(None, **options)
        _print_result(settings, plan, 0, dry_run=True, as_json=as_json)
        return 0
    with Resender(settings.kafka, list(partitions), notes, f"ewma-redrive-{notes}") as resender:
        plan = selection.plan(resender.ends(), **options)
        sent = 0
        for batch in _batches(plan.chosen):
            resender.send([_resent(letter) for letter in batch], list(_receipts(notes, batch)))
            sent += len(batch)
    _print_result(settings, plan, sent, dry_run=False, as_json=as_json)
    return 0


_READ_TWICE = (
    "this job has no recovery store yet, and begins at the earliest message: it will read the "
    "messages themselves, if the topic still has them, and then those that are sent again too"
)


def _will_read_messages(settings: Settings) -> bool:
    """Return whether the job has never run, so that it will read the letters' messages itself."""
    recovery = settings.recovery
    has_run = recovery is not None and RecoveryStore(recovery.directory).noted is not None
    return settings.input.start == "earliest" and not has_run


class _Selection:
    """The letters to send, by cause, time and partition."""

    def __init__(
        self,
        settings: Settings,
        causes: frozenset[str],
        since_ms: int | None,
        until_ms: int | None,
        partitions: Mapping[str, int],
    ) -> None:
        self._settings, self._causes, self._partitions = settings, causes, partitions
        self._since_ms, self._until_ms = since_ms, until_ms

    def plan(self, ends: Mapping[int, int] | None, **options: bool) -> Plan:
        """Read the dead-letter topic to its end, and decide which letters to send."""
        topic = self._settings.dead_letters.topic
        receipts, letters = Receipts(), list[Letter]()
        seen: Counter[str] = Counter()
        size = 0
        for record in read_topic(self._settings.kafka, topic, ends):
            if receipts.take(record.value, record.headers):
                continue
            place = Origin(topic, record.partition, record.offset)
            letter = parse_letter(
                place, record.timestamp, record.key, record.value, list(record.headers)
            )
            if letter is None or letter.origin.topic not in self._partitions:
                continue
            seen[letter.cause] += 1
            if self._is_asked_for(letter):
                letters.append(letter)
                size += len(letter.value or b"") + len(letter.key or b"")
                if size > _MOST_BYTES:
                    raise ConfigError(
                        f"the letters have more than {_MOST_BYTES >> 20} MiB together: choose "
                        "fewer with --cause, --since and --until, one part after the other"
                    )
        self._refuse_unknown(seen)
        letters.sort(key=lambda letter: letter.origin)
        return choose(self._settings, letters, receipts, self._partitions, **options)

    def _is_asked_for(self, letter: Letter) -> bool:
        if self._causes and letter.cause not in self._causes:
            return False
        if self._since_ms is not None and letter.written_ms < self._since_ms:
            return False
        return self._until_ms is None or letter.written_ms < self._until_ms

    def _refuse_unknown(self, seen: Mapping[str, int]) -> None:
        for cause in sorted(self._causes - set(seen)):
            near = difflib.get_close_matches(cause, seen, 1)
            there = f"there are {', '.join(sorted(seen))}" if seen else "there are no letters"
            fix = f"did you mean {near[0]}?" if near else there
            raise ConfigError(f"no dead letter has the cause {shown_text(cause)!r}; {fix}")


def _batches(letters: Sequence[Letter]) -> Iterator[Sequence[Letter]]:
    for start in range(0, len(letters), _TOGETHER):
        yield letters[start : start + _TOGETHER]


def _receipts(topic: str, letters: Sequence[Letter]) -> Iterator[Timed]:
    """Yield a receipt for each partition of letters: retention takes the letters first there."""
    for partition in sorted({letter.place.partition for letter in letters}):
        value, headers = receipt(one for one in letters if one.place.partition == partition)
        yield Timed(topic, partition, None, value, headers)


def _resent(letter: Letter) -> Timed:
    time_ms = None if letter.timestamp_ms < 0 else letter.timestamp_ms
    topic, partition, _ = letter.origin
    return Timed(topic, partition, letter.key, letter.value, letter.resent_headers(), time_ms)


def _print_result(
    settings: Settings, plan: Plan, sent: int, *, dry_run: bool, as_json: bool
) -> None:
    chosen = Counter(letter.cause for letter in plan.chosen)
    if as_json:
        document: dict[str, Any] = {
            "dry_run": dry_run,
            "chosen": dict(chosen),
            "sent": sent,
            "left": {cause: dict(reasons) for cause, reasons in plan.left.items()},
            "still_wrong": plan.again,
        }
        print(msgspec.json.encode(document).decode())
        return
    for line in _lines(settings, plan, chosen, sent, dry_run=dry_run):
        print(line)


def _lines(
    settings: Settings, plan: Plan, chosen: Counter[str], sent: int, *, dry_run: bool
) -> Iterator[str]:
    causes = sorted({*chosen, *plan.left})
    if not causes:
        yield f"{settings.dead_letters.topic} has no letters of {settings.input.source} to send"
        return
    head = "to send" if dry_run else "sent"
    rows = [
        [cause, f"{chosen[cause]:,}", f"{sum(plan.left.get(cause, Counter()).values()):,}"]
        for cause in causes
    ]
    width = shutil.get_terminal_size().columns
    yield from table(["cause", head, "left"], rows, width, right={1, 2})
    for reason, n in plan.reasons().most_common():
        yield f"left: {n:,} {reason}"
    for cause, detail in plan.again.items():
        yield f"  {cause}: {shown_text(detail, 240)}"
    if dry_run:
        summary = f"dry run: {counted(len(plan.chosen), 'letter')} would be sent; nothing was sent"
    else:
        summary = f"sent {counted(sent, 'letter')} to {settings.input.source}"
    yield painted(summary, "bold", sys.stdout)
