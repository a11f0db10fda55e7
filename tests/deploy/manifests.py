"""Renders deploy/kubernetes as `kubectl apply -k` would, without a cluster."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
COMPONENTS = sorted(each.name for each in (KUBERNETES / "components").iterdir())


def kustomize() -> list[str] | None:
    """The command that renders a folder; None where neither tool is here."""
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    return ["kubectl", "kustomize"] if shutil.which("kubectl") else None


def render(folder: Path) -> list[dict[str, Any]]:
    """The objects of a folder with a kustomization."""
    command = kustomize()
    assert command is not None
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def with_components(folder: Path, *names: str) -> list[dict[str, Any]]:
    """The base and these components, put together in a folder that is made."""
    folder.mkdir(parents=True, exist_ok=True)
    here = os.path.relpath(KUBERNETES, folder)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"{here}/base"],
        "components": [f"{here}/components/{name}" for name in names],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return render(folder)


def only(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The one object of a kind."""
    (found,) = [each for each in objects if each["kind"] == kind]
    return found


def container(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """The container of the Deployment."""
    (found,) = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    return found  # type: ignore[no-any-return]
