"""The configuration file: what each key means, and how every mistake is told."""

from __future__ import annotations

import pickle
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ewma_ops.errors import ConfigError
from ewma_ops.settings.describe import describe
from ewma_ops.settings.load import load
from ewma_ops.settings.model import Settings
from ewma_ops.stats.composites import Composite, bollinger, dema, macd, risk_metrics, tema
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.season import Season
from ewma_ops.stats.smoothing import Smoothing
from tests.helpers.minimal import MINIMAL


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flow.toml"


def loaded(path: Path, text: str) -> Settings:
    path.write_text(text, encoding="utf-8")
    return load(path)


def refused(path: Path, text: str) -> str:
    """Return what is said of a file with mistakes, without the path in front."""
    with pytest.raises(ConfigError) as caught:
        loaded(path, text)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert len(message.splitlines()) <= 20
    return message.removeprefix(str(path)).removeprefix(": ")


def with_key(table: str, line: str) -> str:
    """Put a line into a table of the minimal file; a key that is there already is replaced."""
    key = line.split("=", maxsplit=1)[0].strip()
    tables = MINIMAL if f"[{table}]" in MINIMAL else f"{MINIMAL}[{table}]\n"
    before, after = tables.split(f"[{table}]\n")
    body, bracket, rest = after.partition("[" if "\n[" in after else "\0")
    body = "".join(kept + "\n" for kept in body.splitlines() if not kept.startswith(f"{key} ="))
    return f"{before}[{table}]\n{line}\n{body}{bracket}{rest}"


def test_the_least_that_runs_and_what_it_leaves_open(path: Path) -> None:
    settings = loaded(path, MINIMAL)
    assert dict(settings.kafka) == {"bootstrap_servers": "127.0.0.1:9092"}
    assert settings.input.topic == "readings"
    assert settings.input.series_id is None
    assert settings.input.time is None
    assert settings.input.value == "value"
    assert settings.input.start == "earliest"
    assert settings.input.stop == "never"
    assert settings.input.group_id == "ewma-readings-smoothed"
    assert settings.smoothing_set.smoothings == (("", Smoothing(Decay(beta=0.9))),)
    assert settings.shards == 16
    assert settings.output.topic == "smoothed"
    assert settings.output.delivery == "exactly-once"
    assert settings.dead_letters.topic == "dead-letters"
    assert settings.recovery is None


def test_every_key(path: Path) -> None:
    settings = loaded(
        path,
        """
        [kafka]
        bootstrap_servers = ["a:1", "b:2"]
        security_protocol = "SSL"
        ssl_check_hostname = false
        request_timeout_ms = 5000
        [input]
        topic = "in"
        series_id = ["site", "sensor.id"]
        time = "at"
        value = "sensor.value"
        start = 1970-01-01T00:00:01Z
        stop = "end"
        group_id = "mine"
        [smooth]
        halflife = "5min"
        start_up = "first"
        missing = "decay"
        min_periods = 3
        statistics = ["mean", "count"]
        shards = 4
        [output]
        topic = "out"
        delivery = "at-least-once"
        [dead_letters]
        topic = "bad"
        [recovery]
        directory = "state"
        interval = "1min30s"
        """,
    )
    assert dict(settings.kafka) == {
        "bootstrap_servers": ["a:1", "b:2"],
        "security_protocol": "SSL",
        "ssl_check_hostname": False,
        "request_timeout_ms": 5000,
    }
    assert settings.input.series_id == ("site", "sensor.id")
    assert settings.input.time == "at"
    assert settings.input.value == "sensor.value"
    assert settings.input.start == 1000
    assert settings.input.stop == "end"
    assert settings.input.group_id == "mine"
    ((_, smoothing),) = settings.smoothing_set.smoothings
    assert smoothing == Smoothing(
        Decay(halflife="5min"),
        start_up="first",
        missing="decay",
        min_periods=3,
        statistics=["mean", "count"],
    )
    assert settings.shards == 4
    assert settings.output.topic == "out"
    assert settings.dead_letters.topic == "bad"
    assert settings.recovery is not None
    assert settings.recovery.directory == Path("state")
    assert settings.recovery.interval == timedelta(seconds=90)


def test_recovery_is_written_every_ten_seconds_unless_told_otherwise(path: Path) -> None:
    settings = loaded(path, MINIMAL + '[recovery]\ndirectory = "~/state"')
    assert settings.recovery is not None
    assert settings.recovery.directory == Path.home() / "state"
    assert settings.recovery.interval == timedelta(seconds=10)


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ('"latest"', "latest"),
        ('"committed"', "committed"),
        ("2026-01-31T00:00:00Z", 1_769_817_600_000),
        ("2026-01-31T01:00:00+01:00", 1_769_817_600_000),
        ("2026-01-31T00:00:00", 1_769_817_600_000),
        ("2026-01-31 00:00:00.5", 1_769_817_600_500),
        ("2026-01-31", 1_769_817_600_000),
        ('"2026-01-31T00:00:00Z"', 1_769_817_600_000),
        ('"2026-01-31T00:00:00"', 1_769_817_600_000),
        ('"2026-01-31"', 1_769_817_600_000),
        ("1970-01-01", 0),
    ],
)
def test_where_to_start(path: Path, start: str, expected: str | int) -> None:
    assert loaded(path, with_key("input", f"start = {start}")).input.start == expected


