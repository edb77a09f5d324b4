"""The loop at work: looks, decides, does one thing, remembers it. Whatever step it dies in, the next one begins from what is remembered."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import redis

from batch_trainer.gates import Gate, failing
from batch_trainer.loop import decide
from batch_trainer.loop.alerts import Alert
from batch_trainer.loop.decide import BY, NOBODY, Action, Activate, Record, Rest, RollBack, Seen, Train, Withdraw
from batch_trainer.loop.ledger import Ledger
from batch_trainer.loop.state import SECOND, Policy, Run, State
from schemas import vitals
from schemas.artifact import RejectedModel
from schemas.changes import ModelEvent
from schemas.model import Model
from schemas.registry import Fenced, Registry, RegistryConflict
from schemas.sealed import from_bytes
from schemas.signing import Keyring

TELL_AGAIN: Final = 10 * SECOND
"""How long `model-events` is left alone after it could not be told."""

_log: Final = logging.getLogger(__name__)


class Untold(RuntimeError):
    """A step could not be told; it stays remembered and is told later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a training came to."""

    model_id: str
    sealed: bytes
    gates: tuple[Gate, ...]
    report: str = ""
    """Where its report is."""


@dataclass(frozen=True, slots=True)
class _Job:
    run_id: str
    base: str | None
    result: Future[Trained]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What the loop reaches the world by. `train` runs in `executor`; the others must answer within seconds."""

    client: redis.Redis
    prefix: str
    keys: Keyring
    clock: Callable[[], int]
    """Microseconds UTC."""
    alerts: Callable[[], tuple[Alert, ...]]
    """The alerts that are open now."""
    announce: Callable[[ModelEvent], None]
    """Raises Untold."""
    train: Callable[[Run], Trained]
    """Raises whatever went wrong."""
    executor: Executor


