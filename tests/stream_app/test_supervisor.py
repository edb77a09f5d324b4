"""A supervised worker is started again when it fails, and only then; its exit code is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.waiting import wait_for

SUPERVISE = "import sys; from stream_app import supervisor as s; s.FIRST = 0.01; sys.exit(s.supervise(sys.argv[2:], int(sys.argv[1])))"
NOTE = "import os, sys; f = open(sys.argv[1], 'a'); f.write(f'{os.getpid()}\\n'); f.close();"


def supervised(restarts: int, program: str, notes: Path) -> subprocess.Popen[bytes]:
    """A supervisor of a small program that notes its pid first."""
    command = [sys.executable, "-c", SUPERVISE, str(restarts), sys.executable, "-c", NOTE + program, str(notes)]
    return subprocess.Popen(command)


def starts(notes: Path) -> list[int]:
    return [int(line) for line in notes.read_text().splitlines()] if notes.exists() else []


def test_what_fails_is_started_again_so_often_and_its_last_code_is_kept(tmp_path: Path) -> None:
    assert supervised(3, "sys.exit(70)", tmp_path / "n").wait(120) == 70
    assert len(starts(tmp_path / "n")) == 4


def test_a_kill_is_a_failure(tmp_path: Path) -> None:
    assert supervised(1, "os.kill(os.getpid(), 9)", tmp_path / "n").wait(120) == 137
    assert len(starts(tmp_path / "n")) == 2


def test_what_ends_well_or_by_an_answer_is_not_started_again(tmp_path: Path) -> None:
    for code in (0, 1, 2):
        assert supervised(3, f"sys.exit({code})", tmp_path / f"n{code}").wait(120) == code
        assert len(starts(tmp_path / f"n{code}")) == 1


def test_sigterm_passes_through_and_nothing_is_started_after_it(tmp_path: Path) -> None:
    one = supervised(5, "import signal; signal.pause()", tmp_path / "n")
    try:
        wait_for(lambda: len(starts(tmp_path / "n")) == 1, "it runs", 120)
        one.send_signal(signal.SIGTERM)
        assert one.wait(120) == 143, "the program itself was told"
        assert len(starts(tmp_path / "n")) == 1
        (pid,) = starts(tmp_path / "n")
        wait_for(lambda: not _runs(pid), "the program has ended", 60)
    finally:
        one.kill()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
