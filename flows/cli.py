"""The command line. Nothing heavy is imported until a command needs it: `caretta --help` must answer at once."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.core.pipeline import Pipeline, Result

ALL_OK, COULD_NOT_RUN, SOME_FAILED, INTERRUPTED = 0, 1, 3, 130
DEFAULT_CACHE = "artifacts/cache"
"""where the flow engine keeps its records when no route says where the cache is"""


class UserError(ValueError):
    """Something the user gave that cannot be used; the message is one sentence with the mend."""


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 all ok, 3 some failed, 1 could not run (2: argparse's own)."""
    # Start-up is mostly imports of torch, three times as long without bytecode on disk, whatever the environment says.
    sys.dont_write_bytecode = False
    arguments = parser().parse_args(argv)
    try:
        code: int = arguments.command(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _complain("stopped; run it again to go on where it was", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone: nobody to tell
        return COULD_NOT_RUN
    except MemoryError:
        return _complain("out of memory; split the text into smaller files or free memory")
    except ImportError as error:
        return _complain(f"a part of it is not there ({error}); run uv sync")
    except (ValueError, OSError) as error:  # what every error class of the project is, with a sentence as its message
        return _complain(_sentence(error))


def parser() -> argparse.ArgumentParser:
    """Every command with its arguments."""
    top = argparse.ArgumentParser(
        prog="caretta", description="Text to speech as a chain of small models whose every result is kept."
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    say = _command(commands, "say", _say, "speak a text into a sound file")
    say.add_argument("text", nargs="?", help="the text; '-' (or nothing, with a pipe) reads it from standard input")
    say.add_argument("--file", metavar="F", help="read the text from a UTF-8 file")
    say.add_argument("-o", "--output", default="out.wav", help="sound file: .wav, .flac or .ogg (default: out.wav)")
    _synthesis_options(say)

    batch = _command(commands, "batch", _batch, "speak every line of a corpus; goes on where it was")
    batch.add_argument(
        "list", metavar="LIST", help=".txt (a text per line), .jsonl or .csv (id, text, optionally voice)"
    )
    batch.add_argument("--out", required=True, metavar="DIR", help="folder of DIR/<id>.wav and DIR/manifest.jsonl")
    _synthesis_options(batch)

    _command(commands, "voices", _voices, "list the named voices")
    _command(commands, "models", _models, "list the starter models")

    cache = _command(commands, "cache", _cache, "look after the artifact store")
    cache.add_argument("action", choices=["stats", "verify", "gc"], help="count; read and check everything; clean up")
    cache.add_argument("--days", type=float, help="gc: also remove entries older than this")
    _sets(cache)

    prepare = _command(commands, "prepare", _prepare, "make a training corpus")
    prepare.add_argument("config", metavar="CONFIG")
    _sets(prepare)
    train = _command(commands, "train", _train, "train models; resumes")
    train.add_argument("configs", nargs="+", metavar="CONFIG")
    train.add_argument("--minutes", type=float, help="stop cleanly after so many minutes")
    _sets(train)
    evaluate = _command(commands, "evaluate", _evaluate, "measure intelligibility, speed and the rest")
    evaluate.add_argument("config", metavar="CONFIG")
    _sets(evaluate)
    return top


def _command(commands: Any, name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + "."
    )
    command.set_defaults(command=run)
    return command


def _sets(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override, e.g. diffusion.steps=8; repeatable"
    )


def _synthesis_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--voice", default="rms", help="a named voice or a sound file of 1 to 30 s (default: rms)")
    command.add_argument("--preset", help="ultra_fast, fast (default), standard or high_quality")
    command.add_argument("--pipeline", default="tortoise", help="the route (default: tortoise)")
    command.add_argument("--seed", type=int, default=0, help="another seed, another reading (default: 0)")
    command.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    _sets(command)


def _say(arguments: argparse.Namespace) -> int:
    start = time.perf_counter()
    text, output = _text(arguments), Path(arguments.output)
    from flows import outputs
    from stages.core.artifacts import ArtifactStore
    from stages.core.pipeline import Pipeline
    from stages.core.route import load_route
    from stages.core.voices import load_voice

    outputs.check_sound_path(output)
    route = load_route(arguments.pipeline, arguments.preset, arguments.set)
    voice = load_voice(arguments.voice)
    pipeline, store = Pipeline(route), ArtifactStore(route.cache.dir)
    with _progress("sentences") as progress:
        (result,) = pipeline.run([text], voice, arguments.seed, store, progress)
    if result.audio is not None:
        outputs.write_sound(output, result.audio)
    report = _say_report(pipeline, result, time.perf_counter() - start, arguments)
    _tell(report, result, arguments.json)
    if result.audio is None:
        return _complain(result.error or "nothing was spoken")
    return SOME_FAILED if result.error else ALL_OK


def _say_report(pipeline: Pipeline, result: Result, seconds: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """What `--json` prints; `seconds` is wall time from the command's start, `rtf` the stages' own, loading apart."""
    from flows import outputs

    report = pipeline.report
    silent = result.audio is None
    items = max(1, len(result.sentences) + len(result.failed))
    failed = items if silent else len(result.failed)
    audio_seconds = outputs.duration(result.audio) if result.audio else 0.0
    work = sum(report.stage_seconds.values())
    return {
        "items": items, "ok": items - failed, "failed": failed,
        "stage_calls": report.stage_calls, "cache_hits": report.cache_hits,
        "seconds": round(seconds, 3), "stage_seconds": {k: round(v, 3) for k, v in report.stage_seconds.items()},
        "load_seconds": round(report.load_seconds, 3), "audio_seconds": round(audio_seconds, 3),
        "rtf": round(work / audio_seconds, 4) if audio_seconds else None,
        "scores": outputs.scores(result), "faults": result.faults, "unspoken": list(result.unspoken),
        "errors": [{"text": text, "error": error} for text, error in result.failed],
        "seed": arguments.seed, "voice": arguments.voice, "preset": pipeline.route.preset,
        "output": None if silent else arguments.output, "error": result.error,
    }  # fmt: skip


def _tell(report: dict[str, Any], result: Result, as_json: bool) -> None:
    """One line of what was done (or the JSON object), and on stderr what was not spoken."""
    for text, error in result.failed:
        print(f"caretta: not spoken: {text[:60]!r}: {error}", file=sys.stderr)
    if result.unspoken and result.audio is not None:
        pieces = list(dict.fromkeys(result.unspoken))
        more = f" and {len(pieces) - 10} more" if len(pieces) > 10 else ""
        print(f"caretta: no spoken form for {', '.join(ascii(p[:40]) for p in pieces[:10])}{more}", file=sys.stderr)
    if as_json:
        print(json.dumps(report))
    elif result.audio is not None:
        faults = f"; faults: {', '.join(report['faults'])}" if report["faults"] else ""
        print(f"{report['output']}: {report['audio_seconds']:.2f} s of speech in {report['seconds']:.1f} s{faults}")


def _text(arguments: argparse.Namespace) -> str:
    """The text to speak, from the argument, a file or standard input. Raises UserError when there is none or two."""
    given = arguments.text
    if arguments.file is not None and given is not None:
        raise UserError("give the text or --file, not both")
    if arguments.file is not None:
        text = _decode(_read(Path(arguments.file)), arguments.file)
    elif given == "-" or (given is None and not sys.stdin.isatty()):
        text = _decode(sys.stdin.buffer.read(), "standard input")
    elif given is None:
        raise UserError('no text; write caretta say "Hello there."')
    else:
        text = given
    if not text.strip():
        raise UserError("the text is empty; give a sentence to speak")
    return text


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name a text file") from None


def _decode(data: bytes, where: str) -> str:
    from flows.corpus import decode

    return decode(data, where)


def _batch(arguments: argparse.Namespace) -> int:
    start = time.perf_counter()
    from flows import batch

    request = batch.Request(
        arguments.list,
        arguments.out,
        arguments.voice,
        arguments.preset,
        arguments.pipeline,
        arguments.seed,
        tuple(arguments.set),
    )
    job = batch.prepare(request)
    if job.open_units:
        report = _engine(job)
    else:
        job.pipeline.count_cached(list({u.key: u for document in job.documents for u in document.units}.values()))
        report = batch.finish(job)  # everything is in the store: no engine starts, no model is loaded
    report["seconds"] = round(time.perf_counter() - start, 3)
    for name, error in list(report["errors"].items())[:20]:
        print(f"caretta: {name}: {error}", file=sys.stderr)
    print(f"{report['items']} lines = {report['ok']} ok + {report['failed']} failed; {report['audio_seconds']:.1f} s "
          f"of speech in {report['seconds']:.1f} s; {job.out / 'manifest.jsonl'}")  # fmt: skip
    if arguments.json:
        print(json.dumps(report))
    return SOME_FAILED if report["failed"] else ALL_OK


def _engine(job: Any) -> dict[str, Any]:
    """Runs the Prefect flow with its embedded server (or the one the user's environment names)."""
    from flows.runtime import engine

    print(f"caretta: {len(job.open_units)} sentences to compute; starting the flow engine", file=sys.stderr)
    with engine(job.store.folder), _progress("sentences") as job.progress:
        from flows.synthesize import run

        return run(job)


def _voices(arguments: argparse.Namespace) -> int:
    from stages.core.voices import list_voices

    for voice in list_voices():
        print(f"{voice.name:12} {voice.licence:24} {voice.description}")
    return ALL_OK


def _models(arguments: argparse.Namespace) -> int:
    from stages.core import checkpoint

    folder = checkpoint.ROOT / "artifacts" / "starter"
    folders = sorted(p.parent for p in folder.glob(f"*/{checkpoint.META}"))
    for path in folders:
        meta = checkpoint.read_meta(path)
        size = sum(p.stat().st_size for p in path.iterdir()) / 1e6
        metrics = json.dumps(meta.get("metrics", {}))
        print(f"{path.name:16} stage {meta.get('stage', '?')}, step {meta.get('step', '?')}, {size:.1f} MB, "
              f"licence {meta.get('licence', '?')}, metrics {metrics}")  # fmt: skip
    if not folders:
        raise UserError(f"{folder}: no models there; train them with caretta train configs/train/starter/…")
    return ALL_OK


def _cache(arguments: argparse.Namespace) -> int:
    from stages.core.artifacts import ArtifactStore
    from stages.core.config import build, near_miss, parse_set
    from stages.core.route import Cache

    sets = parse_set(arguments.set)
    for key in sets:
        if key != "cache":
            raise UserError(f"--set: unknown key {key!r}{near_miss(key, ['cache'])}")
    store = ArtifactStore(build(Cache, sets.get("cache", {}), "--set cache").dir)
    if arguments.action == "stats":
        found = store.stats()
        print(
            f"{found['folder']}: {found['entries']} entries, {found['bytes'] / 1e6:.1f} MB, "
            f"{found['quarantined']} in quarantine"
        )
        return ALL_OK
    if arguments.action == "verify":
        sound, damaged = store.verify()
        print(f"{store.folder}: {sound} sound, {len(damaged)} damaged{' (moved to quarantine)' if damaged else ''}")
        return SOME_FAILED if damaged else ALL_OK
    count, freed = store.gc(arguments.days)
    print(f"{store.folder}: {count} files removed, {freed / 1e6:.1f} MB freed")
    return ALL_OK


def _prepare(arguments: argparse.Namespace) -> int:
    from flows.runtime import engine

    with engine(Path(DEFAULT_CACHE)):
        from flows.prepare import main as prepare

        return prepare(arguments.config, arguments.set) or ALL_OK


def _train(arguments: argparse.Namespace) -> int:
    from flows.runtime import engine

    with engine(Path(DEFAULT_CACHE)):
        from flows.train import main as train

        return train(arguments.configs, arguments.set, arguments.minutes) or ALL_OK


def _evaluate(arguments: argparse.Namespace) -> int:
    from flows.evaluate import main as evaluate

    return evaluate(arguments.config, arguments.set) or ALL_OK


class _progress:
    """A progress bar on stderr when it is a terminal; otherwise silent. As a context it gives the function to call."""

    def __init__(self, unit: str):
        self.unit = unit
        self.bar: Any = None
        self.task: Any = None

    def __enter__(self) -> Callable[[int, int], None]:
        return self.advance

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def advance(self, done: int, total: int) -> None:
        """`done` more are finished of `total`."""
        if total < 2 or not sys.stderr.isatty():
            return
        if self.bar is None:
            from rich.console import Console
            from rich.progress import Progress

            self.bar = Progress(console=Console(stderr=True), transient=True)
            self.task = self.bar.add_task(self.unit, total=total)
            self.bar.start()
        self.bar.advance(self.task, done)


def _complain(sentence: str, code: int = COULD_NOT_RUN) -> int:
    print(f"caretta: {sentence}", file=sys.stderr)
    return code


def _sentence(error: Exception) -> str:
    """An error's message on one line; an error of the system names its file."""
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror}; mend that and run again"
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
