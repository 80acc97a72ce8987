# Two commands do the work: `make matrix` measures, `make test` checks the harness itself.
# Both install what they need; a second call finds it there.

PYTHON ?= python3
BACKENDS ?=
K ?=
CELL ?=
MODEL ?=
WORKERS ?=
FRESH ?=
REPEAT ?=
ORDER ?=
WINDOW ?=
REPEATS ?=
IDLE ?=
BUDGET ?=
RESULTS ?=
SAMPLE ?=
SEED ?=
EXECUTOR ?=
RAY_ADDRESS ?=
VERSIONS ?=
PARTS ?=
CELLS ?=
WRITE ?=
VLLM_VERSION ?=
ASKED := $(foreach version,$(VERSIONS) $(if $(VLLM_VERSION),vllm=$(VLLM_VERSION)),--version '$(version)')
FILE := $(if $(RESULTS),--results '$(RESULTS)')
PARAMATRIX := .venv/bin/paramatrix
RUNNER := $(if $(filter ray,$(EXECUTOR)),.venvs/ray/bin/paramatrix,$(PARAMATRIX))
SPREAD := $(if $(EXECUTOR),--executor $(EXECUTOR)) $(if $(RAY_ADDRESS),--ray-address '$(RAY_ADDRESS)')

.DEFAULT_GOAL := help
.PHONY: help harness setup ray matrix energy audit accept report repro cases drift lint test faults check format model bench clean

help: ## Show this help
	@echo "paramatrix: which parameter values really work on which LLM inference backend"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  Variables of matrix:         BACKENDS=pytorch      columns, comma-separated (also of setup, cases, drift, bench)"
	@echo "                               K=\"decoder and not beam\"  pytest -k expression over cell ids"
	@echo "                               CELL=pytorch-streaming=True  one exact cell (also of accept, repro)"
	@echo "                               MODEL=path-or-hub-id"
	@echo "                               WORKERS=auto          one worker a GPU or share of the CPU, or a number"
	@echo "  Of matrix, besides:          FRESH=1                 run also cells whose inputs did not change"
	@echo "                               REPEAT=3 ORDER=random judge each cell three times, at random"
	@echo "  Of matrix:                   EXECUTOR=ray RAY_ADDRESS=host:6379  on a Ray cluster"
	@echo "  Of energy, besides:          WINDOW=10 REPEATS=3 IDLE=10  seconds, windows, seconds"
	@echo "                               BUDGET=file.yaml      limits that figures must keep"
	@echo "  Of accept, report, repro:    RESULTS=file.jsonl    instead of reports/results.jsonl (also of matrix)"
	@echo "  Of bench:                    PARTS=\"sample scaling large running sampling matrix\"  CELLS=16  WRITE=docs/benchmarks.md"
	@echo "  Of test:                     WORKERS=4             processes that share its files (default: 2)"
	@echo "  Of faults:                   REPEAT=20             rounds (default: 20)"
	@echo "  Of audit, besides:           SAMPLE=24 SEED=text   so many cells, spread over sections"
	@echo "  Of setup, matrix, report:    VLLM_VERSION=0.31.0   another version, into results of its own"
	@echo "                               VERSIONS=\"vllm=0.31.0 pytorch=…\"  the same for any backend (also of accept, repro, drift)"

harness: # the harness's own environment; never holds torch
	@PYTHONPATH=. $(PYTHON) -m harness.environments .venv requirements/harness --editable .

setup: harness ## Make the harness environment and one environment per backend
	@$(PARAMATRIX) setup $(if $(BACKENDS),--backends $(BACKENDS)) $(ASKED)

ray: # the harness's environment with Ray besides: for EXECUTOR=ray, and for the nodes of a cluster
	@PYTHONPATH=. $(PYTHON) -m harness.environments .venvs/ray requirements/harness requirements/ray --editable .

