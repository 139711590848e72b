"""Stages of no cost with the interface of the real ones, without torch: what the tests of pipeline and flows run."""

import re
from pathlib import Path

FAKES = {
    name: f"fakestages.{name}.stage:{cls}Stage"
    for name, cls in (
        ("text", "Text"),
        ("autoregressive", "Autoregressive"),
        ("rerank", "Rerank"),
        ("diffusion", "Diffusion"),
        ("vocoder", "Vocoder"),
    )
}

ROUTE = """\
stages: [text, autoregressive, rerank, diffusion, vocoder]
preset: fast
presets:
  ultra_fast: {autoregressive: {candidates: 2}, diffusion: {steps: 4}}
  fast: {autoregressive: {candidates: 6}, diffusion: {steps: 6}}
"""


def split(text: str) -> list[str]:
    """Sentences by full stop and question mark."""
    return [s for s in re.split(r"(?<=[.?!])\s+", text.strip()) if s]


def install(folder: Path) -> None:
    """Puts the fakes in the place of the real stages, with routes and voices in `folder`."""
    import numpy as np
    import soundfile

    from stages.core import pipeline, route, voices

    (folder / "routes").mkdir(exist_ok=True)
    (folder / "routes" / "tortoise.yaml").write_text(ROUTE)
    for number, name in enumerate(("rms", "slt")):
        voice = folder / "voices" / name
        voice.mkdir(parents=True, exist_ok=True)
        (voice / "voice.yaml").write_text(f"name: {name}\nclip: clip.wav\nlicence: test\n")
        soundfile.write(voice / "clip.wav", np.full(32000, 0.1 * (number + 1), np.float32), 16000)
    route.STAGES.update(FAKES)
    route.ROUTES = folder / "routes"
    voices.FOLDER = folder / "voices"
    pipeline.SPLITTER = "fakestages:split"
