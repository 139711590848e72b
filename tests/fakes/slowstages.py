"""Fake stages that take their time: packages written into a folder, so that worker processes can import them, too."""

from pathlib import Path

import fakestages

STAGE = '''\
"""The fake stage, {seconds} s an item slower."""

import time

from fakestages.{name}.stage import {cls} as Fast


class {cls}(Fast):
    def run(self, batch, *, seeds):
        time.sleep({seconds} * sum(len(s) if isinstance(s, list | tuple) else 1 for s in seeds))
        return super().run(batch, seeds=seeds)
'''


def write(folder: Path, seconds: float) -> None:
    """Writes the package `slowfakes`; `folder` must be on the path of every process that runs the stages."""
    for name, target in fakestages.FAKES.items():
        package = folder / "slowfakes" / name
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").touch()
        (package / "config.py").write_text(f"from fakestages.{name}.config import SPEC\n\n__all__ = ['SPEC']\n")
        (package / "stage.py").write_text(STAGE.format(name=name, cls=target.partition(":")[2], seconds=seconds))


def install(folder: Path) -> None:
    """`fakestages.install` with the slow stages that `write` has put there."""
    from stages.core import route

    fakestages.install(folder)
    route.STAGES.update(
        {name: f"slowfakes.{target.removeprefix('fakestages.')}" for name, target in fakestages.FAKES.items()}
    )
