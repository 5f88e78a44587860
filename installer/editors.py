"""Every place in which a user's Krita and GIMP 3 look for plugins, and which of them are on this machine."""

from __future__ import annotations

import glob
import os
import posixpath
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

EDITORS = ("krita", "gimp")

_NAME = "harmonize_layer"
_ITEMS = {
    "krita": (f"pykrita/{_NAME}", f"pykrita/{_NAME}.desktop", f"actions/{_NAME}.action"),
    "gimp": (f"plug-ins/{_NAME}",),
}
_BACKENDS = {"krita": f"pykrita/{_NAME}", "gimp": f"plug-ins/{_NAME}/harmonize"}


@dataclass(frozen=True)
class Place:
    """One folder of one editor.

    Attributes:
        editor: "krita" or "gimp".
        packaging: how the editor was packaged.
        folder: Krita's resource folder, or GIMP's folder of the user.
        config: the kritarc that says which plugins are enabled; None for GIMP, which loads all.
        advice: what the user must do himself before the plugin works there.
    """

    editor: str
    packaging: str
    folder: Path
    config: Path | None = None
    advice: str = ""

    @property
    def items(self) -> tuple[str, ...]:
        """The files and folders that the plugin is, relative to `folder`."""
        return _ITEMS[self.editor]

    @property
    def package(self) -> Path:
        """The folder with the plugin's backend.json and its `link`."""
        return self.folder / _BACKENDS[self.editor]

    def __str__(self) -> str:
        name = {"krita": "Krita", "gimp": f"GIMP {self.folder.name}"}[self.editor]
        return f"{name} ({self.packaging}) in {self.folder}"


@dataclass(frozen=True)
class _Row:
    platform: str
    editor: str
    packaging: str
    folder: str
    config: str = ""
    programs: tuple[str, ...] = ()
    advice: str = ""


# What a sandbox hides from the plugin is the daemon's folder, and every program that could start a daemon.
_FLATPAK = (
    "this Flatpak cannot see the daemon: run `flatpak override --user --filesystem=xdg-run/harmonize {id}` once, and "
    "`harmonize serve --idle 0` before the editor"
)
_SNAP = "a Snap cannot start the daemon: run `harmonize serve --idle 0 --tcp` before the editor"

# {home}, {data}, {config}: the user's folders; {roaming}, {local}, {programs}: %APPDATA%, %LOCALAPPDATA% and
# %ProgramFiles%. A * stands for what differs between versions. An editor is there when its folder, its config or a
# program is.
_TABLE = (
    # Krita's manual, "Resource Management" and the FAQ's "Resetting Krita configuration", on all three systems. An
    # AppImage uses the native folders. Seen on Debian 12 and 13: the Linux ones.
    _Row("linux", "krita", "native or AppImage", "{data}/krita", "{config}/kritarc", ("krita",)),
    _Row("win32", "krita", "native", "{roaming}/krita", "{local}/kritarc", ("{programs}/Krita (x64)/bin/krita.exe",)),
    _Row(
        "darwin",
        "krita",
        "native",
        "{home}/Library/Application Support/krita",
        "{home}/Library/Preferences/kritarc",
        ("/Applications/krita.app",),
    ),
    # The FAQ again: "If you have installed Krita through the Windows store".
    _Row(
        "win32",
        "krita",
        "Microsoft Store",
        "{local}/Packages/49800Krita*/LocalCache/Roaming/krita",
        "{local}/Packages/49800Krita*/LocalCache/Local/kritarc",
    ),
    # Flatpak's documentation: an app's XDG folders are in ~/.var/app/ID. Flathub's manifest of org.kde.krita lets it
    # see the user's files, but neither the runtime folder nor the host's programs.
    _Row(
        "linux",
        "krita",
        "Flatpak",
        "{home}/.var/app/org.kde.krita/data/krita",
        "{home}/.var/app/org.kde.krita/config/kritarc",
        advice=_FLATPAK.format(id="org.kde.krita"),
    ),
    # Snapcraft's documentation: HOME is ~/snap/NAME/current.
    _Row(
        "linux",
        "krita",
        "Snap",
        "{home}/snap/krita/current/.local/share/krita",
        "{home}/snap/krita/current/.config/kritarc",
        advice=_SNAP,
    ),
    # GIMP's libgimpbase/gimpenv.c (gimp_directory): GIMP/3.N in the user's config folder. Seen on Debian 13. Flathub's
    # manifest of org.gimp.GIMP has --filesystem=xdg-config/GIMP: the Flatpak shares the folder with a native GIMP.
    _Row("linux", "gimp", "native, AppImage or Flatpak", "{config}/GIMP/3.*", programs=("gimp-3.0", "gimp-3.2")),
    _Row("win32", "gimp", "native", "{roaming}/GIMP/3.*"),
    _Row("darwin", "gimp", "native", "{home}/Library/Application Support/GIMP/3.*"),
    _Row("linux", "gimp", "Snap", "{home}/snap/gimp/current/.config/GIMP/3.*", advice=_SNAP),
)


