"""The spectral loss of those who make waveforms: the vocoder and VITS."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.core.audio import magnitudes

RESOLUTIONS = ((2048, 512), (1024, 256), (512, 128), (256, 64))
"""(n_fft, hop) of the multi-resolution STFT loss (Yamamoto et al. 2020)"""


def stft_loss(fake: Tensor, real: Tensor) -> Tensor:
    """Mean over resolutions of spectral convergence plus L1 of log-magnitudes (Arik et al. 2019); (B, L) each."""
    total = fake.new_zeros(())
    for n_fft, hop in RESOLUTIONS:
        a, b = magnitudes(fake, n_fft, hop), magnitudes(real, n_fft, hop)
        total = (
            total + (a - b).norm() / b.norm().clamp_min(1e-3) + (torch.log(a + 1e-3) - torch.log(b + 1e-3)).abs().mean()
        )
    return total / len(RESOLUTIONS)
