"""Which topics a configuration file names, and what it may not name."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from ewma_ops.errors import ConfigError
from ewma_ops.settings.describe import describe
from ewma_ops.settings.load import load
from ewma_ops.settings.model import Settings

FILE = """
[kafka]
bootstrap_servers = "127.0.0.1:9092"
[input]
{0}
[smooth]
beta = 0.9
[output]
topic = "smoothed"
"""


def loaded(directory: Path, lines: str) -> Settings:
    path = directory / "job.toml"
    path.write_text(FILE.format(lines))
    return load(path)


def test_several_topics(tmp_path: Path) -> None:
    settings = loaded(tmp_path, 'topics = ["b", "a"]')
    assert settings.input.names == ("b", "a")
    assert settings.identity()["input topic"] == "a, b"
    assert settings.input.group_id == "ewma-b-smoothed"
    assert "reads        a, b, start earliest" in describe(settings)
    more = loaded(tmp_path, 'topics = ["b", "a", "c"]')
    assert more.input.group_id == settings.input.group_id


def test_a_pattern(tmp_path: Path) -> None:
    settings = loaded(tmp_path, 'topic_pattern = "sensor-.*"')
    assert settings.input.names == ()
    assert settings.identity()["input topic"] == "pattern sensor-.*"
    assert settings.input.group_id == "ewma-sensor-.*-smoothed"
    assert "reads        pattern sensor-.*, start" in describe(settings)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("", timedelta(minutes=5)),
        ('discover = "1s"', timedelta(seconds=1)),
        ('discover = "off"', None),
        ("discover = 0", None),
        ('discover = "0"', None),
    ],
)
def test_how_often_to_look(tmp_path: Path, written: str, read: timedelta | None) -> None:
    settings = loaded(tmp_path, f'topic = "readings"\n{written}')
    assert settings.input.discover == read
    assert settings.identity() == loaded(tmp_path, 'topic = "readings"').identity()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", 'input.topic is missing; add topic = "readings"'),
        ('topic = "a"\ntopics = ["b"]', "input.topic and input.topics are set together"),
        ('topics = ["a"]\ntopic_pattern = "a"', "input.topics and input.topic_pattern are set"),
        ("topics = []", "input.topics = [] must be a list of topics"),
        ('topics = ["a b"]', "must be a list of topics, such as"),
        ('topics = ["a", "a"]', "input.topics names a topic twice"),
        ('topics = ["a", "smoothed"]', 'output.topic = "smoothed" is also one of input.topics'),
        ('topic_pattern = "smooth.*"', 'output.topic = "smoothed" matches input.topic_pattern'),
        ('topic_pattern = "dead-.*"', 'dead_letters.topic = "dead-letters" matches'),
        ('topic_pattern = "a("', "must be a regular expression for the whole name"),
        ('topic = "a"\ndiscover = "500ms"', 'a duration of at least a second, such as "5min", or'),
        ('topic = "a"\ndiscover = true', "input.discover = true must be a duration"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, lines: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, lines)
    assert said in str(caught.value)
