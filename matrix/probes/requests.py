"""What a request gets back: how many sequences, which log-probabilities, what text, in which form."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from harness.backends.base import Step
from harness.declare import Probe, Seen, Shown
from harness.jsontypes import JSON
from matrix.probes.scores import number, span

SCORES = frozenset({"scores"})


def _texts(run: Seen) -> list[str]:
    return [output["text"] for output in run.observation["outputs"]]


def _n(run: Seen, control: Seen, value: JSON) -> Shown:
    """That many sequences a prompt, which differ when there are several."""
    del control
    counts: dict[JSON, list[JSON]] = {}
    for sequence in run.observation["sequences"]:
        counts.setdefault(sequence["prompt"], []).append(sequence["token_ids"])
    sizes = [float(len(own)) for own in counts.values()]
    varied = number(value) == 1 or any(own[0] != other for own in counts.values() for other in own[1:])
    return Shown(set(sizes) == {number(value)} and varied, f"{span(sizes)} sequences a prompt")


def _entries(field: str, run: Seen) -> list[int]:
    found: list[int] = []
    for told in run.observation.get("logprobs", []):
        listed = told[field]
        assert isinstance(listed, list)
        found += [int(number(item)) for item in listed]
    # the first token of a prompt follows nothing, so it has none
    return [count for count in found if count]


def _counted(field: str, run: Seen, value: JSON) -> Shown:
    """N entries a position, one more where the token itself is not among the n likeliest.

    None and one differ there alone, so one has to show such a position.
    """
    counts = _entries(field, run)
    wanted = int(number(value))
    fine = bool(counts) and min(counts) == max(wanted, 1) and max(counts) <= wanted + 1
    if wanted == 1:
        fine = fine and max(counts) > 1
    return Shown(fine, f"{span([float(c) for c in counts]) if counts else 'no'} log-probabilities a position")


def _logprobs(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    return _counted("entries", run, value)


def _prompt_logprobs(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    return _counted("prompt_entries", run, value)


def _limit(run: Seen, control: Seen, value: JSON) -> Shown:
    """As many log-probabilities come as the raised limit lets through (-1: one for each id)."""
    del control
    counts = _entries("entries", run)
    steps = run.observation.get("steps", [])
    wanted = steps[0]["vocabulary"] if number(value) < 0 and steps else int(number(value))
    return Shown(set(counts) == {wanted}, f"{span([float(c) for c in counts]) if counts else 'no'} a position")


def _mode(run: Seen, control: Seen, value: JSON) -> Shown:
    """Log-probabilities are below 0, logits are not; those processed are spread by 1 / temperature.

    The control reports the same quantity of the other stage, at temperature 0.5: its gap between the
    two likeliest tokens is half of a processed one, or twice a raw one.
    """
    ours, theirs = _firsts(run), _firsts(control)
    ratios = [(own[0] - own[1]) / (other[0] - other[1]) for own, other in zip(ours, theirs, strict=True)]
    logits = {max(own) > 0 for own in ours}
    wanted = 2.0 if str(value).startswith("processed") else 0.5
    fine = logits == {str(value).endswith("logits")} and all(abs(ratio - wanted) < 1e-3 for ratio in ratios)
    kind = " or ".join("logits" if one else "log-probabilities" for one in sorted(logits))
    low, high = min(map(min, ours)), max(map(max, ours))
    return Shown(fine, f"values from {low:.3g} to {high:.3g} ({kind}), {span(ratios)} times the control's gap")


def _firsts(run: Seen) -> list[list[float]]:
    """Of each output, the values at its first token: there alone the context is the control's in any case."""
    found = []
    for told in run.observation["logprobs"]:
        listed = told["first"]
        assert isinstance(listed, list)
        found.append([number(item) for item in listed])
    return found


