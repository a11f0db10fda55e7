"""docs/metrics.md is the contract: what a running service answers, and what the page says, are the same."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from .test_service_process import process

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
OWN_NAMES = ("process_", "python_")


def rows_of_the_page():
    """Name -> (type, labels)."""
    rows = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 6 or not cells[0].startswith("`"):
            continue
        name, kind, labels, unit = cells[0].strip("`"), *cells[1:4]
        whole = name if name.startswith(OWN_NAMES) else f"shelfscore_{name}"
        assert whole not in rows, f"{whole} stands there twice"
        assert unit
        rows[whole] = (kind, frozenset(filter(None, (label.strip() for label in labels.split(",")))))
    return rows


def families_of(text):
    """Name -> (type, label names, or None where there is no sample yet)."""
    families = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found = {frozenset(sample.labels) - {"le"} for sample in family.samples}
        assert len(found) <= 1, f"{name} has samples with different labels"
        families[name] = (family.type, found.pop() if found else None)
    return families


def test_every_metric_is_on_the_page_and_every_row_is_a_metric(tiny_artifact):
    with process("--model-dir", tiny_artifact, "--planted-faults", "handler-sleep:0") as (_, client):
        assert client.post("/score", json={"query": "usb", "products": [{"title": "usb"}]}).status_code == 200
        served = families_of(client.get("/metrics").text)
    documented = rows_of_the_page()
    assert documented.keys() == served.keys()
    assert {name: kind for name, (kind, _) in documented.items()} == {name: kind for name, (kind, _) in served.items()}
    # Of a family without a sample, such as swaps that were never made, no label is known.
    told = {name: labels for name, (_, labels) in served.items() if labels is not None}
    assert {name: documented[name][1] for name in told} == told
    assert len(told) > 50


def test_the_page_explains_every_ending(service):
    text = PAGE.read_text()
    section = text[text.index("## What became of a request") : text.index("## The table")]
    told = {
        sample.labels[label]
        for family in service.runtime.metrics.registry.collect()
        if family.name == "shelfscore_score_requests"
        for sample in family.samples
        for label in ("outcome", "reason")
    }
    assert len(told) > 20
    assert not [word for word in told if f"`{word}`" not in section]
