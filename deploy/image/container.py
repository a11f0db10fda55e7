"""Runs a command with a folder as its root directory and as process 1, by `unshare`, `mount` and `chroot`.

It stands in for a container engine, not for its safety: what runs here is trusted. The base image is this machine's own
`/usr` and Python, seen read-only. Linux, and root, alone.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
FOLDERS = ("proc", "sys", "dev", "tmp", "etc/default", "var/log", "var/lib", "run", "root", "home")
ETC = (
    *("login.defs", "default/useradd", "nsswitch.conf", "resolv.conf", "hosts", "ld.so.cache", "ld.so.conf"),
    *("localtime", "os-release", "pip.conf"),
)
PYTHON = Path("/opt/base/bin")
NETWORK = (
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "http_proxy", "https_proxy", "no_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)


def why_not_contained() -> str | None:
    """Why nothing can be contained on this machine; None where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs Linux and root, for namespaces and chroot"
    for tool in ("unshare", "chroot", "setpriv", "useradd"):
        if shutil.which(tool) is None:
            return f"needs {tool}"
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "sh", "-c", "mount -t tmpfs tmpfs /mnt"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"this machine does not let us: {tried.stderr.strip()}" if tried.returncode else None


def lay_base(root: Path) -> dict[str, str]:
    """Makes an empty root that this machine's system and Python can be seen in; returns a base image's environment."""
    root.mkdir(parents=True)
    root.chmod(0o755)
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name in SYSTEM:
        host = Path("/", name)
        if host.is_symlink():
            (root / name).symlink_to(host.readlink())
    for name in ETC:
        if (found := Path("/etc", name)).is_file():
            shutil.copy(found, root / "etc" / name)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    for mounted in (*_system(), *_network_files()):
        target = _inside(root, mounted)
        if mounted.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
    _inside(root, PYTHON).mkdir(parents=True)
    for name in ("python", "python3"):
        (_inside(root, PYTHON) / name).symlink_to(_base_python())
    return {"PATH": f"{PYTHON}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def contained(
    root: Path,
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    workdir: str = "/",
    user: str = "0",
    read_only: bool = False,
    caches: Sequence[str] = (),
) -> list[str]:
    """The command line that runs `command` in there.

    The command is process 1 of a process namespace: it gets no signal that it has no handler for. The process that this
    command line starts is its parent, `unshare`; if that is killed, so is the command, unless it runs as another user.

    Args:
        root: made by `lay_base`.
        command: program and arguments.
        environment: all of it.
        workdir: where it starts.
        user: number of the user and of its group. Anybody but 0 runs without a capability and can gain none.
        read_only: nothing in there can be written, not even /tmp, and the machine's pip settings are not seen.
        caches: folders that are this machine's own, at the same path, and no part of the root.
    """
    here = str(root)
    script = ["set -eu", _line("mount", "--bind", here, here)]
    for mounted in _system() if read_only else (*_system(), *_network_files()):
        target = str(_inside(root, mounted))
        script += [_line("mount", "--bind", str(mounted), target), _line("mount", "-o", "remount,bind,ro", target)]
    if not read_only:
        script.append(_line("mount", "-t", "tmpfs", "tmpfs", str(root / "tmp")))
    for cache in caches:
        script += [_line("mkdir", "-p", cache, here + cache), _line("mount", "--bind", cache, here + cache)]
    script += [_line("mount", "--rbind", each, here + each) for each in ("/dev", "/sys")]
    script.append(_line("mount", "-t", "proc", "proc", f"{here}/proc"))
    if read_only:
        script.append(_line("mount", "-o", "remount,bind,ro", here))
    drop = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs"]
    drop += ["--inh-caps=-all", "--bounding-set=-all"]
    given = environment if read_only else {**_network_variables(), **environment}
    variables = [f"{name}={value}" for name, value in given.items()]
    chain = ["chroot", here, *(drop if user != "0" else []), "env", "-i", f"--chdir={workdir}", *variables, *command]
    script.append("exec " + _line(*chain))
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", "\n".join(script)]


def _system() -> tuple[Path, ...]:
    """What stands in for the base image: the folders of the system, and Python where it is not among them."""
    folders = [Path("/", name) for name in SYSTEM if not Path("/", name).is_symlink() and Path("/", name).is_dir()]
    prefix = Path(sys.base_prefix)
    return (*folders, *([] if prefix.is_relative_to("/usr") else [prefix]))


def _base_python() -> Path:
    major, minor = sys.version_info[:2]
    return Path(sys.base_prefix, "bin", f"python{major}.{minor}")


def _network_variables() -> dict[str, str]:
    """How this machine reaches its package index, as an engine passes it on."""
    return {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name in NETWORK}


def _network_files() -> tuple[Path, ...]:
    named = [Path(value) for value in _network_variables().values() if value.startswith("/")]
    usual = [Path("/etc/ssl"), Path("/etc/ca-certificates"), Path.home() / ".config/pip"]
    found = {path.resolve() for path in (*usual, *named) if path.exists()}
    return tuple(sorted(path for path in found if not path.is_relative_to("/usr")))


def _inside(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _line(*words: str) -> str:
    return shlex.join(words)
