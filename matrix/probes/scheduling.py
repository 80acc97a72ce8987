"""A scheduler at work: which requests each step takes, how many tokens of each, what comes from a cache."""

from __future__ import annotations

from collections import Counter

from harness.declare import Effect, Probe, Seen, Shown
from harness.jsontypes import JSON
from matrix.probes.readback import listed
from matrix.probes.scores import number, span


def steps(run: Seen) -> list[list[tuple[int, int, int]]]:
    """Each step's requests: (prompt, tokens taken in, drafted tokens among these)."""
    found = []
    for step in run.observation.get("scheduled", []):
        requests = step["requests"]
        assert isinstance(requests, list)
        found.append([_request(request) for request in requests])
    return found


def _request(value: JSON) -> tuple[int, int, int]:
    assert isinstance(value, list)
    prompt, tokens, drafts = (int(number(item)) for item in value)
    return prompt, tokens, drafts


def _together(run: Seen, control: Seen, value: JSON) -> Shown:
    """As many requests in one step as the limit allows, where more are waiting."""
    del control
    most = max((len(step) for step in steps(run)), default=0)
    prompts = len(run.observation["outputs"])
    return Shown(prompts > number(value) and most == number(value), f"at most {most} of {prompts} requests in a step")


def _budget(run: Seen, control: Seen, value: JSON) -> Shown:
    """The fullest step takes in just as many tokens as the budget allows."""
    del control
    most = max((sum(tokens for _, tokens, _ in step) for step in steps(run)), default=0)
    return Shown(most == number(value), f"the fullest step took in {most} tokens")


def _longest_piece(run: Seen, control: Seen, value: JSON) -> Shown:
    """The largest piece of a prompt that a step takes in."""
    del control
    most = max((tokens for step in steps(run) for _, tokens, _ in step), default=0)
    return Shown(most == number(value), f"at most {most} tokens of a prompt in a step")


def _chunks(run: Seen, control: Seen, value: JSON) -> Shown:
    """True: some prompt is taken in over several steps. False: each in one."""
    del control
    pieces = Counter(prompt for step in steps(run) for prompt, tokens, _ in step if tokens > 1)
    split = sum(count > 1 for count in pieces.values())
    return Shown((split > 0) is bool(value), f"{split} of {len(pieces)} prompts were taken in over several steps")


def cached(run: Seen) -> list[int]:
    """Prompt tokens that each output found in the cache."""
    return [int(number(entry["tokens"])) for entry in run.observation.get("cached", [])]


