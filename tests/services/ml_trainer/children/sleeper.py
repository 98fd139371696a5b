"""The trainer's own child, whose fit reports its pid and then never ends."""

import json
import os
import sys
import time

from services.ml_trainer.service.job import Job
from services.ml_trainer.train import child
from tidewheel.gates.gate import Saved


def fit(job: Job) -> Saved:
    """Sleep."""
    sys.stdout.write(json.dumps({"pid": os.getpid()}) + "\n")
    sys.stdout.flush()
    time.sleep(600)
    raise AssertionError("nobody ended the fit")


child.fit = fit
sys.exit(child.main(sys.argv[1:]))