@pytest.mark.parametrize(
    ("option", "decay"),
    [
        ("alpha = 0.5", Decay(alpha=0.5)),
        ("span = 10", Decay(span=10)),
        ("com = 0", Decay(com=0)),
        ("halflife = 12", Decay(halflife=12)),
        ('tau = "2 days"', Decay(tau="2 days")),
    ],
)
def test_any_way_to_give_the_decay(path: Path, option: str, decay: Decay) -> None:
    smoothing_set = loaded(path, MINIMAL.replace("beta = 0.9", option)).smoothing_set
    assert smoothing_set.smoothings == (("", Smoothing(decay)),)


def test_a_byte_order_mark_is_no_mistake(path: Path) -> None:
    assert loaded(path, "\ufeff" + MINIMAL).input.topic == "readings"


@pytest.mark.parametrize(
    ("table", "line", "said"),
    [
        ("input", 'topik = "x"', "input.topik is not known; did you mean topic?"),
        ("input", 'Series_ID = "x"', "input.Series_ID is not known; did you mean series_id?"),
        ("input", "beta = 0.5", "input.beta is not known; it belongs in [smooth]"),
        ("input", "zzz = 1", "input.zzz is not known; there are topic, series_id, time, value,"),
        ("output", 'group_id = "g"', "output.group_id is not known; it belongs in [input]"),
        ("input", "topic = 5", "input.topic = 5 must be the name of a topic: 1 to 249 letters"),
        ("input", 'topic = ""', 'input.topic = "" must be'),
        ("input", 'topic = "a b"', 'input.topic = "a b" must be'),
        ("input", 'topic = "a\\n"', 'input.topic = "a\\n" must be'),
        ("input", 'topic = ".."', 'input.topic = ".." must be'),
        ("input", f'topic = "{"x" * 250}"', "must be the name of a topic"),
        ("input", 'series_id = ""', "input.series_id: path '': it is empty"),
        ("input", "series_id = []", "input.series_id = [] must be"),
        ("input", 'series_id = ["a", 5]', 'input.series_id = ["a",5] must be'),
        ("input", "series_id = true", "input.series_id = true must be"),
        ("input", 'time = "a..b"', "input.time: path 'a..b': a name is missing beside a dot"),
        (
            "input",
            'value = "p[0"',
            "input.value: path 'p[0': write a position as [0], with a closing",
        ),
        ("input", 'records = "data"', "input.records: records 'data': end it with the array"),
        (
            "input",
            'value = "^.x"',
            "[input] path '^.x' leads 1 levels out, and records has 0: write",
        ),
        ("input", 'value = ["x", "x.y"]', "[input] field 'x' cannot be read itself and hold x.y"),
        ("input", 'value = "x"\nseries_id = "x"', "[input] 'x' is read twice"),
        ("input", 'numbers = "yes"', 'input.numbers = "yes" must be "strict", or "text"'),
        ("input", 'decimal = ";"', 'input.decimal = ";" must be "." or ","'),
        ("input", 'missing_values = "x"', 'input.missing_values = "x" must be a list of words'),
        ("input", "missing_values = [true]", "input.missing_values = [true] must be a list"),
        ("input", "missing_values = [nan]", "input.missing_values = [null] must be a list"),
        ("input", 'time_unit = "m"', 'input.time_unit = "m" must be "s", "ms", "us" or "ns"'),
        ("input", 'time_format = "%H:%M"', 'input.time_format = "%H:%M" must be a format of times'),
        ("input", 'time_format = "%Y %"', 'input.time_format = "%Y %" must be a format of times'),
        ("input", 'time_format = "day"', 'input.time_format = "day" must be a format of times'),
        ("input", 'key = "long"', 'input.key = "long" must be "text", "int32", "int64", "uuid"'),
        ("input", "where = {}", "input.where = {} must be values by path"),
        ("input", "where = { op = [] }", 'input.where = {"op":[]} must be values by path'),
        ("input", "where = 5", "input.where = 5 must be values by path"),
        ("input", 'where = { "$.x" = 1 }', "input.where: path '$.x': it begins with $"),
        ("input", 'tombstones = "keep"', 'input.tombstones = "keep" must be "dead-letter", "skip"'),
        (
            "input",
            'series_id = "id"\ntombstones = "forget"',
            'input.tombstones = "forget" needs an id that a message',
        ),
        ("input", "value = []", 'input.value = [] must be a payload field, such as "value"'),
        ("input", 'weight = "v"', "input.weight is not used"),
        ("smooth", 'weighting = "volume"', 'weighting "volume" needs input.weight'),
        ("smooth", 'statistics = ["mean", "corr"]', "corr is of two fields, but there is one"),
        ("smooth", "fast = {spam = 3}", "smooth.fast.spam is not known"),
        ("smooth", "fast = {alpha = 3}", "smooth.fast.alpha is 3"),
        ("input", 'start = "erliest"', 'input.start = "erliest" must be "earliest", "latest", "co'),
        ("input", 'start = "2026-13-01"', 'input.start = "2026-13-01" must be'),
        ("input", "start = 1969-12-31", 'input.start = "1969-12-31" must be'),
        ("input", "start = 12:00:00", 'input.start = "12:00:00" must be'),
        ("input", "start = 5", "input.start = 5 must be"),
        ("input", "start = true", "input.start = true must be"),
        ("input", 'stop = "now"', 'input.stop = "now" must be "never" or "end"'),
        ("input", 'group_id = ""', 'input.group_id = "" must be the name of a consumer group'),
        ("smooth", "beta = 1.0", "smooth.beta is 1.0: it must be finite, and 0 <= beta < 1"),
        ("smooth", 'beta = "0.9"', "smooth.beta must be a number, not '0.9'"),
        ("smooth", "beta = true", "smooth.beta must be a number, not True"),
        ("smooth", "beta = nan", "smooth.beta is nan"),
        ("smooth", "span = 3", "[smooth] give exactly one of beta, alpha, span"),
        (
            "smooth",
            'start_up = "korrekt"',
            "smooth.start_up is 'korrekt': did you mean corrected?",
        ),
        ("smooth", "missing = false", "smooth.missing is False"),
        ("smooth", 'late = "never"', "smooth.late is 'never': it must be one of take, skip"),
        ("smooth", 'max_lateness = "10"', "smooth.max_lateness: '10' is not a duration"),
        ("smooth", 'out_of_range = "clip"', 'smooth.out_of_range is "clip": give lowest, highest'),
        ("smooth", 'max_ahead = "5"', 'smooth.max_ahead = "5" must be a duration such as "5min"'),
        ("smooth", 'max_ahead = "5min"', "smooth.max_ahead needs an event time in the message"),
        ("smooth", 'ahead = "clip"', "smooth.ahead needs a bound"),
        ("smooth", 'ahead = "skip"', 'smooth.ahead = "skip" must be "dead-letter" or "clip"'),
        ("smooth", "min_periods = -1", "smooth.min_periods is -1"),
        ("smooth", "min_periods = true", "smooth.min_periods is True"),
        ("smooth", 'statistics = "mean"', "smooth.statistics must be a list of names"),
        (
            "smooth",
            'statistics = ["mean", "meen"]',
            "'meen': did you mean mean? It must",
        ),
        ("smooth", "shards = 0", "smooth.shards = 0 must be a whole number from 1 to 1024"),
        ("smooth", "shards = true", "smooth.shards = true must be"),
        ("smooth", "shards = 2.5", "smooth.shards = 2.5 must be"),
        ("smooth", "shards = inf", "smooth.shards = inf must be"),
        ("smooth", "halflive = 3", "smooth.halflive is not known; did you mean halflife?"),
        (
            "output",
            'delivery = "once"',
            'output.delivery = "once" must be "exactly-once", "transactional" or "at-least-once"',
        ),
        ("output", 'delivery = "exactly_once"', 'did you mean "exactly-once"?'),
        ("input", 'format = "cvs"', 'did you mean "csv"?'),
        ("input", 'value = ["x", "x"]', "[input] 'x' is read twice"),
        ("smooth", 'composite = "mcad"', "smooth.composite is 'mcad': did you mean macd?"),
        ("alarms.hot", 'kind = "bonds"', 'alarms.hot.kind = "bonds": did you mean bounds?'),
        ("alarms.level", 'limit = 3\nbaseline = "outlok"', "did you mean outlook?"),
        ("input", 'on_lost = "skip"', 'input.on_lost = "skip" must be "fail", or "earliest" to'),
        ("output", 'topic = "readings"', 'output.topic = "readings" is also input.topic; use'),
        ("dead_letters", 'topic = "readings"', 'dead_letters.topic = "readings" is also input.top'),
        ("dead_letters", 'topic = "smoothed"', 'dead_letters.topic = "smoothed" is also output.to'),
        ("input", 'topic = "dead-letters"', 'dead_letters.topic = "dead-letters" is also input.to'),
        ("recovery", 'interval = "10s"', 'recovery.directory is missing; add directory = "state"'),
        ("recovery", 'directory = ""', 'recovery.directory = "" must be the path of a directory'),
        ("kafka", "bootstrap_servers = 5", "kafka.bootstrap_servers = 5 must be text such as"),
        ("kafka", "bootstrap_servers = []", "kafka.bootstrap_servers = [] must be"),
        ("kafka", 'bootstrap_servers = ""', 'kafka.bootstrap_servers = "" must be'),
        ("kafka", "ssl_context = {a = 1}", "kafka.ssl_context = *** must be text, a number"),
        (
            "kafka",
            'bootstrap_servers = "a:99999"',
            "the port '99999' must be a whole number",
        ),
        ("kafka", 'bootstrap_servers = ["a:1", "b:"]', "the port '' must be a whole number from 1"),
        ("kafka", 'group_id = "g"', "kafka.group_id cannot be set: it is input.group_id"),
    ],
)
def test_a_mistake_is_told_with_key_value_and_mend(
    path: Path, table: str, line: str, said: str
) -> None:
    message = refused(path, with_key(table, line))
    assert said in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("interval", ["10", "true", '"10"', '"10 parsecs"', '""', '"999999999w"'])
