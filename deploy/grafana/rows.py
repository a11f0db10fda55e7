"""What the dashboard shows, top down in the order in which somebody who was woken asks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ONE = 'instance=~"$instance"'
RATE = "[$__rate_interval]"
SERVED = f'outcome=~"scored|partial", {ONE}'


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        number: its id, for good.
        queries: PromQL by legend.
        limits: lines above which it is yellow, and red; of one, red.
        width, height: in Grafana's grid of 24 columns.
    """

    number: int
    title: str
    help: str
    unit: str
    queries: Mapping[str, str]
    kind: str = "timeseries"
    limits: Sequence[float] = ()
    stacked: bool = False
    floats_below_zero: bool = False
    width: int = 8
    height: int = 7


def quantiles(metric: str, selector: str, *shares: float) -> dict[str, str]:
    """Of a histogram over all chosen replicas, by legend."""
    return {
        f"p{share * 100:g}": f"histogram_quantile({share}, sum by (le) (rate({metric}_bucket{{{selector}}}{RATE})))"
        for share in shares
    }


def mean(metric: str, selector: str = ONE) -> str:
    """Of a histogram's observations."""
    return f"sum(rate({metric}_sum{{{selector}}}{RATE})) / sum(rate({metric}_count{{{selector}}}{RATE}))"


WELL = (
    Panel(
        1,
        "Alerts firing",
        "Each alert's page is docs/runbooks/.",
        "short",
        {"alerts": 'count(ALERTS{alertname=~"Shelfscore.+", alertstate="firing"}) or vector(0)'},
        kind="stat",
        limits=(1,),
        width=4,
        height=4,
    ),
    Panel(
        2,
        "Replicas ready",
        "Of those that Prometheus scrapes.",
        "short",
        {"ready": f"sum(shelfscore_ready{{{ONE}}})", "scraped": 'count(up{job="shelfscore"})'},
        kind="stat",
        width=4,
        height=4,
    ),
    Panel(
        3,
        "Availability budget burnt",
        "1 spends the budget in exactly its 30 days. Pages at 14.4 over an hour, or 6 over six.",
        "short",
        {
            "5 min": "max(job:shelfscore_availability:burn5m)",
            "1 h": "max(job:shelfscore_availability:burn1h)",
            "6 h": "max(job:shelfscore_availability:burn6h)",
        },
        limits=(6, 14.4),
    ),
    Panel(
        4,
        "Latency budget burnt",
        "Answers over 50 ms, as a multiple of the 1 % that may be. Pages at 14.4 over half an hour, or 6 over six.",
        "short",
        {
            "5 min": "max(job:shelfscore_latency:burn5m)",
            "30 min": "max(job:shelfscore_latency:burn30m)",
            "6 h": "max(job:shelfscore_latency:burn6h)",
        },
        limits=(6, 14.4),
    ),
)

REQUESTS = (
    Panel(
        5,
        "Scoring requests by outcome",
        "Every POST /score, once.",
        "reqps",
        {"{{outcome}}": f"sum by (outcome) (rate(shelfscore_score_requests_total{{{ONE}}}{RATE}))"},
        stacked=True,
    ),
    Panel(
        6,
        "Not scored, by reason",
        "What became of the others, and why.",
        "reqps",
        {
            "{{outcome}}: {{reason}}": "sum by (outcome, reason) "
            f'(rate(shelfscore_score_requests_total{{outcome!="scored", {ONE}}}{RATE}))'
        },
        stacked=True,
    ),
    Panel(
        7,
        "Latency of answers with scores",
        "From arrival to answer. The objective is 99 % within 50 ms.",
        "s",
        quantiles("shelfscore_score_duration_seconds", SERVED, 0.5, 0.9, 0.99),
        limits=(0.05,),
    ),
    Panel(
        8,
        "Answers within 50 ms",
        "Of the answers with scores.",
        "percentunit",
        {
            "within": f'sum(rate(shelfscore_score_duration_seconds_bucket{{le="0.05", {SERVED}}}{RATE})) '
            f"/ sum(rate(shelfscore_score_duration_seconds_count{{{SERVED}}}{RATE}))"
        },
    ),
    Panel(
        9,
        "Products a request",
        "Requests that grew look like a service that became slow.",
        "short",
        {**quantiles("shelfscore_request_products", ONE, 0.5, 0.99), "mean": mean("shelfscore_request_products")},
    ),
    Panel(
        10,
        "Tokens a request",
        "Longer texts cost as more products do.",
        "short",
        {**quantiles("shelfscore_request_tokens", ONE, 0.5, 0.99), "mean": mean("shelfscore_request_tokens")},
    ),
)

