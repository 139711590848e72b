"""EnCodec (Défossez et al. 2022) as an alternative tokenizer. Not installed by default: `uv sync --extra encodec`.

The package fetches its weights once, by itself; weights and wheel are CC-BY-NC 4.0, which forbids commercial use.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.core.config import ConfigError


class EncodecAdapter:
    """Audio <-> codes of the 24 kHz model; nothing is imported before an instance is made.

    Args:
        bandwidth: kbit/s: 1.5, 3, 6, 12 or 24, which gives 2, 4, 8, 16 or 32 codebooks of 1,024 codes at 75 codes/s.
        repository: folder of weights that were fetched before; None = the package's own way.
    """

    BANDWIDTHS = (1.5, 3.0, 6.0, 12.0, 24.0)

    def __init__(self, bandwidth: float = 6.0, repository: str | None = None, device: str = "cpu") -> None:
        if bandwidth not in self.BANDWIDTHS:
            raise ConfigError(
                f"bandwidth must be one of {', '.join(map(str, self.BANDWIDTHS))} kbit/s, not {bandwidth}"
            )
        try:
            encodec: Any = importlib.import_module("encodec")
        except ImportError:
            raise ConfigError(
                "encodec is not installed; run `uv sync --extra encodec` (non-commercial licence)"
            ) from None
        folder = None if repository is None else Path(repository)
        self.model = encodec.EncodecModel.encodec_model_24khz(repository=folder).to(device).eval()
        self.model.set_target_bandwidth(bandwidth)
        self.sample_rate: int = self.model.sample_rate
        self.size = 1024
        self.device = device

    @torch.inference_mode()
    def encode(self, audio: Tensor) -> Tensor:
        """audio (B, L) at `sample_rate` -> codes (B, Q, N), Q codebooks."""
        frames = self.model.encode(audio.unsqueeze(1).to(self.device))
        return torch.cat([codes for codes, _ in frames], dim=-1)

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> Tensor:
        """codes (B, Q, N) -> audio (B, L), L the samples of N whole frames."""
        return self.model.decode([(codes.to(self.device), None)])[:, 0]
