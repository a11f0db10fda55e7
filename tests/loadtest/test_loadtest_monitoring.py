"""What `observe` and `drill` are made of: rules in fast time, the contract's tables, the dashboard, the recording."""

import re
import shutil
import time
from pathlib import Path

import pytest
import yaml

from loadtest.errors import LoadtestError
from loadtest.monitoring.contract import faults_of, promised, shown
from loadtest.monitoring.dashboard import Query, read_dashboard
from loadtest.monitoring.drill import Drilled, as_markdown, read_questions
from loadtest.monitoring.drills import DRILLS, drift_drill, shadow_drill
from loadtest.monitoring.observe import Story, judge_story
from loadtest.monitoring.picture import draw_dashboard
from loadtest.monitoring.prometheus import Scraped, Series, find_prometheus, prometheus
from loadtest.monitoring.recording import as_promtool_test
from loadtest.monitoring.rules import hastened, read_rules
from loadtest.promises.verdict import Findings

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules"
RUNBOOKS = ROOT / "docs" / "runbooks"
UNPACKED = ROOT / "build" / "prometheus" / "usr" / "bin" / "prometheus"


def test_time_runs_faster_in_ranges_and_waits_and_nowhere_else():
    text = "groups:\n- rules:\n  - record: a:b:rate5m\n    expr: rate(b[5m]) > 300 and c[1h]\n    for: 1m\n# for: 5m\n"
    faster = hastened({"a.yml": text}, 60)["a.yml"]
    assert "a:b:rate5m" in faster
    assert "rate(b[5000ms]) > 300 and c[60000ms]" in faster
    assert "    for: 1000ms\n# for: 5m" in faster


def test_every_wait_and_range_of_our_rules_is_shortened():
    for text in hastened(read_rules(RULES), 60).values():
        assert not re.search(r"\[\d+[smhd]\]|for: \d+[smhd]$", text, re.MULTILINE)
        assert yaml.safe_load(text)["groups"]


def test_a_folder_without_rules_is_refused(tmp_path):
    with pytest.raises(LoadtestError, match="expected rule files"):
        read_rules(tmp_path)


def test_the_contract_is_read_from_tables_and_names_in_code(tmp_path):
    page = tmp_path / "metrics.md"
    page.write_text(
        "| name | type | |\n|---|---|---|\n| `ready` | gauge | `not_this` |\n| `process_open_fds` | gauge | |\n"
        "| `shelfscore_a_total{side}` | what it says |\n| `score` | scored product | |\n"
        "`shelfscore_b_total{kind}` counts `written` ones; `rate(shelfscore_c_total[5m])`\n"
    )
    assert promised([page]) == {
        "shelfscore_ready": "gauge",
        "process_open_fds": "gauge",
        "shelfscore_a_total": "",
        "shelfscore_b_total": "",
    }


def test_a_page_without_metrics_is_refused(tmp_path):
    page = tmp_path / "empty.md"
    page.write_text("| `DRIFT_RATE` | 1.0 | a setting |\n")
    with pytest.raises(LoadtestError, match="expected rows"):
        promised([page])


def test_what_a_service_does_not_show_is_found():
    metrics = (
        '# TYPE a_total counter\na_total{x="1"} 5\n# TYPE b histogram\nb_bucket{le="1"} 2\nb_count 2\n'
        "# TYPE empty gauge\n# TYPE c gauge\nc 1\n"
    )
    there = shown(metrics)
    assert there == {"a_total": "counter", "b": "histogram", "c": "gauge"}
    contract = {"a_total": "counter", "b": "", "empty": "gauge", "c": "counter"}
    assert faults_of(contract, there) == ["empty is missing", "c is a gauge, not a counter"]


def test_a_query_gets_the_values_of_its_variables():
    query = Query('rate(a{instance=~"$instance"}[$__rate_interval])', "{{ x }} of {{y}}")
    assert query.filled({"instance": ".*", "__rate_interval": "1m"}) == 'rate(a{instance=~".*"}[1m])'
    assert query.name_of(Series({"x": "1"}, [])) == "1 of "


