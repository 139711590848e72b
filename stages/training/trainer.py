"""The one trainer: step, accumulation, clipping, schedule, EMA, log, validation, checkpoints, exact resume, time boxes.

State that a resume needs: weights, average, optimizer moments, the adversary's, and the step. Everything random is
drawn from the step's number, so `N steps, kill, N steps` equals `2N steps` bit for bit on the CPU.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stages.core import checkpoint
from stages.core.config import ConfigError, to_plain
from stages.core.fingerprint import digest
from stages.core.seeding import generator, item_seed
from stages.training.ema import WeightAverage
from stages.training.objective import Objective
from stages.training.optim import adamw, lr_factor

log = logging.getLogger(__name__)


class TrainingError(RuntimeError):
    """Training that cannot go on; the message says what happened and what to do."""


@dataclass(frozen=True)
class TrainerConfig:
    """The `trainer:` part of a training config."""

    steps: int = 1000
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    warmup: int = 100
    decay_share: float = 0.5
    lr_floor: float = 0.05
    clip: float = 1.0
    accumulate: int = 1
    ema: float = 0.999
    seed: int = 1
    threads: int = 0
    """CPU threads; 0 = torch's choice"""
    device: str = "auto"
    precision: str = "float32"
    """float32 or bfloat16 (autocast; worth it on a GPU only)"""
    log_every: int = 20
    validate_every: int = 500
    save_minutes: float = 4.0


