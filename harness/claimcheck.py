"""Runs the rules' examples on a real backend host: the work behind `paramatrix claims`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from pydantic import ValidationError

from harness.claims import Claim, Outcome, Trial
from harness.config import config_from_settings
from harness.config import settings as stated_settings
from harness.config.environment import EnvironmentSnapshot
from harness.config.preflight import preflight
from harness.config.presets import expand_preset
from harness.config.problems import problems_of
from harness.config.rules import REGISTRY, Rule
from harness.declare import Matrix, Scope, Workload
from harness.failure import Failure, one_line, outside_cause
from harness.host import Attempt, Observer
from harness.jsontypes import JSON, Settings
from harness.judge import tokens
from harness.plan import Run, scopes, split
from harness.verdict import Cause


class Checker:
    """Runs examples for one backend, each distinct one once."""

    def __init__(
        self,
        matrix: Matrix,
        backend: str,
        observer: Observer,
        snapshot: Mapping[str, JSON],
        redact: Callable[[str], str] = str,
    ) -> None:
        self.matrix = matrix
        self.backend = backend
        self.observer = observer
        self.snapshot = EnvironmentSnapshot.from_json(snapshot)
        self.redact = redact
        self._made: dict[str, Attempt] = {}
        self._scopes = scopes(matrix, backend)

    def check(self, rules: Iterable[Rule] = REGISTRY) -> Iterator[Claim]:
        """Yield a claim for each of the rules that holds for the backend."""
        for rule in rules:
            if rule.holds_for(self.backend):
                yield self.claim(rule)

    def claim(self, rule: Rule) -> Claim:
        """Run the two examples of a rule."""
        neighbour = self.accepted({"backend": self.backend, **rule.neighbour})
        witness = {path: value for path, value in rule.witness.items() if path != "backend"}
        return Claim(
            rule=rule.id,
            severity=rule.severity,
            witness=self._rejected(rule, expand_preset(witness), neighbour),
            neighbour=neighbour,
        )

    def accepted(self, example: Settings) -> Trial:
        """Run an example the usual way: validated, pre-flighted, then run."""
        flat = {path: value for path, value in example.items() if path != "backend"}
        if example["backend"] != self.backend:
            return Trial(settings=flat, outcome=Outcome.ELSEWHERE, says=f"for {example['backend']}")
        model = str(self.matrix.shipped_model)
        try:
            config = config_from_settings(flat, model=model, backend=self.backend)
        except ValidationError as error:
            # a rule for all backends has one neighbour, which another rule may reject on this one
            says = self._line(f"rejected on {self.backend}: {problems_of(error)[0].what}")
            return Trial(settings=flat, outcome=Outcome.ELSEWHERE, says=says)
        if lacking := [item for item in preflight(config, self.snapshot) if item.severity == "error"]:
            says = self._line(f"{lacking[0].what}: {lacking[0].actual}")
            return Trial(settings=flat, outcome=Outcome.NOT_RUN, says=says)
        return self._trial(stated_settings(config))

    def _rejected(self, rule: Rule, witness: Settings, neighbour: Trial) -> Trial:
        """Run a witness past the validator. Its failure counts only if its neighbour can be run here."""
        trial = self._trial(witness)
        if trial.outcome is Outcome.FAILS and neighbour.outcome is Outcome.NOT_RUN:
            says = self._line(f"fails ({trial.says}), but its neighbour cannot be run here either: {neighbour.says}")
            return trial.model_copy(update={"outcome": Outcome.NOT_RUN, "says": says})
        if trial.outcome is Outcome.WORKS:
            return trial.model_copy(update={"says": self._compared(rule, witness)})
        return trial

    def _compared(self, rule: Rule, witness: Settings) -> str:
        """Whether the rule's first parameter made any difference to the tokens."""
        path = next((path for path in rule.parameters if path in witness), None)
        if path is None:
            return ""
        without = {name: value for name, value in witness.items() if name != path}
        whole, part = self._observe(witness), self._observe(without, like=witness)
        if whole.seen is None or part.seen is None:
            return ""
        if tokens(whole.seen) != tokens(part.seen):
            return f"other tokens than without {path}"
        loaded, plain = _lasting(whole.seen.read_back), _lasting(part.seen.read_back)
        changed = [key for key in sorted(loaded) if loaded[key] != plain.get(key)]
        return f"the same tokens as without {path}" + (f", but another {', '.join(changed)}" if changed else "")

    def _trial(self, settings: Settings) -> Trial:
        """Run settings; a failure is upstream's word only if it repeats and a bare run works."""
        first = self._observe(settings)
        if first.failure is None:
            return Trial(settings=settings, outcome=Outcome.WORKS)
        trial = self._failed(settings, first.failure)
        if trial.outcome is not Outcome.FAILS:
            return trial
        bare = self._observe({}, like=settings)
        again = self._observe(settings, fresh=True)
        if bare.failure is not None:
            says = self._line(f"a bare config fails as well: {bare.failure.line}")
            return trial.model_copy(update={"outcome": Outcome.NOT_RUN, "says": says})
        if again.failure is None:
            says = self._line(f"failed once ({first.failure.line}), then ran in a fresh engine")
            return trial.model_copy(update={"outcome": Outcome.NOT_RUN, "says": says})
        return self._failed(settings, again.failure)

    def _failed(self, settings: Settings, failure: Failure) -> Trial:
        cause = outside_cause(failure)
        outcome = {None: Outcome.FAILS, Cause.HARNESS_ERROR: Outcome.REFUSED}.get(cause, Outcome.NOT_RUN)
        return Trial(settings=settings, outcome=outcome, says=self._line(failure.line), phase=failure.phase)

    def _observe(self, settings: Settings, *, like: Settings | None = None, fresh: bool = False) -> Attempt:
        """Run settings, on the workload that `like` (default: they themselves) is run on."""
        companions, workload = self._prepared(settings)
        if like is not None:
            workload = self._prepared(like)[1]
        wanted = {**companions, **settings}
        engine, request = split(wanted, dict.fromkeys(wanted, Scope.REQUEST) | self._scopes)
        model = str(self.matrix.shipped_model)
        run = Run(self.backend, model, None, engine, request, workload, frozenset())
        if fresh or run.key not in self._made:
            self._made[run.key] = self.observer.observe(run, model=model, cache_dir=None, fresh=fresh)
        return self._made[run.key]

    def _prepared(self, settings: Settings) -> tuple[Settings, Workload]:
        if self.matrix.examples is None:
            return {}, self.matrix.workload
        return self.matrix.examples(self.backend, settings)

    def _line(self, text: str) -> str:
        return one_line(self.redact(text))


def _lasting(facts: Mapping[str, JSON]) -> dict[str, JSON]:
    """What was read back, less what no two runs share: the ids of their processes."""
    return {key: _without_ids(value) for key, value in facts.items() if not key.endswith(("pid", "pids"))}


def _without_ids(value: JSON) -> JSON:
    if isinstance(value, Mapping):
        return _lasting(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_ids(item) for item in value]
    return value
