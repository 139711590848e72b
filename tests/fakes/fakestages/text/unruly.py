"""A text stage that dies with its process, sleeps for a minute, or blames the configuration, at words of the text.

It notes who loaded it where.
"""

import os
import signal
import time
from pathlib import Path

from fakestages.text.stage import TextStage

from stages.core.config import ConfigError

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
        if "Misconfigured" in text:
            raise ConfigError("text.lexicon: no such file; name one")
        if "sleep" in text:
            Path("asleep").touch()
            time.sleep(60)
        return super().one(text)
