"""The one door for inference: any size, any depth, any layout in; the same out."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.utils import convert_conv2d_weight_memory_format

from gknet import perforated, upsampling, weights
from gknet.color import LUMA, DocumentSpace, document_space
from gknet.experts import Experts
from gknet.framing import close_box, filled_box, picture_box, visible_box
from gknet.layers import fold_batch_norm
from gknet.levels import Levels, levels
from gknet.network import GKNet
from gknet.upsampling import Box

Array = NDArray[Any]
Picture = Image.Image | Array

MIN_SIDE = 16
"""Shortest side of an image, in pixels."""
IMAGE_MODES = ("L", "LA", "RGB", "RGBA", "I;16")
MASK_MODES = ("1", "L", "I;16")
_COLOURLESS = 0.5 / 255
"""Up to which difference between neighbouring channels a picture has no colour."""
_BACKGROUND = 0.02
"""Opacity beyond the mask's above which there is background in a pixel."""
_ALL_TRANSPARENT = "all around the foreground is transparent: there is no background to match"
_KEPT = 16 << 20
"""Bytes: more than the network frees at once at its usual size."""


class NoBackgroundError(ValueError):
    """All that is to be seen is foreground, so there is nothing to match it to."""


@dataclass(frozen=True)
class Harmonized:
    """What :meth:`Harmonizer.harmonize` returns.

    Attributes:
        image: of the input's type, depth and layout, and of its size or, cropped, the box's.
        box: what the foreground fills; nothing is different elsewhere.
        timings: milliseconds of each stage, in order: check, reduce, network, fit, apply. Stages not needed are absent.
        model: name of the network that ran.
        device: where it ran.
    """

    image: Picture
    box: Box
    timings: dict[str, float]
    model: str
    device: str


class Checked(NamedTuple):
    """A document and its mask that can be harmonized."""

    document: Array
    """uint8, uint16 or float32 [H, W, 1, 2, 3 or 4]."""
    mask: Array
    """bool, uint8, uint16 or float [H, W]."""
    foreground: Box
    """What the mask's pixels above 0 fill."""
    context: Box
    """What the network is to see: the foreground with background, and no bars and frames (gknet.framing)."""


class Seen(NamedTuple):
    """A document as a network is shown it: a square of S pixels a side."""

    network: GKNet
    colours: upsampling.Float
    """[S, S, 1 or 3], the document's own values."""
    composite: upsampling.Float
    """[S, S, 3], the same in sRGB, 0..1, and with more contrast if it has little."""
    levels: Levels
    """How much more (gknet.levels)."""
    mask: upsampling.Float
    """[S, S], 0..1."""
    filled: bool
    """Whether it is a perforated foreground, shown as a solid one (gknet.perforated)."""


