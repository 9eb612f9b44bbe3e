"""``ewma explain`` on a real broker: from an alarm's id to the readings that raised it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ewma_ops.columns.murmur2 import murmur2
from ewma_ops.columns.origins import topic_of
from ewma_ops.commands.cli import main
from ewma_ops.commands.explain import parse_alarm_id
from ewma_ops.errors import ConfigError
from ewma_ops.job.identity import identify
from ewma_ops.settings.load import load
from tests.helpers.brokers import Record, make_topic, produce, read_all
from tests.helpers.jobs import START_MS, Job, Reading, as_record

N = 900
SHIFT = 6
Out = pytest.CaptureFixture[str]


@pytest.fixture
def job(embedded: str, tmp_path: Path) -> Job:
    job = Job(embedded, tmp_path, partitions=(2, 1, 1))
    alarms = make_topic(embedded, 1, "alarms")
    level, hot = {"limit": 3.0}, {"kind": "bounds", "above": 25.0}
    job.configure(alarms={"topic": alarms, "level": level, "hot": hot})
    return job


def filled(job: Job, step_ms: int = 1_000) -> tuple[list[float], int]:
    """Send two series to one partition; return the values of one, and its newest's offset."""
    random = np.random.default_rng(1)
    own = [*random.normal(20, 1, N - SHIFT), *[24.0] * SHIFT]
    own = [float(value) for value in own]
    records = []
    for i, value in enumerate(own):
        time_ms = START_MS + step_ms * i
        for name, one in (("other", 5.0 + i % 7), ("kitchen", value)):
            record = as_record(Reading(name, time_ms, one))
            records.append(Record(record.value, record.key, partition=1))
    produce(job.bootstrap, job.input, records)
    return own, len(records) - 1


def alarm_id(job: Job, rule: str, offset: int) -> str:
    identity = identify(load(job.path), {}, letters=False)
    topic = topic_of(identity.inputs.number(job.input, 1))
    return f"{rule}-1-{offset}-{murmur2(identity.alarms.encode()) ^ topic:08x}"


