"""Several readings in a message, through the whole job: under kills none is lost, none doubled."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path

from tests.helpers.brokers import Record, produce
from tests.helpers.jobs import START_MS, Job, Watch, ewma
from tests.helpers.patience import PATIENCE_S

MESSAGES, EACH, SERIES = 400, 5, 7
INPUT = {
    "records": "data[]",
    "series_id": ["^.site", "id"],
    "time": "t",
    "value": "v",
    "numbers": "text",
}


def message(place: int) -> Record:
    """Return a message of five readings, of which one is none in every third message."""
    readings = [
        {"id": f"s{place % SERIES}", "t": START_MS + EACH * place + i, "v": f"{place}.{i}"}
        for i in range(EACH)
    ]
    if place % 3 == 0:
        readings[2]["v"] = "12 V"
    value = json.dumps({"site": "x", "data": readings})
    return Record(value.encode(), key=b"s%d" % (place % SERIES))


def test_kills_lose_no_reading_of_a_message_and_double_none(broker: str, tmp_path: Path) -> None:
    job = Job(broker, tmp_path)
    bad = len(range(0, MESSAGES, 3))
    good = MESSAGES * EACH - bad
    produce(broker, job.input, map(message, range(MESSAGES // 2)))
    job.configure(input={**INPUT, "stop": "never"}, recovery={"interval": "300ms"})
    with Watch(broker, job.output) as watch:
        for so_far in (1, good // 4, good // 2 - 50):
            with job.running() as run:
                watch.until(so_far)
                run.send_signal(signal.SIGKILL)
                run.communicate(timeout=PATIENCE_S)
        produce(broker, job.input, map(message, range(MESSAGES // 2, MESSAGES)))
        job.configure(input=INPUT)
        job.run()
        watch.until(good)
        events = [(record.key, json.loads(record.value)["time"]) for record in watch.records]
    assert len(events) == len(set(events)) == good
    letters = job.letters(bad)
    told = [dict(letter.headers) for letter in letters]
    positions = Counter((one["ewma-partition"], one["ewma-offset"]) for one in told)
    assert len(positions) == len(told) == bad
    assert {one["ewma-ordinal"] for one in told} == {b"2"}
    verified = ewma("verify", str(job.path))
    assert (verified.returncode, verified.stdout.splitlines()[-1]) == (0, "exactly once")