def xdg(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """The folder that a variable of the XDG specification names, which says that relative ones do not count."""
    value = environ.get(name, "")
    return value if posixpath.isabs(value) else ""


def find(
    platform: str = sys.platform, home: Path | None = None, environ: Mapping[str, str] = os.environ
) -> list[Place]:
    """The places of this user's editors, in the table's order.

    Args:
        platform: as sys.platform.
        home: the user's folder.
        environ: the variables that name his other folders.
    """
    home = home or Path.home()
    folders = {
        "home": str(home),
        "data": xdg("XDG_DATA_HOME", environ) or f"{home}/.local/share",
        "config": xdg("XDG_CONFIG_HOME", environ) or f"{home}/.config",
        "roaming": environ.get("APPDATA") or f"{home}/AppData/Roaming",
        "local": environ.get("LOCALAPPDATA") or f"{home}/AppData/Local",
        "programs": environ.get("ProgramFiles") or "C:/Program Files",
    }
    found: list[Place] = []
    if own := environ.get("GIMP3_DIRECTORY"):  # GIMP's own variable; a relative one counts from the home folder
        found.append(Place("gimp", "GIMP3_DIRECTORY", home / own))
    for row in _TABLE:
        if row.platform == platform and not (own and row.editor == "gimp"):
            found += _places(row, folders, environ)
    return found


def _places(row: _Row, folders: Mapping[str, str], environ: Mapping[str, str]) -> list[Place]:
    escaped = {name: glob.escape(folder) for name, folder in folders.items()}
    if "*" not in row.folder:
        folder, config = Path(row.folder.format(**folders)), Path(row.config.format(**folders))
        there = folder.is_dir() or config.is_file() or any(_has(one, folders, environ) for one in row.programs)
        return [Place(row.editor, row.packaging, folder, config, row.advice)] if there else []
    paths = sorted(Path(path) for path in glob.glob(row.folder.format(**escaped)) if Path(path).is_dir())
    # A GIMP that has never been started has no folder yet; its program's name tells which it will look into.
    expected = Path(row.folder.format(**folders)).parent
    for program in row.programs:
        path = expected / program.removeprefix("gimp-")
        if path not in paths and _has(program, folders, environ):
            paths.append(path)
    return [Place(row.editor, row.packaging, path, _config(row, path), row.advice) for path in paths]


def _config(row: _Row, folder: Path) -> Path | None:
    """The kritarc beside a folder that was found by its pattern: both have one beginning in common."""
    if not row.config:
        return None
    behind = row.config.partition("*")[2].split("/", 1)[1]
    levels = row.folder.partition("*")[2].count("/") - 1
    return folder.parents[levels] / behind


def _has(program: str, folders: Mapping[str, str], environ: Mapping[str, str]) -> bool:
    path = program.format(**folders)
    return Path(path).exists() if "/" in path else shutil.which(path, path=environ.get("PATH")) is not None
