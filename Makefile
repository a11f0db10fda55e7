# Each target makes or reuses .venv with just what it needs, and installs again only when its inputs changed.
#
#   make serve      start the service on models/default (http://127.0.0.1:8080)
#   make test       lint, types, tests, coverage
#   make train      the whole training pipeline into RUN, from the files in DATA; goes on where it was stopped
#   make label      RUN's teacher labels in the engine that is fastest here; then `make train` goes on
#   make reproduce  the scaled-down paper into runs/reproduce and docs/reproduction.md; hours, goes on where it stopped
#   make export     RUN's student as an artifact into ARTIFACT
#   make verify     every check of the finished artifact ARTIFACT, docs/verification.md; fails if one does
#   make evaluate   ranking quality of the running service and of RUN, beside untrained floors
#   make bench      side by side with infinity-emb and a plain handler on the same weights; `make peer` installs the first
#   make bench-split  the default model, its products met before and never, beside infinity-emb and a cross-encoder
#   make gpu-check  on a machine with a GPU: verifies and times the variant cuda-fp16 of CHECKED
#   make fuzz       for FUZZ_SECONDS what nobody thought of: bytes, texts, requests; docs/fuzzing.md
#   make loadtest   the latency objective against the running service
#   make gate       a short load test of ARTIFACT that fails on errors, missed deadlines or a late generator, not on speed
#   make image      the Dockerfile's steps without an engine, into build/image, and what the image holds
#   make release-check  for a release: licences, known vulnerabilities, an SBOM into build/release/sbom.json
#   make prometheus  Debian's Prometheus unpacked into build/prometheus, for the tests of rules and dashboard
#   make lock       pin the newest versions of all dependencies in constraints.txt

PYTHON ?= python3
DEVICE ?= cpu
DATA ?= $(firstword $(wildcard data ../shared/data) data)
RUN ?= runs/default
CONFIG ?= training/configs/default.toml
ARTIFACT ?= models/default
URL ?= http://127.0.0.1:8080
RATE ?= 10
DURATION ?= 30
P99_MS ?= 50
MAX_ERROR_RATE ?= 0.01
VARIANTS ?= cpu-fp32,cpu-int8
BENCH_WEIGHTS ?= all-MiniLM-L6-v2
CHECKED ?= all-MiniLM-L6-v2
BENCH_TRAFFIC ?= $(if $(wildcard $(DATA)/chorus_ratings.csv),build/bench/traffic.jsonl)
TRAFFIC ?= $(if $(wildcard $(DATA)/chorus_ratings.csv),build/traffic.jsonl)
FUZZ_SECONDS ?= 600
FUZZ ?=
TORCH ?= 2.13.0

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# ONNX Runtime would report its use to its maker.
export ORT_DISABLE_TELEMETRY := 1
.DEFAULT_GOAL := help
.PHONY: help serve test gate lint train label reproduce export verify evaluate bench bench-split peer gpu-check fuzz loadtest image release-check prometheus lock clean

BIN := .venv/bin
INPUTS := pyproject.toml constraints.txt
INSTALL := $(BIN)/pip install --quiet --constraint constraints.txt
SERVING := $(if $(filter cuda,$(DEVICE)),gpu,cpu)

help:
	@sed -n 's/^#   //p' Makefile

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "shelfscore needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv

# One stamp per set of extras: .venv/.has-cpu, .venv/.has-training, ...; dev holds all but gpu.
.venv/.has-%: $(INPUTS) | $(BIN)/python
	@echo "installing shelfscore[$*] into .venv ..."
	$(INSTALL) --editable '.[$*]'
	@touch $@ $(if $(filter dev,$*),$(addprefix .venv/.has-,cpu deploy training export fuzz loadtest))

serve: .venv/.has-$(SERVING)
	@SHELFSCORE_MODEL_DIR=$(ARTIFACT) SHELFSCORE_DEVICE=$(DEVICE) exec $(BIN)/python -m service