class Harmonizer:
    """A network on a device, ready to harmonize. :meth:`load` makes one out of shipped weights.

    Args:
        network: one, or two experts, in eval mode, on ``device``; see :meth:`gknet.network.GKNet.forward` for what they
            take and return.
        model: its name, for reports.
        device: where it is.
    """

    def __init__(self, *, network: GKNet | Experts, model: str, device: str) -> None:
        self.network = network
        self.model = model
        self.device = device

    @classmethod
    def load(cls, model: str | Path = "auto", device: str = "auto") -> Harmonizer:
        """Load weights. On the CPU, torch has at most half of its cores from then on, in the whole process.

        Args:
            model: a shipped name, a weights file, or "auto": ``gknet`` on CUDA, ``gknet-lite`` elsewhere, or else what
                is shipped.
            device: "cpu", "cuda", "cuda:1", "mps", or "auto": the first of CUDA, MPS and CPU that this machine has.

        Raises:
            ValueError: no such model or device; the text lists what there is. Damaged weights (``WeightsError``) too.
        """
        device = _device(device)
        shipped = weights.available()
        if str(model) == "auto":
            preferred = ["gknet", "gknet-lite"] if device.startswith("cuda") else ["gknet-lite", "gknet"]
            candidates = [name for name in preferred if name in shipped] + shipped
            if not candidates:
                raise ValueError("no weights are shipped with this copy of gknet; pass a weights file as model")
            model = candidates[0]
        elif str(model) not in shipped and not Path(model).is_file():
            raise ValueError(
                f"there is no model {str(model)!r}; choose one of {', '.join(['auto', *shipped])}, or a weights file"
            )
        name = str(model) if str(model) in shipped else Path(model).stem
        network = weights.load(model, device)
        fold_batch_norm(network)
        if device == "cpu":  # convolutions take on their weights' layout, and are quicker in this one
            convert_conv2d_weight_memory_format(network, torch.channels_last)
            _leave_cores()
        _keep_memory()
        return cls(network=network, model=name, device=device)

    def __call__(
        self,
        image: Picture,
        mask: Picture,
        *,
        strength: float = 1.0,
        context_box: tuple[int, int, int, int] | None = None,
        profile: bytes | None = None,
        transfer: str = "srgb",
        pasted: bool | None = None,
    ) -> Picture:
        """:meth:`harmonize`, and only the image of it."""
        return self.harmonize(
            image, mask, strength=strength, context_box=context_box, profile=profile, transfer=transfer, pasted=pasted
        ).image

    def harmonize(
        self,
        image: Picture,
        mask: Picture,
        *,
        strength: float = 1.0,
        context_box: tuple[int, int, int, int] | None = None,
        profile: bytes | None = None,
        transfer: str = "srgb",
        pasted: bool | None = None,
        blend: bool = True,
        crop: bool = False,
        on_stage: Callable[[str], object] | None = None,
    ) -> Harmonized:
        """Make the foreground of a composite fit its background.

        Pixels whose mask is 0, and alpha, are returned bit for bit; so is the whole image at strength 0. Elsewhere the
        result is ``image + strength * mask * change``. A square document of exactly the size at which the network is
        shown it (``GKNetConfig.side``) gets the network's own output; others get a local model of its change, applied
        to their own values (gknet.upsampling).

        Args:
            image: a PIL image (L, LA, RGB, RGBA, I;16) or an array, uint8, uint16 or float32 (0..1; values beyond are
                changed as the range's end is): [H, W], or [H, W, C] with C = 1 (grey), 2 (grey, alpha), 3 or 4 (RGB,
                alpha). At least 16 x 16. Pixels of alpha 0 count as absent, not as black.
            mask: 1 = foreground, soft edges welcome: [H, W], bool, uint8, uint16 or float (0..1), or a PIL image
                (1, L, I;16).
            strength: 0..1, how much of the change to apply.
            context_box: (left, top, right, bottom) in pixels: what the network sees, instead of the whole image or, of
                a small foreground, what is near it. It holds the whole foreground. In either case transparent margins,
                and bars and frames of one colour, are left out (gknet.framing).
            profile: ICC profile of the image; a PIL image brings its own.
            transfer: what values without a profile are: "srgb" or "linear" (light, sRGB's primaries).
            pasted: whether the foreground was cut out and laid over this background (True), or changed where it stands
                (False). None = the seam is looked at, which is not always right: a feathered edge tells little.
                A single network takes no notice. What is known to be a paste is looked at more coarsely, which is
                quicker and no worse (docs/training.md).
            blend: False gives pixels of a soft mask the colour of a full one: ``image + strength * change``, for a
                caller that lays the result over the image with the mask as its opacity.
            crop: return what the foreground fills, and nothing around it: a copy less of the whole image.
            on_stage: called with each stage's name as it begins. What it raises ends the work and reaches the caller.

        Raises:
            TypeError: an argument of a type, depth or mode that is not listed above.
            ValueError: sizes differ; the image is too small; the mask is empty, or of whole numbers that end at 1;
                something is NaN, infinite or out of its range; a wrong number of channels; an invalid profile or
                transfer; or a context box that is too small, beyond the image or without the foreground.
            NoBackgroundError: a ValueError too: the mask is full, or all around the foreground is transparent.
            ArithmeticError: the network's own result is NaN or infinite.
        """
        timings: dict[str, float] = {}
        stage = partial(_stage, timings, on_stage)
        with stage("check"):
            document, coverage, foreground, box = checked(image, mask, context_box)
            filled, strength = foreground, _strength(strength)
            if profile is None and isinstance(image, Image.Image):
                profile = image.info.get("icc_profile")
            alpha = document.shape[2] in (2, 4)
            space = document_space(profile, transfer, document.shape[2] - alpha)
            result = document[foreground.slices].copy() if crop else document.copy()
        if strength > 0:
            out = result if crop else result[foreground.slices]
            part, coverage, foreground = document[box.slices], coverage[box.slices], foreground.within(box)
            with stage("reduce"):
                seen = self.see(part, coverage, space, pasted)
            with stage("network"):
                harmonized = self._run(seen)
            with stage("fit"):
                native = part.shape[:2] == seen.mask.shape and not seen.filled
                if native and not blend:
                    harmonized = _unblended(seen.composite, harmonized, seen.mask)
                pictures = (seen.levels.back(picture) for picture in (seen.composite, harmonized))
                before, after = _in_document(space, seen.mask, *pictures)
                model = None
                if not native:
                    values = (seen.colours, before, after)
                    guide, old, new = (upsampling.roots(x) for x in values) if space.light else values
                    model = upsampling.fit(guide, seen.mask, new - old)
            with stage("apply"):
                opacity = coverage[foreground.slices]
                if not blend:
                    opacity = (opacity > 0) * opacity.dtype.type(upsampling.full_scale(opacity.dtype))
                if model is None:
                    _apply_native(part, opacity, out, foreground, before, after, strength)
                else:
                    upsampling.apply(model, part, opacity, out, foreground, strength, light=space.light)
        return Harmonized(_like(image, result), filled, timings, self.model, self.device)

    def see(self, image: Array, mask: Array, space: DocumentSpace, pasted: bool | None = None) -> Seen:
        """What the network is shown of a document, or a part of one, and which network it is.

        Args:
            image: uint8, uint16 or float32 (0..1) [H, W, 1, 2, 3 or 4].
            mask: bool, uint8, uint16 or float (0..1) [H, W].
            space: what the image's values are.
            pasted: as in :meth:`harmonize`.

        Raises:
            NoBackgroundError: the image is transparent wherever the mask is 0.
        """
        network = self.network
        if isinstance(network, Experts) and pasted is not None:
            network = network.of(pasted)
        colours, small_mask = as_seen(image, mask, network.config.side(*image.shape[:2]))
        composite = np.clip(space.to_srgb(colours), 0, 1)
        stretch = levels(composite)
        if isinstance(network, Experts):
            with torch.inference_mode():
                network = network.of(network.reads_paste(*self._tensors(stretch.stretched(composite), small_mask)))
        cells = perforated.joined(mask, small_mask)
        if cells is not None:
            colours = perforated.filled(image, mask, colours, cells)
            composite = np.clip(space.to_srgb(colours), 0, 1)
            small_mask = np.where(cells, small_mask.max(), small_mask)
        return Seen(network, colours, stretch.stretched(composite), stretch, small_mask, cells is not None)

    def _tensors(self, composite: upsampling.Float, mask: upsampling.Float) -> tuple[Tensor, Tensor]:
        """[S, S, 3] and [S, S] -> [1, 3, S, S] and [1, 1, S, S] on the device."""
        image = torch.from_numpy(composite).permute(2, 0, 1)[None].contiguous()
        return image.to(self.device), torch.from_numpy(mask)[None, None].to(self.device)

    def _run(self, seen: Seen) -> upsampling.Float:
        """float32 [S, S, 3], not limited to 0..1."""
        with torch.inference_mode(), torch.backends.cudnn.flags(benchmark=False, deterministic=True):
            output = seen.network(*self._tensors(seen.composite, seen.mask))
            array: upsampling.Float = output[0].permute(1, 2, 0).float().cpu().numpy()
        red, green, blue = np.moveaxis(seen.composite, 2, 0)
        if max(np.abs(red - green).max(), np.abs(green - blue).max()) < _COLOURLESS:
            array = np.repeat(array @ LUMA[:, None], 3, axis=2)  # a black and white photo gets no tint
        if not np.isfinite(array).all():
            raise ArithmeticError(f"the network {self.model!r} returned NaN or infinity; use weights that are trained")
        return array


