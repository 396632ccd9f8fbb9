"""Encrypted run folders: nothing readable on disk, the same results, one clear error."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastface import vault
from fastface.cli import main
from fastface.errors import (
    CorruptFileError,
    EncryptionError,
    InvalidInputError,
    MissingDependencyError,
    RunMismatchError,
)
from fastface.pipeline import People, forget
from fastface.pipeline.history import HISTORY_FILE, History
from fastface.pipeline.storage import read_table
from fastface.report import write_report
from fastface.vault.sealed import SealedReader, SealedWriter

KEY = bytes(range(32))
PLAIN = {".lock", "encryption.json"}


@pytest.fixture(autouse=True)
def _cheap_and_keyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastface.vault.keys._SCRYPT", {"n": 2, "r": 1, "p": 1})
    monkeypatch.delenv("FASTFACE_KEY_FILE", raising=False)
    monkeypatch.setenv("FASTFACE_PASSPHRASE", "correct horse")


@pytest.fixture
def encrypted(fakes, photos: Path, tmp_path: Path) -> Path:
    fakes.fake_run(photos, tmp_path / "secret", encrypt=True, report=None)
    return tmp_path / "secret"


def seal(content: bytes, pieces: list[int]) -> bytes:
    target = io.BytesIO()
    target.close = lambda: None  # type: ignore[method-assign]
    with SealedWriter(target, KEY) as file:
        for size in pieces:
            file.write(content[:size])
            content = content[size:]
        file.write(content)
    return target.getvalue()


@settings(deadline=None, max_examples=25)
@given(
    size=st.sampled_from([0, 1, 65535, 65536, 65537, 131072, 200_000]),
    pieces=st.lists(st.integers(0, 70_000), max_size=4),
    reads=st.lists(st.tuples(st.integers(0, 210_000), st.integers(0, 70_000)), max_size=5),
)
def test_what_was_sealed_is_read_anywhere(tmp_path_factory, size, pieces, reads) -> None:
    content = np.random.default_rng(size).bytes(size)
    path = tmp_path_factory.getbasetemp() / "sealed"
    path.write_bytes(seal(content, pieces))
    with io.BufferedReader(SealedReader(path, KEY)) as file:
        assert file.read() == content
        for start, length in reads:
            file.seek(start)
            assert file.read(length) == content[start : start + length]
        file.seek(-min(size, 9), os.SEEK_END)
        assert file.read() == content[max(0, size - 9) :]


def read_all(path: Path) -> bytes:
    with io.BufferedReader(SealedReader(path, KEY)) as file:
        return file.read()


def test_any_change_is_noticed(tmp_path: Path) -> None:
    content = bytes(150_000)
    good = seal(content, [])
    chunk = 65536 + 16
    header = len(good) - len(content) - 3 * 16
    path = tmp_path / "sealed"
    changed = {
        "a bit": good[:5000] + bytes([good[5000] ^ 1]) + good[5001:],
        "a bit of the salt": good[:20] + bytes([good[20] ^ 1]) + good[21:],
        "the end": good[:-1],
        "the last chunk": good[: header + 2 * chunk],
        "the first chunk": good[:header] + good[header + chunk :],
        "the order": good[:header]
        + good[header + chunk : header + 2 * chunk]
        + good[header : header + chunk]
        + good[header + 2 * chunk :],
        "more": good + good[header : header + chunk],
        "all": good[:header],
        "almost all": good[:19],
    }
    for bad in changed.values():
        path.write_bytes(bad)
        with pytest.raises(CorruptFileError, match="cut off or changed"):
            read_all(path)
    empty = seal(b"", [])
    path.write_bytes(empty[:-1] + bytes([empty[-1] ^ 1]))
    with pytest.raises(CorruptFileError), SealedReader(path, KEY) as file:
        file.read(1)


def test_two_files_share_no_bytes() -> None:
    one, other = seal(bytes(1000), []), seal(bytes(1000), [])
    assert one[18:] != other[18:]
    assert b"\0" * 8 not in one


def test_a_folder_holds_nothing_readable(encrypted: Path) -> None:
    files = {str(p.relative_to(encrypted)) for p in encrypted.rglob("*") if p.is_file()}
    assert len(files) > 8
    for name in files - PLAIN:
        content = (encrypted / name).read_bytes()
        assert content.startswith(b"fastface sealed 1\n"), name
        for telling in (b"photo 00", b"PAR1", b"NUMPY", b"\xff\xd8\xff"):
            assert telling not in content, name
    assert "correct" not in (encrypted / "encryption.json").read_text()
    assert not (encrypted / "report").exists()


def test_shards_of_a_stopped_job_are_sealed_and_used(
    fakes, photos: Path, tmp_path: Path, monkeypatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("fastface.pipeline.job.collect", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fakes.fake_run(photos, tmp_path / "secret", encrypt=True)
    shard = tmp_path / "secret" / "shards" / "00000000"
    for path in shard.iterdir():
        assert path.read_bytes().startswith(b"fastface sealed 1\n")
    monkeypatch.setattr("fastface.pipeline.job.ExtractionPool", None)  # all photos are read
    assert fakes.fake_run(photos, tmp_path / "secret").n_faces == 22


def test_the_same_results(encrypted: Path, fakes, photos: Path, tmp_path: Path) -> None:
    plain_run = tmp_path / "plain"
    fakes.fake_run(photos, plain_run)
    for name in ("faces", "people", "crops", "skipped", "photos"):
        plain = pq.read_table(plain_run / f"{name}.parquet")
        assert read_table(encrypted / f"{name}.parquet").equals(plain)
    for mmap in (False, True):
        np.testing.assert_array_equal(
            vault.load_array(encrypted / "embeddings.npy", mmap=mmap),
            np.load(plain_run / "embeddings.npy"),
        )
    assert fakes.fake_run(photos, encrypted).reused  # with or without the flag
    assert fakes.fake_run(photos, encrypted, encrypt=True).reused


def test_commands_read_it(family: tuple[Path, Path], fakes, capsys, tmp_path: Path) -> None:
    encrypted = tmp_path / "secret"
    fakes.fake_run(family[0], encrypted, encrypt=True)
    assert main(["report", str(encrypted), "--quiet"]) == 0
    assert (encrypted / "report" / "index.html").read_bytes().startswith(b"<!doctype")
    labels = str(tmp_path / "labels.npy")
    assert main(["cluster", str(encrypted / "embeddings.npy"), "-o", labels, "--quiet"]) == 0
    removal = forget(encrypted, ["0"])
    assert removal.people == 1
    assert (encrypted / "forgotten.json").read_bytes().startswith(b"fastface sealed 1\n")
    write_report(encrypted)
    # The proof looks inside what is encrypted.
    crop = read_table(encrypted / "crops.parquet")["jpeg"][0].as_py()
    vault.write_bytes(encrypted / "copy", b"x" + crop)
    with pytest.raises(OSError, match="copy: crop"):
        forget(
            encrypted,
            [str(p) for p in read_table(encrypted / "people.parquet")["person_id"].to_pylist()],
        )


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, r"secret is encrypted with a passphrase: set FASTFACE_PASSPHRASE"),
        ({"FASTFACE_PASSPHRASE": "wrong"}, "secret is encrypted with another passphrase"),
        ({"FASTFACE_KEY_FILE": "/dev/null"}, r"encrypted with a passphrase: set"),
    ],
)
def test_without_its_key(
    encrypted: Path, fakes, photos: Path, monkeypatch, capsys, environment, message
) -> None:
    before = {p: p.read_bytes() for p in encrypted.rglob("*") if p.is_file()}
    monkeypatch.delenv("FASTFACE_PASSPHRASE")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for attempt in (
        lambda: fakes.fake_run(photos, encrypted),
        lambda: fakes.fake_run(photos, encrypted, force=True),
        lambda: write_report(encrypted),
        lambda: forget(encrypted, ["0"]),
        lambda: read_table(encrypted / "faces.parquet"),
    ):
        with pytest.raises(EncryptionError, match=message):
            attempt()
    assert main(["attributes", str(encrypted)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert {p: p.read_bytes() for p in encrypted.rglob("*") if p.is_file()} == before


def test_a_key_file(fakes, photos: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("FASTFACE_PASSPHRASE")
    run, key = tmp_path / "run", tmp_path / "key"
    with pytest.raises(EncryptionError, match=r"needs a key: set FASTFACE_KEY_FILE to a file of"):
        fakes.fake_run(photos, run, encrypt=True)
    monkeypatch.setenv("FASTFACE_KEY_FILE", str(key))
    with pytest.raises(EncryptionError, match=r"key cannot be read: No such file"):
        fakes.fake_run(photos, run, encrypt=True)
    key.write_bytes(b"too short")
    with pytest.raises(InvalidInputError, match="holds 9 bytes; 32 random ones"):
        fakes.fake_run(photos, run, encrypt=True)
    key.write_bytes(os.urandom(32))
    fakes.fake_run(photos, run, encrypt=True)
    key.write_bytes(os.urandom(32))
    with pytest.raises(EncryptionError, match="encrypted with another key file"):
        fakes.fake_run(photos, run)
    monkeypatch.delenv("FASTFACE_KEY_FILE")
    with pytest.raises(EncryptionError, match="with a key file: set FASTFACE_KEY_FILE"):
        fakes.fake_run(photos, run)


def test_what_is_readable_already_is_not_called_encrypted(
    finished_run: Path, fakes, photos: Path
) -> None:
    for force in (False, True):
        with pytest.raises(RunMismatchError, match="made without encryption"):
            fakes.fake_run(photos, finished_run, encrypt=True, force=force)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"unlocked_by": "magic"},
        {"scrypt": {"n": 2**40, "r": 1, "p": 1}},
        {"scrypt": {"n": "2"}},
        {"salt": "zz"},
        {"wrapped_key": 7},
    ],
)
def test_a_damaged_lock(encrypted: Path, change: dict[str, object]) -> None:
    path = encrypted / "encryption.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CorruptFileError, match=r"encryption.json is damaged"):
        read_table(encrypted / "faces.parquet")
    path.unlink()
    with pytest.raises(CorruptFileError, match=r"the encryption.json beside it is gone"):
        read_table(encrypted / "faces.parquet")


def test_the_package_is_named_where_it_is_missing(fakes, photos, tmp_path, monkeypatch) -> None:
    for name in [n for n in sys.modules if n.startswith("cryptography.")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=r"fastface\[encryption\]"):
        fakes.fake_run(photos, tmp_path / "run", encrypt=True)


def test_a_damaged_table_is_named(encrypted: Path) -> None:
    path = encrypted / "faces.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(CorruptFileError, match=r"faces.parquet was cut off or changed"):
        read_table(path)
    with pytest.raises(CorruptFileError, match=r"faces.parquet"):
        write_report(encrypted)


def test_a_history_is_sealed_and_goes_on(encrypted: Path, capsys) -> None:
    """Corrections are read through the vault: by key, line by line, and noticed when changed."""
    first, second = (person.person_id for person in People(encrypted).everybody()[:2])
    People(encrypted).name(first, "Ada Lovelace")
    People(encrypted).apart(first, second)
    People(encrypted).undo()
    path = encrypted / HISTORY_FILE
    assert path.read_bytes().startswith(b"fastface sealed 1\n")
    assert b"Ada" not in path.read_bytes()
    assert [record.kind for record in History(path).records] == ["name", "apart", "undo"]
    assert main(["people", "history", str(encrypted)]) == 0
    assert "Ada Lovelace" in capsys.readouterr().out
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    with pytest.raises(CorruptFileError):
        People(encrypted).history()
