"""The manifests for Kubernetes: they fit the image, the configuration and the command line.

With Go they are built and checked by the API server's own code too.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ewma_ops.commands import cli
from ewma_ops.job.cluster.layout import find_cluster
from ewma_ops.settings.load import load
from tests.helpers.kafka_jars import alone_with, cached
from tests.helpers.servers import installed

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
BASE, CLUSTER = KUBERNETES / "base", KUBERNETES / "cluster"
CHECKER = Path(__file__).parent / "kubernetes"


def read(path: Path) -> dict[str, Any]:
    """Return the one object of a file."""
    (one,) = yaml.safe_load_all(path.read_text("utf-8"))
    assert isinstance(one, dict)
    return one


STATEFUL_SET = read(BASE / "statefulset.yaml")["spec"]
POD = STATEFUL_SET["template"]["spec"]
(CONTAINER,) = POD["containers"]
PORTS = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
MOUNTS = {mount["name"]: Path(mount["mountPath"]) for mount in CONTAINER["volumeMounts"]}


def test_the_pod_runs_as_the_user_of_the_image() -> None:
    users = re.findall(
        r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE
    )
    security = POD["securityContext"]
    assert users == [(str(security["runAsUser"]), str(security["runAsGroup"]))]
    assert security["fsGroup"] == security["runAsGroup"]
    assert security["runAsNonRoot"] is True
    # Else the kubelet opens a recovery directory of mode 0700 to the group, at each start.
    assert security["fsGroupChangePolicy"] == "OnRootMismatch"


def test_the_pod_may_do_no_more_than_it_has_to() -> None:
    own = CONTAINER["securityContext"]
    assert own["allowPrivilegeEscalation"] is False
    assert own["readOnlyRootFilesystem"] is True
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert POD["automountServiceAccountToken"] is False
    assert "limits" in CONTAINER["resources"]


def test_the_command_line_is_understood_and_the_grace_is_within_that_of_the_pod() -> None:
    assert 'ENTRYPOINT ["ewma"]' in (ROOT / "Dockerfile").read_text("utf-8")
    options = cli._parser().parse_args(CONTAINER["args"])
    assert options.workers == 1
    assert options.config == MOUNTS["config"] / "smooth.toml"
    # Beside the grace: what a worker that does not stop takes to be killed, and the interpreter.
    assert POD["terminationGracePeriodSeconds"] >= options.grace + 10


def test_the_configuration_fits_volumes_ports_and_probes() -> None:
    settings = load(BASE / "smooth.toml")
    assert settings.recovery is not None
    assert settings.metrics is not None
    state = settings.recovery.directory
    assert MOUNTS["state"] in state.parents, "the root of a volume belongs to the kubelet"
    claims = {claim["metadata"]["name"] for claim in STATEFUL_SET["volumeClaimTemplates"]}
    assert set(MOUNTS) == claims | {volume["name"] for volume in POD["volumes"]}
    assert settings.metrics.bind.port == PORTS["metrics"]
    assert settings.metrics.bind.host == "0.0.0.0"
    probes = {name: CONTAINER[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness")}
    assert all(probe == {"path": "/healthz", "port": "metrics"} for probe in probes.values())
    assert CONTAINER["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}


def test_what_is_said_of_secrets_in_the_configuration_can_be_switched_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (BASE / "smooth.toml").read_text("utf-8")
    path = tmp_path / "smooth.toml"
    path.write_text(re.sub(r"^# (s\w+ = )", r"\1", text, flags=re.MULTILINE))
    monkeypatch.setenv("KAFKA_USERNAME", "ewma")
    monkeypatch.setenv("KAFKA_PASSWORD", "secret")
    assert load(path).kafka["security_protocol"] == "SASL_SSL"
    (source,) = CONTAINER["envFrom"]
    assert source["secretRef"] == {"name": "ewma", "optional": True}


def test_the_policy_lets_in_nobody_but_prometheus() -> None:
    policy = read(BASE / "networkpolicy.yaml")["spec"]
    assert policy["podSelector"] == STATEFUL_SET["selector"]
    assert policy["policyTypes"] == ["Ingress"]
    (rule,) = policy["ingress"]
    assert rule["ports"] == [{"port": "metrics"}]
    assert rule["from"]


def test_pods_of_a_cluster_find_and_reach_each_other_and_nobody_else_does() -> None:
    stateful_set = read(CLUSTER / "statefulset.yaml")["spec"]
    (container,) = stateful_set["template"]["spec"]["containers"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    kustomization = read(CLUSTER / "kustomization.yaml")
    for one in kustomization["replacements"]:  # the values are those of other fields
        (path,) = one["targets"][0]["fieldPaths"]
        name = re.fullmatch(r".*\[name=ewma\]\.env\.\[name=(\w+)\]\.value", path)
        assert name is not None
        kind, field = one["source"]["kind"], one["source"]["fieldPath"]
        (replicas,) = kustomization["replicas"]
        found = {"spec.replicas": replicas["count"], "metadata.name": STATEFUL_SET["serviceName"]}
        assert kind == {"spec.replicas": "StatefulSet", "metadata.name": "Service"}[field]
        environment[name[1]] = str(found[field])
    workers = cli._parser().parse_args(CONTAINER["args"]).workers
    cluster = find_cluster(None, None, workers, environment, "ewma-2")
    assert cluster is not None
    assert cluster.place == 2
    hosts, ports = zip(*(one.rsplit(":", 1) for one in cluster.addresses), strict=True)
    assert hosts == ("ewma-0.ewma", "ewma-1.ewma", "ewma-2.ewma")
    assert read(BASE / "service.yaml")["metadata"]["name"] == "ewma"
    listening = [int(ports[0]) + i for i in range(workers + 1)]
    assert [port["containerPort"] for port in container["ports"]] == listening
    service = read(CLUSTER / "service.yaml")["spec"]["ports"]
    assert [port["port"] for port in service] == listening
    scraping, among_us = read(CLUSTER / "networkpolicy.yaml")["spec"]["ingress"]
    assert [scraping] == read(BASE / "networkpolicy.yaml")["spec"]["ingress"]
    assert among_us["from"] == [{"podSelector": STATEFUL_SET["selector"]}]
    named = [port["name"] for port in container["ports"]]
    assert [port["port"] for port in among_us["ports"]] == named
    # Pods that wait for each other are not ready, and have to find each other all the same.
    assert STATEFUL_SET["podManagementPolicy"] == "Parallel"
    assert read(BASE / "service.yaml")["spec"]["publishNotReadyAddresses"] is True
    assert stateful_set["updateStrategy"] == {"type": "OnDelete"}


@pytest.mark.parametrize("directory", [BASE, CLUSTER], ids=lambda path: path.name)
def test_a_kustomization_names_all_files_beside_it(directory: Path) -> None:
    one = read(directory / "kustomization.yaml")
    named = {*one["resources"], *(patch["path"] for patch in one.get("patches", ()))}
    for generated in one.get("configMapGenerator", ()):
        named |= set(generated["files"])
    there = {path.name for path in directory.iterdir()} - {"kustomization.yaml"}
    assert named - {"../base"} == there


@pytest.fixture(scope="session")
def checker() -> Path:
    """Build `CHECKER`, once for its sources, and return the program."""
    go = installed(("go",))
    if go is None:
        pytest.skip("no Go here: the manifests are not checked by the API server's code")
    binary = cached("kubernetes-manifests")
    with alone_with(binary):
        environment = {**os.environ, "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"}
        done = subprocess.run(
            [go, "build", "-o", str(binary), "."],
            cwd=CHECKER,
            env=environment,
            capture_output=True,
            text=True,
            timeout=550,
            check=False,
        )
    if done.returncode and re.search(r"dial tcp|no such host|GOTOOLCHAIN|i/o timeout", done.stderr):
        pytest.skip(f"Go's modules cannot be had here: {done.stderr.strip()[-300:]}")
    assert done.returncode == 0, done.stderr
    return binary


def checked(checker: Path, *directories: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(checker), *map(str, directories)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_the_api_server_would_take_all_objects(checker: Path) -> None:
    done = checked(checker, BASE, CLUSTER)
    assert done.returncode == 0, done.stdout
    kinds = [line.partition("/")[0] for line in done.stdout.split()]
    each = ["ConfigMap", "NetworkPolicy", "Service", "StatefulSet"]
    assert sorted(kinds) == sorted([*each, *each, "PodDisruptionBudget"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("written", "instead", "said"),
    [
        ("readinessProbe:", "readynessProbe:", 'unknown field "spec.template.spec'),
        ("periodSeconds: 2\n", "periodSeconds: -2\n", "must be greater than or equal to 0"),
        ("name: tmp\n              mountPath", "name: temp\n              mountPath", "Not found"),
        ("memory: 1Gi", "memory: 1GB", "quantities must match"),
    ],
)
def test_the_api_server_would_refuse_a_mistake(
    checker: Path, tmp_path: Path, written: str, instead: str, said: str
) -> None:
    here = tmp_path / "base"
    shutil.copytree(BASE, here)
    path = here / "statefulset.yaml"
    text = path.read_text("utf-8")
    assert written in text
    path.write_text(text.replace(written, instead))
    done = checked(checker, here)
    assert done.returncode == 1, done.stdout
    assert said in done.stdout
