"""Which machines a job runs on, and which of them this one is: from options or the environment.

Knows addresses and environment variables; must not know sockets, nor what runs on a machine.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ewma_ops.errors import ConfigError
from ewma_ops.job.cluster.addresses import host_and_port

__all__ = ["DEFAULT_PORT", "Cluster", "find_cluster"]

DEFAULT_PORT = 9101
"""The port if ``EWMA_CLUSTER_PORT`` is not set."""
_LAST_PORT = 65_535
_MOST_PLACES = 256
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:;\[\]/]+):([0-9]{1,5})")
_HOSTNAME = re.compile(r"(.+)-([0-9]+)")
_EXAMPLE = '"host-a:9101;host-b:9101"'


@dataclass(frozen=True)
class Cluster:
    """The machines of one job, in order, and which of them this one is.

    The launcher of the first one, place 0, coordinates the others, and listens on its port; the
    workers of a machine listen on the ports after its own.

    Parameters
    ----------
    addresses
        ``host:port`` of each machine, at least 2.
    place
        Which of them this is, from 0.
    workers
        Worker processes on each machine, >= 1.

    Raises
    ------
    ConfigError
        If they are inconsistent.

    Examples
    --------
    >>> two = Cluster(("host-a:9101", "host-b:9101"), 1, workers=2)
    >>> two.first_worker, two.name(0)
    (2, 'place 0 (host-a:9101)')
    >>> two.worker_addresses
    ('host-a:9102', 'host-a:9103', 'host-b:9102', 'host-b:9103')
    """

    addresses: tuple[str, ...]
    place: int
    workers: int = 1

    def __post_init__(self) -> None:
        n = len(self.addresses)
        if not 2 <= n <= _MOST_PLACES:
            raise ConfigError(
                f"the cluster has {n} host{'s' * (n != 1)}: name 2 to {_MOST_PLACES}, as "
                f"{_EXAMPLE}, or leave it out to run on this machine alone"
            )
        for address in self.addresses:
            self._check(address)
        used = [one for i in range(n) for one in (self.addresses[i], *self._workers_of(i))]
        twice = sorted({one for one in used if used.count(one) > 1})
        if twice:
            raise ConfigError(
                f"the cluster uses {twice[0]} twice: the workers of a host listen on the "
                f"{self.workers} port{'s' * (self.workers != 1)} after its own; give each host a "
                "separate address or ports"
            )
        if not 0 <= self.place < n:
            raise ConfigError(
                f"place = {self.place}: the {n} hosts of the cluster have the places 0 to {n - 1}"
            )

    def _check(self, address: str) -> None:
        match = _ADDRESS.fullmatch(address)
        if match is None:
            raise ConfigError(
                f"{address!r} is not an address of a host: write host:port, as in {_EXAMPLE}"
            )
        try:
            match[1].encode("idna")  # as the resolver does
        except UnicodeError as error:
            raise ConfigError(
                f"{address!r} is not an address of a host: each part of its name must have 1 to 63 "
                f"characters ({error})"
            ) from None
        port = int(match[2])
        if not 1 <= port <= _LAST_PORT - self.workers:
            raise ConfigError(
                f"{address!r}: the port must be from 1 to {_LAST_PORT - self.workers}, as the "
                f"workers of the host listen on the {self.workers} after it"
            )

    @property
    def places(self) -> range:
        """The number of each machine."""
        return range(len(self.addresses))

    @property
    def first_worker(self) -> int:
        """Number of the first worker process of this machine."""
        return self.place * self.workers

    @property
    def worker_addresses(self) -> tuple[str, ...]:
        """Where each worker process of the job listens, by its number."""
        return tuple(one for place in self.places for one in self._workers_of(place))

    def name(self, place: int) -> str:
        """Return the name of a machine in the log."""
        return f"place {place} ({self.addresses[place]})"

    def socket_address(self, place: int) -> tuple[str, int]:
        """Return host and port of a launcher, for sockets."""
        return host_and_port(self.addresses[place])

    def _workers_of(self, place: int) -> list[str]:
        host, _, port = self.addresses[place].rpartition(":")
        return [f"{host}:{int(port) + 1 + i}" for i in range(self.workers)]


def find_cluster(
    addresses: str | None,
    place: int | None,
    workers: int,
    environment: Mapping[str, str] = os.environ,
    hostname: str | None = None,
) -> Cluster | None:
    """Return the cluster that options or the environment describe; None for one machine.

    Parameters
    ----------
    addresses
        ``host:port`` of each machine, joined by ``;``. None takes ``EWMA_CLUSTER``; or, in a
        StatefulSet of Kubernetes, ``EWMA_HEADLESS_SERVICE`` and ``EWMA_REPLICAS``: its pods are
        ``name-0``, ``name-1`` and so on, and the host name ends with the number of this one.
    place
        Which of them this is; None takes ``EWMA_PLACE``.
    workers
        Worker processes on each machine.
    environment, hostname
        Of this process; replaced in tests.

    Raises
    ------
    ConfigError
        If they are wrong, or some are missing.

    Examples
    --------
    >>> pods = {"EWMA_HEADLESS_SERVICE": "ewma", "EWMA_REPLICAS": "2"}
    >>> find_cluster(None, None, 1, pods, "smoother-1")
    Cluster(addresses=('smoother-0.ewma:9101', 'smoother-1.ewma:9101'), place=1, workers=1)
    """
    if addresses is None and place is None:
        service = environment.get("EWMA_HEADLESS_SERVICE", "")
        if service and not environment.get("EWMA_CLUSTER"):
            own = socket.gethostname() if hostname is None else hostname
            return _stateful_set(service, own, workers, environment)
    text = environment.get("EWMA_CLUSTER", "") if addresses is None else addresses
    named = environment.get("EWMA_PLACE", "") if place is None else str(place)
    if not text and not named:
        return None
    if not text or not named:
        names = ("--cluster (EWMA_CLUSTER)", "--place (EWMA_PLACE)")
        given, missing = names if text else names[::-1]
        raise ConfigError(
            f"{given} is given and {missing} is not: give the addresses of all hosts, as "
            f"{_EXAMPLE}, and which of them this one is, from 0"
        )
    if place is None and not named.isdecimal():
        raise ConfigError(f"EWMA_PLACE = {named!r}: give the number of this host, from 0")
    return Cluster(tuple(one.strip() for one in text.split(";")), int(named), workers)


def _stateful_set(
    service: str, hostname: str, workers: int, environment: Mapping[str, str]
) -> Cluster | None:
    replicas = _number(environment, "EWMA_REPLICAS", None)
    port = _number(environment, "EWMA_CLUSTER_PORT", DEFAULT_PORT)
    if replicas == 1:
        return None
    own = _HOSTNAME.fullmatch(hostname.partition(".")[0])
    if own is None:
        raise ConfigError(
            f"EWMA_HEADLESS_SERVICE is set, and the host name {hostname!r} does not end with the "
            "number of a pod, as name-3 does: run it in a StatefulSet, or give --cluster and "
            "--place"
        )
    name, place = own[1], int(own[2])
    if place >= replicas:
        raise ConfigError(
            f"this is pod {place}, and EWMA_REPLICAS = {replicas} has the pods 0 to "
            f"{replicas - 1}: set EWMA_REPLICAS to the number of replicas of the StatefulSet"
        )
    pods: Sequence[str] = [f"{name}-{i}.{service}:{port}" for i in range(replicas)]
    return Cluster(tuple(pods), place, workers)


def _number(environment: Mapping[str, str], name: str, default: int | None) -> int:
    text = environment.get(name, "")
    if not text and default is not None:
        return default
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{name} = {text!r}: give a whole number, at least 1")
    return int(text)
