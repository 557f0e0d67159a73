"""Runs a program to its end; what it says is in the error if it fails."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from clusters.errors import Failed, Missing

_SHOWN: Final = 3000
"""Characters of a failed program's last words that an error repeats."""


def run(
    command: Sequence[str | Path],
    *,
    stdin: str | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float = 600.0,
) -> str:
    """Run a program; returns what it wrote to standard output.

    Raises:
        Missing: there is no such program.
        Failed: it did not succeed, or not within `seconds`.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            input=stdin,
            cwd=cwd,
            env=env,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError:
        raise Missing(
            f"{words[0]} is missing; `./hack/kube tools` or `./hack/kube up` installs it."
        ) from None
    except subprocess.TimeoutExpired:
        raise Failed(f"`{_shown(words)}` has not ended within {seconds:.0f} s.") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-_SHOWN:]
        raise Failed(f"`{_shown(words)}` ended with {done.returncode}: {said}")
    return done.stdout


def succeeds(command: Sequence[str | Path]) -> bool:
    """Whether a program ends with 0; what it says is dropped."""
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def _shown(words: Sequence[str]) -> str:
    text = " ".join(words)
    return text if len(text) < 200 else f"{text[:200]}..."
