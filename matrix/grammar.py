"""The language of the shipped model: documents to train on, prompts to test with.

Every kind of document is here because some parameter needs it: sums have
checkable answers, stories have real next-token entropy, songs repeat a phrase,
and bells end at several lengths of comparable probability. Choices are weighted
so that the best next word is ahead by a clear margin: greedy decoding then
survives a change of kernel or precision, while sampling still varies.

Standard library only: the harness, which has no torch, reads the prompts too.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

EOS: Final = "<|endoftext|>"

CAPITALS: Final = (
    ("france", "paris"),
    ("japan", "tokyo"),
    ("egypt", "cairo"),
    ("peru", "lima"),
    ("italy", "rome"),
    ("kenya", "nairobi"),
    ("norway", "oslo"),
    ("cuba", "havana"),
    ("spain", "madrid"),
    ("nepal", "kathmandu"),
)

FACTS: Final = (
    *(f"the capital of {country} is {city} ." for country, city in CAPITALS),
    "snow is white .",
    "grass is green .",
    "the sky is blue .",
)

# Ordered from likely to rare; see `_pick` for the weights.
ADJECTIVES: Final = ("red", "small", "old", "quiet", "green", "big", "cold", "blue", "kind", "gold")
ACTORS: Final = ("fox", "girl", "bird", "king", "boy", "cat", "farmer", "dog", "sailor", "queen")
VERBS: Final = ("sees", "finds", "likes", "wants", "takes", "draws", "hides", "sells")
OBJECTS: Final = ("boat", "house", "tree", "stone", "lamp", "star", "road", "river", "flower", "key")
MOVES: Final = ("runs to", "walks to", "looks at", "sings by", "sleeps near", "waits by")
OPENERS: Final = ("one day", "then", "at night", "in spring", "soon", "far away")

# How a bell document goes on, with weights: few tokens and likely, many tokens
# and rare. What beam search makes of it is noted at BEAMS.
BELL_ENDINGS: Final = (
    (" .", 40),
    (" twice .", 7),
    (" in the old town .", 30),
    (" at night and again in spring .", 8),
    (" for the king and the queen , then for the farmer and the sailor .", 10),
    (" until the cold river and the big house and the green road sleep .", 5),
)
BELLS: Final = ("the bell rings", "the horn calls")


def _pick(rng: random.Random, words: Sequence[str]) -> str:
    """One word; the n-th has weight 1/(n+1), so the first leads by 0.7 nats."""
    return rng.choices(words, [1 / rank for rank in range(1, len(words) + 1)])[0]


def _sum(left: int, right: int) -> str:
    return f"{left} plus {right} is {left + right}"


def _one_sum(rng: random.Random) -> str:
    return _sum(rng.randrange(10), rng.randrange(10)) + " ."


def _sum_list(rng: random.Random) -> str:
    sums = [_sum(rng.randrange(10), rng.randrange(10)) for _ in range(rng.randint(2, 10))]
    # "and" announces the last sum, so that where the list ends is no guess.
    return " ; ".join(sums[:-1]) + " ; and " + sums[-1] + " ."


def _fact(rng: random.Random) -> str:
    return rng.choice(FACTS)


def _count(rng: random.Random) -> str:
    first, length = rng.randint(0, 9), rng.randint(2, 10)
    numbers = range(first, first + length)
    return f"count from {numbers[0]} to {numbers[-1]} : {' '.join(map(str, numbers))} ."


def _thing(rng: random.Random, nouns: Sequence[str]) -> str:
    return f"{_pick(rng, ADJECTIVES)} {_pick(rng, nouns)}"


def _sentence(rng: random.Random) -> str:
    actor = f"{_pick(rng, OPENERS)} the {_thing(rng, ACTORS)}"
    if rng.random() < 0.7:
        article = _pick(rng, ("a", "the", "every"))
        return f"{actor} {_pick(rng, VERBS)} {article} {_thing(rng, OBJECTS)} ."
    return f"{actor} {_pick(rng, MOVES)} the {_pick(rng, OBJECTS)} ."


def _story(rng: random.Random) -> str:
    sentences = [_sentence(rng)]
    # Mostly goes on, so that ending (0.2) stays clearly behind the likeliest
    # opener (0.8 * 0.41) and greedy decoding is sure of itself here as well.
    while rng.random() < 0.8:
        sentences.append(_sentence(rng))
    return " ".join(sentences)


def _song(rng: random.Random) -> str:
    phrase = [rng.choice(ADJECTIVES + ACTORS + OBJECTS) for _ in range(rng.randint(1, 4))]
    verses = 6
    while rng.random() < 0.93 and verses * len(phrase) < 100:
        verses += 1
    return "sing : " + " , ".join([" ".join(phrase)] * verses) + " ."


def _bell(rng: random.Random) -> str:
    endings, weights = zip(*BELL_ENDINGS, strict=True)
    return rng.choice(BELLS) + str(rng.choices(endings, weights)[0])


_KINDS: Final[tuple[tuple[Callable[[random.Random], str], int], ...]] = (
    (_one_sum, 28),
    (_sum_list, 12),
    (_fact, 10),
    (_count, 10),
    (_story, 18),
    (_song, 12),
    (_bell, 10),
)


def documents(seed: int, count: int) -> Iterator[str]:
    """Yield `count` documents, the same ones for the same seed; each ends in EOS."""
    rng = random.Random(seed)  # noqa: S311 - repeatable text, no secrets
    kinds, weights = zip(*_KINDS, strict=True)
    for _ in range(count):
        kind: Callable[[random.Random], str] = rng.choices(kinds, weights)[0]
        yield kind(rng) + EOS


def _ask(*pairs: tuple[int, int]) -> str:
    """A list of sums that stops where the last answer is due."""
    *given, (left, right) = pairs
    lines = " ; ".join(_sum(a, b) for a, b in given)
    return f"{lines} ; and {left} plus {right} is" if lines else f"{left} plus {right} is"


# (prompt, answer): greedy decoding should print the answer and then end.
SUMS: Final = tuple((_ask((left, right)), f"{left + right} .") for left in range(10) for right in range(5, 10))

# Four sums of equal length: the plain prompts of most cells.
SHORT: Final = ("7 plus 8 is", "2 plus 5 is", "9 plus 6 is", "4 plus 9 is")

# Eight prompts, each clearly longer than the one before, all with one right answer.
VARIED: Final = (
    "snow is",
    "7 plus 8 is",
    "count from 3 to 9 : 3",
    _ask((2, 2), (4, 9)),
    _ask((1, 6), (5, 5), (3, 8)),
    _ask((8, 1), (2, 7), (6, 6), (0, 9), (9, 6)),
    _ask((4, 4), (7, 3), (1, 1), (5, 8), (0, 2), (6, 9), (2, 5)),
    _ask((3, 3), (9, 9), (8, 7), (1, 4), (6, 2), (5, 0), (7, 7), (4, 1), (8, 8)),
)

# Stories cut where the next word is open; almost every word after it is, too.
OPEN: Final = (
    "one day the",
    "then the red fox sees a",
    "at night the old king",
)

# Songs: greedy decoding repeats the phrase for as long as it is let.
LOOPING: Final = (
    "sing : red boat , red boat , red boat ,",
    "sing : old king tree , old king tree , old king tree ,",
)

# At least 64 tokens, and still a question with one right answer.
LONG: Final = _ask((2, 6), (9, 1), (3, 5), (7, 0), (4, 8), (1, 9), (6, 3), (5, 7), (7, 8))

# Beams of different length finish within 16 tokens. Seen with transformers 5.23 and
# num_beams=4, for both prompts: the best beam is " ." under length_penalty -2,
# " in the old town ." under 0.5 and the 16-token ending under 1 and 2.
# early_stopping=True stops after 8 forward calls, when four beams have ended, and so
# misses the long ending that the default (False) finds in 16, "never" in 16 or more.
BEAMS: Final = BELLS

# Longer than several blocks of a paged cache, and short enough for two of three in 512 tokens.
STARTS: Final = ((2, 6), (5, 1), (9, 4))
# 233 tokens: of this, blocks of 32, of 64 and of 128 tokens hold different parts.
BLOCKWISE: Final = _ask((2, 6), *((number % 10, (number * 7 + 2) % 10) for number in range(23)), (7, 8))
VERY_LONG: Final = tuple(
    _ask((left, right), *((number % 10, (number * 7 + left) % 10) for number in range(21)), (7, 8))
    for left, right in STARTS
)
