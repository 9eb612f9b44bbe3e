"""The command line: ``ewma init | check | run | try | redrive | verify | watch | design | ...``.

Knows arguments, exit codes and what a user sees; the work is done elsewhere.
Exit codes: 0 success, 1 environment failure, 2 user error; of ``run`` also 128 + n, after a second
signal n.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ewma_ops import __version__
from ewma_ops.commands import design, looking_back, plan, watch
from ewma_ops.commands.arguments import Commands, moment, seconds, whole
from ewma_ops.commands.terminal import escape_unwritable
from ewma_ops.errors import EwmaError
from ewma_ops.job.log import configured, print_line
from ewma_ops.job.relay import relayed_stderr
from ewma_ops.lazy import importing
from ewma_ops.secrets.masking import masked_traceback

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    escape_unwritable()
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser, names = _declared()
    if not given:
        parser.print_help(sys.stderr)
        return 2
    if not given[0].startswith("-") and given[0] not in names:
        near = difflib.get_close_matches(given[0], names, 1)
        fix = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
        parser.error(f"there is no command {given[0]!r}; {fix}")
    options = parser.parse_args(given)
    with contextlib.ExitStack() as options.stack:  # what a command opens, until errors are reported
        return _carried_out(options)


def _carried_out(options: argparse.Namespace) -> int:
    try:
        code = int(options.command(options))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader of the output has closed it; Python would report that again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except EwmaError as error:
        _complain(f"ewma: {error}")
        return 2 if error.fault == "user" else 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - shown whole, but for secrets
        _complain(f"ewma: a fault in the program\n{masked_traceback(error)}")
        return 1


def _complain(text: str) -> None:
    """Print the error that ended the command: to the log of ``ewma run``, else as plain text."""
    with relayed_stderr():
        print_line(text, logging.ERROR)


def _parser() -> argparse.ArgumentParser:
    return _declared()[0]


def _declared() -> tuple[argparse.ArgumentParser, list[str]]:
    """Return the parser, and the names of the commands."""
    parser = argparse.ArgumentParser(
        prog="ewma",
        description="Exponentially weighted statistics of Kafka topics, on Bytewax.",
    )
    parser.add_argument("--version", action="version", version=f"ewma {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_init(commands)
    _add_jobs(commands)
    _add_tools(commands)
    watch.add_command(commands)
    design.add_command(commands)
    plan.add_command(commands)
    _add_alarm_tools(commands)
    looking_back.add_commands(commands)

    demo = commands.add_parser("demo", help="run a job on real data, with an embedded broker")
    demo.add_argument("--forever", action="store_true", help="continue with synthetic ticks")
    demo.add_argument("--directory", type=Path, metavar="DIR", help="where to keep its files")
    demo.add_argument("--no-watch", action="store_true", help="do not serve the live page")
    demo.set_defaults(command=_demo)

    feed = commands.add_parser("feed", help="send the demo's readings to a topic")
    feed.add_argument("--bootstrap-servers", required=True, metavar="HOST:PORT")
    feed.add_argument("--topic", default="readings")
    feed.add_argument("--forever", action="store_true", help="continue with synthetic ticks")
    feed.set_defaults(command=_feed)
    return parser, [*commands.choices]


def _add_init(commands: Commands) -> None:
    init = commands.add_parser("init", help="look at a topic, and write a configuration file")
    init.add_argument("--bootstrap-servers", required=True, metavar="HOST:PORT")
    init.add_argument("--topic", required=True)
    init.add_argument("--output", type=Path, metavar="FILE", help="the file (standard output)")
    init.add_argument("--force", action="store_true", help="replace the file, if there is one")
    init.add_argument(
        "--kafka",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a connection option, such as security_protocol=SSL; may be repeated",
    )
    init.add_argument("--registry", metavar="URL", help="the Schema Registry of the messages")
    init.set_defaults(command=_init)


def _add_cluster(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "--cluster",
        metavar="HOST:PORT;...",
        help="the hosts of the job, in order; the first keeps the state (EWMA_CLUSTER)",
    )
    run.add_argument(
        "--place", type=int, metavar="N", help="which of them this is, from 0 (EWMA_PLACE)"
    )


def _add_jobs(commands: Commands) -> None:
    run = commands.add_parser("run", help="smooth a topic as a configuration file says")
    run.add_argument("config", type=Path, metavar="CONFIG.toml")
    run.add_argument("--workers", type=whole(1, 1024), default=1, metavar="N", help="processes (1)")
    _add_cluster(run)
    run.add_argument(
        "--grace",
        type=seconds,
        default="20s",
        metavar="TIME",
        help="time limit of a graceful stop (20s)",
    )
    run.add_argument(
        "--wait",
        type=seconds,
        default="60s",
        metavar="TIME",
        help="how long to wait for brokers at the start (60s)",
    )
    run.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="of each line (text)"
    )
    much = run.add_mutually_exclusive_group()
    for flags, verbosity, text in (
        (("-q", "--quiet"), "quiet", "log warnings and errors only"),
        (("-v", "--verbose"), "verbose", "log details that help to find a fault"),
    ):
        much.add_argument(
            *flags, dest="verbosity", action="store_const", const=verbosity, help=text
        )
    run.set_defaults(command=_run, verbosity="normal")

    check = commands.add_parser("check", help="validate a configuration file, and its topics")
    check.add_argument("config", type=Path, metavar="CONFIG.toml")
    check.add_argument("--offline", action="store_true", help="do not connect to Kafka")
    check.add_argument(
        "--create-topics", action="store_true", help="create the output topics that are missing"
    )
    check.add_argument(
        "--wait", type=seconds, default="0", metavar="TIME", help="how long to wait for brokers"
    )
    check.add_argument(
        "--sample",
        type=whole(0, 10_000),
        default=100,
        metavar="N",
        help="newest messages to look at (100)",
    )
    check.add_argument("--json", action="store_true", help="print one JSON object")
    check.set_defaults(command=_check)


def _add_tools(commands: Commands) -> None:
    verify = commands.add_parser("verify", help="check the output topic against the input topic")
    verify.add_argument("config", type=Path, metavar="CONFIG.toml")
    verify.set_defaults(command=_verify)

    try_ = commands.add_parser("try", help="smooth the messages of a file, without a broker")
    try_.add_argument("config", type=Path, metavar="CONFIG.toml")
    try_.add_argument("file", metavar="FILE", help="a message a line; - for standard input")
    try_.add_argument(
        "--values", action="store_true", help="each line is the value of a message, verbatim"
    )
    try_.add_argument(
        "--json", action="store_true", help="print everything as JSON, one object a line"
    )
    try_.set_defaults(command=_try)

    redrive = commands.add_parser("redrive", help="send dead letters back to the input topic")
    redrive.add_argument("config", type=Path, metavar="CONFIG.toml")
    redrive.add_argument("--dry-run", action="store_true", help="only print what would be sent")
    redrive.add_argument(
        "--cause",
        action="append",
        default=[],
        help="send letters of this cause; may be repeated (all)",
    )
    for name, when in (("--since", "written then or later"), ("--until", "written before")):
        redrive.add_argument(name, type=moment, metavar="TIME", help=f"letters {when}")
    redrive.add_argument(
        "--again", action="store_true", help="also those that were sent and rejected again"
    )
    redrive.add_argument(
        "--whole-messages",
        action="store_true",
        help="also messages of which other readings were accepted: those are counted twice",
    )
    redrive.add_argument("--json", action="store_true", help="print one JSON object")
    redrive.set_defaults(command=_redrive)


def _add_alarm_tools(commands: Commands) -> None:
    notify = commands.add_parser("notify", help="send alarms to Alertmanagers or a webhook")
    notify.add_argument("config", type=Path, metavar="CONFIG.toml")
    notify.set_defaults(command=_notify)

    explain = commands.add_parser("explain", help="show which readings raised an alarm")
    explain.add_argument("alarm", metavar="ALARM_ID")
    explain.add_argument("config", type=Path, metavar="CONFIG.toml")
    explain.add_argument("--json", action="store_true", help="print one JSON object")
    explain.set_defaults(command=_explain)


def one_thread_for_matrices() -> None:
    """Keep NumPy from starting threads for matrices, here and in child processes.

    It starts one for each core when it is imported, a quarter of the cost of the import. A flow has
    no matrices. A setting of the user's takes precedence.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _run(options: argparse.Namespace) -> int:
    one_thread_for_matrices()
    with importing():
        from ewma_ops.job.cluster.layout import find_cluster
        from ewma_ops.job.launcher import launch, workers_ahead
        from ewma_ops.job.lookups import JobLookups
        from ewma_ops.settings.load import load

    log = configured("launcher", options.log_format, options.verbosity)
    if options.log_format == "json":
        options.stack.enter_context(log)
        settings = load(options.config)
    else:  # report mistakes in the file as `ewma check` does
        settings = load(options.config)
        options.stack.enter_context(log)
    start = options.stack.enter_context(workers_ahead(options.workers))
    return launch(
        options.config,
        options.workers,
        JobLookups(settings),
        grace_s=options.grace,
        wait_s=options.wait,
        log_format=options.log_format,
        verbosity=options.verbosity,
        start=start,
        cluster=find_cluster(options.cluster, options.place, options.workers),
    )


