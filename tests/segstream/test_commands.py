"""Every command answers wrong input with one clear line and the right exit code, and --json with one document."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from schemas import topics
from tests.installation import Installation, orders
from tests.schemas.models import SIGNER
from tests.waiting import wait_for

NOWHERE = {"SEGSTREAM_KAFKA": "127.0.0.1:1", "SEGSTREAM_REDIS": "redis://127.0.0.1:1/0"}


def run(*arguments: str, environment: dict[str, str] | None = None, home: Path | None = None) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("SEGSTREAM_")} | (environment or NOWHERE)
    if home is not None:
        env["SEGSTREAM_HOME"] = str(home)
    done = subprocess.run(
        [sys.executable, "-m", "segstream", *arguments], env=env, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def refused(code: int, *arguments: str, **more: Any) -> str:
    """The message of a command that must fail with this code: as one document, and as one clear line."""
    got, out, _ = run(*arguments, "--json", **more)
    error = json.loads(out)["error"]
    assert got == code, error
    got, out, err = run(*arguments, **more)
    assert got == code
    assert out == ""
    assert "Traceback" not in err
    assert " ".join(err.split()).endswith(" ".join(error["message"].split()))
    return str(error["message"])


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    path = tmp_path / "tiny.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute("CREATE TABLE sales AS SELECT 1 AS id, 1 AS buyer, TIMESTAMP '2026-01-01' AS sold_at, 5.0 AS total")
    return f"duckdb:///{path}"


def source(tmp_path: Path, orders_sql: str) -> str:
    path = tmp_path / "source.toml"
    path.write_text(f'[relations]\norders = """{orders_sql}"""\n')
    return str(path)


@pytest.mark.parametrize(
    "arguments",
    [
        ["topics", "list"],
        ["topics", "create"],
        ["models", "list"],
        ["models", "rollback"],
        ["users", "show", "1"],
        ["deadletters", "list"],
        ["deadletters", "redrive"],
        ["doctor"],
    ],
    ids=" ".join,
)
def test_an_unreachable_server_is_exit_69(arguments: list[str], tmp_path: Path) -> None:
    code, out, err = run(*arguments, "--json", home=tmp_path)
    assert code == 69
    assert "127.0.0.1:1" in out or "Redis does not answer" in out
    assert "Traceback" not in err


def test_a_worker_without_kafka_gives_up_with_69(tmp_path: Path) -> None:
    code, _, err = run("worker", environment=NOWHERE | {"SEGSTREAM_STARTUP_TIMEOUT": "2"}, home=tmp_path)
    assert code == 69
    assert "no Kafka broker answers at 127.0.0.1:1" in " ".join(err.split())


def test_a_trainer_that_shall_waive_an_unknown_gate_does_not_start(tmp_path: Path) -> None:
    wrong = NOWHERE | {"SEGSTREAM_TRAINER_WAIVED_GATES": "moved_share,stabilty"}
    where = ["--source", "thelook", "--warehouse", f"duckdb:///{tmp_path}/shop.duckdb"]
    code, _, err = run("trainer", "watch", *where, environment=wrong, home=tmp_path)
    assert code == 2
    assert "SEGSTREAM_TRAINER_WAIVED_GATES: there is no gate stabilty; there are rows" in " ".join(err.split())


def test_train_names_what_is_wrong_with_its_input(tiny: str, tmp_path: Path) -> None:
    good = source(tmp_path, "SELECT id AS order_id, buyer AS user_id, sold_at AS ordered_at, total FROM sales")
    message = refused(2, "train", "--source", good, "--warehouse", tiny, "--recipe", "behavior", home=tmp_path)
    assert "did you mean 'behaviour'" in message
    message = refused(2, "train", "--source", good, "--warehouse", tiny, "--waive", "move_share", home=tmp_path)
    assert "there is no gate move_share; there are rows" in message
    message = refused(1, "train", "--source", good, "--warehouse", tiny, home=tmp_path)
    assert "1 customers" in message
    assert "tiny" in refused(69, "train", "--source", good, "--warehouse", tiny + "x", home=tmp_path)
    typo = source(tmp_path, "SELECT id AS order_id, buyyer AS user_id, sold_at AS ordered_at FROM sales")
    assert "buyyer" in refused(2, "train", "--source", typo, "--warehouse", tiny, home=tmp_path)
    lacking = source(tmp_path, "SELECT id AS order_id, sold_at AS ordered_at FROM sales")
    assert "user_id" in refused(2, "train", "--source", lacking, "--warehouse", tiny, home=tmp_path)
    empty = source(tmp_path, "SELECT id AS order_id, buyer AS user_id, sold_at AS ordered_at FROM sales WHERE false")
    assert "order" in refused(1, "train", "--source", empty, "--warehouse", tiny, home=tmp_path)
    assert "name=value" in refused(2, "train", "--source", good, "--warehouse", tiny, "--param", "oops", home=tmp_path)


def test_a_misspelt_setting_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "segstream.toml").write_text('kafak = "x:1"\n')
    env = {k: v for k, v in os.environ.items() if not k.startswith("SEGSTREAM_")}
    done = subprocess.run(
        [sys.executable, "-m", "segstream", "config", "show", "--json"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "kafak" in json.loads(done.stdout)["error"]["message"]


def test_secrets_are_masked() -> None:
    code, out, _ = run("config", "show", "--json", environment={"SEGSTREAM_SIGNING_KEY": SIGNER.to_text()})
    assert code == 0
    assert SIGNER.to_text() not in out
    shown = {row["name"]: row for row in json.loads(out)["settings"]}
    assert shown["signing_key"]["origin"] == "environment"


def test_topics_models_users_and_dead_letters_on_real_servers(shop: Installation) -> None:
    env = shop.environment | {"SEGSTREAM_TRUSTED_KEYS": SIGNER.public}

    def ask(*arguments: str) -> tuple[int, Any]:
        code, out, err = run(*arguments, "--json", environment=env)
        assert out.count("\n") == 1, err
        return code, json.loads(out)

    assert ask("topics", "list")[0] == 1
    assert [ask("topics", "create")[0], ask("topics", "create")[0], ask("topics", "list")[0]] == [0, 0, 0]
    code, out, _ = run("topics", "list", "--json", environment=env | {"SEGSTREAM_PARTITIONS": "7"})
    assert code == 1
    assert "SEGSTREAM_PARTITIONS asks for 7" in out
    assert ask("models", "show")[0] == 1
    first, second = shop.publish(), shop.publish(shift=0.5)
    assert ask("models", "list")[1]["active"] == second.id
    assert ask("models", "rollback") == (0, {"model_id": first.id, "before": second.id})
    assert ask("models", "activate", second.id)[0] == 0
    assert ask("models", "activate", "m-unknown")[0] == 1
    assert ask("models", "show", first.id)[1]["recipe"] == "test"
    shop.worker().wait_ready()
    shop.produce([*orders(40, 5), (topics.ORDERS.name, b"1", b"broken"), (topics.SIGNUPS.name, b"2", b"{}")])
    shop.caught_up()
    assert ask("deadletters", "list")[1]["count"] == 2
    assert ask("deadletters", "list", "--topic", "oders")[0] == 2
    assert ask("dlq", "redrive", "--dry-run")[1]["redriven"] == 2
    both = {"redriven": 2, "errors": {"InvalidEvent": 2}, "skipped_truncated": 0, "skipped_exhausted": 0}
    assert ask("deadletters", "redrive")[1] == both, "the dry run sent nothing"
    shop.caught_up()
    assert ask("deadletters", "list")[1]["count"] == 4, "still broken, so dead-lettered again"
    assert ask("deadletters", "redrive", "--topic", "orders")[1]["redriven"] == 1, "each once"
    shop.caught_up()
    wait_for(lambda: ask("users", "show", "1")[0] == 0, "the customer is shown")
    code, user = ask("users", "show", "1", "--changes")
    assert user["segment"] == user["changes"][-1]["to_segment"]
    assert ask("users", "show", "nobody")[0] == 1
    code, doctor = ask("doctor")
    assert (code, doctor["ok"]) == (0, True), doctor


def test_help_names_every_command() -> None:
    _, out, _ = run("--help")
    for name in (
        "demo",
        "topics",
        "train",
        "worker",
        "serve",
        "replay",
        "verify",
        "models",
        "users",
        "deadletters",
        "doctor",
        "config",
        "sandbox",
    ):
        assert name in out


def test_a_new_token_is_one_that_the_api_knows() -> None:
    from segment_api.access import Tokens

    code, out, _ = run("tokens", "new", "shop", "--scope", "read", "--scope", "what-if", "--json")
    made = json.loads(out)
    holder = Tokens.parse(made["entry"]).holder(made["token"])
    assert code == 0
    assert holder is not None
    assert (holder.name, holder.scopes) == ("shop", {"read", "what-if"})
    assert "write" in refused(2, "tokens", "new", "shop", "--scope", "write")
    code, _, err = run("serve", environment=NOWHERE | {"SEGSTREAM_API_TOKENS": "shop"})
    assert code == 2
    assert "entry 1" in err
