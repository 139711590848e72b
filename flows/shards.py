"""Sends shards through the stages: a Prefect task per stage per shard, each shard going on as soon as it can.

Keys travel between tasks, never arrays: values go through the artifact store. Prefect's own result cache is off.
"""

from __future__ import annotations

import queue
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed, Crashed, State

from flows.batch import Job
from flows.places import Devices, Place
from flows.workers import WorkerDied
from stages.core import execute
from stages.core.artifacts import ArtifactStore
from stages.core.pipeline import shard_size
from stages.core.reports import StageReport
from stages.core.route import Route
from stages.core.units import Stop, Unit
from stages.core.units import shards as groups


class Work:
    """What a task does: one stage on some sentences. A plain class: Prefect does not walk through its keys."""

    def __init__(
        self,
        route: Route,
        index: int,
        units: Sequence[Unit],
        store: ArtifactStore,
        stopped: dict[str, Stop],
        devices: Devices,
    ):
        self.route, self.index, self.units, self.store = route, index, units, store
        self.stopped, self.devices = stopped, devices

    def run(self) -> StageReport:
        """Computes what the store lacks; waits, without a slot, for what another run is computing."""
        return execute.run_until_done(self._once, self.units)

    def _once(self, units: Sequence[Unit]) -> StageReport:
        spec = self.route.nodes[self.index].spec
        arguments = (self.route, self.index, units, self.store, self.stopped)
        report: StageReport = self.devices.run(spec.device, spec.memory_gb, execute.run_stage, *arguments)
        return report


def _worth_another_try(task: Any, task_run: Any, state: State) -> bool:
    """A disk or a network that hiccuped is, a bad configuration never; a worker's death is once."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, OSError) and not (isinstance(error, WorkerDied) and task_run.run_count > 1)


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[1, 4],
    retry_condition_fn=_worth_another_try,
)
def run_stage(work: Work) -> Any:
    """One stage on one shard; gives a StageReport. Ends as Completed(name="Cached") when nothing had to be computed."""
    report = work.run()
    if report.calls == 0 and report.hits:
        return Completed(name="Cached", message=f"{report.hits} of {report.hits} in the store", data=report)
    return report


@dataclass(eq=False)
class Shard:
    """Sentences that go through the stages together."""

    number: int
    units: Sequence[Unit]
    index: int = 0
    """the stage that it is in"""
    left: int = 0
    """sentences that have not come through that stage"""
    stopped: dict[str, Stop] = field(default_factory=dict)
    tasks: list[Any] = field(default_factory=list)
    """futures of its tasks in this stage: what those of the next are recorded as waiting for"""


class Course:
    """One run's shards on their way; `place.at_once` of them are under way at any time."""

    def __init__(self, job: Job, place: Place, done: Callable[[Sequence[Unit]], None]):
        self._job, self._place, self._done = job, place, done
        self._running: dict[UUID, tuple[Shard, Sequence[Unit]]] = {}
        self._ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._nodes = job.pipeline.route.nodes
        self.recorded = 0
        """tasks that have ended, as the server knows or will know"""

    def run(self) -> None:
        """Sends every open sentence through every stage; fills the job's report, and tells `done` shard by shard.

        Raises:
            StoreError, CheckpointError, ConfigError, OSError: nothing more can be run.
        """
        waiting = self._shards()
        while waiting or self._running:
            while waiting and len(self._running) < self._place.at_once:
                self._enter(waiting.popleft(), 0)
            self._take(self._ended.get())

    def _shards(self) -> deque[Shard]:
        ordered = sorted(self._job.open_units, key=lambda u: len(u.text))  # like lengths together: less padding
        size = shard_size(self._job.pipeline.route, len(ordered))
        found = deque(Shard(number, units) for number, units in enumerate(groups(ordered, size)))
        found.rotate(random.randrange(len(found)))  # two runs on one store begin at different places and rarely meet
        return found

    def _enter(self, shard: Shard, index: int) -> None:
        """Sends a shard into a stage."""
        before, shard.tasks = shard.tasks, []
        shard.index, shard.left = index, len(shard.units)
        self._submit(shard, shard.units, f"{self._nodes[index].spec.name}-{shard.number}", before)

    def _submit(self, shard: Shard, units: Sequence[Unit], name: str, before: Sequence[Any]) -> None:
        spec = self._nodes[shard.index].spec
        named = run_stage.with_options(name=spec.name, task_run_name=name)
        route, store, devices = self._job.pipeline.route, self._job.store, self._place.devices
        work = Work(route, shard.index, units, store, shard.stopped, devices)
        with self._place.submitting(spec.device):
            future = self._place.runner.submit(named, {"work": work}, wait_for=list(before))
        self._running[future.task_run_id] = (shard, units)
        future.add_done_callback(self._ended.put)

    def _take(self, future: Any) -> None:
        """Notes what became of a task, and sends its shard on when all of it has come through."""
        shard, units = self._running.pop(future.task_run_id)
        self.recorded += 1
        report = self._report(future, shard, units)
        if report is None:
            return
        self._job.pipeline.report.add(report)
        shard.stopped.update(report.stopped)
        shard.left -= len(units)
        if shard.left:
            return
        if shard.index + 1 < len(self._nodes):
            self._enter(shard, shard.index + 1)
        else:
            self._done(shard.units)

    def _report(self, future: Any, shard: Shard, units: Sequence[Unit]) -> StageReport | None:
        """What a task did; None when its process died and its sentences are tried one by one: one of them did that."""
        stage = self._nodes[shard.index].spec.name
        try:
            report: StageReport = future.result()
        except self._place.lost as error:
            if not isinstance(error, WorkerDied) and not record_crash(future.task_run_id):
                self.recorded -= 1
            if len(units) == 1:
                stop: Stop = ("failed", f"{stage}: its worker process died, out of memory?")
                return StageReport(stage, stopped={units[0].key: stop})
            for number, unit in enumerate(units):
                self._submit(shard, [unit], f"{stage}-{shard.number}.{number}", ())
            return None
        shard.tasks.append(future)
        return report


def record_crash(task_run_id: UUID) -> bool:
    """Records the end of a task that could not do so: its whole process died on Ray. False: the server has no record
    of it at all."""
    try:
        with get_client(sync_client=True) as client:
            client.set_task_run_state(task_run_id, Crashed(message="its worker process died"), force=True)
    except ObjectNotFound:
        return False
    return True
