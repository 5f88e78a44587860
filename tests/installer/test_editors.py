"""Which places of editors are found, in layouts as they are on each system."""

from __future__ import annotations

from pathlib import Path

import pytest

from installer.editors import Place, find

STORE = "AppData/Local/Packages/49800Krita_RANDOM/LocalCache"

# platform, what is there, (editor, packaging, folder, kritarc)
LAYOUTS = [
    ("linux", ".local/share/krita/", ("krita", "native or AppImage", ".local/share/krita", ".config/kritarc")),
    ("linux", ".config/kritarc", ("krita", "native or AppImage", ".local/share/krita", ".config/kritarc")),
    ("linux", "bin/krita", ("krita", "native or AppImage", ".local/share/krita", ".config/kritarc")),
    (
        "linux",
        ".var/app/org.kde.krita/data/krita/",
        ("krita", "Flatpak", ".var/app/org.kde.krita/data/krita", ".var/app/org.kde.krita/config/kritarc"),
    ),
    (
        "linux",
        "snap/krita/current/.local/share/krita/",
        ("krita", "Snap", "snap/krita/current/.local/share/krita", "snap/krita/current/.config/kritarc"),
    ),
    ("win32", "AppData/Roaming/krita/", ("krita", "native", "AppData/Roaming/krita", "AppData/Local/kritarc")),
    (
        "win32",
        "Programs/Krita (x64)/bin/krita.exe",
        ("krita", "native", "AppData/Roaming/krita", "AppData/Local/kritarc"),
    ),
    (
        "win32",
        f"{STORE}/Roaming/krita/",
        ("krita", "Microsoft Store", f"{STORE}/Roaming/krita", f"{STORE}/Local/kritarc"),
    ),
    (
        "darwin",
        "Library/Application Support/krita/",
        ("krita", "native", "Library/Application Support/krita", "Library/Preferences/kritarc"),
    ),
    ("linux", ".config/GIMP/3.0/", ("gimp", "native, AppImage or Flatpak", ".config/GIMP/3.0", None)),
    ("linux", ".config/GIMP/3.2/", ("gimp", "native, AppImage or Flatpak", ".config/GIMP/3.2", None)),
    ("linux", "bin/gimp-3.0", ("gimp", "native, AppImage or Flatpak", ".config/GIMP/3.0", None)),
    ("linux", "snap/gimp/current/.config/GIMP/3.0/", ("gimp", "Snap", "snap/gimp/current/.config/GIMP/3.0", None)),
    ("win32", "AppData/Roaming/GIMP/3.0/", ("gimp", "native", "AppData/Roaming/GIMP/3.0", None)),
    (
        "darwin",
        "Library/Application Support/GIMP/3.0/",
        ("gimp", "native", "Library/Application Support/GIMP/3.0", None),
    ),
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "Zoë [alt]"  # brackets mean something in a pattern
    folder.mkdir()
    return folder


def make(home: Path, entry: str) -> None:
    path = home / entry
    if entry.endswith("/"):
        path.mkdir(parents=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o755)


def found(home: Path, platform: str, **variables: str) -> list[Place]:
    return find(platform, home, {"PATH": str(home / "bin"), "ProgramFiles": str(home / "Programs"), **variables})


@pytest.mark.parametrize(("platform", "entry", "expected"), LAYOUTS, ids=[f"{one[0]}-{one[1]}" for one in LAYOUTS])
def test_each_layout(home: Path, platform: str, entry: str, expected: tuple[str, str, str, str | None]) -> None:
    make(home, entry)
    (place,) = found(home, platform)
    config = home / expected[3] if expected[3] else None
    assert (place.editor, place.packaging, place.folder, place.config) == (*expected[:2], home / expected[2], config)


def test_nothing_is_found_where_no_editor_is(home: Path) -> None:
    make(home, ".config/GIMP/2.10/")  # has no Python 3 plug-ins
    assert [found(home, platform) for platform in ("linux", "win32", "darwin")] == [[], [], []]


def test_all_of_a_user_are_found_and_the_users_variables_count(home: Path) -> None:
    for entry in ("data/krita/", ".var/app/org.kde.krita/data/krita/", "config/GIMP/3.0/", "config/GIMP/3.2/"):
        make(home, entry)
    places = found(home, "linux", XDG_DATA_HOME=str(home / "data"), XDG_CONFIG_HOME=str(home / "config"))
    assert [place.folder for place in places] == [
        home / "data" / "krita",
        home / ".var" / "app" / "org.kde.krita" / "data" / "krita",
        home / "config" / "GIMP" / "3.0",
        home / "config" / "GIMP" / "3.2",
    ]


def test_variables_that_are_no_whole_paths_do_not_count(home: Path) -> None:
    make(home, ".config/GIMP/3.0/")
    (place,) = found(home, "linux", XDG_CONFIG_HOME="./rel", XDG_DATA_HOME="rel")
    assert place.folder == home / ".config" / "GIMP" / "3.0"


def test_gimps_own_variable_counts_most(home: Path) -> None:
    make(home, ".config/GIMP/3.0/")
    assert [place.folder for place in found(home, "linux", GIMP3_DIRECTORY="mine")] == [home / "mine"]


def test_a_sandboxed_editor_comes_with_advice(home: Path) -> None:
    for entry in (".local/share/krita/", ".var/app/org.kde.krita/data/krita/"):
        make(home, entry)
    native, flatpak = found(home, "linux")
    assert not native.advice and "flatpak override --user" in flatpak.advice


def test_where_the_plugin_is_within_a_place(home: Path) -> None:
    krita, gimp = Place("krita", "", home / "krita"), Place("gimp", "", home / "GIMP" / "3.0")
    assert krita.package == home / "krita" / "pykrita" / "harmonize_layer"
    assert gimp.package == home / "GIMP" / "3.0" / "plug-ins" / "harmonize_layer" / "harmonize"
