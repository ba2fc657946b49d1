"""What is bounded in seconds of a process, and so runs with nothing beside it."""

import time

from tests.command import tercile


def test_a_second_run_ends_within_ten_seconds(small):
    start = time.perf_counter()
    done = tercile("run", "small.yaml", cwd=small[0])
    assert time.perf_counter() - start < 10
    assert "nothing to do" in done.stderr
