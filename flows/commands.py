"""What the commands do: read what was asked, call the stages or a flow, tell what came of it.

Imports are inside the commands: each loads what it needs and no more.
"""

from __future__ import annotations

import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.progress import Progress

if TYPE_CHECKING:
    from flows.batch import Job, Request
    from stages.core.artifacts import ArtifactStore
    from stages.core.lineage import Utterance
    from stages.core.pipeline import Pipeline, Result

ALL_OK, COULD_NOT_RUN, SOME_FAILED = 0, 1, 3
ENGINE_PAYS = 64
"""open sentences from which the flow engine's start is worth its seconds"""
DEFAULT_CACHE = "artifacts/cache"
"""where the flow engine keeps its records when the cache is not a folder of this machine"""


class UserError(ValueError):
    """Something the user gave that cannot be used; the message is one sentence with the mend."""


def say(arguments: Namespace) -> int:
    """`caretta say`: in-process, without Prefect."""
    start = time.perf_counter()
    text, output = _text(arguments), Path(arguments.output)
    from flows import outputs
    from stages.core.artifacts import ArtifactStore
    from stages.core.pipeline import Pipeline
    from stages.core.route import load_route, voice_rate
    from stages.core.voices import load_voice

    outputs.check_sound_path(output)
    route = load_route(arguments.pipeline, arguments.preset, arguments.set)
    voice = load_voice(arguments.voice, voice_rate(route))
    pipeline, store = Pipeline(route), ArtifactStore(route.cache.dir, route.cache.options)
    outputs.check_route(output.suffix, route)
    document = pipeline.document(text, voice, arguments.seed)
    with Progress("sentences") as progress:
        pipeline.compute([document], store, lambda units: progress(len(units), len(document.units)))
        result = pipeline.result(document, store)
    if result.audio is not None:
        outputs.write_sound(output, result.audio, tag=f"caretta {document.key}")
    report = _say_report(pipeline, result, time.perf_counter() - start, arguments)
    _tell(report, result, arguments.json)
    if result.audio is None:
        raise UserError(result.error or "nothing was spoken")
    return SOME_FAILED if result.error else ALL_OK


def _say_report(pipeline: Pipeline, result: Result, seconds: float, arguments: Namespace) -> dict[str, Any]:
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


def convert(arguments: Namespace) -> int:
    """`caretta convert`: a sound file in another voice."""
    from flows.convert import main as convert

    convert(arguments)
    return ALL_OK


def _text(arguments: Namespace) -> str:
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


def batch(arguments: Namespace) -> int:
    """`caretta batch`: plans, runs the flow only when something is missing, writes, tells."""
    start = time.perf_counter()
    from flows import batch as batches

    job = batches.prepare(_request(arguments))
    for name in job.choices.outdated:
        print(f"caretta: {name}: its text has changed, so its choice in choices.yaml is dropped", file=sys.stderr)
    if job.open_units and _wants_engine(job):
        report = _engine(job)
    else:
        todo = [document for document, row in zip(job.documents, job.rows, strict=True) if row is None]
        with Progress("sentences") as job.progress:
            job.pipeline.compute(todo, job.store, job.advance)
            report = batches.finish(job)
    report["seconds"] = round(time.perf_counter() - start, 3)
    _tell_batch(report, job, arguments.json)
    return SOME_FAILED if report["failed"] else ALL_OK


def _wants_engine(job: Job) -> bool:
    """Whether Prefect runs it; for a few sentences its start costs more than they do, and nobody watches a server."""
    if job.request.runner != "auto":
        return job.request.runner != "inline"
    return len(job.open_units) >= ENGINE_PAYS or "PREFECT_API_URL" in os.environ


def _request(arguments: Namespace) -> Request:
    """What `batch` and `plan` ask; `plan` has fewer options."""
    from flows.batch import Request

    return Request(
        corpus=arguments.list,
        out=arguments.out,
        voice=arguments.voice,
        preset=arguments.preset,
        pipeline=arguments.pipeline,
        seed=arguments.seed,
        sets=tuple(arguments.set),
        format=arguments.format,
        book=arguments.book,
        exports=tuple(getattr(arguments, "export", ())),
        redo=tuple(getattr(arguments, "redo", ())),
        picks=tuple(getattr(arguments, "pick", ())),
        runner=getattr(arguments, "runner", "inline"),
        address=getattr(arguments, "address", None),
    )


def _engine(job: Job) -> dict[str, Any]:
    """Runs the Prefect flow with its embedded server (or the one the user's environment names)."""
    from flows.runtime import engine

    print(f"caretta: {len(job.open_units)} sentences to compute; starting the flow engine", file=sys.stderr)
    with engine(job.store.local_folder or Path(DEFAULT_CACHE)), Progress("sentences") as job.progress:
        from flows.synthesize import run

        return run(job)


def _tell_batch(report: dict[str, Any], job: Job, as_json: bool) -> None:
    for name, error in list(report["errors"].items())[:20]:
        print(f"caretta: {name}: {error}", file=sys.stderr)
    if len(report["errors"]) > 20:
        print(f"caretta: and {len(report['errors']) - 20} more; the manifest has every reason", file=sys.stderr)
    for kind, exported in report["exported"].items():
        for name, reason in list(exported["skipped"].items())[:20]:
            print(f"caretta: {kind}: {name} left out: {reason}", file=sys.stderr)
        if len(exported["skipped"]) > 20:
            print(f"caretta: {kind}: and {len(exported['skipped']) - 20} more", file=sys.stderr)
    print(f"{report['items']} lines = {report['ok']} ok + {report['failed']} failed; {report['audio_seconds']:.1f} s "
          f"of speech in {report['seconds']:.1f} s; {job.out / 'manifest.jsonl'}")  # fmt: skip
    if as_json:
        print(json.dumps(report))


