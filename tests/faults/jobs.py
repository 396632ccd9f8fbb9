"""What is interrupted: every command that leaves something on disk, small and without a model.

A job works below one folder.  Calling `work` again is the same command again; what it counts and
returns is kept outside of that folder, where no disk fails.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pipeline"))  # its fakes

from fake_extractor import FakeExtractor
from fakes import FakeEmbedder, fake_run, make_photos

from fastface import AttributeDiscovery, KMeans, MiniBatchKMeans, NeighborGraph
from fastface.cli import main as cli
from fastface.models.cache import cached, write_file
from fastface.pipeline import job
from fastface.pipeline.photo_worker import PhotoResult, _answer
from fastface.report import write_report
from fastface.runtimes.engine_file import EngineInfo, pack_engine, read_engine
from fastface.storage import read_arrays

__all__ = ["JOBS", "Job"]

_DATED = re.compile(rb'"(time|sha256)": "[^"]*"')
_TIMES = re.compile(
    rb"<h3>Time by stage</h3>.*?</dl>|<h3>Busy side by side</h3>.*?</table>", re.DOTALL
)


class Job:
    """One command.

    Parameters
    ----------
    inputs : Path
        What it reads, made by `prepare` once for all.
    """

    name = ""

    def __init__(self, inputs: Path) -> None:
        self.inputs = inputs

    def prepare(self) -> None:
        """Make the inputs."""

    def begin(self, folder: Path) -> None:
        """Put there what is to be there before the command is called."""

    def work(self, folder: Path) -> int:
        """Do it; return how many pieces of work that took."""
        raise NotImplementedError

    def finished(self, folder: Path) -> int:
        """Return how many pieces of work are on disk, not to be done again."""
        return 0

    def result(self, folder: Path) -> dict[str, bytes]:
        """Return all that it leaves, by name."""
        return {
            str(path.relative_to(folder)): _without_times(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != "run.json"  # which says how long it took
        }


def _without_times(path: Path) -> bytes:
    content = _TIMES.sub(b"", path.read_bytes())
    # Records say when they were written, and their digests with them.
    return _DATED.sub(b"", content) if path.name == "history.jsonl" else content


class InlinePool:
    """Takes the place of worker processes, which write nothing and have nothing to be refused."""

    def __init__(self, make_extractor: Any, workers: int) -> None:
        self._extractor = make_extractor()

    def __enter__(self) -> InlinePool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        pass

    def extract(self, root: Path, photos: Iterator[str]) -> Iterator[PhotoResult]:
        for photo in photos:
            answer = _answer(self._extractor, str(root / photo))
            if not isinstance(answer, PhotoResult):
                raise answer
            yield answer


class CountingEmbedder(FakeEmbedder):
    """Counts the faces that were embedded."""

    def __init__(self) -> None:
        self.n_faces = 0

    def embed(self, crops: np.ndarray) -> np.ndarray:
        self.n_faces += len(crops)
        return super().embed(crops)


class RunJob(Job):
    """`fastface run` without its report."""

    name = "run"
    options: ClassVar[dict[str, Any]] = {}

    def prepare(self) -> None:
        photos = make_photos(self.inputs / "photos", 10)
        (photos / "photo 0003.jpg").write_text("bad")

    def work(self, folder: Path) -> int:
        job.ExtractionPool = InlinePool
        job.PHOTOS_PER_SHARD = 4
        embedder = CountingEmbedder()
        fake_run(
            self.inputs / "photos",
            folder / "run",
            make_extractor=FakeExtractor,
            make_embedder=lambda: embedder,
            **self.options,
        )
        return embedder.n_faces

    def finished(self, folder: Path) -> int:
        if (folder / "run/run.json").is_file():
            return pq.read_metadata(folder / "run/faces.parquet").num_rows
        shards = (folder / "run/shards").glob("[0-9]*")
        return sum(pq.read_metadata(shard / "faces.parquet").num_rows for shard in shards)


class ForcedRunJob(RunJob):
    """`fastface run --force` where people have been given names."""

    name = "run --force"
    options: ClassVar[dict[str, Any]] = {"force": True, "method": "overlap-linkage"}

    def begin(self, folder: Path) -> None:
        job.ExtractionPool = InlinePool
        fake_run(
            self.inputs / "photos",
            folder / "run",
            make_extractor=FakeExtractor,
            make_embedder=FakeEmbedder,
        )
        table = pq.read_table(folder / "run/people.parquet")
        names = pa.array([f"person {i}" for i in range(table.num_rows)])
        column = table.schema.get_field_index("name")
        pq.write_table(table.set_column(column, "name", names), folder / "run/people.parquet")

    def finished(self, folder: Path) -> int:
        return 0  # all of it is to be made anew


class ReportJob(Job):
    """The pages of a finished run, which replace older ones."""

    name = "report"

    def prepare(self) -> None:
        make_photos(self.inputs / "photos", 2)
        fake_run(self.inputs / "photos", self.inputs / "run", report=True)

    def begin(self, folder: Path) -> None:
        shutil.copytree(self.inputs / "run", folder / "run")

    def work(self, folder: Path) -> int:
        write_report(folder / "run")
        return 0


class FitJob(Job):
    """A fit of k-means with a checkpoint."""

    name = "KMeans"
    model: Any = KMeans(6, random_state=0, max_iter=8, tol=0.0)

    def prepare(self) -> None:
        rng = np.random.default_rng(0)
        np.save(self.inputs / "rows.npy", rng.standard_normal((400, 8)).astype(np.float32))

    def work(self, folder: Path) -> int:
        steps: list[Any] = []
        model = self.model.__class__(**self.model.get_params())
        model.set_params(checkpoint=folder / "fit.npz", callback=steps.append)
        model.fit(np.load(self.inputs / "rows.npy"))
        parts = [model.cluster_centers_, model.labels_, np.array([model.inertia_, model.n_iter_])]
        fitted = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
        folder.with_suffix(".fitted").write_bytes(fitted)
        return len(steps)

    def finished(self, folder: Path) -> int:
        if not (folder / "fit.npz").is_file():
            return 0
        state = read_arrays(folder / "fit.npz", mmap=False)[0]["state"]
        return int(state.get("iteration", state.get("step", 0)))

    def result(self, folder: Path) -> dict[str, bytes]:
        return {**super().result(folder), "fitted": folder.with_suffix(".fitted").read_bytes()}


class BatchFitJob(FitJob):
    """A fit of mini-batch k-means with a checkpoint."""

    name = "MiniBatchKMeans"
    model = MiniBatchKMeans(5, random_state=0, batch_size=100, max_iter=3, max_no_improvement=None)


class GraphJob(Job):
    """Build a neighbour graph and save it."""

    name = "graph"

    def prepare(self) -> None:
        rng = np.random.default_rng(1)
        np.save(self.inputs / "graph rows.npy", rng.standard_normal((200, 8)).astype(np.float32))

    def work(self, folder: Path) -> int:
        rows = np.load(self.inputs / "graph rows.npy")
        NeighborGraph.build(rows, n_neighbors=6).save(folder / "people.graph")
        NeighborGraph.load(folder / "people.graph").check_matches(rows)
        return 0


class AttributesJob(Job):
    """Save what `AttributeDiscovery` found."""

    name = "attributes"

    def prepare(self) -> None:
        rng = np.random.default_rng(2)
        np.save(self.inputs / "attributes.npy", rng.standard_normal((120, 6)).astype(np.float32))
        rows = np.load(self.inputs / "attributes.npy")
        AttributeDiscovery(2, max_depth=1).fit(rows).save(self.inputs / "fitted.npz")

    def work(self, folder: Path) -> int:
        model = AttributeDiscovery.load(self.inputs / "fitted.npz")
        model.save(folder / "model.npz")
        AttributeDiscovery.load(folder / "model.npz")
        return 0


class ClusterJob(Job):
    """`fastface cluster`, replacing labels of yesterday."""

    name = "cluster"

    def prepare(self) -> None:
        rng = np.random.default_rng(3)
        np.save(self.inputs / "vectors.npy", rng.standard_normal((60, 8)).astype(np.float32))

    def begin(self, folder: Path) -> None:
        (folder / "labels.csv").write_text("of yesterday")

    def work(self, folder: Path) -> int:
        command = ["cluster", str(self.inputs / "vectors.npy"), "-o", str(folder / "labels.csv")]
        options = ["--force", "--quiet", "--json", "--neighbors", "5", "--method", "components"]
        os.environ["FASTFACE_DEBUG"] = "1"  # errors are wanted as such
        cli([*command, *options])
        return 0


class EngineJob(Job):
    """An engine built into the cache and copied to where the user wants it."""

    name = "engine"

    def work(self, folder: Path) -> int:
        os.environ["FASTFACE_CACHE_DIR"] = str(folder / "cache")
        info = EngineInfo("m", "0" * 64, "fp16", "tensorrt-rtx", "1.7", "sm_89", 64, "{}")
        built: list[bytes] = []

        def build() -> bytes:
            built.append(pack_engine(info, bytes(range(256)) * 40))
            return built[-1]

        path = cached("m-sm_89", ".engine", build).path
        write_file(folder / "mine.engine", path.read_bytes())
        read_engine(folder / "mine.engine")
        return len(built)

    def finished(self, folder: Path) -> int:
        return len(list((folder / "cache").glob("*.engine")))


JOBS: tuple[type[Job], ...] = (
    RunJob,
    ForcedRunJob,
    ReportJob,
    FitJob,
    BatchFitJob,
    GraphJob,
    AttributesJob,
    ClusterJob,
    EngineJob,
)