def test_an_interval_needs_a_unit(path: Path, interval: str) -> None:
    message = refused(path, f'{MINIMAL}[recovery]\ndirectory = "s"\ninterval = {interval}')
    assert message == (
        f'recovery.interval = {interval} must be a duration such as "10s", "500ms" or "1min"'
    )


def test_options_that_do_not_go_together(path: Path) -> None:
    text = MINIMAL.replace("beta = 0.9", 'halflife = "5min"\nstart_up = "uncorrected"')
    assert "smooth.start_up" in refused(path, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MINIMAL.replace("[kafka]", "[kafak]"), "[kafak] is not known; did you mean kafka?"),
        (MINIMAL.replace("[kafka]", "[kafak]"), "[kafka] is missing; add it with bootstrap_serv"),
        (MINIMAL.replace('topic = "readings"', ""), 'input.topic is missing; add topic = "readin'),
        (MINIMAL.replace("beta = 0.9", ""), "[smooth] give exactly one of beta, alpha, span"),
        (MINIMAL.replace("[output]\n", ""), "[output] is missing"),
        ("beta = 0.5\n" + MINIMAL, "beta = 0.5 is outside any table; move it to [smooth]"),
        ("topic = 1\n" + MINIMAL, "move it to [input] or [output] or [dead_letters]"),
        ("x = 1\n" + MINIMAL, "x is not known; there are kafka, input, smooth"),
        (
            "sasl_mechanism = 1\n" + MINIMAL,
            "sasl_mechanism is outside any table; move it to [kafka]",
        ),
        ("recovery = 1\n" + MINIMAL, "recovery must be a table; write [recovery]"),
        (MINIMAL + "[[recovery]]", "recovery must be a table; write [recovery]"),
        ("", "[input] is missing"),
    ],
)
def test_mistakes_about_tables(path: Path, text: str, said: str) -> None:
    assert said in refused(path, text)


