"""`ewma watch`, `ewma top` and `ewma plot`: a job in the browser, in the terminal, as a file.

Knows the arguments and what is printed; must not know how a page is served.
"""

from __future__ import annotations

import argparse
import difflib
import gc
import importlib.util
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ewma_ops.commands.arguments import Commands, duration, whole
from ewma_ops.commands.terminal import painted
from ewma_ops.errors import BrokerError, ConfigError
from ewma_ops.job.allocator import return_freed_memory
from ewma_ops.lazy import importing
from ewma_ops.watch.choices import MOST_OPEN, MOST_ROWS, SORTS

if TYPE_CHECKING:
    from ewma_ops.settings.bind import Bind
    from ewma_ops.settings.model import Settings
    from ewma_ops.watch.server import Watching
    from ewma_ops.watch.view import Looks, View

__all__ = ["add_command"]

_LOOK_S = 0.05
_WIDE = 1600
_TOKEN = "EWMA_WATCH_TOKEN"


def add_command(commands: Commands) -> None:
    """Add the commands to the parser."""
    watch = commands.add_parser("watch", help="serve a live page of a running job")
    watch.add_argument("config", type=Path, metavar="CONFIG.toml")
    watch.add_argument(
        "--bind",
        type=_bind,
        metavar="HOST:PORT",
        help="where to serve it (watch.bind, 127.0.0.1:8765); port 0 for any that is free",
    )
    _add_history(watch)
    watch.set_defaults(command=_watch)

    top = commands.add_parser("top", help="show a running job in the terminal")
    top.add_argument("config", type=Path, metavar="CONFIG.toml", nargs="?")
    top.add_argument(
        "--connect", metavar="URL",
        help="instead of a file: the address of another ewma watch; its token from "
        f"{_TOKEN}, or behind #token=",
    )  # fmt: skip
    _add_history(top)
    top.add_argument("--filter", default="", metavar="TEXT", help="text within ids, or a pattern")
    top.add_argument("--sort", choices=SORTS, default="name", help="what to sort by (name)")
    top.add_argument("--once", action="store_true", help="print a plain table, and exit")
    top.add_argument(
        "--rows", type=whole(1, MOST_ROWS), default=40, metavar="N", help="with --once (40)"
    )
    top.set_defaults(command=_top)

    plot = commands.add_parser("plot", help="draw series of a job into a file")
    plot.add_argument("config", type=Path, metavar="CONFIG.toml")
    plot.add_argument(
        "--series", required=True, action="append", metavar="ID", help="may be repeated"
    )
    plot.add_argument(
        "-o", "--output", type=Path, default=Path("plot.html"), metavar="FILE",
        help="a file that ends in .html or .png (plot.html)",
    )  # fmt: skip
    _add_history(plot)
    plot.set_defaults(command=_plot)


def _add_history(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--history", type=duration, metavar="TIME", help="how far back to begin (watch.history, 1h)"
    )


def _bind(text: str) -> Bind:
    from ewma_ops.settings.bind import bind_of

    try:
        return bind_of(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a host and a port, such as 127.0.0.1:8765"
        ) from None


def _history_s(options: argparse.Namespace, settings: Settings) -> float:
    """Return how far back to begin: as it is given, or as the configuration says."""
    own: float | None = options.history
    return settings.watch.history.total_seconds() if own is None else own


def _watch(options: argparse.Namespace) -> int:
    with importing():
        from ewma_ops.settings.load import load
        from ewma_ops.watch.server import serve

    settings = load(options.config)
    own = settings.watch
    _hold_little()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return serve(
            settings,
            options.config,
            _tell,
            bind=own.bind if options.bind is None else options.bind,
            hosts=own.hosts,
            token=own.token,
            history_s=_history_s(options, settings),
        )
    except KeyboardInterrupt:  # uvicorn passes on the signal that ended it
        return 0


def _hold_little() -> None:
    """Return memory to the system once it is free; call it before threads start.

    Nothing loaded so far becomes garbage, so collections skip it: they are short, and run before
    much garbage has gathered.
    """
    return_freed_memory()
    gc.collect()
    gc.freeze()


def _tell(address: str) -> None:
    print(f"watching at {address} (Ctrl-C ends it)", flush=True)


