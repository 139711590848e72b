"""Starting from a checkpoint: what fits is carried over by name, the rest is fresh, and nothing goes by position."""

import json

import pytest
import torch
from torch import nn

from stages.core import checkpoint, symbols
from stages.core.checkpoint import CheckpointError
from stages.core.config import ConfigError
from stages.training.initial import carry, initialise, names_in, row_pairs
from stages.training.run import make_trainer


class Speakers(nn.Module):
    """A model with a table of speakers, a classifier of them, and a special row after each."""

    NAMED_ROWS = {"table.weight": "speakers", "head.weight": "speakers", "head.bias": "speakers"}  # noqa: RUF012

    def __init__(self, rows, width=3):
        super().__init__()
        self.table, self.head, self.body = nn.Embedding(rows, width), nn.Linear(width, rows), nn.Linear(width, width)


def rewrite(folder, to, **changes):
    """A copy of a checkpoint with changed meta; a change to None takes the field away."""
    found = checkpoint.read(folder)
    meta = {k: v for k, v in {**found.meta, **changes}.items() if v is not None}
    checkpoint.write(to, found.tensors, found.config, meta)
    return to


def test_speakers_are_mapped_by_name_and_never_by_position():
    torch.manual_seed(0)
    old, new = Speakers(4), Speakers(5)
    before = {k: v.clone() for k, v in new.state_dict().items()}
    said = carry(new, old.state_dict(), {"speakers": ("cy", "al", "di", "bo")}, {"speakers": ("al", "bo", "ex")})
    for name in new.NAMED_ROWS:
        a, b = old.state_dict()[name], new.state_dict()[name]
        assert torch.equal(b[1], a[0]) and torch.equal(b[3], a[1])  # al, bo
        assert torch.equal(b[4], a[3])  # the special row after the list
        assert torch.equal(b[[0, 2]], before[name][[0, 2]])  # cy, di
    assert torch.equal(new.body.weight, old.body.weight)
    assert said.rows["head.bias"] == (("al", "bo", "special 1"), ("cy", "di"))
    assert said.weights == 3 * 3 + 3 * 3 + 3 + 9 + 3 and said.total == sum(p.numel() for p in new.parameters())
    assert "mapped by name: table.weight: 3 (al, bo, special 1); fresh: 2 (cy, di)" in said.text()


@pytest.mark.parametrize("theirs", [{}, {"speakers": ("ex", "wy", "zed")}])
def test_a_list_that_is_unknown_or_all_others_stays_fresh(theirs):
    old, new = Speakers(3), Speakers(3)
    said = carry(new, old.state_dict(), {"speakers": ("al", "bo", "cy")}, theirs)
    if theirs:  # as many rows after both lists: none
        assert set(said.fresh) == set(said.unused) == set(new.NAMED_ROWS) and not said.rows
    assert not torch.equal(new.table.weight, old.table.weight) and set(said.whole) == {"body.weight", "body.bias"}


def test_pairs_of_rows():
    assert row_pairs("abc", "cb", 3, 2) == [(1, 1), (2, 0)]
    assert row_pairs("ab", "b", 4, 3) == [(1, 0), (2, 1), (3, 2)]  # two special rows on both sides
    assert row_pairs("ab", "b", 4, 1) == [(1, 0)]
    assert row_pairs("abc", "abc", 2, 3) == []  # a table shorter than its list means something else


def test_an_equal_digest_is_an_equal_table():
    assert names_in({"symbols": symbols.DIGEST})["symbols"] == symbols.SYMBOLS
    assert "symbols" not in names_in({"symbols": "0" * 64})
    assert names_in({"symbols": "0" * 64, "names": {"symbols": ["<pad>", "x"]}})["symbols"] == ("<pad>", "x")


def test_a_run_starts_from_a_checkpoint_and_so_does_its_average(tiny_run, tmp_path):
    first = make_trainer(tiny_run("codes", folder=tmp_path / "a"))
    first.run()
    said = []
    run = tiny_run("codes", f"init_from={tmp_path / 'a' / 'checkpoint'}", "network.depth=2", folder=tmp_path / "b")
    second = make_trainer(run, tell=said.append)
    found = checkpoint.read(tmp_path / "a" / "checkpoint")
    for name in ("voice.encoder.queries", "phone_head.1.weight", "decode_fast.blocks.0.expand.weight"):
        assert torch.equal(second.objective.model.state_dict()[name], found.tensors[name])
        assert torch.equal(second.average.average[name], found.tensors[name])
    said = [text for text in said if text.startswith("init_from")]
    assert len(said) == 1 and "fresh: " in said[0] and "encode_fast.blocks.1.gain" not in said[0].split("fresh:")[0]
    second.run(stop_at=2)
    again = []
    assert make_trainer(run, tell=again.append).step == 2  # a resume starts from its own state
    assert not any(text.startswith("init_from") for text in again)
    meta = checkpoint.read_meta(tmp_path / "b" / "checkpoint")
    assert meta["experiment"]["init_from"] == checkpoint.checkpoint_digest(tmp_path / "a" / "checkpoint")
    assert meta["names"]["symbols"] == list(symbols.SYMBOLS)


