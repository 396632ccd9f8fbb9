"""Feed damaged input to everything that reads files, for as long as one likes.

Usage: ``python scripts/fuzz.py [TARGET ...] [--seconds N] [--seed N] [--findings FOLDER]``

Every input is a mutation of one from ``tests/fuzz/corpus``.  An input that raises anything but an
error of fastface's own, takes more than ten seconds or ends the process is a finding: it is written
to ``--findings`` before it is tried, and removed when it did no harm.  ``--atheris`` lets libFuzzer
choose mutations by the lines that they reach (``pip install atheris``; one target).
"""

from __future__ import annotations

import argparse
import hashlib
import random
import resource
import signal
import sys
import time
import traceback
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO / "tests" / "support"))

import fuzz_targets  # noqa: E402

SLOW_SECONDS = 10
MEMORY_BYTES = 6 << 30
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)


def mutate(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Change a few things: bits, bytes, numbers, lengths, order; or join two inputs."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(8)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(out):
            out[at] = rng.randrange(256)
        elif kind == 2:
            size = rng.choice((1, 2, 4, 8))
            number = rng.choice(INTERESTING) % (1 << (8 * size))
            out[at : at + size] = number.to_bytes(size, rng.choice(("little", "big")))
        elif kind == 3:
            del out[at : at + rng.choice((1, 2, 4, 16, 64, 1 << 20))]
        elif kind == 4:
            out[at:at] = out[at : at + rng.choice((1, 8, 64, 512))]
        elif kind == 5:
            out[at:at] = rng.randbytes(rng.choice((1, 4, 32)))
        elif kind == 6:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            out[at : at + 64] = other[start : start + 64]
        else:
            out[at:at] = rng.choice((b"../", b"\0", b"<script>", b"\xff\xfe", b"-", b"=", b"\n"))
    return bytes(out)


class Fuzzer:
    """One target, its counts and its findings."""

    def __init__(self, target: str, findings: Path, seed: int) -> None:
        self.target, self.findings = target, findings
        self.corpus = fuzz_targets.seeds(target)
        self.rng = random.Random(f"{seed} {target}")
        self.executions = self.accepted = 0
        self.found: dict[str, str] = {}

    def run(self, seconds: float) -> None:
        """Work for so long."""
        end = time.monotonic() + seconds
        for _ in range(2):  # the first time includes imports, and counts as no finding
            for data in self.corpus:
                self.try_one(data)
        while time.monotonic() < end:
            self.try_one(mutate(self.rng.choice(self.corpus), self.rng, self.corpus))

    def try_one(self, data: bytes) -> None:
        """Feed one input; note what it does that it must not."""
        self.executions += 1
        name = f"{self.target}-{hashlib.sha256(data).hexdigest()[:12]}"
        path = self.findings / name
        path.write_bytes(data)
        signal.alarm(SLOW_SECONDS if self.executions > len(self.corpus) else 0)
        try:
            self.accepted += fuzz_targets.attempt(self.target, data)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            where = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}"
            if kind in self.found:
                if self.found[kind] != name:
                    path.unlink()
            else:
                self.found[kind] = name
                print(f"{self.target}: {kind}: {str(error)[:200]} ({path})", flush=True)
        else:
            path.unlink()
        finally:
            signal.alarm(0)


def too_slow(*_: object) -> None:
    """Answer the alarm."""
    raise TimeoutError(f"more than {SLOW_SECONDS} s")


def coverage_guided(target: str, seconds: int, findings: Path) -> None:
    """Let libFuzzer drive one target; what it keeps goes to the findings, not to the corpus."""
    import atheris

    atheris.instrument_all()
    kept = findings / f"{target}-corpus"
    kept.mkdir(parents=True, exist_ok=True)
    options = [sys.argv[0], f"-max_total_time={seconds}", f"-artifact_prefix={findings}/"]
    options += [str(kept), str(fuzz_targets.CORPUS / target)]
    atheris.Setup(options, lambda data: fuzz_targets.attempt(target, data) and None)
    atheris.Fuzz()


def main() -> int:
    """Run; the exit code says whether anything was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all by default")
    parser.add_argument("--seconds", type=int, default=60, help="for each (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--findings", type=Path, default=Path("findings"), metavar="FOLDER")
    parser.add_argument("--atheris", action="store_true", help="guided by coverage; one target")
    options = parser.parse_args()
    unknown = set(options.targets) - set(fuzz_targets.TARGETS)
    if unknown:
        parser.error(f"no target {', '.join(unknown)}; there are {', '.join(fuzz_targets.TARGETS)}")
    if options.atheris:
        coverage_guided(options.targets[0], options.seconds, options.findings)
        return 0
    options.findings.mkdir(parents=True, exist_ok=True)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGALRM, too_slow)
    found = 0
    for target in options.targets or fuzz_targets.TARGETS:
        fuzzer = Fuzzer(target, options.findings, options.seed)
        fuzzer.run(options.seconds)
        found += len(fuzzer.found)
        print(
            f"{target:<14} {fuzzer.executions:>8,} executions, {fuzzer.accepted:>7,} accepted,"
            f" {len(fuzzer.found)} findings",
            flush=True,
        )
    fuzz_targets.clean_up()
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
