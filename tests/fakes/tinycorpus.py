"""A teacher that needs no flite and a dictionary that needs no WordNet: harmonic tones per phone, with true timings."""

import functools
import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
PITCH = {"rms": 110.0, "slt": 190.0, "awb": 130.0}
WORDS = (
    "the old ferry leaves every morning while small boats wait near a quiet harbor wall with seven red lamps".split()
)


def phones_of(text):
    """Phones of a text: a letter is a phone, a word boundary nothing, both ends a pause."""
    from stages.core.symbols import PHONES

    letters = [c for c in text.lower() if c.isalpha()]
    return ["pau", *(PHONES[(ord(c) - ord("a")) * 7 % len(PHONES)] for c in letters), "pau"]


@functools.cache
def tone(phone, pitch, samples):
    """(samples,) harmonics of `pitch` under two formants that belong to the phone; silence for a pause."""
    if phone == "pau":
        return np.zeros(samples)
    digest = hashlib.sha256(phone.encode()).digest()
    centres = 300 + digest[0] * 3.0, 1200 + digest[1] * 8.0
    time = np.arange(samples) / RATE
    out = np.zeros(samples)
    for k in range(1, int(6000 / pitch)):
        gain = sum(np.exp(-(((k * pitch - c) / 250) ** 2)) for c in centres)
        out += gain * np.sin(2 * np.pi * k * pitch * time)
    return out * np.hanning(samples) ** 0.25


def speak(voice, text, path, rate=1.0):
    """What `stages.data.corpora.starter.speak` does: writes a wav and returns the phones with their ends in seconds."""
    pieces, timings, end = [], [], 0
    for phone in phones_of(text):
        samples = (40 + hashlib.sha256(phone.encode()).digest()[2] % 40) * RATE // 1000
        pieces.append(tone(phone, PITCH[voice], samples))
        end += samples
        timings.append((phone, round(end / RATE, 3)))
    sound = np.concatenate(pieces)
    soundfile.write(
        str(path), (0.3 * sound / np.abs(sound).max()).astype(np.float32), RATE, subtype="PCM_16", format="WAV"
    )
    return timings


def sentence(number):
    """A sentence of 3 to 6 words, its own for every number."""
    rng = np.random.default_rng(number)
    words = rng.choice(WORDS, int(rng.integers(3, 7)))
    return " ".join(words).capitalize() + "."


def write(folder, count=24, voices=("rms", "slt")):
    """Writes `count` utterances a voice and a manifest into `folder`; the last of each is held out. -> manifest"""
    rows = []
    for voice in voices:
        (folder / "audio" / voice).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            text = sentence(i)
            path = folder / "audio" / voice / f"{i}.wav"
            phones = speak(voice, text, path)
            held = 0 if i == count - 1 else 0xF0000000 + i
            rows.append({"id": f"{voice}-{held:08x}{i:08x}", "audio": str(path.relative_to(folder)), "text": text,
                         "speaker": voice, "phones": phones,
                         "duration": soundfile.info(str(path)).duration})  # fmt: skip
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


def write_wordnet(folder, examples=200):
    """Writes WordNet data files with so many example sentences and definitions into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    head = "  1 This is the licence\n"
    noun = [
        f"{i:08d} 03 n 01 {WORDS[i % len(WORDS)]} 0 000 | "
        f"a {' '.join((WORDS + WORDS)[i % 17 : i % 17 + 3 + i % 4])} of "
        f'number {"abcdefghij"[i % 10]}{"klmnopqrst"[i // 10 % 10]}; "{sentence(1000 + i)[:-1]}"'
        for i in range(examples)
    ]
    (folder / "data.noun").write_text(head + "\n".join(noun) + "\n")
    for pos in ("verb", "adj", "adv"):
        (folder / f"data.{pos}").write_text(head)
    return folder


def write_flite(folder):
    """Writes an executable `flite` that speaks like `speak` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    root = Path(__file__).resolve().parents[2]
    path = folder / "flite"
    path.write_text(f"#!{sys.executable}\nimport sys\nsys.path[:0] = {[str(root), str(root / 'tests' / 'fakes')]!r}\n"
                    "from tinycorpus import flite\nflite(sys.argv)\n")  # fmt: skip
    os.chmod(path, 0o755)
    return path


def flite(argv):
    """The command line of flite, as far as the starter corpus uses it."""
    option = dict(zip(argv, argv[1:], strict=False))
    print(" ".join(f"{p}:{end:.3f}" for p, end in speak(option["-voice"], option["-t"], option["-o"])))
