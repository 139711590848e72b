"""The directions of imports and the calls that are never made."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(p for top in ("stages", "flows") for p in (ROOT / top).rglob("*.py"))
SHARED = {"core", "nn"}
"""Folders of `stages/` that every stage may import."""
DRIVERS = {"training", "data", "evaluation"}
"""Folders of `stages/` that are no stages: they may import stages, and objectives may import them."""
OBJECTIVE = ("objective.py", "batches.py")
"""Files of a stage that are for training alone: its objective, and the batches that this one takes."""


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]


def names(path):
    return set(imports(path))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_flows_know_prefect_and_stages_know_no_flow(path):
    if path.is_relative_to(ROOT / "stages"):
        found = {n for n in names(path) if n.split(".")[0] in ("prefect", "flows")}
        assert not found, f"{path} imports {found}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_stages_do_not_import_each_other(path):
    if not path.is_relative_to(ROOT / "stages") or len(path.relative_to(ROOT / "stages").parts) < 2:
        return
    here = path.relative_to(ROOT / "stages").parts[0]
    if here in DRIVERS:
        return
    allowed = SHARED | {here}
    if path.name in OBJECTIVE:
        allowed |= {"training", "data"}
    found = {n for n in names(path) if n.startswith("stages.") and n.split(".")[1] not in allowed}
    assert not found, f"{path} imports {found}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_stage_and_objective_are_strangers(path):
    strangers = {"stage.py": (".objective", ".batches"), **dict.fromkeys(OBJECTIVE, (".stage",))}
    other = strangers.get(path.name)
    if other:
        found = {n for n in names(path) if n.endswith(other) and not n.startswith(("stages.core", "stages.training"))}
        assert not found, f"{path} imports {found}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_that_runs_what_it_reads(path):
    assert not {n for n in names(path) if n.split(".")[0] in ("pickle", "cloudpickle", "dill", "joblib", "marshal")}, (
        path
    )
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("torch.load", "yaml.load", "yaml.unsafe_load", "eval", "exec", "os.system"), (
                f"{path}: {called}"
            )
            shell = [
                k
                for k in node.keywords
                if k.arg == "shell" and not (isinstance(k.value, ast.Constant) and not k.value.value)
            ]
            assert not shell, f"{path}:{node.lineno}: shell"
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"{path}:{node.lineno}: bare except"


@pytest.mark.parametrize("path", sorted((ROOT / "stages").glob("*/config.py")), ids=lambda p: p.parent.name)
def test_configs_are_light(path):
    heavy = {n.split(".")[0] for n in names(path)} & {"torch", "torchaudio", "transformers", "diffusers"}
    assert not heavy, f"{path} imports {heavy}: plans and cached runs read it"
