"""Engines made deaf: apart from honest ones, refused by a host that serves a matrix, never an observation of one."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.audit.host import AuditHost, Watched
from harness.declare import Deaf
from harness.experiment import Experiment
from harness.host import Attempt, BackendHost, Limits
from harness.jsontypes import JSON
from harness.launcher import Launcher
from harness.variants import Variants
from harness.wire import Message
from tests.toys import TOY_HOST, run, toy_host

TOY = Launcher((sys.executable, str(TOY_HOST)))
FILE = Path(__file__).with_name("toy_deaf.py")
DEAF = Deaf("what a request asks for is stored and not done", FILE, "to_requests")
WANTS = run(request={"decoder.top_k": 1})


@pytest.fixture
def host(tmp_path: Path) -> Iterator[AuditHost]:
    made = AuditHost("toy", TOY, Limits(30, 30, 30), Variants(tmp_path))
    yield made
    made.close()


def told(watched: Watched) -> JSON:
    assert watched.seen is not None, watched.failure
    found: JSON = json.loads(watched.seen.observation["outputs"][0]["text"])
    return found


def pid(watched: Watched) -> JSON:
    assert watched.seen is not None
    return watched.seen.read_back["pid"]


def test_a_deaf_engine_stores_the_value_and_does_not_act_on_it(host: AuditHost) -> None:
    deaf = host.watch(WANTS, DEAF)
    assert told(deaf) == {}
    assert deaf.seen is not None
    assert deaf.seen.observation["resolved"]["settings"] == {"decoder.top_k": 1}
    assert "'top_k': 1" in str(deaf.seen.calls)


def test_deaf_and_honest_runs_share_no_engine_and_each_is_made_once(host: AuditHost) -> None:
    deaf, honest = host.watch(WANTS, DEAF), host.watch(WANTS)
    other = host.watch(run(), DEAF)
    assert told(honest) == {"decoder.top_k": 1}
    assert pid(deaf) != pid(honest)
    assert pid(other) == pid(deaf), "equally deaf engines are one"
    assert host.watch(WANTS, DEAF) is deaf
    assert host.watch(WANTS) is honest
    assert pid(host.watch(WANTS, again=True)) != pid(honest)


def test_a_deaf_engine_without_room_beside_those_that_are_kept_is_loaded_without_them(host: AuditHost) -> None:
    kept = host.watch(WANTS)
    assert told(kept) == {"decoder.top_k": 1}
    assert told(host.watch(WANTS, Deaf(DEAF.says, FILE, "to_requests_when_alone"))) == {}


def test_what_cannot_be_made_deaf_fails_as_such(host: AuditHost) -> None:
    for function in ("to_nothing", "not_there"):
        failure = host.watch(WANTS, Deaf("x", FILE, function)).failure
        assert failure is not None
        assert (failure.type, failure.where) == ("harness.deafening.NotDeafenedError", "harness")
        assert function in failure.message
    assert told(host.watch(WANTS)) == {"decoder.top_k": 1}


def test_a_host_that_serves_a_matrix_refuses_a_deaf_engine() -> None:
    with toy_host() as serving:
        engine: Message = {
            "key": "x",
            "deaf": {"source": FILE.read_text(), "file": "toy_deaf.py", "function": "to_requests"},
        }
        refused = serving._observe(WANTS, "toy", None, {}, 0.0, engine=engine)
        assert refused.failure is not None
        assert refused.seen is None
        assert "only one started as `audit`" in refused.failure.message
        honest = serving.observe(WANTS, model="toy", cache_dir=None, fresh=False)
        assert honest.seen is not None


def test_no_experiment_can_be_given_what_an_audit_saw() -> None:
    assert BackendHost.verb == "serve"
    assert not issubclass(AuditHost, BackendHost)
    assert not hasattr(AuditHost, Experiment.run.__name__)
    assert not hasattr(AuditHost, "observe"), "what an experiment asks its observer for"
    assert not issubclass(Watched, Attempt)