def _check(options: argparse.Namespace) -> int:
    one_thread_for_matrices()
    with importing():
        from ewma_ops.commands.check import check

    return check(
        options.config,
        offline=options.offline,
        create_topics=options.create_topics,
        wait_s=options.wait,
        sample=options.sample,
        as_json=options.json,
    )


def _try(options: argparse.Namespace) -> int:
    with importing():
        from ewma_ops.commands.try_job import try_job

    return try_job(options.config, options.file, values=options.values, as_json=options.json)


def _init(options: argparse.Namespace) -> int:
    with importing():
        from ewma_ops.commands.init import init

    return init(
        options.bootstrap_servers,
        options.topic,
        output=options.output,
        options=options.kafka,
        registry=options.registry,
        force=options.force,
    )


def _redrive(options: argparse.Namespace) -> int:
    with importing():
        from ewma_ops.commands.redrive import redrive

    return redrive(
        options.config,
        causes=options.cause,
        since_ms=options.since,
        until_ms=options.until,
        again=options.again,
        whole_messages=options.whole_messages,
        dry_run=options.dry_run,
        as_json=options.json,
    )


def _notify(options: argparse.Namespace) -> int:
    with importing():
        from ewma_ops.commands.notify import run_notify

    return run_notify(options.config)


def _explain(options: argparse.Namespace) -> int:
    with importing():
        from ewma_ops.commands.explain import explain_alarm

    return explain_alarm(options.alarm, options.config, as_json=options.json)


def _verify(options: argparse.Namespace) -> int:
    with importing():
        from ewma_ops.commands.verify import verify
        from ewma_ops.settings.load import load

    findings = verify(load(options.config), lambda line: print(line, file=sys.stderr))
    print(findings)
    known = findings.faults or not findings.unknowable
    wrong = "NOT exactly once" if known else "exactly once, as far as can be known"
    print("exactly once" if findings.right else wrong)
    return 0 if findings.right else 1


def _demo(options: argparse.Namespace) -> int:
    with importing():
        from ewma_ops.demo.run import run_demo

    return run_demo(
        forever=options.forever, directory=options.directory, watch=not options.no_watch
    )


def _feed(options: argparse.Namespace) -> int:
    with importing():
        from ewma_ops.demo.feed import feed

    sent = feed(options.bootstrap_servers, options.topic, forever=options.forever)
    print(f"sent {sent:,} readings to {options.topic}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
