"""A Prometheus of our own, on a free port and in a folder of its own, and its HTTP API."""

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from ..client import Connection, Endpoint
from ..errors import LoadtestError, ServerError
from ..servers import Server, free_port

UNPACKED = Path("build/prometheus/usr/bin/prometheus")
"""Where `make prometheus` puts it."""

_READY_S = 30.0
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Series:
    """A line of a result: its labels, and (Unix time, value) pairs; values that are no number are left out."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]

    @classmethod
    def parse(cls, found: Mapping[str, Any]) -> Self:
        """Of the API's JSON."""
        pairs = found["values"] if "values" in found else [found["value"]]
        points = [(float(at_s), float(value)) for at_s, value in pairs]
        return cls(found["metric"], [point for point in points if math.isfinite(point[1])])


@dataclass(frozen=True, slots=True)
class Scraped:
    """A service that Prometheus reads: where, and the labels beside `instance`."""

    port: int
    labels: Mapping[str, str]


class Prometheus:
    """One that runs.

    Args:
        server: its process.
        folder: with its configuration and its data.
    """

    def __init__(self, server: Server, folder: Path) -> None:
        self._server = server
        self._folder = folder

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._server.url

    def scrape(self, targets: Sequence[Scraped]) -> None:
        """Has it scrape these from its next look on, which is within a second."""
        listed = [{"targets": [f"127.0.0.1:{each.port}"], "labels": dict(each.labels)} for each in targets]
        fresh = self._folder / "targets.json.next"
        fresh.write_text(json.dumps(listed), encoding="utf-8")
        fresh.replace(self._folder / "targets.json")

    def query(self, expression: str) -> list[Series]:
        """What it says at this moment; series without a number are left out.

        Raises:
            LoadtestError: it does not understand it.
        """
        return self._read("/api/v1/query", {"query": expression})

    def query_range(self, expression: str, start_s: float, end_s: float, step_s: float) -> list[Series]:
        """What it says about a stretch of Unix time.

        Raises:
            LoadtestError: it does not understand it.
        """
        parameters = {"query": expression, "start": start_s, "end": end_s, "step": step_s}
        return self._read("/api/v1/query_range", parameters)

    def firing(self, alert: str, labels: Mapping[str, str]) -> bool:
        """Whether an alert with these labels fires."""
        matchers = {"alertname": alert, "alertstate": "firing", **labels}
        inside = ", ".join(f'{name}="{value}"' for name, value in matchers.items())
        return bool(self.query(f"ALERTS{{{inside}}}"))

    def _read(self, path: str, parameters: Mapping[str, object]) -> list[Series]:
        answer = self._ask(f"{path}?{urlencode(parameters)}")
        if answer.get("status") != "success":
            raise LoadtestError(f"{parameters['query']}: {answer.get('error')}")
        data = answer["data"]
        if data["resultType"] == "scalar":
            data = {"result": [{"metric": {}, "value": data["result"]}]}
        return [series for found in data["result"] if (series := Series.parse(found)).points]

    def _ask(self, path: str) -> dict[str, Any]:
        connection = Connection(Endpoint.parse(self.url), _TIMEOUT_S)
        try:
            return dict(json.loads(connection.request("GET", path).body))
        except (OSError, HTTPException, ValueError) as error:
            raise ServerError(f"Prometheus at {self.url}: {error or type(error).__name__}") from None
        finally:
            connection.close()


@contextmanager
def prometheus(
    program: Path, folder: Path, rules: Mapping[str, str], interval_s: float, environment: Mapping[str, str]
) -> Iterator[Prometheus]:
    """Starts one that scrapes and evaluates every so many seconds; ended with the block.

    Args:
        program: the server.
        folder: an empty one, for all that it writes.
        rules: texts of rule files by name.

    Raises:
        ServerError: it does not start.
    """
    for name, text in rules.items():
        (folder / name).write_text(text, encoding="utf-8")
    interval = f"{round(interval_s * 1000)}ms"
    configuration = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": sorted(rules),
        "scrape_configs": [
            {
                "job_name": "shelfscore",
                "file_sd_configs": [{"files": [str(folder / "targets.json")], "refresh_interval": "1s"}],
            }
        ],
    }
    # JSON is YAML.
    (folder / "prometheus.yml").write_text(json.dumps(configuration), encoding="utf-8")
    (folder / "targets.json").write_text("[]", encoding="utf-8")
    port = free_port()
    argv = [
        str(program.resolve()),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        # Debian's package has its pages elsewhere, which nobody looks at here.
        "--log.level=warn",
    ]
    server = Server.start(argv, port, environment, folder / "prometheus.log")
    try:
        server.wait_ready("/-/ready", _READY_S)
        yield Prometheus(server, folder)
    except ServerError as error:
        raise ServerError("\n".join([str(error), *server.last_lines(5)])) from None
    finally:
        server.stop()


def find_prometheus(given: Path | None, environment: Mapping[str, str]) -> Path:
    """The program: the given one, else the installed one, else the one that `make prometheus` unpacked.

    Raises:
        LoadtestError: there is none.
    """
    if given is not None:
        candidates = [given]
    else:
        installed = shutil.which("prometheus", path=environment.get("PATH", os.defpath))
        candidates = [*([Path(installed)] if installed else []), UNPACKED]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise LoadtestError("no Prometheus: install Debian's package, or `make prometheus`, or name one with --prometheus")