matrix: harness $(filter ray,$(EXECUTOR)) ## Measure the matrix and write reports/parameter-support-matrix.md
	@$(RUNNER) run --install $(if $(BACKENDS),--backends $(BACKENDS)) $(ASKED) $(if $(K),-k "$(K)") \
	  $(if $(CELL),--cell '$(CELL)') $(if $(MODEL),--model "$(MODEL)") $(if $(WORKERS),--workers $(WORKERS)) $(SPREAD) \
	  $(if $(FRESH),--fresh) $(if $(REPEAT),--repeat $(REPEAT)) $(if $(ORDER),--order $(ORDER)) $(FILE)

energy: setup ## Measure what the values that passed cost, each against its control
	@$(PARAMATRIX) energy $(if $(BACKENDS),--backends $(BACKENDS)) $(ASKED) $(if $(K),-k "$(K)") $(if $(CELL),--cell '$(CELL)') \
	  $(if $(MODEL),--model "$(MODEL)") $(FILE) $(if $(BUDGET),--budget '$(BUDGET)') $(if $(WINDOW),--window $(WINDOW)) \
	  $(if $(REPEATS),--repeats $(REPEATS)) $(if $(IDLE),--idle $(IDLE))

audit: setup ## Try every ✅ again with a saboteur between declaration and upstream
	@$(PARAMATRIX) audit $(if $(BACKENDS),--backends $(BACKENDS)) $(ASKED) $(if $(K),-k "$(K)") $(if $(CELL),--cell '$(CELL)') \
	  $(if $(MODEL),--model "$(MODEL)") $(FILE) $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed '$(SEED)')

accept: harness ## Expect from now on the verdicts of the last run
	@$(PARAMATRIX) accept $(ASKED) $(FILE) $(if $(CELL),--cell '$(CELL)')

report: harness ## Render the pages again from reports/results.jsonl alone
	@$(PARAMATRIX) report $(ASKED) $(FILE)

repro: ## Print a script that shows CELL with the upstream library alone
	@$(MAKE) -s harness >&2
	@$(PARAMATRIX) repro $(ASKED) $(FILE) '$(CELL)'

cases: harness ## List the planned cells
	@$(PARAMATRIX) cases $(if $(BACKENDS),--backends $(BACKENDS))

test: setup ray ## Test the harness itself, real backends included
	@.venv/bin/python -m pytest -p no:harness.plugin -n $(or $(WORKERS),2) --dist loadfile --no-loadscope-reorder \
	  --max-worker-restart 0 -m "not alone" tests
	@.venv/bin/python -m pytest -p no:harness.plugin -m alone tests

faults: setup ## Run the tests in which things die or are interrupted REPEAT times
	@for round in $$(seq $(or $(REPEAT),20)); do \
	  echo "round $$round of $(or $(REPEAT),20)"; .venv/bin/python -m pytest -q -m faults tests || exit 1; done

drift: setup ## Compare the declared parameters with what the installed backends offer
	@$(PARAMATRIX) drift $(if $(BACKENDS),--backend $(BACKENDS)) $(ASKED)

lint: harness ## Look for contradictions between declarations, results, rules and pages
	@$(PARAMATRIX) lint

check: harness ## Types, style and formatting of the code, contradictions of the pages
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(PARAMATRIX) lint

format: harness ## Format the code and mend what lint can mend
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

model: setup ## Train the shipped model again (about 3 minutes on 2 cores)
	@PYTHONPATH=. .venvs/pytorch/bin/python scripts/train_model.py --out models/tiny

bench: setup ## Print what runs cost: one process per case against ours, more slots, 10 000 cells
	@PYTHONPATH=scripts .venv/bin/python -m bench $(if $(BACKENDS),--backends $(BACKENDS)) \
	  $(foreach part,$(PARTS),--part $(part)) $(if $(CELLS),--cells $(CELLS)) $(if $(WRITE),--write $(WRITE))

clean: ## Remove environments and caches, keep reports
	@rm -rf .venv .venvs .cache .mypy_cache .ruff_cache .pytest_cache
