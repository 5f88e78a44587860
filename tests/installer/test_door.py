"""`python3 -m installer` with a Python that cannot run the project. Every run is real, in a copy of the checkout."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import ROOT

# Debian's python3 without python3-venv: the standard library lacks these modules, and imports of them find nothing.
WITHOUT = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = classmethod(lambda cls, name, *rest: None if name == {name!r} else find(name, *rest))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the installer needs, in a folder whose name has a space and letters beyond ASCII."""
    folder = tmp_path / "Größe und Maß"
    shutil.copytree(ROOT / "installer", folder / "installer", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, folder)
    return folder


def run(checkout: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON"))}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout,
        env={**environment, "PYTHONDONTWRITEBYTECODE": "1", **variables},
        capture_output=True,
        encoding="utf-8",
    )


@pytest.mark.parametrize("version", [(2, 7), (3, 6), (3, 9), (3, 14)])
def test_unsupported_python_is_told_in_one_line(checkout: Path, version: tuple[int, int]) -> None:
    program = (
        f"import runpy, sys; sys.version_info = ({version[0]}, {version[1]}, 0, 'final', 0);"
        "sys.argv = ['installer', 'demo']; runpy.run_module('installer', run_name='__main__', alter_sys=True)"
    )
    result = run(checkout, "-c", program)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert f"Python {version[0]}.{version[1]} is not supported" in line
    assert "3.10 to 3.13" in line and "apt install python3" in line


def test_old_pythons_can_read_the_door() -> None:
    for name in ("__init__.py", "__main__.py"):
        ast.parse((ROOT / "installer" / name).read_text(encoding="utf-8"), feature_version=(3, 7))
    tree = ast.parse((ROOT / "installer" / "__main__.py").read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr))]


@pytest.mark.parametrize("module", ["ensurepip", "venv"])
def test_python_without_venv_is_told_what_to_install(checkout: Path, tmp_path: Path, module: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT.format(name=module))
    result = run(checkout, "-m", "installer", "demo", PYTHONPATH=str(tmp_path))
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "sudo apt install python3-venv" in line
    assert not (checkout / ".venv").exists()


def test_pip_that_fails_is_quoted_and_leaves_no_stamp(checkout: Path) -> None:
    result = run(checkout, "-m", "installer", "demo", PIP_NO_INDEX="1", PIP_CONFIG_FILE=os.devnull)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "could not install the packages: Could not find a version that satisfies the requirement pip==" in line
    assert "Check the network" in line
    assert "install.log" in line
    assert "ERROR: " in (checkout / ".venv" / "install.log").read_text(encoding="utf-8")
    assert not (checkout / ".venv" / "installed.txt").exists()


def test_unknown_command_shows_the_usage(checkout: Path) -> None:
    result = run(checkout, "-m", "installer", "fly")
    assert result.returncode == 2
    assert "demo" in result.stderr and "test" in result.stderr
