"""The starter corpus: plain English spoken by flite voices, with the phone timings that flite prints.

`texts` decides what is said, `render` has flite say it. Both are deterministic; rendering resumes where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from stages.core.checkpoint import locate
from stages.core.config import ConfigError
from stages.data.corpora import grammar, wordnet

SAMPLE_BYTES, RATE, HEADER = 2, 16000, 44


@dataclass(frozen=True)
class PseudoSpeaker:
    """A flite voice with another vocal tract: said `rate` times slower, then played `rate` times faster.

    Pitch and formants are multiplied by `rate`, the tempo stays (Jaitly & Hinton 2013 shift the mel axis alike).
    """

    voice: str
    rate: float
    hours: float = 0.25

    def __post_init__(self) -> None:
        if not 0.7 <= self.rate <= 1.4:
            raise ValueError(f"rate must be 0.7 to 1.4, not {self.rate}: beyond, it is no human voice")


@dataclass(frozen=True)
class StarterCorpusConfig:
    """`configs/data/starter.yaml`"""

    out: str = "artifacts/data/starter"
    wordnet: str = "/usr/share/wordnet"
    hours: dict[str, float] = field(default_factory=lambda: {"rms": 8.2, "slt": 4.2, "awb": 4.2})
    """hours of speech to render, by flite voice"""
    pseudo: dict[str, PseudoSpeaker] = field(default_factory=dict)
    """further speakers, by name"""
    seed: int = 1
    workers: int = 2
    grammar_share: float = 0.18
    joined_share: float = 0.15
    """share of sentences made of two examples, which gives lengths of 12-25 words"""
    definition_share: float = 0.12
    exclude: tuple[str, ...] = ("configs/evaluate",)
    """files or folders of evaluation sentences (one a line) that must not be rendered"""


CorpusConfig = StarterCorpusConfig


def text_key(text: str) -> str:
    """What two texts share when they say the same: letters and digits, lower case, as 16 hex digits of sha256."""
    return hashlib.sha256("".join(c for c in text.lower() if c.isalnum()).encode()).hexdigest()[:16]


def excluded_keys(paths: tuple[str, ...]) -> set[str]:
    """Keys of every line of the evaluation sentence files (`*.txt`) under `paths`.

    Raises:
        ConfigError: a path that is not there, for what it should keep out would be rendered.
    """
    files: list[Path] = []
    for path in map(locate, paths):
        if not path.exists():
            raise ConfigError(f"exclude: {path} is not there; name files or folders of evaluation sentences")
        files += [path] if path.is_file() else sorted(path.glob("*.txt"))
    return {text_key(line) for file in files for line in file.read_text(encoding="utf-8").splitlines() if line.strip()}


def texts(config: StarterCorpusConfig, voice: str) -> Iterator[str]:
    """An endless-enough, deterministic stream of different sentences for one voice, evaluation sentences left out."""
    rng = random.Random(f"{config.seed} {voice}")
    glosses = wordnet.read_glosses(config.wordnet)
    plain = wordnet.examples(glosses)
    defined = wordnet.definitions(glosses)
    made = grammar.sentences(20000, config.seed)
    for pool in (plain, defined, made):
        rng.shuffle(pool)
    short = [t for t in plain if 4 <= len(t.split()) <= 12]
    seen = excluded_keys(config.exclude)
    while plain and defined and made:
        draw = rng.random()
        if draw < config.grammar_share:
            text = made.pop()
        elif draw < config.grammar_share + config.definition_share:
            text = wordnet.sentence(defined.pop())
        elif draw < config.grammar_share + config.definition_share + config.joined_share:
            first, second = rng.sample(short, 2)
            text = wordnet.sentence(f"{first}{rng.choice([', and ', ', but ', ' when ', ' because ', '; '])}{second}")
        else:
            text = wordnet.sentence(plain.pop())
        key = text_key(text)
        if key not in seen:
            seen.add(key)
            yield text


def parse_timings(line: str) -> list[tuple[str, float]]:
    """`pau:0.209 ao:0.306` -> [("pau", 0.209), …]: each phone and its end in seconds."""
    pairs = (item.rsplit(":", 1) for item in line.split())
    return [(phone, float(end)) for phone, end in pairs]


def speak(voice: str, text: str, path: Path, rate: float = 1.0) -> list[tuple[str, float]]:
    """Has flite say `text` into `path` (16 kHz mono wav, written then renamed) and returns the phone timings.

    Args:
        rate: of a PseudoSpeaker.

    Raises:
        ConfigError: flite is not installed.
        RuntimeError: flite failed on this text.
    """
    partial = path.with_name(f".{path.name}.partial")
    stretch = ["--setf", f"duration_stretch={rate}"] if rate != 1.0 else []
    try:
        done = subprocess.run(
            ["flite", "-voice", voice, *stretch, "-psdur", "-t", text, "-o", str(partial)],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise ConfigError("flite is not installed; run `apt-get install flite`") from None
    if done.returncode != 0 or not partial.exists():
        raise RuntimeError(f"flite failed on {text!r}: {done.stderr.strip() or done.returncode}")
    if rate != 1.0:
        _play_faster(partial, rate)
    os.replace(partial, path)
    return [(phone, round(end / rate, 4)) for phone, end in parse_timings(done.stdout)]


def _play_faster(path: Path, rate: float) -> None:
    import librosa
    import soundfile

    samples, sample_rate = soundfile.read(path, dtype="float32")
    # flite's 16 kHz taken as 16 kHz times `rate`, brought back to 16 kHz
    shifted = librosa.resample(samples, orig_sr=sample_rate * rate, target_sr=sample_rate, res_type="soxr_hq")
    soundfile.write(path, shifted.clip(-1, 1), sample_rate, subtype="PCM_16", format="WAV")


def utterance(config: StarterCorpusConfig, speaker: str, text: str) -> dict[str, object]:
    """Renders one sentence and describes it as a manifest row."""
    name = text_key(text)
    path = Path(config.out) / "audio" / speaker / f"{name}.wav"
    pseudo = config.pseudo.get(speaker, PseudoSpeaker(speaker, 1.0))
    phones = speak(pseudo.voice, text, path, pseudo.rate)
    duration = (path.stat().st_size - HEADER) / SAMPLE_BYTES / RATE
    return {
        "id": f"{speaker}-{name}",
        "audio": str(path.relative_to(config.out)),
        "text": text,
        "speaker": speaker,
        "duration": round(duration, 4),
        "phones": phones,
    }


def read_journal(path: Path) -> list[dict[str, object]]:
    """Rows already rendered; a last line cut short by a crash is dropped and rendered again."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def render(config: StarterCorpusConfig, progress: object = None) -> Path:
    """Renders every voice up to its hours and writes `manifest.jsonl`; returns its path.

    Args:
        progress: called as progress(voice, hours_done, hours_wanted) now and then.
    """
    out = Path(config.out)
    manifest: list[dict[str, object]] = []
    for voice, hours in (config.hours | {name: p.hours for name, p in config.pseudo.items()}).items():
        (out / "audio" / voice).mkdir(parents=True, exist_ok=True)
        manifest += _render_voice(config, voice, hours, out / f"journal-{voice}.jsonl", progress)
    path = out / "manifest.jsonl"
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(row) + "\n" for row in manifest), encoding="utf-8")
    os.replace(partial, path)
    (out / "texts.sha256").write_text("".join(sorted({text_key(str(r["text"])) + "\n" for r in manifest})))
    return path


