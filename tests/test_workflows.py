"""The CI files: valid, and true to the project they call. Dockerfiles: true to the checkout they are built from."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from harness.backends import MODULES
from harness.cli import app
from harness.config import yaml_text
from harness.environments import requirement_files
from harness.shards.commands import INCOMPLETE
from tests.projects import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
NIGHTLY = ROOT / ".github" / "workflows" / "nightly.yml"
DOCKERFILES = sorted((ROOT / "docker").glob("Dockerfile.*"))
CHECK = (
    str(Path(sys.executable).with_name("check-jsonschema")),
    *("--quiet", "--builtin-schema", "vendor.github-workflows"),
)


def check(*files: Path) -> subprocess.CompletedProcess[str]:
    """The check of `make check`, with every way out of the machine closed."""
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    command = [*CHECK, *map(str, files)]
    return subprocess.run(command, env=os.environ | nowhere, capture_output=True, text=True, check=False)


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml_text.parse(path.read_text(encoding="utf-8")).data
    return found


def steps(workflow: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each job with each of its steps."""
    for job in workflow["jobs"].values():
        yield from ((job, step) for step in job["steps"])


def commands(path: Path) -> list[list[str]]:
    """Every command line of a workflow in words, with the matrix's values filled in."""
    found = []
    for job, step in steps(load(path)):
        for case in job.get("strategy", {}).get("matrix", {}).get("include", [{}]):
            script = step.get("run", "")
            for name, value in case.items():
                script = script.replace(f"${{{{ matrix.{name} }}}}", value)
            found += [shlex.split(line, comments=True) for line in script.splitlines()]
    return found


def test_the_workflows_are_what_the_schema_asks_for_without_a_network() -> None:
    assert [path.stem for path in WORKFLOWS] == ["checks", "nightly"]
    done = check(*WORKFLOWS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("pattern", "wrong"),
    [
        (r"    runs-on: .*\n", ""),
        (r"timeout-minutes: \d+", "timeout-minutes: soon"),
        (r"permissions:\n  contents: read", "permissions:\n  contents: everything"),
        (r"\n    steps:", "\n    step:"),
    ],
)
def test_the_check_refuses_a_workflow_that_is_wrong(tmp_path: Path, pattern: str, wrong: str) -> None:
    text, count = re.subn(pattern, wrong, WORKFLOWS[0].read_text(encoding="utf-8"))
    assert count
    (tmp_path / "wrong.yml").write_text(text, encoding="utf-8")
    assert check(tmp_path / "wrong.yml").returncode != 0


def test_checks_run_on_every_push_and_are_those_that_developers_run() -> None:
    workflow = load(ROOT / ".github" / "workflows" / "checks.yml")
    assert set(workflow["on"]) == {"push", "pull_request"}
    assert workflow["on"]["push"] is None, "of every branch"
    assert [".ci/run"] in commands(ROOT / ".github" / "workflows" / "checks.yml")


def test_nightly_measures_every_shard_of_one_plan_in_a_job_of_its_own_on_a_gpu() -> None:
    workflow = load(NIGHTLY)
    assert workflow["on"]["schedule"]
    assert not {"push", "pull_request", "pull_request_target"} & set(workflow["on"]), (
        "nobody else's code on our runners"
    )
    for job in ("plan", "measure"):
        assert {"self-hosted", "gpu"} <= set(workflow["jobs"][job]["runs-on"])
    measure = workflow["jobs"]["measure"]
    assert measure["needs"] == "plan"
    assert measure["strategy"]["fail-fast"] is False
    shards = [words[words.index("--shard") + 1] for words in commands(NIGHTLY) if "--shard" in words]
    assert shards == [f"{index}/{len(shards)}" for index in range(1, len(shards) + 1)], "all of them"


