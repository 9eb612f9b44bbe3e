"""What README, CONTRIBUTING and docs/ show is run or checked: code, commands, keys, links."""

from __future__ import annotations

import doctest
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
from tests.docs.make_api import PAGE, page
from tests.helpers.jobs import Job

ROOT = Path(__file__).parents[2]
HOME = "https://github.com/ewma-ops/ewma_ops/blob/main/"
"""Where links of the README lead: a package index shows it too, and has no other files."""

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KINDS = {"python", "toml", "console", "json", "text", "avsc", "proto"}
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
ELSEWHERE = {
    "cd",
    "cp",
    "curl",
    "docker",
    "git",
    "kcat",
    "kubectl",
    "kustomize",
    "pip",
    "systemctl",
}
"""Programs that cannot be asked here whether they understand a line."""


class Block(NamedTuple):
    page: Path
    line: int
    kind: str
    text: str


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _blocks_of(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found[1], found[2])
        for found in BLOCK.finditer(text)
    ]


BLOCKS = [block for page in PAGES for block in _blocks_of(page)]


def blocks(kind: str) -> list[Any]:
    return [
        pytest.param(block, id=f"{_name(block.page)}:{block.line}")
        for block in BLOCKS
        if block.kind == kind
    ]


def commands() -> list[Any]:
    """Return the command lines of the console blocks as words, without what the shell sets."""
    shown = "".join(block.text for block in BLOCKS if block.kind == "console")
    lines = re.sub(r"^(\$ )?([A-Z_]+=\S+ )+", "", shown.replace("\\\n", " "), flags=re.MULTILINE)
    every = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines.splitlines()]
    once = {shlex.join(words): words for words in every if words}
    return [pytest.param(words, id=line) for line, words in once.items()]


def prose(page: Path) -> str:
    return BLOCK.sub("", page.read_text("utf-8"))


def found_in_prose(pattern: str) -> list[Any]:
    """Return what a pattern finds outside the blocks of any page, each once."""
    return sorted({found for page in PAGES for found in re.findall(pattern, prose(page))})


def test_there_is_something_to_run() -> None:
    assert {"make demo", "make test"} <= {param.id for param in commands()}
    for kind in ("python", "toml"):
        assert any(block.kind == kind for block in BLOCKS if block.page.name == "README.md")


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_block_has_a_kind_and_an_end(page: Path) -> None:
    text = page.read_text("utf-8")
    assert {block.kind for block in _blocks_of(page)} <= KINDS
    assert text.count("```") == 2 * len(_blocks_of(page))


@pytest.mark.parametrize("block", blocks("python"))
def test_python(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    if ">>>" in block.text:
        return  # test_sessions runs the page as a whole
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile("\n" * block.line + block.text, block.page, "exec"), names)
    for flow in [value for value in names.values() if isinstance(value, Dataflow)]:
        run_main(flow)
        assert capsys.readouterr().out, "the dataflow puts nothing out"


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [p for p in PAGES if any(">>>" in block.text for block in _blocks_of(p))], ids=_name
)
def test_sessions(page: Path) -> None:
    found = doctest.testfile(
        str(page),
        module_relative=False,
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS,
        encoding="utf-8",
    )
    assert found.attempted > 0
    assert found.failed == 0


def completed(block: Block) -> str:
    """Return a configuration; the pages on data and alarms show what is of interest of one."""
    in_part = block.page.parent.name == "data" or block.page.name in ("your-data.md", "alarms.md")
    if not in_part:
        return block.text
    others = {
        "kafka": 'bootstrap_servers = "127.0.0.1:9092"',
        "input": 'topic = "readings"',
        "smooth": "beta = 0.9",
        "output": 'topic = "smoothed"',
    }
    added = [f"[{name}]\n{key}\n" for name, key in others.items() if f"[{name}]" not in block.text]
    return "".join([block.text, *added])


@pytest.mark.parametrize("block", blocks("toml"))
def test_configuration(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "page.toml"
    path.write_text(completed(block), "utf-8")
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
    ("program", "word"),
    found_in_prose(r"`(ewma|make) ([a-z]+)"),
)
def test_command_within_the_text(program: str, word: str) -> None:
    if program == "make":
        assert word in TARGETS
    else:
        with pytest.raises(SystemExit) as end:
            _parser().parse_args([word, "--help"])
        assert end.value.code == 0


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = target.removeprefix(HOME).removesuffix("?raw=true").partition("#")
        if target.startswith(HOME):
            found = ROOT / path
        elif ":" in target:
            continue
        else:
            assert page.name != "README.md" or page.parent != ROOT, (
                f"{target}: write {HOME}{target}"
            )
            found = page.parent / path if path else page
        assert found.exists(), target
        if anchor and found.suffix == ".md":
            assert anchor in _anchors(found), target


def _anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize(
    "path", found_in_prose(r"`((?:ewma_ops|tests|flows|docs)/[a-z_][\w/.{},-]*)`")
)
def test_paths_in_the_text_exist(path: str) -> None:
    stem, brace, rest = path.partition("{")
    names = rest.rstrip("}/").split(",") if brace else [""]
    for name in names:
        assert (ROOT / (stem + name)).exists(), stem + name


@pytest.mark.parametrize(
    ("table", "key", "default"),
    sorted(
        {
            found
            for page in PAGES
            for found in re.findall(
                r"^\| `(\w+)\.(\w+)` \| `([^`]+)`", page.read_text("utf-8"), re.MULTILINE
            )
        }
    ),
)
def test_default_in_a_table_of_keys(tmp_path: Path, table: str, key: str, default: str) -> None:
    job = Job("127.0.0.1:1", tmp_path, partitions=())
    needed: dict[str, dict[str, Any]] = {table: {}}
    if table == "registry":
        needed = {"registry": {"url": "http://127.0.0.1:1"}, "input": {"format": "avro"}}
    if table == "notify":
        needed = {"notify": {"webhook": "http://127.0.0.1:1"}}
    if table == "alarms":
        needed = {"alarms": {"level": {"limit": 4.0}}}
    needed[table][key] = None
    job.configure(**needed)
    left_out = load(job.path)
    needed[table][key] = json.loads(default)
    job.configure(**needed)
    assert load(job.path) == left_out


def test_the_page_of_public_names_is_up_to_date() -> None:
    assert page() == PAGE.read_text("utf-8"), "run: python -m tests.docs.make_api"
