"""Endless random composites out of photos and masks, made on the training device (data as in the paper's sec. 4.1).

The photo is the real image; the composite is the photo with its foreground's colours changed. As for iHarmony4, the
change carries the statistics of a region of another photo over to the foreground; several candidates are drawn, those
that look wrong by themselves are thrown away, and of the rest the one nearest to a drawn error is kept. Some are then
compressed, as composites that people save are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gknet.data.jpeg import compress
from gknet.data.pasting import paste
from gknet.data.photos import PhotoSet
from gknet.data.shadows import cast
from gknet.data.transfers import (
    GRADE_SCALE,
    MOVE_SCALE,
    STATISTICS_TRANSFERS,
    Transfer,
    luma,
    photographic,
    to_lab,
)
from gknet.layers import blur

Draw = Callable[..., Tensor]
"""(*shape) -> random numbers."""

LEAST_AREA = 1e-3
"""Share of the picture that a pasted foreground must fill: one that is too thin stays where it stands."""


@dataclass(frozen=True, kw_only=True)
class CompositesConfig:
    """How composites are drawn. Probabilities are 0..1; errors are fMSE on the 0..255 scale."""

    candidates: int = 12
    """Changes tried a composite; the best is kept."""
    spare: float = 0.7
    """Share of photos drawn beyond those asked for, to take the place of those whose candidates all look wrong."""
    samples: int = 512
    """Foreground pixels on which the change that is kept is fitted, and"""
    judged: int = 192
    """how many of them candidates are fitted and judged on."""
    balance: float = 0.5
    """How far sources with many photos are held back: 0 = every photo is as likely as any other, 1 = every source."""
    same_source: float = 0.9
    """Probability that the reference region comes from the same source (streets to streets, people to people)."""
    photographic: float = 0.2
    """Share of composites changed by photographic moves instead of a statistics transfer."""
    partial: float = 0.1
    """Share of the statistics transfers that are carried out by 30 to 100 percent only."""
    gradient: float = 0.3
    """Share of the composites whose foreground also gets a light that falls off across the picture: what no global
    tone can undo."""
    error_median: float = 750.0
    """Median of the drawn errors (kept ones come out larger, since small changes are rarer), and"""
    error_spread: float = 0.9
    """the deviation of their logarithm: iHarmony4's composites, and the benchmark's, spread like this."""
    error_range: tuple[float, float] = (100.0, 6000.0)
    """Errors outside are thrown away."""
    foreign_mask: float = 0.05
    """Probability that the mask is that of another photo."""
    grade: float = 0.4
    """Probability that the whole photo is regraded first, foreground and background alike, so that no photo looks the
    same twice, by photographic moves with"""
    grade_scale: tuple[float, ...] = GRADE_SCALE
    """these standard deviations."""
    sharpen: tuple[float, float] = (-0.2, 1.0)
    """How much of a photo's finest detail is added to it (below zero: taken away): crops of small photos are blurred,
    a large photo reduced to the network's size is not."""
    own_detail: float = 0.25
    """Probability that the foreground is softer or sharper than its background, in real image and composite alike: a
    cut-out out of another photo is, and that says nothing of its colours."""
    untouched: float = 0.25
    """Share left as the photo is: a foreground that fits must stay."""
    crop: tuple[float, float] = (0.5, 1.0)
    """Area share of the random crop; one photo of seven is shown whole."""
    jpeg: float = 0.5
    """Share of the composites that are saved as JPEG, half of them with halved chroma (4:2:0), at"""
    jpeg_quality: tuple[float, float] = (80.0, 98.0)
    """a quality drawn from this range: the finest detail does not survive it, and must not be all that is gone by."""
    pasted: float = 0.7
    """Share of the composites whose foreground lies over a background that never held it (gknet.data.pasting), drawn
    anew on both sides of the seam within"""
    margin: tuple[int, int] = (1, 6)
    """pixels, with a mask blurred"""
    softness: tuple[int, int] = (0, 3)
    """times: as a cut-out's edge is hard or soft."""
    shadow: float = 0.0
    """Share of the pasted ones below which a shadow is painted (gknet.data.shadows), blurred by"""
    shadow_softness: tuple[float, float] = (0.01, 0.04)
    """of the picture's side."""


