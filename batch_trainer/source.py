"""Where the relations of a warehouse are: a TOML file that maps each to the SQL that gives it."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SHIPPED: Final = Path(__file__).parent / "sources"
"""The sources that come with Segstream."""

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "customers": ("user_id", "signed_up_at", "age", "gender", "country", "traffic_source"),
    "orders": ("order_id", "user_id", "ordered_at", "status", "total"),
    "order_items": ("order_id", "item_id", "product_id", "brand", "category", "price", "quantity"),
    "refunds": ("refund_id", "order_id", "user_id", "refunded_at", "amount"),
}
"""The relations and their columns, in the words of the contract."""

REQUIRED: Final[dict[str, tuple[str, ...]]] = {
    "customers": ("user_id",),
    "orders": ("order_id", "user_id", "ordered_at"),
    "order_items": ("order_id",),
    "refunds": ("order_id",),
}
"""Without these columns a relation cannot be used; of the relations, only orders must be there."""

_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class WarehouseError(Exception):
    """The warehouse or its source file is not what it should be: correct what the message names."""


class WarehouseUnreachable(WarehouseError):
    """The warehouse cannot be opened: check the URL, the file or the server."""


class EmptyWarehouse(WarehouseError):
    """There is no order to learn from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source file, read: its name and the SQL of each relation, parameters filled in."""

    name: str
    relations: Mapping[str, str]


def shipped() -> list[str]:
    """The names of the sources that come with Segstream.

    >>> "thelook" in shipped()
    True
    """
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def read_source(
    source: str | Path, params: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
) -> Source:
    """The source of a TOML file, or of one that comes with Segstream by its bare name.

    A `{name}` in the SQL is filled in from `params`, then the environment (`SEGSTREAM_PARAM_NAME`), then the file's
    `[parameters]`; `{dir}`, unless given, is the directory the file is in.

    >>> sorted(read_source("thelook").relations)
    ['customers', 'order_items', 'orders', 'refunds']
    """
    path = _find(source)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise WarehouseError(f"source {path} cannot be read as TOML: {error}") from error
    _known("section", content, ("relations", "parameters"), path)
    relations = content.get("relations")
    if not isinstance(relations, dict) or not all(isinstance(sql, str) for sql in relations.values()):
        raise WarehouseError(
            f'source {path} needs a section [relations] with SQL text per relation, e.g. orders = "SELECT ..."'
        )
    _known("relation", relations, COLUMNS, path)
    if "orders" not in relations:
        raise WarehouseError(
            f"source {path} has no relation 'orders'; it must give at least order_id, user_id, ordered_at"
        )
    values = _values(content.get("parameters", {}), path, params or {}, os.environ if environ is None else environ)
    filled = {name: _fill(name, sql.strip().rstrip(";"), values, path) for name, sql in relations.items()}
    return Source(name=path.stem, relations=filled)


def _find(source: str | Path) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    bare = SHIPPED / f"{source}.toml"
    if path.parent == Path() and bare.is_file():
        return bare
    raise WarehouseError(
        f"there is no source {str(source)!r}: give a TOML file or one of the shipped sources, {', '.join(shipped())}{suggestion(str(source), shipped())}"
    )


def _known(what: str, found: Iterable[str], allowed: Iterable[str], path: Path) -> None:
    names = list(allowed)
    for name in found:
        if name not in names:
            raise WarehouseError(
                f"source {path} has a {what} {name!r}, which does not exist; known are {', '.join(names)}{suggestion(name, names)}"
            )


def _values(declared: Any, path: Path, params: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(declared, dict):
        raise WarehouseError(f'source {path}: [parameters] must be a section, e.g. dir = "."')
    values = {"dir": str(path.resolve().parent)} | {name: str(value) for name, value in declared.items()}
    for name in values:
        values[name] = environ.get(f"SEGSTREAM_PARAM_{name.upper()}", values[name])
    _known("parameter", params, values, path)
    return values | params


def _fill(relation: str, sql: str, values: Mapping[str, str], path: Path) -> str:
    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in values:
            raise WarehouseError(
                f"source {path}, relation {relation}: parameter {{{name}}} has no value; give it in [parameters] or with --param {name}=..."
            )
        return values[name].replace("'", "''")

    return _PLACEHOLDER.sub(value, sql)


def suggestion(name: str, candidates: Iterable[str]) -> str:
    """A hint for a mistyped name, empty where nothing is close.

    >>> suggestion("usr_id", ["user_id", "total"])
    "; did you mean 'user_id'?"
    """
    close = difflib.get_close_matches(name.lower(), [c.lower() for c in candidates], n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
