"""Where everything stands: the stack of every thread and of every task, as text for the log."""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from types import FrameType
from typing import Any, Final

DEEPEST: Final = 40
"""Awaits followed into one task."""


def describe(loop: asyncio.AbstractEventLoop) -> str:
    """The stacks of all threads, and of the tasks of this loop; may be called from any thread."""
    return "\n".join([*_threads(), *_tasks(loop)])


def _threads() -> list[str]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    lines = []
    for ident, frame in sys._current_frames().items():
        lines.append(f"thread {names.get(ident, ident)}")
        lines += [
            f"  {_place(found.f_code.co_filename, line)} {found.f_code.co_name}" for found, line in _frames(frame)
        ]
    return lines


def _frames(frame: FrameType) -> list[tuple[FrameType, int]]:
    return list(traceback.walk_stack(frame))[:DEEPEST]


def _tasks(loop: asyncio.AbstractEventLoop) -> list[str]:
    lines = []
    for task in sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name()):
        awaited = _awaits(task.get_coro())
        lines.append(f"task {task.get_name()}: {' < '.join(reversed(awaited)) or task.get_coro()!r}")
    return lines


def _awaits(coroutine: Any) -> list[str]:
    """From the task's own coroutine down to what it waits for."""
    places: list[str] = []
    while coroutine is not None and len(places) < DEEPEST:
        for frame, awaited in (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await")):
            found = getattr(coroutine, frame, None)
            if found is not None:
                places.append(f"{found.f_code.co_name} ({_place(found.f_code.co_filename, found.f_lineno)})")
                coroutine = getattr(coroutine, awaited)
                break
        else:
            return [*places, type(coroutine).__name__]
    return places


def _place(path: str, line: int) -> str:
    return f"{'/'.join(path.split('/')[-2:])}:{line}"
