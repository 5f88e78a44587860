"""`gknet explain` on the shipped network and on the paper's."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from gknet import explain, figures, inside, variants, weights
from gknet.cli import main
from gknet.experts import single
from gknet.modulation import modulate
from gknet.network import GKNet
from tests.places import EXAMPLES

if TYPE_CHECKING:
    from playwright.sync_api import Page

PICTURES = ("change", "kernels", "features", "attention")


@pytest.fixture(scope="module")
def lite() -> GKNet:
    return single(weights.load("gknet-lite"))


def pair(size: int = 256) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    composite = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8, generator=generator), size, mode="bilinear")[0]
    mask = torch.zeros(1, size, size)
    mask[:, size // 4 : size // 2, size // 4 : size // 2] = 1
    return composite, mask


def test_looking_changes_nothing_and_parts_fit_together(lite: GKNet) -> None:
    composite, mask = pair()
    with torch.inference_mode():
        expected = lite(composite[None], mask[None])[0]
        lite.global_only = True
        alone = lite(composite[None], mask[None])[0]
        lite.global_only = False
    seen = inside.look(lite, composite, mask)
    torch.testing.assert_close(seen.harmonized, expected, rtol=0, atol=0)
    assert seen.global_tone is not None
    torch.testing.assert_close(seen.global_tone, alone, rtol=0, atol=0)
    assert not any(module._forward_hooks for module in lite.modules())
    assert [level.before.shape for level in seen.levels] == [(96, 8, 8), (64, 16, 16), (48, 32, 32)]
    for block, level in zip(lite.kernels or [], seen.levels, strict=True):
        assert level.fusion is not None
        fused = level.fusion.encoder_weights[:, None, None] * level.fusion.encoder
        fused = (
            fused
            + torch.nn.functional.interpolate(
                (level.fusion.previous_weights[:, None, None] * level.fusion.previous)[None],
                size=fused.shape[1:],
                mode="bilinear",
            )[0]
        )
        with torch.inference_mode():
            kernels = block.head(block.conv(fused[None]))
        torch.testing.assert_close(kernels[0], level.kernels)
        torch.testing.assert_close(modulate(level.before[None], level.kernels[None])[0], level.after)


def test_attention_is_what_the_layer_uses(lite: GKNet) -> None:
    assert lite.reference is not None
    layer = lite.reference.layers[0]
    tokens = torch.randn(2, 10, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        _, _, v = layer._split(tokens)
        attended = (layer.attention(tokens) @ v).transpose(1, 2).reshape(tokens.shape)
        after = tokens + layer.project(attended)
        torch.testing.assert_close(after + layer.mlp(layer.norm_mlp(after)), layer(tokens))
    seen = inside.look(lite, *pair())
    assert seen.attention is not None and seen.attention.shape == (2, 4, 68, 68) and seen.grid == (8, 8)
    torch.testing.assert_close(seen.attention.sum(-1), torch.ones(2, 4, 68))


def test_the_papers_network_has_no_statistics_and_its_attention_is_made_coarse() -> None:
    network = variants.create("gknet").eval()
    seen = inside.look(network, *pair())
    assert seen.global_tone is None and seen.grid == (32, 32)
    assert explain.distance_from_identity(seen.levels[0]) == 0  # untrained kernels are the identity
    packed, grid = explain._coarse(seen)
    assert packed.shape == (2, 8, 256, 256) and grid == (16, 16)
    np.testing.assert_allclose(packed.sum(-1), 1, rtol=1e-4)
    assert seen.attention is not None
    first = seen.attention[1, 3].view(32, 32, 32, 32)
    expected = first[4:6, 6:8, 10:12, 20:22].mean((0, 1)).sum()
    np.testing.assert_allclose(packed[1, 3, 2 * 16 + 3, 5 * 16 + 10], expected, rtol=1e-4)


def test_clusters_find_kernels_that_differ() -> None:
    kernels = torch.zeros(18, 8, 8)
    kernels[4] = kernels[13] = 1
    kernels[4, :, 4:] = 3
    kernels[4, 5:, 4:] = -2
    level = inside.Level(kernels, torch.ones(2, 8, 8), torch.ones(2, 8, 8), None)
    labels = explain.kernel_clusters(level, 3)
    expected = np.ones((8, 8), int)
    expected[:, 4:] = 2
    expected[5:, 4:] = 0
    np.testing.assert_array_equal(labels, expected)
    assert explain.distance_from_identity(level) == pytest.approx((20 * 2 + 12 * 3) / (18 * 64))
    # Column means are 1 and 9/8, a variance of 1/256; that of all 64 taps is 2.9336.
    assert explain.column_share(level) == pytest.approx(1 / 256 / 2.93359, rel=1e-4)
    kernels[4, :, 4:] = 3
    assert explain.column_share(level) == pytest.approx(1)


def test_lightness_hue_and_saturation_are_told_apart() -> None:
    red = np.full((1, 1, 3), (0.8, 0.2, 0.2), np.float32)
    green = np.full((1, 1, 3), (0.2, 0.8, 0.2), np.float32)
    grey = np.full((1, 1, 3), 0.5, np.float32)
    light, hue, chroma = explain.lightness_hue_saturation(red, green)
    assert light > 15 and 90 < hue < 120
    light, hue, chroma = explain.lightness_hue_saturation(red, grey)
    assert np.isnan(hue) and chroma < -40
    for values in explain.lightness_hue_saturation(red, red):
        assert values == 0


def test_the_command_draws_and_takes_the_point(tmp_path: Path) -> None:
    arguments = ["explain", str(EXAMPLES / "coffee.jpg"), str(EXAMPLES / "coffee_mask.png"), "-o"]
    for name, more in (("middle", []), ("corner", ["--point", "1,1"])):
        result = CliRunner().invoke(main, [*arguments, str(tmp_path / name), *more])
        assert result.exit_code == 0, result.output
        assert "by its seam, the foreground was pasted" in result.output
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == sorted(
            [*(f"{picture}.png" for picture in PICTURES), "index.html"]
        )
    same = [
        (tmp_path / "middle" / f"{p}.png").read_bytes() == (tmp_path / "corner" / f"{p}.png").read_bytes()
        for p in PICTURES
    ]
    assert same == [True, True, True, False]
    result = CliRunner().invoke(main, [*arguments, str(tmp_path / "other"), "--in-place"])
    assert result.exit_code == 0 and "as you say, the foreground was recoloured where it stands" in result.output
    assert (tmp_path / "other" / "change.png").read_bytes() != (tmp_path / "middle" / "change.png").read_bytes()
    for bad, text in (
        (["--point", "9999,1"], "outside"),
        (["--point", "x"], "is not X,Y"),
        (["--weights", "no"], "no"),
    ):
        result = CliRunner().invoke(main, [*arguments, str(tmp_path / "bad"), *bad])
        assert result.exit_code != 0 and text in result.output
    assert not (tmp_path / "bad").exists()


def test_the_page_shows_attention_from_wherever_the_point_is_moved(lite: GKNet, tmp_path: Path, page: Page) -> None:
    composite, mask = pair()
    seen = inside.look(lite, composite, mask)
    assert seen.attention is not None
    colours = composite.permute(1, 2, 0).numpy()
    drawn = {name: Image.new("RGB", (8, 8)) for name in PICTURES}
    (tmp_path / "index.html").write_text(
        explain.page(seen, colours, (2, 3), drawn, "a <b>title", (300, 200)), encoding="utf-8"
    )
    page.goto((tmp_path / "index.html").as_uri())
    where = page.locator("#where")
    where.filter(has_text="row 3, column 4").wait_for()
    assert page.locator("h1").inner_text() == "a <b>title"

    def shown(head: int) -> np.ndarray:
        script = "i => document.querySelectorAll('#heads canvas')[i].toDataURL()"
        url = page.evaluate(script, head)

        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")).astype(int)

    def check(row: int, column: int) -> None:
        assert where.inner_text() == f"row {row + 1}, column {column + 1}"
        assert seen.attention is not None
        for number in range(8):
            cells = seen.attention[number // 4, number % 4, row * 8 + column, :64].view(8, 8)
            assert np.abs(shown(number) - np.asarray(figures.warm(cells.numpy())).astype(int)).max() <= 3
        share = float(seen.attention[1, 3, row * 8 + column, :64].sum())
        said = page.locator("figcaption").nth(7).inner_text()
        assert abs(float(re.findall(r": (\d+)%", said)[0]) - 100 * share) <= 0.51

    check(2, 3)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    check(3, 4)
    for _ in range(9):
        page.keyboard.press("ArrowLeft")
    check(3, 0)
    box = page.locator("#picture").bounding_box()
    assert box is not None and abs(box["width"] / box["height"] - 1.5) < 0.01
    page.locator("#picture").click(position={"x": box["width"] * 0.95, "y": box["height"] * 0.05})
    check(0, 7)
