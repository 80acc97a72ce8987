"""An engine that takes requests into running batches: what its steps held, as they were seen or counted."""

from __future__ import annotations

from collections import Counter

from harness.declare import Probe, Seen, Shown
from harness.jsontypes import JSON
from matrix.probes import batches, scheduling
from matrix.probes.readback import listed
from matrix.probes.scores import number
from matrix.probes.told import count, observed


def _steps(run: Seen) -> list[list[tuple[int, int, int]]]:
    """As `scheduling.steps`, of an engine that may be unable to tell."""
    observed(run, "scheduled")
    return scheduling.steps(run)


def lengths(run: Seen) -> dict[int, int]:
    """Prompt to its length in tokens."""
    return {int(number(one["prompt"])): int(number(one["prompt_tokens"])) for one in run.observation["sequences"]}


def groups(run: Seen) -> list[list[int]]:
    """Prompts that ran together: those that shared steps, directly or through others, in order of arrival."""
    found: list[set[int]] = []
    for step in _steps(run):
        own = {prompt for prompt, _, _ in step}
        touching = [group for group in found if group & own]
        found = [group for group in found if not group & own]
        found.append(own.union(*touching))
    return sorted(map(sorted, found))


def _shapes(run: Seen) -> list[tuple[int, int]]:
    """(requests, longest prompt) of each batch that ran, in the order of their first steps."""
    own = lengths(run)
    first: dict[int, int] = {}
    for place, step in enumerate(_steps(run)):
        for prompt, _, _ in step:
            first.setdefault(prompt, place)
    ordered = sorted(groups(run), key=lambda group: min(first[prompt] for prompt in group))
    return [(len(group), max(own[prompt] for prompt in group)) for group in ordered]


def _together(run: Seen, control: Seen, value: JSON) -> Shown:
    _steps(run)
    return scheduling.max_num_seqs.effect(run, control, value)


def _budget(run: Seen, control: Seen, value: JSON) -> Shown:
    """No step takes in more tokens than the budget."""
    del control
    most = max(sum(tokens for _, tokens, _ in step) for step in _steps(run))
    return Shown(most <= number(value), f"the fullest step took in {most} tokens")


def _chunks(run: Seen, control: Seen, value: JSON) -> Shown:
    _steps(run)
    return scheduling.chunked_prefill.effect(run, control, value)


def _progress(run: Seen, control: Seen, value: JSON) -> Shown:
    """EQUAL_PROGRESS: some step takes a part of several prompts. FIRST_COME_FIRST_SERVED: of one at most."""
    del control
    last = {prompt: place for place, step in enumerate(_steps(run)) for prompt, tokens, _ in step if tokens > 1}
    parts = [
        sum(tokens > 1 and last[prompt] > place for prompt, tokens, _ in step) for place, step in enumerate(_steps(run))
    ]
    most = max(parts)
    if most == 0:
        raise LookupError("no prompt was taken in over several steps")
    return Shown((most > 1) is (value == "EQUAL_PROGRESS"), f"at most {most} prompts were taken in part in a step")


def _capacity(run: Seen, control: Seen, value: JSON) -> Shown:
    """MAX_UTILIZATION admits more at once than the control, GUARANTEED_NO_EVICT fewer, STATIC_BATCH none meanwhile."""
    found = _steps(run)
    if value == "STATIC_BATCH":
        mixed, others = (sum(map(_mixed, _steps(side))) for side in (run, control))
        _demand_mixed(others)
        return Shown(
            mixed == 0,
            f"{mixed} of {len(found)} steps take in a prompt while others are being answered (control: {others})",
        )
    ours, theirs = (max(map(len, _steps(side))) for side in (run, control))
    fine = ours > theirs if value == "MAX_UTILIZATION" else ours < theirs
    return Shown(fine, f"at most {ours} requests in a step (control: {theirs})")


def _mixed(step: list[tuple[int, int, int]]) -> bool:
    return any(tokens - drafts > 1 for _, tokens, drafts in step) and any(
        tokens - drafts == 1 for _, tokens, drafts in step
    )