TIME = (
    Panel(
        11,
        "Where a request's time goes, mean",
        "Stages one after another; what is missing to the latency is parsing, admission and the answer.",
        "s",
        {
            "{{stage}}": f"sum by (stage) (rate(shelfscore_stage_duration_seconds_sum{{{ONE}}}{RATE})) "
            f"/ sum by (stage) (rate(shelfscore_stage_duration_seconds_count{{{ONE}}}{RATE}))"
        },
        stacked=True,
    ),
    Panel(
        12,
        "Where a request's time goes, p99",
        "The stage that grew is where to look.",
        "s",
        {
            "{{stage}}": "histogram_quantile(0.99, sum by (stage, le) "
            f"(rate(shelfscore_stage_duration_seconds_bucket{{{ONE}}}{RATE})))"
        },
    ),
    Panel(
        13,
        "Padding's share of tokens",
        "Computed for nothing.",
        "percentunit",
        {
            "padding": f'sum(rate(shelfscore_tokens_total{{kind="padding", {ONE}}}{RATE})) '
            f"/ sum(rate(shelfscore_tokens_total{{{ONE}}}{RATE}))"
        },
    ),
)

CAPACITY = (
    Panel(
        14,
        "Lanes' time that is used",
        "Per replica; a shadow model's work in idle time counts. A ticket above 90 % for ten minutes.",
        "percentunit",
        {
            "{{instance}}": f"sum by (instance) (rate(shelfscore_lane_busy_seconds_total{{{ONE}}}{RATE})) "
            f"/ sum by (instance) (shelfscore_lanes{{{ONE}}})"
        },
        limits=(0.9,),
    ),
    Panel(
        15,
        "Lanes",
        "Alive below all: a lane is stuck.",
        "short",
        {
            "all": f"sum(shelfscore_lanes{{{ONE}}})",
            "alive": f"sum(shelfscore_lanes_alive{{{ONE}}})",
            "busy": f"sum(shelfscore_lanes_busy{{{ONE}}})",
        },
    ),
    Panel(
        16,
        "Backlog and its limit, a lane",
        "Predicted seconds of admitted work; the limit falls while requests take longer than predicted.",
        "s",
        {
            "backlog": f"max(shelfscore_backlog_seconds{{{ONE}}} / shelfscore_lanes_alive{{{ONE}}})",
            "limit": f"min(shelfscore_backlog_limit_seconds{{{ONE}}})",
        },
    ),
    Panel(
        17,
        "Time taken, as a multiple of the time predicted",
        "Far above 1, admission lets in what will be late; far below, it refuses what would not be.",
        "short",
        quantiles("shelfscore_admission_prediction_ratio", ONE, 0.5, 0.99),
        limits=(2,),
    ),
    Panel(
        18,
        "Cache hits",
        "A low share of state hits means that products are encoded on the way.",
        "percentunit",
        {
            "{{cache}}": f'sum by (cache) (rate(shelfscore_cache_lookups_total{{result="hit", {ONE}}}{RATE})) '
            f"/ sum by (cache) (rate(shelfscore_cache_lookups_total{{{ONE}}}{RATE}))"
        },
    ),
    Panel(
        19,
        "Cache bytes, share of the limit",
        "Full is how it should be; a cache that empties again and again meets the memory guard.",
        "percentunit",
        {
            "{{cache}}": f"sum by (cache) (shelfscore_cache_bytes{{{ONE}}}) "
            f"/ sum by (cache) (shelfscore_cache_limit_bytes{{{ONE}}} > 0)"
        },
    ),
)

