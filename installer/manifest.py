"""manifest.json in the folder of an installation: what was installed where, so that it can be taken away again."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from installer.editors import Place, xdg

FILE = "manifest.json"
LOCK = "installer.lock"


class ManifestError(Exception):
    """It cannot be read; the text says why and what to do."""


@dataclass
class Plugin:
    """A plugin in one place.

    Attributes:
        editor, packaging, folder, config: as in Place.
        files: for each file, relative to `folder`, the SHA-256 that it may have: two of them while it is replaced.
        folders: those that had to be made for it, the outermost first.
    """

    editor: str
    packaging: str
    folder: str
    config: str | None
    files: dict[str, list[str]] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)

    @property
    def place(self) -> Place:
        return Place(self.editor, self.packaging, Path(self.folder), Path(self.config) if self.config else None)

    def python(self) -> str:
        """The interpreter that it starts, as its backend.json says. Raises OSError or ValueError."""
        content = json.loads((self.place.package / "backend.json").read_text(encoding="utf-8"))
        try:
            return str(content["python"])
        except (KeyError, TypeError) as error:
            raise ValueError("it names no Python") from error

    def changed(self) -> list[Path]:
        """The files that are not as they were installed; not those that are gone."""
        paths = {Path(self.folder, name): sums for name, sums in self.files.items()}
        return [path for path, sums in paths.items() if path.is_file() and digest(path) not in sums]

    def missing(self) -> list[Path]:
        return [path for path in (Path(self.folder, name) for name in self.files) if not path.is_file()]


@dataclass
class Manifest:
    """What is installed.

    Attributes:
        version: the product's.
        environment: the name of the environment's folder.
        plugins: one for each place.
    """

    version: str
    environment: str
    plugins: list[Plugin] = field(default_factory=list)

    def plugin(self, folder: Path) -> Plugin | None:
        return next((one for one in self.plugins if one.folder == str(folder)), None)

    def write(self, prefix: Path) -> None:
        """Write it all at once."""
        partial = prefix / f"{FILE}.partial"
        partial.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        os.replace(partial, prefix / FILE)


def read(prefix: Path) -> Manifest | None:
    """What is installed; None: nothing.

    Raises:
        ManifestError: there is a manifest, but not one of ours.
    """
    try:
        content = json.loads((prefix / FILE).read_text(encoding="utf-8"))
        return Manifest(content["version"], content["environment"], [Plugin(**plugin) for plugin in content["plugins"]])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ManifestError(
            f"{prefix / FILE} is not one of the installer's ({error}): if it is yours, name another folder with "
            "--prefix; else remove it, and install again"
        ) from error


def default_prefix() -> Path:
    """The folder of an installation where the user names none: in his data folder."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "harmonize"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "harmonize"
    return Path(xdg("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "harmonize"


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def locked(prefix: Path) -> Iterator[None]:
    """Be the only installer of this folder. The file stays: were it removed, one that has opened it already would get
    a lock of its own beside the next one's.

    Raises:
        ManifestError: another is at work there.
    """
    with (prefix / LOCK).open("ab") as file:
        try:
            _lock(file)
        except OSError:
            raise ManifestError(f"another installer is at work in {prefix}: let it end, and run this again") from None
        yield


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
