"""Early signs that a training goes wrong, seen in what it logs; each is said once a run, in one sentence."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

FEWEST_CODES = 0.5
"""share of the codebook, and of the most that was ever in use, under which it is dying"""
SATURATED = 0.02
"""least-squares discriminators that are right about everything have a loss of 0, undecided ones of 0.5"""
SPIKE = 2.0
"""times the usual loss"""
LOOPING = 0.25
"""share of sampled utterances that are stuck"""
WORSE = 1.1
"""times the best held-out loss"""
PLATEAU = 0.002
"""relative gain that says that a loss still falls"""
SKIPPED = 0.5
"""share of steps whose gradients overflow"""
WINDOW = 10
"""rows that are averaged to know the usual loss"""

Watcher = Callable[["Signs", str, dict[str, float]], str | None]
"""What is bad about a row of a kind, as a sentence; "" = nothing, None = the row does not tell."""


@dataclass
class Signs:
    """Watches rows of the log in their order; `said` names the signs that were given."""

    said: set[str] = field(default_factory=set)
    best_codes: float = 0.0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    """total training losses of the last rows"""
    terms: frozenset[str] = frozenset()
    """what they are the sum of"""
    best_smooth: float = math.inf
    """least mean of the last rows"""
    best_valid: dict[str, float] = field(default_factory=dict)
    """least held-out losses; which figures are losses, the training's terms of the same names say"""
    streaks: dict[str, int] = field(default_factory=dict)
    """bad rows in a row, by sign"""

    def replay(self, rows: Iterable[dict[str, Any]], until: int) -> None:
        """Takes in the log of the run so far, up to a step, and says nothing twice."""
        for row in rows:
            if row["step"] > until:
                continue
            if row.get("kind") == "sign":
                self.said.add(str(row.get("sign")))
            elif row.get("kind") in ("train", "valid"):
                numbers = {k: v for k, v in row.items() if isinstance(v, (int, float)) and k not in ("step", "seconds")}
                self._look(str(row["kind"]), numbers)

    def watch(self, kind: str, values: dict[str, float]) -> dict[str, str]:
        """Signs by name that these values are the first to give, each one sentence."""
        found = {name: text for name, text in self._look(kind, values).items() if name not in self.said}
        self.said |= found.keys()
        return found

    def _look(self, kind: str, values: dict[str, float]) -> dict[str, str]:
        found = {}
        for name, (watcher, patience) in WATCHERS.items():
            text = watcher(self, kind, values)
            if text is None:
                continue
            self.streaks[name] = self.streaks.get(name, 0) + 1 if text else 0
            if self.streaks[name] >= patience:
                found[name] = text
        return found


def _dead_codes(signs: Signs, kind: str, values: dict[str, float]) -> str | None:
    used = values.get("codes_used")
    if kind != "valid" or used is None:
        return None
    signs.best_codes = max(signs.best_codes, used)
    if used >= FEWEST_CODES * max(signs.best_codes, FEWEST_CODES):
        return ""
    return (
        f"dead codebook: only {used:.0%} of the codes are in use (the most was {signs.best_codes:.0%}); "
        "lower the learning rate or make the codebook smaller"
    )


def _saturated(signs: Signs, kind: str, values: dict[str, float]) -> str | None:
    loss = values.get("_discriminator")
    if kind != "train" or loss is None:
        return None
    if loss >= SATURATED:
        return ""
    return (
        f"saturated discriminators: their loss is {loss:.2g}, they are right about everything and teach nothing; "
        "lower objective.discriminator_lr or start them later"
    )


def _spike(signs: Signs, kind: str, values: dict[str, float]) -> str | None:
    if kind != "train":
        return None
    terms = frozenset(k for k in values if not k.startswith("_"))
    if terms != signs.terms:  # an adversary sets in: another sum
        signs.terms, signs.best_smooth = terms, math.inf
        signs.recent.clear()
    total = sum(values[k] for k in terms)
    usual = median(signs.recent) if len(signs.recent) == WINDOW else math.inf
    signs.recent.append(total)
    if not (usual > 0 and total > SPIKE * usual):
        return ""
    return f"loss spike: {total:.3g} where {usual:.3g} was usual; lower trainer.lr or trainer.clip if it stays"


def _plateau(signs: Signs, kind: str, values: dict[str, float]) -> str | None:
    if kind != "train" or len(signs.recent) < WINDOW:  # `_spike` has taken the loss in
        return None
    smooth = fmean(signs.recent)
    if math.isinf(signs.best_smooth) or smooth < signs.best_smooth - PLATEAU * abs(signs.best_smooth):
        signs.best_smooth = smooth
        return ""
    return (
        f"plateau: the training loss stays at {smooth:.3g} for many rows of the log; "
        "it has converged, or trainer.lr is too low or too high"
    )


def _overfitting(signs: Signs, kind: str, values: dict[str, float]) -> str | None:
    if kind == "train":
        signs.best_valid |= {k: math.inf for k in values if not k.startswith("_") and k not in signs.best_valid}
        return None
    worse = ""
    for name, best in signs.best_valid.items():
        value = values.get(name, math.inf)
        if best * WORSE < value < math.inf:
            worse = (
                f"overfitting: {name} of held-out utterances is {value:.3g} and was {best:.3g}; stop here, "
                "add data or raise network.dropout"
            )
        signs.best_valid[name] = min(best, value)
    return worse


def _loops(signs: Signs, kind: str, values: dict[str, float]) -> str | None:
    share = values.get("loops")
    if kind != "valid" or share is None:
        return None
    if share < LOOPING:
        return ""
    return f"loops: {share:.0%} of the sampled utterances are stuck; train on, or look at the alignments"


def _skipped(signs: Signs, kind: str, values: dict[str, float]) -> str | None:
    share = values.get("_skipped")
    if kind != "train" or share is None:
        return None
    if share < SKIPPED:
        return ""
    return (
        f"overflow: {share:.0%} of the steps were skipped, their gradients do not fit float16; "
        "set trainer.precision=bfloat16 or lower trainer.lr"
    )


WATCHERS: dict[str, tuple[Watcher, int]] = {
    "dead_codebook": (_dead_codes, 2),
    "saturated_discriminators": (_saturated, 5),
    "loss_spike": (_spike, 1),
    "plateau": (_plateau, 40),
    "overfitting": (_overfitting, 3),
    "loops": (_loops, 3),
    "overflow": (_skipped, 1),
}
"""How many bad rows in a row make a sign. A new sign is one function and one line; they are asked in this order."""