@contextmanager
def _stage(timings: dict[str, float], on_stage: Callable[[str], object] | None, stage: str) -> Iterator[None]:
    if on_stage:
        on_stage(stage)
    start = time.perf_counter()
    yield
    timings[stage] = (time.perf_counter() - start) * 1000


def _keep_memory() -> None:
    """Have glibc keep the memory that a run frees for the next one, which else gets it anew, page by page.

    It keeps up to twice as much as the largest piece, of at most 32 MB, that was ever freed (mallopt(3)), unless the
    process has set limits of its own. Elsewhere this does nothing.
    """
    np.empty(_KEPT, np.uint8)


def _leave_cores() -> None:
    """Have torch use at most half of the processor's cores, unless OMP_NUM_THREADS says how many.

    The network is thousands of small steps, and after each one threads wait for the slowest. With as many threads as
    cores that is one that shares its core with something else, an editor for instance (docs/speed.md).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), max(1, cores // 2)))


if hasattr(os, "register_at_fork"):
    # A forked process has none of its parent's threads, and OpenMP would wait for them for ever. One that computes
    # alone starts none, and of several processes each does best so.
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


def _device(device: str) -> str:
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    present = [*(["cuda", *cuda] if cuda else []), *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]
    if device not in present:
        raise ValueError(f"this machine has no device {device!r}; choose one of {', '.join(['auto', *present])}")
    return device


def _array(picture: Picture, name: str, modes: Sequence[str], usual: str) -> Array:
    """The picture as an array; a PIL image in one of these modes, of which `usual` is the advice."""
    if isinstance(picture, Image.Image):
        if picture.mode not in modes:
            raise TypeError(
                f"the {name}'s PIL mode is {picture.mode!r}; convert it to one of {', '.join(modes)}, "
                f"for instance with {name}.convert({usual!r})"
            )
        return np.asarray(picture)
    if isinstance(picture, np.ndarray):
        return picture
    raise TypeError(f"the {name} must be a PIL image or a numpy array, not {type(picture).__name__}")


def checked(image: Picture, mask: Picture, context_box: tuple[int, int, int, int] | None = None) -> Checked:
    """What :meth:`Harmonizer.harmonize` takes, with its errors."""
    document, coverage = _document(image), _mask(mask)
    foreground = _foreground(document, coverage)
    return Checked(document, coverage, foreground, _context(context_box, document, coverage, foreground))


def _document(image: Picture) -> Array:
    """The image as [H, W, C], checked."""
    array = _array(image, "image", IMAGE_MODES, "RGB")
    if array.dtype not in (np.uint8, np.uint16, np.float32):
        raise TypeError(f"the image is {array.dtype}; convert it to uint8, uint16 or float32 (0..1)")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 2, 3, 4)):
        raise ValueError(
            f"the image has shape {array.shape}; pass [height, width] (grey), or [height, width, channels] with "
            "1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and alpha) channels"
        )
    if min(array.shape[:2]) < MIN_SIDE:
        height, width = array.shape[:2]
        raise ValueError(f"the image is {width} x {height}; pass one of at least {MIN_SIDE} x {MIN_SIDE} pixels")
    if not _finite(array):
        raise ValueError("the image contains NaN or infinity; replace them by numbers first")
    return array[..., None] if array.ndim == 2 else array


def _mask(mask: Picture) -> Array:
    """The mask as [H, W], checked; a boolean one as 0 and 1."""
    array = _array(mask, "mask", MASK_MODES, "L")
    if array.dtype not in (np.bool_, np.uint8, np.uint16) and array.dtype.kind != "f":
        raise TypeError(f"the mask is {array.dtype}; convert it to bool, uint8, uint16 or float (0..1)")
    if array.ndim != 2:
        raise ValueError(f"the mask has shape {array.shape}; pass one channel: [height, width]")
    if array.dtype.kind == "f":
        if not _finite(array):
            raise ValueError("the mask contains NaN or infinity; a mask of floats runs from 0 to 1")
        if array.size and (array.min() < 0 or array.max() > 1):
            raise ValueError(
                f"the mask runs from {array.min():g} to {array.max():g}; a mask of floats runs from 0 to 1: "
                "divide or clip it"
            )
    elif array.dtype.kind == "u" and array.size and array.max() == 1:
        full = np.iinfo(array.dtype).max
        raise ValueError(
            f"the mask is {array.dtype} and ends at 1, where {full} is full; pass mask * {full} or mask.astype(bool)"
        )
    return array


def _finite(array: Array) -> bool:
    # The extremes are NaN or infinite if anything is, and need no array of their own.
    return array.dtype.kind != "f" or not array.size or bool(np.isfinite(array.min()) and np.isfinite(array.max()))


def _foreground(document: Array, mask: Array) -> Box:
    """Box of the mask's pixels above 0."""
    height, width = document.shape[:2]
    if mask.shape != (height, width):
        raise ValueError(
            f"the image is {width} x {height}, the mask {mask.shape[1]} x {mask.shape[0]}; resize the mask to the image"
        )
    box = filled_box(mask)
    if box is None:
        raise ValueError("the mask is empty; mark the foreground with values above 0")
    return box


