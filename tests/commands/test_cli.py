"""The command line as its user meets it: what is said, where, and with which exit code."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ewma_ops
from ewma_ops.commands.cli import main
from ewma_ops.connectors import partition_count
from ewma_ops.demo.broker import free_port
from tests.helpers.jobs import (
    EWMA,
    Finished,
    Job,
    Reading,
    as_parquet,
    assert_told,
    ewma,
    finished,
    made_up,
    started,
    wait_until,
)
from tests.helpers.patience import PATIENCE_S

Changes = Mapping[str, Mapping[str, object]]
MakeTopic = Callable[..., str]
Here = Callable[..., Finished]


@pytest.fixture
def job(embedded: str, tmp_path: Path) -> Job:
    return Job(embedded, tmp_path, partitions=(2, 3, 1))


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> Callable[..., Finished]:
    """Run the ``ewma`` command in this process: for what ends before it starts another."""

    def run(*arguments: str) -> Finished:
        capsys.readouterr()
        try:
            code = main(arguments)
        except SystemExit as left:
            code = int(left.code or 0)
        return Finished(arguments, code, *capsys.readouterr())

    return run


def test_version() -> None:
    done = ewma("--version")
    assert (done.returncode, done.stdout) == (0, f"ewma {ewma_ops.__version__}\n")


def test_help_names_the_commands_and_their_options(here: Here) -> None:
    done = here("--help")
    assert done.returncode == 0
    for command in ("run", "check", "demo", "feed"):
        assert f"\n    {command} " in done.stdout
    assert "--workers" in here("run", "--help").stdout
    assert "--create-topics" in here("check", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "COMMAND"),
        (["rum"], "there is no command 'rum'; did you mean run?"),
        (["run"], "CONFIG.toml"),
        (["run", "x.toml", "--workers", "0"], "'0' is not a whole number from 1 to 1,024"),
        (["run", "x.toml", "--workers", "two"], "'two' is not a whole number from 1 to"),
        (["run", "no-such-file.toml"], "no-such-file.toml: there is no such file"),
        (["check", "."], ".: a directory; give the path of a TOML file"),
    ],
)
def test_mistakes_in_the_command_line(here: Here, arguments: list[str], says: str) -> None:
    assert_told(here(*arguments), 2, says)


def test_text_that_the_encoding_of_the_output_lacks_is_escaped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "latin-1"))
    assert main(["check", "--offline", "--json", "größe-日本.toml"]) == 2
    print("größe-日本-\U0001f600")
    sys.stdout.flush()
    assert written.getvalue() == "größe-\\u65e5\\u672c-\\ud83d\\ude00\n".encode("latin-1")
    assert json.loads(f'"{written.getvalue().decode("latin-1")[:-1]}"') == "größe-日本-\U0001f600"


def test_a_reader_that_has_enough_is_no_fault(tmp_path: Path) -> None:
    job = Job("127.0.0.1:1", tmp_path, partitions=())
    with started([*EWMA, "check", str(job.path), "--offline"]) as check:
        assert check.stdout is not None
        check.stdout.close()
        check.stdout = None
        assert check.communicate(timeout=PATIENCE_S)[1] == ""
        assert check.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"smooth": {"beta": 1.5}}, "smooth.beta is 1.5: it must be finite, and 0 <= beta < 1"),
        ({"smooth": {"beta": None, "halflife": "5 parsecs"}}, "5 parsecs"),
        ({"smooth": {"alpha": 0.1}}, "[smooth]"),
        ({"input": {"tpoic": "x"}}, "input.tpoic is not known; did you mean topic?"),
        ({"input": {"topic": None}}, 'input.topic is missing; add topic = "readings"'),
        ({"input": {"stop": "maybe"}}, 'input.stop = "maybe" must be "never" or "end"'),
        ({"input": {"start": "yesterday"}}, "2026-01-31T00:00:00Z"),
        ({"output": {"delivery": "twice"}}, 'output.delivery = "twice" must be'),
        ({"recovery": {"interval": "soon"}}, '"10s"'),
    ],
    ids=str,
)
def test_mistakes_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, changes: Changes, says: str
) -> None:
    job = Job("127.0.0.1:1", tmp_path, partitions=())
    job.configure(**changes)
    assert main([command, str(job.path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"ewma: {job.path}: ")
    assert says in said.err


def test_all_mistakes_in_a_file_are_told_at_once(here: Here, tmp_path: Path) -> None:
    job = Job("127.0.0.1:1", tmp_path, partitions=())
    job.configure(smooth={"beta": -1, "start_up": "purple"}, input={"stop": "maybe"})
    assert_told(here("run", str(job.path)), 2, "3 mistakes", "smooth.beta", "purple", "maybe")


@pytest.mark.parametrize(
    ("text", "line"), [("[kafka]\n[input\n", "line 2"), ('[kafka]\na = "\xff"', "line 2")]
)
def test_what_is_not_toml_is_told_with_its_line(
    here: Here, tmp_path: Path, text: str, line: str
) -> None:
    path = tmp_path / "job.toml"
    path.write_bytes(text.encode("latin-1"))
    assert_told(here("run", str(path)), 2, f"{path}, {line}")


@pytest.mark.parametrize("table", ["input", "output", "dead_letters"])
def test_a_missing_topic_is_named_before_anything_runs(job: Job, table: str) -> None:
    job.configure(**{table: {"topic": "no-such"}})
    mend = "--create --topic no-such"
    for command in ("run", "check"):
        done = ewma(command, str(job.path))
        assert_told(done, 2, f"topic 'no-such' does not exist at {job.bootstrap}", mend)
        assert "started" not in done.stderr


def test_times_are_given_with_their_unit(here: Here, tmp_path: Path) -> None:
    for option in ("--grace=20", "--wait=soon"):
        done = here("run", option, str(tmp_path / "job.toml"))
        assert_told(done, 2, "is not a duration", '"90s"')


@pytest.mark.slow
def test_each_command_starts_in_an_interpreter_of_its_own(job: Job, tmp_path: Path) -> None:
    """What ``ewma`` of the tests runs is forked: what is missing there it may have by others."""
    job.configure(notify={"topic": "no-such", "webhook": "http://127.0.0.1:1"})
    path, topic, page = str(job.path), f"--topic={job.input}", tmp_path / "page.html"
    job.send(made_up(20, series=2))
    for arguments, code, says in [
        (["init", f"--bootstrap-servers={job.bootstrap}", topic], 0, "[smooth]"),
        (["check", path], 0, job.output),
        (["run", path], 0, "state saved"),
        (["verify", path], 0, "exactly once"),
        (["redrive", path, "--dry-run"], 0, "no letters"),
        (["top", path, "--once"], 0, "2 series"),
        (["plot", path, "--series=sensor-1", f"--output={page}"], 0, "readings"),
        (["notify", path], 2, "topic 'no-such' does not exist"),
        (["watch", path, f"--bind={job.bootstrap}"], 2, job.bootstrap),  # where the broker listens
    ]:
        done = subprocess.run(
            [*EWMA, *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
        assert done.returncode == code, done
        assert says in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_no_broker(job: Job) -> None:
    address = f"127.0.0.1:{free_port()}"
    job.configure(kafka={"bootstrap_servers": address, "bootstrap_timeout_ms": 500})
    for command in (["run", "--wait=1s"], ["run", "--wait=0"], ["check"]):
        done = ewma(*command, str(job.path))
        assert_told(done, 1, f"no Kafka broker answered at {address}", "kafka.bootstrap_servers")


def test_a_wrong_password_is_told_and_not_shown(
    kafka_sasl: tuple[str, str, str], kafka: str, tmp_path: Path
) -> None:
    address, user, password = kafka_sasl
    job = Job(kafka, tmp_path)
    job.configure(
        kafka={
            "bootstrap_servers": address,
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": user,
            "sasl_plain_password": "${PASSWORD}",
        }
    )
    path = str(job.path)
    job.send([Reading("s", 0, 1.0)])
    assert ewma("run", path, PASSWORD=password).returncode == 0
    assert job.events(1)
    for command in ("run", "check"):
        done = ewma(command, path, PASSWORD="open sesame")
        assert_told(done, 2, f"refused user '{user}'", "kafka.sasl_plain_username")
        assert "sesame" not in done.stdout + done.stderr
    assert_told(ewma("run", path), 2, "kafka.sasl_plain_password", "variable PASSWORD")


@pytest.mark.parametrize("below", ["", "state"])
def test_a_recovery_directory_that_is_a_file(job: Job, tmp_path: Path, below: str) -> None:
    there = tmp_path / "file"
    there.touch()
    job.configure(recovery={"directory": str(there / below)})
    assert_told(ewma("run", str(job.path)), 2, f"'{there / below}'", "name a directory")


def test_a_recovery_directory_that_cannot_be_written_to(job: Job, tmp_path: Path) -> None:
    as_anybody: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write anywhere, and there is no setpriv to take that away")
        as_anybody = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    there = tmp_path / "state"
    there.mkdir(mode=0o555)
    done = finished([*as_anybody, *EWMA, "run", str(job.path)])
    assert_told(done, 2, f"'{there}", "Permission denied", "make it writable")


def test_another_decay_on_an_old_recovery_directory(job: Job) -> None:
    job.send(made_up(50, series=3))
    job.run()
    job.configure(smooth={"beta": 0.8})
    done = ewma("run", str(job.path))
    assert_told(done, 2, f"'{job.state}'", "beta=0.9", "beta=0.8", "another directory")
    assert "started" not in done.stderr
    job.configure()
    job.run()
    assert sum(map(len, job.events(50).values())) == 50


def test_a_recovery_directory_in_use(job: Job) -> None:
    job.configure(input={"stop": "never"})
    with job.running() as run:
        wait_until((job.state / "manifest.json").exists)
        done = ewma("run", str(job.path))
        assert_told(done, 2, f"'{job.state}' is in use by process {run.pid}", "another directory")
        run.send_signal(signal.SIGTERM)
        assert run.wait(PATIENCE_S) == 0
    job.configure()
    job.run()


def test_check_offline_says_what_will_run(here: Here, tmp_path: Path) -> None:
    job = Job(f"127.0.0.1:{free_port()}", tmp_path, partitions=())
    job.configure(
        kafka={"sasl_plain_password": "sesame"},
        smooth={"beta": None, "halflife": "5min", "start_up": "first", "missing": "decay"},
    )
    done = here("check", "--offline", str(job.path))
    assert (done.returncode, done.stderr) == (0, "")
    words = [job.bootstrap, job.input, job.output, job.dead_letters, str(job.state)]
    for word in [*words, "5min", "first", "decay", "exactly-once", "stop end"]:
        assert word in done.stdout
    assert "sesame" not in done.stdout
    assert len(done.stdout.splitlines()) <= 24


def test_check_says_what_the_flow_starts_from(here: Here, tmp_path: Path) -> None:
    past, job = tmp_path / "past.parquet", Job("127.0.0.1:1", tmp_path, partitions=())
    as_parquet(made_up(1200, series=7), past)
    job.configure(smooth={"warm_start": str(past)})
    done = here("check", "--offline", str(job.path))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{past}: 1,200 readings of 7 series" in done.stdout


@pytest.mark.parametrize(
    ("columns", "by", "said"),
    [
        (None, {"beta": 0.9}, "past.parquet: there is no such file"),
        (["series_id"], {"beta": 0.9}, "has no column 'value'; it has series_id"),
        (["series_id", "value"], {"beta": None, "halflife": "1h"}, "has no column 'ts'"),
    ],
)
def test_a_start_that_cannot_be_read_is_told_before_anything_runs(
    job: Job, tmp_path: Path, columns: list[str] | None, by: dict[str, object], said: str
) -> None:
    past = tmp_path / "past.parquet"
    if columns is not None:
        pq.write_table(pa.table({name: ["a"] for name in columns} | {"value": [1.0]}), past)
        pq.write_table(pq.read_table(past).select(columns), past)
    job.configure(smooth={**by, "warm_start": str(past)})
    for command in (["check", "--offline"], ["run"]):
        done = ewma(*command, str(job.path))
        assert_told(done, 2, said)
        assert "started" not in done.stderr


def test_a_start_with_a_row_that_is_no_reading_is_told(job: Job, tmp_path: Path) -> None:
    past = tmp_path / "past.parquet"
    pq.write_table(pa.table({"series_id": ["a", None], "value": [1.0, 2.0]}), past)
    job.configure(smooth={"warm_start": str(past)})
    job.send(made_up(10, series=1))
    for command in (["check", "--offline"], ["run"]):
        assert_told(ewma(*command, str(job.path)), 2, f"{past}, row 1: series_id is null")


def test_another_start_on_an_old_recovery_directory(job: Job, tmp_path: Path) -> None:
    past = tmp_path / "past.parquet"
    as_parquet(made_up(10, series=3), past)
    job.configure(smooth={"warm_start": str(past)})
    job.send(made_up(50, series=3))
    job.run()
    moved = past.rename(tmp_path / "moved.parquet")
    job.configure(smooth={"warm_start": str(moved)})
    job.run()
    as_parquet(made_up(11, series=3), moved)
    done = ewma("run", str(job.path))
    assert_told(done, 2, f"'{job.state}'", "warm start was '", "another directory")
    assert sum(map(len, job.events(50).values())) == 50


def test_check_looks_at_the_topics_and_creates_what_is_missing(job: Job) -> None:
    output, dead_letters = f"{job.output}-new", f"{job.dead_letters}-new"
    job.configure(output={"topic": output}, dead_letters={"topic": dead_letters})
    assert_told(ewma("check", str(job.path)), 2, f"topic '{output}' does not exist")
    client = {"bootstrap_servers": job.bootstrap}
    for _ in range(2):  # the second finds them there
        done = ewma("check", "--create-topics", str(job.path))
        assert (done.returncode, done.stderr) == (0, "")
        for topic in (job.input, output, dead_letters):
            assert f"\n{topic}: 2 partitions" in done.stdout
            assert partition_count(client, topic) == 2
    assert ewma("check", str(job.path)).returncode == 0
    assert not job.state.exists(), "looking leaves nothing behind"


def test_check_never_creates_the_input_topic(job: Job) -> None:
    job.configure(input={"topic": "no-such-input"})
    done = ewma("check", "--create-topics", str(job.path))
    assert_told(done, 2, "topic 'no-such-input' does not exist")


def test_an_unknown_security_protocol_is_refused(job: Job) -> None:
    job.configure(kafka={"security_protocol": "TLS"})
    assert_told(ewma("run", str(job.path)), 2, "kafka.security_protocol", "SASL_SSL")


def test_check_offline_knows_the_options_of_kafka_python(here: Here, tmp_path: Path) -> None:
    job = Job("127.0.0.1:1", tmp_path, partitions=())
    job.configure(kafka={"fetch_max_wait": 7})
    done = here("check", "--offline", str(job.path))
    assert_told(done, 2, "kafka.fetch_max_wait", "did you mean fetch_max_wait_ms?")


_THREADS = """
import os, sys
from pathlib import Path
from ewma_ops.commands import cli
assert "numpy" not in sys.modules, "imported before it is told how many threads to start"
cli.one_thread_for_matrices()
import numpy
threads = len(list(Path("/proc/self/task").iterdir())) if Path("/proc/self/task").exists() else 1
print(os.environ["OPENBLAS_NUM_THREADS"], threads)
"""


@pytest.mark.parametrize("own", [None, "3"])
def test_numpy_starts_no_threads_unless_the_user_says_so(own: str | None) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    if own is not None:
        environment["OPENBLAS_NUM_THREADS"] = own
    command = [sys.executable, "-c", _THREADS]
    said = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    setting, threads = said.stdout.split()
    assert setting == (own or "1")
    assert own is not None or threads == "1"
