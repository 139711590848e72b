"""Trainings in processes of their own that die where they are told to: `python forked.py JOBS.json`, run by the tests.

Imports once and forks for every job, because importing torch takes longer than a tiny training. A job is
`{config, sets, kill}`; `kill` is null or [where, count]: SIGKILL at the `count`-th call of `where`.
"""

import importlib
import json
import os
import signal
import sys
from pathlib import Path

from safetensors.torch import save_file

from stages.training import resume
from stages.training.run import OBJECTIVES, make_trainer, read_run


def die(*_, **__):
    """As a power cut: nothing is flushed, nobody is told."""
    os.kill(os.getpid(), signal.SIGKILL)


def dying(call, count, half=None):
    """`call`, until its `count`-th call kills; `half` is what it still does of that one."""
    calls = []

    def wrapped(*arguments, **named):
        calls.append(1)
        if len(calls) == count:
            if half:
                half(*arguments, **named)
            die()
        return call(*arguments, **named)

    return wrapped


def half_a_file(tensors, path):
    """What a killed writer leaves."""
    save_file(tensors, path)
    Path(path).write_bytes(Path(path).read_bytes()[:1000])


def train(config, sets, kill):
    """One job, to its end or its death."""
    trainer = make_trainer(read_run(config, sets))
    where, count = kill or (None, 0)
    if where == "losses":
        trainer.objective.losses = dying(trainer.objective.losses, count)
    elif where == "rename":
        os.rename = dying(os.rename, count)
    elif where == "write":
        resume.save_file = dying(resume.save_file, count, half_a_file)
    trainer.run()


def main():
    """Prints the exit status of every job, negative for a signal, as a JSON list."""
    for module in ("open_clip.loss", *(path.split(":")[0] for paths in OBJECTIVES.values() for path in paths)):
        importlib.import_module(module)
    ended = []
    for job in json.loads(Path(sys.argv[1]).read_text()):
        child = os.fork()
        if child == 0:
            train(**job)
            os._exit(0)
        ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(json.dumps(ended))


if __name__ == "__main__":
    main()
