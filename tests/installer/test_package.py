"""The archives: the one that Krita imports, by its own importer, and the one that Python runs."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from installer.bundle import package, write_bundle
from installer.progress import Bar
from tests.need import need
from tests.places import ROOT

IMPORTER = Path("/usr/share/krita/pykrita/plugin_importer/plugin_importer.py")


def test_krita_imports_it(tmp_path: Path) -> None:
    need(IMPORTER.is_file(), "Krita's importer of plugins")
    with (tmp_path / "out.txt").open("w") as out:
        package(tmp_path / "plugin.zip", Path(sys.executable), Bar(out))
    (tmp_path / "resources").mkdir()
    line = [sys.executable, str(IMPORTER), str(tmp_path / "plugin.zip"), str(tmp_path / "resources")]
    subprocess.run(line, check=True)
    plugin = tmp_path / "resources" / "pykrita" / "harmonize_layer"
    assert (plugin.parent / "harmonize_layer.desktop").is_file()
    assert (tmp_path / "resources" / "actions" / "harmonize_layer.action").is_file()
    assert (plugin / "link" / "client.py").is_file() and (plugin / "_vendor" / "msgpack" / "fallback.py").is_file()
    assert not (plugin / "backend.json").exists()  # which would name this machine's Python
    assert {path.name for path in tmp_path.iterdir()} == {"out.txt", "plugin.zip", "resources"}


def test_a_bundle_for_another_python_says_so(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as archive:
        archive.writestr("made-for.txt", "Python 3.99 on Plan9 vax")
    line = [sys.executable, "-m", "installer", "install", "--prefix", str(tmp_path / "away")]
    own = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        [*line, "--offline", str(tmp_path / "bundle.zip")], cwd=ROOT, env=own, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 2 and "bundle.zip is for Python 3.99 on Plan9 vax, and this is" in done.stderr, done
    assert not list(tmp_path.glob("away/environment-*"))


def test_python_runs_the_installer_in_a_bundle(tmp_path: Path) -> None:
    write_bundle(tmp_path / "Zoë B.zip", [])
    away = tmp_path / "away"
    away.mkdir()
    line = [sys.executable, str(tmp_path / "Zoë B.zip")]
    own = {**os.environ, "HOME": str(away)}

    def run(command: str) -> subprocess.CompletedProcess[str]:
        arguments = [*line, command, "--prefix", str(away)]
        return subprocess.run(arguments, cwd=away, env=own, capture_output=True, encoding="utf-8")

    done = run("doctor")
    assert done.returncode == 1 and f"nothing is installed in {away}" in done.stdout, done
    # Nothing but the archive's own packages is looked at, and here there are none.
    done = run("install")
    assert done.returncode == 1 and "unpacking Zoë B.zip" in done.stdout and "pip==" in done.stderr, done
