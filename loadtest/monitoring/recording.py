"""What a Prometheus saw of a run, as a test of the alerts for promtool: a scrape of the run is one of 15 s there."""

from collections.abc import Sequence

from .prometheus import Series

SERIES = (
    'shelfscore_score_duration_seconds_count{outcome=~"scored|partial"}',
    'shelfscore_score_duration_seconds_bucket{outcome=~"scored|partial", le="0.05"}',
)

_HEAD = """\
# Real series: `python -m loadtest observe --recording` wrote this file from a run in which handler-sleep made every
# answer slow, between a healthy stretch and its repair. A scrape of that run is one of 15 s here.
rule_files: [../rules/*.yml]
evaluation_interval: 15s
group_eval_order:
  - shelfscore-budgets
  - shelfscore-availability
  - shelfscore-latency
  - shelfscore-capacity
  - shelfscore-canary
  - shelfscore-budget-alerts
  - shelfscore-replica-alerts
  - shelfscore-model-alerts

tests:
  - name: the recorded fault pages within five minutes, and the page ends within ten after it
    interval: 15s
    input_series:
"""
_CASE = """\
      - expr: count(ALERTS{alertname="ShelfscoreLatencyBudgetBurn", alertstate="firing", burn="fast"})
        eval_time: %s
        exp_samples: %s
"""
_STEP_S = 15


def as_promtool_test(series: Sequence[Series], start_s: float, fault_s: float, mended_s: float, step_s: float) -> str:
    """The text of the file.

    Args:
        series: counters, read at every `step_s` from `start_s` on, Unix time.
        fault_s, mended_s: when the service with the fault was ready, and the one without it.
    """
    steps = 1 + max(round((at_s - start_s) / step_s) for each in series for at_s, _ in each.points)
    lines = [_HEAD]
    for each in series:
        labels = ", ".join(
            f'{name}="{value}"' for name, value in sorted(each.labels.items()) if name not in ("__name__", "instance")
        )
        lines.append(f"      - series: '{each.labels['__name__']}{{{labels}, instance=\"a\"}}'\n")
        lines.append(f"        values: {_values(each, start_s, step_s, steps)}\n")
    lines.append("    promql_expr_test:\n")
    fault, mended = (round((moment_s - start_s) / step_s) for moment_s in (fault_s, mended_s))
    one = '[{labels: "{}", value: 1}]'
    expectations = [(fault, "[]"), (fault + 300 // _STEP_S, one), (mended, one), (mended + 600 // _STEP_S, "[]")]
    for step, expected in expectations:
        lines.append(_CASE % (f"{min(step, steps - 1) * _STEP_S}s", expected))
    return "".join(lines)


def _values(series: Series, start_s: float, step_s: float, steps: int) -> str:
    """One a step, `_` where there was none; runs of one value in short."""
    found = {round((at_s - start_s) / step_s): value for at_s, value in series.points}
    words: list[tuple[str, int]] = []
    for step in range(steps):
        value = found.get(step)
        word = "_" if value is None else f"{value:.0f}"
        if words and words[-1][0] == word:
            words[-1] = (word, words[-1][1] + 1)
        else:
            words.append((word, 1))
    return " ".join(_run(word, count) for word, count in words)


def _run(word: str, count: int) -> str:
    """promtool's `5x3` is four of them, its `_x3` three."""
    if count == 1:
        return word
    return f"_x{count}" if word == "_" else f"{word}x{count - 1}"
