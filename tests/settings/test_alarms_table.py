"""``[alarms]``: what each key means, what stands for all rules, and how a mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from ewma_ops.commands.check import check
from ewma_ops.errors import ConfigError
from ewma_ops.monitor.chart_rule import Outlook
from ewma_ops.monitor.rules import Bounds, Change, Flat, Frozen, Given, Level, Spike, Spread, Stale
from ewma_ops.monitor.run_lengths import limit_for, spike_limit
from ewma_ops.settings.describe import describe
from ewma_ops.settings.model import Alarms
from ewma_ops.stats.decay import Decay
from tests.helpers.minimal import MINIMAL
from tests.settings.test_load import loaded, refused


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flow.toml"


def alarms(path: Path, text: str, base: str = MINIMAL) -> Alarms:
    found = loaded(path, base + text).alarms
    assert found is not None
    return found


def test_without_the_table_there_are_none(path: Path) -> None:
    settings = loaded(path, MINIMAL)
    assert settings.alarms is None
    assert settings.event_statistics == settings.smoothing_set.names
    assert "alarms" not in describe(settings)


def test_a_table_is_a_rule_and_its_name_is_its_kind(path: Path) -> None:
    found = alarms(
        path,
        """
        [alarms]
        [alarms.level]
        limit = 4.2
        least = 0.5
        direction = "high"
        warm_up = 50
        series = ["plant1/*"]
        severity = "info"
        critical = 1.5
        runbook = "https://runbooks.example/level"
        [alarms.too_hot]
        kind = "bounds"
        above = 30
        clear_above = 28.0
        for = 3
        """,
    )
    assert found.topic == "alarms"
    level, too_hot = (rule for _, rule in found.rules.rules)
    assert found.rules.names == ("level", "too_hot")
    assert isinstance(level, Level)
    assert isinstance(too_hot, Bounds)
    assert (level.limit, level.least, level.direction, level.warm_up) == (4.2, 0.5, "high", 50)
    assert (level.series, level.severity, level.critical) == (("plant1/*",), "info", 1.5)
    assert level.decay == Decay(beta=0.9)
    assert level.runbook == "https://runbooks.example/level"
    assert (too_hot.above, too_hot.clear_above, too_hot.for_) == (30, 28.0, 3)


def test_rules_of_other_kinds(path: Path) -> None:
    text = """
    [alarms.jump]
    kind = "change"
    limit = 3
    per = "1min"
    [alarms.flat]
    repeats = 60
    """
    jump, flat = (rule for _, rule in alarms(path, text).rules.rules)
    assert isinstance(jump, Change)
    assert isinstance(flat, Flat)
    assert (jump.limit, jump.per, flat.repeats) == (3.0, "1min", 60)
    said = describe(loaded(path, MINIMAL + text))
    assert "jump (change): limit 3; per 1min; direction both; clear 0.5; warning" in said
    assert "flat: repeats 60; warning" in said


def test_what_stands_above_holds_for_all_that_know_it(path: Path) -> None:
    found = alarms(
        path,
        """
        [alarms]
        topic = "told"
        clear = 0.75
        for = 2
        remind = "never"
        cooldown = "5min"
        severity = "critical"
        [alarms.level]
        limit = 3
        for = 1
        remind = "1h"
        [alarms.too_hot]
        kind = "bounds"
        above = 30.0
        """,
    )
    level, too_hot = (rule for _, rule in found.rules.rules)
    assert isinstance(level, Level)
    assert (level.clear, level.for_, level.remind, level.cooldown) == (0.75, 1, "1h", "5min")
    assert (too_hot.for_, too_hot.remind, too_hot.severity) == (2, None, "critical")
    assert found.topic == "told"


def test_rules_share_the_false_alarms_of_all(path: Path) -> None:
    found = alarms(
        path,
        """
        [alarms]
        false_alarms = "1 per week"
        readings = "2 per s"
        [alarms.level]
        [alarms.spike]
        [alarms.often]
        kind = "spike"
        false_alarms = "1 per hour"
        [alarms.too_hot]
        kind = "bounds"
        above = 30.0
        """,
    )
    week = 7 * 86_400 * 2
    level, spike, often = (rule for _, rule in found.rules.rules[:3])
    assert isinstance(level, Level)
    assert isinstance(spike, Spike)
    assert isinstance(often, Spike)
    assert level.limit == limit_for(2 * week, alpha=0.1)
    assert spike.limit == round(spike_limit(2 * week), 6)
    assert often.limit == round(spike_limit(7_200), 6)
    assert level.designed == "1 per 2.4192e+06 readings"


def test_a_spread_rule_has_an_upper_limit_only_and_one_that_is_reached(path: Path) -> None:
    ((_, spread),) = alarms(
        path, '[alarms.spread]\nfalse_alarms = "1 per 500 readings"'
    ).rules.rules
    assert isinstance(spread, Spread)
    assert (spread.limit, spread.direction) == (3.332123, "high")
    for table, message in {
        'limit = 4\ndirection = "both"': "direction is 'both': the spread rule has an upper limit",
        "limit = 80": r"alarms.spread.limit = 80 is never reached: .* give less than 73.97",
    }.items():
        with pytest.raises(ConfigError, match=message):
            alarms(path, f"[alarms.spread]\n{table}")


def test_a_season_is_of_a_rule(path: Path) -> None:
    rule = '[alarms.level]\nlimit = 4\nseason = "week"\nutc_offset = "-03:30"'
    ((_, level),) = alarms(path, rule).rules.rules
    assert isinstance(level, Level)
    assert (level.season, level.offset_ms()) == ("week", -12_600_000)
    for table, message in {
        'season = "year"': "alarms.level: season is 'year': it must be one of none, day, week",
        "season = 7": "alarms.level.season = 7 must be text",
        'season = "day"\nutc_offset = "UTC"': "utc_offset is 'UTC': write how far local time is",
        'season = "day"\nutc_offset = 1': "alarms.level.utc_offset = 1 must be how far local time",
        'utc_offset = "+01:00"': "but there is no season: add season, or leave",
    }.items():
        with pytest.raises(ConfigError, match=message):
            alarms(path, f"[alarms.level]\nlimit = 4\n{table}")


def test_a_limit_that_was_calibrated_keeps_the_rate_that_was_wanted(path: Path) -> None:
    rate = '[alarms]\nfalse_alarms = "1 per 1000 readings"\n[alarms.level]\nlimit = 7.6\n'
    ((_, level),) = alarms(path, rate).rules.rules
    assert isinstance(level, Level)
    assert (level.limit, level.designed) == (7.6, "1 per 1000 readings")


def test_decays_of_a_rule_are_tables_or_named(path: Path) -> None:
    base = MINIMAL.replace("beta = 0.9", "[smooth.fast]\nspan = 12\n[smooth.slow]\nspan = 200")
    text = '[alarms.level]\nlimit = 4\ndecay = "fast"\nbaseline = { span = 400 }\n'
    ((_, level),) = alarms(path, text, base).rules.rules
    assert isinstance(level, Level)
    assert (level.decay, level.baseline) == (Decay(span=12), Decay(span=400))
    said = refused(path, base + "[alarms.level]\nlimit = 4\n")
    assert said == (
        'alarms.level: the level rule has no decay; add one, such as decay = "fast", as there are '
        "several smoothings"
    )
    composite = MINIMAL.replace("beta = 0.9", 'composite = "dema"\nspan = 12')
    said = refused(path, composite + "[alarms.level]\nlimit = 4\n")
    assert said == (
        "alarms.level: the level rule has no decay; add one, such as decay = { beta = 0.9 }, as "
        "that of [smooth] is composite"
    )
    said = refused(path, base + '[alarms.level]\nlimit = 4\ndecay = "quick"\n')
    assert said == (
        'alarms.level.decay = "quick": it must be one of fast, slow; or give one parameter of a '
        'decay, such as { halflife = "1h" }'
    )


def test_baselines_that_are_known_or_frozen(path: Path) -> None:
    for text, baseline in [
        ("{ mean = 21.5, std = 0.4 }", Given(mean=21.5, std=0.4)),
        ("{ readings = 500 }", Frozen(readings=500)),
        ("{ beta = 0.999 }", Decay(beta=0.999)),
    ]:
        ((_, level),) = alarms(path, f"[alarms.level]\nlimit = 4\nbaseline = {text}\n").rules.rules
        assert isinstance(level, Level)
        assert level.baseline == baseline


def test_a_baseline_may_be_the_outlook_of_the_smoothing(path: Path) -> None:
    text = '[alarms.level]\nlimit = 4\nbaseline = "outlook"\n'
    base = MINIMAL.replace("beta = 0.9", "beta = 0.9\ntrend_halflife = 50")
    ((_, level),) = alarms(path, text, base).rules.rules
    assert isinstance(level, Level)
    assert isinstance(level.baseline, Outlook)
    line = level.baseline.smoothing
    assert (line.decay, line.outlook, line.trend_halflife) == (Decay(beta=0.9), "trend", 50)
    assert level.baseline.errors == Decay(alpha=(1 - 0.9) / 10)
    faster = base.replace("50", "40")
    assert (
        alarms(path, text, faster).rules.fingerprint()
        != alarms(path, text, base).rules.fingerprint()
    )
    base = MINIMAL.replace("beta = 0.9", "beta = 0.9\nerror_span = 50")
    assert "smooth.error_span is not used" in refused(path, base + text)
    base = MINIMAL.replace("beta = 0.9", 'beta = 0.9\nstatistics = ["mean", "level"]\nseason = 24')
    assert "the smoothing has season = 24, which would be left in" in refused(path, base + text)
    several = MINIMAL.replace("beta = 0.9", "[smooth.fast]\nspan = 12\n[smooth.slow]\nspan = 200")
    assert 'alarms.level: baseline = "outlook" is what the outlook of the smoothing' in refused(
        path, several + text + 'decay = "fast"\n'
    )


def test_scores_in_events_are_part_of_what_events_are(path: Path) -> None:
    plain = loaded(path, MINIMAL)
    rules = "[alarms.level]\nlimit = 4.0\n[alarms.hot]\nkind = 'bounds'\nabove = 3\n"
    silent = loaded(path, MINIMAL + rules)
    scored = loaded(path, MINIMAL + "[alarms]\nin_events = true\n" + rules)
    assert silent.identity() == plain.identity(), "events are the same, and a store goes on"
    assert scored.identity() != plain.identity()
    assert silent.event_statistics == ("mean",)
    assert scored.event_statistics == ("mean", "level_z", "level_lower", "level_upper")
    other = rules.replace("4.0", "4.1")
    assert loaded(path, MINIMAL + "[alarms]\nin_events = true\n" + other).identity() != (
        scored.identity()
    )


def test_what_will_run_is_described(path: Path) -> None:
    text = """
    [alarms]
    [alarms.level]
    false_alarms = "1 per 500 readings"
    series = ["a*"]
    [alarms.spike]
    limit = 6.5
    false_alarms = "1 per 10000 readings"
    [alarms.too_hot]
    kind = "bounds"
    above = 30
    below = -5.5
    for = 3
    severity = "critical"
    """
    said = describe(loaded(path, MINIMAL + text)).splitlines()
    assert said[-6:-2] == [
        "alarms       alarms",
        "  rule       level: limit 2.81431, computed for 1 per 500 readings; warning; series a*",
        "  rule       spike: limit 6.5, given; wanted 1 per 10000 readings; warning",
        "  rule       too_hot (bounds): above 30; below -5.5; for 3 readings; critical",
    ]


LEVEL = "[alarms.level]\nlimit = 4\n"
RATE = "[alarms.level]\nfalse_alarms ="

MISTAKES = [
    ("[alarms]\n", "[alarms] has no rule; add a table such as [alarms.level]"),
    (
        "[alarms.level]\n",
        (
            "alarms.level: the level rule has neither limit nor false_alarms: give one of them, "
            'such as limit = 4.5, or false_alarms = "1 per 100000 readings"'
        ),
    ),
    (
        f'{RATE} "1 per week"\n',
        (
            "alarms.level: '1 per week' is a rate by time: add the rate of readings, such as "
            'readings = "100 per s", or write it by readings, such as "1 per 500 readings"'
        ),
    ),
    (
        f"{RATE} 5\n",
        (
            'alarms.level.false_alarms = 5 must be a rate such as "1 per week" or "1 per 100000 '
            'readings"'
        ),
    ),
    (f'{RATE} "often"\n', "alarms.level: 'often' is not a rate above 0: write it as '1 per 500"),
    (
        "[alarms]\nfalse_alarms = 'often'\n[alarms.level]\n",
        "alarms.level: 'often' is not a rate above 0: write it as '1 per 500",
    ),
    (f"{LEVEL}lest = 1\n", "alarms.level.lest is not known; did you mean least?"),
    ("[alarms]\ntopc = 'x'\n" + LEVEL, "alarms.topc is not known; did you mean topic?"),
    ("[alarm]\n", "[alarm] is not known; did you mean alarms?"),
    ("[alarms.level]\nlimit = -1\n", "alarms.level: limit is -1.0: it must be a number > 0"),
    ("[alarms.level]\nlimit = '4'\n", 'alarms.level.limit = "4" must be a number'),
    (f"{LEVEL}for = 0\n", "alarms.level: for is 0: it must be an integer >= 1"),
    (f"{LEVEL}clear = 1.5\n", "alarms.level: clear is 1.5: it must be a number > 0 and <= 1"),
    (f"{LEVEL}cooldown = 5\n", 'alarms.level.cooldown = 5 must be a duration such as "30s"'),
    (f"{LEVEL}remind = 'soon'\n", "alarms.level: remind: 'soon' is not a duration"),
    (f"{LEVEL}series = 'a*'\n", 'alarms.level.series = "a*" must be a list of globs'),
    (f"{LEVEL}severity = 'bad'\n", "alarms.level: severity is 'bad': it must be one of info,"),
    (f"{LEVEL}field = 'bid'\n", 'alarms.level: field = "bid" is not one of the fields; there'),
    (
        f"{LEVEL}baseline = {{ readings = 50 }}\n",
        "alarms.level: the baseline of 50 readings is shorter than warm_up = 100",
    ),
    ("[alarms]\nlevel = 4\n", "alarms.level = 4 must be a table; write [alarms.level]"),
    (
        "[alarms]\nfalse_alarms = '1 per 999999999999999 readings'\nspike = {}\nlevel = {}\n",
        "alarms.spike: 1e+14 readings per false alarm: a limit is computed for 2 to 1e+09",
    ),
    (
        "[alarms.level]\nlimit = 1e6\n",
        "alarms.level: limit is 1000000.0: it must be a number > 0 and < 1e6, in standard errors",
    ),
    (
        f"{LEVEL}decay = 0.9\n",
        "alarms.level.decay = 0.9 is not a decay; give one parameter of it, such as { halflife",
    ),
    (f"{LEVEL}baseline = 'outlok'\n", 'alarms.level.baseline = "outlok": did you mean outlook?'),
    (
        f"{LEVEL}baseline = [10]\n",
        "alarms.level.baseline = [10] is not a decay; give one parameter of it, such as { halflife",
    ),
    (
        f"{LEVEL}baseline = {{ mean = 1 }}\n",
        'alarms.level.baseline = {"mean":1} is none; give one parameter of a decay, such as { half',
    ),
    (
        f"{LEVEL}baseline = {{ mean = 1, std = 0 }}\n",
        'alarms.level.baseline = {"mean":1,"std":0}: baseline: std is 0: it must be a number > 0',
    ),
    ("[alarms.hot]\nabove = 3\n", "alarms.hot has no kind; add kind, one of level, spike, bounds"),
    (
        "[alarms.hot]\nkind = 'bound'\n",
        'alarms.hot.kind = "bound": did you mean bounds? It must be one',
    ),
    (
        "[alarms.hot]\nkind = 'bounds'\nabove = 28\nclear_above = 30\n",
        "alarms.hot: clear_above = 30 is beyond above = 28: an alarm would be cleared as it is",
    ),
    ("[alarms.hot]\nkind = 'bounds'\n", "alarms.hot: the bounds rule has no bound: give above,"),
    ("[alarms.flat]\n", "alarms.flat.repeats is missing; add it"),
    ("[alarms.flat]\nrepeats = 1.5\n", "alarms.flat.repeats = 1.5 must be a whole number"),
    ("[alarms.change]\nper = '1min'\n", "alarms.change.limit is missing; add it"),
    ("[alarms.change]\nlimit = 3\nper = 1\n", "alarms.change.per = 1 must be a duration such as"),
    ("[alarms]\ntopic = 'a b'\n" + LEVEL, 'alarms.topic = "a b" must be the name of a topic'),
    ("[alarms]\nin_events = 1\n" + LEVEL, "alarms.in_events = 1 must be true or false"),
    (
        "[alarms]\ntopic = 'readings'\n" + LEVEL,
        'alarms.topic = "readings" is also input.topic; use a separate topic',
    ),
    (
        "[alarms]\ntopic = 'smoothed'\n" + LEVEL,
        'alarms.topic = "smoothed" is also output.topic; use a separate topic',
    ),
    (
        "[alarms]\ntopic = 'dead-letters'\n" + LEVEL,
        'alarms.topic = "dead-letters" is also dead_letters.topic; use a separate topic',
    ),
    ("[alarms.'a b']\nkind = 'level'\nlimit = 3\n", "'a b' is not the name of a rule: use up to"),
    ("alarms = 3\n", "alarms must be a table; write [alarms]"),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_a_mistake_is_a_sentence(path: Path, text: str, said: str) -> None:
    whole = text + MINIMAL if text.startswith("alarms =") else MINIMAL + text
    assert refused(path, whole).startswith(said)


def test_a_pattern_must_not_read_the_alarms(path: Path) -> None:
    base = MINIMAL.replace('topic = "readings"', 'topic_pattern = "al.*|readings"')
    assert "matches input.topic_pattern" in refused(path, base + LEVEL)


def test_rules_are_about_one_of_several_fields(path: Path) -> None:
    base = MINIMAL.replace("[smooth]", 'value = ["bid", "ask"]\n[smooth]')
    assert refused(path, base + LEVEL) == (
        'alarms.level: name the field that it is about, such as field = "bid"'
    )
    ((_, level),) = alarms(path, LEVEL + 'field = "ask"\n', base).rules.rules
    assert level.field == "ask"


def test_all_mistakes_are_told_together(path: Path) -> None:
    said = refused(path, MINIMAL + "[alarms.level]\nlmit = 3\nfor = 'x'\n[alarms.hot]\nabove = 1\n")
    assert said.splitlines()[0] == "3 mistakes"


def test_an_event_has_no_name_twice(path: Path) -> None:
    base = MINIMAL.replace("[output]\n", '[output]\ninclude = ["level_z"]\n')
    said = refused(path, base + "[alarms]\nin_events = true\n" + LEVEL)
    assert "level_z" in said


def test_who_is_told_is_told_of_this_job(path: Path) -> None:
    told = '[alarms]\ntopic = "own"\n' + LEVEL
    notify = '[notify]\nalertmanager = "http://127.0.0.1:9093"\n'
    for text, topic in [
        (told + notify, "own"),
        (told + notify + 'topic = "others"\n', "others"),
        (notify, "alarms"),
    ]:
        found = loaded(path, MINIMAL + text).notify
        assert found is not None
        assert found.topic == topic


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ('false_alarms = "1 per 2000000 readings"\n', True),
        ('false_alarms = "1 per 2000000 readings"\nleast = 0.5\n', False),
        ('false_alarms = "1 per 2000000 readings"\nlimit = 7.6\n', False),
        ('false_alarms = "1 per 10000 readings"\n', False),
    ],
)
def test_check_doubts_a_limit_that_is_computed_far_out(
    path: Path, capsys: pytest.CaptureFixture[str], rule: str, told: bool
) -> None:
    path.write_text(f"{MINIMAL}[alarms.level]\n{rule}")
    assert check(path, offline=True) == 0
    said = "alarms.level: a limit for 1 per 2e+06 readings rests on the far tail of the normal"
    assert (said in capsys.readouterr().err) == told


def test_a_stale_rule_has_durations_and_no_readings_in_a_row(path: Path) -> None:
    text = """
    [alarms]
    for = 3
    warm_up = 40
    remind = "1h"
    [alarms.stale]
    gaps = 5
    least = "2min"
    [alarms.level]
    limit = 4
    """
    stale, level = (rule for _, rule in alarms(path, text).rules.rules)
    assert isinstance(stale, Stale)
    assert (stale.gaps, stale.least, stale.warm_up, stale.remind) == (5.0, "2min", 40, "1h")
    assert (stale.for_, level.for_, stale.decay) == (1, 3, Decay(beta=0.9))
    said = describe(loaded(path, MINIMAL + text))
    assert "stale: gaps 5; least 2min; warm_up 40" in said
    for table, told in {
        "for = 2": "alarms.stale.for is not known",
        "least = 30": 'alarms.stale.least = 30 must be a duration such as "30s"',
        'least = "1ms"': "least is '1ms': it must be a duration >= 1 s",
        "gaps = -1": "gaps is -1.*: it must be a number >= 1, or 0",
        "limit = 4": "alarms.stale.limit is not known",
    }.items():
        with pytest.raises(ConfigError, match=told):
            alarms(path, f"[alarms.stale]\n{table}")


def test_a_silence_that_is_forgotten_before_it_is_too_long_is_refused(path: Path) -> None:
    forgets = MINIMAL.replace("beta = 0.9", 'beta = 0.9\nforget_after = "1h"')
    assert forgets != MINIMAL
    assert loaded(path, f'{forgets}\n[alarms.stale]\nleast = "1h"').alarms is not None
    with pytest.raises(ConfigError, match=r"alarms.stale: least is '2h', but .* forget_after"):
        loaded(path, f'{forgets}\n[alarms.stale]\nleast = "2h"')


def test_the_usual_gap_of_several_smoothings_has_a_decay_too(path: Path) -> None:
    text = MINIMAL.replace("beta = 0.9", "")
    assert text != MINIMAL
    several = text + "[smooth.fast]\nbeta = 0.5\n[smooth.slow]\nbeta = 0.9\n[alarms.stale]\n"
    found = loaded(path, several).alarms
    assert found is not None
    (stale,) = (rule for _, rule in found.rules.rules)
    assert isinstance(stale, Stale)
    assert stale.decay == Decay(beta=0.9)
