"""What the README shows is run: Python, configuration files, commands, keys and links."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main

from ewma_ops.commands.cli import _parser
from ewma_ops.settings.load import load
from ewma_ops.settings.model import Settings
from tests.helpers.jobs import Job

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TEXT = README.read_text()
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
ELSEWHERE = {"cd", "docker", "git", "pip"}
"""Programs that cannot be asked here whether they understand a line."""


class Block(NamedTuple):
    line: int
    text: str


def blocks(kind: str) -> list[Any]:
    return [
        pytest.param(Block(line, found[2]), id=f"line {line}")
        for found in BLOCK.finditer(TEXT)
        for line in [TEXT.count("\n", 0, found.start()) + 1]
        if found[1] == kind
    ]


def commands() -> list[Any]:
    """Return the command lines of the console blocks as words, without what the shell sets."""
    shown = "".join(param.values[0].text for param in blocks("console")).replace("\\\n", " ")
    lines = [
        shlex.split(line.removeprefix("$ "), comments=True)
        for line in re.sub(r"^(\$ )?([A-Z_]+=\S+ )+", "", shown, flags=re.MULTILINE).splitlines()
    ]
    return [pytest.param(words, id=shlex.join(words)) for words in lines if words]


def test_there_is_something_to_run() -> None:
    assert blocks("python")
    assert blocks("toml")
    assert {"make demo", "make test"} <= {param.id for param in commands()}
    assert {found[1] for found in BLOCK.finditer(TEXT)} <= {"python", "toml", "console", "json"}
    assert TEXT.count("```") == 2 * len(BLOCK.findall(TEXT))


@pytest.mark.parametrize("block", blocks("python"))
def test_python(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile("\n" * block.line + block.text, README, "exec"), names)
    for flow in [value for value in names.values() if isinstance(value, Dataflow)]:
        run_main(flow)
        assert capsys.readouterr().out, "the dataflow puts nothing out"


@pytest.mark.parametrize("block", blocks("toml"))
def test_configuration(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "readme.toml"
    path.write_text(block.text)
    assert isinstance(load(path), Settings)


@pytest.mark.parametrize("words", commands())
def test_command(words: list[str]) -> None:
    program, *arguments = words
    if program == "make":
        goals = {word for word in arguments if not word.startswith("-") and "=" not in word}
        assert goals
        assert goals <= TARGETS
    elif program == "ewma":
        assert callable(_parser().parse_args(arguments).command)
    elif "bytewax.run" in arguments:
        module = arguments[arguments.index("bytewax.run") + 1]
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file()
    else:
        assert program in ELSEWHERE


@pytest.mark.parametrize(
    ("program", "word"), sorted(set(re.findall(r"`(ewma|make) ([\w-]+)", BLOCK.sub("", TEXT))))
)
def test_command_within_the_text(program: str, word: str) -> None:
    if program == "make":
        assert word in TARGETS
    else:
        with pytest.raises(SystemExit) as end:
            _parser().parse_args([word, "--help"])
        assert end.value.code == 0


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", TEXT))))
def test_link_within_the_repository(target: str) -> None:
    assert (ROOT / target).exists()


@pytest.mark.parametrize(
    ("table", "key", "default"), re.findall(r"^\| `(\w+)\.(\w+)` \| `([^`]+)`", TEXT, re.MULTILINE)
)
def test_default_in_the_table_of_keys(tmp_path: Path, table: str, key: str, default: str) -> None:
    job = Job("127.0.0.1:1", tmp_path, partitions=())
    job.configure(**{table: {key: None}})
    left_out = load(job.path)
    job.configure(**{table: {key: json.loads(default)}})
    assert load(job.path) == left_out