def _demand_mixed(mixed: int) -> None:
    """Steps that never mix prove nothing, where nothing would have been mixed in any case."""
    if mixed < _MIXED_AT_LEAST:
        raise LookupError(
            f"{mixed} steps of the control take in a prompt while others are being answered, expected at least "
            f"{_MIXED_AT_LEAST}: without them nothing shows that prompts were kept out"
        )


_MIXED_AT_LEAST = 2


def _static(run: Seen, control: Seen, value: JSON) -> Shown:
    """STATIC: no iteration takes in a prompt while others are being answered, by the engine's own statistics.

    Upstream gives an iteration's statistics as of static batches or as of in-flight ones (executor/types.h).
    """
    static, mixed, told = _iterations(run)
    if static:
        return Shown(value == "STATIC", f"{static} of {told} iterations were of static batches")
    if value == "STATIC" and mixed == 0:
        _demand_mixed(_iterations(control)[1])
    return Shown((mixed == 0) is (value == "STATIC"), f"{mixed} of {told} iterations took in a prompt beside others")


def _iterations(run: Seen) -> tuple[int, int, int]:
    """Of static batches, that took in a prompt beside others, and of either kind."""
    statistics = observed(run, "resolved", "iterations")
    static = sum("staticBatchingStats" in item for item in statistics)
    inflight = [item["inflightBatchingStats"] for item in statistics if "inflightBatchingStats" in item]
    if not static and not inflight:
        raise LookupError("the engine told no statistics of its batches")
    mixed = sum(bool(one["numContextRequests"] and one["numGenRequests"]) for one in inflight)
    return static, mixed, static + len(inflight)


def _sequences(run: Seen, control: Seen, value: JSON) -> Shown:
    """That many sequences of a prompt run at once."""
    del control
    most = max(max(Counter(prompt for prompt, _, _ in step).values()) for step in _steps(run))
    return Shown(most == number(value), f"at most {most} sequences of a prompt ran at once")


def _concurrency(run: Seen, control: Seen, value: JSON) -> Shown:
    """Tokens are drafted in steps of that many requests or fewer, and in no others."""
    del control
    few = sum(drafts for step in _steps(run) if len(step) <= number(value) for _, _, drafts in step)
    many = sum(drafts for step in _steps(run) if len(step) > number(value) for _, _, drafts in step)
    return Shown(many == 0, f"{few} tokens were drafted in steps of at most {value} requests, {many} in others")


_DRAFTERS = {"NGram": "NGramDrafter", "Draft_Target": "ModelDrafter", "AUTO": "NGramDrafter"}


def _method(run: Seen, control: Seen, value: JSON) -> Shown:
    """Tokens are drafted by the live drafter of that type, and the output takes fewer steps than the control's."""
    ours, theirs = _steps(run), _steps(control)
    drafted = sum(drafts for step in ours for _, _, drafts in step)
    drafter = run.read_back.get("executor")
    name = drafter.get("drafter") if isinstance(drafter, dict) else None
    fine = drafted > 0 and len(ours) < len(theirs) and name == _DRAFTERS[str(value)]
    return Shown(fine, f"{drafted} tokens drafted by {name}; {len(ours)} steps (control: {len(theirs)})")


def _drafted(run: Seen, control: Seen, value: JSON) -> Shown:
    _steps(run)
    return scheduling.drafted_tokens.effect(run, control, value)


def _drafts(run: Seen, control: Seen, value: JSON) -> Shown:
    """Drafts come otherwise than in the control."""
    del value
    ours, theirs = ([[drafts for _, _, drafts in step] for step in _steps(side)] for side in (run, control))
    return Shown(
        ours != theirs and any(map(any, ours)),
        f"{sum(map(sum, ours))} tokens drafted in {len(ours)} steps (control: {sum(map(sum, theirs))}, {len(theirs)})",
    )


def cached(run: Seen) -> list[int]:
    """Prompt tokens that each output found in the cache.

    Raises:
        LookupError: they were not told, or none was although the engine counted blocks that it reused.
    """
    observed(run, "cached")
    found = scheduling.cached(run)
    if not any(found) and (blocks := _reused(run)):
        raise LookupError(f"results tell of no cached token, the engine's statistics of {blocks} reused blocks")
    return found


