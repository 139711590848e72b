"""The preparation flow: a corpus that is read, cleaned and aligned, or rendered; then its features. It resumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.runtime import call, drain_flow, progress_bars
from stages.core.audio import AudioSpec
from stages.data.features import build_features, load_features
from stages.data.prepare import ALL_OK, Account, Preparation, read_job


@task(name="render", cache_policy=NO_CACHE, persist_result=False)
def render(config: str, sets: list[str]) -> str:
    """Renders the corpus; returns the path of its manifest."""
    job = read_job(config, sets)
    assert job.corpus.render is not None
    with progress_bars() as progress:
        return str(job.corpus.render(job.corpus.config, progress))


@task(name="features", cache_policy=NO_CACHE, persist_result=False)
def features(manifest: str) -> str:
    """Computes the features of a manifest; returns their folder."""
    with progress_bars() as progress:
        return str(build_features(manifest, AudioSpec(), progress=lambda done, all_: progress("features", done, all_)))


@task(name="clean", cache_policy=NO_CACHE, persist_result=False)
def clean(steps: Preparation) -> int:
    """Makes the clips and the report; returns the utterances that are kept."""
    with progress_bars() as progress:
        return steps.clean(progress)


@task(name="align", cache_policy=NO_CACHE, persist_result=False)
def align(steps: Preparation) -> int:
    """Finds phone timings and writes the manifest; returns the utterances in it."""
    with progress_bars() as progress:
        return steps.align(progress)


@task(name="features", cache_policy=NO_CACHE, persist_result=False)
def close(steps: Preparation) -> Account:
    """Computes the features and closes the account."""
    with progress_bars() as progress:
        return steps.features(progress)


@flow(name="prepare", persist_result=False, log_prints=False)
def prepare(config: str, sets: list[str] | None = None) -> str | dict[str, Any]:
    """Makes a training corpus: audio, manifest and features.

    Args:
        config: a file of configs/data/
        sets: overrides, each key=value

    Returns:
        the account of a corpus that was read, as stages/data/prepare.py has it; the folder of the features of one that
        was rendered.
    """
    tasks = 0
    try:
        job = read_job(config, sets or [])
        if job.config is None:
            tasks = 1
            manifest = render(config, sets or [])
            tasks = 2
            return features(manifest)
        steps = Preparation(job)
        account = steps.finished()
        if account is None:
            tasks = 1
            clean(steps)
            tasks = 2
            align(steps)
            tasks = 3
            account = close(steps)
        return asdict(account)
    finally:
        drain_flow(tasks)


def main(config_path: str, sets: Sequence[str] = ()) -> int:
    """What `caretta prepare` does; 0 when all is there, 3 when some were dropped, 1 when nothing is usable.

    Raises:
        ConfigError: a bad config, before any work; a corpus or a program that cannot be used.
    """
    job = read_job(config_path, sets)
    if job.config is None:
        return _tell_features(str(call(prepare, config_path, list(sets))))
    found = call(prepare, config_path, list(sets))
    account = Account(**found | {"notes": tuple(found["notes"])})
    print("\n".join(account.told()))
    return account.code


def _tell_features(folder: str) -> int:
    corpus = load_features(folder)
    hours = len(corpus.audio) / corpus.spec.sample_rate / 3600
    print(f"{folder}: {len(corpus)} utterances, {hours:.2f} h, speakers {', '.join(corpus.speakers)}")
    return ALL_OK
