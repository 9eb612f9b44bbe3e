"""Paths: what each leads to, and a sentence with the remedy for what is none."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops.errors import ConfigError
from ewma_ops.serde.paths import Path, parse_path, refuse_overlap


@pytest.mark.parametrize(
    ("text", "source", "up", "steps"),
    [
        ("value", "document", 0, ("value",)),
        ("a.b.c", "document", 0, ("a", "b", "c")),
        ("température", "document", 0, ("température",)),
        ("my field", "document", 0, ("my field",)),
        ("a-b_c:d", "document", 0, ("a-b_c:d",)),
        ('"sensor.temp"', "document", 0, ("sensor.temp",)),
        ('data."a.b".c', "document", 0, ("data", "a.b", "c")),
        (r'"say \"a\\b\""', "document", 0, ('say "a\\b"',)),
        ('"$.x"', "document", 0, ("$.x",)),
        ("t.$date", "document", 0, ("t", "$date")),
        ("$x", "document", 0, ("$x",)),
        ('"@key"', "document", 0, ("@key",)),
        ("[0]", "document", 0, (0,)),
        ("[1][2]", "document", 0, (1, 2)),
        ("p[0]", "document", 0, ("p", 0)),
        ("p[0].x", "document", 0, ("p", 0, "x")),
        ("[1].x[0]", "document", 0, (1, "x", 0)),
        ("^.site", "document", 1, ("site",)),
        ("^.^.site.id", "document", 2, ("site", "id")),
        ("^[3]", "document", 1, (3,)),
        ("^.[3]", "document", 1, (3,)),
        ("^", "document", 1, ()),
        ("@value", "document", 0, ()),
        ("@key", "key", 0, ()),
        ("@key.sensor.id", "key", 0, ("sensor", "id")),
        ('@key."a.b"', "key", 0, ("a.b",)),
        ("@header.name", "header", 0, ("name",)),
        ("@header.a.b", "header", 0, ("a.b",)),
        ('@header."a b"', "header", 0, ("a b",)),
        ("@partition", "partition", 0, ()),
        ("@timestamp", "timestamp", 0, ()),
        ("@topic", "topic", 0, ()),
    ],
)
def test_paths(text: str, source: str, up: int, steps: tuple[str | int, ...]) -> None:
    assert parse_path(text) == (text, source, up, steps)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("", "write the name of a field"),
        ("$.x", "such as x"),
        ("$", "write names joined with dots"),
        ("$.a.b", "such as a.b"),
        ("/a/b", "such as a.b"),
        ("p[0", "with a closing bracket"),
        ("p[", "with a closing bracket"),
        ("p[]", 'records = "name[]"'),
        ("p[*]", 'records = "name[]"'),
        ("p[-1]", "a whole number from 0 on"),
        ("p[x]", "a whole number from 0 on"),
        ("p[٣]", "a whole number from 0 on"),
        ("p['x']", 'write the name behind a dot, as ."x"'),
        ('p["x"]', 'write the name behind a dot, as ."x"'),
        ("p[0]x", "put a dot before 'x'"),
        ("a..b", "single dots"),
        (".a", "single dots"),
        ("a.", "single dots"),
        ("a]", "put a dot before ']'"),
        ('a"b"', "put a dot before"),
        ('"a', "closing quote"),
        ('""', "must not be empty"),
        (" a", "leave it out"),
        ("a ", "leave it out"),
        ("@", "@header.name"),
        ("@headers.a", "@header.name"),
        ("@header", "such as @header.sensor"),
        ("@header.", "such as @header.sensor"),
        ("@key.", "write the name of a field"),
        ("@offset", "@partition"),
        ("@value.x", "@value"),
    ],
)
def test_what_is_no_path_is_told_with_its_remedy(text: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_path(text)
    assert remedy in str(caught.value)
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["$.a.b", "/a/b", "$x", "@offset", "@x.y"])
def test_the_advice_for_an_unusual_name_can_be_followed(text: str) -> None:
    quoted = json.dumps(text)
    assert parse_path(quoted).steps == (text,)


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
STEPS = st.lists(NAMES | st.integers(0, 999), min_size=1, max_size=5)


def written(steps: list[str | int]) -> str:
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            quoted = '"' + step.replace("\\", "\\\\").replace('"', '\\"') + '"'
            text += "." * bool(text) + quoted
    return text


@settings(deadline=None)
@given(STEPS, st.integers(0, 3))
def test_every_name_can_be_written(steps: list[str | int], up: int) -> None:
    assert parse_path("^." * up + written(steps))[1:] == ("document", up, tuple(steps))


@settings(deadline=None)
@given(st.text(max_size=12) | st.text('ab.[]0^@$"\\ ', max_size=12))
def test_any_text_is_a_path_or_a_sentence(text: str) -> None:
    with suppress(ConfigError):
        path = parse_path(text)
        assert path.text == text
        assert path.name


@settings(deadline=None)
@given(st.lists(st.text("abc", min_size=1), min_size=1))
def test_plain_paths_are_names_joined_with_dots(names: list[str]) -> None:
    path = parse_path(".".join(names))
    assert path.is_plain
    assert path.steps == tuple(names)
    assert path.name == "_".join(names)


@pytest.mark.parametrize("text", ['"a.b"', '"a"', "a[0]", "^.a", "@key", "@header.a", "@value"])
def test_other_paths_are_not_plain(text: str) -> None:
    assert not parse_path(text).is_plain


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x", "x"),
        ("x", '"x"'),
        ("x", "x.y"),
        ("x[0]", "x"),
        ("^.x", "^.x.y"),
        ("@key", "@key.id"),
        ("@value", "x"),
    ],
)
def test_a_field_is_read_once(one: str, other: str) -> None:
    for pair in ((one, other), (other, one)):
        with pytest.raises(ConfigError):
            refuse_overlap([parse_path("z"), *map(parse_path, pair)])


def test_fields_beside_each_other_do_not_overlap() -> None:
    paths: list[Path] = [
        parse_path(text) for text in ("x", "^.x", "@key.x", "@header.x", "y.x", "y[0]", "z[1]")
    ]
    refuse_overlap(paths)
