"""What a run leaves to look at: lines that can be read again, and TensorBoard's events."""

import json

import numpy as np

from stages.training.record import Picture, Record, Sound, painted


def test_rows_can_be_read_again_though_a_kill_cut_the_last_one(tmp_path):
    record = Record(tmp_path / "new")
    assert record.rows() == []
    record.write("train", 2, 1.25, {"code": 1.234567, "_grad": 3.0})
    record.sign(2, 1.25, "loops", "they loop")
    with open(tmp_path / "new" / "log.jsonl", "a") as file:
        file.write('{"kind": "train", "st')
    assert record.rows() == [
        {"kind": "train", "step": 2, "seconds": 1.2, "code": 1.23457, "_grad": 3.0},
        {"kind": "sign", "step": 2, "seconds": 1.2, "sign": "loops", "text": "they loop"},
    ]
    assert not (tmp_path / "new" / "tensorboard").exists()


def test_pictures_span_black_to_white_with_row_0_at_the_bottom():
    image = painted(Picture(np.array([[0.0, 1.0], [2.0, 4.0]])))
    assert image.tolist() == [[[0.5, 1.0], [0.0, 0.25]]]
    assert not painted(Picture(np.full((2, 3), 7.0))).any()


def test_tensorboard_holds_scalars_pictures_and_sounds(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record = Record(tmp_path, tensorboard=True)
    record.write("train", 4, 1.0, {"code": 2.5, "_lr": 1e-3})
    samples = {"mel": Picture(np.eye(3)), "said": Sound(np.zeros(160, np.float32), 16000), "loops": 0.5}
    record.samples(4, samples)
    record.sign(4, 1.0, "loops", "they loop")
    record.flush()
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 1, "audio": 1})
    events.Reload()
    tags = events.Tags()
    assert set(tags["scalars"]) == {"train/code", "train/lr"} and events.Scalars("train/code")[0].value == 2.5
    assert tags["images"] == ["sample/mel"] and tags["audio"] == ["sample/said"]
    assert events.Audio("sample/said")[0].sample_rate == 16000
    assert [json.loads(line)["kind"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == ["train", "sign"]
