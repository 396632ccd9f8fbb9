from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FINAL = ("faces.parquet", "embeddings.npy", "people.parquet", "crops.parquet", "skipped.parquet")


@pytest.mark.slow
def test_killed_at_any_rename_it_ends_with_the_same_bits(fakes, tmp_path: Path) -> None:
    """Everything on disk changes by renames, so these are the states that a kill can leave."""
    photos = fakes.make_photos(tmp_path / "photos", 7)
    (photos / "photo 0003.jpg").write_text("bad")
    done = subprocess.run(
        [sys.executable, HERE / "killer.py", photos, tmp_path / "runs"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    # Two descriptions of the job, four renames for each of two shards, seven final files, the end.
    assert found["kills"] == 2 + 4 * 2 + 7 + 1
    assert found["different"] == [], done.stderr


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bits(fakes, tmp_path: Path) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 600)
    fakes.fake_run(photos, tmp_path / "undisturbed")
    code = (
        "import sys; from pathlib import Path; from fakes import fake_run;"
        " from fake_extractor import SlowExtractor;"
        " print('begun', flush=True);"
        " fake_run(Path(sys.argv[1]), Path(sys.argv[2]), make_extractor=SlowExtractor)"
    )
    command = [sys.executable, "-c", code, str(photos), str(tmp_path / "run")]
    moments = random.Random(0)
    kills = 0
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            try:
                process.wait(timeout=moments.uniform(0.5, 2.5))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                kills += 1
    assert kills >= 1
    subprocess.run(command, check=True, capture_output=True)
    for name in FINAL:
        run, undisturbed = tmp_path / "run" / name, tmp_path / "undisturbed" / name
        assert run.read_bytes() == undisturbed.read_bytes(), name