def plan(arguments: Namespace) -> int:
    """`caretta plan`: what a batch would do, without loading a model or writing anything."""
    from flows import batch as batches
    from flows.planning import forecast

    job = batches.plan(_request(arguments))
    found = forecast(job)
    if arguments.json:
        print(json.dumps(found.plain()))
        return ALL_OK
    print("\n".join(found.told()))
    return ALL_OK


def show(arguments: Namespace) -> int:
    """`caretta show`: the lineage of an utterance, or why two differ."""
    from stages.core import lineage

    if (arguments.target is None) == (arguments.diff is None):
        raise UserError("name one sound file or id, or two with --diff A B")
    store = _store(arguments.set)
    targets = arguments.diff or [arguments.target]
    found = [_utterance(target, Path(arguments.out), store) for target in targets]
    if arguments.json:
        records = [utterance.sentences for utterance in found]
        print(json.dumps(records if arguments.diff else records[0]))
    elif arguments.diff:
        print(lineage.difference(*found))
    else:
        print("\n\n".join("\n".join(lineage.told(record)) for record in found[0].sentences))
    return ALL_OK


def _utterance(target: str, out: Path, store: ArtifactStore) -> Utterance:
    """What is known of a sound file, a key, or an id of an output folder. Raises UserError, OutputError."""
    from stages.core.lineage import utterance

    found = utterance(_key(target, out), store)
    if found is None:
        raise UserError(
            f"{target}: {store.where} has no record of it; name the store it was made with: --set cache.dir=PATH"
        )
    return found


def _key(target: str, out: Path) -> str:
    from flows import outputs
    from flows.batch import read_manifest

    if Path(target).is_file():
        word, _, key = (outputs.read_tag(Path(target)) or "").partition(" ")
        if word != "caretta":
            raise UserError(f"{target}: does not say where it came from; caretta did not write it")
        return key
    if len(target) == 64 and all(c in "0123456789abcdef" for c in target):
        return target
    row = read_manifest(out).get(target)
    if row is None:
        raise UserError(
            f"{target}: is neither a sound file nor an id in {out / 'manifest.jsonl'}; name one (--out DIR)"
        )
    if "key" not in row:
        raise UserError(f"{target}: was not spoken: {row.get('error')}")
    return str(row["key"])


def _store(sets: Sequence[str]) -> ArtifactStore:
    """The store that `--set cache.…` names. Raises UserError for any other key."""
    from stages.core.artifacts import ArtifactStore
    from stages.core.config import build, near_miss, parse_set
    from stages.core.route import Cache

    values = parse_set(sets)
    for key in values:
        if key != "cache":
            raise UserError(f"--set: unknown key {key!r}{near_miss(key, ['cache'])}")
    cache = build(Cache, values.get("cache", {}), "--set cache")
    return ArtifactStore(cache.dir, cache.options)


def voices(arguments: Namespace) -> int:
    from stages.core.voices import list_voices

    for voice in list_voices():
        print(f"{voice.name:12} {voice.licence:24} {voice.description}")
    return ALL_OK


def models(arguments: Namespace) -> int:
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


def cache(arguments: Namespace) -> int:
    """`caretta cache`: counts, verifies or cleans the store."""
    store = _store(arguments.set)
    if arguments.action == "stats":
        found = store.stats()
        print(
            f"{store.where}: {found['entries']} entries, {found['bytes'] / 1e6:.1f} MB, "
            f"{found['quarantined']} in quarantine"
        )
        return ALL_OK
    if arguments.action == "verify":
        sound, damaged = store.verify()
        print(f"{store.where}: {sound} sound, {len(damaged)} damaged{' (moved to quarantine)' if damaged else ''}")
        return SOME_FAILED if damaged else ALL_OK
    count, freed = store.gc(arguments.days)
    print(f"{store.where}: {count} files removed, {freed / 1e6:.1f} MB freed")
    return ALL_OK


def prepare(arguments: Namespace) -> int:
    """`caretta prepare`: starts the flow engine only when something is missing."""
    from flows.runtime import engine
    from stages.data.prepare import Preparation, read_job

    job = read_job(arguments.config, arguments.set)
    account = Preparation(job).finished() if job.config else None
    if account is not None:
        print("\n".join(account.told()))
        return account.code
    with engine(Path(DEFAULT_CACHE)):
        from flows.prepare import main as prepare

        return prepare(arguments.config, arguments.set) or ALL_OK


def export(arguments: Namespace) -> int:
    """`caretta export`: a prepared corpus in the layout of another program."""
    from flows.exports import main as export

    return export(arguments.manifest, arguments.to, arguments.out, arguments.speaker)


def train(arguments: Namespace) -> int:
    from flows.runtime import engine

    with engine(Path(DEFAULT_CACHE)):
        from flows.train import main as train

        sets = [f"init_from={json.dumps(arguments.init_from)}"] if arguments.init_from else []
        return train(arguments.configs, [*arguments.set, *sets], arguments.minutes) or ALL_OK


def evaluate(arguments: Namespace) -> int:
    from flows.evaluate import main as evaluate

    return evaluate(arguments.config, arguments.set) or ALL_OK
