"""Weights in one file or in several: the same tensors, a digest that sees every file, a missing one named."""

import pytest
import torch

from stages.core import checkpoint
from stages.core.checkpoint import CheckpointError, checkpoint_digest, weight_files

TENSORS = {name: torch.full((100,), float(n)) for n, name in enumerate("abcdefghi")}


def written(folder, **options):
    checkpoint.write(folder, TENSORS, {"size": 1}, {"stage": "some"}, **options)
    return folder


@pytest.mark.parametrize(("most", "files"), [(None, 1), (3600, 1), (1200, 3), (1000, 5), (1, 9)])
def test_parts_hold_what_one_file_holds(tmp_path, most, files):
    folder = written(tmp_path / "x", most=most)
    found = weight_files(folder)
    assert len(found) == files == len(list(folder.glob("*.safetensors")))
    assert all(file.is_file() for file in found)
    read = checkpoint.read(folder, "some").tensors
    assert read.keys() == TENSORS.keys() and all(torch.equal(read[name], TENSORS[name]) for name in TENSORS)


def test_the_digest_sees_every_part(tmp_path):
    folder = written(tmp_path / "x", most=1200)
    digests = {checkpoint_digest(folder)}
    for file in weight_files(folder):
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(bytes(data))
        digests.add(checkpoint_digest(folder))
    assert len(digests) == 4
    assert checkpoint_digest(written(tmp_path / "x")) not in digests  # and none of the parts is left
    assert [file.name for file in (tmp_path / "x").glob("*.safetensors")] == [checkpoint.WEIGHTS]


@pytest.mark.parametrize("number", range(3))
def test_a_missing_part_is_named(tmp_path, number):
    folder = written(tmp_path / "x", most=1200)
    gone = weight_files(folder)[number]
    gone.unlink()
    assert gone.name == f"model-{number + 1:05d}-of-00003.safetensors"
    with pytest.raises(CheckpointError, match=gone.name):
        checkpoint.read(folder)
    with pytest.raises(CheckpointError, match="incomplete checkpoint"):
        checkpoint_digest(folder)


def test_names_that_are_no_parts_are_left_alone(tmp_path):
    folder = written(tmp_path / "x")
    (folder / checkpoint.WEIGHTS).unlink()
    for name in ("model-1-of-999999999999.safetensors", "model-x-of-y.safetensors"):
        (folder / name).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be read"):
        checkpoint.read(folder)
