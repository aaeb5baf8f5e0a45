"""What a check has found, and how its mend is written."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

Status = Literal["passed", "failed", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the diagnosis.

    Attributes:
        name: what was looked at.
        status: `note` is neither good nor bad.
        detail: what was seen there; never a secret.
        mend: one command, or one sentence, that ends a failure.
    """

    name: str
    status: Status
    detail: str
    mend: str = ""


def passed(name: str, detail: str) -> Finding:
    """It is well."""
    return Finding(name, "passed", detail)


def failed(name: str, detail: str, mend: str) -> Finding:
    """It is not, and what ends that."""
    return Finding(name, "failed", detail, mend)


def note(name: str, detail: str, mend: str = "") -> Finding:
    """Nobody can say, or it may be meant so."""
    return Finding(name, "note", detail, mend)


def shell(*words: str | Path) -> str:
    """Words as one command for a POSIX shell; PowerShell takes them too, unless a name has quotes in it."""
    return shlex.join(map(str, words))