def _reused(run: Seen) -> int:
    """Blocks reused meanwhile, by statistics that count from the engine's start; 0 without statistics."""
    iterations = run.observation.get("resolved", {}).get("iterations")
    told = [item["kvCacheStats"] for item in listed(iterations) if isinstance(item, dict) and "kvCacheStats" in item]
    counts = [int(number(one.get("reusedBlocks", 0))) for one in told if isinstance(one, dict)]
    return max(counts, default=0) - min(counts, default=0)


def _hits(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    found = sum(cached(run))
    return Shown((found > 0) is bool(value), f"{found} prompt tokens came from blocks that were there")


def _partly(run: Seen, control: Seen, value: JSON) -> Shown:
    """Of a repeated prompt more than whole blocks is found (False: whole blocks alone)."""
    del control
    found, size = max(cached(run)), count(run, "kv_cache", "tokens_per_block")
    return Shown(
        found > 0 and (found % size > 0) is bool(value),
        f"{found} tokens of a repeated prompt came from blocks of {size}",
    )


def _block(run: Seen, control: Seen, value: JSON) -> Shown:
    """Live blocks have that many tokens, and a repeated prompt is found in whole blocks of them."""
    del control
    size, found = count(run, "kv_cache", "tokens_per_block"), max(cached(run))
    longest = max(lengths(run).values())
    fine = size == value and found == (longest - 1) // size * size > 0
    return Shown(fine, f"blocks of {size} tokens; of a repeated prompt of {longest} tokens {found} came from the cache")


def _salted(run: Seen, control: Seen, value: JSON) -> Shown:
    """Equal salts: a repeated prompt is found. Different ones: it is not."""
    assert isinstance(value, list)
    return _hits(run, control, len(set(map(str, value))) == 1)


batch_size = Probe(
    says="just that many requests run together, until all of them are done",
    effect=batches.sized(_shapes),
    decisive=False,  # what was done before the others came did not run together with them
)
strategy = Probe(
    says="static: fixed numbers run together; dynamic: as many as the token budget allows; sorted: short prompts first",
    effect=batches.by_strategy(_shapes),
    decisive=False,
)
token_budget = Probe(
    says="as many run together as the token budget allows, and no more",
    effect=batches.within_budget(_shapes),
    decisive=False,
)
max_batch_size = Probe(says="as many requests run in a step as the limit allows, while more wait", effect=_together)
max_num_tokens = Probe(says="no step takes in more tokens", effect=_budget)
chunked_context = Probe(says="prompts are taken in over several steps (False: each in one)", effect=_chunks)
chunking_policy = Probe(
    says="parts of several prompts share a step (FIRST_COME_FIRST_SERVED: of one at a time)", effect=_progress
)
capacity_policy = Probe(
    says="more requests share a step than in the control, fewer, or none comes while others run", effect=_capacity
)
batching_type = Probe(says="no prompt is taken in beside running requests (INFLIGHT: some are)", effect=_static)
best_of = Probe(
    says="that many sequences of a prompt run at once",
    effect=_sequences,
    decisive=False,  # whether each is told apart from the others is the version's to say
)
max_concurrency = Probe(says="nothing is drafted while more requests run", effect=_concurrency)
decoding_type = Probe(
    says="tokens are drafted that way, and the output takes fewer steps", effect=_method, decisive=False
)
max_draft_len = Probe(says="that many tokens are drafted a step", effect=_drafted)
drafts = Probe(says="drafts come that the control does not have", effect=_drafts, decisive=False)
block_reuse = Probe(says="a repeated prompt comes from the cache (False: none of it)", effect=_hits)
partial_reuse = Probe(
    says="a repeated prompt is found to its last token but one (False: in whole blocks)", effect=_partly
)
tokens_per_block = Probe(says="cache blocks have that many tokens, and are found whole", effect=_block)
cache_salt = Probe(says="a repeated prompt is found under an equal salt, and not under another", effect=_salted)
