"""A set of trainings: its order comes from what reads what, and a rerun does again only what has changed."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from stages.core import checkpoint
from stages.core.config import ConfigError
from stages.training import dag
from stages.training.run import make_trainer

TINY = Path(__file__).resolve().parents[3] / "configs" / "tiny" / "train"
MODELS = ("codes", "autoregressive", "rerank", "diffusion", "vocoder")


@pytest.fixture
def chain(tmp_path, tiny_manifest, monkeypatch):
    """A folder of configs `codes`, `diffusion`, `vocoder` and `voice` (fine-tuning on predicted mels), with 2 steps."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    common = {"manifest": str(tiny_manifest), "trainer": {"steps": 2, "device": "cpu"}}
    codes, runs = {"codes": "runs/codes/checkpoint"}, {}
    for model in ("codes", "diffusion", "vocoder"):
        runs[model] = {"base": str(TINY / f"{model}.yaml"), "folder": f"runs/{model}"}
    runs["diffusion"]["objective"] = codes
    predicted = {**codes, "utterances": 4, "diffusion": {"checkpoint": "runs/diffusion/checkpoint", "steps": 1}}
    runs["voice"] = {"base": str(TINY / "vocoder.yaml"), "folder": "runs/voice",
                     "init_from": "runs/vocoder/checkpoint",
                     "objective": {"mels": "predicted", "predicted": predicted}}  # fmt: skip
    for name, values in runs.items():
        change(name, {**values, **common}, tmp_path / "set")
    return tmp_path / "set"


def change(name, values, folder=Path("set")):
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))


def edit(name, **trainer):
    values = yaml.safe_load(Path(f"set/{name}.yaml").read_text())
    values["trainer"].update(trainer)
    change(name, values)


def stands():
    """State of each node by name, with later ones given earlier ones."""
    before = {}
    for node in dag.read(dag.find(["set"])):
        before[node.path] = dag.stand(node, before)
    return {Path(path).stem: stand.state for path, stand in before.items()}


def train():
    """Trains whatever is not done; names of what was."""
    before, trained = {}, []
    for node in dag.read(dag.find(["set"])):
        before[node.path] = stand = dag.stand(node, before)
        if stand.state != dag.DONE:
            dag.make_room(node, stand)
            trainer = make_trainer(node.run)
            dag.begin(node, stand)
            dag.finish(node, stand, trainer.run())
            trained.append(node.name)
    return trained


def test_order_and_needs_come_from_the_checkpoints_that_are_read(chain):
    nodes = dag.read(dag.find(["set"]))
    assert [n.name for n in nodes] == ["codes", "diffusion", "vocoder", "voice"]
    needs = {n.name: {k: Path(v).stem for k, v in n.needs.items()} for n in nodes}
    assert needs == {
        "codes": {}, "vocoder": {}, "diffusion": {"objective.codes": "codes"},
        "voice": {"init_from": "vocoder", "objective.predicted.codes": "codes",
                  "objective.predicted.diffusion.checkpoint": "diffusion"},
    }  # fmt: skip


def test_a_rerun_does_again_only_what_depends_on_a_change(chain):
    assert train() == ["codes", "diffusion", "vocoder", "voice"]
    assert train() == [] and set(stands().values()) == {dag.DONE}
    edit("vocoder", lr=0.5)
    assert stands() == {"codes": dag.DONE, "diffusion": dag.DONE, "vocoder": dag.CHANGED, "voice": dag.CHANGED}
    weights = lambda: [checkpoint.checkpoint_digest(f"runs/{n}/checkpoint") for n in ("vocoder", "voice")]  # noqa: E731
    first = weights()
    assert train() == ["vocoder", "voice"] and weights()[0] != first[0]
    (kept,) = Path("runs").glob("vocoder-*")
    assert checkpoint.checkpoint_digest(kept / "checkpoint") == first[0]  # nothing is deleted
    edit("vocoder", lr=1e-3)
    node = dag.read(dag.find(["set/vocoder.yaml"]))[0]
    assert "taken up again" in dag.make_room(node, dag.stand(node, {})) and not kept.exists()
    assert train() == ["voice"] and weights() == first  # that one is taken up again too


def test_more_steps_go_on_and_renew_what_reads_them(chain):
    train()
    edit("codes", steps=3)
    assert stands() == {"codes": dag.GOES_ON, "diffusion": dag.CHANGED, "vocoder": dag.DONE, "voice": dag.CHANGED}
    edit("codes", steps=2, threads=2, log_every=7)  # of the machine and of what it tells
    assert set(stands().values()) == {dag.DONE}