def test_several_mistakes_are_told_together(path: Path) -> None:
    text = with_key("smooth", "beta = 1.5").replace('"readings"', '"a b"')
    message = refused(path, text + '[recovery]\ninterval = 10\n[dead_leters]\ntopic = "x"')
    first, *rest = message.splitlines()
    assert first == "5 mistakes"
    assert [line.split()[0] for line in rest] == [
        "[dead_leters]",
        "input.topic",
        "smooth.beta",
        "recovery.directory",
        "recovery.interval",
    ]


def test_very_many_mistakes_fit_on_one_screen(path: Path) -> None:
    text = "".join(f"key{i} = '{'x' * 1000}'\n" for i in range(100)) + MINIMAL
    message = refused(path, text)
    assert message.splitlines()[0] == "100 mistakes"
    assert message.splitlines()[-1].strip() == "and 85 more"
    assert len(message) < 4000


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[input\n", ", line 1, column 7: "),
        ("[input]\ntopic = readings\n", ", line 2, column 9: "),
        ("[input]\ntopic = 'a'\ntopic = 'b'\n", ", line 3, column "),
        ("[input]\ntopic = ", ", end of document: "),
        ("a = " + "[" * 5000, ", "),
        ("a = " + "9" * 5000, ", "),
    ],
)
def test_what_is_not_toml_is_told_with_its_line(path: Path, text: str, where: str) -> None:
    message = refused(path, text)
    assert message.startswith(where)
    assert 'topic = "readings"' in message


def test_a_file_that_is_not_utf8(path: Path) -> None:
    path.write_bytes(b"[input]\ntopic = '\xff'\n")
    with pytest.raises(ConfigError, match="line 2: not UTF-8; save the file as UTF-8"):
        load(path)


def test_a_file_that_is_not_there(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"flow\.toml: there is no such file"):
        load(path)
    with pytest.raises(ConfigError, match="a directory; give the path of a TOML file"):
        load(path.parent)


