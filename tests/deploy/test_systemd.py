"""The service unit for systemd: it fits the command line, and systemd understands it."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from ewma_ops.commands import cli
from tests.helpers.servers import required

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "ewma@.service"
ANALYZE = ("systemd-analyze",)


def service() -> dict[str, str]:
    """Return the last value of each setting of ``[Service]``."""
    _, _, text = UNIT.read_text("utf-8").partition("[Service]\n")
    lines = [line for line in text.partition("\n[")[0].splitlines() if "=" in line]
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def analyzed(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [required(ANALYZE), *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_command_line_is_understood_and_the_grace_is_within_that_of_the_service() -> None:
    own = service()
    name, _, chosen = shlex.split(own["Environment"])[0].partition("=")
    program, *arguments = own["ExecStart"].replace("%i", "trades").split()
    assert program == "/opt/ewma/bin/ewma"
    assert arguments.pop() == f"${name}"
    options = cli._parser().parse_args([*arguments, *chosen.split()])
    assert options.config == Path("/etc/ewma/trades.toml")
    assert float(own["TimeoutStopSec"]) >= options.grace + 10
    assert own["KillMode"] == "mixed", "the launcher stops its workers"
    assert own["RestartPreventExitStatus"] == "2", "a mistake of the user's"


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    text = UNIT.read_text("utf-8").replace("/opt/ewma/bin/ewma", sys.executable)
    unit.write_text(text)
    done = analyzed("verify", "--man=no", str(unit))
    assert (done.returncode, done.stderr) == (0, "")
    unit.write_text(text.replace("KillMode=mixed", "KillMode=mixd"))
    assert "kill mode" in analyzed("verify", "--man=no", str(unit)).stderr


def test_systemd_finds_the_service_well_confined(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_bytes(UNIT.read_bytes())
    done = analyzed("security", "--offline=true", "--threshold=15", "--no-pager", str(unit))
    assert done.returncode == 0, done.stdout + done.stderr
