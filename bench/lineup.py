"""The engines that take part: how each is started, where its state can be read, and why one cannot take part here."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import job
from bench.installation import Installation
from sandbox.home import cache

HERE: Final = Path(__file__).resolve().parent
GROUP: Final = "segstream"
"""The worker's consumer group by default."""
QUIX: Final = ("quixstreams==3.28.1", "msgspec==0.22.0", "numpy>=2.4,<3", "cryptography>=50,<51")
"""Quix Streams wants an older confluent-kafka than ours, hence an environment of its own."""


class Missing(RuntimeError):
    """An engine cannot run on this machine: the reason."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One engine. `prepare` makes what it needs and gives its command, or raises Missing."""

    name: str
    label: str
    prepare: Callable[[], list[str]]
    environment: Mapping[str, str] = field(default_factory=dict)
    slow: bool = False
    """Gets a smaller slice of the events."""
    changelog: str | None = None
    """The topic with its state in the product's bytes, `{group}` filled in; None where it is stored otherwise."""
    tolerance: float = 0.0
    group: str = ""
    """Its consumer group where that is fixed; empty: the name of the run."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One start of an engine's program: names that no other run has."""

    engine: Engine
    installation: Installation
    name: str
    source: str
    static: bool = True
    """Whether our worker's name in the group outlives it; a group without such names can be deleted as soon as it has stopped."""

    @property
    def group(self) -> str:
        """The consumer group."""
        return self.engine.group or self.name

    @property
    def directory(self) -> Path:
        """For its log and local state."""
        return self.installation.directory / "runs" / self.name

    def environment(self) -> dict[str, str]:
        """What the program is told."""
        made = self.installation
        settings = job.Settings(
            kafka=made.kafka,
            group=self.group,
            source=self.source,
            instance=f"{self.name}-1",
            directory=self.directory,
            model=made.model_file,
            trusted=made.signer.public,
        )
        return {
            **made.environment,
            "SEGSTREAM_HOME": str(self.directory),
            "SEGSTREAM_INSTANCE_ID": f"{self.name}-1" if self.static else "",
            "SEGSTREAM_SESSION_TIMEOUT": str(job.SESSION_SECONDS),
            **settings.environment(),
            "BENCH_MODEL_ID": made.model.id,
            "BENCH_MODEL_JSON": str(made.directory / "model.json"),
            **self.engine.environment,
        }

    def forget(self) -> None:
        """Delete the topics that the engine made for itself, and its group with its offsets."""
        made = self.installation
        made.remove([name for name in made.topics() if self.name in name])
        if self.engine.group:
            made.delete_group(self.group)


def _module(name: str) -> Callable[[], list[str]]:
    return lambda: [sys.executable, "-m", name]


def _quix() -> list[str]:
    home = cache(os.environ) / f"bench-quix-{_hash(' '.join(QUIX) + sys.version)}"
    python = home / "bin" / "python"
    if not (home / "installed").exists():
        steps = ([sys.executable, "-m", "venv", str(home)], [str(python), "-m", "pip", "install", "--quiet", *QUIX])
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True, check=False)
            if done.returncode:
                shutil.rmtree(home, ignore_errors=True)
                raise Missing(f"Quix Streams could not be installed: {(done.stderr or done.stdout).strip()[-300:]}")
        (home / "installed").touch()
    return [str(python), "-m", "bench.engines.quix_app"]


def _kstreams() -> list[str]:
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if missing:
        raise Missing(f"Kafka Streams needs {' and '.join(missing)} on the PATH")
    project = HERE / "kstreams"
    sources = sorted(
        path for path in project.rglob("*") if path.suffix in (".java", ".xml") and "target" not in path.parts
    )
    text = "".join(path.read_text() for path in sources)
    built = cache(os.environ) / f"bench-kstreams-{_hash(text)}"
    if not (built / "built").exists():
        command = ["mvn", "-q", "-B", "-f", str(project / "pom.xml"), f"-Dbench.build={built}", "package"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Missing(f"Kafka Streams could not be built: {(done.stdout + done.stderr).strip()[-600:]}")
        (built / "built").touch()
    classpath = f"{built / 'classes'}:{built / 'lib'}/*"
    return ["java", "-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classpath, "segstream.bench.Main"]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


ENGINES: Final = {
    engine.name: engine
    for engine in (
        Engine(
            name="segstream",
            label="Segstream worker",
            prepare=lambda: [sys.executable, "-m", "segstream", "worker"],
            changelog=job.CHANGELOG,
            group=GROUP,
        ),
        Engine(
            name="aiokafka",
            label="bare aiokafka loop",
            prepare=_module("bench.engines.aiokafka_loop"),
            changelog=job.CHANGELOG,
        ),
        Engine(
            name="confluent",
            label="bare confluent-kafka loop",
            prepare=_module("bench.engines.confluent_loop"),
            changelog=job.CHANGELOG,
        ),
        Engine(name="kstreams", label="Kafka Streams 4.3.1", prepare=_kstreams, tolerance=1e-12),
        Engine(name="quix", label="Quix Streams 3.28.1", prepare=_quix),
        Engine(
            name="faust",
            label="idiomatic Faust 0.15.3",
            prepare=_module("bench.engines.faust_app"),
            slow=True,
            changelog="{group}-customers-changelog",
        ),
    )
}


def available(names: list[str], say: Callable[[str], None]) -> dict[str, list[str]]:
    """Engine -> its command, for those that can run here; says in one line why another cannot."""
    commands = {}
    for name in names:
        try:
            commands[name] = ENGINES[name].prepare()
        except Missing as reason:
            say(f"{ENGINES[name].label} is left out: {reason}")
    return commands
