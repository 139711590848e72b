"""What the rerank stage is asked for, and what it needs and gives; importing this loads no torch."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, field
from typing import Any

from stages.core.config import ConfigError, near_miss
from stages.core.stage import StageSpec
from stages.core.types import Candidates, Phonemes, Pick, RankedCodes

WEIGHTS = {
    "clip": 0.1, "phones": 3.0, "log_prob": 2.0, "faults": 10.0, "asr": 50.0, "similarity": 5.0, "duration": 2.0,
}  # fmt: skip
"""every judge with its weight when judges are a list"""
LISTENERS = {"asr": "pocketsphinx", "similarity": "resemblyzer", "duration": None}
"""judges of the sound, in the order of hearing, and the package that each needs"""


@dataclass(frozen=True)
class RerankConfig:
    """`rerank.*` of `--set`."""

    checkpoint: str = "artifacts/starter/rerank"
    judges: Any = field(
        default_factory=lambda: {name: WEIGHTS[name] for name in ("clip", "phones", "log_prob", "faults")}
    )
    """judge -> weight, or a list of judges; the candidate with the highest weighted sum of scores is taken.

    With a judge of the sound (asr, similarity, duration) every candidate is rendered and listened to."""
    accept: dict[str, float | None] = field(default_factory=dict)
    """how good a candidate must be: most word errors per word (asr: 0.1), least likeness to the voice
    (similarity: 0.7), most deviation from the expected length (duration: 0.2, as a logarithm); null = no threshold"""
    retries: int = 0
    """how often as many candidates again are sampled for a sentence while none is acceptable"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "judges", weights_of(self.judges))
        for name, limit in self.thresholds.items():
            if name not in LISTENERS:
                raise ConfigError(f"accept: no threshold can be set for {name!r}{near_miss(name, LISTENERS)}")
            if name not in self.judges:
                mend = f"add it to rerank.judges, or say accept.{name}=null"
                raise ConfigError(f"accept: {name} has a threshold but is no judge; {mend}")
            low, high = (-1.0, 1.0) if name == "similarity" else (0.0, 100.0)
            if not low <= limit <= high:
                raise ConfigError(f"accept: the threshold of {name} is {limit:g}; give {low:g} to {high:g}")
        if self.retries < 0:
            raise ConfigError(f"retries is {self.retries}; give 0 or more")
        if self.retries and not self.thresholds:
            raise ConfigError(
                "retries without a threshold would never be made; set one, for example accept: {asr: 0.1}"
            )

    @property
    def thresholds(self) -> dict[str, float]:
        """`accept` without what was set to null."""
        return {name: limit for name, limit in self.accept.items() if limit is not None}


def weights_of(judges: Any) -> dict[str, float]:
    """Judges with their weights, of a mapping or a list. Raises ConfigError: none, an unknown one, no number."""
    if isinstance(judges, (list, tuple)):
        judges = {str(name): WEIGHTS.get(str(name)) for name in judges}
    if not isinstance(judges, dict) or not judges:
        raise ConfigError("judges must name at least one judge, for example [clip, asr] or {clip: 1.0}")
    for name, weight in judges.items():
        if name not in WEIGHTS:
            raise ConfigError(f"judges: unknown judge {str(name)!r}{near_miss(str(name), WEIGHTS)}")
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not abs(weight) < float("inf"):
            raise ConfigError(f"judges: the weight of {name} must be a number, not {weight!r}")
    return {name: float(judges[name]) for name in WEIGHTS if name in judges}  # one order, one sum


def followers(config: RerankConfig) -> dict[str, dict[str, Any]]:
    """The stages that judges of the sound need behind the vocoder; none without such a judge.

    Raises:
        ConfigError: the package of a judge is not installed.
    """
    asked = {name: _version(name, package) for name, package in LISTENERS.items() if name in config.judges}
    if not asked:
        return {}
    choose = {"judges": config.judges, "accept": config.thresholds, "retries": config.retries}
    return {"listen": {"judges": asked}, "choose": choose}


def _version(judge: str, package: str | None) -> str:
    """What enters the key of what a judge heard, beside the version of the stage."""
    try:
        return f"{package} {importlib.metadata.version(package)}" if package else ""
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError(f"rerank.judges: {judge} needs {package}, which is not installed; run `uv sync`") from None


SPEC = StageSpec(
    "rerank",
    1,
    RerankConfig,
    needs=(Phonemes, Candidates),
    gives=RankedCodes,
    random=False,
    result_free=("accept", "retries"),
    honours=(Pick,),
    followers=followers,
)
