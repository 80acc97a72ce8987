"""What the cells generate. All prompts come from the shipped model's own grammar."""

from __future__ import annotations

from harness.declare import Workload
from matrix import grammar

SUMS = Workload("sums", grammar.SHORT)
"""Short questions with one right answer: greedy output is sure of itself."""

VARIED = Workload("varied", grammar.VARIED)
"""Eight prompts of clearly different lengths: batching and padding show."""

OPEN = Workload("open", grammar.OPEN, max_new_tokens=12)
"""Stories: many next words are likely, so that what limits the choice shows."""

OPEN_SEEDS = Workload("open-seeds", grammar.OPEN, max_new_tokens=12, seeds=(1, 2, 3, 4))
"""Stories told four times, each under its own seed."""

DRAWS = Workload("draws", grammar.OPEN[:1], max_new_tokens=24, seeds=tuple(range(1, 25)))
"""A story told under each of several seeds, by itself, so that no two draws are of one random number (`drawn`)."""

MANY_DRAWS = Workload("many-draws", grammar.OPEN[:1], max_new_tokens=24, seeds=tuple(range(1, 97)))
"""As many as it takes to tell what moves probabilities a little."""

LOOPING = Workload("looping", grammar.LOOPING, max_new_tokens=24)
"""Songs: the greedy continuation repeats itself."""

LOOPING_ONE = Workload("looping-one", grammar.LOOPING[:1], max_new_tokens=24)
"""One song, for what upstream only does at batch size 1."""

LONG = Workload("long", (grammar.LONG,), max_new_tokens=8)
"""A prompt longer than the sliding window of the variants that have one."""

BEAMS = Workload("beams", grammar.BEAMS, max_new_tokens=24)
"""Endings of several lengths compete: beams end early and late."""

SHUFFLED = Workload("shuffled", tuple(grammar.VARIED[index] for index in (5, 0, 7, 2, 6, 1, 4, 3)))
"""The varied prompts in an order that is neither up nor down: sorting shows."""

ARRIVALS = Workload("arrivals", grammar.SHORT * 4, max_new_tokens=2)
"""Sixteen requests that take next to no time: only their spacing counts."""

MANY_ARRIVALS = Workload("many-arrivals", grammar.SHORT * 8, max_new_tokens=2)
"""Thirty-two such requests: enough gaps to tell even ones from exponential ones (`timing.mode`)."""

CROWD = Workload("crowd", tuple(prompt for prompt, _ in grammar.SUMS) * 6, max_new_tokens=2)
"""300 requests that take next to no time: more than a scheduler runs together."""

REPEATED = Workload("repeated", grammar.VERY_LONG[:1] * 2, max_new_tokens=4)
"""A long prompt twice: the second time a cache may hold it."""

BLOCKWISE = Workload("blockwise", (grammar.BLOCKWISE,) * 2, max_new_tokens=4)
"""A long prompt twice, of a length of which blocks of every size hold a different part."""

PACKED = Workload("packed", grammar.VERY_LONG, max_new_tokens=4)
"""Three long prompts with other beginnings: no cache helps, and a step may not hold them all."""

QUEUE = Workload("queue", grammar.SHORT * 4)
"""Sixteen sums: more than run together where eight may, each long enough for others to come meanwhile."""

PRESSED = Workload("pressed", grammar.SHORT * 2, max_new_tokens=96)
"""Eight requests that each outgrow their first cache block several times."""

UNEVEN = Workload("uneven", (grammar.LOOPING[0], *grammar.SHORT[:3]) * 2, max_new_tokens=96)
"""Songs that go on and sums that are soon done: where two run together, one ends while the other goes on."""

FLOOD = Workload("flood", grammar.VERY_LONG * 3, max_new_tokens=4)
"""Nine long prompts at once: no step holds them all."""

REPEATS = Workload("repeats", (*grammar.LOOPING, *grammar.OPEN), max_new_tokens=24)
"""Songs and stories: what discourages and what encourages repetition shows."""