def test_other_data_other_weights_and_other_code_are_changes(chain, monkeypatch, tiny_manifest, tmp_path):
    train()
    monkeypatch.setattr(dag, "training_version", lambda model: 2 if model == "diffusion" else 1)
    assert stands() == {"codes": dag.DONE, "diffusion": dag.CHANGED, "vocoder": dag.DONE, "voice": dag.CHANGED}
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    found = checkpoint.read("runs/vocoder/checkpoint")
    checkpoint.write("runs/vocoder/checkpoint", {k: v + 1 for k, v in found.tensors.items()}, found.config, found.meta)
    assert stands()["vocoder"] == dag.GOES_ON  # not the weights that were noted
    other = tmp_path / "other.jsonl"
    other.write_text(tiny_manifest.read_text() + "\n")
    edited = yaml.safe_load(Path("set/codes.yaml").read_text())
    change("codes", {**edited, "manifest": str(other)})
    assert stands()["codes"] == dag.CHANGED
    other.unlink()
    with pytest.raises(ConfigError, match="other.jsonl: cannot be read .*caretta prepare"):
        stands()


def test_a_run_begun_by_hand_goes_on_and_a_damaged_note_is_said(chain):
    nodes = dag.read(dag.find(["set/codes.yaml"]))
    assert dag.stand(nodes[0], {}).state == dag.FRESH
    make_trainer(nodes[0].run).run(stop_at=1)
    stand = dag.stand(nodes[0], {})
    assert stand.state == dag.GOES_ON and dag.make_room(nodes[0], stand) is None
    assert make_trainer(nodes[0].run).step == 1
    Path("runs/codes/node.json").write_text("[")
    with pytest.raises(ConfigError, match="node.json: cannot be read"):
        dag.stand(nodes[0], {})
    Path("runs/codes/node.json").write_text(json.dumps([1]))
    with pytest.raises(ConfigError, match="must hold a JSON object"):
        dag.stand(nodes[0], {})


def test_two_older_runs_of_one_identity_both_stay(chain):
    node = dag.read(dag.find(["set/codes.yaml"]))[0]
    for _ in range(3):
        dag.write_facts(Path("runs/codes"), {"identity": "0" * 64})
        dag.make_room(node, dag.stand(node, {}))
        assert not Path("runs/codes").exists()
    assert sorted(p.name for p in Path("runs").glob("codes-*")) == [
        "codes-00000000",
        "codes-00000000-2",
        "codes-00000000-3",
    ]


def test_one_process_at_a_time(tmp_path):
    with dag.holding(tmp_path / "runs" / "a"), pytest.raises(ConfigError, match="another process trains there"):  # noqa: SIM117
        with dag.holding(tmp_path / "runs" / "a"):
            pass
    with dag.holding(tmp_path / "runs" / "a"):
        pass


def test_sets_that_do_not_hang_together_are_refused(chain):
    values = yaml.safe_load(Path("set/codes.yaml").read_text())
    change("twin", values)
    with pytest.raises(ConfigError, match=r"trains in runs/codes, and so does set/codes.yaml"):
        dag.read(dag.find(["set"]))
    Path("set/twin.yaml").unlink()
    change("codes", {**values, "init_from": "runs/voice/checkpoint"})
    with pytest.raises(ConfigError, match="need each other"):
        dag.read(dag.find(["set"]))


def test_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, names in {
        "starter": ("codes", "vocoder"),
        "8gb": ("codes", "hifigan"),
        "big": ("x",),
        "huge": ("x",),
    }.items():
        (tmp_path / "configs/train" / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / f"configs/train/{folder}/{name}.yaml").write_text("{}")
    found = lambda *names: [str(p.relative_to("configs/train")) for p in dag.find(names)]  # noqa: E731
    assert found("codes") == ["starter/codes.yaml"] and found("8gb/codes") == ["8gb/codes.yaml"]
    assert found("hifigan") == ["8gb/hifigan.yaml"] and found("8gb") == ["8gb/codes.yaml", "8gb/hifigan.yaml"]
    assert found("all", "vocoder") == ["starter/codes.yaml", "starter/vocoder.yaml"]
    with pytest.raises(ConfigError, match="no such training config .*did you mean 'vocoder'"):
        dag.find(["vocodr"])
    with pytest.raises(ConfigError, match=r"several trainings have that name \(big/x, huge/x\)"):
        dag.find(["x"])
    assert dag.find(["nowhere.yaml"]) == [Path("nowhere.yaml")]  # read_run says that it is not there
    shutil.rmtree(tmp_path / "configs/train/big")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no .yaml file"):
        dag.find(["empty"])
