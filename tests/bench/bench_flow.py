"""Kafka -> EWMA -> Kafka on one worker: this flow against what else a user could pick.

python -m tests.bench.bench_flow [--readings N] [--series N] [--rounds N] [--only NAME...]
    [--apache] [--json] [--picture FILE]

Every contender smooths the same topic in a process of its own, in interleaved rounds, since a
machine's speed moves; medians. Rate and CPU are those of the last two thirds of the readings, so
that imports, the joining of groups and most of a JVM's warm-up do not count; what its compilers
use then is told apart. A JVM takes some millions of readings to be warm.

The peers in Python are run by the Python that ``EWMA_PEERS`` names, or this one; those in Java and
Go are built by Maven and Go, and need Apache Kafka, on the same machine, with ``--apache``.
Whatever lacks something is left out, with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from ewma_ops.demo.broker import EmbeddedBroker
from tests.bench.contenders import CONTENDERS, MEASURED, ONCE, OURS, available
from tests.bench.contest import Contest, Score, fill, run
from tests.helpers.brokers import ApacheKafka
from tests.helpers.kafka_jars import KafkaUnavailableError

PICTURE = Path(__file__).parents[2] / ".github" / "bench.png"


def measure(contest: Contest, commands: dict[str, list[str]], rounds: int) -> dict[str, Score]:
    """Return what a million readings take each contender: medians over rounds that interleave."""
    runs: dict[str, list[Score]] = {name: [] for name in commands}
    for done in range(rounds):
        for name in list(runs):
            label = CONTENDERS[name].label
            try:
                score = run(name, commands[name], contest, *CONTENDERS[name].options)
                runs[name].append(score)
                rate = f"{1e6 / score.wall_s:,.0f}/s at {score.cpu_s:.2f} CPU s/million"
                print(f"round {done + 1} of {rounds}: {label:26} {rate}", file=sys.stderr)
            except RuntimeError as reason:
                if name == OURS:
                    raise
                del runs[name]
                print(f"{label}: left out, {reason}", file=sys.stderr)
    return {
        name: Score(*map(median, zip(*scores, strict=True)))
        for name, scores in runs.items()
        if scores
    }


def table(scores: dict[str, Score]) -> str:
    """Return the scores as lines, ours as a multiple of each in two columns."""
    columns = f"{'messages/s':>12}{'CPU s/million':>15}{'we are':>10}{'at CPU of':>11}"
    lines = [f"{'':26}{columns}{'compilers':>11}{'warm-up':>9}"]
    ours = scores[OURS]
    for name, score in sorted(scores.items(), key=lambda item: item[1].cpu_s):
        lines.append(
            f"{CONTENDERS[name].label:26}{1e6 / score.wall_s:12,.0f}{score.cpu_s:15.2f}"
            f"{score.wall_s / ours.wall_s:9.2f}x{ours.cpu_s / score.cpu_s:10.2f}x"
            f"{score.compilers_s:11.2f}{score.warm_up_s:9.1f}"
        )
    if ONCE in scores:
        once = scores[ONCE]
        lines.append(
            f"exactly once: {ours.wall_s / once.wall_s:.2f} of the rate of at least once, "
            f"{once.size / ours.size:.2f} of its bytes"
        )
    if MEASURED in scores:
        measured = scores[MEASURED]
        lines.append(
            f"with [metrics], asked once a second: {measured.cpu_s / ours.cpu_s:.3f} of the CPU, "
            f"{ours.wall_s / measured.wall_s:.3f} of the rate"
        )
    return "\n".join(lines)


def draw(scores: dict[str, Score], series: int, path: Path) -> None:
    """Draw messages per CPU second: what a core gives, whatever else the machine did."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    ranked = sorted(scores.items(), key=lambda item: -item[1].cpu_s)
    rates = [1e6 / score.cpu_s / 1000 for _, score in ranked]
    figure, axes = plt.subplots(figsize=(8, 0.5 * len(ranked) + 1.2), layout="constrained")
    colours = ["#d9480f" if name == OURS else "#adb5bd" for name, _ in ranked]
    bars = axes.barh([CONTENDERS[name].label for name, _ in ranked], rates, color=colours)
    axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=4)
    axes.set_title(
        f"Thousand messages per CPU second, Kafka to Kafka, {series:,} series", loc="left"
    )
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.xaxis.set_visible(False)
    axes.tick_params(left=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """Print the tables and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readings", type=int, default=1_500_000)
    parser.add_argument("--series", type=int, nargs="*", default=[1_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=CONTENDERS, help="and ours")
    parser.add_argument("--apache", action="store_true", help="on Apache Kafka")
    parser.add_argument("--json", action="store_true", help="a JSON object a line")
    parser.add_argument("--picture", type=Path, help=f"the picture; without --only {PICTURE}")
    options = parser.parse_args(arguments)
    names = dict.fromkeys([OURS, *(options.only or CONTENDERS)])
    picture = options.picture or (None if options.only else PICTURE)
    commands = available(os.environ.get("EWMA_PEERS", sys.executable), names, apache=options.apache)
    with ExitStack() as stack:
        try:
            bootstrap = _broker(stack, apache=options.apache)
        except KafkaUnavailableError as reason:
            print(f"on Apache Kafka: left out, {reason}")
            return
        for series in options.series:
            contest = fill(bootstrap, f"readings-{series}", options.readings, series)
            scores = measure(contest, commands, options.rounds)
            if options.json:
                of_all = {name: score._asdict() for name, score in scores.items()}
                told = {"readings": options.readings, "series": series, "per_million": of_all}
                print(json.dumps(told), flush=True)
            else:
                print(f"{options.readings:,} readings of {series:,} series, one worker")
                print(table(scores), flush=True)
            if picture is not None and series == options.series[0]:
                draw(scores, series, picture)


def _broker(stack: ExitStack, *, apache: bool) -> str:
    if not apache:
        return stack.enter_context(EmbeddedBroker()).bootstrap_servers
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    return stack.enter_context(ApacheKafka(directory)).bootstrap_servers


if __name__ == "__main__":
    main()