def test_what_a_failed_night_found_is_published_all_the_same() -> None:
    workflow = load(NIGHTLY)
    publish = workflow["jobs"]["publish"]
    assert publish["needs"] == ["plan", "measure"]
    assert publish["if"] == "${{ !cancelled() }}"
    uploads = [step for _, step in steps(workflow) if step.get("uses", "").startswith("actions/upload-artifact")]
    assert [step["with"]["name"] for step in uploads] == ["nightly-plan", "nightly-shard-${{ matrix.shard }}", "pages"]
    assert uploads[1]["if"] == "${{ !cancelled() }}"
    downloads = [step["with"] for _, step in steps(workflow) if "download-artifact" in step.get("uses", "")]
    assert [asked.get("name") or asked["pattern"] for asked in downloads] == ["nightly-plan", "nightly-*"]
    assert {asked["path"] for asked in downloads} == {"nightly"}
    summary = [step["run"] for step in publish["steps"] if "paramatrix summary" in step.get("run", "")]
    assert '>> "$GITHUB_STEP_SUMMARY"' in summary[0]


def test_a_night_that_did_not_judge_every_cell_is_published_and_fails() -> None:
    merges = [words for words in commands(NIGHTLY) if words[1:2] == ["merge"]]
    first, last = merges
    assert first[-4:] == ["test", "$?", "-eq", str(INCOMPLETE)], "published where cells are missing, not where refused"
    assert first[:-5] == last
    assert load(NIGHTLY)["jobs"]["publish"]["steps"][-1]["run"].split() == last


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_job_has_least_rights_and_an_end(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert isinstance(job["timeout-minutes"], int)
    for _, step in steps(workflow):
        used = step.get("uses", "actions/x@v1")
        assert re.fullmatch(r"actions/[\w/-]+@v\d+", used), f"{used}: an action that is neither GitHub's nor pinned"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_nothing_that_a_stranger_can_name_is_pasted_into_a_script(path: Path) -> None:
    for _, step in steps(load(path)):
        pasted = re.findall(r"\$\{\{\s*(.*?)\s*\}\}", step.get("run", ""))
        assert all(re.fullmatch(r"matrix\.\w+", name) for name in pasted), pasted


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_command_of_ours_exists_with_its_options(path: Path) -> None:
    ours = typer.main.get_command(app)
    for words in commands(path):
        if words[:1] == [".venv/bin/paramatrix"]:
            command = ours.commands[words[1]]  # type: ignore[attr-defined]
            known = {name for parameter in command.params for name in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= known
        elif words[:1] == ["make"]:
            dry = subprocess.run(
                ["make", "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False
            )
            assert dry.returncode == 0, dry.stderr
        elif words[:1] == ["docker"]:
            assert (ROOT / words[words.index("-f") + 1]).is_file()


def test_the_commands_for_other_schedulers_exist_with_their_options() -> None:
    text = (ROOT / "docs" / "running-large.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL)
    (job,) = [yaml_text.parse(block).data for kind, block in blocks if kind == "yaml"]
    lines = [line for _, block in blocks for line in block.splitlines() if ".venv/bin/paramatrix " in line]
    assert job["spec"]["completionMode"] == "Indexed"
    assert len([line for line in lines if " run --shard " in line]) == 4
    ours = typer.main.get_command(app)
    for line in lines:
        command, *words = line.partition(".venv/bin/paramatrix ")[2].split()
        known = {name for parameter in ours.commands[command].params for name in parameter.opts}  # type: ignore[attr-defined]
        assert {word for word in words if word.startswith("--")} <= known, line


def test_what_a_job_makes_is_where_the_next_looks_for_it() -> None:
    workflow = load(NIGHTLY)
    uploads = [step["with"]["path"] for _, step in steps(workflow) if "upload-artifact" in step.get("uses", "")]
    assert uploads == ["nightly/plan.jsonl", "nightly/shard-${{ matrix.shard }}.jsonl", "nightly"]
    runs = [words for words in commands(NIGHTLY) if "--shard" in words]
    assert {words[words.index("--plan") + 1] for words in runs} == {"nightly/plan.jsonl"}
    assert [words[words.index("--out") + 1] for words in runs] == [f"nightly/shard-{n}.jsonl" for n in (1, 2, 3)]
    (plan,) = [words for words in commands(NIGHTLY) if words[1:2] == ["plan"]]
    assert plan[-2:] == [">", "nightly/plan.jsonl"]


def test_a_backend_in_a_container_is_launched_by_what_is_there_from_the_image_that_was_built() -> None:
    measure = load(NIGHTLY)["jobs"]["measure"]
    built = [words for words in commands(NIGHTLY) if words[:2] == ["docker", "build"]]
    images = {words[words.index("-t") + 1]: words[words.index("-f") + 1] for words in built}
    launchers = {name: value for name, value in measure["env"].items() if name.startswith("PARAMATRIX_LAUNCHER_")}
    assert launchers
    for name, value in launchers.items():
        command, image = value.split()
        assert os.access(ROOT / command, os.X_OK), f"{command} is no program"
        assert images[image] == f"docker/Dockerfile.{name.removeprefix('PARAMATRIX_LAUNCHER_').lower()}"


# Dockerfiles -----------------------------------------------------------------------------------------------------


def instructions(path: Path) -> list[tuple[str, str]]:
    """Instructions and their arguments; continued lines are one."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in re.sub(r"\\\n", " ", text).splitlines() if line.strip()]
    return [(name, " ".join(rest.split())) for name, _, rest in (line.partition(" ") for line in lines)]


def context(folder: Path) -> Path:
    """The build context: those files that .dockerignore lets in."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert all(rule.startswith("!") for rule in rules[1:])
    for rule in rules[1:]:
        source = ROOT / rule[1:]
        assert source.exists(), f".dockerignore lets in {rule[1:]}, which does not exist"
        (folder / rule[1:]).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / rule[1:])
    return folder


def test_every_backend_has_a_dockerfile() -> None:
    assert {path.suffix[1:] for path in DOCKERFILES} == set(MODULES)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.suffix)
def test_a_dockerfile_is_made_of_instructions_and_pins_where_it_begins(path: Path) -> None:
    found = instructions(path)
    names = [name for name, _ in found]
    assert set(names) <= {"ARG", "FROM", "ENV", "RUN", "ENTRYPOINT"}, "what is copied would stand before the checkout"
    assert names.index("FROM") == 1, "ARG, then FROM"
    assert names.count("FROM") == 1
    version = found[0][1].partition("=")
    assert version[2], "a default"
    assert found[1][1].endswith(f":${{{version[0]}}}")
    command = f"docker build -t paramatrix-{path.suffix[1:]} -f docker/{path.name} ."
    assert command in path.read_text(encoding="utf-8"), "the first lines say how to build it"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.suffix)
def test_what_a_dockerfile_installs_is_in_its_context_and_its_interpreter_comes_first(
    path: Path, tmp_path: Path
) -> None:
    found = instructions(path)
    defaults = dict(arguments.split("=", 1) for name, arguments in found if name == "ARG" and "=" in arguments)
    installs = [arguments for name, arguments in found if name == "RUN" and "harness.environments" in arguments]
    if not installs:
        assert path.suffix == ".tensorrt", "the vendor's image has the library"
        return
    here = context(tmp_path)
    (install,) = installs
    assert install.startswith("--mount=type=bind,target=/src cd /src && ")
    words = shlex.split(install.partition("&& ")[2])
    module, target, folder = words[2:]
    folder = re.sub(r"\$\{(\w+)\}", lambda match: defaults[match[1]], folder)
    assert requirement_files(here / folder, cuda=True), "and no sub-folders that another machine would choose among"
    assert ("ENV", f"PATH={target}/bin:${{PATH}}") in found
    help_text = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=here, capture_output=True, text=True, check=True
    )
    assert "requirements" in help_text.stdout, "the installer runs from the context alone"


def test_the_vendor_s_image_is_of_the_version_that_is_required() -> None:
    """Two places that say which TensorRT-LLM is meant."""
    ((_, argument), *_) = instructions(ROOT / "docker" / "Dockerfile.tensorrt")
    asked = "".join(path.read_text() for path in (ROOT / "requirements" / "tensorrt").rglob("*.txt"))
    assert re.findall(r"^tensorrt[-_]llm==(\S+)", asked, re.MULTILINE) == [argument.removeprefix("VERSION=")]
