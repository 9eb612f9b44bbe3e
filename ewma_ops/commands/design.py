"""``ewma design``: the limit of an alarm for a wanted rate of false alarms, as text or JSON.

Knows arguments and layout; the numbers come from `monitor`, imported when needed, because the
command line always imports this module.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ewma_ops.commands.arguments import Commands
    from ewma_ops.monitor.chart_design import Design

__all__ = ["add_command", "as_json", "as_text"]


def add_command(commands: Commands) -> None:
    """Declare the command and its arguments."""
    parser = commands.add_parser(
        "design", help="the limit of an alarm for a wanted rate of false alarms"
    )
    decay = parser.add_mutually_exclusive_group(required=True)
    for name in ("beta", "alpha", "span", "com"):
        decay.add_argument(f"--{name}", type=float, metavar="X", help=f"the decay, by its {name}")
    parser.add_argument(
        "--false-alarms",
        required=True,
        metavar="RATE",
        help='the wanted rate, such as "1 per 500 readings" or "1 per week"',
    )
    parser.add_argument("--readings", metavar="RATE", help='rate of readings, such as "100 per s"')
    parser.add_argument(
        "--exact", action="store_true", help="limits that are exact from the first reading on"
    )
    parser.add_argument(
        "--rule", default="level", choices=("level", "spread"), help="its kind (default: level)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command=_run)


_LEVEL_HEADS = (
    "  lasting shift          readings until the alarm",
    "  (standard deviations)  (average)",
)
_SPREAD_HEADS = (
    "  standard deviation     readings until the alarm",
    "  (times as large)       (average)",
)


def _run(options: argparse.Namespace) -> int:
    """Print the design that was asked for."""
    from ewma_ops.monitor.chart_design import design
    from ewma_ops.monitor.rates import readings_per_false_alarm
    from ewma_ops.stats.decay import Decay

    given = {name: getattr(options, name) for name in ("beta", "alpha", "span", "com")}
    decay = Decay(**{name: value for name, value in given.items() if value is not None})
    every = readings_per_false_alarm(options.false_alarms, options.readings, given_by="--readings")
    found = design(decay, every, exact=options.exact, kind=options.rule)
    print(as_json(found) if options.json else as_text(found))
    return 0


def as_json(found: Design) -> str:
    """Return a design as one JSON object; delays are by shift, as text."""
    import msgspec

    delays = {f"{shift:g}": round(delay, 3) for shift, delay in found.delays.items()}
    return msgspec.json.encode(found._asdict() | {"delays": delays}).decode()


def as_text(found: Design) -> str:
    """Return a design as lines for people."""
    every = f"{found.readings_per_false_alarm:,.6g}"
    plural = "" if found.limits == "upper" else "s"
    lines = [
        f"limit {found.limit:.6f} standard errors ({found.limits} limit{plural})",
        f"  beta {found.beta:.6g}, 1 false alarm per {every} readings",
        "",
        *(_SPREAD_HEADS if found.limits == "upper" else _LEVEL_HEADS),
    ]
    lines += [f"  {shift:>21g}  {delay:>9,.1f}" for shift, delay in found.delays.items()]
    lines += [
        "",
        "This holds for independent, normal readings. Real series alarm more often:",
        "calibrate the limit on history before you rely on its rate.",
    ]
    return "\n".join(lines)
