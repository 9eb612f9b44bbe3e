"""Another `output.delivery` on the store of a job: right, or refused with a sentence."""

from __future__ import annotations

import itertools
import signal
from pathlib import Path

import pytest

from ewma_ops.connectors import KafkaSink
from ewma_ops.connectors.sink.ledger import LedgerState
from ewma_ops.errors import StateError
from tests.helpers.jobs import Job, Watch, assert_told, ewma, made_up
from tests.helpers.once import COMMITTED, KEY, got, made, runs_of, values
from tests.helpers.patience import PATIENCE_S

DELIVERIES = ("exactly-once", "transactional", "at-least-once")
IN_PLACE = ("exactly-once", "transactional")


@pytest.mark.parametrize(
    ("before", "after"),
    [pair for pair in itertools.permutations(DELIVERIES, 2) if pair != IN_PLACE],
)
def test_a_delivery_that_cannot_be_changed_in_place_is_refused(
    embedded: str, tmp_path: Path, before: str, after: str
) -> None:
    job = Job(embedded, tmp_path)
    job.configure(output={"delivery": before})
    job.run()
    job.configure(output={"delivery": after})
    told = f"delivery was '{before}', now '{after}'. Set the old value again; to change it, start"
    assert_told(ewma("run", str(job.path)), 2, told, "another output topic")
    job.configure(output={"delivery": before})
    job.run()


def test_a_job_becomes_transactional_in_the_middle_of_an_epoch(kafka: str, tmp_path: Path) -> None:
    """What the run before wrote without a snapshot is neither lost nor doubled; nor way back."""
    readings = made_up(900, series=12)
    job = Job(kafka, tmp_path)
    job.configure(input={"stop": "never"}, recovery={"interval": "1min"})
    job.send(readings[:600])
    with job.running() as run, Watch(kafka, job.output) as watch:
        watch.until(300)
        run.send_signal(signal.SIGKILL)
        run.communicate(timeout=PATIENCE_S)
    job.configure(output={"delivery": "transactional"})
    job.send(readings[600:])
    job.run()
    found = ewma("verify", str(job.path))
    assert (found.returncode, found.stdout.splitlines()[-1]) == (0, "exactly once"), found.stdout
    assert "900 readings, 0 dead letters, 900 events" in found.stdout
    job.configure()
    assert_told(ewma("run", str(job.path)), 2, "delivery was 'transactional', now 'exactly-once'")


def test_a_sink_goes_on_with_transactions_after_it_has_settled(
    kafka: str, topic: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = topic(kafka)  # type: ignore[operator]
    with runs_of(kafka, name, "exactly-once") as plain:
        first = plain.begin(None)
        first.write_batch([made(0, 10)])
        state = first.snapshot()
        first.write_batch([made(10, 20)])
        first.snapshot()  # lost
    assert not LedgerState.opened(state).fenced
    waited: list[float] = []
    recall = KafkaSink._recall

    def noted(sink: KafkaSink, *arguments: object) -> object:
        waited.append(sink._quiet_at)
        return recall(sink, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(KafkaSink, "_recall", noted)
    with runs_of(kafka, name, "transactional") as fenced:
        second = fenced.begin(state)
        assert waited[-1] > 0
        second.write_batch([made(10, 30)])
        state = second.snapshot()
        assert LedgerState.opened(state).fenced
        assert got(kafka, name, 30, **COMMITTED) == values(0, 30)
    with (
        runs_of(kafka, name, "exactly-once") as again,
        pytest.raises(StateError, match='set delivery = "transactional" again'),
    ):
        again.begin(state)
    assert KEY == "000000"