lint: .venv/.has-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --cov --cov-report=
	$(BIN)/coverage report
	$(BIN)/coverage report --include='artifact/*' --fail-under=90 > /dev/null
	$(BIN)/coverage report --include='service/*' --fail-under=90 > /dev/null

train: .venv/.has-training
	$(BIN)/python -m training all --config $(CONFIG) --data $(DATA) --run $(RUN)

# Mines and labels alone, by ONNX Runtime where that is faster than torch: worth it from some 10,000 pairs on.
label: .venv/.has-export
	$(BIN)/python -m training teacher --config $(CONFIG) --data $(DATA) --run $(RUN)
	$(BIN)/python -m training mine --config $(CONFIG) --data $(DATA) --run $(RUN)
	$(BIN)/python -m export label $(RUN) --data $(DATA)

reproduce: .venv/.has-export
	$(BIN)/python -m training.experiments reproduce --data $(DATA) --out runs/reproduce \
		--label-command 'python -m export label'
	$(BIN)/python -m training.experiments report --results runs/reproduce/results.json

export: .venv/.has-export
	$(BIN)/python -m export run $(RUN) $(ARTIFACT) --data $(DATA) --variants $(VARIANTS)

verify: .venv/.has-export
	$(BIN)/python -m export verify $(ARTIFACT)

evaluate: .venv/.has-training
	$(BIN)/python -m training evaluate --config $(CONFIG) --data $(DATA) --run $(RUN) --url $(URL)

loadtest: .venv/.has-loadtest $(TRAFFIC)
	$(BIN)/python -m loadtest slo --host $(URL) --rate $(RATE) --duration $(DURATION) --p99-ms $(P99_MS) \
		--max-error-rate $(MAX_ERROR_RATE) $(TRAFFIC:%=--traffic %)

# Deadlines that a slow machine meets too: what fails here is broken, not slow.
gate: .venv/.has-cpu .venv/.has-loadtest
	$(BIN)/python -m loadtest slo --artifact $(ARTIFACT) --rate 10 --products 16 --duration 10 --p99-ms 0 \
		--max-error-rate 0 --setting MAX_TIMEOUT_MS=5000 --setting MAX_BACKLOG_MS=5000 --deadline-ms 5000 \
		--deadline-slack-ms 500 --max-lag-ms 250

# A six-layer model whose weights the peers serve too, and the default one. Fails where the promise to the first is broken.
bench: .venv/.has-export .venv/.has-loadtest build/bench/peer/config.json $(BENCH_TRAFFIC)
	$(BIN)/python -m loadtest bench --artifact six-layer=build/bench/six --artifact default=$(ARTIFACT) \
		--plain build/bench/peer --peer-model build/bench/peer --peer-python .venv-peer/bin/python \
		$(BENCH_TRAFFIC:%=--traffic %) --min-ratio 2.0 --max-p99-ratio 0.5 \
		--json build/bench/result.json --out build/bench/result.md

# The default's products met before, and never; beside a cross-encoder, which is the former default unless CROSS says else.
CROSS ?= build/bench/cross-encoder
bench-split: .venv/.has-export .venv/.has-loadtest build/bench/peer/config.json $(BENCH_TRAFFIC) $(CROSS)
	$(BIN)/python -m loadtest bench --artifact default=$(ARTIFACT) --artifact cross-encoder=$(CROSS) --unseen-products \
		$(BENCH_TRAFFIC:%=--traffic %) --json build/bench/cold.json --out build/bench/cold.md
	$(BIN)/python -m loadtest bench --artifact default=$(ARTIFACT) --artifact cross-encoder=$(CROSS) --seen-products \
		--peer-model build/bench/peer --peer-python .venv-peer/bin/python \
		$(BENCH_TRAFFIC:%=--traffic %) --min-ratio 10 --max-p99-ratio 0.12 \
		--json build/bench/split.json --out build/bench/split.md

build/bench/cross-encoder:
	@mkdir -p $@
	git archive 3976b31 models/default | tar -x --strip-components=2 -C $@

