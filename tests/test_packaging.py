"""What is installed, locked and shipped: the wheel, the locks, the Makefile, the compose file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import ewma_ops
from ewma_ops.compiled import library, sources
from ewma_ops.settings import load
from tests.helpers.patience import PATIENCE_S

pytestmark = pytest.mark.slow

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parents[1]
LOCKS = ["requirements.lock", "requirements-run.lock", "requirements-compiler.lock"]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    whole = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    return dict(whole["project"])


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text("utf-8")))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, built from a copy so that nothing is left in the repository."""
    source = tmp_path_factory.mktemp("source") / "ewma_ops"
    source.mkdir()
    for name in ["ewma_ops", "flows", "tests"]:
        shutil.copytree(REPOSITORY / name, source / name)
    sources.library_path(source / "ewma_ops" / "compiled").unlink(missing_ok=True)
    for name in ["pyproject.toml", "setup.py", "README.md", "LICENSE"]:
        shutil.copy(REPOSITORY / name, source)
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(target), str(source)]
    subprocess.run(command, check=True, timeout=170)
    (built,) = target.glob("*.whl")
    return built


def test_the_wheel_holds_both_packages_and_no_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        path.relative_to(REPOSITORY).as_posix()
        for package in ["ewma_ops", "flows"]
        for path in (REPOSITORY / package).rglob("*.py")
    }
    page = {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "ewma_ops/watch/static").rglob("*")
        if path.is_file()
    }
    assert len(page) > 5
    assert sources | page | {"ewma_ops/py.typed"} <= names
    assert not [name for name in names if name.startswith(("tests/", "build/"))]


def test_the_wheel_says_its_version_license_and_command(wheel: Path) -> None:
    name, version, python, abi, platform = wheel.stem.split("-")
    assert (name, version, python, abi) == ("ewma_ops", ewma_ops.__version__, "py3", "none")
    assert (platform == "any") == (sources.compiler() is None)
    with zipfile.ZipFile(wheel) as archive:
        info = f"ewma_ops-{ewma_ops.__version__}.dist-info"
        assert (
            "ewma = ewma_ops.commands.cli:main" in archive.read(f"{info}/entry_points.txt").decode()
        )
        assert f"{info}/licenses/LICENSE" in archive.namelist()
        assert "License-Expression: Apache-2.0" in archive.read(f"{info}/METADATA").decode()


@pytest.mark.skipif(sources.compiler() is None, reason="there is no C compiler")
def test_the_compiled_loops_in_the_wheel_are_those_of_its_sources(
    wheel: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
        assert (
            "Root-Is-Purelib: false"
            in archive.read(f"ewma_ops-{ewma_ops.__version__}.dist-info/WHEEL").decode()
        )
    kernels, missing = library.load(tmp_path / "ewma_ops" / "compiled", {})
    assert kernels is not None, missing


def test_without_a_compiler_the_package_is_built_without_loops(tmp_path: Path) -> None:
    for name in ["pyproject.toml", "setup.py", "README.md", "LICENSE"]:
        shutil.copy(REPOSITORY / name, tmp_path)
    for package in ["ewma_ops", "flows"]:
        ignored = shutil.ignore_patterns("__pycache__", "*.so")
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=ignored)
    command = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", "built"]
    environment = {**os.environ, "CC": "no-such-compiler"}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=170,
    )
    assert "warning: built without compiled loops: " in done.stderr
    built = tmp_path / "built" / "ewma_ops" / "compiled"
    assert library.load(built, {}) == (None, "they were not compiled")


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_and_hashes_everything_and_names_no_host(lock: str) -> None:
    text = (REPOSITORY / lock).read_text("utf-8")
    assert "://" not in text
    assert "--index" not in text
    for pin in re.findall(r"^[a-z0-9].*(?:\n    .*)*", text, re.MULTILINE):
        assert re.match(r"[a-z0-9.-]+==\S+ (; .* )?\\\n    --hash=sha256:[0-9a-f]{64}", pin), pin


def test_the_locks_hold_every_dependency(project: dict[str, Any]) -> None:
    extras = project["optional-dependencies"]
    run = project["dependencies"] + extras["avro"] + extras["codecs"] + extras["protobuf"]
    everything = run + extras["demo"] + extras["test"]
    assert {_name(d) for d in run} <= _pinned("requirements-run.lock").keys()
    assert {_name(d) for d in everything} - {"ewma-ops"} <= _pinned("requirements.lock").keys()


