"""What is shipped for Prometheus, Alertmanager and Grafana: valid, and filled by a real flow."""

from __future__ import annotations

import json
import math
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.brokers import Record, make_topic, produce
from tests.helpers.jobs import Job, wait_until
from tests.helpers.servers import AMTOOL, PROMETHEUS, PROMTOOL, required
from tests.job.test_endpoint import serving
from tests.metrics.test_families import documented

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
TESTS = DEPLOY / "prometheus" / "rules.test.yml"
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "ewma_ops.json").read_text("utf-8"))
NAME = re.compile(r"ewma_ops_\w+")


def expressions() -> dict[str, list[str]]:
    """Return the queries of each panel, by its title."""
    return {p["title"]: [t["expr"] for t in p["targets"]] for p in DASHBOARD["panels"]}


def filled_in(expression: str, window: str = "1m") -> str:
    """Return a query as Grafana sends it, with everything selected."""
    text = expression.replace("$__rate_interval", window)
    for variable in DASHBOARD["templating"]["list"]:
        text = text.replace(f"${variable['name']}", variable["allValue"])
    assert "$" not in text
    return text


def run(command: list[str], here: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=here, capture_output=True, text=True, check=False, timeout=120
    )


def alerts(path: Path) -> list[str]:
    groups = yaml.safe_load(path.read_text("utf-8"))["groups"]
    return [rule["alert"] for group in groups for rule in group["rules"]]


def test_prometheus_and_alertmanager_take_their_files() -> None:
    promtool, here = required(PROMTOOL), RULES.parent
    for command in (["check", "rules", "rules.yml"], ["check", "config", "prometheus.yml"]):
        done = run([promtool, *command], here)
        assert done.returncode == 0, done.stdout + done.stderr
    done = run([required(AMTOOL), "check-config", "alertmanager.yml"], DEPLOY / "alertmanager")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_rules_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    promtool = required(PROMTOOL)
    done = run([promtool, "test", "rules", TESTS.name], TESTS.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    # The tests can fail: a day of silence is no ten minutes.
    for path in (RULES, TESTS):
        shutil.copy(path, tmp_path)
    changed = RULES.read_text("utf-8").replace("_seconds) > 600", "_seconds) > 86400")
    assert changed != RULES.read_text("utf-8")
    (tmp_path / RULES.name).write_text(changed)
    assert "EwmaInputSilent" in run([promtool, "test", "rules", TESTS.name], tmp_path).stderr


def test_every_rule_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    tests = yaml.safe_load(TESTS.read_text("utf-8"))["tests"]
    each = [one for test in tests for one in test["alert_rule_test"]]
    wanted = sorted(alerts(RULES))
    assert sorted({one["alertname"] for one in each if one["exp_alerts"]}) == wanted
    assert sorted({one["alertname"] for one in each if not one["exp_alerts"]}) == wanted


def test_rules_and_dashboard_use_families_that_are_documented() -> None:
    known = set(documented())
    known |= {f"{name}_bucket" for name, (kind, _) in documented().items() if kind == "histogram"}
    used = set(NAME.findall(RULES.read_text("utf-8"))) | set(NAME.findall(json.dumps(DASHBOARD)))
    assert len(used) > 15
    assert not used - known


def test_the_dashboard_is_whole(tmp_path: Path) -> None:
    sources = DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
    uids = {one["uid"] for one in yaml.safe_load(sources.read_text("utf-8"))["datasources"]}
    for panel in DASHBOARD["panels"]:
        assert panel["title"]
        assert panel["description"]
        assert {t["datasource"]["uid"] for t in panel["targets"]} <= uids
    places = [(p["title"], p["gridPos"]) for p in DASHBOARD["panels"]]
    for (one, a), (other, b) in combinations(places, 2):
        apart_x = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        apart_y = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert apart_x or apart_y, f"{one} lies on {other}"
    assert max(place["x"] + place["w"] for _, place in places) <= 24
    assert [v["name"] for v in DASHBOARD["templating"]["list"]] == ["job", "worker", "rule"]
    assert "__inputs" not in DASHBOARD
    every = [text for texts in expressions().values() for text in texts]
    rules = [{"record": f"query:{i}", "expr": filled_in(text)} for i, text in enumerate(every)]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = run([required(PROMTOOL), "check", "rules", str(path)], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def prometheus(directory: Path, target: str) -> Iterator[str]:
    """Run Prometheus with the shipped configuration on one target; yields its address."""
    program = required(PROMETHEUS)
    config = yaml.safe_load((RULES.parent / "prometheus.yml").read_text("utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    del config["alerting"]
    shutil.copy(RULES, directory)
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    address = f"127.0.0.1:{port}"
    command = [program, f"--config.file={directory / 'prometheus.yml'}"]
    command += [f"--storage.tsdb.path={directory / 'tsdb'}", f"--web.listen-address={address}"]
    log = directory / "prometheus.log"
    with log.open("w") as output, subprocess.Popen(command, stderr=output, stdout=output) as server:
        try:
            wait_until(lambda: server.poll() is not None or "Server is ready" in log.read_text())
            assert server.poll() is None, log.read_text()
            yield f"http://{address}"
        finally:
            server.terminate()
            server.wait(30)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def asked(address: str, path: str, **parameters: str) -> Any:
    url = f"{address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.loads(answer.read())["data"]


def values(address: str, expression: str) -> list[float]:
    """Return what a query gives now, without what is not a number."""
    found = asked(address, "query", query=expression)["result"]
    numbers = [float(one["value"][1]) for one in found]
    return [number for number in numbers if not math.isnan(number)]


def test_every_panel_shows_a_real_flow(embedded: str, tmp_path: Path) -> None:
    required(PROMETHEUS)
    job = Job(embedded, tmp_path)
    alarms = {
        "topic": make_topic(embedded, 1, "alarms"),
        "false_alarms": "1 per 100 readings",
        "level": {"warm_up": 20},
        "high": {"kind": "bounds", "above": 22.0},
    }
    job.configure(input={"stop": "never"}, metrics={"bind": "127.0.0.1:0"}, alarms=alarms)
    here = tmp_path / "here"
    here.mkdir()
    produce(embedded, job.input, [Record(b"no JSON")])
    with (
        serving(job, here, workers=2) as (_, flow),
        job.sending(30, per_second=200),
        prometheus(tmp_path, flow.removeprefix("http://")) as address,
    ):
        queries = {
            (title, text): filled_in(text, "10s")
            for title, texts in expressions().items()
            for text in texts
        }
        empty = dict(queries)

        def all_show_something() -> bool:
            for key, query in list(empty.items()):
                if values(address, query):
                    del empty[key]
            return not empty

        deadline = time.monotonic() + 100
        while not all_show_something():
            assert time.monotonic() < deadline, f"no data: {empty}"
            time.sleep(0.5)
        assert len(queries) >= 20
        assert values(address, "min(ewma_ops_ready)") == [1.0]
        rules = asked(address, "rules")["groups"][0]["rules"]
        assert [rule["name"] for rule in rules] == alerts(RULES)
        wait_until(lambda: all(r["health"] == "ok" for r in rules_of(address)), 30)
        down = [r["state"] for r in rules_of(address) if r["name"] == "EwmaDown"]
        assert down == ["inactive"]


def rules_of(address: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = asked(address, "rules")["groups"][0]["rules"]
    return found
