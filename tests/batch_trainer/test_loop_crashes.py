"""The loop on a real Redis, killed before and after every single thing it does: one model is active, every step is told once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

import pytest
import redis

from batch_trainer.gates import Gate
from batch_trainer.loop.alerts import Alert
from batch_trainer.loop.ledger import Ledger
from batch_trainer.loop.state import SECOND, Policy, Request, Run
from batch_trainer.loop.watch import Ports, Trained, Untold, Watch
from sandbox.redis import Redis
from schemas import shadow, vitals
from schemas.changes import ModelEvent, decode_model_event, encode
from schemas.registry import Fenced, Registry, RegistryConflict
from schemas.settings import Settings
from schemas.shadow import Look, Pair
from schemas.signing import Keyring
from schemas.vitals import Vitals
from tests.schemas.models import SIGNER, sealed

PREFIX = "segstream:"
BASE, BASE_DATA = sealed()
CANDIDATE, CANDIDATE_DATA = sealed(shift=-1.0)
ALERT = Alert(alert_id="a-1", signal="log_distance", level="drift", model_id=BASE, message="farther")
POLICY = Policy.of(Settings(trainer_max_age=0, shadow_sample=10, shadow_seconds=3, rollback_within=5))
WHOLE = ["training-started", "candidate-published", "shadow-compared", "activated", "confirmed"]


class Killed(BaseException):
    """The process is gone."""


class Wire(redis.Redis):
    """A connection that fails at the nth thing that is written: before it is done, or when it is done and nobody was told."""

    writes = 0
    fails_at = -1
    after = False
    error: Callable[[], BaseException] = Killed

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if args[0] != "EVALSHA":
            return super().execute_command(*args, **options)
        self.writes += 1
        if self.writes - 1 != self.fails_at:
            return super().execute_command(*args, **options)
        if self.after:
            super().execute_command(*args, **options)
        raise self.error()


class Inline(Executor):
    """Trains at once."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


class World:
    """Everything around the trainer: its Redis, the workers, the topic, and the clock."""

    def __init__(self, url: str, looks: list[Look]) -> None:
        self.url = url
        self.now = 1_770_000_000 * SECOND
        self.looks = looks
        self.told: list[ModelEvent] = []
        self.untold = 0
        self.worse = False
        self.gates: tuple[Gate, ...] = ()
        self.plain = redis.Redis.from_url(url)
        self.plain.flushall()
        self.registry = Registry(self.plain)
        self.registry.publish(BASE, BASE_DATA, at=1, by="test")

    def clock(self) -> int:
        return self.now

    def announce(self, event: ModelEvent) -> None:
        if self.untold:
            self.untold -= 1
            raise Untold("Kafka is away")
        self.told.append(decode_model_event(encode(event)))

    def train(self, run: Run) -> Trained:
        return Trained(model_id=CANDIDATE, sealed=CANDIDATE_DATA, gates=self.gates)

    def trainer(self, wire: redis.Redis | None = None, alerts: tuple[Alert, ...] = (ALERT,)) -> Watch:
        client = wire or self.plain
        ports = Ports(
            client=client,
            prefix=PREFIX,
            keys=Keyring([SIGNER.public]),
            clock=self.clock,
            alerts=lambda: alerts,
            announce=self.announce,
            train=self.train,
            executor=Inline(),
        )
        return Watch(ports, Ledger(client, PREFIX, "test"), POLICY)

    def pass_time(self) -> None:
        """A second passes, in which the workers do what they do."""
        self.now += SECOND
        active = self.registry.active() or ""
        assert self.registry.load(active), "the active model is always there as a whole"
        entry = self.registry.candidate()
        if entry is not None and self.looks:
            fields = {shadow.field(b"%d" % i): shadow.encode(one) for i, one in enumerate(self.looks)}
            self.plain.hset(shadow.shadow_key(PREFIX, entry.run_id), mapping=fields)  # type: ignore[arg-type]
        bad = active == CANDIDATE and self.worse
        report = Vitals(worker="w", at=self.now, model_id=active, refused_id=CANDIDATE if bad else "", refused="golden")
        self.plain.hset(vitals.vitals_key(PREFIX), "w", vitals.encode(report))  # type: ignore[arg-type]

    def live(self, trainer: Watch, seconds: int = 40) -> None:
        """Until the loop has come to rest."""
        for _ in range(seconds):
            self.pass_time()
            trainer.tick()
            if self.told and self.told[-1].action in (
                "confirmed",
                "rolled-back",
                "activation-refused",
                "training-refused",
            ):
                return

    def steps(self) -> list[str]:
        """The steps as a consumer sees them who drops what it has seen; the same step must always say the same."""
        found: dict[str, ModelEvent] = {}
        for event in self.told:
            assert found.setdefault(event.event_id, event) == event
        return [event.action for event in found.values()]

    def assert_whole(self, steps: list[str], active: str) -> None:
        assert self.steps() == steps
        assert self.registry.active() == active
        assert self.registry.candidate() is None
        assert Ledger(self.plain, PREFIX, "test").load().run is None
        entries = [(entry.action, entry.model_id) for entry in self.registry.history()]
        assert len(entries) == len(set(entries)), "nothing is done twice"


