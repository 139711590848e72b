"""Puts the fake stages into every process that finds this folder first: a deployed flow has no test around it."""

import os
from pathlib import Path

import fakestages

fakestages.install(Path(os.environ["FAKE_WORLD"]))
