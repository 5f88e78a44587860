"""The seam: pieces of it lie alike however the picture is turned, and it says which of two networks a picture gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gknet import Harmonizer, variants, weights
from gknet.color import document_space
from gknet.data.pasting import paste
from gknet.experts import Experts, single
from gknet.harmonizer import as_seen
from gknet.seam import REACH, SIDE, SeamReader, pieces
from tests.places import EXAMPLES


@pytest.fixture(scope="module")
def shipped() -> Experts:
    network = weights.load("gknet-lite")
    assert isinstance(network, Experts)
    return network


def example(name: str, shipped: Experts) -> tuple[Tensor, Tensor]:
    """As the network is shown it."""
    picture = np.asarray(Image.open(EXAMPLES / f"{name}.jpg").convert("RGB"))
    mask = np.asarray(Image.open(EXAMPLES / f"{name}_mask.png").convert("L"))
    colours, coverage = as_seen(picture, mask, shipped.config.side(*mask.shape))
    return torch.from_numpy(colours).permute(2, 0, 1)[None], torch.from_numpy(coverage)[None, None]


def halves() -> tuple[Tensor, Tensor]:
    """A random picture whose right half is the foreground."""
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., 20:] = 1
    return torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(3)), mask


def test_a_piece_is_what_lies_around_a_pixel_of_the_foreground_at_the_seam() -> None:
    composite, mask = halves()
    found = pieces(composite, mask, 40)
    assert found.shape == (1, 40, 4, SIDE, SIDE)
    row = 17
    rows, columns = slice(row - REACH, row + REACH + 1), slice(20 - REACH, 20 + REACH + 1)
    assert torch.equal(found[0, row, :3], composite[0, :, rows, columns])
    assert torch.equal(found[0, row, 3], mask[0, 0, rows, columns])


@pytest.mark.parametrize("turned", [lambda x: x.flip(-1), lambda x: x.transpose(-1, -2), lambda x: x.rot90(1, (2, 3))])
def test_a_turned_picture_gives_the_same_pieces(turned: object) -> None:
    composite, mask = halves()
    assert callable(turned)
    expected, found = pieces(composite, mask, 40)[0], pieces(turned(composite), turned(mask), 40)[0]
    for piece in found:
        assert min(float((piece - other).abs().max()) for other in torch.cat([expected, expected.flip(-2)])) == 0


def test_a_long_seam_is_sampled_and_a_short_one_repeated() -> None:
    composite, mask = halves()
    assert pieces(composite, mask, 7).shape[1] == 7
    assert len(pieces(composite, mask, 200)[0].unique(dim=0)) == 40


def test_a_picture_without_a_seam_has_a_reading(shipped: Experts) -> None:
    composite, mask = halves()
    assert isinstance(shipped.reads_paste(composite, torch.ones_like(mask)), bool)


@pytest.mark.parametrize(("name", "pasted"), [("astronaut", True), ("raccoon", False)])
def test_examples_are_read_right(shipped: Experts, name: str, pasted: bool) -> None:
    """examples/README.md says which was cut out of another photo. (The coffee is read wrong.)"""
    assert shipped.reads_paste(*example(name, shipped)) == pasted


def test_a_paste_of_the_same_foreground_is_read_as_one(shipped: Experts) -> None:
    composite, coverage = example("raccoon", shipped)
    mask = (coverage > 0.5).float()
    laid, _, opacity = paste(composite, composite, mask, margin=3, softness=1)
    assert shipped.reads_paste(laid, opacity)


@pytest.mark.parametrize("pasted", [True, False])
def test_who_knows_better_than_the_seam_says_so(shipped: Experts, pasted: bool) -> None:
    picture, mask = (Image.open(EXAMPLES / f"raccoon{end}") for end in (".jpg", "_mask.png"))
    one_of_them = Harmonizer(network=shipped.pasted if pasted else shipped.in_place, model="one", device="cpu")
    both = Harmonizer(network=shipped, model="both", device="cpu")
    expected = np.asarray(one_of_them(picture, mask))
    np.testing.assert_array_equal(np.asarray(both.harmonize(picture, mask, pasted=pasted).image), expected)
    assert np.array_equal(np.asarray(both(picture, mask)), expected) != pasted  # it was changed where it stands


@pytest.mark.parametrize(("side", "in_place", "pasted"), [(1200, 512, 384), (300, 384, 352), (100, 256, 256)])
def test_what_is_known_to_be_a_paste_is_shown_at_fewer_pixels(
    shipped: Experts, side: int, in_place: int, pasted: int
) -> None:
    picture, mask = (
        np.asarray(Image.open(EXAMPLES / f"raccoon{end}").resize((side, side))) for end in (".jpg", "_mask.png")
    )
    both, space = Harmonizer(network=shipped, model="both", device="cpu"), document_space(None, "srgb", 3)
    for said, expected in ((False, in_place), (True, pasted)):
        seen = both.see(picture, mask, space, said)
        assert seen.network is shipped.of(said) and seen.mask.shape == (expected, expected)
        assert seen.colours.shape == seen.composite.shape == (expected, expected, 3)
    assert both.see(picture, mask, space).mask.shape == (in_place, in_place)  # the seam may be read wrong


def test_each_picture_of_a_batch_gets_its_own_network(shipped: Experts) -> None:
    composite, coverage = example("raccoon", shipped)
    laid, _, opacity = paste(composite, composite, (coverage > 0.5).float(), margin=3, softness=1)
    with torch.inference_mode():
        both = shipped(torch.cat([composite, laid]), torch.cat([coverage, opacity]))
        torch.testing.assert_close(both[:1], shipped.in_place(composite, coverage), rtol=0, atol=1e-5)
        torch.testing.assert_close(both[1:], shipped.pasted(laid, opacity), rtol=0, atol=1e-5)


def test_experts_that_are_written_come_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    experts = Experts(variants.VARIANTS["gknet-lite"])
    torch.nn.init.normal_(experts.pasted.head.weight)
    path = tmp_path / "two.safetensors"
    weights.save(path, experts, {})
    loaded = weights.load(path)
    assert isinstance(loaded, Experts) and not loaded.training
    for name, tensor in experts.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert single(loaded) is loaded.pasted and single(loaded.in_place) is loaded.in_place
    picture = np.full((64, 64, 3), 90, np.uint8)
    assert Harmonizer.load(path, "cpu")(picture, np.eye(64, dtype=bool)).shape == picture.shape  # type: ignore[union-attr]


def test_the_reader_learns_what_a_rim_is() -> None:
    """Pieces with a rim of another colour beside the seam, and pieces without."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    reader = SeamReader()
    optimizer = torch.optim.Adam(reader.parameters(), 1e-3)
    for _ in range(60):
        seen = torch.rand(16, 1, 4, 1, 1, generator=generator).repeat(1, 8, 1, SIDE, SIDE)
        seen[..., 3, :, :] = torch.arange(SIDE) >= REACH
        pasted = torch.rand(16, generator=generator) < 0.5
        seen[~pasted, :, :3, :, REACH - 1] += 0.3
        loss = torch.nn.functional.binary_cross_entropy_with_logits(reader(seen), pasted.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert ((reader(seen) > 0) == pasted).all()


def test_pictures_need_not_be_square() -> None:
    composite, mask = halves()
    found = pieces(composite[..., 10:30, :], mask[..., 10:30, :], 20)
    columns = slice(20 - REACH, 20 + REACH + 1)
    assert torch.equal(found[0, 7, :3], composite[0, :, 17 - REACH : 17 + REACH + 1, columns])
