"""The trainer's own child, whose fit reports its pid and then never ends."""

import json
import os
import sys
import time

from services.ml_trainer.service.job import FitJob
from services.ml_trainer.train import child
from tidewheel.models.regime import RegimeModel


def fit(job: FitJob) -> RegimeModel:
    """Sleep."""
    sys.stdout.write(json.dumps({"pid": os.getpid()}) + "\n")
    sys.stdout.flush()
    time.sleep(600)
    raise AssertionError("nobody ended the fit")


child.fit = fit
sys.exit(child.main(sys.argv[1:]))