def test_the_readings_that_raised_an_alarm(job: Job, capsys: Out) -> None:
    own, offset = filled(job)
    name = alarm_id(job, "level", offset)
    settings = load(job.path)
    assert settings.alarms is not None
    told = {"alarm_id": name, "transition": "raised", "summary": "kitchen is high: average 21.9"}
    noise = [{**told, "alarm_id": f"{name}0"}, {**told, "transition": "cleared", "summary": "x"}]
    lines = [name.encode(), *(json.dumps(one).encode() for one in (*noise, told))]
    produce(job.bootstrap, settings.alarms.topic, [Record(line, b"kitchen") for line in lines])

    assert main(["explain", name, str(job.path), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (found["series_id"], found["same_rules"], found["record"]) == ("kitchen", True, told)
    shares = found["explanation"]["shares"]
    assert [one["value"] for one in shares] == own[::-1]
    assert [one["offset"] for one in shares[:2]] == [offset, offset - 2]
    assert shares[0]["time"] == START_MS + 1_000 * (N - 1)
    weights = np.array([one["weight"] for one in shares])
    assert weights == pytest.approx(0.1 * 0.9 ** np.arange(N) / (1 - 0.9**N))
    used = np.array([one["used"] for one in shares])
    explained = found["explanation"]
    assert explained["measured"] == pytest.approx(float(weights @ used), rel=4e-15)
    assert explained["score"] > 3.0
    assert explained["measured"] > explained["upper"]

    assert main(["explain", name, str(job.path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{name}: rule level on kitchen"
    assert said[1] == "  kitchen is high: average 21.9"
    assert said[2].startswith(f"  computed again: {explained['measured']:.6g}, expected ")
    assert "readings hold" in said[3]
    assert len(said) == 18


def test_what_is_computed_again_is_what_the_flow_has_seen(job: Job, capsys: Out) -> None:
    """From end to end: the flow raises the alarm, and its record says the same to the bit."""
    filled(job)
    job.run()
    settings = load(job.path)
    assert settings.alarms is not None
    every = read_all(job.bootstrap, settings.alarms.topic, 1)
    records = [json.loads(one.value) for one in every]
    raised = [one for one in records if (one["rule"], one["transition"]) == ("level", "raised")]
    assert raised
    record = raised[-1]
    assert main(["explain", record["alarm_id"], str(job.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["record"], found["same_rules"], found["whole_history"]) == (record, True, True)
    explained = found["explanation"]
    of_record = {"ewma": "measured", "expected": "expected", "score": "score", "std": "std",
                 "lower": "lower", "upper": "upper", "n_eff": "n_eff"}  # fmt: skip
    for theirs, ours in of_record.items():
        assert explained[ours] == record[theirs], theirs
    assert explained["shares"][0]["value"] == record["value"]
    assert explained["shares"][0]["offset"] == record["offset"]


def test_every_rule_about_standard_errors_is_computed_again(job: Job, capsys: Out) -> None:
    settings = load(job.path)
    assert settings.alarms is not None
    baselines: dict[str, dict[str, object]] = {
        "given": {"baseline": {"mean": 20.0, "std": 1.0}},
        "frozen": {"baseline": {"readings": 300}},
        "memory": {"memory": "ar1"},
        "outlook": {"baseline": "outlook"},
        "daily": {"season": "day"},
        "both": {"season": "day", "memory": "ar1", "utc_offset": "-08:00"},
    }
    rules: dict[str, object] = {
        **{name: {"kind": "level", "limit": 3.0, **own} for name, own in baselines.items()},
        "spread": {"limit": 2.5},
        "scatter": {"kind": "spread", "limit": 2.5, "season": "day"},
        "single": {"kind": "spike", "limit": 3.0, "season": "day"},
    }
    job.configure(alarms={"topic": settings.alarms.topic, **rules})
    filled(job, step_ms=3_600_000)
    job.run()
    every = read_all(job.bootstrap, settings.alarms.topic, len(rules))
    records = [json.loads(one.value) for one in every]
    newest = {one["rule"]: one for one in records if one["transition"] == "raised"}
    assert newest.keys() == rules.keys()
    for record in newest.values():
        assert main(["explain", record["alarm_id"], str(job.path), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)["explanation"]
        keys = ("expected", "score", "std", "lower", "upper", "n_eff")
        told = {key: found[key] for key in keys if found[key] is not None}
        assert told == {key: record[key] for key in keys if key in record}, record["rule"]
        whole = 1.0 if record["kind"] != "spike" else found["shares"][0]["share"]
        assert sum(one["share"] for one in found["shares"]) == pytest.approx(whole)


def test_an_alarm_of_other_rules_is_explained_by_these(job: Job, capsys: Out) -> None:
    _, offset = filled(job)
    assert main(["explain", f"level-1-{offset}-00000000", str(job.path)]) == 0
    said = capsys.readouterr().out
    assert "the alarms topic no longer has its record" in said
    assert "it was raised with another configuration" in said
    assert main(["explain", f"level-1-{offset}-00000000", str(job.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["same_rules"] is False


def test_a_rule_about_the_reading_itself_shows_it(job: Job, capsys: Out) -> None:
    own, offset = filled(job)
    assert main(["explain", alarm_id(job, "hot", offset), str(job.path)]) == 0
    said = capsys.readouterr().out
    assert "a rule bounds looks at the reading itself" in said
    assert f"2023-11-14T22:28:19.000Z  {own[-1]:.6g}" in said


def test_a_reading_that_a_rule_did_not_judge_is_said_so(job: Job, capsys: Out) -> None:
    filled(job)
    assert main(["explain", alarm_id(job, "level", 101), str(job.path)]) == 0
    assert (
        "  by all 51 readings up to there the rule does not judge it; the"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("what", "is not the id of an alarm"),
        ("level-0-1", "is not the id of an alarm"),
        ("spike-1-5-00000000", "there is no rule 'spike' in [alarms]; there are level, hot"),
        (f"level-1-{2**63 - 1}-00000000", "its offset is too large"),
        ("level-7-5-00000000", "has no partition 7"),
        ("level-1-99999-00000000", "has no such reading"),
        ("level-1-5-3-00000000", "has no such reading"),
    ],
)
def test_what_is_no_alarm_is_a_sentence(job: Job, capsys: Out, given: str, says: str) -> None:
    filled(job)
    assert main(["explain", given, str(job.path)]) == 2
    out, err = capsys.readouterr()
    assert (out, says in err, "Traceback" in err) == ("", True, False), err


def test_parts_of_an_id() -> None:
    assert parse_alarm_id(" too_hot-3-18-2-0000000a ") == ("too_hot", 3, 18, 2, 10)
    for text in ("a-1-2", "1-1-2-00000000", "a-1-2-0000000g", "a-1-2-3-4-00000000", ""):
        with pytest.raises(ConfigError, match="is not the id of an alarm"):
            parse_alarm_id(text)
