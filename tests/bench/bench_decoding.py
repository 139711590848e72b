"""How fast the autoregressive stage decodes: sentences one at a time against all of them in one call, side by side.

    python tests/bench/bench_decoding.py [--sentences 32] [--rounds 3] [--candidates 8] [--voice rms]

Prints a table and, as the last line, one JSON object. One thread, as in production; the best round of each way counts,
and the rounds take turns, so that a busy machine hurts both alike. Waste is the share of the tile's row-steps that gave
no code of a candidate. Bars of the batch: >= 2.5 times as fast an item, waste <= 10 %. Both ways must give the same codes.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch

from stages.autoregressive.config import AutoregressiveConfig
from stages.autoregressive.decoding import Work
from stages.autoregressive.stage import AutoregressiveStage
from stages.core.config import load_yaml if False else None
