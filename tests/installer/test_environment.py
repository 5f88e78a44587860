"""When an installation counts as complete."""

from __future__ import annotations

import platform
import shutil
import sys
import venv
from pathlib import Path

import pytest

from installer import environment
from installer.environment import CONSTRAINTS, ROOT, Environment


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An environment whose stamp says that the product alone is installed, in a checkout of its own."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copy(CONSTRAINTS, tmp_path)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "CONSTRAINTS", tmp_path / "constraints.txt")
    made = Environment(tmp_path / ".venv")
    made.python.parent.mkdir(parents=True)
    made.python.symlink_to(sys.executable)
    made.stamp.write_text(made._digest(""))
    return made


def test_stamp_of_the_product_is_enough_for_the_demo_alone(installed: Environment) -> None:
    assert installed.is_ready("")
    assert not installed.is_ready("dev")


def test_stamp_of_dev_is_enough_for_both(installed: Environment) -> None:
    installed.stamp.write_text(installed._digest("dev"))
    assert installed.is_ready("")
    assert installed.is_ready("dev")


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_ask_for_an_installation(installed: Environment, name: str) -> None:
    with (installed.folder.parent / name).open("a") as file:
        file.write("# changed\n")
    assert not installed.is_ready("")


def test_another_python_asks_for_an_installation(installed: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "python_version", lambda: "3.12.99")
    assert not installed.is_ready("")


def test_moved_checkout_asks_for_an_installation(installed: Environment) -> None:
    moved = installed.folder.with_name("moved")
    installed.folder.rename(moved)
    assert not Environment(moved).is_ready("")


def test_python_that_is_gone_asks_for_an_installation(installed: Environment) -> None:
    installed.python.unlink()
    installed.python.symlink_to(installed.folder / "no-such-python")
    assert not installed.is_ready("")


def test_installation_that_was_cut_off_is_taken_up_again(installed: Environment) -> None:
    installed.stamp.unlink()
    assert not installed.is_ready("")


def test_environment_is_kept_only_for_the_python_that_made_it_and_with_a_pip_that_runs(tmp_path: Path) -> None:
    made = Environment(tmp_path / "Größe")
    assert not made._is_usable()
    venv.EnvBuilder(with_pip=True, symlinks=True).create(made.folder)
    assert made._is_usable()
    config = made.folder / "pyvenv.cfg"
    kept = config.read_text(encoding="utf-8")
    config.write_text(kept.replace(platform.python_version(), "3.9.1"), encoding="utf-8")
    assert not made._is_usable()
    config.write_text(kept, encoding="utf-8")
    (program,) = made.folder.glob("lib/python*/site-packages/pip/__main__.py")
    program.unlink()  # as an upgrade of pip that was cut off leaves it
    assert not made._is_usable()
