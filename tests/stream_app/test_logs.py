"""The log says what happens, once, and does not drown it."""

from __future__ import annotations

import logging

from stream_app.logs import Seldom


def record(text: str, *args: object, name: str = "aiokafka.conn", level: int = logging.ERROR) -> logging.LogRecord:
    return logging.LogRecord(name, level, "", 0, text, args, None)


def test_a_library_says_the_same_thing_once_per_interval_and_then_how_often_it_was_left_out() -> None:
    now = [100.0]
    seldom = Seldom(lambda: now[0], interval=10)
    said = []
    for tick in range(250):  # 25 s of ten a second
        now[0] = 100 + tick / 10
        one = record("no broker at %s", tick)
        if seldom.filter(one):
            said.append(one.getMessage())
    assert said == [
        "no broker at 0",
        "no broker at 100 (and 99 more like this in 10 s)",
        "no broker at 200 (and 99 more like this in 10 s)",
    ]


def test_what_is_different_and_what_is_ours_is_never_left_out() -> None:
    seldom = Seldom(lambda: 0.0)
    others = [
        record("no broker at %s", 1),
        record("no topic %s", 1),
        record("no broker at %s", 1, level=logging.WARNING),
        record("no broker at %s", 1, name="faust.app"),
        *(record("a dead letter", name="stream_app.app") for _ in range(3)),
    ]
    assert all(seldom.filter(one) for one in others)