build/bench/peer/config.json: $(wildcard export/*.py artifact/*.py) | .venv/.has-export
	rm -rf build/bench/peer
	$(BIN)/python -m export plain $(BENCH_WEIGHTS) build/bench/six --name six-layer --variants cpu-int8
	$(BIN)/python -m export peer $(BENCH_WEIGHTS) build/bench/peer

# Real queries with real candidates, where the data are at hand; else loadtest makes traffic up and says so.
build/traffic.jsonl: $(wildcard loadtest/traffic/*.py) | .venv/.has-loadtest
	@mkdir -p build
	$(BIN)/python -m loadtest traffic --judgements $(DATA)/chorus_ratings.csv \
		--catalogue $(DATA)/icecat_products.csv.gz --out $@

# The same of several lists a query, with no pair twice.
build/bench/traffic.jsonl: $(wildcard loadtest/traffic/*.py) | .venv/.has-loadtest
	@mkdir -p build/bench
	$(BIN)/python -m loadtest traffic --judgements $(DATA)/chorus_ratings.csv \
		--catalogue $(DATA)/icecat_products.csv.gz --requests 624 --distinct-pairs --out $@

# The peer of `make bench`, in an environment of its own: it needs other versions than we do.
peer: .venv-peer/.done
.venv-peer/.done: loadtest/peers/infinity.txt
	$(PYTHON) -m venv .venv-peer
	.venv-peer/bin/pip install --quiet --requirement $<
	@touch $@

# FUZZ narrows it to parts, or repeats a run: make fuzz FUZZ='bodies texts --seed 7'. Some parts are tests, hence dev.
fuzz: .venv/.has-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS) $(FUZZ)

prometheus: build/prometheus/usr/bin/promtool
build/prometheus/usr/bin/promtool:
	deploy/prometheus/unpack.sh build/prometheus

# An environment of its own: ONNX Runtime's builds for CPU and for CUDA do not go together.
gpu-check: .venv-gpu/.done
	.venv-gpu/bin/python -m export gpu-check $(CHECKED)
.venv-gpu/.done: $(INPUTS)
	$(PYTHON) -m venv .venv-gpu
	.venv-gpu/bin/pip install --quiet --constraint constraints.txt --editable '.[gpu-check]'
	@touch $@

# Needs Linux and root, for namespaces; the suite does the same and starts what comes of it.
image: .venv/.has-deploy
	$(BIN)/python -m deploy.image build build/image
	$(BIN)/python -m deploy.image contents build/image

# The tools look at an environment with what the image installs, and are not in it. Strict: where the index does not say
# what it knows of vulnerabilities, every package would be skipped, and none found.
release-check: .venv/.has-dev .venv-release/.done
	$(BIN)/python -m deploy.licences --check deploy/LICENCES.md
	rm -rf build/release
	$(PYTHON) -m venv build/release/service
	build/release/service/bin/pip install --quiet --constraint constraints.txt '.[cpu]'
	build/release/service/bin/pip uninstall --quiet --yes pip setuptools
	.venv-release/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible \
		--output-file build/release/sbom.json build/release/service/bin/python
	$(BIN)/pip freeze --exclude shelfscore --path build/release/service/lib/python3*/site-packages > build/release/pins.txt
	.venv-release/bin/pip-audit --strict --progress-spinner off --disable-pip --no-deps --requirement build/release/pins.txt
.venv-release/.done: deploy/release-tools.txt
	$(PYTHON) -m venv .venv-release
	.venv-release/bin/pip install --quiet --requirement $<
	@touch $@

# torch is held: its newest build would bring CUDA packages along.
lock:
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet 'torch==$(TORCH)' '.[dev]'
	{ echo "# Every dependency of every extra, pinned. Made by: make lock"; \
	  build/lock/bin/pip freeze --exclude shelfscore --exclude pip --exclude setuptools | sed 's/+cpu$$//'; \
	  build/lock/bin/pip freeze | sed -n 's/^onnxruntime==/onnxruntime-gpu==/p'; } > constraints.txt
	rm -rf build/lock

clean:
	rm -rf .venv .venv-peer .venv-gpu .venv-release build *.egg-info