def _context(context_box: tuple[int, int, int, int] | None, document: Array, mask: Array, foreground: Box) -> Box:
    """What the network sees: checked, with background in it, and without bars and frames."""
    height, width = document.shape[:2]
    box = Box(0, 0, width, height)
    if context_box is not None:
        if not isinstance(context_box, tuple | list) or len(context_box) != 4:
            raise TypeError(f"context_box must be (left, top, right, bottom) in pixels, not {context_box!r}")
        if not all(isinstance(edge, int | np.integer) for edge in context_box):
            raise TypeError(f"context_box must be four whole numbers, not {context_box!r}")
        box = Box(*(int(edge) for edge in context_box))
        if box.left < 0 or box.top < 0 or box.right > width or box.bottom > height:
            raise ValueError(f"context_box {tuple(box)} reaches beyond the image, which is {width} x {height}; clip it")
        if not _large_enough(box):
            raise ValueError(
                f"context_box {tuple(box)} is smaller than {MIN_SIDE} x {MIN_SIDE} pixels or inside out; "
                "pass (left, top, right, bottom) of a larger one"
            )
        if (
            foreground.left < box.left
            or foreground.top < box.top
            or foreground.right > box.right
            or foreground.bottom > box.bottom
        ):
            raise ValueError(
                f"context_box {tuple(box)} does not contain the foreground, which fills {tuple(foreground)}; enlarge it"
            )
    visible = visible_box(document[box.slices], mask[box.slices], foreground.within(box)).out_of(box)
    if mask[visible.slices].min() >= 0.5 * upsampling.full_scale(mask.dtype):
        if visible != box:
            raise NoBackgroundError(_ALL_TRANSPARENT)
        raise NoBackgroundError(
            "the mask is full: there is no background to match; leave pixels outside the foreground at 0"
            + ("" if context_box is None else ", and enlarge context_box until it holds some")
        )
    if _large_enough(visible):
        box = visible
    for part in (picture_box, close_box) if context_box is None else (picture_box,):
        inner = part(document[box.slices], mask[box.slices], foreground.within(box)).out_of(box)
        if _large_enough(inner):
            box = inner
    return box


