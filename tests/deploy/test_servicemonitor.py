"""The ServiceMonitor, by the schema of the Prometheus operator's definition, which Kubernetes' own schemas do not have.

A package of npm carries it, compiled: types and patterns are checked by it, unknown fields are not.
"""

import json
import shutil
import subprocess

import pytest

from .manifests import KUBERNETES, kustomize, only, render

PACKAGE = "@kubernetes-models/prometheus-operator"
VERSION = "6.0.0"
CHECK = f"""
import {{ readFileSync }} from "node:fs";
import {{ ServiceMonitor }} from "{PACKAGE}/monitoring.coreos.com/v1/ServiceMonitor";
new ServiceMonitor(JSON.parse(readFileSync(0))).validate();
"""

pytestmark = pytest.mark.skipif(
    kustomize() is None or shutil.which("npm") is None, reason="needs npm, and kubectl or kustomize"
)


@pytest.fixture(scope="module")
def monitor():
    return only(render(KUBERNETES / "overlays" / "production"), "ServiceMonitor")


@pytest.fixture(scope="module")
def refusal(tmp_path_factory):
    """What the schema says against an object; empty where it accepts it."""
    folder = tmp_path_factory.mktemp("operator")
    (folder / "package.json").write_text('{"type": "module", "private": true}')
    (folder / "check.js").write_text(CHECK)
    quietly = ("--ignore-scripts", "--no-audit", "--no-fund", "--silent")
    subprocess.run(["npm", "install", *quietly, f"{PACKAGE}@{VERSION}"], cwd=folder, check=True, timeout=240)

    def refusal(each):
        check = ["node", "check.js"]
        done = subprocess.run(check, cwd=folder, input=json.dumps(each), capture_output=True, text=True, timeout=60)
        return done.stderr if done.returncode else ""

    return refusal


def test_the_operators_schema_accepts_it(monitor, refusal):
    assert refusal(monitor) == ""


def test_the_operators_schema_refuses_a_wrong_value(monitor, refusal):
    (endpoint,) = monitor["spec"]["endpoints"]
    for wrong in ({"interval": "15 seconds"}, {"port": 8080}):
        assert next(iter(wrong)) in refusal(
            {**monitor, "spec": {**monitor["spec"], "endpoints": [{**endpoint, **wrong}]}}
        )


def test_it_has_no_fields_but_those_that_were_looked_up(monitor):
    assert set(monitor) == {"apiVersion", "kind", "metadata", "spec"}
    assert set(monitor["spec"]) == {"jobLabel", "podTargetLabels", "selector", "endpoints"}
    assert {name for each in monitor["spec"]["endpoints"] for name in each} == {
        *("port", "path", "interval", "scrapeTimeout"),
    }
