"""Parquet files of run folders, encrypted or not, that cannot become more than they are.

A few bytes of Parquet can claim any number of rows, or repeat one long text in each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastface.errors import CorruptFileError
from fastface.vault.files import reading

__all__ = ["open_table", "read_columns"]

# Every table has a column in which no two rows are alike, so that a row takes bytes of its own.
_ROWS_PER_BYTE = 16
_EXPANSION = 256
_SMALL = 1 << 16
_TEXT_BYTES = 1 << 32


@contextmanager
def open_table(path: Path, **options: Any) -> Iterator[Any]:
    """Open a Parquet file whose checksums are compared, where it has any, as it is read.

    Parameters
    ----------
    path : Path
    **options
        Of ``pyarrow.parquet.ParquetFile``.

    Yields
    ------
    pyarrow.parquet.ParquetFile

    Raises
    ------
    CorruptFileError
        If it claims far more rows or bytes than its size allows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        checked = {"page_checksum_verification": True, **options}
        with reading(path) as source, pq.ParquetFile(source, **checked) as file:
            about, size = file.metadata, path.stat().st_size
            groups = (about.row_group(i) for i in range(about.num_row_groups))
            unpacked = sum(group.total_byte_size for group in groups)
            if about.num_rows > _ROWS_PER_BYTE * size or unpacked > _EXPANSION * size + _SMALL:
                raise CorruptFileError(
                    f"{path} claims {about.num_rows:,} rows and {unpacked:,} bytes in {size:,}: it"
                    " was not written by fastface"
                )
            yield file
    except pa.ArrowNotImplementedError as error:  # what a flipped bit may ask for
        raise CorruptFileError(f"{path} is damaged ({error})") from error


def read_columns(path: Path, columns: Sequence[str] | None = None) -> Any:
    """Read a Parquet file as a whole.

    Parameters
    ----------
    path : Path
    columns : sequence of str, optional
        All by default.

    Returns
    -------
    pyarrow.Table

    Raises
    ------
    CorruptFileError
        See `open_table`; also if its texts are of an impossible length all together.
    KeyError
        If it has no such column.
    """
    import pyarrow as pa

    with open_table(path) as file:
        schema = file.schema_arrow
        if columns is not None and (absent := sorted(set(columns) - set(schema.names))):
            raise KeyError(f"no column {', '.join(absent)}")
        texts = [field.name for field in schema if pa.types.is_string(field.type)]
    with open_table(path, read_dictionary=texts) as file:
        table = file.read(columns=columns)
    for name in set(texts) & set(table.column_names):
        column = table[name]
        if pa.types.is_dictionary(column.type):
            if sum(_text_bytes(chunk) for chunk in column.chunks) > _TEXT_BYTES:
                raise CorruptFileError(f"{path}: the texts in {name} are too long to be meant")
            field = pa.field(name, pa.string(), metadata=schema.field(name).metadata)
            table = table.set_column(
                table.schema.get_field_index(name), field, column.cast(pa.string())
            )
    return table


def _text_bytes(chunk: Any) -> int:
    """Return how long the texts of a dictionary-encoded chunk are once they are written out."""
    import pyarrow.compute as pc

    lengths = pc.binary_length(chunk.dictionary).take(chunk.indices)
    return pc.sum(lengths.cast("int64")).as_py() or 0
