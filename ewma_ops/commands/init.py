"""``ewma init``: look at a topic, and write a configuration file that runs, with comments.

Knows arguments and the text of the file; the messages are examined elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ewma_ops.commands.terminal import painted
from ewma_ops.connectors.client.options import check_options
from ewma_ops.connectors.newest import read_newest
from ewma_ops.errors import ConfigError
from ewma_ops.job.advice import as_toml
from ewma_ops.job.draft import Draft, draft, settings_for
from ewma_ops.job.report import by_cause, counted
from ewma_ops.job.showing import cut, shown_text
from ewma_ops.job.survey import Survey, survey
from ewma_ops.settings.load import load, load_tables
from ewma_ops.wire.records import ConsumerRecords

__all__ = ["file_text", "init"]

_SAMPLE = 100
_COMMENTS_AT = 34
_WIDTH = 100
_REGISTRY = "http://127.0.0.1:8081"
_TRUTH = {"true": True, "false": False}


def init(
    servers: str,
    topic: str,
    *,
    output: Path | None = None,
    options: Sequence[str] = (),
    registry: str | None = None,
    force: bool = False,
) -> int:
    """Write the configuration of a job that reads a topic; return an exit code.

    Parameters
    ----------
    servers
        Addresses of brokers: ``host:port``, several joined with commas.
    topic
        The topic; it must exist.
    output
        The file; ``None`` for standard output.
    options
        More of ``[kafka]``, as ``name=value``.
    registry
        The address of a Schema Registry.
    force
        Whether a file that exists is replaced.

    Raises
    ------
    ConfigError
        If an option is wrong, or the file exists.
    BrokerError
        If no broker answers, or there is no such topic.
    """
    if output is not None and output.exists() and not force:
        raise ConfigError(f"{output} exists: name another file, or replace it with --force")
    written = {"bootstrap_servers": servers, **dict(map(_option, options))}
    client = load_tables(settings_for(written, {"topic": topic})).kafka
    check_options(client)
    runs = read_newest(client, topic, _SAMPLE)
    found = draft(topic, runs, registry)
    text = file_text(found, written, registry)
    with _written(text) as path:
        looked = survey(load(path), runs) if _can_be_read(found, registry) else None
    if output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        _write(output, text)
    for line in _said(found, looked, runs, output):
        print(line, file=sys.stderr)
    return 0


def _option(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(
            f"--kafka {shown_text(text)}: write a name and a value, security_protocol=SASL_SSL"
        )
    if value in _TRUTH:
        return name, _TRUTH[value]
    return name, int(value) if re.fullmatch(r"[0-9]{1,12}", value) else value


def _can_be_read(found: Draft, registry: str | None) -> bool:
    needs = found.keys.get("format") in ("avro", "protobuf")
    return found.guess is not None and (registry is not None or not needs)


@contextlib.contextmanager
def _written(text: str) -> Iterator[Path]:
    """Yield the text as a file, to be loaded as a user's would be."""
    with tempfile.TemporaryDirectory(prefix="ewma-") as directory:
        path = Path(directory) / "init.toml"
        path.write_text(text, "utf-8")
        yield path


def _write(path: Path, text: str) -> None:
    """Write a file that nobody else may read, because it may hold a password."""
    try:
        with open(path, "w", encoding="utf-8", opener=_private) as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def file_text(found: Draft, client: Mapping[str, object], registry: str | None = None) -> str:
    """Return the configuration file of a draft: TOML with comments."""
    needs = found.keys.get("format") in ("avro", "protobuf") and registry is None
    tables = settings_for(client, found.keys, _REGISTRY if needs else registry)
    del tables["dead_letters"], tables["recovery"], tables["output"], tables["smooth"]
    lines = ["# Written by ewma init from the newest messages of the topic: correct its guesses."]
    for name, keys in tables.items():
        lines.append(f"[{name}]")
        lines += [
            _key(key, value, found.notes if name == "input" else {}) for key, value in keys.items()
        ]
        if name == "registry" and needs:
            lines[-1] = _beside(lines[-1], "correct this: the messages name a schema there")
        if name == "input":
            lines += _left_out(found)
        lines.append("")
    outputs = settings_for(client, found.keys)
    lines += [
        "[smooth]",
        _beside("beta = 0.9", "0.9: about the last 10 readings; or by time:"),
        _beside('# halflife = "5min"', "the weight of a reading halves in this time"),
        _beside('statistics = ["mean"]', 'more: "std", "sem", "n_eff", "settled" ...'),
        "",
        "[output]",
        _beside(
            f"topic = {as_toml(outputs['output']['topic'])}",
            "made by ewma check --create-topics",
        ),
        "",
        "[dead_letters]",
        _beside(
            f"topic = {as_toml(outputs['dead_letters']['topic'])}", "messages that cannot be read"
        ),
        "",
        "[recovery]",
        _beside('directory = "state"', "where the job keeps its state, on this machine"),
        "",
    ]
    return "\n".join(lines)


def _key(key: str, value: object, notes: Mapping[str, str]) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{as_key(name)} = {as_toml(one)}" for name, one in value.items())
        text = f"{key} = {{ {inner} }}"
    else:
        text = f"{key} = {as_toml(value)}"
    return _beside(text, notes[key]) if key in notes else text


def as_key(name: str) -> str:
    """Write the name of a key in TOML: bare, or in quotes.

    Examples
    --------
    >>> as_key("op"), as_key("payload.op")
    ('op', '"payload.op"')
    """
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else as_toml(name)


def _beside(text: str, comment: str) -> str:
    """Put a comment, which may quote a message, behind a line of the file."""
    line = f"{text.ljust(_COMMENTS_AT)} # {shown_text(comment, _WIDTH)}"
    return line if len(line) <= _WIDTH else cut(line, max(_WIDTH, len(text) + 24))


def _left_out(found: Draft) -> list[str]:
    lines = []
    if "series_id" not in found.keys:
        lines.append(_beside('# series_id = "id"', "left out: the record's key"))
    if "time" not in found.keys:
        lines.append(_beside('# time = "ts"', "left out: the record's timestamp"))
    if found.others:
        lines.append(cut(f"# other fields: {shown_text(', '.join(found.others), 400)}", _WIDTH))
    return lines


def _said(
    found: Draft, looked: Survey | None, runs: Sequence[ConsumerRecords], output: Path | None
) -> Iterator[str]:
    """Yield the lines printed about the file, and the next commands."""
    name = "smooth.toml" if output is None else str(output)
    if not runs:
        yield _warned("the topic is empty: the keys of [input] are only an example")
    elif found.guess is None:
        yield _warned("no message has a value: the keys of [input] are only an example")
    elif looked is None:
        words = found.guess.words
        yield _warned(f"the messages are {words}: correct value, and the address of the registry")
    else:
        came = counted(looked.readings, "reading")
        if looked.dead_letters:
            n = sum(looked.dead_letters.values())
            came += f", {counted(n, 'dead letter')} ({by_cause(looked.dead_letters.items())})"
        yield f"{counted(looked.messages, 'message')} read as this file says: {came}"
        yield from map(_warned, looked.advice)
    first = "" if looked is not None and looked.readings else f"correct [input] of {name}; "
    yield f"next: {first}ewma check {name} --create-topics; ewma run {name}"


def _warned(text: str) -> str:
    return f"{painted('warning:', 'yellow', sys.stderr)} {text}"