AS_IS = CompositesConfig(
    foreign_mask=0.0, grade=0.0, sharpen=(0.0, 0.0), own_detail=0.0, untouched=0.0, jpeg=0.0, pasted=0.0
)
"""Changed pictures of photos as they come, cropped and flipped alone: to judge by."""
PASTED = replace(AS_IS, pasted=1.0, margin=(3, 3), softness=(1, 1))
"""The same as people paste them."""


@dataclass
class Batch:
    """A batch of training data on one device, float32.

    Attributes:
        composite: [B, 3, H, W], sRGB 0..1, of 8-bit values.
        mask: [B, 1, H, W], 0 or 1, or with a soft edge where the foreground is pasted, and its shadow.
        real: [B, 3, H, W], sRGB 0..1; equals the composite outside the foreground's soft rim, but for the composite's
        compression.
    """

    composite: Tensor
    mask: Tensor
    real: Tensor

    def fmse(self, pictures: Tensor) -> Tensor:
        """Pictures' mean squared error over each foreground, soft edges by their opacity: [B], for values of 0..1."""
        error = ((pictures - self.real) ** 2).mean(1, keepdim=True) * self.mask
        return error.sum((1, 2, 3)) / self.mask.sum((1, 2, 3)).clamp_min(1)


@dataclass
class Change:
    """What is done to the foreground of each of B pictures.

    Attributes:
        method: [B], an index into the transfers, or their number for photographic moves.
        source, reference: [B, K, 3], what a transfer is fitted on.
        moves: [B, 7], photographic moves.
        part: [B, 1, 1], by how much of itself a transfer is carried out.
    """

    method: Tensor
    source: Tensor
    reference: Tensor
    moves: Tensor
    part: Tensor

    def of(self, rows: Tensor) -> Change:
        """The changes of some of the pictures."""
        return Change(*(t[rows] for t in vars(self).values()))

    def __call__(self, transfers: list[Transfer], pixels: Tensor) -> Tensor:
        """Each picture's pixels [B, P, 3], changed."""
        out = pixels.clone()
        for i, transfer in enumerate(transfers):
            rows = (self.method == i).nonzero()[:, 0]
            if len(rows):
                moved = transfer(self.source[rows], self.reference[rows], pixels[rows])
                out[rows] = pixels[rows].lerp(moved, self.part[rows])
        rows = (self.method == len(transfers)).nonzero()[:, 0]
        if len(rows):
            out[rows] = photographic(self.moves[rows], pixels[rows])
        return out


class Groups(NamedTuple):
    """Things sorted by their group, so that drawing one of a group is one random number in a range."""

    order: Tensor
    first: Tensor
    size: Tensor

    @classmethod
    def of(cls, group: Tensor, groups: int) -> Groups:
        """Each thing's group [N] of so many."""
        size = torch.bincount(group, minlength=groups)
        return cls(torch.argsort(group, stable=True), size.cumsum(0) - size, size)

    def pick(self, group: Tensor, random: Tensor) -> Tensor:
        """One thing of each of these groups, by a number in 0..1."""
        return self.order[self.first[group] + (random * self.size[group]).long()]


