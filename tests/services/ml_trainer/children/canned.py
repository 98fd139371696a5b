"""A fit that takes no time: its result is what lies ready beside the work directory."""

import sys
from pathlib import Path

from services.ml_trainer.service.job import read_payload, write_payload

work = Path(sys.argv[1])
write_payload(work / "result", read_payload(work.parent / "canned"))
