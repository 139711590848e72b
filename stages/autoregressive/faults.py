"""What can be wrong with a sampled candidate: stuck, cut, or shorter than its phones can be said."""

from __future__ import annotations

from stages.core import symbols

LOOP_PERIOD, LOOP_REPEATS, LOOP_SPAN = 24, 4, 20
"""A loop is a stretch of at least LOOP_SPAN codes, of period up to LOOP_PERIOD, heard LOOP_REPEATS times or more."""
LONGEST_PHONE = 24
"""codes (0.77 s at 31.25 codes/s) on one phone beyond which the decoder is stuck"""


def find_faults(codes: list[int], places: list[int], phones: list[int], stopped: bool) -> tuple[str, ...]:
    """What is wrong with a candidate: `truncated` (the guard ended it, or it left phones unsaid), `loop`, `too_short`.

    Args:
        places: index into `phones` of each code.
    """
    pause = symbols.ids(["pau"])[0]
    faults = []
    sounding = sum(p != pause for p in phones)
    if not stopped or (places and places[-1] < len(phones) - 3):
        faults.append("truncated")
    voiced = [c for c, place in zip(codes, places, strict=True) if phones[place] != pause]
    if longest_run(places, {i for i, p in enumerate(phones) if p == pause}) > LONGEST_PHONE or has_loop(voiced):
        faults.append("loop")
    if len(voiced) < sounding:  # under one code (32 ms) a phone
        faults.append("too_short")
    return tuple(faults)


def longest_run(places: list[int], free: set[int]) -> int:
    """The most codes in a row on one phone that is not in `free`."""
    longest = run = 0
    for i, place in enumerate(places):
        run = run + 1 if i and place == places[i - 1] else 1
        longest = max(longest, 0 if place in free else run)
    return longest


def has_loop(codes: list[int]) -> bool:
    """Whether some stretch of the codes is one short pattern again and again."""
    for period in range(1, LOOP_PERIOD + 1):
        need = max(LOOP_SPAN, period * LOOP_REPEATS) - period
        run = 0
        for now, before in zip(codes[period:], codes, strict=False):
            run = run + 1 if now == before else 0
            if run >= need:
                return True
    return False
