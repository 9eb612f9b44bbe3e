"""What happens in the demo: readings go in, events come out, and both are compared.

Knows the feed, the screen and the picture; must not know how broker and flow are started.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from ewma_ops.demo.data import SERIES, recorded_readings, synthetic_ticks
from ewma_ops.demo.expected import Expected
from ewma_ops.demo.faults import FAULTS, FAULTY, Verdict, judge, with_faults
from ewma_ops.demo.feed import (
    MALFORMED,
    READINGS_PER_S,
    STAMPED_PER_S,
    SYNTHETIC_PER_S,
    Feeder,
    now_ms,
)
from ewma_ops.demo.flow_process import ALARMS, BETA, DEAD_LETTERS, INPUT, OUTPUT, Flow
from ewma_ops.demo.page_process import Page
from ewma_ops.demo.picture import draw
from ewma_ops.demo.screen import OutputReader, Screen, Tally
from ewma_ops.errors import EwmaError

__all__ = ["Demo"]

_DRAWN = "seattle-daily-max"
_POLL_S = 0.05
_STALLED_S = 45.0
_SURPLUS_S = 0.3
_SAME = 1e-9


class Demo:
    """Feeds a running flow, watches its output, and judges it.

    Parameters
    ----------
    bootstrap_servers
        Kafka's address; the topics exist.
    flow
        The flow, started.
    interrupted
        Set from outside to end before time.
    page
        The flow's live page, if it has one.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        flow: Flow,
        interrupted: threading.Event,
        page: Page | None = None,
    ) -> None:
        self._flow = flow
        self._page = page
        self._interrupted = interrupted
        self._readings = list(with_faults(recorded_readings()))
        self._stopping = threading.Event()
        self._console = Console(highlight=False)
        self._expected = Expected(BETA)
        self._tally = Tally(self._expected, followed=_DRAWN)
        self._feeder = Feeder(bootstrap_servers, INPUT, self._stopping)
        self._reader = OutputReader(bootstrap_servers, OUTPUT, DEAD_LETTERS, ALARMS)

    def perform(self, picture: Path, *, forever: bool) -> int:
        """Run the demo from the first reading to the verdict and return the exit code.

        Raises
        ------
        EwmaError
            If the flow ends unexpectedly or stalls, or the feed fails.
        KeyboardInterrupt
            If interrupted, unless ``forever``: then that is the end that was asked for.
        """
        self._announce()
        try:
            with ThreadPoolExecutor(1, "feed") as pool:
                try:
                    self._watch(pool.submit(self._feed, forever), forever)
                finally:
                    self._stopping.set()
            code = self._flow.stop()
            while self._reader.read(self._tally, _SURPLUS_S):
                pass
        finally:
            self._reader.close()
            self._feeder.close()
        faults = self._faults(code)
        self._summarise(faults)
        self._draw(picture)
        return 1 if faults else 0

    def _announce(self) -> None:
        self._say(
            f"{len(self._readings):,} recorded readings of {len(SERIES)} series and a faulty copy, "
            f"{READINGS_PER_S:,.0f} a second:"
        )
        for series_id, what in SERIES.items():
            self._say(f"  {series_id:<20}{what}")
        self._say(f"  {FAULTY:<20}the sea's first months again, with faults put in:")
        for fault in FAULTS:
            self._say(f"  {'':<20}- {fault.label}")
        config, log = _near(self._flow.config), _near(self._flow.log)
        self._say(f"through a real flow: ewma run {config}", wrap=False)
        self._say(f"which logs to {log}", wrap=False)
        if self._page is not None:
            address = self._page.address()
            message = self._page.why if address is None else f"see it live: {address}"
            self._say(message, "" if address is None else "bold", wrap=False)
        if not self._console.is_terminal:
            self._say("")

    def _feed(self, forever: bool) -> None:
        feeder, expected = self._feeder, self._expected
        sent = expected.entering(self._readings)
        feeder.send(sent, READINGS_PER_S, MALFORMED, STAMPED_PER_S)
        if forever and not self._stopping.is_set():
            feeder.send(expected.entering(synthetic_ticks(now_ms)), SYNTHETIC_PER_S)

    def _watch(self, feeding: Future[None], forever: bool) -> None:
        """Count and show what comes out until all that was sent is there."""
        moved_s = time.monotonic()
        with Screen(self._console, self._feeder, self._tally, len(self._readings)) as screen:
            while not (feeding.done() and self._all_out()):
                if self._interrupted.is_set():
                    if not forever:
                        raise KeyboardInterrupt
                    self._stopping.set()
                if self._reader.read(self._tally, _POLL_S):
                    moved_s = time.monotonic()
                if feeding.done():
                    feeding.result()
                self._flow.check()
                if time.monotonic() - moved_s > _STALLED_S:
                    raise EwmaError(
                        f"nothing has come out for {_STALLED_S:.0f} s: {self._feeder.sent:,} "
                        f"readings sent, {self._tally.events.total():,} events seen; "
                        f"the flow's log: {self._flow.log}"
                    )
                screen.show()
            screen.show()

    def _all_out(self) -> bool:
        tally, feeder = self._tally, self._feeder
        return tally.events.total() >= feeder.sent and len(tally.causes) >= feeder.malformed

    def _faults(self, code: int | None) -> list[str]:
        """Compare output with input, and report errors."""
        tally, expected = self._tally, self._expected
        faults = [
            f"{series_id}: {expected.readings[series_id]:,} readings, "
            f"but {tally.events[series_id]:,} events"
            for series_id in sorted(expected.readings.keys() | tally.events.keys())
            if expected.readings[series_id] != tally.events[series_id]
        ]
        faults += [
            f"{series_id}: the last average is not that of a plain loop ({difference:.2g} off)"
            for series_id, difference in self._differences().items()
            if not difference <= _SAME
        ]
        sent = Counter(message.label for message in MALFORMED[: self._feeder.malformed])
        seen = Counter(label for label, _ in tally.causes)
        faults += [f"no dead letter: {label}" for label in (sent - seen).elements()]
        faults += [f"one dead letter too many: {label}" for label in (seen - sent).elements()]
        faults += self._of_alarms().wrong
        if code is None:
            faults.append("the flow did not stop when it was asked to")
        elif code != 0:
            faults.append(f"the flow stopped with code {code}; its log: {self._flow.log}")
        return faults

    def _of_alarms(self) -> Verdict:
        return judge(self._tally.alarms, self._expected.readings)

    def _differences(self) -> dict[str, float]:
        latest = self._tally.latest.items()
        return self._expected.differences({k: e.ewma for k, e in latest if e.ewma is not None})

    def _summarise(self, faults: list[str]) -> None:
        tally = self._tally
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for name in ("series", "readings", "events", "last value", "last ewma", "a plain loop"):
            table.add_column(name, justify="left" if name == "series" else "right")
        for series_id, readings in self._expected.readings.items():
            event = tally.latest.get(series_id)
            table.add_row(
                series_id,
                f"{readings:,}",
                f"{tally.events[series_id]:,}",
                "-" if event is None or event.value is None else f"{event.value:,.2f}",
                "-" if event is None or event.ewma is None else f"{event.ewma:.8f}",
                f"{self._expected.average(series_id):.8f}",
            )
        self._console.print("", table, "", sep="\n")
        causes = Counter(cause for _, cause in tally.causes)
        counts = ", ".join(f"{cause} {n}" for cause, n in causes.most_common())
        self._say(
            f"{self._feeder.sent:,} readings in, {tally.events.total():,} events out; "
            f"{_timing(list(tally.latencies_s))}."
        )
        self._say(
            f"{self._feeder.malformed} malformed messages in, {len(tally.causes)} dead letters out"
            + (f": {counts}." if counts else ".")
        )
        self._summarise_alarms()
        for fault in faults:
            self._say(f"WRONG  {fault}", "bold red")
        if not faults:
            largest = max(self._differences().values(), default=0.0)
            self._say(
                "All is well: every reading has its event, each series' last average is that of "
                f"a plain loop (at most {largest:.0e} off), and every fault was raised.",
                "green",
            )

    def _summarise_alarms(self) -> None:
        verdict = self._of_alarms()
        self._say(
            f"{len(verdict.found)} of {len(FAULTS)} faults raised an alarm; "
            f"{len(verdict.by_chance)} alarms without a fault, {verdict.expected:.1f} expected by "
            "design:",
            wrap=False,
        )
        for fault, alarm in verdict.found.items():
            self._say(f"  {fault.label}", wrap=False)
            self._say(f"    {alarm['rule']}: {alarm['summary']}", wrap=False)
        for alarm in verdict.by_chance:
            self._say(f"  by chance\n    {alarm['rule']}: {alarm['summary']}", wrap=False)

    def _draw(self, picture: Path) -> None:
        readings = [reading for reading in self._readings if reading.series_id == _DRAWN]
        averages = np.array([event.ewma for event in self._tally.followed], np.float64)
        whole = len(averages) == len(readings) and not np.isnan(averages).any()
        draw(picture, readings, {BETA: averages} if whole else {})
        self._say(f"Picture: {_near(picture)}", wrap=False)

    def _say(self, text: str, style: str = "", *, wrap: bool = True) -> None:
        self._console.print(text, style=style, markup=False, soft_wrap=not wrap)


def _timing(latencies_s: list[float]) -> str:
    if not latencies_s:
        return "none in time"
    half, most = np.quantile(latencies_s, (0.5, 0.99)) * 1000
    return f"from sent to seen {half:.0f} ms (median), {most:.0f} ms (99 of 100)"


def _near(path: Path) -> str:
    """Return the path as short as it can be said from here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
