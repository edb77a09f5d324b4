"""How each kind of warehouse writes the canonical form, so that all of them count the same to the last integer.

Ids are text, money is integer minor units, times are integer microseconds UTC, labels are cut as in `schemas.events`. Where the
dialects differ (text that is no number, epochs, collations, NULLs in an order), the difference is bridged here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import ibis
import ibis.expr.datatypes as dt
from ibis.expr.types import BooleanValue, IntegerValue, StringValue, Value

from batch_trainer.source import WarehouseError
from schemas.events import EARLIEST, LATEST, MAX_ID, MAX_TEXT
from schemas.money import MAX_MINOR

_MAX_QUANTITY: Final = 1e9
_MAX_AMOUNT: Final = float(MAX_MINOR // 100)
_TRIES: Final = frozenset({"duckdb", "pyspark", "databricks", "snowflake", "bigquery"})
"""Warehouses that can try a cast and give NULL."""
_UTC: Final = dt.Timestamp(timezone="UTC")


@ibis.udf.scalar.builtin(signature=((_UTC,), dt.int64))
def epoch_us(moment: Any) -> int:  # type: ignore[empty-body]
    """DuckDB's microseconds since 1970."""


@ibis.udf.scalar.builtin(signature=((_UTC,), dt.int64))
def unix_micros(moment: Any) -> int:  # type: ignore[empty-body]
    """The same of Spark, Databricks and BigQuery."""


@ibis.udf.scalar.builtin(name="date_part", signature=((dt.string, _UTC), dt.int64))
def _part(unit: str, moment: Any) -> int:  # type: ignore[empty-body]
    """Snowflake's parts of a time."""


@ibis.udf.scalar.builtin(name="date_part", signature=((dt.string, _UTC), dt.float64))
def _double_part(unit: str, moment: Any) -> float:  # type: ignore[empty-body]
    """PostgreSQL's and Redshift's parts of a time."""


@ibis.udf.scalar.builtin(signature=((dt.string, dt.string), dt.binary))
def convert_to(text: Any, encoding: str) -> bytes:  # type: ignore[empty-body]
    """PostgreSQL's bytes of a text."""


@ibis.udf.scalar.builtin(name="md5", signature=((dt.string,), dt.string))
def _md5(text: Any) -> str:  # type: ignore[empty-body]
    """The digest in lower-case hexadecimal digits."""


@ibis.udf.scalar.builtin(name="md5", signature=((dt.string,), dt.binary))
def _md5_bytes(text: Any) -> bytes:  # type: ignore[empty-body]
    """BigQuery's digest."""


@ibis.udf.scalar.builtin(signature=((dt.binary,), dt.string))
def to_hex(data: Any) -> str:  # type: ignore[empty-body]
    """BigQuery's hexadecimal digits."""


@cache
def unprintable() -> str:
    """A regular expression's class of the characters that `str.isprintable` refuses, as all engines read it: literal ranges.

    Not `\\p{...}`: PostgreSQL and Snowflake do not know it, and the others differ in the version of Unicode.
    """
    blocks = (range(at, at + 256) for at in range(0, 0x110000, 256) if not 0xD800 <= at < 0xE000)
    refused: list[int] = []
    for block in blocks:
        text = "".join(map(chr, block))
        if not text.isprintable():
            refused += [ord(character) for character in text if not character.isprintable()]
    ranges: list[list[int]] = []
    for code in refused[1:]:  # no warehouse's text holds U+0000
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "[" + "".join(chr(a) if a == b else f"{chr(a)}-{chr(b)}" for a, b in ranges) + "]"


