"""Partial files: those of the living stay, those of the dead go."""

import os
import subprocess
import sys

from stages.core import files


def test_only_what_a_dead_writer_left_is_removed(tmp_path):
    below = tmp_path / "below"
    below.mkdir()
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    mine = files.partial_path(below / "a.wav")
    left = [tmp_path / mine.name.replace(str(os.getpid()), dead.stdout.strip()), tmp_path / ".old.partial"]
    foreign = tmp_path / mine.name.replace(files._host(), "0" * 8)
    whole = below / "a.wav"
    for path in (mine, foreign, whole, *left):
        path.write_bytes(b"x")
    os.utime(left[1], (0, 0))
    files.remove_abandoned(tmp_path)
    assert mine.exists() and foreign.exists() and whole.exists() and not any(path.exists() for path in left)
