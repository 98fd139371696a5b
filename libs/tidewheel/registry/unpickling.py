"""The child that opens a pickle, the only place where one is: `python -m tidewheel.registry.unpickling MEMORY OUTPUT`.

It reads a joblib file from stdin and writes the same estimator as skops to stdout. Opening a pickle runs whatever its
writer wished, so everything is imported first, then the process gives up files, sockets, programs and processes.
"""

import io
import os
import sys

from tidewheel.contracts.errors import TidewheelError
from tidewheel.modelstore.limited import limit_this_process
from tidewheel.registry.sandbox import give_up_everything

CPU_SECONDS = 60
NO_SANDBOX = 3


def main(memory_bytes: int, output_bytes: int) -> int:
    """Read, confine, open, write; the exit status."""
    import joblib
    import skops.io  # and with it every module of scikit-learn: nothing can be imported any more below

    content = sys.stdin.buffer.read()
    limit_this_process(memory_bytes, CPU_SECONDS, output_bytes)
    answer = os.dup(1)
    os.dup2(2, 1)  # what a pickle prints is no answer
    try:
        give_up_everything()
    except TidewheelError as refused:
        sys.stderr.write(f"{refused.detail}\n")
        return NO_SANDBOX
    written = memoryview(skops.io.dumps(joblib.load(io.BytesIO(content))))
    while written:
        written = written[os.write(answer, written) :]
    return 0


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]), int(sys.argv[2])))