@dataclass(frozen=True, slots=True)
class Canon:
    """The canonical form of values in one kind of warehouse."""

    backend: str

    def text(self, value: Value) -> StringValue:
        """Text; a float without a fraction reads as the integer it is."""
        if value.type().is_floating():
            whole = (value == value.floor()) & (value.abs() < 1e15)
            return whole.ifelse(whole.ifelse(value, 0.0).floor().cast("int64").cast("string"), value.cast("string"))
        return value.cast("string")

    def text_id(self, value: Value) -> StringValue:
        """An id as text; NULL where it could not be the id of an event."""
        text = self.text(value)
        if value.type().is_integer():
            return text
        # Most ids are plain ASCII, and a class of hundreds of ranges is slow in some engines.
        printable = ~self._holds(text, "[^ -~]") | ~self._holds(text, unprintable())
        fine = text.length().between(1, MAX_ID) & printable
        return fine.ifelse(text, ibis.null("string"))

    def _holds(self, text: Value, pattern: str) -> BooleanValue:
        if self.backend == "snowflake":  # its LIKE is anchored and a full stop stands for no newline
            return text.re_replace(pattern, "") != text
        return text.re_search(pattern)

    def micros(self, value: Value) -> IntegerValue:
        """Microseconds UTC; NULL where there is no usable time (`timed` says whether the type is one). No zone: UTC."""
        kind = value.type()
        if not timed(value):
            return ibis.null("int64")
        moment = self._tried(value, _UTC) if kind.is_string() else value.cast(_UTC)
        micros = self._epoch(moment)
        return micros.between(EARLIEST, LATEST - 1).ifelse(micros, ibis.null("int64"))

    def _epoch(self, moment: Value) -> IntegerValue:
        if self.backend == "duckdb":
            return epoch_us(moment)
        if self.backend == "snowflake":
            return _part("epoch_microsecond", moment)
        if self.backend in ("postgres", "redshift"):
            # Of whole seconds and of whole microseconds, so that the doubles are exact.
            seconds = _double_part("epoch", moment.truncate("s")).cast("int64")
            return seconds * 1_000_000 + _double_part("microseconds", moment).cast("int64") % 1_000_000
        return unix_micros(moment)

    def label(self, value: Value) -> StringValue:
        """A brand, category or trait: cut to length; empty and absent are the same."""
        return self.text(value).substr(0, MAX_TEXT).nullif("")

    def age(self, value: Value) -> IntegerValue:
        """Whole years from 0 to 150, NULL for anything else."""
        years = self._double(value)
        whole = (years > -1) & (years < 151)
        return whole.ifelse((years >= 0).ifelse(years.floor(), 0.0), ibis.null("float64")).cast("int64")

    def minor(self, value: Value) -> IntegerValue:
        """Minor units, by the same arithmetic as `schemas.money.to_minor`; NULL where the amount is out of range."""
        amount = self._double(value)
        usable = amount.between(-_MAX_AMOUNT, _MAX_AMOUNT).ifelse(amount, ibis.null("float64"))
        return (usable * 100.0 + 0.5).floor().cast("int64")

    def quantity(self, value: Value) -> IntegerValue:
        """A whole number of pieces; 1 where it is not known."""
        pieces = self._double(value)
        usable = ((pieces > -_MAX_QUANTITY) & (pieces < _MAX_QUANTITY - 1)).ifelse(pieces, 1.0)
        return (usable + 0.5).floor().fill_null(1.0).cast("int64")

    def _double(self, value: Value) -> Value:
        return self._tried(value, dt.float64) if value.type().is_string() else value.cast("float64")

    def _tried(self, text: Value, kind: dt.DataType) -> Value:
        if self.backend in _TRIES:
            return text.try_cast(kind)
        what = "a time (timestamptz)" if kind.is_timestamp() else "a number (double precision)"
        server = {"postgres": "PostgreSQL", "redshift": "Redshift"}[self.backend]
        raise WarehouseError(
            f"column {text.get_name()} is text, and {server} cannot try whether text is {what}; cast it in the source's SQL"
        )

    def sortable(self, value: Value) -> Value:
        """What orders text as Python does, by code points, whatever the collation."""
        return convert_to(value, "UTF8") if self.backend == "postgres" and value.type().is_string() else value

    def order(self, *values: Value) -> list[Value]:
        """A total order, ascending, NULLs last: dialects put them at either end."""
        return [key for value in values for key in (value.isnull().ifelse(1, 0), self.sortable(value))]

    def digest(self, text: Value) -> StringValue:
        """MD5 of the text's UTF-8 bytes in lower-case hexadecimal digits: scatters customers alike in every warehouse."""
        return to_hex(_md5_bytes(text)) if self.backend == "bigquery" else _md5(text)


def timed(value: Value) -> bool:
    """Whether a column's type can hold times."""
    kind = value.type()
    return bool(kind.is_timestamp() or kind.is_date() or kind.is_string())
