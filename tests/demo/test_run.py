"""The demo as a whole, on the embedded broker and the real flow, only faster."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from ewma_ops.demo import demo, flow_process
from ewma_ops.demo.data import RecordedReading, recorded_readings, synthetic_ticks
from ewma_ops.demo.run import run_demo
from ewma_ops.errors import ConfigError, EwmaError

pytestmark = pytest.mark.broker


@pytest.fixture(autouse=True)
def leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    started: list[int] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self.pid)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    for group in started:
        with pytest.raises(ProcessLookupError):
            os.killpg(group, 0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replay the first readings only, and as fast as they go; two malformed ones among them."""
    monkeypatch.setattr(demo, "recorded_readings", lambda: islice(recorded_readings(), 7000))
    monkeypatch.setattr(demo, "READINGS_PER_S", 1e6)


def test_whole_replay_is_right_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "READINGS_PER_S", 1e6)
    assert run_demo(forever=False, directory=tmp_path) == 0
    told = capsys.readouterr().out
    assert "45,600 readings in, 45,600 events out" in told
    assert "4 of 4 faults raised an alarm; 0 alarms without a fault, 1.2 expected by design" in told
    assert "spike: sea-surface-faulty is far above what is expected: value 12.77" in told
    assert "level: sea-surface-faulty is high: average" in told
    assert "stuck: sea-surface-faulty is the same for 30 readings in a row: " in told
    assert "12 malformed messages in, 12 dead letters out" in told
    assert "All is well" in told
    assert "\x1b" not in told
    assert (tmp_path / "picture.png").stat().st_size > 100_000
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "demo.toml",
        "flow.log",
        "picture.png",
    ]


@pytest.mark.usefixtures("quick")
def test_forever_goes_on_with_synthetic_ticks_until_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupting(clock: Callable[[], int]) -> Iterator[RecordedReading]:
        yield from islice(synthetic_ticks(clock), 100)
        os.kill(os.getpid(), signal.SIGINT)
        yield from synthetic_ticks(clock)

    monkeypatch.setattr(demo, "synthetic_ticks", interrupting)
    assert run_demo(forever=True, directory=tmp_path) == 0
    told = capsys.readouterr().out
    assert "synthetic-01" in told
    assert "2 malformed messages in, 2 dead letters out" in told
    assert "All is well" in told


@pytest.mark.usefixtures("quick")
def test_the_live_page_is_there_while_the_demo_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []
    address = ""

    def looking(clock: Callable[[], int]) -> Iterator[RecordedReading]:
        nonlocal address
        address = (tmp_path / "watch.log").read_text().split(" at ")[1].split(" ")[0]
        with urlopen(address) as page:
            seen.append(page.read().decode())
        os.kill(os.getpid(), signal.SIGINT)
        yield from synthetic_ticks(clock)

    monkeypatch.setattr(demo, "synthetic_ticks", looking)
    assert run_demo(forever=True, directory=tmp_path, watch=True) == 0
    assert "<title>ewma watch</title>" in seen[0]
    assert f"see it live: {address}" in capsys.readouterr().out
    with pytest.raises(URLError):
        urlopen(address)


def test_interrupted_before_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threading.Timer(3, os.kill, (os.getpid(), signal.SIGINT)).start()
    assert run_demo(forever=False, directory=tmp_path) == 130
    assert "interrupted" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


@pytest.mark.usefixtures("quick")
def test_wrong_averages_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "BETA", 0.9)  # of the plain loop; the flow's is another
    assert run_demo(forever=False, directory=tmp_path) == 1
    told = capsys.readouterr().out
    assert "WRONG  AAPL: the last average is not that of a plain loop" in told
    assert "All is well" not in told


@pytest.mark.usefixtures("quick")
def test_flow_that_ends_by_itself_is_told_with_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        flow_process, "_CONFIG", flow_process._CONFIG.replace("beta = {beta}", "beta = 2")
    )
    with pytest.raises(EwmaError, match=r"(?s)ended unexpectedly with code 2.*flow\.log.*beta"):
        run_demo(forever=False, directory=tmp_path)


def test_missing_extra_names_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "rich" else name)
    with pytest.raises(ConfigError, match=r"needs rich: .*pip install 'ewma-ops\[demo\]'"):
        run_demo(forever=False, directory=tmp_path)


def test_state_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with pytest.raises(ConfigError, match="not the demo's: give the demo another directory"):
        run_demo(forever=False, directory=tmp_path)
    assert (tmp_path / "state").exists()


def test_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write to .*file"):
        run_demo(forever=False, directory=tmp_path / "file")
