"""A worker in the middle of a fit: `python -m ...parent WORK_ROOT`, ended by whoever started it."""

import sys
from pathlib import Path

from services.ml_trainer.service.fitting import FitChild
from tests.services.ml_trainer.jobs import NoWatch, job

FitChild(Path(sys.argv[1]), "tests.services.ml_trainer.children.sleeper").run(
    1, 1, job(bars=500).lay_out, NoWatch(), lambda progress: print(progress["pid"], flush=True)
)
