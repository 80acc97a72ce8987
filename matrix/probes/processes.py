"""The processes of a loaded engine, and what share of the model each holds."""

from __future__ import annotations

from collections import Counter
from math import prod

from harness.declare import Seen, Shown
from harness.jsontypes import JSON
from matrix.probes.layers import dealt, unlike
from matrix.probes.readback import listed, probe
from matrix.probes.scheduling import steps
from matrix.probes.scores import number

_EXECUTORS = {"uni": "UniProcExecutor", "mp": "MultiprocExecutor", "ray": "Ray"}


def _executor(run: Seen, control: Seen, value: JSON) -> Shown:
    """The live executor is of that kind; mp and ray work in a process of their own."""
    del control
    name = str(run.read_back.get("executor_class"))
    workers = [process for process in run.observation["processes"] if process.get("forwards")]
    apart = [process["apart"] for process in workers]
    fine = name.startswith(_EXECUTORS[str(value)]) and apart == [value != "uni"]
    where = "a process of its own" if apart == [True] else "the process of the engine core"
    return Shown(fine, f"{len(workers)} process worked for {name}: {where}")


def _ranks(run: Seen) -> list[dict[str, JSON]]:
    return [worker for worker in listed(run.read_back.get("workers")) if isinstance(worker, dict)]


def _processes(run: Seen) -> int:
    return len({worker.get("pid") for worker in run.observation.get("processes", []) if worker.get("forwards")})


def _others(table: str, rank: dict[str, JSON], whole: dict[str, JSON]) -> int:
    """How many entries of the rank's `table` of shapes are others than those of `whole`."""
    shapes, theirs = rank.get(table), whole.get(table)
    if not isinstance(shapes, dict) or not isinstance(theirs, dict):
        return 0
    return sum(shape != theirs.get(name) for name, shape in shapes.items())


_TABLES = ("local_shapes", "partitions")


def _differs(rank: dict[str, JSON], whole: dict[str, JSON]) -> bool:
    return any(_others(table, rank, whole) for table in _TABLES)


def _sizes(rank: dict[str, JSON]) -> dict[str, float]:
    """Entries of a rank's part of each kind of linear layer: inputs times outputs; LookupError where none is told."""
    kinds = rank.get("partitions")
    if not isinstance(kinds, dict) or not kinds:
        raise LookupError("the sizes of the linear layers were not read back from every process")
    return {kind: prod(number(size) for size in listed(sizes)) for kind, sizes in kinds.items()}


def _divided(part: dict[str, float], degree: int, held: dict[str, float], theirs: int) -> bool:
    """Whether `degree` such parts make what `theirs` of those held do: none less, one kind just that, each smaller.

    Heads of keys and values that there are too few of are held several times, which makes a part larger.
    """
    if part.keys() != held.keys():
        return False
    surplus = [part[kind] * degree - held[kind] * theirs for kind in part]
    return min(surplus) == 0 and all(part[kind] < held[kind] for kind in part)


def _split(rank: dict[str, JSON], other: dict[str, JSON], degree: int, theirs: int) -> bool:
    """Whether a rank of `degree` has its share, by what a rank of the control's `theirs` has."""
    own, held = _sizes(rank), _sizes(other)
    if degree == theirs:
        return own == held and not _others("local_shapes", rank, other)
    if not _others("local_shapes", rank, other):
        return False
    return _divided(own, degree, held, theirs) if degree > theirs else _divided(held, theirs, own, degree)


def _tensor(run: Seen, control: Seen, value: JSON) -> Shown:
    """That many processes worked, and each has just its share of every linear layer: a single one has them whole.

    What is whole is told by the control, of as many processes as were read back. LookupError where the sizes of
    either's linear layers were not, and where the control's layers of one kind are not alike.
    """
    degree, count = int(number(value)), _processes(run)
    ranks, others = _ranks(run), _ranks(control)
    if not ranks or not others:
        raise LookupError("no process was read back")
    if apart := unlike(ranks, others, *_TABLES):
        return Shown(False, f"{count} processes worked; not all layers have the same share of {', '.join(apart)}")
    shares = [all(_split(rank, other, degree, len(others)) for other in others) for rank in ranks]
    kinds = len(_sizes(ranks[0]))
    weights = _others("local_shapes", ranks[0], others[0])
    linear = _others("partitions", ranks[0], others[0])
    return Shown(
        count == degree == len(ranks) and all(shares),
        f"{count} processes worked; {weights} kinds of weight and {linear} of {kinds} of linear layer have other sizes "
        f"than the control's, {sum(shares)} of {len(ranks)} processes have just their share",
    )


def _pipeline(run: Seen, control: Seen, value: JSON) -> Shown:
    """That many processes worked, each with some of the layers, and together with each of the control's once.

    LookupError where the control has no layer that is known as one.
    """
    degree, count = int(number(value)), _processes(run)
    layers = dealt(_ranks(run), _ranks(control))
    return Shown(count == degree == len(layers.held) and layers.once, f"{count} processes worked, with {layers}")


def _copies(run: Seen, control: Seen, value: JSON) -> Shown:
    """That many processes worked, each with the whole model, and no prompt in several of them."""
    count = _processes(run)
    ranks, whole = _ranks(run), _ranks(control)
    if not whole:
        raise LookupError("no process of the control was read back, so it is not known what the whole model is")
    complete = sum(not _differs(rank, whole[0]) and not number(rank.get("missing_layers")) for rank in ranks)
    again = _taken_again(run)
    fine = count == int(number(value)) == complete == len(ranks) and not again
    text = f", prompts {again} in more than one of them" if again else ""
    return Shown(fine, f"{count} processes worked, {complete} of {len(ranks)} with the whole model{text}")


def _taken_again(run: Seen) -> list[int]:
    """Prompts of which far more tokens were scheduled than they and their outputs have; none where it is not told.

    A token or two more are no second time: a step may be scheduled before it is known that an output has ended.
    """
    lengths: Counter[int] = Counter()
    for told in run.observation.get("sequences", []):
        ids = told["token_ids"]
        assert isinstance(ids, list)
        lengths[int(number(told["prompt"]))] += int(number(told["prompt_tokens"])) + len(ids)
    taken: Counter[int] = Counter()
    for step in steps(run):
        for prompt, tokens, _ in step:
            taken[prompt] += tokens
    return sorted(prompt for prompt, length in lengths.items() if 2 * taken[prompt] > 3 * length)


_STRATEGIES = {"tensor_parallel": _tensor, "pipeline_parallel": _pipeline, "data_parallel": _copies}


def _strategy_of(run: Seen, control: Seen, value: JSON) -> Shown:
    return _STRATEGIES[str(value)](run, control, 2)


executor = probe("the executor's work is done in the engine's own process (mp, ray: in another)", _executor)
parallel_strategy = probe("two processes share the weights, the layers or the requests", _strategy_of)
tensor_parallel = probe("that many processes work, each with its share of the weights", _tensor)
pipeline_parallel = probe("that many processes work, each with its share of the layers", _pipeline)
data_parallel = probe("that many processes work, each with the whole model and with prompts of its own", _copies)
