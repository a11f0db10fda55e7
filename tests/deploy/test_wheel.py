"""The wheel: what pip installs of the project."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = {"artifact", "export", "fuzz", "loadtest", "service", "training"}


def test_a_wheel_of_the_project_holds_every_module_and_what_they_read(tmp_path):
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    code = [name for name in names if Path(name).parts[0] in PACKAGES]
    for name in (*code, "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "source" / name)
    build = "import setuptools.build_meta as b; print(b.build_wheel('..'))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", build],
        cwd=tmp_path / "source",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "wheel", "zip")
    needed = {name for name in code if name.endswith((".py", ".j2")) or name.startswith("training/")}
    missing = {name for name in needed if not (tmp_path / "wheel" / name).is_file()}
    assert not missing
