"""The dashboard: made by its program, of queries that Prometheus understands over metrics that exist."""

import json
from itertools import combinations

import yaml

from deploy.grafana.layout import as_text
from loadtest.monitoring.contract import promised
from loadtest.monitoring.dashboard import read_dashboard

from .promql import PAGES, family_of, metrics_of
from .promtool import ROOT, promtool
from .test_prometheus_rules import recorded

PATH = ROOT / "deploy" / "grafana" / "dashboard.json"
VARIABLES = {"instance": ".*", "__rate_interval": "1m"}
PROMETHEUS_OWN = {"up", "ALERTS", "scrape_duration_seconds"}


def queries() -> list[str]:
    """Of all panels, their variables filled in."""
    rows = read_dashboard(PATH)
    return [query.filled(VARIABLES) for _, panels in rows for panel in panels for query in panel.queries]


def test_the_dashboard_is_what_its_program_writes():
    assert PATH.read_text(encoding="utf-8") == as_text()


def test_each_panel_has_an_id_of_its_own_and_a_place_of_its_own():
    panels = json.loads(PATH.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, f"{one} and {other} overlap"
        assert one["x"] + one["w"] <= 24


def test_each_query_parses(tmp_path):
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries())]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(path))


def test_each_query_asks_for_metrics_of_the_contract_or_recorded_ones_alone():
    families = set(promised(PAGES))
    for query in queries():
        for name in metrics_of(query):
            known = families | recorded() | PROMETHEUS_OWN
            assert family_of(name, families) in known, f"{name} in {query}"


def test_what_a_query_names_is_read_right():
    query = 'sum by (le) (rate(a_bucket{x="b", y=~"c"}[5m])) / on (job) group_left () (d:e:f > 0) or vector(0)'
    assert metrics_of(query) == {"a_bucket", "d:e:f"}
