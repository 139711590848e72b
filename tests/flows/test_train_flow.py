"""`caretta train`: what is reached, what is skipped and what is told, without an engine and with fake models."""

import json
from pathlib import Path

import pytest
import yaml

from flows import cli


@pytest.fixture
def flow(tmp_path, monkeypatch):
    """A set of configs a -> b -> c and d, and `flow.main(...)` that trains them with a fake trainer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    import flows.train as module
    from stages.training import dag

    (tmp_path / "m.jsonl").write_text("{}\n")
    (tmp_path / "set").mkdir()
    reads = {"b": "a", "c": "b"}
    for name in "abcd":
        model = {"a": "codes", "b": "autoregressive", "c": "rerank", "d": "vocoder"}[name]
        values = {"model": model, "folder": f"runs/{name}", "manifest": "m.jsonl", "trainer": {"steps": 5}}
        if name in reads:
            values["objective"] = {"codes": f"runs/{reads[name]}/checkpoint"}
        (tmp_path / f"set/{name}.yaml").write_text(yaml.safe_dump(values))

    module.calls, module.failing, module.stops = [], {}, {}

    def train_model(node, stand, minutes):
        module.calls.append(node.name)
        if node.name in module.failing:
            raise module.failing[node.name]
        step = module.stops.get(node.name, 5)
        place = Path(node.run.folder) / "checkpoint"
        place.mkdir(parents=True, exist_ok=True)
        for part in ("model.safetensors", "config.yaml", "meta.json"):
            (place / part).write_text(json.dumps({"stage": node.run.model}))
        if step == 5:
            dag.finish(node, stand, {"loss": 0.25})
        first = {"loss": 1.5, "kind": "valid"}
        return {**module._report(node, stand, step), "metrics": {"loss": 0.25}, "first": first, "signs": ["a sign"]}

    monkeypatch.setattr(module, "train_model", train_model)
    monkeypatch.setattr(module, "call", lambda flow, *arguments: flow.fn(*arguments))
    monkeypatch.setattr(module, "_task", lambda name, work: work)
    monkeypatch.setattr(module, "_show", lambda key, table: None)
    monkeypatch.setattr(module, "drain_flow", lambda count: None)
    yield module
    del module.calls, module.failing, module.stops


def test_a_failure_stops_what_needs_it_and_nothing_else(flow, capsys):
    from stages.training.trainer import TrainingError

    flow.failing["b"] = TrainingError("step 3: the loss is not finite")
    assert flow.main(["set"]) == 1
    assert flow.calls == ["a", "b", "d"]
    out, err = capsys.readouterr()
    assert "codes: step 5 of 5 in runs/a; loss 1.5 -> 0.25; a sign\n" in out
    assert (
        "vocoder: step 5 of 5 in runs/d; loss 1.5 -> 0.25; a sign; --set vocoder.checkpoint=runs/d/checkpoint\n" in out
    )
    assert err.splitlines() == [
        "caretta: step 3: the loss is not finite",
        "2 of 4 models are trained; run it again to go on",
    ]
    flow.failing.clear()
    assert flow.main(["set"]) == 0 and flow.calls[3:] == ["b", "c"]
    assert capsys.readouterr().out.count("(trained already)") == 2


def test_an_unfinished_model_holds_back_what_needs_it(flow, capsys):
    flow.stops["a"] = 2
    assert flow.main(["set"]) == 0 and flow.calls == ["a", "d"]
    assert capsys.readouterr().out.endswith("1 of 4 models are trained; run it again to go on\n")
    flow.calls.clear()
    assert flow.main(["set"], minutes=0.0) == 0 and flow.calls == []


def test_evaluation_starts_by_itself_on_new_checkpoints(flow, capsys, monkeypatch):
    import flows.evaluate
    from stages.core.config import ConfigError
    from stages.evaluation import run

    asked = []

    class Report:
        def table(self):
            return "WER 3 %"

    class Job:
        out = "artifacts/reports/x"

    monkeypatch.setattr(run, "prepare", lambda config, sets: asked.append((config, sets)) or Job())
    monkeypatch.setattr(run, "evaluate", lambda job, step: Report())
    monkeypatch.setattr(flows.evaluate, "show", lambda report, out: None)
    path = Path("set/d.yaml")
    path.write_text(path.read_text() + "evaluate: ev.yaml\n")
    assert flow.main(["set"]) == 0
    made = ["autoregressive.checkpoint=runs/b/checkpoint", "rerank.checkpoint=runs/c/checkpoint",
            "vocoder.checkpoint=runs/d/checkpoint", "codes=runs/a/checkpoint"]  # fmt: skip
    assert asked == [("ev.yaml", made)] and "WER 3 %" in capsys.readouterr().out
    assert flow.main(["set"]) == 0 and len(asked) == 1  # nothing new

    def refuse(config, sets):
        raise ConfigError("ev.yaml: no such configuration file")

    monkeypatch.setattr(run, "prepare", refuse)
    assert flow.main(["set"], ["trainer.lr=0.5"]) == 1
    out, err = capsys.readouterr()
    assert "4 of 4" not in out and err == "caretta: ev.yaml: no such configuration file\n"


def test_initial_weights_are_for_one_model(flow, monkeypatch):
    from stages.core.config import ConfigError

    with pytest.raises(ConfigError, match="--init-from is for one model, and 4 were given"):
        flow.main(["set"], ["init_from=x"])
    asked = []
    monkeypatch.setattr(flow, "main", lambda *arguments: asked.append(arguments) or 0)
    monkeypatch.setattr("flows.runtime.prepare_environment", lambda cache: None)
    assert cli.main(["train", "codes", "--init-from", "a b/checkpoint", "--set", "trainer.steps=3"]) == 0
    assert asked == [(["codes"], ["trainer.steps=3", 'init_from="a b/checkpoint"'], None)]
