"""``ewma plan``: workers, shards, partitions, memory and disk for a rate and a number of series.

Knows arguments and layout; the numbers come from `job.capacity`, imported when needed, because the
command line always imports this module.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ewma_ops.commands.arguments import Commands, whole

if TYPE_CHECKING:
    from ewma_ops.job.capacity import Plan

__all__ = ["add_command", "as_json", "as_text"]

_LONGEST_ID = 10_000
"""Thousands of ids of at most this length are made, to measure their memory."""


def add_command(commands: Commands) -> None:
    """Declare the command and its arguments."""
    parser = commands.add_parser("plan", help="how many workers, shards and partitions a job needs")
    parser.add_argument(
        "config",
        type=Path,
        nargs="?",
        metavar="CONFIG.toml",
        help="count the state and the CPU of its statistics and rules; without it, those of a mean",
    )
    for name, what in (
        ("rate", "readings a second, at the busiest time"),
        ("series", "how many series there will be"),
    ):
        parser.add_argument(
            f"--{name}", type=whole(1, 10**12), required=True, metavar="N", help=what
        )
    parser.add_argument(
        "--id-bytes",
        type=whole(1, _LONGEST_ID),
        default=16,
        metavar="N",
        help="length of a series id (16)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    """Print the plan that was asked for."""
    from ewma_ops.job.capacity import further_us, plan, state_sizes
    from ewma_ops.settings.load import load
    from ewma_ops.stats.decay import Decay
    from ewma_ops.stats.smoothing import Smoothing
    from ewma_ops.table.smoothing_set import SmoothingSet

    alarms, interval_s, further = None, 10.0, 0.0
    if options.config is None:
        smoothing_set = SmoothingSet.of(Smoothing(Decay(beta=0.9)))
    else:
        settings = load(options.config)
        smoothing_set = settings.smoothing_set
        alarms = None if settings.alarms is None else settings.alarms.rules
        if settings.recovery is not None:
            interval_s = settings.recovery.interval.total_seconds()
        further = further_us(smoothing_set, alarms, options.series)
    sizes = state_sizes(smoothing_set, alarms, options.id_bytes)
    found = plan(options.rate, options.series, sizes, interval_s, further)
    print(as_json(found) if options.json else as_text(found))
    return 0


def as_json(found: Plan) -> str:
    """Return a plan as one JSON object."""
    import msgspec

    return msgspec.json.encode(found._asdict()).decode()


def as_text(found: Plan) -> str:
    """Return a plan as lines for people."""
    total_mb = found.workers * found.memory_mb + found.launcher_mb
    written = f"{found.written_mb_s:,.1f} MB a second written"
    busy = f"{found.busy:.0%}" if found.busy >= 0.01 else "less than 1%"
    per_worker = float(f"{found.most_per_worker:.2g}")
    most = f"readings a second at most, of {found.cpu_us:.2g} us of CPU each"
    return "\n".join(
        [
            f"{found.rate:,.0f} readings a second of {found.series:,} series",
            "",
            f"  workers           {found.workers:>10,}   each {busy} of a core",
            f"  one worker takes  {per_worker:>10,.0f}   {most}",
            f"  shards            {found.shards:>10,}   permanent: set it before the first run",
            f"  partitions        {found.partitions:>10,}   of the input, and of the output topic",
            f"  memory            {total_mb:>7,.0f} MB   {found.memory_mb:,.0f} a worker",
            f"  snapshot          {found.snapshot_mb:>7,.0f} MB   of all shards",
            f"  recovery store    {found.store_mb:>7,.0f} MB   {written}",
            "",
            "Shards and partitions leave room for two or four times as many workers. A worker is",
            "planned at half a core, to catch up. Measured with JSON in and out and one statistic,",
            "exactly once, on a shared machine: run a share of your load before you rely on it.",
            *_beyond(found),
        ]
    )


def _beyond(found: Plan) -> list[str]:
    if found.further_us == 0.0:
        return []
    us = f"{found.further_us:.2g} us of the CPU"
    return [f"Statistics and rules of the file add {us}, measured here on made-up readings."]