def test_the_environment_fills_in_kafka_options(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", "9092")
    monkeypatch.setenv("KAFKA_PASSWORD", "hunter2")
    text = MINIMAL.replace(
        'bootstrap_servers = "127.0.0.1:9092"',
        'bootstrap_servers = ["a:${PORT}", "b:${PORT}"]\nsasl_plain_password = "${KAFKA_PASSWORD}"',
    )
    assert dict(loaded(path, text).kafka) == {
        "bootstrap_servers": ["a:9092", "b:9092"],
        "sasl_plain_password": "hunter2",
    }


@pytest.mark.parametrize("name", ["NOT_SET", "KAFKA-PASSWORD", ""])
def test_a_variable_that_is_not_set(path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    message = refused(path, with_key("kafka", f'sasl_plain_password = "${{{name}}}"'))
    assert message.startswith(
        f"kafka.sasl_plain_password needs the environment variable {name}, which is not set"
    )


def test_other_tables_take_the_text_as_it_is(path: Path) -> None:
    settings = loaded(path, with_key("input", 'value = "${HOME}"'))
    assert settings.input.value == "${HOME}"


SECRETS = """
sasl_plain_username = "me"
sasl_plain_password = "hunter2"
ssl_password = "${SECRET}"
proxy_url = "socks5://user:hunter2@proxy:1080"
"""


def test_secrets_are_never_shown(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    settings = loaded(path, MINIMAL.replace("[input]", SECRETS + "[input]"))
    assert settings.kafka["sasl_plain_password"] == settings.kafka["ssl_password"] == "hunter2"
    for shown in (repr(settings), str(settings), repr(settings.kafka), describe(settings)):
        assert "hunter2" not in shown
        assert "sasl_plain_password" in shown
        assert "me" in shown
        assert "proxy:1080" in shown


def test_secrets_are_not_in_messages_either(path: Path) -> None:
    message = refused(path, with_key("kafka", 'sasl_plain_password = {password = "hunter2"}'))
    assert "kafka.sasl_plain_password = *** must be text" in message
    assert "hunter2" not in message


def test_settings_can_be_pickled(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    settings = loaded(path, MINIMAL.replace("[input]", SECRETS + "[input]"))
    again = pickle.loads(pickle.dumps(settings))
    assert again == settings
    assert repr(again) == repr(settings)


def test_describe_says_what_will_run(path: Path) -> None:
    text = with_key("input", "start = 2026-01-31T00:00:00Z").replace(
        "[input]", '[recovery]\ndirectory = "state"\n[input]\nseries_id = ["a", "b.c"]'
    )
    said = describe(loaded(path, text))
    for part in (
        "127.0.0.1:9092",
        "readings",
        "2026-01-31 00:00:00+00:00",
        "ewma-readings-smoothed",
        "a/b.c",
        "record timestamp",
        "beta = 0.9",
        "16 shards",
        "smoothed",
        "exactly-once",
        "dead-letters",
        "state, every 10 s",
    ):
        assert part in said
    assert len(said.splitlines()) < 20


def test_describe_says_what_becomes_of_odd_readings(path: Path) -> None:
    options = 'beta = 0.9\nlowest = 0\nhighest = 60\nmax_lateness = "10min"'
    said = describe(loaded(path, MINIMAL.replace("beta = 0.9", options)))
    assert "out-of-range dead-letter (beyond 0 and 60), late dead-letter (by more than 600" in said


def test_describe_says_when_nothing_is_recovered(path: Path) -> None:
    assert "every series starts over" in describe(loaded(path, MINIMAL))


def test_identity_is_what_the_state_depends_on(path: Path) -> None:
    base = loaded(path, MINIMAL).identity()
    assert base["input topic"] == "readings"
    assert all(isinstance(text, str) for text in base.values())

    def differing(table: str, line: str) -> set[str]:
        other: dict[str, Any] = loaded(path, with_key(table, line)).identity()
        return {name for name in base if base[name] != other[name]}

    assert differing("input", 'topic = "other"') == {"input topic", "group"}
    assert differing("output", 'topic = "other"') == {"output topic", "group"}
    assert differing("output", 'delivery = "transactional"') == {"delivery"}
    assert differing("smooth", "shards = 8") == {"shards"}
    assert differing("smooth", "beta = 0.8") == {"smoothing"}
    assert differing("input", 'start = "latest"') == set()
    assert differing("kafka", 'client_id = "c"') == set()


SEVERAL = """
[kafka]
bootstrap_servers = "127.0.0.1:9092"
[input]
topic = "quotes"
value = ["quote.bid", "quote.ask"]
weight = "volume"
[smooth]
statistics = ["mean", "corr"]
weighting = "volume"
[smooth.fast]
span = 12
[smooth.slow]
span = 26
statistics = ["mean", "std"]
[output]
topic = "smoothed"
"""


def test_a_warm_start(path: Path) -> None:
    past = path.with_name("past.parquet")
    text = MINIMAL.replace("beta = 0.9", f'beta = 0.9\nwarm_start = "{past}"')
    assert loaded(path, MINIMAL).warm_start is None
    settings = loaded(path, text)
    assert settings.warm_start == past
    assert f"warm start   {past}" in describe(settings)
    one, other = settings.identity("one"), settings.identity("other")
    assert {name for name in one if one[name] != other[name]} == {"warm start"}
    assert "warm start" not in loaded(path, MINIMAL).identity()
    said = refused(path, MINIMAL.replace("beta = 0.9", "beta = 0.9\nwarm_start = 5"))
    assert said == "smooth.warm_start = 5 must be the path of a Parquet file, as text"


def test_several_fields_and_smoothings(path: Path) -> None:
    settings = loaded(path, SEVERAL)
    assert settings.input.value == ("quote.bid", "quote.ask")
    assert settings.smoothing_set.names == (
        "quote_bid_fast_mean",
        "quote_bid_slow_mean",
        "quote_bid_slow_std",
        "quote_ask_fast_mean",
        "quote_ask_slow_mean",
        "quote_ask_slow_std",
        "quote_bid_quote_ask_fast_corr",
    )
    assert "fast         span = 12" in describe(settings)


@pytest.mark.parametrize(
    ("options", "smoothing"),
    [
        ('start_up = "simple"\nstart_n = 9', {"start_up": "simple", "start_n": 9}),
        (
            'start_up = "prior"\nprior = 20\nprior_weight = 1.5',
            {"start_up": "prior", "prior": 20, "prior_weight": 1.5},
        ),
        ('min_weight = 0.5\nmissing = "decay"', {"min_weight": 0.5, "missing": "decay"}),
        (
            'lowest = -40\nhighest = 60.5\nout_of_range = "clip"\nnon_finite = "decay"',
            {"lowest": -40, "highest": 60.5, "out_of_range": "clip", "non_finite": "decay"},
        ),
        (
            'max_lateness = "10min"\nlate = "clip"\nequal_times = "skip"\nmissing = "reset"',
            {"max_lateness": "10min", "late": "clip", "equal_times": "skip", "missing": "reset"},
        ),
    ],
)
def test_further_options(path: Path, options: str, smoothing: Any) -> None:
    smoothing_set = loaded(
        path, MINIMAL.replace("beta = 0.9", f"beta = 0.9\n{options}")
    ).smoothing_set
    ((_, found),) = smoothing_set.smoothings
    assert found == Smoothing(Decay(beta=0.9), **smoothing)


MACD_AND_BANDS = """
[smooth]
start_up = "first"
span = 20
[smooth.m]
composite = "macd"
fast = 6
[smooth.bands]
composite = "bollinger"
widths = 2.5
[smooth.plain]
"""


def test_composites(path: Path) -> None:
    text = MINIMAL.replace("[smooth]\nbeta = 0.9\n", MACD_AND_BANDS)
    settings = loaded(path, text)
    first = Smoothing(Decay(span=20), "first")
    assert dict(settings.smoothing_set.smoothings) == {
        "m": macd(fast=6, start_up="first"),
        "bands": bollinger(first, 2.5),
        "plain": first,
    }
    assert pickle.loads(pickle.dumps(settings)).smoothing_set == settings.smoothing_set
    assert "m            macd\n  fast       span = 6" in describe(settings)


@pytest.mark.parametrize(
    ("options", "composite"),
    [
        ('composite = "macd"', macd()),
        ('composite = "risk_metrics"', risk_metrics()),
        ('composite = "risk_metrics"\nbeta = 0.97', risk_metrics(Smoothing(Decay(beta=0.97)))),
        ('composite = "dema"\nhalflife = "5min"', dema(Smoothing(Decay(halflife="5min")))),
        ('composite = "tema"\nspan = 9', tema(Smoothing(Decay(span=9)))),
    ],
)
def test_a_composite_alone(path: Path, options: str, composite: Composite) -> None:
    smoothing_set = loaded(path, MINIMAL.replace("beta = 0.9", options)).smoothing_set
    assert smoothing_set.smoothings == (("", composite),)
    assert smoothing_set.names == composite.statistics


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            'composite = "mcad"',
            "smooth.composite is 'mcad': did you mean macd? It must be one of dema, tema",
        ),
        ("composite = [1]", "smooth.composite is [1]: it must be one of"),
        ('composite = "macd"\nbeta = 0.9', 'smooth.beta does not go with "macd": give fast'),
        ('composite = "macd"\nfast = 30', "smooth.fast = 30 must be less than slow = 26"),
        ('composite = "macd"\nfast = "5min"', "smooth.span"),
        ('composite = "macd"\nmissing = "no"', "smooth.missing is 'no'"),
        ('composite = "dema"', "[smooth] give exactly one of beta"),
        ('composite = "dema"\nspan = 9\nwidths = 2', 'smooth.widths goes with composite = "bollin'),
        ("beta = 0.9\nfast = 12", 'smooth.fast goes with composite = "macd"'),
        (
            'composite = "bollinger"\nspan = 9\nwidths = 0',
            "smooth.widths = 0: give a number above 0",
        ),
        ('composite = "dema"\nspan = 9\nstatistics = ["mean", "std"]', "leave them out"),
    ],
)
def test_mistakes_about_composites(path: Path, options: str, said: str) -> None:
    assert said in refused(path, MINIMAL.replace("beta = 0.9", options))


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "a" + ".a" * 100_000 + "=1",
        "." * 200_000,
        "[" + "a." * 100_000 + "a]",
        "\n".join(f"k{i}{'.a' * 400}=1" for i in range(300)),
        "#" * 300_000,
    ],
)
def test_a_file_of_nonsense_is_refused_in_a_moment(path: Path, text: str) -> None:
    began = time.process_time()
    message = refused(path, MINIMAL + text)
    assert time.process_time() - began < 5
    assert any(word in message for word in ("dots", "deep", "262,144 bytes", "Invalid")), message


