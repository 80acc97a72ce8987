"""What a backend must offer, and the words in which it reports what it saw.

Everything here runs inside the backend's own interpreter, so this module and all that it
imports use the standard library alone. A backend is a package with a class that satisfies `Backend`.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NotRequired, Protocol, TypedDict, TypeVar

from harness.backends.describe import describe
from harness.jsontypes import JSON

if TYPE_CHECKING:
    from harness.backends.upstream import Interface, Tables

T = TypeVar("T")

OWN: Final = "harness."
"""What the names of recorded calls begin with that are the harness's own."""


class Declared(Mapping[str, JSON]):
    """Declared settings that remember which of them the adapter has read.

    The engine refuses to report a run in which a declared setting was never read: a value
    that is accepted and silently dropped is the very thing this project exists to expose,
    so the adapter cannot do it by accident. `in`, `len` and iteration do not count as reading.
    """

    def __init__(self, settings: Mapping[str, JSON]) -> None:
        self._settings = dict(settings)
        self._read: set[str] = set()

    def __getitem__(self, path: str) -> JSON:
        self._read.add(path)
        return self._settings[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._settings)

    def __len__(self) -> int:
        return len(self._settings)

    def unread(self) -> list[str]:
        """Declared paths that nobody has asked for, sorted."""
        return sorted(set(self._settings) - self._read)


