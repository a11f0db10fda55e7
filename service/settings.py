"""Configuration: frozen, typed, from environment variables `SHELFSCORE_*` and from the command line.

The only module that touches the environment.
"""

import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from .keys import is_key, read_keys
from .planted.grammar import parse_faults

ENV_PREFIX = "SHELFSCORE_"

CPU_BATCH_TOKENS, CUDA_BATCH_TOKENS = 256, 16_384
SPLIT_CPU_BATCH_TOKENS = 1024
CUDA_BATCH_WAIT_MS = 2.0


class Settings(BaseSettings):
    """Scores the products of a search by relevance, over HTTP.

    Every option can also be given as an environment variable: SHELFSCORE_ and the option's name in capitals, such as
    SHELFSCORE_MAX_PRODUCTS for --max-products. An option on the command line wins.

    `python -m service drift-report --help` is about a command of its own, which serves nothing.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        frozen=True,
        cli_prog_name="python -m service",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        protected_namespaces=(),
    )

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8080, ge=0, le=65535, description="port to listen on; 0 takes a free one and logs it")
    model_dir: Path = Field(default=Path("models/default"), description="artifact folder of the default model")
    models: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="more models, which requests choose by name: comma-separated NAME=FOLDER, or FOLDER alone for the "
        "name in its manifest",
    )
    model_poll_ms: int = Field(
        default=1000,
        ge=0,
        description="how often to look whether a symbolic link on the way to a model's folder leads elsewhere, and "
        "swap the model; 0 is off, SIGHUP alone swaps",
    )
    shadow_model: str | None = Field(
        default=None,
        description="name of one of `models`, to score a share of the default model's requests in idle "
        "time; its scores go to the metrics alone",
    )
    shadow_rate: float = Field(default=0.01, ge=0, le=1, description="share of requests that the shadow model scores")
    device: Literal["cpu", "cuda"] = Field(default="cpu", description="where the model runs")
    precision: Literal["auto", "int8", "fp32", "fp16"] = Field(
        default="auto", description="which variant of the model; auto takes the fastest that the artifact has"
    )
    lanes: int | None = Field(
        default=None, ge=1, le=256, description="inference threads; without it, the available cores (one for cuda)"
    )
    lane_priority: Literal["auto", "normal", "low"] = Field(
        default="auto",
        description="low has the lanes give way to the thread that answers, and to other processes of their cgroup; "
        "auto is low where there is no other, as in a container",
    )
    pin_lanes: bool = Field(
        default=False, description="keep each lane on one core; where other processes use the cores, it waits for them"
    )
    batch_tokens: int | None = Field(
        default=None,
        ge=1,
        description="token budget of a micro-batch, padding included; without it, 256, 1024 for split models, whose "
        "tokens cost less, and 16384 for cuda",
    )
    batch_wait_ms: float | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="longest wait of a micro-batch for pairs of other requests; never beyond what its deadline leaves. "
        "Without it, 0, and 2 for cuda",
    )
    max_backlog_ms: int = Field(
        default=1000,
        ge=1,
        description="predicted milliseconds of work that each lane may have before it; what would pass it is answered "
        "503. Less than the longest deadline keeps queues short at the price of more refusals",
    )
    max_timeout_ms: int = Field(default=1000, ge=1, description="longest deadline, and the one without another")
    max_products: int = Field(default=1000, ge=1, description="most products in one request")
    max_body_bytes: int = Field(default=2 * 1024 * 1024, ge=1, description="largest request body, decompressed too")
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(),
        validate_default=False,  # none is the default alone: given, it is a mistake
        description="comma-separated bearer keys; without this setting and the next, the service is open. Other users "
        "of the machine can read the command line: prefer the environment variable",
    )
    api_keys_file: Path | None = Field(
        default=None, description="file with a bearer key on each line, read again when it changes"
    )
    token_cache_bytes: int = Field(
        default=32 * 1024 * 1024, ge=0, description="memory for the token ids of products already seen; 0 is off"
    )
    states: Path | None = Field(
        default=None,
        description="folder with the states files of split models, as `python -m export states` writes them; a model "
        "without one there encodes products as they come",
    )
    state_cache_bytes: int = Field(
        default=256 * 1024 * 1024,
        ge=0,
        description="memory for the product states of each split model, about 20,000 products of 30 tokens in 384 "
        "bytes each; 0 is off",
    )
    score_cache_bytes: int = Field(
        default=0,
        ge=0,
        description="memory for the scores of pairs already seen; 0 is off, the default, since it pays only where the "
        "same query meets the same products again",
    )
    max_memory_bytes: int | None = Field(
        default=None,
        ge=1,
        description="near this much resident memory, mapped files aside, the caches are emptied, and if that is not "
        "enough the process stops cleanly; without it, the limit of its cgroup",
    )
    drain_timeout_ms: int = Field(
        default=10_000, ge=0, description="longest wait, after SIGTERM, for requests in work to finish"
    )
    drain_delay_ms: int = Field(
        default=0, ge=0, description="keep answering 503 for this long after SIGTERM, so that balancers notice"
    )
    keep_alive_s: int = Field(default=75, ge=1, description="how long an idle connection stays open")
    max_connections: int = Field(
        default=2000, ge=1, description="most open connections; above, only probes are answered, others get 503"
    )
    head_timeout_ms: int = Field(
        default=10_000, ge=1, description="longest wait for a request's URL and headers, or for a body nobody reads"
    )
    write_timeout_ms: int = Field(
        default=10_000, ge=1, description="longest wait for a caller to take its answer; then it is cut off"
    )
    drift_rate: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="share of requests, by their ids, that drift is told by; at most a fifth of a percent of a core is "
        "spent on them. 0 is off",
    )
    drift_window_s: int = Field(
        default=3600, ge=60, description="seconds of traffic that are compared with the drift reference"
    )
    drift_reference: Path | None = Field(
        default=None,
        description="file that `python -m service drift-report --save-reference` wrote of real traffic; without it, "
        "what the model's manifest has",
    )
    trace_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="where OpenTelemetry spans of scoring requests go, by OTLP over HTTP, as in "
        "http://127.0.0.1:4318/v1/traces; without it there are none. Needs the extra otel",
    )
    trace_rate: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="share of the requests that come without a trace for which one begins here; where the header "
        "traceparent came, its flag decides",
    )
    audit_dir: Path | None = Field(
        default=None,
        description="existing folder for a sample of the scored pairs, texts included, as gzipped JSON lines; without "
        "it none is kept",
    )
    audit_rate: float = Field(default=0.01, ge=0, le=1, description="share of requests whose pairs are kept there")
    audit_bytes: int = Field(
        default=256 * 1024 * 1024,
        ge=1024 * 1024,
        description="most bytes that audit files may take in their folder, those of other replicas included; the "
        "oldest go first",
    )
    log_format: Literal["text", "json"] = Field(default="text", description="one line of either per event, on stderr")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe event that is logged; info has lines for requests"
    )
    log_rate: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="share of requests that have a line in the log; those that the service failed all have one",
    )
    log_texts: bool = Field(
        default=False,
        description="lines may hold texts of requests: the query, and messages of exceptions, which may quote any",
    )
    planted_faults: str = Field(
        default="",
        description="for tests alone, never in production: breaks the service on purpose, as in handler-sleep:20 or "
        "nan@5; the names stand in service/planted/grammar.py",
    )

    @field_validator("planted_faults")
    @classmethod
    def _check_planted_faults(cls, value: str) -> str:
        parse_faults(value)
        return value

    @field_validator("audit_dir", "drift_reference", "states", "trace_endpoint", mode="before")
    @classmethod
    def _none_if_empty(cls, value: object) -> object:
        # SHELFSCORE_AUDIT_DIR= in a file of settings means none, not the working directory. A file of keys is not among
        # these: left empty by mistake, it would open the service.
        return None if value == "" else value

    @field_validator("audit_dir")
    @classmethod
    def _check_audit_dir(cls, value: Path | None) -> Path | None:
        if value is not None and not (value.is_dir() and os.access(value, os.W_OK | os.X_OK)):
            raise ValueError(f"{value}: expected an existing folder that this process may write to")
        return value

    @field_validator("api_keys", "models", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("api_keys")
    @classmethod
    def _check_keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not value:
            raise ValueError("expected a key; leave the setting out for a service that is open to everybody")
        if not all(is_key(key.get_secret_value()) for key in value):
            raise ValueError("a key may hold printable ASCII characters alone: headers carry nothing else safely")
        return value

    @field_validator("api_keys_file")
    @classmethod
    def _check_keys_file(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                read_keys(value)
            except OSError as error:
                raise ValueError(f"{value}: {error.strerror}") from None
        return value

    def budget_tokens(self, architecture: str = "cross-encoder") -> int:
        """`batch_tokens`, or the device's and architecture's."""
        on_cpu = SPLIT_CPU_BATCH_TOKENS if architecture == "split" else CPU_BATCH_TOKENS
        return self.batch_tokens or (CUDA_BATCH_TOKENS if self.device == "cuda" else on_cpu)

    @property
    def encode_tokens(self) -> int:
        """The same for a split model's product encoder, which computes as much for a token as a cross-encoder."""
        return self.budget_tokens()

    @property
    def batch_wait_s(self) -> float:
        """`batch_wait_ms`, or the device's, in seconds."""
        default = CUDA_BATCH_WAIT_MS if self.device == "cuda" else 0.0
        return (default if self.batch_wait_ms is None else self.batch_wait_ms) / 1000


def settings_from_command_line(arguments: Sequence[str]) -> Settings:
    """Settings from options, then environment, then defaults. `--help` and unknown options exit.

    Raises:
        pydantic.ValidationError: a value that is not allowed.
    """
    return Settings(_cli_parse_args=list(arguments))  # type: ignore[call-arg]


def unknown_variables(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The environment variables that look like settings and are none, each with the setting it may have meant."""
    known = [name.upper() for name in Settings.model_fields]
    found = []
    for variable in sorted(environment):
        name = variable.upper().removeprefix(ENV_PREFIX)
        if name != variable.upper() and name not in known:
            close = get_close_matches(name, known, n=1)
            found.append(f"{variable} (did you mean {ENV_PREFIX}{close[0]}?)" if close else variable)
    return found


def prepare_libraries() -> None:
    """Keeps libraries from threads of their own beside the lanes, and from reporting to their maker.

    Call before they are imported. What the environment sets already stands.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # ONNX Runtime's builds from 1.29 on upload usage data, and keep a device identifier in the home folder.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