def test_an_endless_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="larger than 262,144 bytes"):
        load("/dev/zero")


@pytest.mark.parametrize("value", ["[[[[[[[[[1]]]]]]]]]", "{a={a={a={a={a={a={a={a={}}}}}}}}}"])
def test_deep_values_are_refused(path: Path, value: str) -> None:
    assert "nested more than 8 deep" in refused(path, with_key("kafka", f"client_id = {value}"))


def test_a_list_of_many_brokers_fits_into_a_line(path: Path) -> None:
    servers = ", ".join(f'"broker-{i}.kafka.internal.example.com:9092"' for i in range(100))
    loaded(path, with_key("kafka", f"bootstrap_servers = [{servers}]"))


def test_the_isolation_level(path: Path) -> None:
    assert loaded(path, MINIMAL).identity()["isolation level"] == "read_committed"
    text = with_key("kafka", 'isolation_level = "read_uncommitted"')
    assert loaded(path, text).identity()["isolation level"] == "read_uncommitted"
    message = refused(path, with_key("kafka", 'isolation_level = "read_commited"'))
    assert message == (
        'kafka.isolation_level = "read_commited": it must be one of read_committed, '
        "read_uncommitted; did you mean read_committed?"
    )


def test_tables_of_where_are_paths_with_dots(path: Path) -> None:
    written = 'where = { op = ["c", "u"], data.type = "x", n = 1, "@header.a" = true }'
    assert loaded(path, with_key("input", written)).input.where == {
        "op": ("c", "u"),
        "data.type": ("x",),
        "n": (1,),
        "@header.a": (True,),
    }