def _flat(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    names = {str(told["class"]) for told in run.observation.get("logprobs", [])}
    return Shown(
        names == {"FlatLogprobs" if value else "list"}, f"log-probabilities came as {', '.join(sorted(names))}"
    )


def _stops(run: Seen, control: Seen, value: JSON) -> Shown:
    """Some output ends at one of the texts or ids and names it; none ends at another, and none goes on past one."""
    del control
    wanted = value if isinstance(value, list) else [value]
    reasons = [sequence["stop_reason"] for sequence in run.observation["sequences"]]
    stopped = sum(reason in wanted for reason in reasons)
    if all(isinstance(item, str) for item in wanted):
        passed = sum(str(item) in text for item in wanted for text in _texts(run))
    else:
        ids = [output["token_ids"] for output in run.observation["outputs"]]
        passed = sum(item in own[:-1] for item in wanted for own in ids)
    elsewhere = sum(reason is not None and reason not in wanted for reason in reasons)
    return Shown(
        stopped > 0 and passed == elsewhere == 0,
        f"{stopped} of {len(reasons)} outputs stopped there, {elsewhere} elsewhere, {passed} went on",
    )


def _keeps_stop(run: Seen, control: Seen, value: JSON) -> Shown:
    """Outputs that stopped at a text end in it (False: are cut before it)."""
    del control
    pairs = [(str(s["stop_reason"]), str(s["text"])) for s in run.observation["sequences"] if s["stop_reason"]]
    kept = sum(text.endswith(reason) for reason, text in pairs)
    fine = bool(pairs) and kept == (len(pairs) if value else 0)
    return Shown(fine, f"{kept} of {len(pairs)} outputs that stopped at a text end in it")


def _ignores_end(run: Seen, control: Seen, value: JSON) -> Shown:
    """True: every output goes on to the length. False: some end by themselves."""
    del control
    ended = sum(output["ended"] for output in run.observation["outputs"])
    fine = (ended == 0) is bool(value)
    return Shown(fine, f"{ended} of {len(_texts(run))} outputs ended by themselves")


def _special(run: Seen, control: Seen, value: JSON) -> Shown:
    """Of texts of the same tokens, those that show special ones are longer: ours when False, else the control's."""
    ours, theirs = (sum(map(len, _texts(side))) for side in (run, control))
    fine = ours < theirs if value else ours > theirs
    return Shown(fine, f"texts of {ours} characters (control: {theirs}) for the same tokens")


def _spaces(run: Seen, control: Seen, value: JSON) -> Shown:
    """Texts of the same tokens differ from the control's, in spaces alone."""
    del value
    ours, theirs = _texts(run), _texts(control)
    differ = sum(a != b for a, b in zip(ours, theirs, strict=True))
    alike = all(a.replace(" ", "") == b.replace(" ", "") for a, b in zip(ours, theirs, strict=True))
    return Shown(differ > 0 and alike, f"{differ} of {len(ours)} texts differ from the control's")


def _text(run: Seen, control: Seen, value: JSON) -> Shown:
    """True: tokens come with their text. False: without."""
    del control
    blank = sum(not text for text in _texts(run))
    tokens = sum(len(output["token_ids"]) for output in run.observation["outputs"])
    fine = tokens > 0 and blank == (0 if value else len(_texts(run)))
    return Shown(fine, f"{blank} of {len(_texts(run))} outputs have no text, for {tokens} tokens")


def _no_tokenizer(run: Seen, control: Seen, value: JSON) -> Shown:
    return _text(run, control, not value)


def _allowed(run: Seen, control: Seen, value: JSON) -> Shown:
    """Nothing but these ids is generated, nor possible at any step."""
    del control
    assert isinstance(value, list)
    ids = {token for output in run.observation["outputs"] for token in output["token_ids"]}
    left = {step["finite"] for step in run.observation.get("steps", [])}
    fine = left == {len(value)} and ids <= set(map(int, map(number, value)))
    return Shown(fine, f"{sorted(left)} ids possible a step; {len(ids)} different ones were generated")


def _barred(run: Seen, control: Seen, value: JSON) -> Shown:
    """None of the texts is generated; the control generates one."""
    assert isinstance(value, list)
    ours = sum(str(word) in text for word in value for text in _texts(run))
    theirs = sum(str(word) in text for word in value for text in _texts(control))
    where = "" if run is control else f" (control: in {theirs})"
    return Shown(ours == 0, f"the texts stand in {ours} of {len(_texts(run))} outputs{where}")


def _each(run: Seen, test: object) -> tuple[int, int]:
    steps = run.observation.get("steps", [])
    assert callable(test)
    return sum(bool(test(step)) for step in steps), len(steps)


def _biased(run: Seen, control: Seen, value: JSON) -> Shown:
    """Just these ids have their logits moved, by their bias, at every step."""
    del control
    assert isinstance(value, dict)
    wanted = {str(int(token)): -number(bias) for token, bias in value.items()}

    def fits(step: Step) -> bool:
        return step["shifts"].keys() == wanted.keys() and all(
            abs(step["shifts"][token] - shift) < 1e-3 for token, shift in wanted.items()
        )

    fine, count = _each(run, fits)
    return Shown(count > 0 and fine == count, f"the bias stands in {fine} of {count} steps")


def _penalty(run: Seen, value: JSON, *, by_count: bool) -> Shown:
    """Ids of the output so far, and no others, lose the penalty (times their number)."""
    outputs = {(o["prompt"], o["seed"]): o["token_ids"] for o in run.observation["outputs"]}
    telling = 0

    def fits(step: Step) -> bool:
        nonlocal telling
        so_far = outputs[step["prompt"], step["seed"]][: step["step"]]
        wanted: Mapping[str, float] = {
            str(token): number(value) * (so_far.count(token) if by_count else 1) for token in so_far
        }
        telling += any(so_far.count(token) > 1 for token in so_far)
        if number(value) == 0:
            return not step["shifts"]
        return step["shifts"].keys() == wanted.keys() and all(
            abs(step["shifts"][token] - shift) < 1e-3 for token, shift in wanted.items()
        )

    fine, count = _each(run, fits)
    return Shown(telling > 0 and fine == count, f"the penalty fits {fine} of {count} steps, {telling} with repeats")


def _presence(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    return _penalty(run, value, by_count=False)


def _frequency(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    return _penalty(run, value, by_count=True)


def _regex(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    fitting = sum(re.fullmatch(str(value), text) is not None for text in _texts(run))
    return Shown(fitting == len(_texts(run)), f"{fitting} of {len(_texts(run))} outputs match the expression")


def _choice(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    assert isinstance(value, list)
    fitting = sum(text in value for text in _texts(run))
    return Shown(fitting == len(_texts(run)), f"{fitting} of {len(_texts(run))} outputs are one of the choices")


def _grammar(run: Seen, control: Seen, value: JSON) -> Shown:
    """Of a grammar that lists words: each output is one of the words in its quotes."""
    return _choice(run, control, re.findall(r'"([^"]*)"', str(value)))


def _json(run: Seen, control: Seen, value: JSON) -> Shown:
    """Of an enum schema: each output is JSON, and one of its members."""
    del control
    assert isinstance(value, dict)
    members = value["enum"]
    assert isinstance(members, list)
    fitting = sum(_parsed(text) in members for text in _texts(run))
    return Shown(fitting == len(_texts(run)), f"{fitting} of {len(_texts(run))} outputs are JSON of the schema")


def _parsed(text: str) -> JSON:
    try:
        parsed: JSON = json.loads(text)
    except ValueError:
        return text
    return parsed


def _asked(run: Seen, control: Seen, value: JSON) -> Shown:
    """Besides the token itself, log-probabilities of just the ids asked for."""
    del control
    ids = value.get("logprob_token_ids") if isinstance(value, dict) else None
    counts = _entries("entries", run)
    wanted = ids if isinstance(ids, list) else []
    first = [told["first_ids"] for told in run.observation.get("logprobs", [])]
    among = all(isinstance(own, list) and all(item in own for item in wanted) for own in first)
    return Shown(
        bool(counts) and set(counts) == {len(wanted) + 1} and among,
        f"{sorted(set(counts)) or 'no'} log-probabilities a position, {'' if among and first else 'not '}of these ids",
    )


def _length(run: Seen, control: Seen, value: JSON) -> Shown:
    """The longest prompt with its output is just that long, and was cut there."""
    del control
    totals = [
        number(s["prompt_tokens"]) + (len(s["token_ids"]) if isinstance(s["token_ids"], list) else 0)
        for s in run.observation["sequences"]
    ]
    return Shown(max(totals) == number(value), f"prompts and outputs of {span(totals)} tokens together")


n = Probe(says="that many sequences come back for each prompt", effect=_n)
logprobs = Probe(says="each generated token comes with that many log-probabilities", effect=_logprobs)
prompt_logprobs = Probe(says="each prompt token comes with that many log-probabilities", effect=_prompt_logprobs)
max_logprobs = Probe(says="that many log-probabilities are let through", effect=_limit, instruments=SCORES)
logprobs_mode = Probe(says="the values are of that kind, before or after the temperature", effect=_mode)
flat_logprobs = Probe(says="log-probabilities come as one flat object (False: as a list)", effect=_flat)
stop = Probe(says="outputs end there and nowhere past it", effect=_stops, decisive=False)
include_stop = Probe(says="the text that stopped an output stays in it (False: not)", effect=_keeps_stop)
ignore_eos = Probe(says="no output ends by itself (False: some do)", effect=_ignores_end)
skip_special = Probe(says="special tokens are left out of the text (False: stand in it)", effect=_special)
spaces = Probe(says="texts differ in the spaces between special tokens", effect=_spaces, decisive=False)
detokenize = Probe(says="tokens come with their text (False: without)", effect=_text)
skip_tokenizer = Probe(says="tokens come without text (False: with)", effect=_no_tokenizer)
allowed = Probe(says="just these ids are possible at every step", effect=_allowed, instruments=SCORES)
bad_words = Probe(says="the texts are not generated, which the control does", effect=_barred)
logit_bias = Probe(says="just these ids' logits are moved, by the bias", effect=_biased, instruments=SCORES)
presence_penalty = Probe(says="ids of the output so far lose the penalty once", effect=_presence, instruments=SCORES)
frequency_penalty = Probe(
    says="ids of the output so far lose the penalty as often as they came", effect=_frequency, instruments=SCORES
)
regex = Probe(says="every output matches the expression", effect=_regex)
choice = Probe(says="every output is one of the choices", effect=_choice)
grammar = Probe(says="every output is a word of the grammar", effect=_grammar)
json_schema = Probe(says="every output is JSON that the schema allows", effect=_json)
logprob_token_ids = Probe(says="log-probabilities of just the ids asked for come back", effect=_asked)
max_model_len = Probe(says="prompt and output together are cut at that length", effect=_length)
