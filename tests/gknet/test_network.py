"""The networks as wholes: composition rule, identity start, ablations, sizes. One suite over all variants."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gknet import variants
from gknet.attention import S2AM
from gknet.kernels import ConcatFusion, KernelPredictionBlock, SelectiveCorrelationFusion
from gknet.layers import fold, fold_batch_norm
from gknet.network import GKNet, GKNetConfig, hard
from gknet.reference import LongDistanceReference, position_encoding

SIDE = 64


def perturbed(name: str) -> GKNet:
    """A network that is not the identity, in eval mode."""
    torch.manual_seed(0)
    model = variants.create(name).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def inputs(batch: int = 2, h: int = SIDE, w: int = SIDE) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    mask = torch.zeros(batch, 1, h, w)
    mask[..., h // 4 : h // 2, w // 4 : w // 2] = 1
    mask[..., h // 2, w // 4 : w // 2] = 0.5
    return torch.rand(batch, 3, h, w), mask


@pytest.fixture(params=variants.VARIANTS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_starts_as_the_identity(name: str) -> None:
    composite, mask = inputs()
    assert torch.equal(variants.create(name).eval()(composite, mask), composite)


@pytest.mark.parametrize(
    "settings",
    [
        {"unshuffle": 2},
        {"trunk": 128},
        {"decoder_levels": 3},
        {"looks": 2, "statistics_tokens": 4},
        {"looks": 2, "output": "tone"},
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="need the tone output"):
        GKNetConfig(**settings)


def test_background_is_the_composites_bit_for_bit(name: str) -> None:
    composite, mask = inputs()
    composite[0, 0, 0, 0] = float("inf")  # of which arithmetic on an untouched pixel would make NaN
    with torch.no_grad():
        harmonized = perturbed(name)(composite, mask)
    background = (mask == 0).expand_as(composite)
    assert torch.equal(harmonized[background], composite[background])
    assert (harmonized != composite)[1:][(mask > 0).expand_as(composite)[1:]].float().mean() > 0.9


def test_soft_mask_blends(name: str) -> None:
    """I_h = decoder * M + (1 - M) * I_c, at a mask value of one half, with the decoder's output held fixed."""
    model = perturbed(name)
    if model.config.looks > 1:
        nn.init.zeros_(model.global_tone.weight)  # all but the last look change nothing
        nn.init.zeros_(model.global_tone.bias)
    composite, mask = inputs(1)
    fixed = torch.rand_like(composite)
    model._change = lambda *_: fixed  # type: ignore[method-assign]
    with torch.no_grad():
        harmonized = model(composite, mask)
    torch.testing.assert_close(harmonized, (composite + fixed) * mask + (1 - mask) * composite)


