"""The command line as its user has it: a process."""

import os
import subprocess
import sys
from pathlib import Path

TERCILE = str(Path(sys.executable).with_name("tercile"))


def tercile(*words, cwd=None, timeout=240, **environment):
    """Run the command to its end."""
    return subprocess.run(
        [TERCILE, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=timeout,
        env={**os.environ, **environment},
        check=False,
    )
