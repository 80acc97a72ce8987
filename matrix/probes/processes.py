"""The processes of a loaded engine, and what share of the model each holds."""

from __future__ import annotations

from harness.declare import Seen, Shown
from harness.jsontypes import JSON
from matrix.probes.readback import listed, probe
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


def _parallel(kind: str, run: Seen, control: Seen, degree: int) -> Shown:
    """That many processes worked; each holds its share of the weights, or of the layers."""
    count = _processes(run)
    ranks = _ranks(run)
    whole = _ranks(control)
    layers = [int(number(rank.get("missing_layers"))) for rank in ranks]
    split = _other("local_shapes", ranks, whole)
    linear, of = _other("partitions", ranks, whole), _kinds(ranks)
    if kind == "tensor_parallel":
        wanted = degree > 1
        fine = ((split > 0) is wanted and linear == (of if wanted else 0)) or len(whole) > 1
    else:
        fine = (min(layers, default=0) > 0) is (degree > 1)
    return Shown(
        count == degree and fine,
        f"{count} processes worked; {split} kinds of weight and {linear} of {of} of linear layer are smaller than the "
        f"control's, {layers} layers elsewhere",
    )


def _kinds(ranks: list[dict[str, JSON]]) -> int:
    """How many kinds of linear layer the first rank could share; of adapters that read no partitions back none."""
    found = ranks[0].get("partitions") if ranks else None
    return len(found) if isinstance(found, dict) else 0


def _other(table: str, ranks: list[dict[str, JSON]], whole: list[dict[str, JSON]]) -> int:
    """How many entries of the first rank's `table` of shapes are others than the whole model's."""
    shapes, theirs = (side[0].get(table) if side else None for side in (ranks, whole))
    if not isinstance(shapes, dict) or not isinstance(theirs, dict):
        return 0
    return sum(shape != theirs.get(name) for name, shape in shapes.items())


def _differs(rank: dict[str, JSON], whole: list[dict[str, JSON]]) -> bool:
    return any(_other(table, [rank], whole) for table in ("local_shapes", "partitions"))


def _strategy_of(run: Seen, control: Seen, value: JSON) -> Shown:
    if value == "data_parallel":
        return _copies(run, control, 2)
    return _parallel(str(value), run, control, 2)


def _tensor(run: Seen, control: Seen, value: JSON) -> Shown:
    return _parallel("tensor_parallel", run, control, int(number(value)))


def _pipeline(run: Seen, control: Seen, value: JSON) -> Shown:
    return _parallel("pipeline_parallel", run, control, int(number(value)))


def _copies(run: Seen, control: Seen, value: JSON) -> Shown:
    """That many processes worked, each with the whole model."""
    count = _processes(run)
    ranks, whole = _ranks(run), _ranks(control)[:1]
    complete = sum(not _differs(rank, whole) and not number(rank.get("missing_layers")) for rank in ranks)
    fine = count == int(number(value)) == complete == len(ranks)
    return Shown(fine, f"{count} processes worked, {complete} of {len(ranks)} with the whole model")


executor = probe("the executor's work is done in the engine's own process (mp, ray: in another)", _executor)
parallel_strategy = probe("two processes share the weights, the layers or the requests", _strategy_of)
tensor_parallel = probe("that many processes work, each with its share of the weights", _tensor)
pipeline_parallel = probe("that many processes work, each with its share of the layers", _pipeline)
data_parallel = probe("that many processes work, each with the whole model", _copies)