def test_what_decides_sees_the_mask_hard(name: str) -> None:
    """As in training: the change is that of the hard mask, whole wherever the mask is not 0, and only then blended."""
    model = perturbed(name)
    composite, mask = inputs(1)
    mask[..., SIDE // 2, :] = 0
    soft = mask.clone()
    soft[..., SIDE // 4, :] *= 0.6
    thin = (slice(None), slice(None), SIDE // 2, slice(SIDE // 4, SIDE // 2))
    soft[thin] = 0.4
    with torch.no_grad():
        full = model(composite, mask)
        blended, faint = model(composite, soft), model(composite, 0.3 * mask)
    cut = (mask == 1).expand_as(composite)
    torch.testing.assert_close(blended[cut], composite.lerp(full, soft)[cut])
    torch.testing.assert_close(faint, composite.lerp(full, 0.3 * mask))
    assert not torch.equal(blended[thin], composite[thin])


def test_a_hair_gets_the_whole_change() -> None:
    """Each look changes what is thinner than the cut as well."""
    model = perturbed("gknet-lite")
    model.global_only = True
    composite, mask = inputs(1)
    rows = (slice(None), slice(None), slice(SIDE // 2 - 2, SIDE // 2))
    mask[..., SIDE // 2, :] = 0
    thin = mask.clone()
    thin[..., SIDE // 2 :, :] = 0.4
    composite[..., SIDE // 2 : SIDE // 2 + 2, :] = composite[rows]  # the same colours inside and out
    with torch.no_grad():
        change = model(composite, thin) - composite
    columns = (..., slice(SIDE // 4, SIDE // 2))
    torch.testing.assert_close(change[..., SIDE // 2 : SIDE // 2 + 2, :][columns], 0.4 * change[rows][columns])


@pytest.mark.parametrize("h, w", [(32, 32), (64, 96), (128, 32)])
def test_any_multiple_of_32(name: str, h: int, w: int) -> None:
    composite, mask = inputs(1, h, w)
    with torch.no_grad():
        assert perturbed(name)(composite, mask).shape == (1, 3, h, w)


def test_pictures_of_a_batch_do_not_meet(name: str) -> None:
    composite, mask = inputs(2)
    mask[0] *= 0.5  # each mask is cut by its own highest value
    model = perturbed(name)
    with torch.no_grad():
        torch.testing.assert_close(model(composite, mask)[:1], model(composite[:1], mask[:1]), rtol=1e-3, atol=2e-4)


def test_learns(name: str) -> None:
    torch.manual_seed(0)
    model = variants.create(name)
    composite, mask = inputs(2, 32, 32)
    target = torch.where(mask > 0, composite * 0.7 + 0.1, composite)
    optimizer = torch.optim.Adam(model.parameters(), 5e-4)
    losses = []
    for _ in range(60):
        loss = ((model(composite, mask) - target) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert all(p.grad is not None for p in model.parameters()), "a parameter takes no part"


def test_batch_norm_folds_into_the_convolutions(name: str) -> None:
    model = perturbed(name)
    with torch.no_grad():
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm2d):  # as training leaves them
                assert norm.running_mean is not None and norm.running_var is not None
                norm.running_mean.normal_(std=0.1)
                norm.running_var.uniform_(0.5, 2)
        before = model(*inputs())
        fold_batch_norm(model)
        assert count(model, nn.BatchNorm2d) == 0
        torch.testing.assert_close(model(*inputs()), before, rtol=1e-4, atol=1e-4)


def count(model: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in model.modules())


@pytest.mark.parametrize(
    "name, blocks, references, scfs, concats",
    [
        ("gknet-baseline", 0, 0, 0, 0),
        ("gknet-kpb", 4, 0, 0, 4),
        ("gknet-kpb-lre", 4, 1, 0, 4),
        ("gknet", 4, 1, 4, 0),
        ("gknet-lite", 3, 1, 3, 0),
    ],
)
def test_each_ablation_really_lacks_its_module(
    name: str, blocks: int, references: int, scfs: int, concats: int
) -> None:
    model = variants.create(name)
    assert count(model, KernelPredictionBlock) == blocks
    assert count(model, LongDistanceReference) == references
    assert count(model, SelectiveCorrelationFusion) == scfs
    assert count(model, ConcatFusion) == concats
    assert count(model, S2AM) > 0


def test_the_baseline_is_the_usual_base() -> None:
    """The usual S2AM U-Net has 2.19 M parameters; ours differs in small ways only."""
    parameters = sum(p.numel() for p in variants.create("gknet-baseline").parameters())
    assert 2.1e6 < parameters < 2.4e6


def test_lite_is_under_two_and_a_half_million_parameters() -> None:
    assert sum(p.numel() for p in variants.create("gknet-lite").parameters()) < 2.5e6


def test_lre_sees_the_whole_picture() -> None:
    torch.manual_seed(0)
    lre = LongDistanceReference(8, width=16, layers=1, heads=2, mlp_factor=2.0)
    features = torch.randn(1, 8, 6, 6, requires_grad=True)
    extra = torch.randn(1, 3, 16)
    reference = lre(features, extra)
    assert reference.shape == (1, 8, 6, 6)
    assert not torch.allclose(reference, lre(features, extra + 1)), "the extra tokens are not attended to"
    reference[0, :, 0, 0].sum().backward()
    assert features.grad is not None and features.grad[0].abs().sum(0).min() > 0, "a far corner has no influence"


def test_positions_are_relative_to_the_picture() -> None:
    like = torch.zeros(1)
    small, large = position_encoding(4, 4, 16, like), position_encoding(12, 12, 16, like)
    torch.testing.assert_close(small, large[:, :, 1::3, 1::3])  # the same places, at three times the size
    assert len({tuple(v) for v in small[0].flatten(1).T.round(decimals=4).tolist()}) == 16


def test_a_trunk_gives_the_same_change_at_its_size_and_at_four_times() -> None:
    """A trunk sees the area average, and coefficients are grown to the picture."""
    model = perturbed("gknet-lite")
    model.config = dataclasses.replace(model.config, trunk=256)
    composite, mask = inputs(1, 256, 256)
    large, large_mask = (torch.nn.functional.interpolate(x, scale_factor=4, mode="nearest") for x in (composite, mask))
    with torch.no_grad():
        small_change, large_change = model(composite, mask) - composite, model(large, large_mask) - large
    averaged = torch.nn.functional.avg_pool2d(large_change, 4)
    assert float((averaged - small_change).abs().max()) < 0.15 * float(small_change.abs().max())


def test_global_only_rests_decoder_and_kernels() -> None:
    model = variants.create("gknet-lite")
    torch.nn.init.normal_(model.global_tone.weight, std=0.1)
    composite, mask = inputs()
    model.eval()
    with torch.no_grad():
        both = model(composite, mask)
        model.global_only = True
        torch.testing.assert_close(model(composite, mask), both)  # the local head is still zero
    model(composite, mask).sum().backward()
    resting = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is None}
    assert resting == {"tokens", "reference", "kernels", "decoder", "head"}


def test_the_second_look_sees_what_the_first_has_made_of_the_mirrored_picture() -> None:
    twice = perturbed("gknet-lite")
    once = GKNet(dataclasses.replace(twice.config, looks=1)).eval()
    once.load_state_dict({k: v for k, v in twice.state_dict().items() if "remember" not in k})
    twice.global_only = once.global_only = True
    composite, mask = inputs()
    mask = mask.floor()  # a soft edge is blended once, not once a look
    with torch.no_grad():
        remembered = twice(composite, mask)
        assert twice.statistics is not None and twice.statistics.remember is not None
        nn.init.zeros_(twice.statistics.remember.weight)
        forgotten = twice(composite, mask)
        first = once(composite.flip(-1), mask.flip(-1)).flip(-1)
        torch.testing.assert_close(forgotten, once(first, mask))
        assert float((first - once(composite, mask)).abs().max()) > 1e-3, "mirrored or not is the same"
    assert float((remembered - forgotten).abs().max()) > 1e-3, "what the first look saw is not remembered"


def test_folding_is_pixel_unshuffle_with_channels_last() -> None:
    x = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    folded = fold(x, 4)
    assert torch.equal(folded, torch.nn.functional.pixel_unshuffle(x, 4))
    assert folded.is_contiguous(memory_format=torch.channels_last)


def test_the_decoder_ends_where_it_is_told_to() -> None:
    model = variants.create("gknet-lite")
    composite, mask = inputs(1)
    grids = []
    model.head.register_forward_hook(lambda *call: grids.append(tuple(call[2].shape[-2:])))
    model(composite, mask)
    assert grids == [(SIDE // 8, SIDE // 8)]  # the finest feature has SIDE / 4


def test_the_encoder_sees_chroma_where_asked() -> None:
    model = variants.create("gknet-lite")
    composite, mask = inputs(1)
    seen = []
    model.encoder[0].register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    model(composite, mask)
    planes = torch.nn.functional.pixel_shuffle(seen[-1], model.config.unshuffle)  # the last look is not mirrored
    luma = (composite[0] * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0)
    torch.testing.assert_close(planes[0, 4], composite[0, 0] - luma)
    torch.testing.assert_close(planes[0, 5], composite[0, 2] - luma)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="gknet-lite"):
        variants.create("gknet-huge")


def test_what_is_just_half_covered_is_background() -> None:
    mask = torch.zeros(2, 1, 8, 8)
    mask[0, ..., :4], mask[0, ..., 4] = 1, 0.5
    mask[1] = 0.3 * mask[0]
    assert torch.equal(hard(mask), (mask >= mask.amax((1, 2, 3), keepdim=True)))