@pytest.mark.parametrize(
    "written",
    [
        'numbers = "text"',
        'numbers = "text"\ndecimal = ","',
        'missing_values = ["", -9999.9]',
        'time_unit = "s"',
        'time_format = "%d.%m.%Y"',
        'key = "int64"',
        "where = { n = 1 }",
        'tombstones = "skip"',
    ],
)
def test_what_changes_the_readings_changes_the_identity(path: Path, written: str) -> None:
    before = loaded(path, MINIMAL).identity()
    assert loaded(path, with_key("input", written)).identity() != before


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('format = "json"', "value"),
        ('format = "number"', "@value"),
        ('format = "int64"', "@value"),
        ('format = "float32"\nvalue = "@header.v"', "@header.v"),
        ('format = "frames.scale:decode"', "value"),
        ('format = "csv"\ncolumns = ["value"]\ndelimiter = "\\t"\nquote = ""', "value"),
        ('format = "csv"\ncolumns = "first-line"\nvalue = "t"', "t"),
        ('format = "line"\nvalue = \'fields."a.b"\'', 'fields."a.b"'),
    ],
)
def test_a_format_and_the_value_it_begins_with(path: Path, written: str, value: str) -> None:
    settings = loaded(path, with_key("input", written))
    assert settings.input.value == value
    name = settings.input.format
    as_json = loaded(path, MINIMAL)
    is_same = settings.identity() == as_json.identity()
    assert is_same == (name == "json")
    assert (re.search(rf"^format +{name}$", describe(settings), re.MULTILINE) is None) == is_same


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('format = "jsno"', 'input.format = "jsno" must be "json", "csv", '),
        ('format = "frames.py"', 'or a function of your own as "module:name"'),
        ('format = "a b:c"', "must be"),
        ("format = 5", "input.format = 5 must be"),
        (
            'format = "int32"\nnumbers = "text"',
            'input.numbers is not read by format = "int32": remove it, or set format to "json" or',
        ),
        ('format = "number"\nrecords = "[]"', "input.records is not read by format"),
        ('format = "float64"\ndecimal = ","', "input.decimal is not read by format"),
        ('format = "csv"', 'input.columns is missing, which format = "csv" needs'),
        (
            'columns = ["a"]',
            'input.columns is not read by format = "json": remove it, or set format',
        ),
        ('format = "csv"\ncolumns = []', "input.columns = [] must be a list of the names"),
        ('format = "csv"\ncolumns = ["value", "value"]', "must be a list of the names"),
        ('format = "csv"\ncolumns = ["t"]', "input.columns has no value: there are t"),
        (
            'format = "csv"\ncolumns = ["a.b"]\nvalue = "a.b"',
            "input.columns has no a.b: there are a.b; write '\"a.b\"'",
        ),
        ('format = "csv"\ncolumns = ["value"]\ndelimiter = ""', "must be one ASCII character"),
        ('format = "csv"\ncolumns = ["value"]\ndelimiter = "\\n"', "must be one ASCII character"),
        ('format = "csv"\ncolumns = ["value"]\nquote = "ab"', "must be one ASCII character"),
        ('format = "csv"\ncolumns = ["value"]\nquote = ","', "input.quote is also input.delimiter"),
        ('format = "csv"\ncolumns = ["value"]\nnumbers = "text"', "input.numbers is not read by"),
        ('format = "line"', 'input.value is missing, which format = "line" needs'),
        (
            'format = "line"\nvalue = "usage"',
            "path 'usage' leads nowhere in a point of the line protocol: write measurement, tags.",
        ),
        ('format = "line"\nvalue = "fields"', "path 'fields' leads nowhere"),
        ('format = "line"\nvalue = "fields.a.b"', "path 'fields.a.b' leads nowhere"),
        ('format = "line"\nvalue = "fields.a"\nrecords = "[]"', "input.records is not read by"),
        ('format = "number"\nseries_id = "id"', "'@value' cannot be read itself and hold id too"),
    ],
)
def test_mistakes_about_formats(path: Path, written: str, said: str) -> None:
    assert said in refused(path, with_key("input", written))


def test_fields_that_are_passed_through(path: Path) -> None:
    before = loaded(path, MINIMAL)
    assert (before.output.include, before.output.max_include_bytes) == ((), 4_096)
    assert "include" not in before.identity()
    written = 'include = ["unit", "site.name"]\nmax_include_bytes = 100'
    settings = loaded(path, with_key("output", written))
    assert settings.output.include == ("unit", "site.name")
    assert settings.output.max_include_bytes == 100
    assert settings.identity() != before.identity()
    assert re.search(r"^includes +unit, site.name$", describe(settings), re.MULTILINE)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('include = "unit"', 'output.include = "unit" must be a list of payload fields'),
        ("include = []", "output.include = [] must be a list"),
        ('include = ["p[0"]', "output.include: path 'p[0': write a position as [0]"),
        ('include = ["value"]', "output.include: an event already has 'value'; remove 'value'"),
        ('include = ["ewma"]', "an event already has 'ewma'"),
        ('include = ["a.b", "a_b"]', "an event already has 'a_b'; remove 'a_b'"),
        ('include = ["^.unit"]', "path '^.unit' leads 1 levels out, and records has 0"),
        ("max_include_bytes = 1", "output.max_include_bytes = 1 must be a whole number of bytes"),
    ],
)
def test_mistakes_about_what_is_passed_through(path: Path, written: str, said: str) -> None:
    assert said in refused(path, with_key("output", written))


def test_what_is_passed_through_of_csv_is_a_column(path: Path) -> None:
    text = with_key("input", 'format = "csv"\ncolumns = ["value", "unit"]')
    text = text.replace('topic = "smoothed"', 'topic = "smoothed"\ninclude = ["unit"]')
    assert loaded(path, text).output.include == ("unit",)
    assert "input.columns has no site" in refused(path, text.replace('["unit"]', '["site"]'))


def test_the_guard_of_event_times(path: Path) -> None:
    timed = MINIMAL.replace('topic = "readings"', 'topic = "readings"\ntime = "t"')
    before = loaded(path, timed)
    assert (before.max_ahead, before.ahead) == (None, "dead-letter")
    guarded = timed.replace("beta = 0.9", 'beta = 0.9\nmax_ahead = "5min"\nahead = "clip"')
    settings = loaded(path, guarded)
    assert (settings.max_ahead, settings.ahead) == (300_000, "clip")
    assert settings.identity() != before.identity()


