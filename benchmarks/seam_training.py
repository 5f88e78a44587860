"""Teach a seam reader to tell pastes, and join it with the two networks that it chooses between (gknet.experts).

    python benchmarks/seam_training.py --data PHOTOS --out FILE [--in-place FILE --pasted FILE] [--composites 40000]

Beside other work, two cores took twenty minutes for the composites and twelve for the reader.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from gknet import weights
from gknet.data.composites import LEAST_AREA, Composer, CompositesConfig
from gknet.data.jpeg import compress
from gknet.data.pasting import paste
from gknet.data.photos import PhotoSet, load_photos
from gknet.experts import Experts, single
from gknet.layers import blur, soften
from gknet.network import hard
from gknet.seam import SeamReader, pieces

SIZES = (256, 320)
KINDS = ("in place", "in place, soft", "pasted", "cut out")
"""The first two are changed where they stand; the last is cut out of one photo, with whatever of it lies within the
mask, and laid over another."""
PASTED = 2
"""The first kind that is pasted."""
SHARES = (0.3, 0.15, 0.25, 0.3)
SCALES = (
    *((1.0,), (1.125,), (1.25,), (1.25,)),
    *((0.7,), (0.5,), (0.4,), (0.33,), (0.27,), (0.2,)),
    *((0.5, 1.25), (0.7, 1.25)),
)
"""By what a composite is reduced or enlarged, one time after the other, before it is looked at: as documents are."""
CONFIG = CompositesConfig(
    pasted=0.0,
    jpeg=0.0,
    untouched=0.3,
    gradient=0.1,
    photographic=0.35,
    partial=0.2,
    foreign_mask=0.25,
    crop=(0.8, 1.0),  # small crops are enlarged more, and no photo of a large document is as soft
)
SOFTEST = 12
"""How often a mask is blurred (3x3) at most."""
BATCH = 16
SEEN = 128
"""Pieces of a composite that are kept; half of them, drawn anew each time, are learned from."""
LEARNED = 32
"""Composites a step."""
EPOCHS = 40
MISSED = 1.65
"""What a paste costs that is not read as one, over what a foreground costs that was changed in place and is."""
LEARNING_RATE = 2e-3


def draw(composer: Composer, seed: int) -> tuple[Tensor, Tensor]:
    """Pieces [B, SEEN, 4, SIDE, SIDE] (uint8) of composites, and each one's kind [B]."""
    generator = torch.Generator().manual_seed(seed)

    def integer(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    def softness(least: int) -> int:
        return integer(least, 3) if integer(0, 2) else integer(4, SOFTEST)  # a feathered selection's edge is wide

    batch = composer.batch(BATCH, seed)
    composite, real, mask = batch.composite, batch.real, batch.mask.clone()
    kind = torch.multinomial(torch.tensor(SHARES), BATCH, replacement=True, generator=generator)

    rows = ((kind < PASTED) & (torch.rand(BATCH, generator=generator) < 0.5)).nonzero()[:, 0]
    if len(rows):  # a selection that ends within the object: on both sides of the seam is the same
        within = (blur(mask[rows], integer(1, 4)) > 0.999).float()
        enough = within.mean((1, 2, 3)) > LEAST_AREA
        rows, within = rows[enough], within[enough]
        composite[rows], mask[rows] = real[rows].lerp(composite[rows], within), within
    rows = (kind == 1).nonzero()[:, 0]
    if len(rows):
        composite[rows] = real[rows].lerp(composite[rows], mask[rows] * soften(mask[rows], softness(1)))
    rows = (kind == 2).nonzero()[:, 0]
    if len(rows):
        soft = softness(0)
        margin = max(integer(1, 6), soft)  # beyond which a foreground has no colours
        laid, _, opacity = paste(composite[rows], real[rows], mask[rows], margin=margin, softness=soft)
        enough = opacity.mean((1, 2, 3)) > LEAST_AREA
        composite[rows[enough]], mask[rows[enough]] = laid[enough], opacity[enough]
        kind[rows[~enough]] = 0
    rows = (kind == 3).nonzero()[:, 0]
    if len(rows):
        cut = (blur(mask[rows], integer(0, 3)) > 0.999).float()  # the more is cut off, the less comes along
        opacity = soften(cut, softness(0)) * (cut if integer(0, 1) else 1)
        other = (rows + 1 + torch.randint(BATCH - 1, rows.shape, generator=generator)) % BATCH
        composite[rows] = real[other].lerp(composite[rows], opacity)
        mask[rows] = opacity if integer(0, 2) else (opacity > 0.5).float()  # some save no soft mask

    composite = (composite.clamp(0, 1) * 255).round() / 255
    rows = (torch.rand(BATCH, generator=generator) < 0.6).nonzero()[:, 0]
    if len(rows):
        quality = 80 + 19 * torch.rand(len(rows), generator=generator)
        composite[rows] = compress(composite[rows], quality.round(), torch.rand(len(rows), generator=generator) < 0.5)
    for scale in SCALES[integer(0, len(SCALES) - 1)]:
        side = round(composite.shape[-1] * scale)
        composite, mask = resized(composite, side).clamp(0, 1), resized(mask, side)
    return (pieces(composite, hard(mask).float(), SEEN) * 255).round().byte(), kind


def resized(picture: Tensor, side: int) -> Tensor:
    """As documents are for the network: averaged where they shrink, by cubic convolution where they grow."""
    if side < picture.shape[-1]:
        return F.adaptive_avg_pool2d(picture, side)
    return F.interpolate(picture, (side, side), mode="bicubic", align_corners=False)


def collect(photos: PhotoSet, count: int, config: CompositesConfig, seed: int) -> tuple[Tensor, Tensor]:
    """:func:`draw` for ``count`` composites, of each size in turn."""
    composers = [Composer(photos.at_least(size), size=size, config=config) for size in SIZES]
    steps = tqdm(range(count // BATCH), unit="batch", disable=None)
    batches = [draw(composers[i % len(SIZES)], seed + i) for i in steps]
    seen, kinds = zip(*batches, strict=True)
    return torch.cat(seen), torch.cat(kinds)


def learn(reader: SeamReader, seen: Tensor, pasted: Tensor) -> None:
    """Train on pieces [N, SEEN, 4, SIDE, SIDE] (uint8) and what they are of [N] (bool)."""
    optimizer = torch.optim.AdamW(reader.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
    steps = EPOCHS * (len(seen) // LEARNED)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in tqdm(range(EPOCHS), unit="epoch", disable=None):
        for rows in torch.randperm(len(seen)).split(LEARNED)[: len(seen) // LEARNED]:
            some = torch.randperm(SEEN)[: SEEN // 2]
            odds = reader(varied(seen[rows][:, some].float() / 255))
            loss = F.binary_cross_entropy_with_logits(odds, pasted[rows].float(), pos_weight=torch.tensor(MISSED))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def varied(pieces: Tensor) -> Tensor:
    """Each picture's colours [B, K, 4, SIDE, SIDE] with channels in another order and another contrast, some of them
    negatives: a rim is one in any colours."""
    count = len(pieces)
    order = torch.stack([torch.randperm(3) for _ in range(count)])
    colours = pieces.gather(2, order[:, None, :, None, None].expand(-1, pieces.shape[1], -1, *pieces.shape[-2:]))
    contrast = (0.4 * torch.randn(count)).exp() * torch.where(torch.rand(count) < 0.3, -1.0, 1.0)
    return torch.cat([colours * contrast[:, None, None, None, None], pieces[:, :, 3:]], 2)


def judge(reader: SeamReader, seen: Tensor, kinds: Tensor) -> str:
    """How many of each kind are read right."""
    with torch.inference_mode():
        pasted = torch.cat([reader(part.float() / 255) for part in seen.split(64)]) > 0
    right = pasted == (kinds >= PASTED)
    return ", ".join(f"{name} {right[kinds == kind].float().mean():.1%}" for kind, name in enumerate(KINDS))


@click.command()
@click.option("--data", required=True, type=click.Path(exists=True, file_okay=False), help="Photos with masks.")
@click.option(
    "--in-place", default="gknet-lite", show_default=True, help="Weights for what was changed where it stands."
)
@click.option("--pasted", default="gknet-lite", show_default=True, help="Weights for pastes.")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Weights to write.")
@click.option("--composites", default=40_000, show_default=True, help="To learn from.")
def main(data: str, in_place: str, pasted: str, out: Path, composites: int) -> None:
    """Train, say how many held-out composites are read right, and write all of it."""
    photos, names = load_photos(data, max(SIZES) * 9 // 8)
    training, held = photos.split(400, names)
    torch.manual_seed(0)
    parts = single(weights.load(in_place), pasted=False), single(weights.load(pasted))
    experts = Experts(parts[0].config)
    for mine, given in zip((experts.in_place, experts.pasted), parts, strict=True):
        mine.load_state_dict(given.state_dict())
    seen, kinds = collect(training, composites, CONFIG, 1_000_000)
    learn(experts.seam, seen, kinds >= PASTED)
    click.echo(judge(experts.seam, *collect(held, 2000, replace(CONFIG, foreign_mask=0.0), 2_000_000)))
    weights.save(out, experts, {"recipe": f"{Path(__file__).name}, {composites} composites"})


if __name__ == "__main__":
    main()
