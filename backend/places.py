"""Where the files of a batch lie: at a local path, or at a URL that fsspec can reach (s3, gs, memory and others).

libvips reads and writes local files alone: what lies elsewhere is copied to a temporary file, and from one.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import posixpath
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from upath import UPath

    Place = Path | UPath

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class PlaceError(ValueError):
    """A URL that nothing here can reach; the text says what is missing and what to do."""


def is_url(text: str) -> bool:
    return _URL.match(text) is not None


def place(text: str, root: Place | None = None) -> Place:
    """The place that a path or a URL names: an absolute one, without "..". A file's URL becomes a path.

    Args:
        root: where a relative path begins; None: the working folder.

    Raises:
        PlaceError: the URL's file system is unknown, or its package is not installed.
    """
    if is_url(text):
        remote = _remote(text)
        return Path(remote.path) if remote.protocol in ("file", "local") else remote
    if root is None or isinstance(root, Path) or os.path.isabs(text):
        return Path(os.path.abspath(root / text if isinstance(root, Path) else text))
    up, *below = posixpath.normpath(text).split("/")
    while up == "..":
        root, (up, *below) = root.parent, below or ["."]
    return root.joinpath(up, *below)


def relative(place: Place, root: Place) -> str:
    """The path from the folder `root` to a place; what is not below it begins with ".." or is a URL."""
    if isinstance(place, Path):
        return os.path.relpath(place, root) if isinstance(root, Path) else place.as_uri()
    return str(place).removeprefix(f"{root}/")


def files(folder: Place) -> list[Place]:
    """All files below a folder. Raises OSError."""
    if isinstance(folder, Path):
        return [path for path in folder.rglob("*") if path.is_file()]
    return [_beside(folder, path) for path in folder.fs.find(folder.path)]


def matching(root: Place, pattern: str) -> list[Place]:
    """The files below a folder that a glob pattern, in which ** stands for any depth, matches. Raises OSError."""
    if isinstance(root, Path):
        found = (root / name for name in glob.glob(pattern, root_dir=root, recursive=True))
        return [path for path in found if path.is_file()]
    below = root.fs.glob(f"{root.path.rstrip('/')}/{pattern}", detail=True)
    return [_beside(root, path) for path, about in below.items() if about["type"] == "file"]


@contextmanager
def local(place: Place) -> Iterator[Path]:
    """The file itself, or a copy that is there as long as the block. Raises OSError."""
    if isinstance(place, Path):
        if not place.exists():
            raise OSError(f"{place} does not exist: check its name")
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="harmonize-") as folder:
        copy = Path(folder, place.name)
        with _as_os_error(place):
            place.fs.get_file(place.path, str(copy))
        yield copy


@contextmanager
def aside(output: Place, staging: Place) -> Iterator[Path]:
    """A local path to write to; what lies there at the block's end becomes `output`, at once and whole.

    Args:
        staging: a folder on the file system of `output`.

    Raises OSError.
    """
    name = f"{secrets.token_hex(8)}{output.suffix}"
    if isinstance(output, Path) and isinstance(staging, Path):
        staged = staging / name
        try:
            yield staged
            os.replace(staged, output)
        finally:
            staged.unlink(missing_ok=True)
    elif not isinstance(output, Path) and not isinstance(staging, Path):
        with tempfile.TemporaryDirectory(prefix="harmonize-") as folder:
            written = Path(folder, name)
            yield written
            with _as_os_error(output):
                there = (staging / name).path
                output.fs.put_file(str(written), there)
                output.fs.mv(there, output.path)


def make_folder(folder: Place) -> None:
    """Make a folder, and those that it lies in, unless they are there. Raises OSError."""
    if isinstance(folder, Path):
        folder.mkdir(parents=True, exist_ok=True)
        return
    with _as_os_error(folder):
        folder.fs.makedirs(folder.path, exist_ok=True)


def remove_folder(folder: Place) -> None:
    """Remove a folder and all in it, as far as it is there and lets itself be removed."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        for path in files(folder):
            path.unlink(missing_ok=True)


def _remote(url: str) -> UPath:
    if importlib.util.find_spec("upath") is None:
        raise PlaceError(f"{url} is a URL, which needs more packages: install the extra [batch] (docs/scale.md)")
    from fsspec.registry import known_implementations
    from upath import UPath

    try:
        remote: UPath = UPath(url)
        _ = remote.fs  # imports the package
    except ImportError as error:
        package = known_implementations[url.partition("://")[0]]["class"].partition(".")[0]
        raise PlaceError(f"{url} needs {package}: pip install {package}") from error
    except ValueError as error:
        raise PlaceError(f"{url} lies in a file system that fsspec does not know ({error})") from error
    return remote


def _beside(place: UPath, path: str) -> UPath:
    """The place that a file system calls `path`, on that of `place`."""
    beside: UPath = type(place)(place.fs.unstrip_protocol(path), **place.storage_options)
    return beside


@contextmanager
def _as_os_error(place: Place) -> Iterator[None]:
    """File systems raise what the packages under them raise; a batch knows that an OSError concerns a single file."""
    try:
        yield
    except FileNotFoundError as error:
        raise OSError(f"{place} does not exist: check its name") from error
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{place} cannot be reached ({type(error).__name__}: {error})") from error
