"""Probes of drawn tokens keep the error rates that they state, with tokens of the shipped model."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from harness import plan
from harness.declare import Probe, Seen, label
from harness.jsontypes import JSON
from matrix import MATRIX
from matrix.probes import drawn
from matrix.probes.choices import Draw, draws
from matrix.workloads import DRAWS, MANY_DRAWS, OPEN_SEEDS
from tests import interpreters
from tests.drawn_tokens import END, Sampled, drawn_tokens
from tests.reference_logits import Reference, reference
from tests.reference_sampler import Rules, choices

CONFIRMED_FALSELY, REFUSED_FALSELY = 1e-4, 1e-3
WORK = dict.fromkeys(("temperature", "min_p", "preset"), MANY_DRAWS)
"""The other probes' cells generate `DRAWS`."""
LEAST = 64
"""Outputs that are drawn by each rule: those of cells that have fewer are simulated by drawing among them."""
THE = 262
GREEDY, PLAIN, STAYS = Sampled(top_k=1), Sampled(), Sampled(top_p=0.9)
DECAYING = Sampled(top_p=0.9, decay=0.5)

# probe: each value's rule, as our own sampler knows it, and those of what it is told from besides
RULES: dict[str, tuple[dict[JSON, Sampled], tuple[Sampled, ...]]] = {
    "temperature": ({0.0: GREEDY, 0.5: Sampled(temperature=0.5), 1.0: PLAIN, 1.5: Sampled(temperature=1.5)}, ()),
    "top_k": ({k: Sampled(temperature=10.0, top_k=k) for k in (0, 1, 5, 50)}, ()),
    "top_p": ({0.0: GREEDY, 0.5: Sampled(top_p=0.5), 0.9: STAYS, 1.0: PLAIN}, ()),
    "min_p": ({0.0: PLAIN, 0.1: Sampled(min_p=0.1), 0.2: Sampled(min_p=0.2), 1.0: GREEDY}, ()),
    "preset": (
        {
            "deterministic": GREEDY,
            "standard": Sampled(top_k=50, top_p=0.95),
            "creative": Sampled(temperature=1.2, top_k=100, top_p=0.98, penalty=1.1),
            "factual": Sampled(temperature=0.3, top_k=10, top_p=0.9),
        },
        (PLAIN,),
    ),
    "top_p_decay": ({0.5: DECAYING}, (STAYS, GREEDY)),
    "top_p_min": ({0.5: Sampled(top_p=0.9, decay=0.5, floor=0.5)}, (DECAYING, STAYS, GREEDY)),
    "top_p_reset": ({THE: Sampled(top_p=0.9, decay=0.5, again=THE)}, (DECAYING, STAYS, GREEDY)),
}
NAMES: dict[Probe, str] = {getattr(drawn, name): name for name in RULES}
CASES = [pytest.param(name, value, id=f"{name}={value}") for name, (values, _) in RULES.items() for value in values]


class Bank:
    """Outputs of the shipped model under each rule."""

    def __init__(self, steps: dict[Sampled, list[dict[str, Any]]]) -> None:
        self.steps = steps
        self._outputs: dict[Sampled, list[list[Draw]]] = {}
        self._known: dict[tuple[str, Sampled, Sampled], list[drawn.Likelihood]] = {}

    def run(self, rule: Sampled, outputs: int) -> Seen:
        """As many outputs as a cell has."""
        return seen([step for step in self.steps[rule] if step["seed"] < outputs])

    def leads(self, name: str, ours: Sampled, other: Sampled, rule: Sampled) -> list[float]:
        """The lead of one of a probe's rules over another in each output that was drawn by a rule."""
        pairs = zip(self._likelihoods(name, ours, rule), self._likelihoods(name, other, rule), strict=True)
        return [drawn.lead(*pair) for pair in pairs]

    def _likelihoods(self, name: str, of: Sampled, rule: Sampled) -> list[drawn.Likelihood]:
        key = (name, of, rule)
        if key not in self._known:
            values, besides = RULES[name]
            known = [*map(drawn.TRIED[name].rules, values), *drawn.TRIED[name].besides]
            rules = known[[*values.values(), *besides].index(of)]
            self._known[key] = [drawn.likelihood(own, rules) for own in self._own(rule)]
        return self._known[key]

    def _own(self, rule: Sampled) -> list[list[Draw]]:
        if rule not in self._outputs:
            found = draws(seen(self.steps[rule]))
            self._outputs[rule] = [list(own) for _, own in itertools.groupby(found, key=lambda draw: draw.seed)]
        return self._outputs[rule]


def seen(steps: list[dict[str, Any]]) -> Seen:
    return Seen({"steps": steps}, {}, ())  # type: ignore[typeddict-item]  # a part of an observation


def others(name: str, value: JSON) -> list[Sampled]:
    """The rules of what a value is told from."""
    values, besides = RULES[name]
    return [*(rule for other, rule in values.items() if other != value), *besides]


@pytest.fixture(scope="module")
def bank() -> Bank:
    python = interpreters.pytorch()
    if not python.exists():
        pytest.fail(f"no PyTorch interpreter at {python}: `make setup` makes it")
    rules: dict[Sampled, int] = {}
    for name, (values, besides) in RULES.items():
        for rule in (*values.values(), *besides):
            rules[rule] = max(rules.get(rule, LEAST), _outputs(name))
    return Bank(drawn_tokens(python, DRAWS, rules))


def _outputs(name: str) -> int:
    """Outputs of a probe's cells."""
    return len(WORK.get(name, DRAWS).seeds)


