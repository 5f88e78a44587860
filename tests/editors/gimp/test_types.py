"""The plug-in as it is installed, with its own copy of backend.link: types, and what Pythons can read."""

from __future__ import annotations

import ast
import json
import os
import sys
from pathlib import Path

import pytest
from mypy import api

from gknet import weights
from installer.plugins import install_gimp

# What is GIMP's or msgpack's has no annotations.
_MYPY = """[mypy]
strict = true
disallow_subclassing_any = false
[mypy-gi.*,msgpack.*,harmonize._vendor.*]
ignore_missing_imports = true
follow_imports = skip
"""


@pytest.fixture(scope="module")
def plug_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of it in GIMP's folder of plug-ins."""
    plug_ins = tmp_path_factory.mktemp("gimp")
    for _ in range(2):  # the second one replaces the first
        install_gimp(plug_ins, Path(sys.executable))
    (folder,) = plug_ins.iterdir()
    return folder


def test_gimp_finds_it_and_it_finds_what_it_needs(plug_in: Path) -> None:
    assert os.access(plug_in / f"{plug_in.name}.py", os.X_OK)
    assert {path.name for path in plug_in.iterdir()} == {"harmonize", "harmonize_layer.py", "icon.svg"}
    content = json.loads((plug_in / "harmonize" / "backend.json").read_text(encoding="utf-8"))
    assert content["python"] == sys.executable and content["models"] == weights.available()


def test_its_types_are_right(plug_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = tmp_path / "mypy.ini"
    configuration.write_text(_MYPY)
    monkeypatch.chdir(plug_in)
    options = ["--config-file", str(configuration), "--cache-dir", str(tmp_path / "cache")]
    said, trouble, _ = api.run([*options, "harmonize_layer.py", "harmonize/picture.py"])
    assert said.startswith("Success") and not trouble, said


def test_it_is_python_that_older_editors_read(plug_in: Path) -> None:
    for file in plug_in.rglob("*.py"):
        ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 8))
