"""A diffusion stage that notes when it ran where, and takes its time, so that a test can see what overlapped."""

import json
import os
import time

from fakestages.diffusion.stage import DiffusionStage

NOTES = "WATCHED_NOTES"
"""environment variable: a file to which a line of JSON is added per call"""


class WatchedDiffusion(DiffusionStage):
    @classmethod
    def load(cls, config, device):
        stage = cls(config)
        stage.loaded, stage.device = time.time(), device
        return stage

    def run(self, batch, *, seeds):
        begun = time.time()
        time.sleep(0.3)
        note = {
            "process": os.getpid(), "loaded": self.loaded, "device": self.device, "begun": begun, "ended": time.time(),
            "visible": os.environ.get("CUDA_VISIBLE_DEVICES"), "node": os.environ.get("RAY_RAYLET_PID"),
        }  # fmt: skip
        with open(os.environ[NOTES], "a") as file:
            file.write(json.dumps(note) + "\n")
        return super().run(batch, seeds=seeds)
