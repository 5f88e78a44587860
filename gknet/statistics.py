"""Foreground and background statistics: the path that sees at a glance how the two differ.

Colours first (mean, deviation, histogram), then *detail*: what is left of the picture when its blur is taken away. A
region whose contrast was raised, whose shadows were lifted or whose colour was changed shows it in how strong its
detail is at each tone and how the detail of red, green and blue goes together, whatever the object is.

Not in the paper. Reinhard-style statistics are what classical harmonization works on; a network that is handed them
learns in minutes what its convolutions need hours for (docs/training.md). They enter the LRE as extra tokens, and
decide a first, global tone step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gknet.layers import blur, luma, resize, strip

BINS = 16
COLOR_STATISTICS = 2 * 6 * (2 + BINS) + 1
"""Numbers that :func:`color_statistics` gives."""


def masked_means(features: Tensor, regions: Tensor) -> Tensor:
    """Means of features [B, C, H, W] under each of R weights [B, R, H, W] (0..1) -> [B, R, C]."""
    weight = regions.to(features.dtype).flatten(2)
    return weight @ features.flatten(2).mT / (weight.sum(2, keepdim=True) + 1e-3)


@torch.no_grad()
def color_statistics(composite: Tensor, mask: Tensor) -> Tensor:
    """Mean, deviation and soft histogram of R, G, B, Y, Cb, Cr over foreground and over background, and the mask's
    share.

    Args:
        composite: [B, 3, H, W], sRGB 0..1.
        mask: [B, 1, H, W], 0..1.

    Returns:
        [B, COLOR_STATISTICS], float32, roughly centred.
    """
    composite, mask = composite.float(), mask.float()
    if composite.shape[-1] > 64:  # colours need no more pixels than this
        side = composite.new_empty(64, 64)
        composite, mask = resize(composite, side), resize(mask, side)
    r, g, b = composite.unbind(1)
    y = luma(composite)[:, 0]
    channels = torch.stack([r, g, b, y, (b - y) * 0.564 + 0.5, (r - y) * 0.713 + 0.5], 1).flatten(2)  # [B, 6, P]
    numbers = [mask.mean((1, 2, 3))[:, None]]
    # Bin i of a soft histogram is a triangle around i: a pixel shares its weight between its two neighbours.
    place = channels.clamp(0, 1).nan_to_num(0) * (BINS - 1)  # mean and deviation still tell that it was none
    low = place.floor()
    share = place - low
    index = low.long()
    for weight in (mask.flatten(2), 1 - mask.flatten(2)):  # [B, 1, P]
        area = weight.sum(2) + 1e-3
        mean = (channels * weight).sum(2) / area
        deviation = (((channels - mean[..., None]) ** 2 * weight).sum(2) / area + 1e-6).sqrt()
        histogram = channels.new_zeros(*channels.shape[:2], BINS + 1)
        histogram.scatter_add_(2, index, (1 - share) * weight)
        histogram.scatter_add_(2, index + 1, share * weight)
        numbers += [
            (mean - 0.5) * 4,
            deviation * 8 - 1,
            (histogram[..., :BINS] / area[..., None]).clamp_min(0).sqrt().flatten(1) * 2,
        ]
    return torch.cat(numbers, 1)


def _tone_bins(picture: Tensor, bins: int) -> Tensor:
    """Soft membership of each pixel in tones from black to white: [B, 3, H, W] -> [B, bins, H, W], summing to 1."""
    place = luma(picture).clamp(0, 1) * (bins - 1)
    centres = torch.arange(bins, device=picture.device, dtype=picture.dtype)[None, :, None, None]
    return (place - centres).abs_().neg_().add_(1).clamp_min_(0)


def _grow(mask: Tensor, pixels: int) -> Tensor:
    return F.max_pool2d(mask, 2 * pixels + 1, 1, pixels)


def _products(x: Tensor) -> Tensor:
    """r, g, b -> rr, gg, bb, rg, gb, br: [B, 3, H, W] -> [B, 6, H, W]."""
    out = x.new_empty(x.shape[0], 6, *x.shape[2:])
    torch.mul(x, x, out=out[:, :3])
    torch.mul(x[:, :2], x[:, 1:], out=out[:, 3:5])
    torch.mul(x[:, 2:], x[:, :1], out=out[:, 5:])
    return out


def _spread(products: Tensor) -> Tensor:
    """Mean products [..., 6] of something centred -> log deviations and correlations [..., 6], roughly centred."""
    variance = products[..., :3].clamp_min(0) + 4e-6
    correlation = products[..., 3:] / (variance * variance.roll(-1, -1)).sqrt()
    return torch.cat([0.5 * variance.log() + 3.5, correlation], -1)


def _strips(*maps: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Maps [B, C, H, W] of one size, strip by strip."""
    return zip(*(x.split(strip(x), 2) for x in maps), strict=True)