@dataclass(slots=True)
class Calls:
    """Every call the adapter makes into the upstream library, recorded as it is made.

    This is the `forwarded` evidence: it is taken at the call itself, from the very objects
    that are handed over, not from the config they were derived from.
    """

    entries: list[dict[str, JSON]] = field(default_factory=list)
    seconds: float = 0.0
    """Time spent inside these calls."""
    journal: Path | None = None
    """File that each entry is written to before its call is made, which may end the process."""

    def __call__(self, name: str, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Record `name` and its arguments, then call `function` with them."""
        entry: dict[str, JSON] = {"call": name}
        if args:
            entry["args"] = [describe(value) for value in args]
        entry["kwargs"] = {key: describe(value) for key, value in kwargs.items()}
        self._keep(entry)
        began = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            self.seconds += time.perf_counter() - began

    def own(self, name: str, function: Callable[..., T], /, *args: Any, **given: Any) -> T:
        """Call the harness's own part that does what settings ask for, and record what it was `given` by them.

        No library sees these settings, so this is where their values arrive. `args` is what it works on.
        """
        if given:
            self._keep({"call": f"{OWN}{name}", "kwargs": {key: describe(value) for key, value in given.items()}})
        return function(*args, **given)

    def environment(self, **variables: str) -> None:
        """Set environment variables for upstream and record them; apart from arguments, of which they are none."""
        os.environ.update(variables)
        self._keep({"call": "os.environ", "variables": dict(variables)})

    def _keep(self, entry: dict[str, JSON]) -> None:
        self.entries.append(entry)
        if self.journal is not None:
            # a full disk costs this evidence alone
            with contextlib.suppress(OSError), self.journal.open("a", encoding="ascii") as file:
                file.write(json.dumps(entry) + "\n")


@dataclass(frozen=True, slots=True)
class LoadJob:
    """What an engine process is asked to load."""

    model: str
    """Local folder or hub id."""
    cache_dir: str | None
    """Folder laid out as a hub cache that `model` is resolved in, without asking the hub. None: upstream's way."""
    settings: Declared
    """The engine-scoped settings."""
    scratch: str
    """A folder of this engine process's own, deleted after it ends."""


@dataclass(frozen=True, slots=True)
class GenerateJob:
    """One request-scoped piece of work on a loaded engine."""

    settings: Declared
    """The request-scoped settings."""
    prompts: tuple[str, ...]
    max_new_tokens: int
    seeds: tuple[int, ...]
    """The whole job is run once for each seed."""
    instruments: frozenset[str]
    """Costly observations wanted: members of `INSTRUMENTS`."""


INSTRUMENTS = frozenset({"scores", "logits", "operators", "attention", "modules"})
"""scores: `steps`; logits: `logits`; operators: `operators`; attention: `attended`; modules: `modules`. The rest is
always observed."""


class Output(TypedDict):
    """What one prompt got under one seed."""

    prompt: int
    seed: int
    token_ids: list[int]
    """Generated ids only, the ending EOS included, padding left out."""
    text: str
    ended: bool
    """True when the model ended by itself (EOS), False when it was cut."""
    prompt_tokens: NotRequired[int]
    """Tokens of the prompt as the library took it."""


class Step(TypedDict, total=False):
    """One decoding step of one row: the raw logits against the scores the token was drawn from."""

    prompt: int
    seed: int
    step: int
    finite: int
    """Scores left finite by the processors."""
    vocabulary: int
    barred: list[int] | None
    """Ids that the processors made impossible (a finite raw logit, a score of -inf); None where they are over 64."""
    scale: float | None
    """Median of raw / processed over ids neither removed nor moved otherwise (the temperature)."""
    kept_mass: float
    """Sum of p over the ids left finite.

    p is softmax of the scores with the removed ids put back at raw / scale: the distribution
    that top_k, top_p and min_p choose from.
    """
    kept_mass_without_last: float
    """`kept_mass` less its smallest member: top_p keeps the smallest set that reaches p."""
    kept_min_ratio: float
    """Smallest p / max p among the ids left finite (min_p)."""
    dropped_max_ratio: float | None
    """Largest p / max p among the ids removed, None when none was."""
    moved: list[int]
    """Ids still finite whose score differs from the raw logit beyond one common scale (≤ 64)."""
    context: list[int]
    """Distinct ids of the context at this step that are still finite (≤ 64)."""
    penalty: float | None
    """Median over `moved` of the factor by which a repetition penalty would have moved it."""
    shifts: dict[str, float]
    """Raw logit less score of each of `moved`, by id: what an additive penalty or bias took off."""
    argmax: int
    """Id of the largest raw logit."""
    token: int
    """Id chosen."""


class Attended(TypedDict):
    """What one call of a layer's attention was given."""

    layer: int
    queries: int
    keys: int
    """Positions of the keys, those of the cache included."""
    kept: bool
    """Whether the keys lie where this layer's keys lay at its call before: in memory that is written to in place."""
    indexed: bool
    """Whether the attention itself looks keys up in a cache, by the places it was given."""


class Chunk(TypedDict):
    """A piece of streamed output as it arrived."""

    prompt: int
    seed: int
    at_s: float
    """Seconds after the request was handed to the library."""
    tokens: int
    """Tokens the chunk carried; 0 for text that was only held back until the end."""
    forwards: NotRequired[int]
    """Forward calls of the model that had begun when it arrived."""
    text: str
    """Text that became final with it. The chunks of one output joined are its text."""


class Observation(TypedDict, total=False):
    """What was seen of one `GenerateJob`. Keys that do not apply are left out, never invented."""

    outputs: list[Output]
    sequences: list[dict[str, JSON]]
    """Every sequence that came back for a prompt: prompt, seed, index, token_ids, text, finish and stop reason."""
    logprobs: list[dict[str, JSON]]
    """Per prompt: number of entries at each position (`entries`, `prompt_entries`), log-probabilities of
    the chosen ids, and the values and ids at the first generated position (at most 64, largest and lowest first)."""
    cached: list[dict[str, JSON]]
    """Per prompt: prompt tokens that were found in a prefix cache."""
    forwards: list[list[int]]
    """[rows, width] of the token ids of each forward call of the model, in order. A library that packs
    rows instead of padding them reports its requests, and the most tokens of any."""
    scheduled: list[dict[str, JSON]]
    """Each step of a library with a scheduler: `requests`, a list of [prompt, tokens, drafted tokens of these]; and
    `adapters`, how many different adapters these requests use, and `seeded`, how many of them bring a seed of
    their own, where any does."""
    batches: list[list[int]]
    """Prompt indexes that went to the library together, in order (first seed)."""
    beams: list[dict[str, JSON]]
    """Per prompt: scores, lengths, log-probability sums and token ids of the returned beams."""
    steps: list[Step]
    logits: list[list[float]]
    """Per prompt: raw logits of the first generated position at ≤ 256 evenly spaced ids."""
    operators: dict[str, int]
    """Calls of each operator or kernel that a profiler counted."""
    attended: list[Attended]
    fetched: dict[str, int]
    """Weights that were brought in for one forward call of their layer: times, by where they lay ("disk", "memory")."""
    modules: dict[str, int]
    """Forward calls of each class of module, by its full name. Of a module that was compiled into a graph there are
    none: the graph runs in its place."""
    chunks: list[Chunk]
    arrivals: list[float]
    """Seconds after the start at which each request was handed to the library."""
    compiled: dict[str, JSON]
    """Compile counters: their change during this job."""
    processes: list[dict[str, JSON]]
    """One entry a process that generated: pid, rank, prompts, local shapes; `apart`, whether that is another process
    than the one that was handed the requests."""
    resolved: dict[str, JSON]
    """Read back during generation from the live objects that do the work."""
    memory: list[dict[str, JSON]]
    """One entry a process of the engine: its pid, and the most bytes that it had during this job, on the host
    (`host_peak`) and on all accelerators (`device_peak`, left out by a process that uses none). `host_mapped` are the
    bytes of its address space at the end: what it has reserved, used or not."""
    loading: list[dict[str, JSON]]
    """What was done when the engine was loaded, one entry a model: the loader that ran, the functions that opened
    its weight files."""
    hashed: dict[str, int]
    """Calls of each function by which blocks of the cache were hashed."""
    adapted: dict[str, int]
    """Products of inputs with adapters' weights, by the rank that they were computed at."""
    seconds: float
    """Time inside upstream's generate calls."""


class Engine(Protocol):
    """A loaded model that can be asked to generate."""

    def read_back(self) -> dict[str, JSON]:
        """What the loaded objects are really using (dtypes, module classes, devices, …)."""

    def generate(self, job: GenerateJob, calls: Calls) -> Observation:
        """Run the job. Exceptions of the library pass through untouched."""

    def synchronise(self) -> None:
        """Wait until the accelerators have done what they were given: a moment taken without this is too early."""

    def close(self) -> None:
        """End whatever the engine started (other processes, files)."""


class Backend(Protocol):
    """An inference library: how to import, describe and load it."""

    name: str
    distributions: tuple[str, ...]
    """Installed distributions whose versions belong to a result's provenance."""
    libraries: Mapping[str, Sequence[str]]
    """What is under test: each library with the distributions that may bring it."""
    upstream: Tables
    """The tables by which `load` and `generate` forward settings, by upstream call."""

    def interface(self) -> Interface:
        """What the installed library offers for these calls. Imports it, loads nothing."""

    def preload(self) -> None:
        """Import the library, once, in the host. Must leave the accelerator uninitialised."""

    def load(self, job: LoadJob, calls: Calls) -> Engine:
        """Load in this process. Exceptions of the library pass through untouched."""
