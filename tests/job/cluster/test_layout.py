"""Which hosts there are: options, the environment, and what is refused."""

from __future__ import annotations

import re

import pytest

from ewma_ops.errors import ConfigError
from ewma_ops.job.cluster.layout import Cluster, find_cluster

POD = {"EWMA_HEADLESS_SERVICE": "ewma.prod.svc", "EWMA_REPLICAS": "3"}


def test_workers_are_numbered_across_hosts_and_listen_after_the_launcher() -> None:
    cluster = Cluster(("a:9101", "[::1]:9101", "c:9201"), 1, workers=2)
    assert cluster.first_worker == 2
    assert cluster.worker_addresses == (
        *("a:9102", "a:9103", "[::1]:9102", "[::1]:9103", "c:9202", "c:9203"),
    )
    assert cluster.socket_address(1) == ("::1", 9101)


def test_options_go_before_the_environment() -> None:
    environment = {"EWMA_CLUSTER": "a:1;b:1", "EWMA_PLACE": "1", **POD}
    assert find_cluster(None, None, 1, environment) == Cluster(("a:1", "b:1"), 1)
    assert find_cluster("c:1; d:1", 0, 1, environment) == Cluster(("c:1", "d:1"), 0)
    assert find_cluster("c:1;d:1", None, 1, environment) == Cluster(("c:1", "d:1"), 1)
    assert find_cluster(None, None, 1, {}) is None


def test_a_pod_finds_the_others_by_its_own_name() -> None:
    found = find_cluster(None, None, 2, POD, "my-ewma-2.ewma.prod.svc")
    addresses = tuple(f"my-ewma-{i}.ewma.prod.svc:9101" for i in range(3))
    assert found == Cluster(addresses, 2, 2)
    assert find_cluster(None, None, 1, {**POD, "EWMA_REPLICAS": "1"}, "anything") is None
    moved = find_cluster(None, None, 1, {**POD, "EWMA_CLUSTER_PORT": "7000"}, "ewma-0")
    assert moved is not None
    assert moved.addresses[0] == "ewma-0.ewma.prod.svc:7000"


@pytest.mark.parametrize(
    ("addresses", "place", "environment", "sentence"),
    [
        ("a:9101", 0, {}, "the cluster has 1 host: name 2 to 256"),
        ("a;b:9101", 0, {}, "'a' is not an address of a host: write host:port"),
        (
            "a..b:9101;c:9101",
            1,
            {},
            "'a..b:9101' is not an address of a host: each part of its name",
        ),
        (
            f"{'a' * 64}:1;c:1",
            1,
            {},
            "is not an address of a host: each part of its name must have 1",
        ),
        ("a:0;b:9101", 0, {}, "'a:0': the port must be from 1 to 65533"),
        ("a:65534;b:9101", 0, {}, "'a:65534': the port must be from 1 to 65533"),
        ("a:9101;a:9102", 0, {}, "uses a:9102 twice: the workers of a host listen on the 2 ports"),
        ("a:9101;b:9101", 2, {}, "place = 2: the 2 hosts of the cluster have the places 0 to 1"),
        ("a:9101;b:9101", -1, {}, "place = -1"),
        (
            "a:9101;b:9101",
            None,
            {},
            "--cluster (EWMA_CLUSTER) is given and --place (EWMA_PLACE) is not",
        ),
        (None, 1, {}, "--place (EWMA_PLACE) is given and --cluster (EWMA_CLUSTER) is not"),
        ("a:1;b:1", None, {"EWMA_PLACE": "one"}, "EWMA_PLACE = 'one': give the number"),
        (None, None, {"EWMA_HEADLESS_SERVICE": "s"}, "EWMA_REPLICAS = ''"),
        (None, None, {**POD, "EWMA_REPLICAS": "2"}, "this is pod 2, and EWMA_REPLICAS = 2"),
        (None, None, {**POD, "EWMA_CLUSTER_PORT": "x"}, "EWMA_CLUSTER_PORT = 'x'"),
    ],
)
def test_what_is_wrong_is_said_with_its_fix(
    addresses: str | None, place: int | None, environment: dict[str, str], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        find_cluster(addresses, place, 2, environment, "ewma-2")


def test_a_host_name_without_a_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="'laptop' does not end with the number of a pod"):
        find_cluster(None, None, 1, POD, "laptop")
