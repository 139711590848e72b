"""The one trainer: step, accumulation, clipping, schedule, EMA, log, validation, checkpoints, exact resume, time boxes.

State that a resume needs: weights, average, optimizer moments, the adversary's, loss scales and the step. Everything
random, and which items a batch holds, comes from the step's number, so `N steps, kill, N steps` equals `2N steps` bit
for bit on the CPU. A step's losses are means over all its targets, however they lie in micro-batches and processes.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from stages.core import checkpoint
from stages.core.config import ConfigError, near_miss, to_plain
from stages.core.seeding import generator, item_seed
from stages.data.batching import Ahead
from stages.training import resume
from stages.training.config import TrainerConfig as TrainerConfig
from stages.training.distributed import World, join
from stages.training.economy import compile_blocks, recompute_activations
from stages.training.ema import WeightAverage
from stages.training.objective import Objective
from stages.training.optim import SCHEDULES, adamw, lr_factor
from stages.training.precision import Precision
from stages.training.record import Record
from stages.training.signs import Signs

log = logging.getLogger(__name__)
MOST_SKIPPED = 50
"""steps in a row whose gradients overflow before a run gives up"""


class TrainingError(RuntimeError):
    """Training that cannot go on; the message says what happened and what to do."""


@dataclass
class _Totals:
    """What the steps since the last row of the log came to."""

    values: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    @property
    def row(self) -> dict[str, float]:
        """Means over the steps, with seconds a step and the share of them spent waiting for batches."""
        means = {k: v / self.steps for k, v in self.values.items()}
        return {**means, "_seconds": self.seconds / self.steps, "_data": self.waited / self.seconds}


class Trainer:
    """Trains one objective in `folder`; `run` may be called again and again and goes on where it was.

    Args:
        experiment: the whole config, kept in the checkpoint; what may not change when a run goes on.
        world: the processes that share the run; by default those that torchrun started.

    Raises:
        ConfigError: a setting that does not fit, or a folder that holds another run.
    """

    def __init__(
        self,
        objective: Objective,
        config: TrainerConfig,
        folder: str | Path,
        experiment: Any,
        world: World | None = None,
    ) -> None:
        self.objective, self.config, self.folder = objective, config, Path(folder)
        self.experiment = to_plain(experiment)
        if config.schedule not in SCHEDULES:
            raise ConfigError(
                f"trainer.schedule: unknown schedule {config.schedule!r}{near_miss(config.schedule, SCHEDULES)}"
            )
        if config.threads:
            torch.set_num_threads(config.threads)
        self.world = world or join(config.device)
        self.device = self.world.device
        self._parts = self.world.share(config.accumulate)
        self.precision = Precision(config.precision, self.device)
        self._scaler = self.precision.scaler()
        objective.model.to(self.device)
        adversary = objective.adversary()
        if adversary is not None:
            adversary.to(self.device)
            adversary.use(self.precision)
        self.optimizer = adamw(objective.model, config.lr, config.betas, config.weight_decay)
        self.average = WeightAverage(objective.model, config.ema)
        self.record = Record(self.folder, config.tensorboard)
        self.signs = Signs()
        self.step = self._skipped = 0
        self._saved: int | None = None
        self._restore()
        self.signs.replay(self.record.rows(), self.step)
        self._join_others()
        self._economise()

    def _join_others(self) -> None:
        """Every process starts from the first one's weights, and all from one step."""
        adversary = self.objective.adversary()
        self.world.same_everywhere(self.objective.model.state_dict().values())
        self.world.same_everywhere(adversary.state_dict().values() if adversary is not None else ())
        mine = torch.tensor(float(self.step), device=self.device)
        if float(self.world.sum(mine)) != self.step * self.world.size:
            raise ConfigError(f"{self.folder}: the processes hold different states; give them one folder that all see")

    def _economise(self) -> None:
        for wanted, name, apply in (
            (self.config.gradient_checkpointing, "gradient_checkpointing", recompute_activations),
            (self.config.compile, "compile", compile_blocks),
        ):
            if wanted and not apply(self.objective.model):
                raise ConfigError(f"trainer.{name}: {self.objective.stage} has no blocks to do so; set it to false")

    # --- the loop ---------------------------------------------------------------------------------------------------

    def run(
        self,
        minutes: float = math.inf,
        stop_at: int | None = None,
        progress: Any = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> dict[str, float]:
        """Trains until `steps`, `stop_at`, the time box or `stopped` ends it; saves; returns the last validation.

        Processes other than the first validate and write nothing, and return nothing.

        Raises:
            TrainingError: a loss that is not finite, naming the step, the terms and the items of the batch; or a
                state that cannot be written.
        """
        end = min(self.config.steps, stop_at or self.config.steps)
        began = saved = time.monotonic()
        over = lambda: time.monotonic() - began >= minutes * 60 or stopped()  # noqa: E731
        totals = _Totals()
        numbers = (step * self.config.accumulate + part for step in range(self.step, end) for part in self._parts)
        with Ahead(self._build, numbers, self.config.prefetch) as batches:
            while self.step < end and not self.world.any(over()):
                self._train_step(batches, totals)
                if self.step % self.config.log_every == 0:
                    self._log("train", totals.row, began)
                    totals = _Totals()
                if progress and self.world.first:
                    progress(self.step, end)
                if self.step % self.config.validate_every == 0 and self.step < end:
                    self._look(began)
                if time.monotonic() - saved > self.config.save_minutes * 60:
                    self.save()
                    saved = time.monotonic()
        metrics = self._look(began)
        self.save(metrics)
        self.world.wait()
        return metrics

    def _build(self, number: int) -> dict[str, Any]:
        batch = self.objective.batch(number)
        if self.device.startswith("cuda"):  # so that copies need not wait
            return {k: v.pin_memory() if isinstance(v, Tensor) else v for k, v in batch.items()}
        return batch

    def _train_step(self, batches: Iterator[tuple[int, dict[str, Any]]], totals: _Totals) -> None:
        began = time.perf_counter()
        micro = [next(batches) for _ in self._parts]
        totals.waited += time.perf_counter() - began
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * lr_factor(
                self.step, config.steps, config.warmup, config.decay_share, config.lr_floor, config.schedule
            )
        self.objective.model.train()
        shares = self._shares([batch for _, batch in micro])
        losses = [self._learn(number, batch, share) for (number, batch), share in zip(micro, shares, strict=True)]
        values = self._measure(losses, shares)
        self._refuse_not_finite(values, losses, [batch for _, batch in micro])
        values |= self._move(values)
        paddings = [batch["padding"] for _, batch in micro if "padding" in batch]
        values |= {"_padding": sum(paddings) / len(paddings)} if paddings else {}
        self.step += 1
        totals.steps += 1
        totals.seconds += time.perf_counter() - began
        for name, value in values.items():
            totals.values[name] = totals.values.get(name, 0.0) + value

    def _shares(self, batches: list[dict[str, Any]]) -> list[float]:
        """How much of the step's loss each micro-batch is: its part of the step's targets."""
        counts = [float(batch.get("targets", 1)) for batch in batches]
        total = self.world.sum(torch.tensor(sum(counts), dtype=torch.float64, device=self.device))
        return [count / float(total) for count in counts]

    def _learn(self, number: int, batch: dict[str, Any], share: float) -> dict[str, Tensor]:
        """Adds the gradients of one micro-batch; returns its losses."""
        draws = generator(item_seed(self.config.seed, "train", self.objective.stage, number))  # type: ignore[arg-type]
        torch.manual_seed(draws.initial_seed() % 2**63)  # dropout draws from torch's own generator
        adversary = self.objective.adversary()
        if adversary is not None:
            adversary.share = share
        with self.precision.autocast():
            losses = self.objective.losses(self._to_device(batch), draws, self.step)
        total = torch.stack([v for k, v in losses.items() if not k.startswith("_")]).sum()
        self._scaler.backward(total * share)
        return {k: v.detach().to(self.device, torch.float32) for k, v in losses.items()}

    def _measure(self, losses: list[dict[str, Tensor]], shares: list[float]) -> dict[str, float]:
        """The step's losses and gradient norms (`_grad`, `_adversary_grad`), in one look at the device.

        Gradients are summed over the processes, unscaled and clipped.
        """
        means = torch.stack(
            [
                torch.stack([own[name] * share for own, share in zip(losses, shares, strict=True)]).sum()
                for name in losses[0]
            ]
        )
        names, model, adversary = [*losses[0], "_grad"], self.objective.model, self.objective.adversary()
        self.world.sum_gradients(model.parameters())
        self._scaler.unscale(self.optimizer)
        norms = [nn.utils.clip_grad_norm_(model.parameters(), self.config.clip)]
        adversary_norm = adversary.gradient_norm(self.world) if adversary is not None else None
        if adversary_norm is not None:
            names.append("_adversary_grad")
            norms.append(adversary_norm)
        return dict(zip(names, torch.cat((self.world.sum(means), torch.stack(norms))).tolist(), strict=True))

    def _refuse_not_finite(
        self, values: dict[str, float], losses: list[dict[str, Tensor]], batches: list[dict[str, Any]]
    ) -> None:
        """Raises TrainingError for a loss that is not finite, or a gradient where no scale excuses it."""
        ids = lambda batch: batch.get("ids", "unnamed")  # noqa: E731
        if not all(math.isfinite(v) for k, v in values.items() if not k.endswith("_grad")):
            for own, batch in zip(losses, batches, strict=True):
                terms = {k: float(v) for k, v in own.items()}
                if not all(map(math.isfinite, terms.values())):
                    said = ", ".join(f"{k}={v:.4g}" for k, v in terms.items())
                    raise TrainingError(f"step {self.step}: the loss is not finite ({said}); items: {ids(batch)}")
            raise TrainingError(f"step {self.step}: the loss is not finite in another process, which names the items")
        if not math.isfinite(values["_grad"] + values.get("_adversary_grad", 0.0)) and not self.precision.scaled:
            named = [name for batch in batches for name in ids(batch)]
            raise TrainingError(f"step {self.step}: a gradient is not finite; items: {named}")

    def _move(self, values: dict[str, float]) -> dict[str, float]:
        """Moves the weights and their average by the gradients, unless these overflowed; what the log says of it."""
        adversary = self.objective.adversary()
        if adversary is not None:
            adversary.step(math.isfinite(values.get("_adversary_grad", 0.0)))
        moved = self._scaler.step(self.optimizer, math.isfinite(values["_grad"]))
        self.optimizer.zero_grad(set_to_none=True)
        if moved:
            self.average.update(self.objective.model)
        self._skipped = 0 if moved else self._skipped + 1
        if self._skipped >= MOST_SKIPPED:
            raise TrainingError(
                f"step {self.step}: the gradients of {MOST_SKIPPED} steps in a row do not fit {self.config.precision}; "
                "set trainer.precision=bfloat16, or lower trainer.lr"
            )
        said = {"_lr": self.optimizer.param_groups[0]["lr"]}
        return said | ({"_skipped": float(not moved)} if self.precision.scaled else {})

    def _to_device(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {k: v.to(self.device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()}

    # --- looking ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The model has its averaged weights and is in evaluation mode; no gradients."""
        model = self.objective.model
        self.average.swap(model)
        model.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            model.train()
            self.average.swap(model)

    def validate(self) -> dict[str, float]:
        """The objective's validation with the averaged weights."""
        with self.averaged():
            return self.objective.validate()

    def _look(self, began: float) -> dict[str, float]:
        """Validates, and shows what the model makes of held-out utterances; returns the figures of both."""
        if not self.world.first:
            return {}
        metrics = self.validate()
        make = getattr(self.objective, "samples", None)
        if self.config.samples and make is not None:
            with self.averaged():
                made = make(generator(item_seed(self.config.seed, "samples", self.objective.stage)))
            metrics |= {k: float(v) for k, v in made.items() if isinstance(v, (int, float))}
            with self._writing():
                self.record.samples(self.step, made)
        self._log("valid", metrics, began)
        with self._writing():
            self.record.flush()
        return metrics

    def _log(self, kind: str, values: dict[str, float], began: float) -> None:
        if not self.world.first:
            return
        seconds = time.monotonic() - began
        with self._writing():
            self.record.write(kind, self.step, seconds, values)
            for name, sentence in self.signs.watch(kind, values).items():
                self.record.sign(self.step, seconds, name, sentence)

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def save(self, metrics: dict[str, float] | None = None) -> None:
        """Writes the resume state, then the averaged weights as a checkpoint that inference loads.

        A kill between the two leaves the older checkpoint beside the newer state, and the next save mends that.

        Raises:
            TrainingError: they cannot be written; what was saved before is still there.
        """
        if not self.world.first:
            return
        facts = self.objective.meta()
        with self._writing():
            resume.write(self.folder, self._state(), self._facts(facts))
            meta = {
                **facts,
                "stage": self.objective.stage,
                "step": self.step,
                "metrics": metrics or {},
                "experiment": self.experiment,
                "licence": "MIT",
            }
            checkpoint.write(self.folder / "checkpoint", self.average.average, self.objective.config, meta)
        self._saved = self.step

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, SafetensorError) as error:
            resume.discard_partial(self.folder)
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
            kept = "nothing was saved before" if self._saved is None else f"the state of step {self._saved} is kept"
            raise TrainingError(
                f"{self.folder}: step {self.step} cannot be written ({reason}); {kept}; make room and run it again to "
                "go on"
            ) from None

    def _facts(self, meta: dict[str, Any]) -> dict[str, Any]:
        adversary = self.objective.adversary()
        return {
            "step": self.step,
            "updates": self.average.updates,
            "skipped": self._skipped,
            "experiment": resume.identity(self.experiment),
            "codebook": meta.get("codebook"),
            "scaler": self._scaler.state(),
            "adversary_scaler": adversary.scales() if adversary is not None else {},
        }

    def _state(self) -> dict[str, Tensor]:
        state = {f"model.{k}": v for k, v in self.objective.model.state_dict().items()}
        state |= {f"average.{k}": v for k, v in self.average.average.items()}
        state |= resume.flatten_optimizer("optimizer", self.optimizer)
        adversary = self.objective.adversary()
        if adversary is not None:
            state |= adversary.saved()
        return state

    def _restore(self) -> None:
        checkpoint.recover(self.folder / "checkpoint")
        found = resume.read(self.folder, self.experiment, self.objective.meta().get("codebook"), self.device)
        if found is None:
            return
        state, facts = found
        self.objective.model.load_state_dict(resume.part(state, "model"))
        self.average.restore(resume.part(state, "average"), facts["updates"])
        resume.restore_optimizer(self.optimizer, resume.part(state, "optimizer"))
        self._scaler.restore(facts.get("scaler", {}))
        adversary = self.objective.adversary()
        if adversary is not None:
            adversary.restore(state, facts.get("adversary_scaler", {}))
        self.step, self._skipped = facts["step"], facts.get("skipped", 0)
        self._saved = self.step