def test_what_runs_in_production_is_what_was_tested() -> None:
    tested = _pinned("requirements.lock")
    for name, versions in _pinned("requirements-run.lock").items():
        assert versions == tested[name]


def test_bytewax_is_pinned_because_its_recovery_store_is_read(project: dict[str, Any]) -> None:
    assert "bytewax==0.21.1" in project["dependencies"]
    assert _pinned("requirements.lock")["bytewax"] == {"0.21.1"}


def test_setup_says_which_python_it_needs(tmp_path: Path) -> None:
    old = tmp_path / "python2"
    old.write_text("#!/bin/sh\necho 3.9\n")
    old.chmod(0o755)
    for python, why in [(old, "is Python 3.9"), (tmp_path / "none", "not found")]:
        done = _make(tmp_path, "setup", f"PYTHON={python}")
        assert done.returncode != 0
        assert f"{python}: {why}" in done.stderr
        assert "ewma_ops needs Python 3.10, 3.11 or 3.12" in done.stderr
        assert "make setup PYTHON=" in done.stderr


def test_setup_says_when_venv_is_missing(tmp_path: Path) -> None:
    bare = tmp_path / "python3"
    bare.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\necho 3.12\n')
    bare.chmod(0o755)
    done = _make(tmp_path, "setup", f"PYTHON={bare}")
    assert done.returncode != 0
    assert "lacks venv (on Debian: apt install python3.12-venv)" in done.stderr


def test_help_lists_the_commands(tmp_path: Path) -> None:
    listed = re.findall(r"make (\w+)", _make(tmp_path, "help").stdout)
    assert {"setup", "demo", "test", "lint", "bench", "clean"} <= set(listed)


def test_the_flow_of_the_compose_file_is_valid(compose: dict[str, Any], tmp_path: Path) -> None:
    config = tmp_path / "flow.toml"
    config.write_text(compose["configs"]["flow"]["content"])
    loaded = load.load(config)
    created = re.findall(r"([\w-]+):\d+", compose["services"]["topics"]["command"][0])
    assert loaded.alarms is not None
    assert {loaded.input.topic, loaded.output.topic, loaded.alarms.topic} < set(created)
    mounted = [volume.split(":")[1] for volume in compose["services"]["flow"]["volumes"]]
    assert str(tomllib.loads(config.read_text())["recovery"]["directory"]) in mounted


def test_the_compose_file_holds_together(compose: dict[str, Any]) -> None:
    services, dockerfile = compose["services"], (REPOSITORY / "Dockerfile").read_text("utf-8")
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)
        assert {config["source"] for config in service.get("configs", ())} <= set(
            compose["configs"]
        )
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (
                (REPOSITORY / source).is_dir() if source[0] == "." else source in compose["volumes"]
            )
        if "build" in service:
            assert f" AS {service['build']['target']}\n" in dockerfile
    assert "healthcheck" in services["kafka"]
    assert "/readyz" in services["flow"]["healthcheck"]["test"][-1]
    for service in services.values():  # what is open is open to this machine alone
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    monitoring = {name for name, one in services.items() if one.get("profiles") == ["monitoring"]}
    assert monitoring == {"prometheus", "alertmanager", "grafana"}


def test_the_image_does_not_run_as_root() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text("utf-8")
    assert re.findall(r"^USER (.*)$", dockerfile, re.MULTILINE) == ["10001:10001"]


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9.-]+", requirement)
    assert found is not None
    return found[0]


def _pinned(lock: str) -> dict[str, set[str]]:
    versions: dict[str, set[str]] = {}
    text = (REPOSITORY / lock).read_text("utf-8")
    for name, version in re.findall(r"^([a-z0-9.-]+)==(\S+)", text, re.MULTILINE):
        versions.setdefault(name, set()).add(version)
    return versions


def _make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make in a folder where nothing has been set up."""
    for name in ["Makefile", "pyproject.toml", "setup.py", *LOCKS]:
        shutil.copy(REPOSITORY / name, folder)
    outside = {k: v for k, v in os.environ.items() if k not in {"MAKEFLAGS", "MAKELEVEL", "PYTHON"}}
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env=outside,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