class Watch:
    """One trainer. Any number may run: the one that holds the lock works, the others stand by."""

    def __init__(self, ports: Ports, ledger: Ledger, policy: Policy) -> None:
        self._ports = ports
        self._ledger = ledger
        self._policy = policy
        self._registry = Registry(ports.client, ports.prefix)
        self._token: str | None = None
        self._job: _Job | None = None
        self._quiet_until = 0
        self._model = lru_cache(maxsize=4)(self._open)
        self.action: Action | None = None
        """What was done last; None: another trainer holds the lock."""

    def run(self, stop: threading.Event, poll: float) -> None:
        """Work until told to stop, a step every `poll` seconds; a Redis that is away is waited for."""
        away = False
        while not stop.is_set():
            try:
                self.tick()
                away = False
            except (redis.RedisError, OSError) as error:
                if not away:
                    _log.warning(
                        "Redis does not answer: everything stays as it is until it does", extra={"error": str(error)}
                    )
                away = True
            stop.wait(poll)
        if self._token is not None:
            try:
                self._ledger.release(self._token)
            except (redis.RedisError, OSError):
                _log.warning("the lock could not be given back; it runs out by itself")

    def tick(self) -> Action | None:
        """One step. Errors of Redis pass through; doing the step again is always right."""
        try:
            if self._token is None:
                self._token = self._ledger.acquire()
            self.action = None if self._token is None else self._step(self._token)
        except Fenced as error:
            _log.warning("this trainer stands by", extra={"reason": str(error)})
            self._token = self.action = None
        return self.action

    def _step(self, token: str) -> Action:
        self._ledger.renew(token)
        state = self._tell(self._ledger.load(), token)
        action = decide.decide(state, self._look(state), self._policy, self._ports.clock())
        match action:
            case Rest():
                pass
            case Record(state=after, answered=answered):
                self._save(after, token, answered)
            case Train(run=run):
                self._train(state, run, token)
            case Activate(run=run):
                self._activate(state, run, token)
            case Withdraw(run=run):
                self._registry.withdraw(run.candidate, at=self._ports.clock(), by=BY, reason=run.verdict, token=token)
                self._save(decide.withdrawn(state, run, self._ports.clock()), token)
            case RollBack(run=run):
                self._roll_back(state, run, token)
        return action

    def _save(self, state: State, token: str, answered: tuple[str, ...] = ()) -> None:
        self._ledger.save(state, token, answered)
        for event in state.untold:
            _log.info(event.action, extra={"run_id": event.run_id, "model_id": event.model_id, "reason": event.reason})
        self._tell(state, token)

    def _tell(self, state: State, token: str) -> State:
        """Tell what is untold, in order, each before it is forgotten: after a crash it is told again, under the same id."""
        if not state.untold or self._ports.clock() < self._quiet_until:
            return state
        while state.untold:
            try:
                self._ports.announce(state.untold[0])
            except Untold as error:
                _log.warning("model-events was not told", extra={"error": str(error)})
                self._quiet_until = self._ports.clock() + TELL_AGAIN
                return state
            state = decide.told(state)
            self._ledger.save(state, token)
        return state

    def _look(self, state: State) -> Seen:
        ports, run = self._ports, state.run
        active, candidate = self._registry.active(), self._registry.candidate()
        trying = run is not None and run.phase == "shadowing"
        return Seen(
            active=active,
            model=self._model(active),
            alerts=ports.alerts() if run is None else (),
            requests=self._ledger.requests() if run is None else (),
            candidate=candidate,
            shadowed=self._model(candidate.model_id) if candidate is not None else None,
            comparison=self._registry.trial(candidate) if trying and candidate is not None else NOBODY,
            vitals=() if run is None else vitals.read(ports.client, ports.prefix, ports.clock()),
        )

    def _open(self, model_id: str | None) -> Model | None:
        data = self._registry.load(model_id) if model_id else None
        try:
            return None if data is None else from_bytes(data, self._ports.keys)
        except RejectedModel as error:
            _log.warning("a stored model cannot be read", extra={"model_id": model_id, "reason": str(error)})
            return None

    def _train(self, state: State, run: Run, token: str) -> None:
        job = self._job
        if job is None or job.run_id != run.run_id:
            base = self._registry.active()
            self._save(decide.attempted(state, run), token)
            self._job = _Job(run.run_id, base, self._ports.executor.submit(self._ports.train, run))
            return
        if not job.result.done():
            return
        clock = self._ports.clock
        error = job.result.exception()
        if error is not None:
            self._save(decide.failed(state, run, str(error) or type(error).__name__, clock()), token)
        else:
            self._nominate(state, run, job, job.result.result(), token)
        self._job = None  # only now: a Redis that was away meanwhile is asked again with the same result

    def _nominate(self, state: State, run: Run, job: _Job, found: Trained, token: str) -> None:
        clock = self._ports.clock
        if barring := failing(found.gates):
            self._save(decide.refused(state, run, found.model_id, found.gates, barring, clock()), token)
            return
        try:
            self._registry.nominate(
                found.model_id,
                found.sealed,
                run_id=run.run_id,
                base=job.base,
                at=clock(),
                by=BY,
                reason=run.reason,
                token=token,
            )
        except RegistryConflict as error:
            self._save(decide.failed(state, run, str(error), clock()), token)
            return
        entry = self._registry.candidate()
        if (
            entry is not None and entry.run_id == run.run_id
        ):  # else it was activated or withdrawn by hand: looked at again
            reports = vitals.read(self._ports.client, self._ports.prefix, clock())
            self._save(decide.nominated(state, run, entry, reports, clock()), token)

    def _activate(self, state: State, run: Run, token: str) -> None:
        clock = self._ports.clock
        if self._registry.active() != run.candidate:
            try:
                self._registry.activate(
                    run.candidate, at=clock(), by=BY, expected=run.base, reason=run.verdict, token=token
                )
            except RegistryConflict as error:
                self._save(decide.overtaken(state, run, str(error), clock()), token)
                return
        self._save(decide.activated(state, run, clock()), token)

    def _roll_back(self, state: State, run: Run, token: str) -> None:
        clock = self._ports.clock
        assert run.base is not None
        if self._registry.active() != run.base:
            try:
                self._registry.activate(
                    run.base,
                    at=clock(),
                    by=BY,
                    expected=run.candidate,
                    reason=run.verdict,
                    action="rolled-back",
                    token=token,
                )
            except RegistryConflict as error:
                self._save(decide.kept(state, run, str(error), clock()), token)
                return
        self._save(decide.rolled_back(state, run, clock()), token)
