"""Nothing that the service installs comes under a licence that nobody agreed to."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from deploy.licences import listed, main, refused, required, service_packages

ROOT = Path(__file__).parents[2]


def test_every_licence_of_the_service_is_allowed_and_the_page_lists_them():
    assert main(["--check", str(ROOT / "deploy" / "LICENCES.md")]) == 0


def test_the_service_is_followed_to_what_its_dependencies_bring():
    found = set(service_packages())
    assert {"fastapi", "starlette", "pydantic-core", "onnxruntime", "tokenizers", "uvicorn"} <= found
    assert not found & {"torch", "pytest", "locust", "onnx"}


def test_what_a_requirement_brings_is_followed_through_extras_and_markers(tmp_path, monkeypatch):
    for name, requires in {
        "shop": ["till", "scales ; extra == 'grocer'", "abacus ; python_version < '3'"],
        "till": ["drawer"],
        "scales": [],
        "drawer": [],
    }.items():
        metadata = tmp_path / f"{name}-1.0.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
            + "".join(f"Requires-Dist: {each}\n" for each in requires)
        )
    monkeypatch.syspath_prepend(tmp_path)
    assert required(["shop"]) == ["drawer", "shop", "till"]
    assert required(["shop[grocer]"]) == ["drawer", "scales", "shop", "till"]


def test_a_package_that_is_not_installed_is_named():
    with pytest.raises(PackageNotFoundError, match="no-such-package"):
        required(["no-such-package"])


def test_the_licence_of_an_installed_package_is_read():
    (found,) = listed(["starlette"])
    assert (found["Name"], found["License"]) == ("starlette", "BSD-3-Clause")


@pytest.mark.parametrize(
    ("licence", "parts"),
    [
        ("MIT", []),
        ("BSD-3-Clause AND (MIT OR Apache-2.0)", []),
        ("MPL-2.0 AND MIT", []),
        ("Mozilla Public License 2.0 (MPL 2.0)", []),
        ("MIT License; Python Software Foundation License", []),
        ("GPL-3.0-only", ["GPL-3.0-only"]),
        ("MIT AND (AGPL-3.0-only)", ["AGPL-3.0-only"]),
        ("(MIT OR LGPL-2.1-only) AND GPL-2.0-only", ["LGPL-2.1-only", "GPL-2.0-only"]),
        ("NVIDIA Proprietary Software", ["NVIDIA Proprietary Software"]),
        ("UNKNOWN", ["UNKNOWN"]),
    ],
)
def test_each_part_of_an_expression_has_to_be_allowed(licence, parts):
    assert refused(licence) == parts