def test_the_path_is_free_but_the_weights_are_the_runs_identity(tiny_run, tmp_path, tiny_codes):
    moved = rewrite(tiny_codes, tmp_path / "moved")
    other = checkpoint.read(tiny_codes)
    checkpoint.write(tmp_path / "other", {k: v + 1 for k, v in other.tensors.items()}, other.config, other.meta)
    begin = lambda source: make_trainer(tiny_run("codes", f"init_from={source}", folder=tmp_path / "r"))  # noqa: E731
    begin(tiny_codes).run(stop_at=1)
    assert begin(moved).step == 1
    with pytest.raises(ConfigError, match="another config"):
        begin(tmp_path / "other")


@pytest.mark.parametrize("model", ["autoregressive", "rerank", "diffusion"])
def test_a_changed_symbol_table_is_mapped_by_name(tiny_run, tmp_path, model):
    """The checkpoint's table is ours in reverse and lacks `zh`: rows find their own phones again."""
    sets = ("network.phones=42",) if model == "diffusion" else ()
    make_trainer(tiny_run(model, *sets, folder=tmp_path / "a")).run(stop_at=1)
    source = tmp_path / "a" / "checkpoint"
    theirs = [s for s in reversed(symbols.SYMBOLS) if s != "zh"]
    found = checkpoint.read(source)
    table = {"autoregressive": "phone_table.weight", "rerank": "text.token_embedding.weight",
             "diffusion": "phones.weight"}[model]  # fmt: skip
    tensors = dict(found.tensors)
    count, extra = len(symbols.SYMBOLS), found.tensors[table][len(symbols.SYMBOLS) :]
    tensors[table] = torch.cat((torch.arange(len(theirs)).float()[:, None].expand(-1, extra.shape[1]), extra + 7))
    checkpoint.write(tmp_path / "b", tensors, found.config, {**found.meta, "symbols": "0" * 64,
                                                             "names": {"symbols": theirs}})  # fmt: skip
    fresh = make_trainer(tiny_run(model, *sets, folder=tmp_path / "c")).objective
    before = fresh.model.state_dict()[table].clone()
    initialise(fresh, tmp_path / "b")
    rows = fresh.model.state_dict()[table]
    for i, name in enumerate(symbols.SYMBOLS):
        assert torch.equal(rows[i], before[i] if name == "zh" else torch.full_like(rows[i], theirs.index(name)))
    assert torch.equal(rows[count:], extra + 7)


def test_a_released_checkpoint_without_names_is_taken_by_its_digest(tiny_objective, tiny_codes, tmp_path):
    old = rewrite(tiny_codes, tmp_path / "old", names=None)
    assert initialise(tiny_objective("codes"), old).fresh == ()
    foreign = rewrite(tiny_codes, tmp_path / "foreign", names=None, symbols="0" * 64)
    assert set(initialise(tiny_objective("codes"), foreign).fresh) == {"phone_head.1.weight", "phone_head.1.bias"}


def test_what_cannot_be_started_from_is_one_sentence(tiny_run, tiny_codes, tmp_path):
    def refuse(message, source, model="codes", *sets, error=ConfigError):
        with pytest.raises(error, match=message) as caught:
            make_trainer(tiny_run(model, f"init_from={source}", *sets, folder=tmp_path / "r"))
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "r" / "resume").exists()

    refuse("no checkpoint there", tmp_path / "nowhere", error=CheckpointError)
    refuse("is a checkpoint of 'codes', not of 'vocoder'", tiny_codes, "vocoder", error=CheckpointError)
    refuse(r"another AudioSpec \(fmax 8000.0, here 7600.0\)", tiny_codes, "codes", "audio.fmax=7600")
    refuse("not one of its .* tensors fits", _shrunk(tiny_codes, tmp_path / "s"))
    make_trainer(tiny_run("diffusion", folder=tmp_path / "d")).run(stop_at=1)
    other = rewrite(tmp_path / "d" / "checkpoint", tmp_path / "o", codebook="0" * 64)
    refuse("codes of another tokenizer", other, "diffusion")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "meta.json").write_text(json.dumps({"stage": "codes"}))
    refuse("model.safetensors: cannot be read", tmp_path / "half", error=CheckpointError)


def _shrunk(folder, to):
    found = checkpoint.read(folder)
    checkpoint.write(to, {k: v.reshape(-1)[:1].repeat(7) for k, v in found.tensors.items()}, found.config, found.meta)
    return to


def test_a_release_takes_the_fine_tuned_model_once_it_has_begun(tiny_run, tmp_path, capsys):
    from stages.training.release import last_of_each

    first = tiny_run("vocoder", folder=tmp_path / "v")
    tuned = tiny_run("vocoder", f"init_from={tmp_path}/v/checkpoint", folder=tmp_path / "w")
    other = tiny_run("vocoder", "init_from=elsewhere/v/checkpoint", folder=tmp_path / "x")
    assert last_of_each([first, tuned, other]) == [first, other]
    assert "has not begun" in capsys.readouterr().out
    (tmp_path / "w" / "checkpoint").mkdir(parents=True)
    assert last_of_each([first, tuned, other]) == [tuned, other]