def _render_voice(
    config: StarterCorpusConfig, voice: str, hours: float, journal: Path, progress: object
) -> list[dict[str, object]]:
    rows = read_journal(journal)
    done = {text_key(str(row["text"])): row for row in rows}
    partial = journal.with_suffix(".partial")
    partial.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    os.replace(partial, journal)  # a journal cut short by a crash ends in a whole line again
    kept: list[dict[str, object]] = []
    total, stream = 0.0, texts(config, voice)
    with ThreadPoolExecutor(config.workers) as pool, journal.open("a", encoding="utf-8") as log:
        while total < hours * 3600:
            block = [text for text, _ in zip(stream, range(64), strict=False)]
            if not block:
                raise ConfigError(f"the text source ran out after {total / 3600:.2f} of {hours} hours of {voice}")
            fresh = [t for t in block if text_key(t) not in done]
            for row in pool.map(lambda t: utterance(config, voice, t), fresh):
                log.write(json.dumps(row) + "\n")
                done[text_key(str(row["text"]))] = row
            log.flush()
            for text in block:
                if total < hours * 3600:
                    kept.append(done[text_key(text)])
                    total += float(done[text_key(text)]["duration"])  # type: ignore[arg-type]
            if progress is not None:
                progress(voice, total / 3600, hours)  # type: ignore[operator]
    return kept