def _sums(weights: Tensor, *values: Tensor) -> Tensor:
    """Values [B, C, H, W], one after another, under weights [B, R, H, W] -> [B, R, C...]."""
    return weights.flatten(2) @ torch.cat(values, 1).flatten(2).mT


def _added(strips: Iterable[Tensor]) -> Tensor:
    """The sum of what was found strip by strip."""
    return torch.stack(list(strips)).sum(0)


def _covariances(x: Tensor, regions: Tensor) -> Tensor:
    """Colours [B, 3, H, W] under weights [B, R, H, W] -> mean and :func:`_spread` of each, [B, R, 9]."""
    area = regions.flatten(2).sum(2, keepdim=True) + 1e-3
    mean = _added(_sums(under, part) for part, under in _strips(x, regions)) / area
    # About the region's own mean: of a flat colour, mean square less squared mean would be nothing but rounding.
    products = [
        _added(_sums(under, _products(part - centre)) for part, under in _strips(x, weight))
        for weight, centre in zip(regions.split(1, 1), mean[..., None, None].unbind(1), strict=True)
    ]
    return torch.cat([(mean - 0.5) * 4, _spread(torch.cat(products, 1) / area)], 2)


def _sums_by_tone(picture: Tensor, blurred: Tensor, reach: Tensor, bins: int) -> Tensor:
    """Products of detail, colours, and pixels in each tone of foreground and background -> [B, 2, bins, 6 + 3 + 1].

    Args:
        picture, blurred: [B, 3, H, W]; their difference is the detail.
        reach: the mask, blurred as far, [B, 1, H, W].
        bins: tones from black to white.
    """
    sums = []
    for part, smooth, near in _strips(picture, blurred, reach):
        # The paste's edge is nobody's detail: both regions keep a pixel away from it.
        regions = torch.cat([near > 0.999, near < 0.001], 1).to(part)  # [B, 2, h, W]
        weights = (regions[:, :, None] * _tone_bins(smooth, bins)[:, None]).flatten(1, 2)  # [B, 2 * bins, h, W]
        sums.append(_sums(weights, _products(part - smooth), part, torch.ones_like(near)))
    out: Tensor = _added(sums).unflatten(1, (2, bins))
    return out