ALIKE = [Look("s1", "s1", 1.0, 1.0)] * 20
SCATTERED = [Look("s1", "s2", 1.0, 1.0)] * 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    made = Redis(tmp_path_factory.mktemp("redis"))
    try:
        yield made.start()
    finally:
        made.stop()


def test_from_an_alert_to_a_model_that_is_confirmed(server: Redis) -> None:
    world = World(server.url, ALIKE)
    world.live(world.trainer())
    world.assert_whole(WHOLE, CANDIDATE)
    assert world.told[2].details["comparison"]["customers"] == 20
    assert "farther" in world.told[0].reason


def test_gates_that_fail_leave_the_old_model_and_say_why(server: Redis) -> None:
    world = World(server.url, SCATTERED)
    world.live(world.trainer())
    world.assert_whole(["training-started", "candidate-published", "shadow-compared", "activation-refused"], BASE)
    assert "shadow_moved_share" in world.told[-1].reason
    world = World(server.url, ALIKE)
    world.gates = (Gate(name="rows", threshold=50, value=12, holds=False, meaning="customers"),)
    world.live(world.trainer())
    world.assert_whole(["training-started", "training-refused"], BASE)
    assert world.told[-1].details["gates"][0]["name"] == "rows"


def test_worse_health_brings_the_old_model_back(server: Redis) -> None:
    world = World(server.url, ALIKE)
    world.worse = True
    world.live(world.trainer())
    world.assert_whole([*WHOLE[:-1], "rolled-back"], BASE)
    assert "golden" in world.told[-1].reason
    assert world.registry.history()[0].action == "rolled-back"


@pytest.mark.parametrize(
    ("first", "after", "worse"),
    [(0, False, False), (0, True, False), (16, False, True), (16, True, True)],
    ids=["before it is done", "after it is done", "rolling back, before", "rolling back, after"],
)
def test_killed_at_any_step_the_next_trainer_goes_on(server: Redis, first: int, after: bool, worse: bool) -> None:
    steps = [*WHOLE[:-1], "rolled-back" if worse else "confirmed"]
    died = 0
    for at in range(first, 500):
        world = World(server.url, ALIKE)
        world.worse = worse
        wire = Wire.from_url(server.url)
        wire.fails_at, wire.after = at, after
        try:
            world.live(world.trainer(wire))
        except Killed:
            died += 1
        else:
            break
        finally:
            wire.close()
        world.plain.delete(f"{PREFIX}trainer:lock")  # it has run out
        world.live(world.trainer(alerts=()) if world.steps() else world.trainer())
        world.assert_whole(steps, BASE if worse else CANDIDATE)
    assert died > (3 if worse else 20)


