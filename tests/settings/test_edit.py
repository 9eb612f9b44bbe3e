"""A number written into a configuration file: nothing else of it changes."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from ewma_ops.errors import ConfigError
from ewma_ops.settings.edit import set_number, write_number
from ewma_ops.settings.toml_file import parse_file

FILE = """\
# a job
[input]
topic = "readings"   # where they come from
limit = 1

[alarms]
limit = 7            # of all
[ alarms . "level" ] # shifts
clear = 0.5
limit = 2.8          # designed: 1 per 500 readings
[alarms.spike]
clear = 0.5
"""


def test_a_number_is_replaced_where_it_is() -> None:
    changed = set_number(FILE, "alarms.level", "limit", 7.61)
    assert changed == FILE.replace("limit = 2.8  ", "limit = 7.61  ")


def test_a_number_that_is_missing_comes_first_in_its_table() -> None:
    changed = set_number(FILE, "alarms.spike", "limit", 4.0)
    assert changed == FILE.replace("[alarms.spike]\n", "[alarms.spike]\nlimit = 4.0\n")


def test_line_ends_and_the_end_of_the_file_stay() -> None:
    text = FILE.rstrip("\n").replace("\n", "\r\n")
    changed = set_number(text, "alarms.spike", "limit", 4.0)
    assert changed == text.replace("[alarms.spike]\r\n", "[alarms.spike]\r\nlimit = 4.0\r\n")
    assert set_number("[a]", "a", "b", 1.5) == "[a]\nb = 1.5"


@pytest.mark.parametrize(
    "text",
    ["", "[alarms]\nlevel = {clear = 0.5}\n", "[alarms]\nlevel.a = 0.5\n", "[[alarms.level]]"],
)
def test_a_table_without_a_header_is_left_to_its_owner(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape("write limit = 4.0 there yourself")):
        set_number(text, "alarms.level", "limit", 4.0)


def test_the_file_is_replaced_with_its_permissions_and_behind_its_link(tmp_path: Path) -> None:
    path, link = tmp_path / "job.toml", tmp_path / "link.toml"
    path.write_bytes(b"\xef\xbb\xbf" + FILE.encode())
    path.chmod(0o640)
    link.symlink_to(path)
    write_number(link, "alarms.level", "limit", 7.61)
    assert link.is_symlink()
    assert path.read_bytes() == b"\xef\xbb\xbf" + FILE.replace("2.8 ", "7.61 ").encode()
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["job.toml", "link.toml"] or len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize(
    "text",
    [
        '[alarms.level]\nnote = """\nlimit = 2\n"""\n',
        '[x]\nnote = """\n[alarms.level]\n"""\n[alarms]\nlevel = {}\n',
        "[alarms.level]\nlimit = [\n2]\n",
    ],
)
def test_what_would_change_anything_else_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "job.toml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        write_number(path, "alarms.level", "limit", 7.61)
    assert path.read_text() == text


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text(FILE)
    for value in (1.5, 1e-7, 123456.789, 3.0):
        write_number(path, "alarms.level", "limit", value)
        assert parse_file(path)["alarms"]["level"]["limit"] == value
    with pytest.raises(ConfigError, match="there is no such file"):
        write_number(tmp_path / "not.toml", "alarms.level", "limit", 1.0)
