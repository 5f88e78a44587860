"""`gknet explain`: the paper's Figures 9 to 11 and a map of the change, for any picture, as PNGs and as one page."""

from __future__ import annotations

import base64
from pathlib import Path

import click
import jinja2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from gknet import figures, inside, upsampling
from gknet.color import document_space
from gknet.data.files import upright
from gknet.data.iharmony4 import DataError, open_image
from gknet.data.transfers import to_lab
from gknet.experts import Experts
from gknet.figures import Values
from gknet.harmonizer import Harmonizer, checked
from gknet.inside import Inside, Level

Row = list[tuple[str, Image.Image]]

_SIDE = 256
"""Longest side of a picture in a figure, pixels."""
_CELLS = 16
"""Most rows and columns of attention that the page carries."""
_HEAVIEST = 3
"""Channels shown of those that SCF weighs heaviest."""
_GREY = 4.0
"""Chroma below which a colour's hue means nothing."""


def kernel_clusters(level: Level, clusters: int = figures.CATEGORIES) -> npt.NDArray[np.intp]:
    """Fig. 9: k-means clusters of the harmony kernels of one level.

    Returns:
        [h, w] labels, numbered from the kernels with the smallest mean sum of taps to those with the largest.
    """
    from scipy.cluster.vq import kmeans2

    kernels, h, w = level.kernels.float().cpu(), *level.kernels.shape[-2:]
    points = kernels.flatten(1).T.numpy()
    _, labels = kmeans2(points, clusters, minit="++", rng=0)
    gains = points.sum(1)
    order = np.argsort([gains[labels == k].mean() if (labels == k).any() else np.inf for k in range(clusters)])
    numbered: npt.NDArray[np.intp] = np.argsort(order)[labels].reshape(h, w)
    return numbered


