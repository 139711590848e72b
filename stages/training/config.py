"""The settings of the trainer; importing this loads no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainerConfig:
    """The `trainer:` part of a training config."""

    steps: int = 1000
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    warmup: int = 100
    schedule: str = "cosine"
    """cosine, noam or constant"""
    decay_share: float = 0.5
    lr_floor: float = 0.05
    clip: float = 1.0
    accumulate: int = 1
    """micro-batches a step; processes share them"""
    ema: float = 0.999
    seed: int = 1
    threads: int = 0
    """CPU threads; 0 = torch's choice"""
    device: str = "auto"
    precision: str = "float32"
    """float32, bfloat16 (autocast; worth it on a GPU only) or float16 (autocast with a scaled loss)"""
    gradient_checkpointing: bool = False
    """compute activations twice rather than keep them"""
    compile: bool = False
    """compile the model's blocks (worth it on a GPU and for long runs)"""
    prefetch: int = 3
    """batches built ahead in a thread"""
    log_every: int = 20
    validate_every: int = 500
    save_minutes: float = 4.0
    tensorboard: bool = False
    samples: bool = True
    """let the model make held-out utterances at every validation, where its objective can"""
