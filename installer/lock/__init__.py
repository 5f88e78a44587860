"""Which files of pinned packages an environment is made of. Each line of them has the SHA-256 of the wheels."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
BUILD = FOLDER / "build.txt"
PRODUCT = FOLDER / "product.txt"


def index_torch(system: str) -> list[Path]:
    """The torch that pip's usual index has; for Linux it is built for CUDA, and brings that along."""
    return [FOLDER / "torch.txt", *([FOLDER / "cuda.txt"] if system == "linux" else [])]


def cpu_torch(python: str, machine: str) -> Path:
    """The smaller torch without CUDA for Linux, if the file exists: not all of them could be pinned.

    Args:
        python: as in "3.11".
        machine: as platform.machine() has it.
    """
    return FOLDER / f"torch-cpu-{python}-{machine}.txt"
