"""`python -m runner.simulator`: the child process that `launch` starts."""

import sys

from runner.simulator.options import from_arguments
from runner.simulator.server import run

if __name__ == "__main__":
    run(from_arguments(sys.argv[1:]))