def _halve(x: Tensor) -> Tensor:
    """Mean of each 2 x 2 pixels, as :func:`gknet.layers.blur` does it."""
    rows = x[..., ::2, :] + x[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def detail_numbers(bins: int) -> int:
    """Numbers that :func:`detail_statistics` gives."""
    return 2 * (2 * 6 * bins + 3 * bins + 3 * 6 + 9) + 2 * 9


@torch.no_grad()
def detail_statistics(composite: Tensor, mask: Tensor, bins: int) -> Tensor:
    """How strong detail is in foreground and background, by tone and by scale, and how red, green and blue go together.

    Args:
        composite: [B, 3, H, W], sRGB 0..1, H and W multiples of 8.
        mask: [B, 1, H, W], 0..1.
        bins: tones from black to white.

    Returns:
        [B, detail_numbers(bins)], float32, roughly centred.
    """
    picture, mask = composite.float(), mask.float()
    numbers = [_covariances(picture, torch.cat([mask, 1 - mask], 1))]
    for scale in range(3):
        energy, colour, area = _sums_by_tone(picture, blur(picture), blur(mask), bins).split([6, 3, 1], 3)
        total = area.sum(2)  # [B, 2, 1]
        numbers.append(_spread(energy.sum(2) / (total + 1)))
        if scale < 2:
            certain = area / (area + 4)  # a tone that hardly occurs says nothing
            numbers.append(_spread(energy / (area + 1)) * certain)
        if scale == 0:
            mean = colour / (area + 1)
            numbers.append((area[..., 0] / (total + 1e-3)).sqrt() * 2)
            numbers.append((mean - mean[..., 1:2])[..., ::2] * 6)  # the colour cast of each tone
        picture, mask = _halve(picture), _halve(mask)
    # Both sides of the rim, at an eighth of the size.
    numbers.append(_covariances(picture, torch.cat([_grow(mask, 2) - mask, mask - (1 - _grow(1 - mask, 2))], 1)))
    return torch.cat([n.flatten(1) for n in numbers], 1)


class StatisticsPath(nn.Module):
    """Colour statistics and mask-pooled encoder features -> one vector that says how foreground and background differ.

    Args:
        channels: channels of each encoder level, deepest first (the order of ``forward``'s features).
        hidden: D, width of the MLP and of its output.
        bins: tones by which detail, and the finest encoder feature, are told apart; 0 = no detail statistics.
        remember: take the vector of an earlier look into account.
    """

    def __init__(self, channels: tuple[int, ...], *, hidden: int, bins: int, remember: bool) -> None:
        super().__init__()
        self.bins = bins
        numbers = 2 * sum(channels) + COLOR_STATISTICS
        if bins:
            numbers += 2 * bins * channels[-1] + detail_numbers(bins)
        self.mlp = nn.Sequential(
            nn.Linear(numbers, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
        )
        self.remember = None
        if remember:
            self.remember = nn.Linear(hidden, hidden, bias=False)
            nn.init.zeros_(self.remember.weight)

    def forward(self, composite: Tensor, mask: Tensor, features: list[Tensor], memory: Tensor | None = None) -> Tensor:
        """Composite [B, 3, H, W], mask [B, 1, H, W], one feature map a level, an earlier look's result -> [B, D]."""
        regions = torch.cat([mask, 1 - mask], 1)
        at_levels: list[Tensor] = []
        for f in reversed(features):  # each from the one before: less to read, and the same mean
            at_levels.insert(0, regions := resize(regions, f))
        pooled = [masked_means(f, r).flatten(1) for f, r in zip(features, at_levels, strict=True)]
        pooled.append(color_statistics(composite, mask).to(pooled[0].dtype))
        if self.bins:
            pooled.append(_means_by_tone(features[-1], resize(composite, features[-1]), at_levels[-1], self.bins))
            pooled.append(detail_statistics(composite, mask, self.bins).to(pooled[0].dtype))
        mixed: Tensor = self.mlp[0](torch.cat(pooled, 1))
        if self.remember is not None and memory is not None:
            mixed = mixed + self.remember(memory)
        out: Tensor = self.mlp[1:](mixed)
        return out


def _means_by_tone(features: Tensor, picture: Tensor, regions: Tensor, bins: int) -> Tensor:
    """Means of features [B, C, H, W] under R weights [B, R, H, W], apart for each tone of the picture [B, 3, H, W]
    -> [B, R * bins * C]."""
    weight = regions[:, :, None] * _tone_bins(picture, bins)[:, None]
    weight = weight.to(features.dtype).flatten(3).flatten(1, 2)
    return (weight @ features.flatten(2).mT / (weight.sum(2, keepdim=True) + 1)).flatten(1)
