"""Weight files: safetensors with the network's config and a SHA-256 of its tensors in their metadata, checked at
load."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from gknet.experts import Experts
from gknet.network import GKNet, GKNetConfig

FOLDER = Path(__file__).parent


class WeightsError(ValueError):
    """A weight file is missing, damaged or not ours; the text says which and what to do."""


def available() -> list[str]:
    """Names whose weights are shipped."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def save(path: str | Path, model: GKNet | Experts, extra: dict[str, str]) -> None:
    """Write a network, or two experts, atomically.

    Args:
        path: the file to write.
        model: its tensors and config are stored.
        extra: more metadata to keep, such as the recipe.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    metadata = {**extra, "config": json.dumps(dataclasses.asdict(model.config)), "sha256": _digest(tensors)}
    path = Path(path)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_bytes(to_bytes(tensors, metadata))  # honours the umask, which save_file does not
    partial.replace(path)


def load(name_or_path: str | Path, device: str | torch.device = "cpu") -> GKNet | Experts:
    """A network, or two experts, in eval mode on ``device``.

    Args:
        name_or_path: a shipped name (see :func:`available`) or a file written by :func:`save`.

    Raises:
        WeightsError: no such name or file, or the file is damaged or not one of ours.
    """
    path, tensors, metadata = _read(name_or_path)
    try:
        fields: dict[str, Any] = json.loads(metadata["config"])
        settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        are_experts = any(name.startswith("seam.") for name in tensors)
        model = (Experts if are_experts else GKNet)(GKNetConfig(**settings))
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path} does not fit this version of GKNet ({reason}): use weights made for it") from error
    return model.to(device).eval()


def metadata(name_or_path: str | Path) -> dict[str, str]:
    """What is written in the file beside the tensors: ``config``, ``sha256`` and the ``extra`` given to :func:`save`.

    Raises:
        WeightsError: as :func:`load`.
    """
    return _read(name_or_path)[2]


def digest(name_or_path: str | Path) -> str:
    """SHA-256 of the tensors, in hexadecimal, as written in the file and checked against it.

    Raises:
        WeightsError: as :func:`load`.
    """
    return metadata(name_or_path)["sha256"]


def _read(name_or_path: str | Path) -> tuple[Path, dict[str, Tensor], dict[str, str]]:
    shipped = FOLDER / f"{name_or_path}.safetensors"
    path = shipped if shipped.is_file() else Path(name_or_path)
    if not path.is_file():
        known = ", ".join(available()) or "none"
        raise WeightsError(f"no weights named {str(name_or_path)!r} are shipped (these are: {known}), nor is it a file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is not a readable weight file ({error}): it may be truncated; fetch it again"
        ) from error
    if "config" not in metadata or "sha256" not in metadata:
        raise WeightsError(f"{path} is a safetensors file, but not one that GKNet wrote: it names no config")
    if _digest(tensors) != metadata["sha256"]:
        raise WeightsError(f"{path} is damaged: its tensors do not match its SHA-256; fetch it again")
    return path, tensors, metadata


def _digest(tensors: dict[str, Tensor]) -> str:
    sha = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        sha.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
