"""A release has one version, wherever it stands."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_release_is_named_alike_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    first = re.search(r"^## \[(\S+)\]", read("CHANGELOG.md"), re.MULTILINE)
    assert first is not None
    assert first[1] == version
    assert f'org.opencontainers.image.version="{version}"' in read("Dockerfile")
    assert f"image: shelfscore:{version}\n" in read("deploy/kubernetes/base/deployment.yaml")
    assert f"newTag: {version}-gpu\n" in read("deploy/kubernetes/components/gpu/kustomization.yaml")
    assert set(re.findall(r"shelfscore:(\d[\d.]*\d)", read("deploy/README.md"))) == {version}


def read(name):
    return (ROOT / name).read_text()
