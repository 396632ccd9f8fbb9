"""``fastface cluster``: embeddings in, groups out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.cli.describe import describe_changes
from fastface.cli.output import choose_progress, print_json, printable
from fastface.errors import InvalidInputError, MissingDependencyError, StorageError
from fastface.storage import replacing
from fastface.vault import load_array

_STEPS = 3  # of grouping: the graph, the people, how sure


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "cluster",
        parents=[common],
        help="group embeddings of your own",
        description="Group the rows of a matrix of embeddings into people; or the faces of a run"
        " folder anew, around the corrections made with `fastface people`.",
    )
    parser.add_argument(
        "embeddings",
        metavar="EMBEDDINGS|RUN",
        help=".npy, or .parquet with a list column 'embedding'; or a run folder",
    )
    parser.add_argument(
        "--out", "-o", metavar="FILE", help="labels: .npy, .csv or .parquet; not for a run folder"
    )
    parser.add_argument(
        "--method",
        default="auto",
        help="auto, overlap-linkage, map-equation, fc-es, chinese-whispers, rank-order, dbscan,"
        " hdbscan or components",
    )
    parser.add_argument("--neighbors", type=int, metavar="K", help="edges a row (80)")
    parser.add_argument(
        "--cutoff",
        type=_cutoff,
        metavar="DISTANCE",
        help="between unit vectors, beyond which two faces are hardly one person, or 'estimate' for"
        " embeddings of another model (default: that of dlib's model)",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads of the kernels")
    parser.add_argument("--force", action="store_true", help="replace an existing FILE")
    parser.set_defaults(call=call)


def _cutoff(text: str) -> float | str:
    return text if text == "estimate" else float(text)


def call(options: argparse.Namespace) -> int:
    """Read, group, write."""
    from fastface import IdentityClustering

    source = Path(options.embeddings)
    if source.is_dir():
        return _regroup(source, options)
    if options.out is None:
        raise InvalidInputError(f"where shall the labels of {source} go? Give --out FILE")
    target = Path(options.out)
    if target.suffix not in (".npy", ".csv", ".parquet"):
        raise InvalidInputError(f"--out {target} must end in .npy, .csv or .parquet")
    if target.exists() and not options.force:
        raise StorageError(f"{target} is there already: give another --out, or --force")
    if not target.parent.is_dir():
        raise StorageError(f"there is no folder {target.parent} to write {target.name} into")
    chosen = {"cutoff": options.cutoff, "n_neighbors": options.neighbors}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    rows = _read(source)
    with choose_progress(options).step("people", _STEPS, "steps") as step:
        model = IdentityClustering(
            options.method,
            n_threads=options.threads,
            callback=lambda _: step.advance(),
            **chosen,
        ).fit(rows)
    _write(target, model.labels_, model.confidence_)
    if options.json:
        print_json({"rows": len(model.labels_), "people": model.n_people_, "method": model.method_})
    else:
        print(f"{len(model.labels_)} rows, {model.n_people_} people: {printable(str(target))}")
    return 0


def _regroup(folder: Path, options: argparse.Namespace) -> int:
    """Group the faces of a run folder anew."""
    given = [name for name in ("out", "neighbors", "cutoff") if getattr(options, name) is not None]
    if given:
        raise InvalidInputError(
            f"--{given[0]} is for files of embeddings: {folder} is a run folder, whose own tables"
            " are written"
        )
    from fastface.pipeline import regroup

    with choose_progress(options).step("people", _STEPS, "steps") as step:
        result = regroup(
            folder,
            method=options.method,
            n_threads=options.threads,
            callback=lambda _: step.advance(),
        )
    if options.json:
        print_json({"rows": result.n_faces, "people": result.n_people})
    else:
        print(f"{result.n_faces} faces, {result.n_people} people: {printable(str(folder))}")
        for line in describe_changes(folder):
            print(line)
    return 0


def _parquet(purpose: str) -> Any:
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingDependencyError.for_package(
            "pyarrow", extra="faces", purpose=purpose
        ) from error
    return pq


def _read(path: Path) -> NDArray[Any]:
    if not path.is_file():
        raise StorageError(f"there is no file {path}")
    try:
        if path.suffix == ".npy":
            return load_array(path, mmap=True)
        if path.suffix == ".parquet":
            table = _parquet("Reading Parquet").read_table(path)
            if "embedding" not in table.column_names:
                raise InvalidInputError(
                    f"{path} has columns {', '.join(table.column_names)};"
                    " the embeddings must be in a list column 'embedding'"
                )
            return np.array(table["embedding"].to_pylist())
    except (ValueError, EOFError) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(f"{path} holds no matrix of numbers: {error}") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
    raise InvalidInputError(f"{path} must end in .npy or .parquet")


def _write(path: Path, labels: NDArray[np.int64], confidence: NDArray[np.float32]) -> None:
    with replacing(path) as temporary:
        if path.suffix == ".npy":
            with temporary.open("wb") as file:
                np.save(file, labels, allow_pickle=False)
        elif path.suffix == ".csv":
            with temporary.open("w", encoding="utf-8") as text:
                text.write("row,person_id,confidence\n")
                for row, (label, sure) in enumerate(zip(labels, confidence, strict=True)):
                    text.write(f"{row},{label},{sure:.6g}\n")
        else:
            pq = _parquet("Writing Parquet")
            import pyarrow as pa

            pq.write_table(pa.table({"person_id": labels, "confidence": confidence}), temporary)
