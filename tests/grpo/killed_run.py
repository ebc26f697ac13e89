"""A command that ends by SIGKILL: killed_run.py PATH ARGUMENTS...

The process dies just before the file or directory PATH (its last two parts) gets its
name, which leaves whatever was half written beside it.
"""

import os
import signal
import sys

from bots_jax.cli import main


def kill_before(path: str) -> None:
    def hook(event: str, values: tuple) -> None:
        if event == "os.rename" and str(values[1]).endswith(f"/{path}"):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


if __name__ == "__main__":
    kill_before(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
