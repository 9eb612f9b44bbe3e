"""The runs of a job: which one follows which, and what each is given."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ewma_ops.errors import BrokerError, StateError
from ewma_ops.job.outcome import LOST_HOST, Outcome
from ewma_ops.job.recovery.manifest import Beginning
from ewma_ops.job.recovery.store import RecoveryStore
from ewma_ops.job.report import Counts
from ewma_ops.job.runs import Runs, _Failures
from ewma_ops.job.signs import UNAVAILABLE
from tests.helpers.lookups import Fixed

pytestmark = pytest.mark.slow


class Workers:
    """Stands for what the worker program does: a scripted end for each run."""

    def __init__(self, directory: Path, *codes: int) -> None:
        self.codes = directory / "codes"
        self.codes.write_text(" ".join(map(str, codes)))
        self.state = directory / "state"

    def command(self, place: int, addresses: Sequence[str]) -> list[str]:
        program = (
            "import pathlib, sys; path = pathlib.Path(sys.argv[1]); "
            "code, *rest = path.read_text().split() or ['0']; "
            "path.write_text(' '.join(rest)); sys.exit(int(code))"
        )
        return [sys.executable, "-c", program, str(self.codes)]

    def run(self, signals: Sequence[int] = (), **lookups: Any) -> int:
        looked_up = Fixed(**lookups)
        with RecoveryStore(self.state) as store:
            runs = Runs(self.command, 1, looked_up, signals, store)
            return runs.keep_running(looked_up.identify())


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ewma_ops.job.waiting._FIRST_PAUSE_S", 0.001)


@pytest.mark.usefixtures("_at_once")
def test_a_run_that_failed_is_followed_by_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Workers(tmp_path, 1, 1, UNAVAILABLE, 0).run() == 0
    told = capsys.readouterr().err
    assert told.count("started 1 worker") == 4
    assert "starting again in 0.001 s" in told
    assert "starting again in 0.004 s" in told


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize(
    ("first", "code"),
    [(Counts(read=9, readings=9), 0), (Counts(read=9, letters={"empty": 9}), 1), (None, 1)],
)
def test_the_runs_of_a_job_count_together_where_nothing_could_be_read(
    tmp_path: Path, first: Counts | None, code: int
) -> None:
    """A run that resumes after a failure, with one bad message left, has not read nothing."""
    last = Counts(read=1, letters={"empty": 1})
    script = [["", 1] if first is None else [msgspec.json.encode(first).decode(), 1]]
    script.append([msgspec.json.encode(last).decode(), 0])
    program = (
        "import json, pathlib, sys; from ewma_ops.job.notes import leave_note; "
        "path = pathlib.Path(sys.argv[1]); (note, code), *rest = json.loads(path.read_text()); "
        "path.write_text(json.dumps(rest)); note and leave_note(note.encode()); sys.exit(code)"
    )
    path = tmp_path / "script"
    path.write_text(json.dumps(script))

    def command(place: int, addresses: Sequence[str]) -> list[str]:
        return [sys.executable, "-c", program, str(path)]

    with RecoveryStore(tmp_path / "state") as store:
        runs = Runs(command, 1, Fixed(), [], store, until_end=True)
        assert runs.keep_running({}) == code


@pytest.mark.usefixtures("_at_once")
def test_five_failures_without_progress_are_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Workers(tmp_path, *[1] * 9).run() == 1
    told = capsys.readouterr().err
    assert told.count("started 1 worker") == 5
    assert "giving up: 5 consecutive runs failed without making progress" in told


class Epochs(Workers):
    """Each run ends an epoch, with a snapshot of a position, and then fails."""

    def __init__(self, directory: Path, *positions: int) -> None:
        super().__init__(directory, *positions)

    def command(self, place: int, addresses: Sequence[str]) -> list[str]:
        program = (
            "import pathlib, sqlite3, sys; path = pathlib.Path(sys.argv[1]); "
            "at, *rest = path.read_text().split(); path.write_text(' '.join(rest)); "
            "part = sqlite3.connect(sys.argv[2]); "
            "n, = part.execute('SELECT COUNT(*) FROM exs').fetchone(); "
            "part.execute('INSERT INTO exs VALUES (0, ?, 1, ?)', (n, n + 1)); "
            "part.execute('INSERT INTO fronts VALUES (0, ?, 0, ?)', (n, n + 2)); "
            "snapshot = ('s', 'k', n + 1, at.encode()); "
            "part.execute('INSERT INTO snaps VALUES (0, ?, ?, ?, ?)', snapshot); "
            "part.commit(); sys.exit(1)"
        )
        part = self.state / "parts" / "part-0.sqlite3"
        return [sys.executable, "-c", program, str(self.codes), str(part)]


def test_a_host_that_was_lost_is_no_failure() -> None:
    failures, lost = _Failures(), Outcome(1, "killed", again=LOST_HOST)
    for _ in range(20):
        assert not failures.are_enough(lost, None, 1.0)
        assert failures.pause  # shortly: what is lost at once again is not there
    assert failures.count == 0
    assert not failures.are_enough(lost, None, 1_000.0)
    assert not failures.pause


@pytest.mark.usefixtures("_at_once")
def test_an_epoch_in_which_nothing_moved_is_no_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Epochs(tmp_path, *[7] * 12).run() == 1
    assert capsys.readouterr().err.count("started 1 worker") == 6  # the first one got to 7


@pytest.mark.usefixtures("_at_once")
def test_positions_that_move_are_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Epochs(tmp_path, *range(9), *[9] * 9).run() == 1
    assert capsys.readouterr().err.count("started 1 worker") == 15


@pytest.mark.usefixtures("_at_once")
def test_what_may_heal_is_waited_for_without_end(tmp_path: Path) -> None:
    assert Workers(tmp_path, *[UNAVAILABLE] * 8, 0).run() == 0


@pytest.mark.usefixtures("_at_once")
def test_leaders_are_asked_before_each_run_while_no_worker_is_alive(tmp_path: Path) -> None:
    """What workers sent is settled only then; not where workers elsewhere may have sent more."""
    seen, asked = tmp_path / "seen", 0
    program = (
        "import os, pathlib, sys; path = pathlib.Path(sys.argv[1]); "
        "path.open('a').write(f'{os.getpid()} {sys.argv[2:]}\\n'); sys.exit(1)"
    )

    def answered() -> float:
        nonlocal asked
        asked += 1
        pids = [int(line.split()[0]) for line in seen.read_text().splitlines()]
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
        return 0.25 * asked

    seen.touch()
    with RecoveryStore(tmp_path / "state") as store:
        (store.directory / "machines.json").write_text('["machine-1"]')
        command = [sys.executable, "-c", program, str(seen)]
        given = lambda place, addresses: command  # noqa: E731
        runs = Runs(given, 1, Fixed(leaders_answered=answered), [], store)
        assert runs.keep_running({}) == 1
    orders = [line.split(maxsplit=1)[1] for line in seen.read_text().splitlines()]
    assert orders == ["[]", *(f"['--answered-at={0.25 * n}']" for n in range(2, 6))]


@pytest.mark.usefixtures("_at_once")
def test_a_broker_that_is_away_between_two_runs_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers: list[Any] = [{}, BrokerError("no broker"), BrokerError("no broker"), {}]

    def identify() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert Workers(tmp_path, 1, 0).run(identify=identify) == 0
    assert capsys.readouterr().err.count("ewma: no broker") == 2


@pytest.mark.usefixtures("_at_once")
def test_a_broker_that_is_away_when_the_job_begins_is_waited_for(tmp_path: Path) -> None:
    answers: list[Any] = [BrokerError("no broker"), Beginning({0: 7})]

    def begin() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert Workers(tmp_path, 0).run(find_beginning=begin) == 0
    noted = RecoveryStore(tmp_path / "state").noted
    assert noted is not None
    assert noted.beginning.offsets == {0: 7}


@pytest.mark.usefixtures("_at_once")
def test_a_topic_created_anew_between_two_runs_is_refused(tmp_path: Path) -> None:
    answers = [{"input topic id": "a"}, {"input topic id": "b"}]
    with pytest.raises(StateError, match="input topic id was 'a', now 'b'"):
        Workers(tmp_path, 1, 0).run(identify=lambda: answers.pop(0))


def test_a_fault_of_the_user_is_not_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Workers(tmp_path, 2, 0).run() == 2
    assert capsys.readouterr().err.count("started 1 worker") == 1


def test_a_stop_between_two_runs_is_heard(tmp_path: Path) -> None:
    assert Workers(tmp_path, 1, 0).run(signals=[signal.SIGTERM]) == 1
