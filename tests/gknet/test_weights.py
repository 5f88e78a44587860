"""Weight files: what is written comes back, and nothing damaged or foreign gets in."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gknet import variants, weights
from gknet.network import GKNet


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    model = variants.create("gknet-lite")
    torch.nn.init.normal_(model.head.weight)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    weights.save(path, model, {"recipe": "a test"})
    return path


def test_what_is_written_comes_back(saved: Path) -> None:
    model = weights.load(saved)
    assert not model.training and model.config == variants.VARIANTS["gknet-lite"]
    torch.manual_seed(5)
    again = variants.create("gknet-lite")
    torch.nn.init.normal_(again.head.weight)
    for name, tensor in again.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
    assert weights.metadata(saved)["recipe"] == "a test"
    assert len(weights.digest(saved)) == 64


def test_a_flipped_bit_is_noticed(saved: Path, tmp_path: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[-1000] ^= 1
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(data)
    with pytest.raises(weights.WeightsError, match="damaged"):
        weights.load(damaged)


@pytest.mark.parametrize("length", [0, 4, 100, 50_000])
def test_a_truncated_file_is_noticed(saved: Path, tmp_path: Path, length: int) -> None:
    short = tmp_path / "short.safetensors"
    short.write_bytes(saved.read_bytes()[:length])
    with pytest.raises(weights.WeightsError, match="truncated"):
        weights.load(short)


def test_foreign_files_are_named_as_such(saved: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(3)}, foreign)
    with pytest.raises(weights.WeightsError, match="names no config"):
        weights.load(foreign)
    pickle = tmp_path / "model.pth"
    torch.save({"x": torch.zeros(3)}, pickle)
    with pytest.raises(weights.WeightsError, match="not a readable weight file"):
        weights.load(pickle)
    with pytest.raises(weights.WeightsError, match="no weights named"):
        weights.load(tmp_path / "missing.safetensors")


def test_another_architecture_is_refused(saved: Path, tmp_path: Path) -> None:
    tensors, data = load_file(saved), weights.metadata(saved)
    config = json.loads(data["config"])
    for change in ({"kernel": 5}, {"unknown_field": 1}):
        other = tmp_path / "other.safetensors"
        save_file(tensors, other, {**data, "config": json.dumps({**config, **change})})
        with pytest.raises(weights.WeightsError, match="does not fit this version"):
            weights.load(other)


def test_weights_written_before_a_setting_existed_keep_loading(tmp_path: Path) -> None:
    """Version 1 of gknet-lite: no detail statistics, a trunk of 128 pixels folded two by two."""
    config = dataclasses.replace(variants.VARIANTS["gknet-lite"], trunk=128, unshuffle=2, statistics_bins=0)
    old = tmp_path / "old.safetensors"
    weights.save(old, GKNet(config), {})
    tensors, metadata = load_file(old), weights.metadata(old)
    fields = json.loads(metadata["config"])
    del fields["statistics_bins"]
    save_file(tensors, old, {**metadata, "config": json.dumps(fields)})
    assert weights.load(old).config == config


def test_shipped_weights_load_by_name_and_are_no_identity() -> None:
    assert "gknet-lite" in weights.available()
    for name in weights.available():
        model = weights.load(name)
        composite = torch.full((1, 3, 256, 256), 0.6)
        composite[..., 96:160, 96:160] = torch.tensor([0.9, 0.3, 0.1])[:, None, None]
        mask = torch.zeros(1, 1, 256, 256)
        mask[..., 96:160, 96:160] = 1
        with torch.no_grad():
            assert (model(composite, mask) - composite).abs().mean() > 1e-4
