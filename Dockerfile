# syntax=docker/dockerfile:1
# The service with models/default. No torch, no build tools, no root. deploy/README.md says what is in it.
#
#   docker build -t shelfscore .                          CPU
#   docker build -t shelfscore:gpu --build-arg DEVICE=cuda .    GPU: start it with --gpus all
#   docker build -t shelfscore --build-arg EXTRAS=otel .  with more of pyproject.toml's extras, comma-separated
#   docker run --rm -p 8080:8080 --read-only --cap-drop ALL --security-opt no-new-privileges shelfscore
#   docker run --rm -p 8080:8080 -v /path/to/artifact:/app/models/default:ro shelfscore

ARG DEVICE=cpu

FROM python:3.11-slim-bookworm AS build
ARG DEVICE
ARG EXTRAS=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY artifact artifact
COPY service service
RUN --mount=type=cache,target=/root/.cache/pip \
    case "$DEVICE" in \
        cpu) extra=cpu ;; \
        cuda) extra=gpu,gpu-libraries ;; \
        *) echo "DEVICE is cpu or cuda, not $DEVICE" >&2; exit 1 ;; \
    esac && /venv/bin/pip install --constraint constraints.txt ".[$extra${EXTRAS:+,$EXTRAS}]" && \
    /venv/bin/pip uninstall --yes pip setuptools

FROM python:3.11-slim-bookworm
ARG DEVICE
LABEL org.opencontainers.image.title="shelfscore" org.opencontainers.image.version="0.2.0" \
    org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --system --gid 10001 shelfscore && \
    useradd --system --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin shelfscore
COPY --from=build /venv /venv
WORKDIR /app
COPY LICENSE NOTICE ./
COPY models/default models/default
USER 10001
ENV PATH=/venv/bin:$PATH ORT_DISABLE_TELEMETRY=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    SHELFSCORE_HOST=0.0.0.0 SHELFSCORE_PORT=8080 SHELFSCORE_MODEL_DIR=/app/models/default \
    SHELFSCORE_DEVICE=$DEVICE SHELFSCORE_LOG_FORMAT=json
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=2s --start-period=20s --retries=3 CMD ["python", "-c", \
    "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"SHELFSCORE_PORT\"]}/health/ready', timeout=2)"]
CMD ["python", "-m", "service"]