def below_clear(leads: Sequence[float], outputs: int) -> float:
    """Chernoff's bound of P(the leads of so many outputs stay below `drawn.CLEAR` together)."""
    tilts = (0.03, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0)
    means = {tilt: statistics.fmean(math.exp(-tilt * one) for one in leads) for tilt in tilts}
    return min(math.exp(tilt * drawn.CLEAR) * min(mean, 1.0) ** outputs for tilt, mean in means.items())


@pytest.mark.parametrize(("name", "value"), CASES)
def test_a_value_that_works_is_hardly_ever_left_untold(bank: Bank, name: str, value: JSON) -> None:
    rule = RULES[name][0][value]
    leads = [bank.leads(name, rule, other, rule) for other in others(name, value)]
    assert math.fsum(below_clear(one, _outputs(name)) for one in leads) <= REFUSED_FALSELY


@pytest.mark.parametrize(("name", "value"), CASES)
def test_tokens_drawn_by_another_rule_hardly_ever_confirm_a_value(bank: Bank, name: str, value: JSON) -> None:
    rng = random.Random(3)  # noqa: S311 - repeatable
    for rule in others(name, value):
        leads = bank.leads(name, RULES[name][0][value], rule, rule)
        parts = [math.exp(one) for one in leads]
        # what makes Markov's inequality say 1e-4: the mean is 1 at most
        assert statistics.fmean(parts) <= 1 + 4 * statistics.stdev(parts) / math.sqrt(len(parts))
        cells = (math.fsum(rng.choices(leads, k=_outputs(name))) for _ in range(1_000))
        assert not any(total >= drawn.CLEAR for total in cells)


@pytest.mark.parametrize(("name", "value"), CASES)
def test_the_probe_confirms_what_was_drawn_by_its_rule_alone(bank: Bank, name: str, value: JSON) -> None:
    probe: Probe = getattr(drawn, name)
    works, control = (bank.run(rule, _outputs(name)) for rule in (RULES[name][0][value], others(name, value)[-1]))
    assert probe.effect(works, control, value).holds
    assert not probe.effect(control, control, value).holds


def test_too_few_tokens_decide_nothing(bank: Bank) -> None:
    few = seen(bank.steps[Sampled(temperature=1.5)][:8])
    with pytest.raises(LookupError, match="too little to tell"):
        drawn.temperature.effect(few, bank.run(PLAIN, 8), 1.5)


def test_probes_know_every_value_and_the_workload_of_their_cells() -> None:
    asked: dict[Probe, set[JSON]] = {}
    for cell in plan.build(MATRIX, models={"tensorrt": str(MATRIX.shipped_model)}, backends=("tensorrt",)):
        if (name := NAMES.get(cell.probe)) is not None:
            asked.setdefault(cell.probe, set()).add(cell.value)
            assert cell.treated.workload is WORK.get(name, DRAWS), cell.id
            assert cell.value in RULES[name][0], cell.id
            contrast = cell.contrast.partition("=")[2]
            assert not contrast or contrast in map(label, RULES[name][0]), cell.id
    assert set(asked) == set(NAMES)
    for name, tried in drawn.TRIED.items():
        assert not tried.values or set(tried.values) == set(RULES[name][0]), name


@pytest.fixture(scope="module")
def model() -> Iterator[Reference]:
    python = interpreters.pytorch()
    if not python.exists():
        pytest.fail(f"no PyTorch interpreter at {python}: `make setup` makes it")
    with reference(python, MATRIX.shipped_model) as found:
        yield found


def likeliest_alone(model: Reference, rules: Rules, prompt: str, tokens: int) -> float:
    """Chance that every token which is drawn for a prompt is the likeliest one."""
    context, chance = model.ids(prompt), 1.0
    for _ in range(tokens):
        logits = model(context)
        token = max(range(len(logits)), key=logits.__getitem__)
        chance *= choices(logits, context, rules)[token]
        if token == END:
            break
        context.append(token)
    return chance


@pytest.mark.parametrize(
    ("row", "rules", "stated"),
    [
        ("decoder.temperature=0.5", Rules(temperature=0.5), 1.6e-6),
        ("decoder.temperature=1.0", Rules(), None),
        ("decoder.temperature=1.5", Rules(temperature=1.5), None),
        ("decoder.preset=standard", Rules(top_k=50, top_p=0.95), None),
        ("decoder.preset=factual", Rules(temperature=0.3, top_k=10, top_p=0.9), 2.7e-7),
    ],
)
def test_sampling_that_draws_the_likeliest_tokens_alone_is_as_rare_as_is_stated(
    model: Reference, row: str, rules: Rules, stated: float | None
) -> None:
    cells = plan.build(MATRIX, models={"pytorch": str(MATRIX.shipped_model)}, backends=("pytorch",))
    work = next(cell.treated.workload for cell in cells if cell.row == row)
    one = math.prod(likeliest_alone(model, rules, prompt, work.max_new_tokens) for prompt in work.prompts)
    chance = one ** len(work.seeds)
    assert chance <= REFUSED_FALSELY
    assert stated is None or chance == pytest.approx(stated, rel=0.05)


def test_stories_under_four_seeds_hardly_ever_agree(model: Reference) -> None:
    """Four outputs are equal with the chance of the likeliest one to the power of three at most."""
    agree = [likeliest_alone(model, Rules(), prompt, OPEN_SEEDS.max_new_tokens) ** 3 for prompt in OPEN_SEEDS.prompts]
    assert len(OPEN_SEEDS.seeds) == 4
    # with vLLM requests of one seed may share random numbers: the stories count as one
    assert max(agree) <= 1e-12 <= CONFIRMED_FALSELY
