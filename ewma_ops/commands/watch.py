"""`ewma watch`: a job's live page.

Knows the arguments and what is told; must not know how a page is served.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ewma_ops.commands.design import Commands
from ewma_ops.stats.durations import duration_ms

if TYPE_CHECKING:
    from ewma_ops.settings.bind import Bind

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add the command to the parser."""
    watch = commands.add_parser("watch", help="serve a live page of a running job")
    watch.add_argument("config", type=Path, metavar="CONFIG.toml")
    watch.add_argument(
        "--bind",
        type=_bind,
        metavar="HOST:PORT",
        help="where to serve it (watch.bind, 127.0.0.1:8765); port 0 for any that is free",
    )
    watch.add_argument(
        "--history", type=_history, metavar="TIME", help="how far back to begin (watch.history, 1h)"
    )
    watch.set_defaults(command=_watch)


def _bind(text: str) -> Bind:
    from ewma_ops.settings.bind import bind_of

    try:
        return bind_of(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a host and a port, such as 127.0.0.1:8765"
        ) from None


def _history(text: str) -> float:
    try:
        return duration_ms(text) / 1000
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _watch(options: argparse.Namespace) -> int:
    from ewma_ops.settings.load import load
    from ewma_ops.watch.server import serve

    settings = load(options.config)
    own = settings.watch
    try:
        return serve(
            settings,
            options.config,
            _tell,
            bind=options.bind or own.bind,
            hosts=own.hosts,
            token=own.token,
            history_s=own.history.total_seconds() if options.history is None else options.history,
        )
    except KeyboardInterrupt:  # uvicorn hands on what ended it
        return 0


def _tell(address: str) -> None:
    print(f"watching at {address} (Ctrl-C ends it)", flush=True)