def test_what_is_taken_of_a_message_is_described(path: Path) -> None:
    lines = 'records = "data[]"\nwhere = { op = ["c", "u"], n = 1 }\nvalue = "^.x"'
    told = describe(loaded(path, with_key("input", lines)))
    assert re.search(r"^records +data\[\]$", told, re.MULTILINE)
    assert re.search(r'^where +op = "c" or "u", n = 1$', told, re.MULTILINE)


def test_forecasts(path: Path) -> None:
    asked = 'beta = 0.9\nstatistics = ["mean", "forecast"]\nhorizon = 3'
    settings = loaded(path, MINIMAL.replace("beta = 0.9", asked))
    ((_, smoothing),) = settings.smoothing_set.smoothings
    assert (smoothing.statistics, settings.smoothing_set.names) == (("mean", "forecast"),) * 2
    tables = '[smooth.a]\nstatistics = ["mean", "forecast"]\n[smooth.b]\nspan = 9'
    assert re.search("^outlook +trend, 3 readings ahead$", describe(settings), re.MULTILINE)
    more = 'forecast", "forecast_upper"]\ntrend_halflife = 20\ndamping = 9.5\ncoverage = 0.8'
    text = describe(loaded(path, MINIMAL.replace("beta = 0.9", asked.replace('forecast"]', more))))
    assert (
        "trend, of weights that halve every 20 readings, 3 readings ahead, damped, halving every "
        "9.5 readings, bounds of 0.8\n" in text
    )
    several = f"beta = 0.9\nhorizon = 3\n{tables}"
    several = MINIMAL.replace("beta = 0.9", several)
    assert loaded(path, several).smoothing_set.names == ("a_mean", "a_forecast", "b_mean")
    bounds = 'beta = 0.9\nstatistics = ["mean", "forecast_upper"]\nhorizon = 3\n'
    for option in ('outlook = "level"', "trend_halflife = 20", "damping = 9.5", "error_span = 9"):
        loaded(path, MINIMAL.replace("beta = 0.9", bounds + option))


def test_seasons(path: Path) -> None:
    asked = [
        'halflife = "1h"',
        'statistics = ["mean", "season"]',
        'season = "day"',
        "season_phases = 48",
        'season_kind = "multiplicative"',
        "lowest = 0.1",
        'season_halflife = "3d"',
        'utc_offset = "+05:30"',
    ]
    text = MINIMAL.replace("beta = 0.9", "\n".join(asked))
    settings = loaded(path, text)
    ((_, smoothing),) = settings.smoothing_set.smoothings
    assert isinstance(smoothing, Smoothing)
    season = smoothing.ahead.season
    assert season == Season(48, 1_800_000, 19_800_000, 3.0, True)
    assert "trend, a multiplicative season of the day\n" in describe(settings)
    counted = 'beta = 0.9\nstatistics = ["mean", "level"]\nseason = 24'
    text = describe(loaded(path, MINIMAL.replace("beta = 0.9", counted)))
    assert "trend, a season of 24 readings\n" in text
    timed = 'halflife = "1h"\nstatistics = ["mean", "level"]\nseason = "8h"'
    text = describe(loaded(path, MINIMAL.replace("beta = 0.9", timed)))
    assert "trend, a season of 8h\n" in text


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('statistics = ["mean", "forecast"]', "horizon is not given, and a forecast needs it"),
        ("horizon = 3", 'smooth.horizon is not used; add "forecast" to statistics'),
        ("damping = 3", 'smooth.damping is not used; add "forecast" to statistics'),
        ("coverage = 0.8", 'smooth.coverage is not used; add "forecast_lower" to statistics'),
        ("coverage = 8", "smooth.coverage is 8: it must be a number > 0, < 1"),
        ('outlook = "level"', 'smooth.outlook is not used; add "level" to statistics'),
        ("season = 24", 'smooth.season is not used; add "forecast" to statistics'),
        ("season_phases = 24", "smooth.season_phases is 24, but there is no season: add season"),
        (
            'statistics = ["mean", "level"]\nseason = "day"',
            "smooth.season is 'day': because the decay is per reading it must be a number",
        ),
        ('statistics = ["mean", "season"]', 'smooth.statistic "season" needs a season: give one'),
        ("[smooth.a]\nerror_span = 9", "smooth.a.error_span is not used; add"),
        ('composite = "dema"\nhorizon = 3', "smooth.horizon does not go with a composite"),
        (
            'statistics = ["mean", "forecast"]\nhorizon = "5min"',
            "smooth.horizon is '5min': it must",
        ),
    ],
)
def test_mistakes_about_forecasts(path: Path, written: str, said: str) -> None:
    assert said in refused(path, MINIMAL.replace("beta = 0.9", f"beta = 0.9\n{written}"))


def test_a_season_is_not_of_a_composite_but_may_stand_above_one(path: Path) -> None:
    """The macd, which has spans of readings, knows no days."""
    written = 'composite = "macd"\nseason = "day"'
    said = refused(path, MINIMAL.replace("beta = 0.9", written))
    assert "smooth.season does not go with a composite" in said
    other = '[smooth.a]\nhalflife = "1h"\nstatistics = ["mean", "level"]\n[smooth.m]'
    settings = loaded(
        path, MINIMAL.replace("beta = 0.9", f'season = "day"\n{other}\ncomposite = "macd"')
    )
    assert dict(settings.smoothing_set.smoothings)["m"] == macd()