def test_a_redis_that_goes_away_at_any_step_is_waited_for_by_the_same_trainer(server: Redis) -> None:
    away = 0
    for at in range(500):
        world = World(server.url, ALIKE)
        wire = Wire.from_url(server.url)
        wire.fails_at, wire.error = at, lambda: redis.ConnectionError("away")
        trainer = world.trainer(wire)
        try:
            world.live(trainer)
            assert wire.writes <= at
            break
        except redis.ConnectionError:
            away += 1
            assert world.registry.active() in (BASE, CANDIDATE)
            world.live(trainer)
        finally:
            wire.close()
        world.assert_whole(WHOLE, CANDIDATE)
    assert away > 20


def test_steps_that_kafka_did_not_take_are_told_later_in_order(server: Redis) -> None:
    world = World(server.url, ALIKE)
    world.untold = 2
    world.live(world.trainer())
    world.assert_whole(WHOLE, CANDIDATE)


def test_a_trainer_that_slept_through_its_turn_changes_nothing(server: Redis) -> None:
    world = World(server.url, ALIKE)
    sleeper, other = world.trainer(), world.trainer()
    world.pass_time()
    sleeper.tick()
    assert other.tick() is None, "one works, the others stand by"
    old = str(sleeper._token)
    world.plain.delete(f"{PREFIX}trainer:lock")
    assert other.tick() is not None
    registry, ledger = world.registry, Ledger(world.plain, PREFIX, "test")
    with pytest.raises(Fenced):
        registry.nominate(CANDIDATE, CANDIDATE_DATA, run_id="r", base=BASE, at=1, by="t", reason="", token=old)
    with pytest.raises(Fenced):
        registry.activate(BASE, at=1, by="t", token=old)
    with pytest.raises(Fenced):
        registry.withdraw(BASE, at=1, by="t", reason="", token=old)
    with pytest.raises(Fenced):
        ledger.save(ledger.load(), old)
    assert sleeper.tick() is None
    world.plain.delete(f"{PREFIX}trainer:fence")  # a Redis that has lost the fence lets no old token through either
    with pytest.raises(Fenced):
        registry.activate(BASE, at=1, by="t", token=old)
    world.live(world.trainer() if other.tick() is None else other)


def test_a_person_who_publishes_meanwhile_wins(server: Redis) -> None:
    world = World(server.url, ALIKE)
    trainer = world.trainer()
    while world.registry.candidate() is None:
        world.pass_time()
        trainer.tick()
    mine, data = sealed(shift=0.5)
    world.registry.publish(mine, data, at=5, by="ann")
    world.live(trainer)
    assert world.told[-1].action == "activation-refused"
    assert mine in world.told[-1].reason
    assert world.registry.active() == mine
    with pytest.raises(RegistryConflict):
        world.registry.nominate(mine, data, run_id="r", base=mine, at=1, by="t", reason="", token="")


def test_a_request_is_answered_once(server: Redis) -> None:
    world = World(server.url, ALIKE)
    ledger = Ledger(world.plain, PREFIX, "somebody")
    ledger.ask(Request(request_id="q-1", reason="after the sale", by="ann", at=1))
    trainer = world.trainer(alerts=())
    world.live(trainer)
    world.assert_whole(WHOLE, CANDIDATE)
    assert "after the sale (ann)" in world.told[0].reason
    assert ledger.requests() == ()
    world.pass_time()
    trainer.tick()
    assert ledger.load().run is None


def test_looks_at_one_customer_replace_each_other(server: Redis) -> None:
    client = redis.Redis.from_url(server.url)
    client.flushall()
    for look in (Look("s1", "s2", 1.0, 1.0), Look("s1", "s1", 1.0, 1.0)):
        client.hset(shadow.shadow_key(PREFIX, "r"), shadow.field(b"7"), shadow.encode(look))  # type: ignore[arg-type]
    found = shadow.read(client, PREFIX, "r")
    assert (found.customers, found.moved) == (1, 0)
    assert found.matrix == (Pair(before="s1", after="s1", customers=1),)
