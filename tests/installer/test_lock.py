"""The pinned packages with their hashes: those of constraints.txt, each with at least one hash."""

from __future__ import annotations

import re

import pytest

from installer import lock
from installer.environment import CONSTRAINTS, InstallError
from installer.product import choices

FILES = sorted(lock.FOLDER.glob("*.txt"))


def pins(text: str) -> list[str]:
    return [line for line in text.replace(" \\\n", " ").splitlines() if line and not line.startswith("#")]


def test_they_are_the_constraints_without_what_only_developers_need() -> None:
    wanted = CONSTRAINTS.read_text(encoding="utf-8").partition("\n# [")[0]
    found = [pin for path in FILES if not path.name.startswith("torch-cpu") for pin in pins(path.read_text())]
    assert sorted(pin.partition(" --hash")[0].strip() for pin in found) == sorted(map(str.strip, pins(wanted)))


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_every_pin_has_hashes(path: object) -> None:
    assert isinstance(path, type(lock.FOLDER))
    for pin in pins(path.read_text()):
        requirement, *hashes = re.split(r"\s+--hash=", pin)
        assert "==" in requirement and hashes
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one.strip()) for one in hashes)


def test_torch_without_cuda_is_the_same_release() -> None:
    (usual,) = pins((lock.FOLDER / "torch.txt").read_text())
    for path in lock.FOLDER.glob("torch-cpu-*.txt"):
        (pin,) = pins(path.read_text())
        assert pin.split()[0] == f"{usual.split()[0]}+cpu"
    assert lock.cpu_torch("3.11", "x86_64").is_file()


@pytest.mark.parametrize(
    ("system", "torch", "nvidia", "names"),
    [
        ("linux", "auto", False, [["torch-cpu-3.11-x86_64.txt"], ["torch.txt", "cuda.txt"]]),
        ("linux", "auto", True, [["torch.txt", "cuda.txt"]]),
        ("linux", "cpu", True, [["torch-cpu-3.11-x86_64.txt"]]),
        ("linux", "cuda", False, [["torch.txt", "cuda.txt"]]),
        ("win32", "auto", True, [["torch.txt"]]),
        ("darwin", "cpu", False, [["torch.txt"]]),
    ],
)
def test_which_torch_is_chosen(
    monkeypatch: pytest.MonkeyPatch, system: str, torch: str, nvidia: bool, names: list[list[str]]
) -> None:
    machine(monkeypatch, system, "3.11", nvidia)
    assert [[path.name for path in files] for files in choices(torch)] == names


def test_a_torch_that_is_not_pinned_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, "linux", "3.9", False)
    assert [[path.name for path in files] for files in choices("auto")] == [["torch.txt", "cuda.txt"]]
    with pytest.raises(InstallError, match="is not pinned for Python 3.9"):
        choices("cpu")
    machine(monkeypatch, "darwin", "3.11", False)
    with pytest.raises(InstallError, match="for Linux alone"):
        choices("cuda")


def machine(monkeypatch: pytest.MonkeyPatch, system: str, python: str, nvidia: bool) -> None:
    monkeypatch.setattr("installer.product._SYSTEM", system)
    monkeypatch.setattr("installer.product._PYTHON", python)
    monkeypatch.setattr("installer.product.has_nvidia", lambda: nvidia)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
