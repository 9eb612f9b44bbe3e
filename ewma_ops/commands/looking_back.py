"""``ewma tune`` and ``ewma backtest``: their arguments, of which most say where the past is.

Knows arguments and which of them go together; the work is done elsewhere, and imported when it is
asked for, as the command line imports this module each time.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ewma_ops.commands.arguments import Commands, moment, whole
from ewma_ops.errors import ConfigError
from ewma_ops.lazy import importing

if TYPE_CHECKING:
    from ewma_ops.commands.past import FileColumns, Span

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Declare the commands and their arguments."""
    tune = commands.add_parser("tune", help="find the decay that predicts a history best")
    tune.add_argument("config", type=Path, nargs="?", metavar="CONFIG.toml")
    _add_past(tune)
    tune.add_argument("--by-time", action="store_true", help="without CONFIG: decay by time")
    tune.set_defaults(command=_tune)

    backtest = commands.add_parser(
        "backtest", help="count the alarms that the rules would have raised in a history"
    )
    backtest.add_argument("config", type=Path, metavar="CONFIG.toml")
    _add_past(backtest)
    backtest.add_argument(
        "--false-alarms",
        metavar="RATE",
        help='the rate to calibrate for, such as "1 per week" (the rate of each rule)',
    )
    backtest.add_argument(
        "--write", action="store_true", help="write the calibrated limits into CONFIG.toml"
    )
    backtest.add_argument(
        "--forecast",
        action="store_true",
        help="compare forecasts with the readings that followed, by horizon, instead of alarms",
    )
    backtest.add_argument(
        "--horizons",
        metavar="LIST",
        help='with --forecast: how far ahead, such as "15min,1h", or "1,6,24" readings',
    )
    backtest.add_argument(
        "--season",
        metavar="LENGTH",
        help="with --forecast: compare with a season ago: day, week, a duration, or readings",
    )
    backtest.add_argument(
        "--warm-up",
        type=whole(1),
        metavar="N",
        help="with --forecast: readings of a series before its forecasts are judged (50)",
    )
    backtest.set_defaults(command=_backtest)


def _add_past(parser: argparse.ArgumentParser) -> None:
    """Declare the options that say where past readings come from."""
    parser.add_argument(
        "--file", type=Path, metavar="FILE", help="a Parquet or CSV file, not the input topic"
    )
    for name, when in (("--from", "then or later"), ("--to", "before")):
        parser.add_argument(
            name,
            type=moment,
            dest=f"{name[2:]}_ms",
            metavar="TIME",
            help=f"readings of {when} (of a topic: messages that were written {when})",
        )
    for name, what in (("--value", "values"), ("--series-id", "ids"), ("--time", "event times")):
        parser.add_argument(name, metavar="COLUMN", help=f"column of the file with the {what}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _tune(options: argparse.Namespace) -> int:
    with importing():
        from ewma_ops.commands.tune import tune

    return tune(
        options.config, options.file, *_past(options), by_time=options.by_time, as_json=options.json
    )


def _backtest(options: argparse.Namespace) -> int:
    _refuse_misplaced(options)
    if options.forecast:
        with importing():
            from ewma_ops.commands.backtest_forecasts import WARM_UP, backtest_forecasts

        return backtest_forecasts(
            options.config,
            options.file,
            *_past(options),
            horizons=options.horizons,
            season=options.season,
            warm_up=WARM_UP if options.warm_up is None else options.warm_up,
            as_json=options.json,
        )
    with importing():
        from ewma_ops.commands.backtest import backtest

    return backtest(
        options.config,
        options.file,
        *_past(options),
        false_alarms=options.false_alarms,
        write=options.write,
        as_json=options.json,
    )


def _refuse_misplaced(options: argparse.Namespace) -> None:
    """Refuse options about alarms with --forecast, and those about forecasts without it."""
    of_alarms, of_forecasts = ("false_alarms", "write"), ("horizons", "season", "warm_up")
    what, fix = (
        ("alarms", "leave --forecast out") if options.forecast else ("forecasts", "add --forecast")
    )
    for name in of_alarms if options.forecast else of_forecasts:
        if getattr(options, name) not in (None, False):
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{option} is about {what}: {fix}, or leave {option} out")


def _past(options: argparse.Namespace) -> tuple[FileColumns, Span]:
    from ewma_ops.commands.past import FileColumns, Span

    value = FileColumns().value if options.value is None else options.value
    columns = FileColumns(value, options.series_id, options.time)
    return columns, Span(options.from_ms, options.to_ms)
