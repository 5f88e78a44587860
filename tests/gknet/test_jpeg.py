"""JPEG on the training device against the files that Pillow (libjpeg) writes."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from gknet.data.jpeg import compress


def picture(height: int, width: int) -> np.ndarray:
    """Smooth colours, texture and a hard edge: [H, W, 3] uint8."""
    y, x = np.mgrid[:height, :width] / 64
    waves = np.stack([np.sin(3 * x + y), np.cos(2 * y - x), np.sin(x * y)], -1) * 70 + 128
    noise = np.random.default_rng(0).normal(0, 12, (height, width, 1))
    waves[height // 3 : height // 2, width // 4 : width // 2] = (200, 40, 60)
    return (waves + noise).clip(0, 255).astype(np.uint8)


def by_pillow(pixels: np.ndarray, quality: int, *, subsample: bool) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling="4:2:0" if subsample else "4:4:4")
    return np.asarray(Image.open(file))


def by_torch(pixels: np.ndarray, quality: int, *, subsample: bool) -> np.ndarray:
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    out = compress(batch, torch.tensor([float(quality)]), torch.tensor([subsample]))
    assert out.shape == batch.shape and out.dtype == torch.float32
    values = out[0].permute(1, 2, 0).numpy() * 255
    np.testing.assert_allclose(values, values.round(), atol=1e-3)
    return values.round().astype(np.uint8)


@pytest.mark.parametrize("subsample", [False, True])
@pytest.mark.parametrize("quality", [30, 75, 90, 98])
def test_as_libjpeg(quality: int, subsample: bool) -> None:
    original = picture(128, 160)
    theirs, ours = (f(original, quality, subsample=subsample).astype(int) for f in (by_pillow, by_torch))
    lost = np.abs(theirs - original).mean()
    assert np.abs(theirs - ours).mean() < min(0.6 * lost, 1), "not the loss that libjpeg makes"


def test_partial_blocks_repeat_their_edge() -> None:
    original = picture(42, 54)  # neither is a multiple of eight
    theirs, ours = (f(original, 80, subsample=False).astype(int) for f in (by_pillow, by_torch))
    assert np.abs(theirs - ours).mean() < 1


def test_each_picture_has_its_own_quality_and_sampling() -> None:
    batch = torch.from_numpy(picture(64, 64)).permute(2, 0, 1)[None].float().repeat(3, 1, 1, 1) / 255
    quality, subsample = torch.tensor([95.0, 60.0, 95.0]), torch.tensor([False, False, True])
    together = compress(batch, quality, subsample)
    for i in range(3):
        alone = compress(batch[i : i + 1], quality[i : i + 1], subsample[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, atol=1.5 / 255, rtol=0)
    error = (together - batch).square().mean((1, 2, 3))
    assert error[0] < error[2] and error[0] < error[1]
