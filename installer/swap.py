"""Puts a plugin in the place of an older one by renaming, and takes that back."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Collection
from pathlib import Path

from installer.editors import Place
from installer.manifest import Plugin, digest
from installer.plugins import install_gimp, install_krita

_NEW, _OLD = ".harmonize-new", ".harmonize-old"


class Swap:
    """The plugin of one place. The calls are stage, put, and finish; or, after whichever of them failed, undo."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._new, self._old = place.folder / _NEW, place.folder / _OLD
        self._made: list[Path] = []
        self._put: list[str] = []

    def stage(self, python: Path, known: Collection[str] = ()) -> Plugin:
        """Put the plugin together beside its place, on the same disk, and say what it consists of.

        Args:
            python: the interpreter that it is to start.
            known: the files of the older one, if that is known: others in its folders are the user's, and come along.
        """
        heal(self.place)
        folder = self.place.folder
        for item in self.place.items:
            self._make((folder / item).parent)
        self._new.mkdir()
        if self.place.editor == "krita":
            install_krita(self._new, python)
        else:
            install_gimp(self._new / "plug-ins", python)
            program = self._new / self.place.items[0] / "harmonize_layer.py"
            program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)  # a zip forgets it
        files = [path for path in sorted(self._new.rglob("*")) if path.is_file()]
        for item in self.place.items if known else ():
            for path in sorted((folder / item).rglob("*")):
                target = self._new / path.relative_to(folder)
                ours = path.relative_to(folder).as_posix() in known or "__pycache__" in path.parts
                if path.is_file() and not ours and not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(path, target)
        return Plugin(
            editor=self.place.editor,
            packaging=self.place.packaging,
            folder=str(folder),
            config=str(self.place.config) if self.place.config else None,
            files={path.relative_to(self._new).as_posix(): [digest(path)] for path in files},
            folders=[str(path) for path in self._made],
        )

    def put(self) -> None:
        """Rename what was staged into its place, and keep what was there."""
        for item in self.place.items:
            target, old = self.place.folder / item, self._old / item
            if os.path.lexists(target):
                old.parent.mkdir(parents=True, exist_ok=True)
                _move(target, old)
            self._put.append(item)
            _move(self._new / item, target)

    def undo(self) -> None:
        """Make it as it was."""
        for item in self._put:
            _discard(self.place.folder / item)
            if (self._old / item).exists():
                _move(self._old / item, self.place.folder / item)
        self.finish()
        for folder in reversed(self._made):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def finish(self) -> None:
        """Drop what is not needed any more."""
        _discard(self._old)
        _discard(self._new)

    def _make(self, folder: Path) -> None:
        if not folder.exists():
            self._make(folder.parent)
            folder.mkdir()
            self._made.append(folder)


def heal(place: Place) -> None:
    """After an installer that was killed: put back an old part in whose place no new one is, and drop the rest."""
    for item in place.items:
        if (place.folder / _OLD / item).exists() and not (place.folder / item).exists():
            _move(place.folder / _OLD / item, place.folder / item)
    Swap(place).finish()


def _move(source: Path, target: Path) -> None:
    """Rename; where a link in the editor's folder leads to another disk, copy and remove."""
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.move(source, target)


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
