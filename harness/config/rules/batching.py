"""Rules about batches and the traffic that fills them."""

from __future__ import annotations

from harness.config.rules._rule import Rule, disagree

__all__ = ["RULES"]

_STRATEGY, _BUDGET = "batching.strategy", "batching.max_tokens_per_batch"
_DYNAMIC = ("dynamic", "sorted_dynamic")
_ENABLED, _MODE, _RATE, _SEED = (f"traffic_simulation.{name}" for name in ("enabled", "mode", "target_qps", "seed"))

RULES: tuple[Rule, ...] = (
    Rule(
        id="batching.batch_size_disagrees",
        backends=("pytorch",),
        parameters=("batching.batch_size", "pytorch.batch_size"),
        violated=disagree("batching.batch_size", "pytorch.batch_size"),
        combination="batching.batch_size differs from pytorch.batch_size",
        expected="equal values, or only one of the two",
        reason="Both set the number of prompts per batch",
        resolution="Set only batching.batch_size, or set both to the same value",
        witness={"batching.batch_size": 1, "pytorch.batch_size": 2},
        neighbour={"batching.batch_size": 1, "pytorch.batch_size": 1},
    ),
    Rule(
        id="batching.dynamic_without_budget",
        parameters=(_STRATEGY, _BUDGET),
        violated=lambda values: values.get(_STRATEGY) in _DYNAMIC and _BUDGET not in values,
        combination=f"{_STRATEGY}=dynamic or sorted_dynamic without {_BUDGET}",
        expected=f"{_BUDGET} beside a dynamic strategy",
        reason="Dynamic batches are filled up to a token budget, and there is no default one",
        resolution=f"Set {_BUDGET}, or use {_STRATEGY}='static'",
        witness={_STRATEGY: "dynamic"},
        neighbour={_STRATEGY: "dynamic", _BUDGET: 256},
    ),
    Rule(
        id="batching.budget_without_dynamic",
        parameters=(_BUDGET, _STRATEGY),
        violated=lambda values: _BUDGET in values and values.get(_STRATEGY) not in _DYNAMIC,
        combination=f"{_BUDGET} without a dynamic strategy",
        expected=f"{_STRATEGY}=dynamic or sorted_dynamic",
        reason="Static batches are counted in prompts: they have no use for a token budget",
        resolution=f"Set {_STRATEGY}='dynamic', or remove {_BUDGET}",
        witness={_BUDGET: 256},
        neighbour={_BUDGET: 256, _STRATEGY: "dynamic"},
    ),
    Rule(
        id="traffic.enabled_without_rate",
        parameters=(_ENABLED, _RATE),
        violated=lambda values: values.get(_ENABLED) is True and _RATE not in values,
        combination=f"{_ENABLED}=True without {_RATE}",
        expected=f"{_RATE} in requests per second",
        reason="Requests cannot be paced without a rate, and there is no default one",
        resolution=f"Set {_RATE}, or remove {_ENABLED}",
        witness={_ENABLED: True},
        neighbour={_ENABLED: True, _RATE: 10.0},
    ),
    Rule(
        id="traffic.mode_without_rate",
        parameters=(_MODE, _RATE),
        violated=lambda values: _MODE in values and _RATE not in values,
        combination=f"{_MODE} without {_RATE}",
        expected=f"{_RATE} in requests per second",
        reason="Requests cannot be paced without a rate, and there is no default one",
        resolution=f"Set {_RATE}, or remove {_MODE}",
        witness={_MODE: "poisson"},
        neighbour={_MODE: "poisson", _RATE: 10.0, _ENABLED: True},
    ),
    Rule(
        id="traffic.rate_not_enabled",
        severity="warning",
        parameters=(_RATE, _ENABLED),
        violated=lambda values: _RATE in values and values.get(_ENABLED) is not True,
        combination=f"{_RATE} without {_ENABLED}=True",
        expected=f"{_ENABLED}=True",
        reason="All requests arrive at once unless the simulation is enabled",
        resolution=f"Set {_ENABLED}=True, or remove {_RATE}",
        witness={_RATE: 10.0},
        neighbour={_RATE: 10.0, _ENABLED: True},
    ),
    Rule(
        id="traffic.seed_without_poisson",
        severity="warning",
        parameters=(_SEED, _MODE),
        violated=lambda values: _SEED in values and values.get(_MODE) != "poisson",
        combination=f"{_SEED} without {_MODE}=poisson",
        expected=f"{_MODE}=poisson",
        reason="Constant intervals draw no random numbers: the seed is inert",
        resolution=f"Set {_MODE}='poisson', or remove {_SEED}",
        witness={_SEED: 1},
        neighbour={_SEED: 1, _MODE: "poisson", _RATE: 10.0, _ENABLED: True},
    ),
)