def _hits(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    found = sum(cached(run))
    return Shown((found > 0) is bool(value), f"{found} prompt tokens came from the prefix cache")


def _no_reading(run: Seen, control: Seen, value: JSON) -> Shown:
    """True: nothing is taken from the cache although it holds the prompt. False: it is."""
    del control
    found = sum(cached(run))
    return Shown((found == 0) is bool(value), f"{found} prompt tokens came from the prefix cache")


def _block(run: Seen, control: Seen, value: JSON) -> Shown:
    """Live blocks have that many tokens, and a repeated prompt is found in whole blocks of them."""
    del control
    size = int(number(value))
    cache = run.read_back.get("kv_cache")
    live = cache.get("block_size") if isinstance(cache, dict) else None
    lengths = {entry["prompt"]: int(number(entry["prompt_tokens"])) for entry in run.observation["sequences"]}
    repeated = max(lengths.values())
    wanted = (repeated - 1) // size * size
    found = max(cached(run), default=0)
    return Shown(
        live == [size] and found == wanted > 0,
        f"blocks of {live} tokens; of a repeated prompt of {repeated} tokens {found} came from the cache",
    )


def _order(run: Seen, control: Seen, value: JSON) -> Shown:
    """The order in which prompts are first taken in is that of their priorities, lowest number first."""
    del control
    assert isinstance(value, list)
    wanted = sorted(range(len(value)), key=lambda index: number(value[index]))
    return _ordered(run, wanted)


def _ordered(run: Seen, wanted: list[int]) -> Shown:
    first = list(dict.fromkeys(prompt for step in steps(run) for prompt, _, _ in step))
    return Shown(first == wanted, f"prompts were taken in in the order {first}")


def _policy(run: Seen, control: Seen, value: JSON) -> Shown:
    """With priorities that turn the order round: priority turns it, fcfs keeps it."""
    del control
    count = len(run.observation["outputs"])
    order = list(range(count))
    return _ordered(run, order[::-1] if value == "priority" else order)


def _speculates(run: Seen, control: Seen, value: JSON) -> Shown:
    """Tokens are drafted, and the same output takes fewer steps than in the control."""
    del value
    ours, theirs = steps(run), steps(control)
    drafted = sum(drafts for step in ours for _, _, drafts in step)
    return Shown(
        drafted > 0 and len(ours) < len(theirs),
        f"{drafted} tokens were drafted; {len(ours)} steps (control: {len(theirs)}); {_drafter(run)}",
    )


_DRAFTERS = {"ngram": "NgramProposer", "draft_model": "DraftModelProposer"}


def _drafter(run: Seen) -> str:
    return f"drafted by {run.read_back.get('drafter_class')}"


def _method(run: Seen, control: Seen, value: JSON) -> Shown:
    """As `_speculates`, by the live drafter of that method."""
    shown = _speculates(run, control, value)
    fits = run.read_back.get("drafter_class") == _DRAFTERS[str(value)]
    return Shown(shown.holds and fits, shown.saw)


def _drafts(run: Seen, control: Seen, value: JSON) -> Shown:
    """Steps check up to that many drafted tokens of a request, and no more."""
    del control
    most = max((drafts for step in steps(run) for _, _, drafts in step), default=0)
    return Shown(most == number(value), f"at most {most} drafted tokens of a request in a step; {_drafter(run)}")


def _accepted_more(run: Seen, control: Seen, value: JSON) -> Shown:
    """Another draft model or range of n-grams: some prompt gets other drafts than in the control."""
    del value
    ours, theirs = steps(run), steps(control)
    count, other = (sum(drafts for step in side for _, _, drafts in step) for side in (ours, theirs))
    return Shown(
        count > 0 and _drafted(ours) != _drafted(theirs),
        f"{count} tokens drafted in {len(ours)} steps (control: {other} in {len(theirs)})",
    )


def _drafted(scheduled: list[list[tuple[int, int, int]]]) -> dict[int, list[int]]:
    """How many tokens are drafted at each of a prompt's own steps, by prompt: in what company it came is no matter."""
    found: dict[int, list[int]] = {}
    for step in scheduled:
        for prompt, _, drafts in step:
            found.setdefault(prompt, []).append(drafts)
    return found


def _looks_up(end: int) -> Effect:
    """As `_accepted_more`, by a live drafter whose shortest (0) or longest (1) n-gram is that one."""

    def effect(run: Seen, control: Seen, value: JSON) -> Shown:
        shown = _accepted_more(run, control, value)
        ngrams = listed(run.read_back.get("drafter_ngrams"))
        fits = len(ngrams) == len(_ENDS) and ngrams[end] == value
        return Shown(shown.holds and fits, f"{shown.saw}; {_ENDS[end]} n-gram of {ngrams or 'none'}")

    return effect


_ENDS = ("the shortest", "the longest")


def _stream_interval(run: Seen, control: Seen, value: JSON) -> Shown:
    """The first piece carries one token, those between it and the last the interval.

    What a reader has not fetched when the next comes is joined to it, so on a busy machine some carry two of them.
    """
    del control
    counts: dict[int, list[int]] = {}
    for chunk in run.observation.get("chunks", []):
        counts.setdefault(chunk["prompt"], []).append(chunk["tokens"])
    inner = [tokens for own in counts.values() for tokens in own[1:-1]]
    interval = int(number(value))
    fine = bool(inner) and min(inner) == interval and all(tokens % interval == 0 for tokens in inner)
    return Shown(fine, f"pieces carried {span([float(t) for t in inner]) if inner else 'no'} tokens")


def _room(run: Seen, control: Seen, value: JSON) -> Shown:
    """Throughput takes more requests into a step than the control does, balanced no more than upstream's default."""
    ours = max((len(step) for step in steps(run)), default=0)
    theirs = max((len(step) for step in steps(control)), default=0)
    fine = ours > theirs if value == "throughput" else ours < theirs
    return Shown(fine, f"at most {ours} requests in a step (control: {theirs})")


max_num_seqs = Probe(says="as many requests run in a step as the limit allows, while more wait", effect=_together)
max_num_batched_tokens = Probe(says="the fullest step takes in just as many tokens as allowed", effect=_budget)
long_prefill = Probe(says="no step takes in more tokens of a prompt", effect=_longest_piece)
chunked_prefill = Probe(says="prompts are taken in over several steps (False: each in one)", effect=_chunks)
prefix_caching = Probe(says="a repeated prompt comes from the cache (False: none of it)", effect=_hits)
skip_reading = Probe(says="nothing is read from the prefix cache (False: a repeated prompt is)", effect=_no_reading)
block_size = Probe(says="cache blocks have that many tokens, and prefix hits are multiples of it", effect=_block)
priority = Probe(says="prompts are taken in by priority, lowest number first", effect=_order)
scheduling_policy = Probe(says="given priorities decide the order (fcfs: they do not)", effect=_policy)
method = Probe(says="tokens are drafted that way, and the output takes fewer steps", effect=_method, decisive=False)
speculates = Probe(says="drafts come that the control does not have", effect=_accepted_more, decisive=False)
lookup_min = Probe(
    says="the live drafter's shortest n-gram is that one, and other drafts come than in the control",
    effect=_looks_up(0),
    decisive=False,
)
lookup_max = Probe(
    says="the live drafter's longest n-gram is that one, and other drafts come than in the control",
    effect=_looks_up(1),
    decisive=False,
)
drafted_tokens = Probe(says="that many tokens are drafted a step", effect=_drafts)
stream_interval = Probe(says="pieces of a stream carry that many tokens", effect=_stream_interval, decisive=False)
performance_mode = Probe(says="more requests (balanced: fewer) share a step than in the control", effect=_room)


def _hash(run: Seen, control: Seen, value: JSON) -> Shown:
    """Blocks were hashed by that function alone, and a repeated prompt is found."""
    del control
    calls = run.observation["hashed"]
    found = sum(cached(run))
    text = ", ".join(f"{count} times by {name}" for name, count in calls.items()) or "by nothing that is watched"
    fine = [name for name, count in calls.items() if count] == [value] and found > 0
    return Shown(fine, f"blocks were hashed {text}; {found} prompt tokens were found")


def _asynchronous(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    scheduler = run.read_back.get("scheduler")
    name = scheduler.get("class") if isinstance(scheduler, dict) else None
    return Shown((name == "AsyncScheduler") is bool(value), f"the live scheduler is {name}")


prefix_hash = Probe(says="cache blocks are hashed by that function", effect=_hash)
async_scheduling = Probe(says="the live scheduler is the asynchronous one (False: the other)", effect=_asynchronous)
