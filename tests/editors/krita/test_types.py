"""The plugin as it is installed, with its own copy of backend.link: types, and what old Pythons can read."""

from __future__ import annotations

import ast
import shutil
import sys
from pathlib import Path

import pytest
from mypy import api

from installer.plugins import install_krita

# What is Krita's, Qt's or msgpack's has no annotations.
_MYPY = """[mypy]
strict = true
disallow_subclassing_any = false
[mypy-krita.*,PyQt5.*,PyQt6.*,msgpack.*,harmonize_layer._vendor.*]
ignore_missing_imports = true
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Krita's resource folder with it."""
    resources = tmp_path_factory.mktemp("krita")
    install_krita(resources, Path(sys.executable))
    return resources


def test_its_files_are_where_krita_looks_for_them(plugin: Path) -> None:
    assert sorted(path.name for path in (plugin / "pykrita").iterdir()) == [
        "harmonize_layer",
        "harmonize_layer.desktop",
    ]
    assert (plugin / "actions" / "harmonize_layer.action").is_file()
    assert (plugin / "pykrita" / "harmonize_layer" / "Manual.html").is_file()


def test_its_types_are_right(plugin: Path, tmp_path: Path) -> None:
    folder = tmp_path / "harmonize_layer"
    shutil.copytree(plugin / "pykrita" / folder.name, folder, ignore=shutil.ignore_patterns("_vendor"))
    configuration = tmp_path / "mypy.ini"
    configuration.write_text(_MYPY)
    said, trouble, _ = api.run(
        ["--config-file", str(configuration), "--cache-dir", str(tmp_path / "cache"), str(folder)]
    )
    assert said.startswith("Success") and not trouble, said


def test_the_oldest_python_that_krita_has_can_read_it(plugin: Path) -> None:
    for file in plugin.rglob("*.py"):
        ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 8))