class Composer:
    """Makes batches of random composites: the same seed, the same batch.

    Args:
        photos: what they are made from; decides the device.
        size: side of the composites, pixels. The photos should be held at 1 to 1.5 times this: crops are resampled
        bilinearly.
        config: how they are drawn.
    """

    def __init__(self, photos: PhotoSet, *, size: int, config: CompositesConfig | None = None) -> None:
        self.photos = photos
        self.size = size
        self.config = config or CompositesConfig()
        self._by_source = Groups.of(photos.source[photos.owner], int(photos.source.max()) + 1)
        of_source = torch.bincount(photos.source)[photos.source].float()
        self._reached = torch.cumsum(of_source**-self.config.balance, 0)  # by a photo and those before it
        self._by_photo = Groups.of(photos.owner, len(photos.photos))
        self._transfers = list(STATISTICS_TRANSFERS.values())

    @torch.no_grad()
    def batch(self, count: int, seed: int) -> Batch:
        """``count`` composites drawn by ``seed``."""
        generator = torch.Generator().manual_seed(seed)  # on the CPU, so that every device draws the same

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator).to(self.photos.photos.device)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator).to(self.photos.photos.device)

        config, photos = self.config, self.photos
        drawn = count + math.ceil(config.spare * count)
        photo = torch.searchsorted(self._reached, uniform(drawn) * self._reached[-1]).clamp_max(len(photos.photos) - 1)
        # By photo first: how many masks it has makes it no likelier.
        mask_id = self._by_photo.pick(photo, uniform(drawn))
        # Another photo's mask cuts out no object, but what is inside still belongs to what is around it; and a network
        # that has seen a photo's background cannot know this foreground.
        foreign = (uniform(drawn) * len(photos.owner)).long()
        mask_id = torch.where(uniform(drawn) < config.foreign_mask, foreign, mask_id)
        source = self._pixels_under(photo, mask_id, uniform(drawn, config.samples))
        # The whole photo's own look: exposure, white balance, contrast and saturation, on everything alike.
        grade = normal(drawn, 7) * source.new_tensor(config.grade_scale) * (uniform(drawn, 1) < config.grade)
        source = photographic(grade, source).clamp(0, 1)
        change, found = self._choose(source, grade, photos.source[photo], uniform, normal)
        rows = torch.argsort(~found, stable=True)[:count]
        photo, mask_id, grade, found, change = photo[rows], mask_id[rows], grade[rows], found[rows], change.of(rows)

        real, soft = self._crop(photo, mask_id, uniform(count, 4))
        low, high = config.sharpen
        real = real.lerp(blur(real), -low - (high - low) * uniform(count, 1, 1, 1)).clamp(0, 1)
        softer = (uniform(count, 1, 1, 1) - 0.5) * (uniform(count, 1, 1, 1) < config.own_detail)
        real = real.lerp(blur(real), softer * soft).clamp(0, 1)
        real = self._on_pixels(real, lambda pixels: photographic(grade, pixels).clamp(0, 1))
        real = (real * 255).round() / 255
        index = _pixels_of(soft > 0)  # only these change: the transfers are spared the background
        pixels = real.flatten(2).gather(2, index[:, None].expand(-1, 3, -1)).transpose(1, 2)
        changed = change(self._transfers, pixels)
        changed *= self._light_gradient(uniform(count, 3)).flatten(1).gather(1, index)[..., None]
        opacity = soft.flatten(1).gather(1, index) * (found & (uniform(count) >= config.untouched))[:, None]
        changed = torch.lerp(pixels, changed.clamp(0, 1), opacity[..., None])
        composite = real.flatten(2).scatter(2, index[:, None].expand(-1, 3, -1), changed.transpose(1, 2))
        composite, mask = composite.view_as(real), (soft >= 0.5).float()
        rows = (uniform(count) < config.pasted).nonzero()[:, 0]
        margin, softness = (
            int(torch.randint(low, high + 1, (), generator=generator)) for low, high in (config.margin, config.softness)
        )
        if len(rows):
            laid = paste(composite[rows], real[rows], mask[rows], margin=margin, softness=softness)
            enough = laid[2].mean((1, 2, 3)) > LEAST_AREA
            rows = rows[enough]
            composite[rows], real[rows], mask[rows] = (x[enough] for x in laid)
        rows = rows[uniform(len(rows)) < config.shadow] if config.shadow else rows[:0]
        if len(rows):
            low, high = (max(1, round(share * self.size)) for share in config.shadow_softness)
            softness = int(torch.randint(low, high + 1, (), generator=generator))
            parts = cast(composite[rows], real[rows], mask[rows], softness=softness, random=uniform(len(rows), 8))
            composite[rows], real[rows], mask[rows] = parts
        composite, real = ((x * 255).round() / 255 for x in (composite, real))

        low, high = config.jpeg_quality
        quality, halved = (low + (high - low) * uniform(count)).round(), uniform(count) < 0.5
        rows = (uniform(count) < config.jpeg).nonzero()[:, 0]
        if len(rows):
            composite[rows] = compress(composite[rows], quality[rows], halved[rows])
        return Batch(composite, mask, real)

    def _crop(self, photo: Tensor, mask_id: Tensor, random: Tensor) -> tuple[Tensor, Tensor]:
        """Random resized crop and flip -> real [B, 3, H, W] in 0..1, soft mask [B, 1, H, W]. Keeps some foreground in
        view."""
        low, high = self.config.crop
        side = (low + (high - low) * random[:, 0]).sqrt()
        side = torch.where(random[:, 3] > 0.85, torch.ones_like(side), side)
        flip = torch.where((random[:, 3] * 1000).long() % 2 == 0, 1.0, -1.0).to(side)
        picture = torch.cat([self.photos.photos[photo], self.photos.masks[mask_id][:, None]], 1).float() / 255

        def look(side: Tensor) -> Tensor:
            theta = torch.zeros(len(side), 2, 3, device=side.device)
            theta[:, 0, 0], theta[:, 1, 1] = side * flip, side
            theta[:, 0, 2], theta[:, 1, 2] = (random[:, 1] * 2 - 1) * (1 - side), (random[:, 2] * 2 - 1) * (1 - side)
            grid = F.affine_grid(theta, [len(side), 4, self.size, self.size], align_corners=False)
            return F.grid_sample(picture, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

        view = look(side)
        lost = view[:, 3].mean((1, 2)) < 0.01  # the crop missed the foreground: show the whole photo
        if bool(lost.any()):
            view = torch.where(lost[:, None, None, None], look(torch.ones_like(side)), view)
        return view[:, :3], view[:, 3:]

    def _pixels_under(self, photo: Tensor, mask_id: Tensor, random: Tensor) -> Tensor:
        """Random foreground pixels: [B, K] random in 0..1 -> [B, K, 3] in 0..1; from anywhere if a mask is empty."""
        weight = (self.photos.masks[mask_id].flatten(1) > 127).float()
        reached = (weight + 1e-7).cumsum(1)
        index = torch.searchsorted(reached, random.contiguous() * reached[:, -1:]).clamp_max(weight.shape[1] - 1)
        pixels = self.photos.photos[photo].flatten(2).gather(2, index[:, None].expand(-1, 3, -1))
        return pixels.transpose(1, 2).float() / 255

    def _references(self, mask_id: Tensor, random: Tensor) -> Tensor:
        """[...] mask numbers, [..., K] random -> foreground pixels [..., K, 3] in 0..1."""
        index = (random * self.photos.table.shape[1]).long()
        return self.photos.table[mask_id[..., None], index].float() / 255

    @staticmethod
    def _on_pixels(pictures: Tensor, f: Callable[[Tensor], Tensor]) -> Tensor:
        b, c, h, w = pictures.shape
        pixels = pictures.flatten(2).transpose(1, 2)
        return f(pixels).transpose(1, 2).reshape(b, c, h, w)

    def _choose(
        self, source: Tensor, grade: Tensor, source_kind: Tensor, uniform: Draw, normal: Draw
    ) -> tuple[Change, Tensor]:
        """Draw candidates, judge them on the samples, keep one a picture.

        Returns:
            The change of each picture, and whether any candidate was fit to be kept [B] (bool).
        """
        config = self.config
        b, n, k = len(source), config.candidates, config.samples
        kind = source_kind[:, None].expand(b, n)
        same = uniform(b, n) < config.same_source
        pick = uniform(b, n)
        within = self._by_source.pick(kind, pick)
        anywhere = (pick * len(self.photos.table)).long()
        reference = self._references(torch.where(same, within, anywhere), uniform(b, n, k))
        reference = reference.flatten(0, 1)
        many = source[:, : config.judged].repeat_interleave(n, 0)
        few = photographic(grade.repeat_interleave(n, 0), reference[:, : config.judged]).clamp(0, 1)  # the same look
        count = len(self._transfers)
        method = (uniform(b, n) * count).long()
        moving = uniform(b, 1) < config.photographic
        method = torch.where(moving, count, method).flatten()
        moves = normal(b * n, 7) * many.new_tensor(MOVE_SCALE)

        part = torch.where(uniform(b, 1) < config.partial, 0.3 + 0.7 * uniform(b, n), 1.0).flatten()[:, None, None]
        candidates = Change(method, many, few, moves, part)
        changed = candidates(self._transfers, many).clamp(0, 1)
        error = ((changed - many) ** 2).mean((1, 2)) * 255**2
        low, high = config.error_range
        target = config.error_median * (normal(b, 1) * config.error_spread).exp()
        distance = (error.view(b, n).clamp_min(1).log() - target.clamp(low, high).log()).abs()
        wrong = (looks_wrong(many, changed) | (error < low) | (error > high)).view(b, n)
        chosen = torch.where(wrong, distance + 100, distance).argmin(1)
        row = torch.arange(b, device=source.device) * n + chosen
        kept = replace(candidates.of(row), source=source, reference=photographic(grade, reference[row]).clamp(0, 1))
        return kept, ~wrong.all(1)

    def _light_gradient(self, random: Tensor) -> Tensor:
        """A light that falls off across the picture: gains [B, 1, H, W] around one, for the share that the config
        says."""
        at = torch.linspace(-1, 1, self.size, device=random.device)
        angle = random[:, 0] * 2 * math.pi
        slope = (random[:, 1] - 0.5) * (random[:, 2] < self.config.gradient)
        ramp = angle.cos()[:, None, None] * at[None, None] + angle.sin()[:, None, None] * at[None, :, None]
        return (slope[:, None, None] * ramp).exp()[:, None]


def _pixels_of(mask: Tensor) -> Tensor:
    """Where masks [B, 1, H, W] (bool) are set: indices into H * W, [B, P] with P the largest mask's pixels.

    Smaller masks repeat their first pixel, an empty one has pixel 0 throughout.
    """
    row, place = mask.flatten(1).nonzero(as_tuple=True)
    count = mask.sum((1, 2, 3))
    first = count.cumsum(0) - count
    index = mask.flatten(1).int().argmax(1, keepdim=True).repeat(1, max(int(count.max()), 1))
    index[row, torch.arange(len(row), device=row.device) - first[row]] = place
    return index


def looks_wrong(before: Tensor, after: Tensor) -> Tensor:
    """Which changes look wrong by themselves, whatever the background: [B, K, 3] each, sRGB 0..1 -> [B] bool.

    New clipping, hue turned over 50 degrees or into or out of green or magenta, colour drained or boosted, light and
    shade lost or noise amplified: what the makers of such benchmarks filter out.
    """

    def clipped(x: Tensor) -> Tensor:
        return ((x <= 0.5 / 255) | (x >= 254.5 / 255)).any(-1).float().mean(1)

    lab0, lab1 = to_lab(before), to_lab(after)
    mean0, mean1 = lab0.mean(1), lab1.mean(1)
    chroma0, chroma1 = lab0[..., 1:].norm(dim=-1).mean(1), lab1[..., 1:].norm(dim=-1).mean(1)
    tint0, tint1 = mean0[:, 1:], mean1[:, 1:]
    cosine = F.cosine_similarity(tint0, tint1, dim=1)
    turned = (cosine < math.cos(math.radians(50))) & (tint0.norm(dim=1) > 6) & (tint1.norm(dim=1) > 6)
    # Out of green or magenta is as wrong as into it: the way back would lead there, and be learned.
    shifted = (mean1[:, 1] - mean0[:, 1]).abs() > 8  # a*: negative is green, positive magenta
    green = shifted & (torch.minimum(mean0[:, 1], mean1[:, 1]) < -8)
    magenta = shifted & torch.stack([(x[:, 1] > 8) & (x[:, 2] < 4) for x in (mean0, mean1)]).any(0)
    drained = (chroma1 < 0.5 * chroma0) & (chroma0 > 8)
    boosted = chroma1 > 2 * chroma0 + 4
    y0, y1 = luma(before), luma(after)
    c0, c1 = y0 - y0.mean(1, keepdim=True), y1 - y1.mean(1, keepdim=True)
    s0, s1 = c0.square().mean(1).sqrt(), c1.square().mean(1).sqrt()
    correlation = (c0 * c1).mean(1) / (s0 * s1 + 1e-6)
    flattened = (correlation < 0.8) & (s0 > 0.02)
    contrast = (s1 > 1.6 * s0 + 0.01) | (s1 < 0.45 * s0 - 0.01)
    wrong: Tensor = (
        (clipped(after) - clipped(before) > 0.05) | turned | green | magenta | drained | boosted | flattened | contrast
    )
    return wrong
