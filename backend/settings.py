"""The user's settings: one TOML file, read by the command line and by the daemon, and so in effect in every editor.

    device = "auto"          # where to compute: auto, cpu, cuda, cuda:1 or mps; the daemon takes a list of several
    model = "auto"           # which network
    idle = 900               # seconds without a job until the daemon leaves; 0: it stays
    tcp = false              # the daemon listens on 127.0.0.1 too, for an editor in a sandbox
    queue = 32               # jobs that the daemon holds
    job_bytes = 6000000000   # most bytes of one job

Every line may be missing; an option of the command line counts more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from backend.link.messages import JOB_BYTES, MOST_SECONDS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_BYTES = 64 * 1024


@dataclass(frozen=True)
class Settings:
    """How a daemon is to be.

    Attributes:
        devices: each gets a worker; as Harmonizer.load takes them.
        model: what "auto" is to a client; as Harmonizer.load takes it.
        idle: seconds without a job after which it leaves; 0 is never.
        tcp: listen on the loopback interface too, for editors in a sandbox.
        queue: jobs that it holds, those that run included.
        job_bytes: most bytes of one job, and of all that wait. Never more than half of the free memory.
    """

    devices: tuple[str, ...] = ("auto",)
    model: str = "auto"
    idle: float = 900
    tcp: bool = False
    queue: int = 32
    job_bytes: int = JOB_BYTES


class SettingsError(ValueError):
    """The settings cannot be used; the text says where and why."""


def path() -> Path:
    """Where the file is, whether or not it exists."""
    return platformdirs.user_config_path("harmonize", appauthor=False) / "settings.toml"


def load() -> dict[str, Any]:
    """What the file says; nothing where there is none.

    Raises:
        SettingsError: it cannot be read, or has a line that means nothing.
    """
    try:
        with path().open("rb") as file:
            found: dict[str, Any] = tomllib.loads(file.read(_BYTES).decode())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"the settings in {path()} cannot be read ({error}): mend or remove the file") from error
    for name, value in found.items():
        if name not in _MEANINGS:
            raise SettingsError(f"{path()} sets {name!r}, which does not exist: choose of {', '.join(_MEANINGS)}")
        meaning, is_valid = _MEANINGS[name]
        if not is_valid(value):
            raise SettingsError(f"{path()} sets {name} to {value!r}, which is not {meaning}")
    return found


def _is_device(value: object) -> bool:
    values = value if isinstance(value, list) else [value]
    return bool(values) and all(isinstance(one, str) for one in values)


def _is_count(value: object) -> bool:
    return type(value) is int and value > 0


_MEANINGS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "device": ("a device's name, or a list of such", _is_device),
    "model": ("a network's name", lambda value: isinstance(value, str)),
    "idle": (
        f"a number of seconds from 0 to {MOST_SECONDS}",
        lambda value: type(value) in (int, float) and 0 <= value <= MOST_SECONDS,
    ),
    "tcp": ("true or false", lambda value: isinstance(value, bool)),
    "queue": ("a number of jobs above 0", _is_count),
    "job_bytes": ("a number of bytes above 0", _is_count),
}