class Trainer:
    """Trains one objective in `folder`; `run` may be called again and again and goes on where it was."""

    def __init__(self, objective: Objective, config: TrainerConfig, folder: str | Path, experiment: Any) -> None:
        self.objective, self.config, self.folder = objective, config, Path(folder)
        self.experiment = to_plain(experiment)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.device = ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
        objective.model.to(self.device)
        adversary = objective.adversary()
        if adversary is not None:
            adversary.to(self.device)
        self.optimizer = adamw(objective.model, config.lr, config.betas, config.weight_decay)
        self.average = WeightAverage(objective.model, config.ema)
        self.step = 0
        self._restore()

    # --- the loop ---------------------------------------------------------------------------------------------------

    def run(
        self,
        minutes: float = math.inf,
        stop_at: int | None = None,
        progress: Any = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> dict[str, float]:
        """Trains until `steps`, `stop_at`, the time box or `stopped` ends it; saves; returns the last validation.

        Raises:
            TrainingError: a loss that is not finite, naming the step, the terms and the items of the batch.
        """
        end = min(self.config.steps, stop_at or self.config.steps)
        began = saved = time.monotonic()
        totals: dict[str, float] = {}
        counted = 0
        while self.step < end and time.monotonic() - began < minutes * 60 and not stopped():
            for name, value in self._train_step().items():
                totals[name] = totals.get(name, 0.0) + value
            counted += 1
            if self.step % self.config.log_every == 0:
                self._log("train", {k: v / counted for k, v in totals.items()}, began)
                totals, counted = {}, 0
            if progress:
                progress(self.step, end)
            if self.step % self.config.validate_every == 0 and self.step < end:
                self._log("valid", self.validate(), began)
            if time.monotonic() - saved > self.config.save_minutes * 60:
                self.save()
                saved = time.monotonic()
        metrics = self.validate()
        self._log("valid", metrics, began)
        self.save(metrics)
        return metrics

    def _train_step(self) -> dict[str, float]:
        model, config = self.objective.model, self.config
        model.train()
        factor = lr_factor(self.step, config.steps, config.warmup, config.decay_share, config.lr_floor)
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * factor
        self.optimizer.zero_grad(set_to_none=True)
        values: dict[str, float] = {}
        for part in range(config.accumulate):
            number = self.step * config.accumulate + part
            batch = self._to_device(self.objective.batch(number))
            draws = generator(item_seed(config.seed, "train", self.objective.stage, number))
            torch.manual_seed(draws.initial_seed() % 2**63)  # dropout draws from torch's own generator
            with torch.autocast(self.device, torch.bfloat16, enabled=config.precision == "bfloat16"):
                losses = self.objective.losses(batch, draws, self.step)
            total = torch.stack([v for k, v in losses.items() if not k.startswith("_")]).sum()
            if not torch.isfinite(total):
                terms = ", ".join(f"{k}={float(v.detach()):.4g}" for k, v in losses.items())
                raise TrainingError(
                    f"step {self.step}: the loss is not finite ({terms}); items: {batch.get('ids', 'unnamed')}"
                )
            (total / config.accumulate).backward()
            for name, value in losses.items():
                values[name] = values.get(name, 0.0) + float(value.detach()) / config.accumulate
        values["_grad"] = float(nn.utils.clip_grad_norm_(model.parameters(), config.clip))
        if not math.isfinite(values["_grad"]):
            raise TrainingError(f"step {self.step}: a gradient is not finite; items: {batch.get('ids', 'unnamed')}")
        self.optimizer.step()
        self.average.update(model)
        self.step += 1
        return values

    def validate(self) -> dict[str, float]:
        """The objective's validation with the averaged weights."""
        model = self.objective.model
        self.average.swap(model)
        model.eval()
        try:
            with torch.inference_mode():
                return self.objective.validate()
        finally:
            model.train()
            self.average.swap(model)

    def _to_device(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {k: v.to(self.device) if isinstance(v, Tensor) else v for k, v in batch.items()}

    def _log(self, kind: str, values: dict[str, float], began: float) -> None:
        row = {
            "kind": kind,
            "step": self.step,
            "seconds": round(time.monotonic() - began, 1),
            **{k: round(v, 5) for k, v in values.items()},
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        log.info("%s", row)

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def save(self, metrics: dict[str, float] | None = None) -> None:
        """Writes the resume state and the averaged weights as a checkpoint that inference loads."""
        resume, partial = self.folder / "resume", self.folder / ".resume.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(self._state(), partial / "state.safetensors")
        facts = self.objective.meta()
        state = {
            "step": self.step,
            "updates": self.average.updates,
            "experiment": self._identity(),
            "codebook": facts.get("codebook"),
        }
        (partial / "state.json").write_text(json.dumps(state))
        checkpoint.replace_folder(partial, resume)
        meta = {
            **facts,
            "stage": self.objective.stage,
            "step": self.step,
            "metrics": metrics or {},
            "experiment": self.experiment,
            "licence": "MIT",
        }
        checkpoint.write(self.folder / "checkpoint", self.average.average, self.objective.config, meta)

    def _state(self) -> dict[str, Tensor]:
        state = {f"model.{k}": v for k, v in self.objective.model.state_dict().items()}
        state |= {f"average.{k}": v for k, v in self.average.average.items()}
        state |= flatten_optimizer("optimizer", self.optimizer)
        adversary = self.objective.adversary()
        if adversary is not None:
            state |= {f"adversary.{k}": v for k, v in adversary.state_dict().items()}
            state |= flatten_optimizer("adversary_optimizer", adversary.optimizer)
        return {k: v.detach().cpu().contiguous().clone() for k, v in state.items()}

    def _identity(self) -> str:
        """What may not change between two runs in one folder: the experiment without its length and machine."""
        free = ("steps", "threads", "device", "log_every", "validate_every", "save_minutes", "decay_share", "lr_floor")
        trainer = {k: v for k, v in self.experiment.get("trainer", {}).items() if k not in free}
        return digest({**self.experiment, "trainer": trainer})

    def _restore(self) -> None:
        resume = self.folder / "resume"
        checkpoint.recover(resume)
        checkpoint.recover(self.folder / "checkpoint")
        if not resume.exists():
            return
        meta = json.loads((resume / "state.json").read_text(encoding="utf-8"))
        if meta["experiment"] != self._identity():
            raise ConfigError(
                f"{resume}: was trained with another config; name another folder with --set folder=…, "
                "or delete this one"
            )
        trained_on, given = meta.get("codebook"), self.objective.meta().get("codebook")
        if trained_on and given and trained_on != given:  # runs of before this was kept do not say
            raise ConfigError(
                f"{resume}: was trained on the codes of another tokenizer; name another folder with --set folder=…, "
                "or delete this one"
            )
        state = load_file(resume / "state.safetensors", device=str(self.device))
        part = lambda prefix: {k[len(prefix) + 1 :]: v for k, v in state.items() if k.startswith(prefix + ".")}  # noqa: E731
        self.objective.model.load_state_dict(part("model"))
        self.average.average = part("average")
        self.average.updates = meta["updates"]
        restore_optimizer(self.optimizer, part("optimizer"))
        adversary = self.objective.adversary()
        if adversary is not None:
            adversary.load_state_dict(part("adversary"))
            restore_optimizer(adversary.optimizer, part("adversary_optimizer"))
        self.step = meta["step"]


def flatten_optimizer(prefix: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's moments as named tensors (safetensors holds no nested objects)."""
    return {
        f"{prefix}.{i}.{k}": torch.as_tensor(v)
        for i, s in optimizer.state_dict()["state"].items()
        for k, v in s.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The inverse of flatten_optimizer."""
    whole = optimizer.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value.cpu() if key == "step" else value
    whole["state"] = state
    optimizer.load_state_dict(whole)
