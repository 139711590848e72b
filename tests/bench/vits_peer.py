"""coqui-tts's VITS, one training step at a time, for `bench_vits_training.py`; runs in an environment of its own.

Reads one JSON object a line ({"steps": N}) and answers with one ({"seconds": …, "cpu": …}); ends with its input. The
first line it reads is the batch: {"threads", "batch", "tokens": [least, most], "frames": [least, most]}.
A step is what `trainer.Trainer.train_step` does: spectrograms, then for the discriminator and for the generator losses,
backward, clipping, AdamW; random tokens and random sound, the same in every step.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch
from TTS.tts.configs.vits_config import VitsConfig
from TTS.tts.models.vits import Vits

SYMBOLS = 67
"""of its own default alphabet"""


def random_batch(plan: dict[str, Any], hop: int) -> dict[str, Any]:
    """Tokens (B, P), sound (B, 1, L) and their lengths, longest item first."""
    draws = torch.Generator().manual_seed(0)
    spread = lambda least, most: torch.linspace(most, least, plan["batch"]).round().long()  # noqa: E731
    tokens, frames = spread(*plan["tokens"]), spread(*plan["frames"])
    longest = int(frames[0]) * hop
    return {
        "tokens": torch.randint(1, SYMBOLS, (len(tokens), int(tokens[0])), generator=draws),
        "token_lens": tokens,
        "waveform": (torch.rand(len(frames), 1, longest, generator=draws) - 0.5) * 0.2,
        "waveform_rel_lens": frames / frames[0],
        "language_ids": None,
        "speaker_ids": None,
        "d_vectors": None,
    }


class Peer:
    """A VITS of coqui-tts's default sizes with its two optimizers."""

    def __init__(self, plan: dict[str, Any]) -> None:
        torch.manual_seed(0)
        config = VitsConfig()
        self.model = Vits(config)
        self.model.train()
        self.config, self.plan = config, plan
        self.optimizers, self.criteria = self.model.get_optimizer(), self.model.get_criterion()
        self.batch = random_batch(plan, config.audio.hop_length)

    def step(self) -> None:
        """Discriminator, then generator, as the trainer does them."""
        batch = self.model.format_batch_on_device(dict(self.batch))
        for index, optimizer in enumerate(self.optimizers):
            _, losses = self.model.train_step(batch, self.criteria[index], index)
            losses["loss"].backward()
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.config.grad_clip[index])
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.model.zero_grad(set_to_none=True)


def main() -> None:
    """Answers requests until there are none."""
    plan = json.loads(sys.stdin.readline())
    torch.set_num_threads(plan["threads"])
    peer = Peer(plan)
    sizes = {"model": 0, "discriminators": 0}
    for name, parameter in peer.model.named_parameters():
        sizes["discriminators" if name.startswith("disc.") else "model"] += parameter.numel()
    print(json.dumps({"torch": torch.__version__, **sizes}), flush=True)
    for line in sys.stdin:
        began, cpu = time.perf_counter(), time.process_time()
        for _ in range(json.loads(line)["steps"]):
            peer.step()
        print(json.dumps({"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}), flush=True)


if __name__ == "__main__":
    main()
