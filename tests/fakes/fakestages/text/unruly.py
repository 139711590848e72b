"""A text stage that takes its process with it at "die" and takes a minute at "sleep"; it notes who loaded it where."""

import os
import signal
import time
from pathlib import Path

from fakestages.text.stage import TextStage

NOTES = "UNRULY_NOTES"
"""environment variable: a file to which a line `process device CUDA_VISIBLE_DEVICES` is added per load"""


class UnrulyText(TextStage):
    @classmethod
    def load(cls, config, device):
        if NOTES in os.environ:
            with open(os.environ[NOTES], "a") as file:
                file.write(f"{os.getpid()} {device} {os.environ.get('CUDA_VISIBLE_DEVICES', '-')}\n")
        return cls()

    def one(self, text):
        if "die" in text:
            os.kill(os.getpid(), signal.SIGKILL)
        if "sleep" in text:
            Path("asleep").touch()
            time.sleep(60)
        return super().one(text)
