"""The preparation flow: a corpus rendered from text, then its features. Both go on where they were."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.runtime import call, drain_flow, progress_bars
from stages.core.audio import AudioSpec
from stages.data.corpora import read_corpus
from stages.data.features import build_features, load_features


@task(name="render", cache_policy=NO_CACHE, persist_result=False)
def render(config: str, sets: list[str]) -> str:
    """Renders the corpus; returns the path of its manifest."""
    job = read_corpus(config, sets)
    with progress_bars() as progress:
        return str(job.render(job.config, progress))


@task(name="features", cache_policy=NO_CACHE, persist_result=False)
def features(manifest: str) -> str:
    """Computes the features of a manifest; returns their folder."""
    with progress_bars() as progress:
        return str(build_features(manifest, AudioSpec(), progress=lambda done, all_: progress("features", done, all_)))


@flow(name="prepare", persist_result=False, log_prints=False)
def prepare(config: str, sets: list[str] | None = None) -> str:
    """Makes a training corpus: audio, manifest and features.

    Args:
        config: a file of configs/data/
        sets: overrides, each key=value

    Returns:
        folder of the features.
    """
    try:
        return features(render(config, sets or []))
    finally:
        drain_flow(1)


def main(config_path: str, sets: Sequence[str] = ()) -> int:
    """What `caretta prepare` does; 0 when all is there. Raises ConfigError for a bad config, before any work."""
    read_corpus(config_path, sets)
    folder = call(prepare, config_path, list(sets))
    corpus = load_features(folder)
    hours = len(corpus.audio) / corpus.spec.sample_rate / 3600
    print(f"{folder}: {len(corpus)} utterances, {hours:.2f} h, speakers {', '.join(corpus.speakers)}")
    return 0
