"""Ask the vulnerability service about every package of an environment; say so where it is silent.

Usage: ``python scripts/audit.py PIP_AUDIT PYTHON``: the command, and the interpreter of the
environment.  Exit code 1 means that a known vulnerability was found, 0 that none was or that nobody
could be asked; which of both is said.  ``pip-audit`` alone ends well where the service knows none
of the packages, as behind a mirror that has no such data.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 300


def ask(pip_audit: str, python: str) -> tuple[list[dict[str, Any]], str]:
    """Return what is said about each package, and the last words on stderr."""
    path = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [pip_audit, "--path", path, "--progress-spinner", "off"]
        command += ["--timeout", "15", "--format", "json", "--output", str(answer)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return [], str(error)
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        try:
            dependencies = json.loads(answer.read_text())["dependencies"]
        except (OSError, ValueError, KeyError):
            dependencies = []
    return dependencies, words[-1]


def judge(dependencies: list[dict[str, Any]], words: str) -> tuple[int, list[str]]:
    """Return the exit code and what to print."""
    known = [package for package in dependencies if "vulns" in package]
    bad = [
        f"{package['name']} {package['version']}: {found['id']},"
        f" fixed in {', '.join(found['fix_versions']) or 'no version'}"
        for package in known
        for found in package["vulns"]
    ]
    if not known:
        reasons = [package.get("skip_reason", "") for package in dependencies[:1]]
        return 0, [f"nothing audited: no vulnerability service answers ({(reasons or [words])[0]})"]
    return int(bool(bad)), [f"{len(known)} of {len(dependencies)} packages audited", *bad]


def main() -> int:
    """Ask, judge, print."""
    code, lines = judge(*ask(*sys.argv[1:3]))
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