def _large_enough(box: Box) -> bool:
    return min(box.right - box.left, box.bottom - box.top) >= MIN_SIDE


def _strength(strength: float) -> float:
    if isinstance(strength, bool) or not isinstance(strength, int | float | np.integer | np.floating):
        raise TypeError(f"strength must be a number from 0 to 1, not {type(strength).__name__}")
    if not (math.isfinite(strength) and 0 <= strength <= 1):
        raise ValueError(f"strength is {strength}; pass a number from 0 (no change) to 1 (full change)")
    return float(strength)


def as_seen(image: Array, mask: Array, size: int) -> tuple[upsampling.Float, upsampling.Float]:
    """Colours [size, size, 1 or 3] in document values and mask [size, size], as the network is to see them.

    Raises:
        NoBackgroundError: the image is transparent wherever the mask is 0.
    """
    reduced_mask = upsampling.reduce_area(mask[..., None], size)
    small_mask = upsampling.enlarge(reduced_mask, size)[..., 0]
    if image.shape[2] in (1, 3):
        colours = upsampling.reduce_area(image, size)
    elif image[..., -1].min() >= upsampling.full_scale(image.dtype):
        colours = upsampling.reduce_area(image, size)[..., :-1]
    else:
        reduced = upsampling.reduce_area(image, size, premultiply=True)
        # A cut-out's soft edge is no background.
        if (reduced[..., -1] - reduced_mask[..., 0]).max() <= _BACKGROUND:
            raise NoBackgroundError(_ALL_TRANSPARENT)
        colours = upsampling.fill_absent(reduced[..., :-1], reduced[..., -1:])
    return upsampling.enlarge(colours, size), small_mask


