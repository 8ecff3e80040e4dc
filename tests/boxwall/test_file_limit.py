"""A process takes as many files as the system lets it have."""

import resource
import subprocess
import sys

ASK = "from boxwall.file_limit import *; raise_file_limit(); print(file_limit())"


def test_all_that_is_to_be_had_is_taken() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512)),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout == "512\n", done
