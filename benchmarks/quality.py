"""What `gknet evaluate` does not say of weights: untouched photos, changes never trained on, the border, the data.

    python benchmarks/quality.py --photos PHOTOS --benchmark MINI_IHARMONY [--weights NAME] [--plot FILE.png]

The photos are those of training; only the 400 held out are used. Nothing here is trained on or chosen by.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from gknet import Harmonizer
from gknet.data import composites
from gknet.data.composites import Batch, Composer, CompositesConfig
from gknet.data.iharmony4 import read_triples
from gknet.data.photos import PhotoSet, load_photos
from gknet.data.transfers import linear_to_srgb, srgb_to_linear, to_lab
from gknet.data.triples import IHarmony4
from gknet.evaluate import WORSE

SIZE = 256
AS_IS, PASTED = (replace(config, crop=(1.0, 1.0)) for config in (composites.AS_IS, composites.PASTED))


def cdl(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """The second generator: a change of light and a colourist's grade, [P, 3] sRGB -> the same; never trained on.

    Another illuminant by Bradford's chromatic adaptation, then slope, offset and power a channel and saturation (ASC
    CDL), in linear light: neither statistics of another region nor the moves of gknet.data.transfers.photographic.
    """

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    to_xyz = torch.tensor([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    bradford = torch.tensor([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    kelvin = 1e6 / (1e6 / 6504 + 60 * float(normal(1))) if (warm := torch.rand(1, generator=generator) < 0.8) else 6504
    white = _daylight(min(max(kelvin, 4000.0), 20000.0)) if warm else _daylight(6504.0)
    cone = bradford @ white / (bradford @ _daylight(6504.0))
    adapt = torch.linalg.inv(bradford @ to_xyz) @ torch.diag(cone) @ bradford @ to_xyz
    x = (srgb_to_linear(pixels) @ adapt.T).clamp_min(0)
    slope = (0.45 * normal(1) + 0.08 * normal(3)).exp()
    power = (0.18 * normal(1) + 0.04 * normal(3)).exp()
    x = (x * slope + 0.01 * normal(3).abs()).clamp(0, 1) ** power
    y = x @ torch.tensor([0.2126, 0.7152, 0.0722])
    x = y[:, None] + (0.25 * normal(1)).exp() * (x - y[:, None])
    return linear_to_srgb(x.clamp(0, 1))


def _daylight(kelvin: float) -> Tensor:
    """CIE daylight locus: XYZ with Y = 1, for 4000..25000 K."""
    t = 1000 / kelvin
    if kelvin <= 7000:
        x = 0.244063 + 0.09911 * t + 2.9678 * t**2 - 4.6070 * t**3
    else:
        x = 0.237040 + 0.24748 * t + 1.9018 * t**2 - 2.0064 * t**3
    y = -3.0 * x * x + 2.87 * x - 0.275
    return torch.tensor([x / y, 1.0, (1 - x - y) / y])


def untouched(held: PhotoSet) -> Batch:
    """Each held-out photo with its first mask."""
    first = [int((held.owner == i).nonzero()[0]) for i in range(len(held.photos))]
    mask = (held.masks[first][:, None].float() / 255 >= 0.5).float()
    real = held.photos.float() / 255
    return Batch(real, mask, real)


def regraded(photos: Batch) -> Batch:
    """Each photo's foreground changed by :func:`cdl`; draws that look wrong or fall outside 100..6000 are repeated."""
    generator = torch.Generator().manual_seed(20261125)
    out = photos.real.clone()
    kept = torch.zeros(len(out), dtype=torch.bool)
    for i, (real, mask) in enumerate(zip(photos.real, photos.mask[:, 0] > 0, strict=True)):
        pixels = real[:, mask].T
        for _ in range(40):
            changed = cdl(pixels, generator)
            error = float(((changed - pixels) ** 2).mean() * 255**2)
            if 100 <= error <= 6000 and not bool(composites.looks_wrong(pixels[None], changed[None])):
                out[i][:, mask] = (changed.T * 255).round() / 255
                kept[i] = True
                break
    return Batch(out[kept], photos.mask[kept], photos.real[kept])


