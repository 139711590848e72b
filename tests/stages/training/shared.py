"""One of the processes that share a training: the tests run `python shared.py CONFIG SETS.json [CONFIG …]`."""

import json
import sys
from pathlib import Path

from stages.training.run import make_trainer, read_run

if __name__ == "__main__":
    for config, sets in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        print(json.dumps(make_trainer(read_run(config, json.loads(Path(sets).read_text()))).run()))