def _top(options: argparse.Namespace) -> int:
    if (options.config is None) == (options.connect is None):
        raise ConfigError("ewma top needs either CONFIG.toml or --connect URL")
    if not options.once and importlib.util.find_spec("textual") is None:
        raise ConfigError(
            "ewma top needs textual: install with pip install 'ewma-ops[top]', or give --once"
        )
    if not (options.once or all(one.isatty() for one in (sys.stdin, sys.stdout, sys.stderr))):
        raise ConfigError("ewma top needs a terminal: give --once for a plain table")
    from ewma_ops.watch.view import View

    view = View(q=options.filter, sort=options.sort, desc=options.sort != "name", rows=options.rows)
    return _top_here(options, view) if options.connect is None else _top_elsewhere(options, view)


def _top_here(options: argparse.Namespace, view: View) -> int:
    with importing():
        from ewma_ops.settings.load import load
        from ewma_ops.watch.server import watching

    settings = load(options.config)
    _hold_little()
    with watching(settings, _history_s(options, settings), logs=False) as watched:
        if options.once:
            _wait(watched)
        _look(watched.looker(show_brokers=True), options.config.name, view, once=options.once)
    return 0


def _top_elsewhere(options: argparse.Namespace, view: View) -> int:
    from ewma_ops.watch.remote import page_address, watching_page

    if options.history is not None:
        raise ConfigError(
            "--history goes with a file: a page that runs already decides how far back it begins"
        )
    address = page_address(options.connect, os.environ.get(_TOKEN))
    with watching_page(address, view) as looker:
        while options.once and looker.head()["state"] == "reading":
            time.sleep(_LOOK_S)
        _look(looker, str(address), view, once=options.once)
    return 0


def _look(looker: Looks, name: str, view: View, *, once: bool) -> None:
    """Print the current state, or show it as it changes."""
    if once:
        _print(looker, view)
        return
    from ewma_ops.watch.terminal import Top

    Top(looker, name, view).run()


def _wait(watched: Watching) -> None:
    """Wait until everything that was there is read."""
    status = watched.status
    while not status.is_caught_up:
        if status.trouble:
            raise BrokerError(status.trouble)
        if status.is_missing:
            raise BrokerError(status.NO_TOPIC)
        time.sleep(_LOOK_S)


def _print(looker: Looks, view: View) -> None:
    from ewma_ops.commands.terminal import table
    from ewma_ops.watch.plain import cells, head_line, heads

    found = looker.table(view)
    width = shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 160
    print(head_line(looker.head()))
    shown = heads(found)
    right = {place for place, is_number in enumerate(shown.values()) if is_number}
    for line in table([*shown], cells(found), width, right):
        print(line)
    if found["matched"] > len(found["ids"]):
        print(f"and {found['matched'] - len(found['ids']):,} more")


def _no_such_series(series_id: str, known: list[str], history: str) -> ConfigError:
    near = difflib.get_close_matches(series_id, known, 1)
    fix = f"did you mean {near[0]!r}? Or" if near else "correct the name, or"
    return ConfigError(
        f"no event of series {series_id!r} within {history}: {fix} give a longer --history"
    )


def _plot(options: argparse.Namespace) -> int:
    with importing():
        from ewma_ops.columns.ticks import shown_duration
        from ewma_ops.settings.load import load
        from ewma_ops.watch.plot import as_html, as_png
        from ewma_ops.watch.server import about, watching
        from ewma_ops.watch.view import View

    target = options.output
    if target.suffix not in (".html", ".png"):
        raise ConfigError(f"--output {target}: give a file that ends in .html or .png")
    asked = tuple(dict.fromkeys(options.series))
    if len(asked) > MOST_OPEN:
        raise ConfigError(f"{len(asked)} series: give at most {MOST_OPEN}")
    settings = load(options.config)
    history_s = _history_s(options, settings)
    with watching(settings, history_s, logs=False) as watched:
        _wait(watched)
        view = View(open=asked, width=_WIDE)
        looker = watched.looker()
        while True:
            charts = looker.charts(view)
            if unknown := [one["id"] for one in charts if not one["known"]]:
                known = looker.table(View(rows=MOST_ROWS))["ids"]
                raise _no_such_series(unknown[0], known, shown_duration(1000 * history_s))
            if all(one["is_read"] for one in charts):
                break
            time.sleep(_LOOK_S)
        measure = about(settings, options.config, history_s)["measures"][0]
    title = ", ".join(asked)
    if target.suffix == ".png":
        if not as_png(charts, measure, title, target):
            message = "the font of the picture lacks characters of the ids: a .html file has them"
            print(painted(f"warning: {message}", "yellow", sys.stderr), file=sys.stderr)
    else:
        try:
            target.write_text(as_html(charts, measure, title), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write {target}: {error.strerror}") from None
    print(f"{sum(one['readings'] for one in charts):,} readings in {target}")
    return 0
