"""The recording rules and alerts, as Prometheus' own tool runs and checks them."""

import re
from pathlib import Path

import pytest
import yaml

from .promql import PAGES, family_of, metrics_of
from .promtool import ROOT, RULES, promtool

TESTS = sorted((RULES.parent / "tests").glob("*.yml"))
NOT_OURS = {"up", "process_start_time_seconds"}
"""Prometheus' own, and that of every client library."""


def rules() -> list[dict[str, object]]:
    """Of all files and groups."""
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(RULES.glob("*.yml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, object]]:
    """Those that alert."""
    return [rule for rule in rules() if "alert" in rule]


def recorded() -> set[str]:
    """Names that rules record."""
    return {str(rule["record"]) for rule in rules() if "record" in rule}


def cases() -> list[tuple[str, bool]]:
    """Of all unit tests: an alert's name, with its `burn` where it has one, and whether it must fire there."""
    found = []
    for path in TESTS:
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for case in test.get("alert_rule_test", []):
                expected = case["exp_alerts"]
                names = {_name(case["alertname"], alert["exp_labels"]) for alert in expected}
                found += [(name, True) for name in names] or [(case["alertname"], False)]
    return found


def _name(alert: object, labels: object) -> str:
    assert isinstance(labels, dict)
    return f"{alert} {labels['burn']}" if "burn" in labels else str(alert)


def test_the_example_configuration_and_all_rules_are_sound():
    promtool("check", "config", "deploy/prometheus/prometheus.yml")


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_alerts_fire_when_they_should_and_not_else(path: Path):
    promtool("test", "rules", str(path))


def test_each_alert_is_tested_firing_and_silent():
    fires = {name for name, fired in cases() if fired}
    silent = {name for name, fired in cases() if not fired}
    for rule in alerts():
        assert _name(rule["alert"], rule["labels"]) in fires
        assert rule["alert"] in silent


def test_each_alert_says_how_urgent_it_is_and_where_its_runbook_is():
    for rule in alerts():
        labels, annotations = rule["labels"], rule["annotations"]
        assert isinstance(labels, dict)
        assert isinstance(annotations, dict)
        assert labels["severity"] in ("page", "ticket")
        page = ROOT / annotations["runbook_url"]
        assert page.read_text(encoding="utf-8").startswith(f"# {rule['alert']}\n")


def test_the_rules_of_all_windows_differ_by_the_window_alone():
    kinds: dict[str, set[str]] = {}
    for rule in rules():
        if match := re.fullmatch(r"(job:.*:(?:increase|burn))(\d+[mhd])", str(rule.get("record", ""))):
            general = re.sub(rf"\[{match[2]}\]|(?<=increase){match[2]}\b", "W", str(rule["expr"]))
            kinds.setdefault(match[1], set()).add(general)
    assert len(kinds) == 4
    assert all(len(expressions) == 1 for expressions in kinds.values())


def test_rules_use_metrics_of_the_contract_and_recorded_ones_alone():
    from loadtest.monitoring.contract import promised

    families = set(promised(PAGES))
    for rule in rules():
        for name in metrics_of(str(rule["expr"])):
            assert family_of(name, families) in families | recorded() | NOT_OURS, f"{name} in {rule}"


def test_no_rule_is_recorded_for_nobody():
    from deploy.grafana.rows import ROWS

    asked = {name for rule in rules() for name in metrics_of(str(rule["expr"]))}
    shown = {name for _, row in ROWS for panel in row for query in panel.queries.values() for name in metrics_of(query)}
    assert recorded() <= asked | shown
