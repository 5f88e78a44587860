"""The pins: exact, one for every package on every supported Python, and complete."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from installer.environment import CONSTRAINTS, ROOT

PINS = [Requirement(line) for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def declared() -> list[Requirement]:
    """Every requirement that pyproject.toml names, but the project's own extras."""
    lists = re.findall(r"^(?:dependencies|batch|research|train|dev) = \[(.*?)\]$", PROJECT, re.MULTILINE | re.DOTALL)
    assert len(lists) >= 2
    found = [Requirement(text) for block in lists for text in re.findall(r'"([^"]+)"', block)]
    return [requirement for requirement in found if requirement.name != "gknet-harmonize"]


def test_every_pin_is_exact() -> None:
    for pin in PINS:
        (specifier,) = pin.specifier
        assert specifier.operator == "==" and "*" not in specifier.version, pin


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_every_package_has_one_pin(python: str) -> None:
    machine = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "win32"}
    valid = [canonicalize_name(pin.name) for pin in PINS if pin.marker is None or pin.marker.evaluate(machine)]
    assert sorted(valid) == sorted({canonicalize_name(pin.name) for pin in PINS})


def test_torch_is_the_release_that_the_weights_were_trained_with() -> None:
    assert "torch==2.13.0" in [str(pin) for pin in PINS]


def test_pins_satisfy_what_the_project_asks_for() -> None:
    for requirement in declared():
        pins = [pin for pin in PINS if canonicalize_name(pin.name) == canonicalize_name(requirement.name)]
        assert pins, f"{requirement} has no pin"
        for pin in pins:
            (specifier,) = pin.specifier
            assert requirement.specifier.contains(specifier.version), f"{pin} does not satisfy {requirement}"


def test_what_the_packages_need_is_pinned_too() -> None:
    names = {canonicalize_name(pin.name) for pin in PINS}
    queue = [canonicalize_name(requirement.name) for requirement in declared()]
    seen: set[str] = set()
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        assert name in names, f"{name} has no pin in installer/constraints.txt"
        try:
            needed = [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:  # a package of another platform
            continue
        queue += [canonicalize_name(r.name) for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    assert {"torch", "numpy", "sympy", "werkzeug"} <= seen