def _in_document(
    space: DocumentSpace, mask: upsampling.Float, *pictures: upsampling.Float
) -> Iterator[upsampling.Float]:
    """sRGB pictures [S, S, 3] in document values; 0 far from the foreground of the mask [S, S], as converting by a
    profile takes its time for every pixel."""
    box = upsampling.box_near(mask) or np.s_[:1, :1]
    parts = space.from_srgb(np.concatenate([picture[box] for picture in pictures]))
    for part in np.split(parts, len(pictures)):
        values = np.zeros((*mask.shape, part.shape[2]), np.float32)
        values[box] = part
        yield values


def _unblended(composite: upsampling.Float, harmonized: upsampling.Float, mask: upsampling.Float) -> upsampling.Float:
    """What the network blended with the mask into ``harmonized``; where the mask is full, that itself, bit for bit."""
    soft = ((mask > 0) & (mask < 1))[..., None]
    change = np.divide(harmonized - composite, mask[..., None], out=np.zeros_like(composite), where=soft)
    return np.where(soft, composite + change, harmonized)


def _apply_native(
    image: Array,
    mask: Array,
    out: Array,
    foreground: Box,
    before: upsampling.Float,
    after: upsampling.Float,
    strength: float,
) -> None:
    """The network's own output, where it changed something: no model needed at its own size. As upsampling.apply."""
    image, before, after = (whole[foreground.slices] for whole in (image, before, after))
    scale = upsampling.full_scale(image.dtype)
    values = image[..., : after.shape[2]] / np.float32(scale)
    # Written so that an image the network saw as it is (before = values) becomes exactly its output at strength 1.
    values = (values - strength * before + strength * after) * scale
    if image.dtype.kind == "u":
        values = np.clip(np.rint(values), 0, scale)
    np.copyto(out[..., : after.shape[2]], values, where=(after != before) & (mask > 0)[..., None], casting="unsafe")


def _like(image: Picture, result: Array) -> Picture:
    if isinstance(image, Image.Image):
        picture = Image.fromarray(result[..., 0] if result.shape[2] == 1 else result)
        picture.info = dict(image.info)
        return picture
    return result[..., 0] if image.ndim == 2 else result