MODELS = (
    Panel(
        20,
        "Models loaded",
        "Replicas by model and version. Two versions of one name: a roll-out, a canary, or a swap that failed on some.",
        "short",
        {
            "replicas": "count by (name, version, architecture, variant, precision) "
            f"(shelfscore_model_info{{{ONE}}} == 1)"
        },
        kind="table",
        width=12,
    ),
    Panel(
        21,
        "Swaps",
        "Attempts to replace a model, over the last hour.",
        "short",
        {"{{model}}: {{outcome}}": f"sum by (model, outcome) (increase(shelfscore_model_swaps_total{{{ONE}}}[1h]))"},
        width=12,
    ),
    Panel(
        22,
        "Shadow: distance and order",
        "Mean distance of its scores from the served ones; share of product pairs that it orders otherwise.",
        "short",
        {
            "score difference": mean("shelfscore_shadow_score_difference"),
            "pairs in another order": mean("shelfscore_shadow_rank_disagreement"),
        },
        limits=(0.1, 0.2),
    ),
    Panel(
        23,
        "Shadow: its sample",
        "Dropped: the lanes had other work.",
        "reqps",
        {"{{outcome}}": f"sum by (outcome) (rate(shelfscore_shadow_requests_total{{{ONE}}}{RATE}))"},
        stacked=True,
    ),
    Panel(
        24,
        "Drift: population stability index",
        "Below .1 nothing, above .25 a ticket. Absent until a replica has scored enough.",
        "short",
        {"{{model}}: {{signal}}, {{reference}}": f"avg by (model, signal, reference) (shelfscore_drift_psi{{{ONE}}})"},
        limits=(0.1, 0.25),
    ),
    Panel(
        25,
        "Products that drift looks at",
        "Scored products in the window of the fullest replica.",
        "short",
        {"{{model}}": f"max by (model) (shelfscore_drift_window_products{{{ONE}}})"},
    ),
    Panel(
        26,
        "Inputs cut short",
        "Share of queries and of products that have more text than the model reads.",
        "percentunit",
        {
            "{{side}}": f"sum by (side) (rate(shelfscore_truncated_inputs_total{{{ONE}}}{RATE})) "
            f"/ sum by (side) (rate(shelfscore_inputs_total{{{ONE}}}{RATE}))"
        },
    ),
    Panel(
        27,
        "Unknown tokens",
        "Share of tokens that the vocabulary lacks.",
        "percentunit",
        {
            "{{side}}": f"sum by (side) (rate(shelfscore_unknown_tokens_total{{{ONE}}}{RATE})) "
            f"/ sum by (side) (rate(shelfscore_input_tokens_total{{{ONE}}}{RATE}))"
        },
    ),
    Panel(
        28,
        "Audit log",
        "Pairs written, and dropped since the writer was behind.",
        "cps",
        {"{{outcome}}": f"sum by (outcome) (rate(shelfscore_audit_pairs_total{{{ONE}}}{RATE}))"},
    ),
)

PROCESS = (
    Panel(
        29,
        "Resident memory",
        "Per replica.",
        "bytes",
        {"{{instance}}": f'process_resident_memory_bytes{{job="shelfscore", {ONE}}}'},
    ),
    Panel(
        30,
        "Cores used",
        "Per replica. Less than its lanes are busy: others have the cores.",
        "short",
        {"{{instance}}": f'rate(process_cpu_seconds_total{{job="shelfscore", {ONE}}}{RATE})'},
    ),
    Panel(
        31,
        "Open files and sockets",
        "Per replica.",
        "short",
        {"{{instance}}": f'process_open_fds{{job="shelfscore", {ONE}}}'},
    ),
    Panel(
        32,
        "Garbage collections",
        "By generation; the oldest is the one that holds answers up.",
        "cps",
        {
            "generation {{generation}}": "sum by (generation) "
            f'(rate(python_gc_collections_total{{job="shelfscore", {ONE}}}{RATE}))'
        },
    ),
    Panel(
        33,
        "Age",
        "Since each replica's process started.",
        "s",
        {"{{instance}}": f'time() - process_start_time_seconds{{job="shelfscore", {ONE}}}'},
    ),
    Panel(
        34,
        "Time of a scrape",
        "As Prometheus sees it.",
        "s",
        {"{{instance}}": f'scrape_duration_seconds{{job="shelfscore", {ONE}}}'},
    ),
)

ROWS: Sequence[tuple[str, Sequence[Panel]]] = (
    ("Is it well?", WELL),
    ("What is asked, and answered?", REQUESTS),
    ("Where does the time go?", TIME),
    ("How full is it?", CAPACITY),
    ("Does the model fit?", MODELS),
    ("The process", PROCESS),
)
