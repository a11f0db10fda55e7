"""Grafana's JSON of the panels that rows.py tells.

A panel's id is its number in rows.py, which never changes, so that links and annotations to a panel live on.
"""

import json
from typing import Any

from .rows import ROWS, Panel

COLUMNS = 24
HEADING_HEIGHT = 1
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def as_text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=1) + "\n"


def dashboard() -> dict[str, Any]:
    """The whole dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row_id, (heading, row) in enumerate(ROWS, start=1000):
        panels.append({"id": row_id, "type": "row", "title": heading, "collapsed": False, "panels": []})
        panels[-1]["gridPos"] = {"x": 0, "y": top, "w": COLUMNS, "h": HEADING_HEIGHT}
        top += HEADING_HEIGHT
        left, height = 0, 0
        for panel in row:
            if left + panel.width > COLUMNS:
                left, top = 0, top + height
                height = 0
            panels.append(_panel(panel, left, top))
            left += panel.width
            height = max(height, panel.height)
        top += height
    return {
        "uid": "shelfscore",
        "title": "shelfscore",
        "description": "Is it well, where does the time go, how full is it, does the model fit its traffic?",
        "tags": ["shelfscore"],
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "schemaVersion": 38,
        "version": 1,
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_data_source(), _instance()]},
        "annotations": {"list": [_alerts_as_annotations()]},
        "links": [],
        "panels": panels,
    }


def _panel(panel: Panel, left: int, top: int) -> dict[str, Any]:
    drawn: dict[str, Any] = {
        "id": panel.number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": SOURCE,
        "gridPos": {"x": left, "y": top, "w": panel.width, "h": panel.height},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": SOURCE,
                "expr": " ".join(expression.split()),
                "legendFormat": legend,
                "instant": panel.kind == "table",
                "range": panel.kind != "table",
                **({"format": "table"} if panel.kind == "table" else {}),
            }
            for number, (legend, expression) in enumerate(panel.queries.items())
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
    }
    if panel.kind == "stat":
        drawn["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "area", "colorMode": "value"}
    if panel.kind == "timeseries":
        drawn["options"] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    return drawn


def _defaults(panel: Panel) -> dict[str, Any]:
    custom: dict[str, Any] = {"fillOpacity": 10, "lineWidth": 1, "showPoints": "never"}
    if panel.stacked:
        custom |= {"stacking": {"mode": "normal", "group": "A"}, "fillOpacity": 40}
    if panel.limits:
        custom["thresholdsStyle"] = {"mode": "line"}
    colours = ("yellow", "red") if len(panel.limits) > 1 else ("red",)
    steps = [{"color": "green", "value": None}]
    steps += [{"color": colour, "value": limit} for colour, limit in zip(colours, panel.limits, strict=False)]
    return {
        "unit": panel.unit,
        **({} if panel.floats_below_zero else {"min": 0}),
        "custom": custom if panel.kind == "timeseries" else {},
        "thresholds": {"mode": "absolute", "steps": steps},
    }


def _data_source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1}


def _instance() -> dict[str, Any]:
    query = 'label_values(shelfscore_ready{job="shelfscore"}, instance)'
    return {
        "name": "instance",
        "label": "Instance",
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": "instance"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _alerts_as_annotations() -> dict[str, Any]:
    return {
        "name": "Alerts",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"Shelfscore.+", alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{instance}} {{burn}}",
    }
