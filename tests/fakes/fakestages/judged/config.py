import dataclasses
from dataclasses import dataclass

from stages.rerank.config import SPEC as REAL
from stages.rerank.config import RerankConfig


@dataclass(frozen=True)
class JudgedConfig(RerankConfig):
    """The real one, without weights."""

    checkpoint: str = ""


SPEC = dataclasses.replace(REAL, config=JudgedConfig)