def test_each_panel_of_the_dashboard_can_be_drawn(tmp_path):
    rows = read_dashboard(ROOT / "deploy" / "grafana" / "dashboard.json")
    line = Series({"instance": "a"}, [(100.0 + step, float(step % 7)) for step in range(400)])
    drawn = [
        (heading, [(panel, [(query.legend, line) for query in panel.queries]) for panel in panels])
        for heading, panels in rows
    ]
    picture = tmp_path / "dashboard.png"
    draw_dashboard(drawn, 100.0, "A test", picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert 20_000 < picture.stat().st_size < 300_000


def test_a_file_that_is_no_dashboard_is_refused(tmp_path):
    path = tmp_path / "dashboard.json"
    path.write_text('{"panels": [{"type": "graph"}]}')
    with pytest.raises(LoadtestError, match="expected a dashboard"):
        read_dashboard(path)


def test_a_recording_becomes_a_test_of_the_same_length():
    labels = {"__name__": "a_total", "job": "shelfscore", "instance": "x"}
    counter = Series(labels, [(10.0 + i, 5.0 * i) for i in range(3)])
    later = Series({"__name__": "b_total", "job": "shelfscore"}, [(12.0, 7.0)])
    text = as_promtool_test([counter, later], start_s=10.0, fault_s=11.0, mended_s=12.0, step_s=1.0)
    (test,) = yaml.safe_load(text)["tests"]
    assert [each["values"] for each in test["input_series"]] == ["0 5 10", "_x2 7"]
    assert test["input_series"][0]["series"] == 'a_total{job="shelfscore", instance="a"}'
    assert [case["eval_time"] for case in test["promql_expr_test"]] == ["15s", "30s", "30s", "30s"]


def test_a_page_that_comes_too_late_or_too_early_breaks_the_run():
    def exit_of(**seen):
        findings = Findings("observe", [])
        judge_story(findings, Story(**{"fired_after_s": 18.0, "cleared_after_s": 20.0, **seen}), factor=15)
        return findings.exit.name

    assert exit_of() == "HELD"
    assert exit_of(fired_after_s=20.1) == "BROKEN"
    assert exit_of(fired_after_s=None) == "BROKEN"
    assert exit_of(cleared_after_s=None) == "BROKEN"
    assert exit_of(before=["ShelfscoreLatencyBudgetBurn fast"]) == "BROKEN"
    assert exit_of(before=["ShelfscoreLatencyBudgetBurn creeping"]) == "HELD"


def test_each_alert_has_a_drill_and_its_runbook_asks_something():
    files = [yaml.safe_load(text) for text in read_rules(RULES).values()]
    rules = [rule for file in files for group in file["groups"] for rule in group["rules"]]
    pages = {rule["alert"]: Path(rule["annotations"]["runbook_url"]).name for rule in rules if "alert" in rule}
    drills = [*DRILLS, shadow_drill(Path("other")), drift_drill()]
    assert {drill.alert: drill.page for drill in drills} == pages
    for page in pages.values():
        assert read_questions(RUNBOOKS / page, 30)


def test_a_runbook_without_queries_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Alert\n")
    with pytest.raises(LoadtestError, match="promql"):
        read_questions(page, 30)


def test_the_table_of_drills_is_in_the_time_of_the_rules():
    seen = Drilled("A", "broken", "mended", fired_after_s=4.0, queries=2, unanswered=["up"], cleared_after_s=None)
    assert not seen.held
    assert as_markdown([seen], 30).splitlines()[-1] == ("| A | broken | 2.0 min | 1 of 2 answered | mended | never |")


def test_a_missing_prometheus_says_how_to_get_one(tmp_path):
    with pytest.raises(LoadtestError, match="make prometheus"):
        find_prometheus(tmp_path / "none", {})


@pytest.mark.skipif(not (shutil.which("prometheus") or UNPACKED.is_file()), reason="no Prometheus: make prometheus")
def test_a_real_prometheus_scrapes_evaluates_and_answers(start_service, tmp_path):
    program = Path(shutil.which("prometheus") or UNPACKED)
    rules = "groups: [{name: a, rules: [{record: seen, expr: vector(3)}, {alert: Down, expr: 'up == 0'}]}]"
    with prometheus(program, tmp_path, {"rules.yml": rules}, 0.2, {}) as watch:
        service = start_service()
        watch.scrape([Scraped(service.port, {"namespace": "test"})])
        wait_for(lambda: watch.query('up{namespace="test"}'))
        wait_for(lambda: watch.query("seen"))
        assert watch.query("seen")[0].points[0][1] == 3
        assert watch.query("1 + 1")[0].points[0][1] == 2
        assert watch.query("vector(0) / 0 ") == []
        with pytest.raises(LoadtestError, match="parse error"):
            watch.query("rate(")
        service.stop()
        wait_for(lambda: watch.firing("Down", {"namespace": "test"}))
        assert not watch.firing("Down", {"namespace": "other"})


def wait_for(condition):
    """Until it holds; the test's own time limit is the end."""
    while not condition():
        time.sleep(0.05)