def harmonize(harmonizer: Harmonizer, batch: Batch, pasted: bool | None = None) -> Tensor:
    """Each picture as a document, [B, 3, H, W], of 8-bit values; ``pasted`` as :class:`Harmonizer` takes it."""
    pictures = (batch.composite * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    masks = batch.mask[:, 0].numpy()
    results = [np.asarray(harmonizer(c, m, pasted=pasted)) for c, m in zip(pictures, masks, strict=True)]
    return torch.from_numpy(np.stack(results)).permute(0, 3, 1, 2).float() / 255


def border_gradient(pictures: Tensor, mask: Tensor) -> Tensor:
    """Mean step between neighbours of which one is foreground and the other background, 0..255 -> [B]."""
    total, count = pictures.new_zeros(len(pictures)), pictures.new_zeros(len(pictures))
    for axis in (2, 3):
        step = pictures.diff(dim=axis).abs().mean(1)
        across = mask.diff(dim=axis).abs()[:, 0]
        total, count = total + (step * across).sum((1, 2)), count + across.sum((1, 2))
    return 255 * total / count.clamp_min(1)


def shifts(batch: Batch) -> dict[str, np.ndarray]:
    """What was done to each foreground: fMSE, the mean's change in L*, in hue (degrees) and in chroma."""
    rows = []
    for composite, real, mask in zip(batch.composite, batch.real, batch.mask[:, 0] > 0, strict=True):
        lab = [to_lab(x[:, mask].T).mean(0) for x in (real, composite)]
        hue = [math.degrees(math.atan2(float(x[2]), float(x[1]))) for x in lab]
        chroma = [float(x[1:].norm()) for x in lab]
        turned = (hue[1] - hue[0] + 180) % 360 - 180 if min(chroma) > 4 else math.nan  # grey has no hue
        rows.append((float(lab[1][0] - lab[0][0]), turned, chroma[1] - chroma[0]))
    light, hue_, chroma_ = np.array(rows).T
    size = batch.mask.mean((1, 2, 3)).numpy() * 100
    error = (255**2 * batch.fmse(batch.composite)).numpy()
    return {"fMSE": error, "L* shift": light, "hue shift": hue_, "chroma shift": chroma_, "foreground %": size}


def joined(batches: list[Batch]) -> Batch:
    """One batch of many."""
    return Batch(*(torch.cat([getattr(b, part) for b in batches]) for part in ("composite", "mask", "real")))


def draw(held: PhotoSet, config: CompositesConfig, batches: int, seed: int) -> Batch:
    """So many batches of 32 composites of held-out photos."""
    composer = Composer(held, size=SIZE, config=config)
    return joined([composer.batch(32, seed + i) for i in range(batches)])


def hard_cases(batch: Batch) -> dict[str, Tensor]:
    """Which composites are of which hard kind, [B] bool each; kinds overlap. All but the sizes are of the background,
    by means of its CIE L*a*b*."""
    lab = to_lab(batch.real.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    background = 1 - batch.mask
    weight = background / background.sum((2, 3), keepdim=True).clamp_min(1)

    def mean(x: Tensor) -> Tensor:
        return (x * weight).sum((2, 3))

    light, a, b = mean(lab).T
    chroma = mean(lab[:, 1:].norm(dim=1, keepdim=True))[:, 0]
    spread = (mean(lab[:, 1:].square()).sum(1) - a**2 - b**2).clamp_min(0).sqrt()
    size = batch.mask.mean((1, 2, 3))
    return {
        "foreground under 4 %": size < 0.04,
        "foreground over 35 %": size > 0.35,
        "night: L* under 25": light < 25,
        "sunset, lamplight: b* over 18, L* under 60": (b > 18) & (light < 60),
        "snow, fog: L* over 72, chroma under 12": (light > 72) & (chroma < 12),
        "grey: chroma under 6": chroma < 6,
        "of one colour: chroma over 10, spread under 7": (chroma > 10) & (spread < 7),
    }


def report(
    name: str, harmonizer: Harmonizer, batch: Batch, kinds: dict[str, Tensor] | None = None, pasted: bool | None = None
) -> None:
    """Print the fMSE ratio, the gain in dB, the share made worse and by how many grey levels foregrounds come out too
    bright, of all and of those of each kind."""
    out = harmonize(harmonizer, batch, pasted)
    after, before = (255**2 * batch.fmse(x) for x in (out, batch.composite))

    def psnr(x: Tensor) -> Tensor:
        return -10 * ((x - batch.real) ** 2).mean((1, 2, 3)).clamp_min(1e-10).log10()

    gain = psnr(out) - psnr(batch.composite)
    worse = (after > WORSE * before).float()
    area = batch.mask.sum((1, 2, 3)).clamp_min(1)
    brighter = 255 * ((out - batch.real).mean(1, keepdim=True) * batch.mask).sum((1, 2, 3)) / area
    for label, rows in {name: torch.ones(len(out), dtype=torch.bool), **(kinds or {})}.items():
        ratio = float(after[rows].sum() / before[rows].sum())
        errors = f"fMSE {float(before[rows].mean()):6.0f} -> {float(after[rows].mean()):6.0f}"
        click.echo(f"{label:46} n {int(rows.sum()):4}  {errors}", nl=False)
        click.echo(
            f"  ratio {ratio:.3f}  gain {float(gain[rows].mean()):+.2f} dB  worse {float(worse[rows].mean()):.1%}"
            f"  brighter {float(brighter[rows].mean()):+.1f} +- {float(brighter[rows].std() / rows.sum() ** 0.5):.1f}"
        )


def report_change(name: str, harmonizer: Harmonizer, batch: Batch) -> None:
    """Print how much harmonizing changes composites that fit."""
    change = (harmonize(harmonizer, batch) - batch.composite).abs().mean(1, keepdim=True) * 255
    inside = (change * batch.mask).sum((1, 2, 3)) / batch.mask.sum((1, 2, 3)).clamp_min(1)
    click.echo(
        f"{name}, mean change in grey levels: {float(change.mean()):.2f} over the picture, "
        f"{float(inside.mean()):.2f} over the foreground (median {float(inside.median()):.2f})"
    )


def plot(path: Path, ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    """Histograms of the generator's and the benchmark's composites, one panel a measure."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(ours), figsize=(3.4 * len(ours), 3), layout="constrained")
    for axis, (name, values) in zip(axes, ours.items(), strict=True):
        both = np.concatenate([values, theirs[name]])
        bins = np.linspace(*np.nanpercentile(both, [0.5, 99.5]), 25)
        for data, label in ((theirs[name], "benchmark"), (values, "generator")):
            axis.hist(data, bins, density=True, alpha=0.5, label=label)
        axis.set_title(name)
        axis.set_yticks([])
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=90)


@click.command()
@click.option("--photos", required=True, type=click.Path(exists=True, path_type=Path), help="Photos with masks.")
@click.option("--benchmark", required=True, type=click.Path(exists=True, path_type=Path), help="iHarmony4's layout.")
@click.option("--weights", "name", default="gknet-lite", show_default=True, help="Shipped name or file.")
@click.option("--plot", "path", type=click.Path(dir_okay=False, path_type=Path), help="Draw the distributions here.")
def main(photos: Path, benchmark: Path, name: str, path: Path | None) -> None:
    """Print the figures."""
    harmonizer = Harmonizer.load(name, "cpu")
    data, names = load_photos(photos, SIZE)
    _, held = data.split(400, names)
    real = untouched(held)

    drawn, pasted = (draw(held, config, 20, 7_000_000) for config in (AS_IS, PASTED))
    report_change("untouched held-out photos", harmonizer, real)
    report_change("what fits, pasted", harmonizer, replace(pasted, composite=pasted.real))
    report("held-out photos, own generator", harmonizer, drawn, hard_cases(drawn))
    report("the same, pasted", harmonizer, pasted)
    for kind, share in (("transfers", 0.0), ("moves", 1.0)):  # as layers are: known to be pastes
        known = draw(held, replace(PASTED, photographic=share), 40, 9_100_000)
        report(f"known pastes, {kind}", harmonizer, known, hard_cases(known), pasted=True)
    report("held-out photos, second generator", harmonizer, regraded(real))

    triples = IHarmony4(read_triples(benchmark, "test"), SIZE)
    scored = joined([Batch(c, m, r) for c, m, r in DataLoader(triples, 16)])
    report("benchmark", harmonizer, scored)
    reference = border_gradient(scored.real, scored.mask).mean()
    for label, pictures in (("composite", scored.composite), ("harmonized", harmonize(harmonizer, scored))):
        step = border_gradient(pictures, scored.mask).mean()
        click.echo(f"gradient across the border, {label}: {float(step / reference):.3f} of the real photo's")

    ours, theirs = shifts(drawn), shifts(scored)
    for measure, values in ours.items():
        quartiles = [np.nanpercentile(x, [10, 25, 50, 75, 90]).round(1).tolist() for x in (values, theirs[measure])]
        click.echo(f"{measure:14} generator {quartiles[0]}  benchmark {quartiles[1]} (10, 25, 50, 75, 90 %)")
    if path:
        plot(path, ours, theirs)


if __name__ == "__main__":
    main()
