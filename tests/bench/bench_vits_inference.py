"""Speed of VITS beside transformers' VitsModel: the same weights and configuration (that of mms-tts-eng, random
weights), the same texts and noise, in one run, turn by turn.

    python tests/bench/bench_vits_inference.py [--turns 5] [--threads 2 1] [--letters 15 30 60] [--cpu-time]

Prints seconds and real-time factors (medians) with the ratio theirs / ours and the largest difference of the waveforms,
and as the last line one JSON object. Bar: a ratio of 1.0 at least. A letter is two symbols, as blanks stand between.
Where others compute at the same time, --cpu-time with --threads 1 counts the process's own seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stages.core import checkpoint
from stages.core.seeding import generator
from stages.nn.fast_conv import quicken
from stages.vits.blocks import fold_weight_norm
from stages.vits.huggingface import convert
from stages.vits.model import Controls, Vits, VitsModelConfig
from stages.vits.text_encoder import TextInput

FRAMES = 3.2
"""frames per symbol that the random weights are brought to, about those of speech at 62.5 frames a second"""


def write_folder(folder: Path) -> Any:
    """A folder in their layout with random weights at the default sizes; their model, ready to speak."""
    from transformers import VitsConfig, VitsModel

    torch.manual_seed(0)
    model = VitsModel(VitsConfig()).eval()
    with torch.no_grad():
        # without it the random flow gives durations that no text has
        model.duration_predictor.flows[0].translate[0] = -torch.log(torch.tensor(FRAMES))
        model.duration_predictor.flows[0].log_scale.fill_(2.0)
        model.decoder.conv_post.weight *= 0.05  # or every sample is 1 or -1, and differences hide
    model.save_pretrained(folder)
    letters = [chr(ord("a") + i) for i in range(model.config.vocab_size)]
    (folder / "vocab.json").write_text(json.dumps({letter: i for i, letter in enumerate(letters)}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"phonemize": False}))
    return model


def load(folder: Path) -> Vits:
    """Ours, as the stage loads it."""
    found = checkpoint.read(folder, "vits")
    model = Vits(checkpoint.model_config(found, VitsModelConfig))
    checkpoint.load_strict(model, found)
    fold_weight_norm(model)
    quicken(model.decoder)
    return model.eval()


@torch.inference_mode()
def seconds(
    speak: Callable[[Tensor], Tensor], ids: Tensor, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, Tensor]:
    start = clock()
    wave = speak(ids)
    return clock() - start, wave


def same_noise(model: Any) -> Callable[[Tensor], Tensor]:
    """Their forward pass with its noise from the generator that ours draws from."""

    def speak(ids: Tensor) -> Tensor:
        real, like, draws = torch.randn, torch.randn_like, generator(0)
        torch.randn = lambda *size, **_: real(*size, generator=draws)  # type: ignore[assignment]
        torch.randn_like = lambda x, **_: real(x.shape, generator=draws)
        try:
            return model(ids).waveform[0]
        finally:
            torch.randn, torch.randn_like = real, like

    return speak


def ours(model: Vits) -> Callable[[Tensor], Tensor]:
    def speak(ids: Tensor) -> Tensor:
        text = TextInput(ids, torch.tensor([ids.shape[1]]))
        return model.synthesise(text, None, None, Controls(), generator(0))[0]

    return speak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    parser.add_argument("--letters", type=int, nargs="+", default=[15, 30, 60])
    parser.add_argument("--cpu-time", action="store_true")
    arguments = parser.parse_args()
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    with tempfile.TemporaryDirectory() as place:
        theirs = write_folder(Path(place) / "in")
        convert(Path(place) / "in", Path(place) / "out")
        speakers = {"theirs": same_noise(theirs), "ours": ours(load(Path(place) / "out"))}
    rate, rows = theirs.config.sampling_rate, []
    print(
        f"{'threads':>7} {'symbols':>7} {'audio s':>7} {'theirs s':>8} {'ours s':>8} {'ratio':>6} {'RTF':>6} difference"
    )
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for letters in arguments.letters:
            ids = torch.randint(1, 38, (1, 2 * letters + 1), generator=generator(letters))
            ids[:, ::2] = 0
            waves = {name: seconds(speak, ids)[1] for name, speak in speakers.items()}  # also warms up
            taken: dict[str, list[float]] = {name: [] for name in speakers}
            for turn in range(arguments.turns):
                for name in list(speakers)[:: 1 if turn % 2 else -1]:  # neither is always the first
                    taken[name].append(seconds(speakers[name], ids, clock)[0])
            medians = {name: statistics.median(values) for name, values in taken.items()}
            length = len(waves["ours"]) / rate
            row = {
                "threads": threads, "symbols": ids.shape[1], "audio_seconds": round(length, 3),
                "theirs": round(medians["theirs"], 4), "ours": round(medians["ours"], 4),
                "ratio": round(medians["theirs"] / medians["ours"], 3), "rtf": round(medians["ours"] / length, 4),
                "difference": float((waves["ours"] - waves["theirs"]).abs().max()),
            }  # fmt: skip
            rows.append(row)
            print(f"{threads:7} {row['symbols']:7} {length:7.2f} {row['theirs']:8.3f} {row['ours']:8.3f} "
                  f"{row['ratio']:6.2f} {row['rtf']:6.3f} {row['difference']:.1e}", flush=True)  # fmt: skip
    print(json.dumps({"rows": rows, "least_ratio": min(row["ratio"] for row in rows)}))


if __name__ == "__main__":
    main()
