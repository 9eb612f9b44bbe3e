"""Kafka -> EWMA -> Kafka on one worker: this flow against what else a Python user could pick.

python -m tests.bench.bench_flow [--readings N] [--series N] [--rounds N] [--picture FILE]

Every contender smooths the same topic in a process of its own, in interleaved rounds, since a
machine's speed moves; medians. Time and CPU are those beyond a run with a third of the readings, so
that imports and the joining of groups do not count; for the fastest give two million readings. The
peers are run by the Python that ``EWMA_PEERS`` names, or this one; those that are not installed
there are left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from ewma_ops.demo.broker import EmbeddedBroker
from tests.bench.contest import Contest, Score, fill, run

OURS = "ours"
ONCE = "ours, exactly once"
CONTENDERS = {
    OURS: "ewma_ops",
    ONCE: "ewma_ops, exactly once",
    "confluent_loop": "librdkafka, by hand",
    "csp_node": "csp, one Python node",
    "pathway_groups": "Pathway",
    "bytewax_own": "Bytewax, own connector",
    "quix": "Quix Streams",
    "kafka_python_loop": "kafka-python, by hand",
}
NEEDS = {
    "confluent_loop": "confluent_kafka, orjson",
    "csp_node": "csp",
    "pathway_groups": "pathway",
    "bytewax_own": "bytewax, confluent_kafka, orjson",
    "quix": "quixstreams",
    "kafka_python_loop": "kafka, crc32c, orjson",
}
SHARE = 3
"""What is measured is the difference between all readings and a third of them."""
PICTURE = Path(__file__).parents[2] / ".github" / "bench.png"


def _contenders(peers: str) -> dict[str, str]:
    """Return the Python of each contender that can run here."""
    found = {OURS: sys.executable, ONCE: sys.executable}
    for name, modules in NEEDS.items():
        script = Path(__file__).parent / "peers" / f"{name}.py"
        asked = subprocess.run([peers, "-c", f"import {modules}"], capture_output=True, check=False)
        if script.exists() and asked.returncode == 0:
            found[name] = peers
        else:
            print(f"{CONTENDERS[name]}: left out, {peers} lacks one of {modules}")
    return found


def measure(
    bootstrap: str, pythons: dict[str, str], readings: int, series: int, rounds: int
) -> dict[str, Score]:
    """Return each contender's seconds and CPU seconds for a million readings."""
    few = fill(bootstrap, f"few-{series}", readings // SHARE, series)
    many = fill(bootstrap, f"many-{series}", readings, series)
    runs: dict[str, list[tuple[Score, Score]]] = {name: [] for name in pythons}
    for done in range(rounds):
        for name in list(runs):
            print(f"  round {done + 1} of {rounds}: {CONTENDERS[name]:24}", end="\r", flush=True)
            try:
                runs[name].append(_pair(name, pythons[name], few, many))
            except RuntimeError as reason:
                if name == OURS:
                    raise
                del runs[name]
                print(f"{CONTENDERS[name]}: left out, {reason}")
    return {name: _score(pairs, many.readings - few.readings) for name, pairs in runs.items()}


def _pair(name: str, python: str, few: Contest, many: Contest) -> tuple[Score, Score]:
    script, options = (OURS, ["--exactly-once"]) if name == ONCE else (name, [])
    less, more = (run(script, contest, *options, python=python) for contest in (few, many))
    return less, more


def _score(pairs: list[tuple[Score, Score]], readings: int) -> Score:
    """Return what a million readings take: of medians, as a start may take a second more."""
    less, more = (map(median, zip(*scores, strict=True)) for scores in zip(*pairs, strict=True))
    differences = (max(b - a, 1e-3) * 1e6 / readings for a, b in zip(less, more, strict=True))
    return Score(*differences)


def table(scores: dict[str, Score]) -> str:
    """Return the scores as lines, ours as a multiple of each in the last two columns."""
    lines = [f"{'':26}{'messages/s':>12}{'CPU s/million':>15}{'we are':>10}{'at CPU of':>11}"]
    ours = scores[OURS]
    for name, score in sorted(scores.items(), key=lambda item: item[1].cpu_s):
        lines.append(
            f"{CONTENDERS[name]:26}{1e6 / score.wall_s:12,.0f}{score.cpu_s:15.2f}"
            f"{score.wall_s / ours.wall_s:9.1f}x{ours.cpu_s / score.cpu_s:10.2f}x"
        )
    if ONCE in scores:
        once = scores[ONCE]
        lines.append(
            f"exactly once: {ours.wall_s / once.wall_s:.2f} of the rate of at least once, "
            f"{once.size / ours.size:.2f} of its bytes"
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
    bars = axes.barh([CONTENDERS[name] for name, _ in ranked], rates, color=colours)
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
    parser.add_argument("--only", nargs="*", choices=CONTENDERS)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    options = parser.parse_args(arguments)
    pythons = _contenders(os.environ.get("EWMA_PEERS", sys.executable))
    if options.only:
        pythons = {name: python for name, python in pythons.items() if name in options.only}
    with EmbeddedBroker() as broker:
        for series in options.series:
            scores = measure(
                broker.bootstrap_servers, pythons, options.readings, series, options.rounds
            )
            print(f"{options.readings:,} readings of {series:,} series, one worker" + " " * 30)
            print(table(scores), flush=True)
            if series == options.series[0]:
                draw(scores, series, options.picture)


if __name__ == "__main__":
    main()