def distance_from_identity(level: Level) -> float:
    """Mean distance of the level's kernels from the identity: of all taps, 0 = kernels that change nothing."""
    channels = level.before.shape[0]
    kernels = level.kernels.float().unflatten(0, (channels, -1))
    identity = torch.zeros_like(kernels)
    identity[:, kernels.shape[1] // 2] = 1
    return float((kernels - identity).abs().mean())


def column_share(level: Level) -> float:
    """How much of the kernels' variance over the picture, 0..1, the column alone tells."""
    kernels = level.kernels.float()
    return float(kernels.mean(1).var(1, correction=0).sum() / kernels.var((1, 2), correction=0).sum().clamp_min(1e-20))


def lightness_hue_saturation(before: Values, after: Values) -> tuple[Values, Values, Values]:
    """How colours change, in CIE LCh.

    Args:
        before, after: [H, W, 3], sRGB 0..1.

    Returns:
        Differences [H, W] of L* (0..100), of hue in degrees (-180..180; NaN where a colour is grey) and of chroma.
    """
    old, new = (to_lab(torch.from_numpy(x)).numpy() for x in (before, after))
    chromas = [np.hypot(lab[..., 1], lab[..., 2]) for lab in (old, new)]
    hues = [np.degrees(np.arctan2(lab[..., 2], lab[..., 1])) for lab in (old, new)]
    hue = (hues[1] - hues[0] + 180) % 360 - 180
    hue[np.minimum(*chromas) < _GREY] = np.nan
    return new[..., 0] - old[..., 0], hue, chromas[1] - chromas[0]


def change_figure(seen: Inside, composite: Values, mask: Values) -> list[Row]:
    """What changed, and how much of it the global tone step does alone; at the network's size."""
    after = _limited(seen.harmonized)
    differences = lightness_hue_saturation(composite, after)
    medians = [np.nanmedian(x[mask > 0.5]) if (mask > 0.5).any() else np.nan for x in differences]
    light, hue, chroma = (np.where(mask > 0, x, 0) for x in differences)
    rows: list[Row] = [
        [("composite", _picture(composite)), ("harmonized", _picture(after))],
        [
            (f"lightness, L* -25..25: {medians[0]:+.0f}", figures.signed(light, 25)),
            (f"hue, -90..90 degrees: {medians[1]:+.0f}", figures.signed(hue, 90)),
            (f"chroma, -25..25: {medians[2]:+.0f}", figures.signed(chroma, 25)),
        ],
    ]
    if seen.global_tone is not None:
        alone = _limited(seen.global_tone)
        local = np.abs(after - alone).mean(-1)
        share = local.sum() / max(np.abs(after - composite).mean(-1).sum(), 1e-12)
        rows[0].append(("global tone alone", _picture(alone)))
        rows[0].append((f"local part: {share:.0%} of it", figures.warm(local)))
    return rows


def kernels_figure(seen: Inside) -> list[Row]:
    """Fig. 9."""
    row: Row = []
    for number, level in enumerate(seen.levels, 1):
        labels = kernel_clusters(level)
        h, w = labels.shape
        text = f"{number}: {w}x{h}, off by {distance_from_identity(level):.3f}, {column_share(level):.0%} by column"
        row.append((text, figures.categories(labels)))
    return [row]


def features_figure(seen: Inside) -> list[Row]:
    """Fig. 10: of each level what modulation changes, and the channels that SCF weighs heaviest and lightest.

    The paper puts SCF's weights beside decoder feature maps. Here they stand beside the maps that they multiply: the
    encoder's and the previous block's channels that SCF adds (eq. 4).
    """
    rows: list[Row] = []
    for number, level in enumerate(seen.levels, 1):
        moved = (level.after - level.before).abs().mean(0)
        share = float(moved.mean() / level.before.abs().mean().clamp_min(1e-12))
        row: Row = [(f"level {number}: modulated by {share:.0%}", figures.warm(_array(moved)))]
        if level.fusion is not None:
            fusion = level.fusion
            sides = (("E", fusion.encoder, fusion.encoder_weights), ("KPB", fusion.previous, fusion.previous_weights))
            for name, maps, weights in sides:
                order = weights.argsort(descending=True).tolist()
                for channel in [*order[:_HEAVIEST], *order[-1:]]:
                    values = _array(maps[channel])
                    limit = max(float(np.abs(values).max()), 1e-12)
                    row.append((f"S_{name} {channel}: {weights[channel]:.2f}", figures.signed(values, limit)))
        rows.append(row)
    return rows


def attention_figure(seen: Inside, cell: tuple[int, int], composite: Values) -> list[Row]:
    """Fig. 11: where the cell (row, column) of the deepest feature looks, a row a layer, a column a head."""
    assert seen.attention is not None
    height, width = seen.grid
    marked = _picture(composite)
    scale_x, scale_y = marked.width / width, marked.height / height
    box = (cell[1] * scale_x, cell[0] * scale_y, (cell[1] + 1) * scale_x - 1, (cell[0] + 1) * scale_y - 1)
    ImageDraw.Draw(marked).rectangle(box, outline="red", width=2)
    rows: list[Row] = []
    for number, layer in enumerate(seen.attention, 1):
        row: Row = [("from here", marked)]
        for head, attention in enumerate(layer[:, cell[0] * width + cell[1]], 1):
            cells = _array(attention[: height * width].view(height, width))
            row.append((f"layer {number}, head {head}: {cells.sum():.0%} here", figures.warm(cells)))
        rows.append(row)
    return rows


def page(
    seen: Inside,
    composite: Values,
    cell: tuple[int, int],
    drawn: dict[str, Image.Image],
    title: str,
    shape: tuple[int, int],
) -> str:
    """One HTML page that needs no other file: the figures, and Fig. 11 from whatever point is chosen on it.

    Args:
        seen: what :func:`gknet.inside.look` recorded for ``composite``, [S, S, 3], sRGB 0..1.
        cell: row and column of the deepest feature where the point is at first.
        drawn: the figures ``change``, ``kernels`` and ``features``.
        title: its heading.
        shape: width and height of the picture, in any unit, which the square ``composite`` was squeezed from.
    """
    packed, (rows, columns) = _coarse(seen)
    row, column = cell[0] * rows // seen.grid[0], cell[1] * columns // seen.grid[1]
    pages = jinja2.Environment(loader=jinja2.PackageLoader("gknet", "pages"), autoescape=True)
    return pages.get_template("explain.html").render(
        title=title,
        shape=shape,
        picture=figures.data_url(_picture(composite)),
        figures={name: figures.data_url(picture) for name, picture in drawn.items()},
        attention={
            "layers": packed.shape[0],
            "heads": packed.shape[1],
            "rows": rows,
            "columns": columns,
            "tokens": packed.shape[3],
            "point": [row, column],
            "values": base64.b64encode(packed.astype("<f4").tobytes()).decode("ascii"),
        },
    )


def _coarse(seen: Inside) -> tuple[Values, tuple[int, int]]:
    """Attention [layers, heads, cells, tokens] of at most 16x16 cells: queries averaged, what they look at added up."""
    height, width = seen.grid
    assert seen.attention is not None
    attention = _array(seen.attention)
    factor = max(1, height // _CELLS)
    rows, columns, cells = height // factor, width // factor, height * width
    layers, heads, _, tokens = attention.shape
    split = (rows, factor, columns, factor)
    queries = (
        attention[:, :, :cells].reshape(layers, heads, *split, tokens).mean((3, 5)).reshape(layers, heads, -1, tokens)
    )
    keys = queries[..., :cells].reshape(*queries.shape[:3], *split).sum((4, 6)).reshape(*queries.shape[:3], -1)
    return np.concatenate([keys, queries[..., cells:]], -1), (rows, columns)


def _array(x: Tensor) -> Values:
    return x.float().cpu().numpy()


def _limited(picture: Tensor) -> Values:
    """[3, S, S] -> [S, S, 3], 0..1."""
    return _array(picture.clamp(0, 1).permute(1, 2, 0))


def _picture(values: Values) -> Image.Image:
    return Image.fromarray(np.rint(values * 255).astype(np.uint8))


def _cell(mask: Values, point: tuple[int, int] | None, size: tuple[int, int], grid: tuple[int, int]) -> tuple[int, int]:
    """Row and column of the deepest feature at a point of the picture; without one, in the middle of the foreground."""
    if point is not None:
        return point[1] * grid[0] // size[1], point[0] * grid[1] // size[0]
    cells = upsampling.reduce_area(mask[..., None], grid[0])[..., 0]
    inside_it = np.argwhere(cells >= min(0.5, cells.max()))
    middle = np.argwhere(cells > 0).mean(0)
    row, column = inside_it[np.hypot(*(inside_it - middle).T).argmin()]
    return int(row), int(column)


def _point(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    x, comma, y = value.partition(",")
    if not (comma and x.isdigit() and y.isdigit()):
        raise click.BadParameter(f"{value!r} is not X,Y in pixels")
    return int(x), int(y)


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("explain")
@click.argument("image", type=_FILE)
@click.argument("mask", type=_FILE)
@click.option("--point", metavar="X,Y", callback=_point, help="Pixel of IMAGE that attention is shown from.")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, metavar="DIR")
@click.option("--weights", default="auto", show_default=True, metavar="NAME_OR_FILE", help="The network.")
@click.option(
    "--pasted/--in-place",
    default=None,
    help="Of two networks the one for pastes, or the one for what was recoloured where it stands. By default the "
    "foreground's edge decides.",
)
def command(
    image: Path, mask: Path, point: tuple[int, int] | None, output: Path, weights: str, pasted: bool | None
) -> None:
    """Show how the network comes to its result for IMAGE, whose foreground MASK shows in white.

    DIR gets change.png (lightness, hue, saturation), kernels.png (clusters of the harmony kernels, Fig. 9),
    features.png (what SCF weighs, Fig. 10), attention.png (the LRE's heads from --point, Fig. 11) and index.html,
    which holds them all and in which the point can be moved. Colours are taken for sRGB.
    """
    try:
        picture = np.asarray(open_image(image, "RGB", upright))
        foreground = np.asarray(open_image(mask, "L", upright))
    except DataError as error:
        raise click.ClickException(str(error)) from error
    try:
        part = checked(picture, foreground).context
        harmonizer = Harmonizer.load(weights, "cpu")
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    picture, foreground = picture[part.slices], foreground[part.slices]
    size = (picture.shape[1], picture.shape[0])
    if point is not None:
        point = (point[0] - part.left, point[1] - part.top)
        if not (0 <= point[0] < size[0] and 0 <= point[1] < size[1]):
            seen_part = f"{part.left} to {part.right - 1} across and {part.top} to {part.bottom - 1} down"
            raise click.ClickException(f"the point lies outside of what the network sees of {image}: {seen_part}")
    network, _, composite, _, coverage, _ = harmonizer.see(picture, foreground, document_space(None, "srgb", 3), pasted)
    if isinstance(harmonizer.network, Experts):
        kind = "pasted" if network is harmonizer.network.pasted else "recoloured where it stands"
        source = "by its seam" if pasted is None else "as you say"
        click.echo(f"{source}, the foreground was {kind}: the network for such is shown")
    if network.reference is None or network.kernels is None:
        raise click.ClickException(f"{weights} has no LRE or no kernels to explain: choose another network")
    image_seen = torch.from_numpy(composite).permute(2, 0, 1).contiguous()
    seen = inside.look(network, image_seen, torch.from_numpy(coverage)[None])
    cell = _cell(coverage, point, size, seen.grid)

    scale = _SIDE / max(size)
    shown = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    try:
        rows = {
            "change": change_figure(seen, composite, coverage),
            "kernels": kernels_figure(seen),
            "features": features_figure(seen),
            "attention": attention_figure(seen, cell, composite),
        }
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{str(error.name).partition('.')[0]} is missing: install the extra [research]"
        ) from error
    drawn = {name: figures.sheet(pictures, shown) for name, pictures in rows.items()}
    output.mkdir(parents=True, exist_ok=True)
    for name, drawing in drawn.items():
        drawing.save(output / f"{name}.png")
    (output / "index.html").write_text(page(seen, composite, cell, drawn, image.name, size), encoding="utf-8")
    click.echo(f"{output / 'index.html'} shows everything; the pictures lie beside it")
