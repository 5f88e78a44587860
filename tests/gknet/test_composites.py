"""Random composites: what is changed, how much, and that a seed means a batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from gknet.data.composites import AS_IS, LEAST_AREA, PASTED, Batch, Composer, CompositesConfig, looks_wrong
from gknet.data.jpeg import compress
from gknet.data.photos import PhotoSet, load_photos
from gknet.data.transfers import luma
from gknet.layers import blur

MakePhotos = Callable[..., Path]


@pytest.fixture(scope="module")
def photos(make_photos: MakePhotos, tmp_path_factory: pytest.TempPathFactory) -> PhotoSet:
    return load_photos(make_photos(tmp_path_factory.mktemp("photos")), 80, progress=False)[0]


def fmse(batch: Batch) -> torch.Tensor:
    error = ((batch.composite - batch.real) ** 2).mean(1, keepdim=True) * 255**2
    return (error * batch.mask).sum((1, 2, 3)) / batch.mask.sum((1, 2, 3))


def test_zip_and_folder_read_the_same(make_photos: MakePhotos, tmp_path: Path) -> None:
    zipped, names = load_photos(make_photos(tmp_path / "z"), 48, progress=False)
    folder, again = load_photos(make_photos(tmp_path / "f", zipped=False), 48, progress=False)
    assert names == again and torch.equal(zipped.photos, folder.photos) and torch.equal(zipped.masks, folder.masks)
    assert zipped.photos.shape == (8, 3, 48, 48) and zipped.masks.shape == (16, 48, 48)
    assert zipped.owner.tolist() == [i // 2 for i in range(16)]


def test_small_photos_are_left_out_with_their_masks(make_photos: MakePhotos, tmp_path: Path) -> None:
    photos = load_photos(make_photos(tmp_path), 48, progress=False)[0]
    kept = photos.at_least(90)
    large = [i for i, side in enumerate(photos.side.tolist()) if side >= 90]
    assert 0 < len(large) < 8
    assert torch.equal(kept.photos, photos.photos[large]) and kept.side.min() >= 90
    assert kept.owner.tolist() == [i // 2 for i in range(2 * len(large))]


def test_a_folder_without_photos_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"part-\*\.zip"):
        load_photos(tmp_path, 48, progress=False)


def test_split_is_disjoint_complete_and_the_same_every_time(photos: PhotoSet) -> None:
    names = [f"p{i}" for i in range(8)]
    training, held = photos.split(2, names)
    assert len(training.photos) == 6 and len(held.photos) == 2
    assert len(training.masks) + len(held.masks) == len(photos.masks)
    everything = {p.numpy().tobytes() for p in photos.photos}
    assert {p.numpy().tobytes() for p in torch.cat([training.photos, held.photos])} == everything
    assert torch.equal(held.photos, photos.split(400, names)[1].photos), "at most a quarter"
    for part in (training, held):  # masks still belong to their photo
        for mask, owner in zip(part.masks, part.owner, strict=True):
            assert any(
                torch.equal(mask, m) and torch.equal(part.photos[owner], photos.photos[o])
                for m, o in zip(photos.masks, photos.owner, strict=True)
            )


def test_same_seed_same_batch_other_seed_other_batch(photos: PhotoSet) -> None:
    composer = Composer(photos, size=64)
    a, b, c = composer.batch(6, 1), Composer(photos, size=64).batch(6, 1), composer.batch(6, 2)
    assert torch.equal(a.composite, b.composite) and torch.equal(a.mask, b.mask) and torch.equal(a.real, b.real)
    assert not torch.equal(a.composite, c.composite)


def test_a_batch_is_what_training_expects(photos: PhotoSet) -> None:
    batch = Composer(photos, size=64).batch(32, 3)
    assert batch.composite.shape == batch.real.shape == (32, 3, 64, 64) and batch.mask.shape == (32, 1, 64, 64)
    assert batch.mask.min() == 0 and batch.mask.max() == 1
    in_place = Composer(photos, size=64, config=CompositesConfig(pasted=0.0)).batch(32, 3)
    assert set(in_place.mask.unique().tolist()) == {0.0, 1.0}
    for x in (batch.composite, batch.real):
        assert float(x.min()) >= 0 and float(x.max()) <= 1
        torch.testing.assert_close(x * 255, (x * 255).round(), atol=1e-3, rtol=0)  # 8-bit values
    assert bool((batch.mask.mean((1, 2, 3)) > 0.005).all()), "a composite without foreground"


def test_only_the_foreground_and_its_soft_rim_change(photos: PhotoSet) -> None:
    batch = Composer(photos, size=64, config=CompositesConfig(untouched=0.0, jpeg=0.0)).batch(32, 4)
    near = torch.nn.functional.max_pool2d(batch.mask, 5, 1, 2) > 0
    assert torch.equal(batch.composite[~near.expand_as(batch.real)], batch.real[~near.expand_as(batch.real)])
    assert bool((fmse(batch) > 20).all()), "a composite without a change"


def test_drawn_errors_decide_the_sizes(photos: PhotoSet) -> None:
    def median(drawn: float) -> float:
        config = CompositesConfig(
            error_median=drawn,
            error_spread=0.1,
            error_range=(20, 20000),
            candidates=16,
            sharpen=(0.0, 0.0),
            untouched=0.0,
            jpeg=0.0,
        )
        composer = Composer(photos, size=64, config=config)
        return float(torch.cat([fmse(composer.batch(32, seed)) for seed in range(3)]).median())

    small, large = median(200), median(2000)
    assert small < 500 < 800 < large


def test_sharpening_adds_and_takes_detail_of_the_whole_photo(photos: PhotoSet) -> None:
    def real(amount: float) -> torch.Tensor:
        config = CompositesConfig(sharpen=(amount, amount), own_detail=0.0, grade=0.0, foreign_mask=0.0)
        return Composer(photos, size=64, config=config).batch(8, 5).real

    def detail(x: torch.Tensor) -> float:
        return float((x - blur(x)).abs().mean())

    assert detail(real(-0.5)) < 0.9 * detail(real(0.0)) < 0.8 * detail(real(0.5))


def test_regraded_photos_are_in_another_light_all_over(photos: PhotoSet) -> None:
    """Exposure alone, one stop's deviation: foreground and background get lighter or darker alike, in both pictures."""

    def lightness(grade: float, deviation: float) -> list[torch.Tensor]:
        scale = (deviation, *6 * [0.0])
        config = replace(AS_IS, grade=grade, grade_scale=scale, error_range=(0.0, 1e5))
        batch = Composer(photos, size=64, config=config).batch(16, 3)
        y = luma(batch.real.permute(0, 2, 3, 1))[:, None]
        return [(y * m).sum((1, 2, 3)) / m.sum((1, 2, 3)) for m in (batch.mask, 1 - batch.mask)]

    as_it_was = lightness(0.0, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(lightness(1.0, 0.0), as_it_was, strict=True))
    lit = lightness(1.0, 1.0)
    foreground, background = (b.log() - a.log() for a, b in zip(as_it_was, lit, strict=True))
    assert foreground.std() > 0.2
    assert torch.corrcoef(torch.stack([foreground, background]))[0, 1] > 0.8


def test_a_foreground_of_its_own_sharpness(photos: PhotoSet) -> None:
    own, same = (
        Composer(photos, size=64, config=replace(AS_IS, own_detail=share)).batch(32, 5).real for share in (1.0, 0.0)
    )
    mask = Composer(photos, size=64, config=AS_IS).batch(32, 5).mask
    far = torch.nn.functional.max_pool2d(mask, 5, 1, 2).expand_as(own) == 0
    assert torch.equal(own[far], same[far]), "the background's detail has changed"

    def detail(x: torch.Tensor) -> torch.Tensor:
        return ((x - blur(x)).abs() * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3))

    ratio = detail(own) / detail(same)
    assert float(ratio.min()) < 0.8 < 1.2 < float(ratio.max())


def test_a_transfer_in_part_is_smaller(photos: PhotoSet) -> None:
    whole, part = (
        Composer(photos, size=64, config=replace(AS_IS, photographic=0.0, gradient=0.0, candidates=1, partial=share))
        for share in (0.0, 1.0)
    )
    small, large = (fmse(composer.batch(256, 5)) for composer in (part, whole))
    assert float(small[small > 20].mean()) < 0.7 * float(large[large > 20].mean())


def test_a_photo_of_which_every_candidate_looks_wrong_gives_way_to_another(photos: PhotoSet) -> None:
    def changed(spare: float) -> Batch:
        config = replace(AS_IS, photographic=0.0, gradient=0.0, candidates=1, spare=spare)
        batch = Composer(photos, size=64, config=config).batch(64, 5)
        keep = fmse(batch) > 0
        return Batch(batch.composite[keep], batch.mask[keep], batch.real[keep])

    few, many = changed(0.0), changed(8.0)
    assert 5 < len(few.mask) < 50 and len(many.mask) == 64, "without spare photos, what looks wrong stays untouched"
    for batch in (few, many):
        for composite, mask, real in zip(batch.composite, batch.mask[:, 0] > 0, batch.real, strict=True):
            lightness = [luma(x[:, mask].T) for x in (real, composite)]
            assert float(torch.corrcoef(torch.stack(lightness))[0, 1]) > 0.5, "the light and shade is lost"


def test_compressed_share(photos: PhotoSet) -> None:
    plain, half = (Composer(photos, size=64, config=replace(AS_IS, jpeg=share)).batch(64, 8) for share in (0.0, 0.5))
    assert torch.equal(plain.real, half.real) and torch.equal(plain.mask, half.mask)
    touched = (plain.composite != half.composite).flatten(1).any(1)
    assert 0.25 < float(touched.float().mean()) < 0.75
    loss = ((plain.composite - half.composite) * 255).square().mean((1, 2, 3))[touched]
    assert 0.1 < float(loss.min()) and float(loss.max()) < 200


def test_pasted_share(photos: PhotoSet) -> None:
    plain, pasted = (Composer(photos, size=64, config=config).batch(64, 8) for config in (AS_IS, PASTED))
    other = (plain.real != pasted.real).flatten(1).any(1)
    assert other.float().mean() > 0.8  # what is too thin stays where it stands
    assert torch.equal(pasted.composite[~other], plain.composite[~other])
    where = pasted.mask == 0
    assert torch.equal((pasted.composite * where)[other], (pasted.real * where)[other])
    assert (pasted.mask[other].mean((1, 2, 3)) > 0.001).all()
    half = Composer(photos, size=64, config=replace(PASTED, pasted=0.5)).batch(64, 8)
    assert 0.2 < (plain.real != half.real).flatten(1).any(1).float().mean() < 0.8


def test_balance_evens_out_the_sources(photos: PhotoSet) -> None:
    rare = replace(
        photos, source=torch.tensor([0, 0, 0, 0, 0, 0, 0, 1])
    )  # an eighth of the photos, half of the sources

    def share(balance: float) -> float:
        config = replace(AS_IS, balance=balance, crop=(1.0, 1.0))
        batch = Composer(rare, size=80, config=config).batch(128, 6)
        shown = torch.nn.functional.interpolate(rare.photos[7:].float() / 255, size=(80, 80))
        either_way = torch.stack([(batch.real - x).abs().mean((1, 2, 3)) for x in (shown, shown.flip(3))]).amin(0)
        return float((either_way < 0.02).float().mean())

    assert share(0.0) < 0.2 < 0.3 < share(1.0) < 0.65


def test_photographic_share(photos: PhotoSet) -> None:
    def pick(share: float) -> torch.Tensor:
        config = CompositesConfig(photographic=share, grade=0.0, jpeg=0.0)
        return Composer(photos, size=64, config=config).batch(8, 9).composite

    assert not torch.equal(pick(0.0), pick(1.0))


def test_a_light_that_falls_off_lies_over_the_foreground(photos: PhotoSet) -> None:
    even, uneven = (
        Composer(photos, size=64, config=CompositesConfig(gradient=share, untouched=0.0, jpeg=0.0)).batch(16, 11)
        for share in (0.0, 1.0)
    )
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    slopes = []
    for i in range(16):
        inside = torch.nn.functional.max_pool2d(1 - even.mask[i], 5, 1, 2)[0] == 0  # the soft rim is changed in part
        fair = (even.composite[i].amin(0) > 0.2) & (uneven.composite[i].amax(0) < 0.98) & inside
        if fair.sum() < 100:
            continue
        gain = (uneven.composite[i, 1] / even.composite[i, 1].clamp_min(0.01)).log()[fair]
        plane = torch.stack([x[fair], y[fair]], 1)
        slope = torch.linalg.lstsq(plane, gain[:, None]).solution
        assert float((plane @ slope - gain[:, None]).abs().mean()) < 0.01, "the gain's logarithm is no plane"
        slopes.append(float(slope.norm()))
    assert len(slopes) > 8 and max(slopes) > 0.2


def test_untouched_share_stays_the_photo(photos: PhotoSet) -> None:
    batch = Composer(photos, size=64, config=CompositesConfig(untouched=0.5, jpeg=0.0)).batch(64, 4)
    same = (batch.composite == batch.real).flatten(1).all(1)
    assert 0.25 < float(same.float().mean()) < 0.75
    assert bool((fmse(batch)[~same] > 20).all())


@pytest.mark.parametrize(
    "change",
    {
        "clipped": lambda x: x * 3,
        "turned": lambda x: x[..., [2, 0, 1]],
        "green": lambda x: x * torch.tensor([0.7, 1.3, 0.7]),
        "magenta": lambda x: x * torch.tensor([1.2, 0.7, 1.3]),
        "drained": lambda x: x.mean(-1, keepdim=True).expand_as(x),
        "boosted": lambda x: x.mean(-1, keepdim=True) + 3 * (x - x.mean(-1, keepdim=True)),
        "inverted": lambda x: 1 - x,
        "flattened": lambda x: x.mean(1, keepdim=True) + 0.2 * (x - x.mean(1, keepdim=True)),
        "noisy": lambda x: x.mean(1, keepdim=True) + 2.5 * (x - x.mean(1, keepdim=True)),
    }.items(),
    ids=lambda pair: pair[0],
)
def test_what_looks_wrong_by_itself(change: tuple) -> None:  # type: ignore[type-arg]
    torch.manual_seed(0)
    light = torch.randn(1, 300, 1) * 0.08
    before = (torch.tensor([0.62, 0.45, 0.38]) + light).clamp(0.1, 0.9)  # skin in light and shade
    assert not bool(looks_wrong(before, before)), "an untouched region"
    assert not bool(looks_wrong(before, before * 0.85)), "a darker region"
    assert bool(looks_wrong(before, change[1](before).clamp(0, 1)))


def test_out_of_green_or_magenta_is_as_wrong_as_into_it() -> None:
    torch.manual_seed(0)
    light = 0.5 + torch.randn(1, 300, 1) * 0.08
    beige, blue = light * torch.tensor([1.1, 1.0, 0.85]), light * torch.tensor([0.9, 0.95, 1.1])
    green, magenta = light * torch.tensor([0.92, 1.05, 0.8]), light * torch.tensor([1.05, 0.86, 1.1])
    for one, other in ((beige, green), (blue, magenta)):
        assert bool(looks_wrong(one, other)) and bool(looks_wrong(other, one))
    warmer = light * torch.tensor([1.15, 1.0, 0.78])
    assert not bool(looks_wrong(beige, warmer)) and not bool(looks_wrong(warmer, beige))


def test_real_photos(shared_data: Path) -> None:
    photos, names = load_photos(shared_data / "photos", 64, progress=False)
    assert len(names) == 4257 and len(photos.masks) == 7296
    training, held = photos.split(400, names)
    assert len(held.photos) == 400 and len(training.photos) == 3857
    as_is = CompositesConfig(untouched=0.0)
    errors = torch.cat([fmse(Composer(held, size=64, config=as_is).batch(64, seed)) for seed in range(6)])
    # The benchmark's composites: mean 1245, quartiles 502, 982, 1693.
    assert 900 < float(errors.mean()) < 1700
    assert 700 < float(errors.median()) < 1300


def test_sides_and_soft_masks_are_those_of_the_files(make_photos: MakePhotos, tmp_path: Path) -> None:
    folder = make_photos(tmp_path, zipped=False)
    photos = load_photos(folder, 48, progress=False)[0]
    for i in range(8):
        with Image.open(folder / f"part/images/p{i}.jpg") as image:
            assert float(photos.side[i]) == pytest.approx((image.width * image.height) ** 0.5)
    assert bool(((photos.masks > 0) & (photos.masks < 255)).flatten(1).any(1).all())
    assert len(photos.at_least(photos.side.max().item()).photos) == 1  # "or more"


def test_the_photos_held_out_are_those_of_the_smallest_hashes(photos: PhotoSet) -> None:
    names = [f"p{i}" for i in range(8)]
    order = sorted(range(8), key=lambda i: hashlib.sha256(names[i].encode()).hexdigest())
    held = photos.split(2, names)[1]
    assert torch.equal(held.photos, photos.photos[sorted(order[:2])])


def test_foreign_masks_are_those_of_other_photos(photos: PhotoSet) -> None:
    own, foreign = (
        Composer(photos, size=64, config=replace(AS_IS, foreign_mask=share)).batch(32, 5) for share in (0.0, 1.0)
    )
    assert (own.mask != foreign.mask).flatten(1).any(1).float().mean() > 0.6


def test_half_of_the_photos_are_mirrored(photos: PhotoSet) -> None:
    batch = Composer(photos, size=80, config=replace(AS_IS, crop=(1.0, 1.0))).batch(64, 6)
    shown = photos.photos.float() / 255
    plain, mirrored = ((batch.real[:, None] - x[None]).abs().mean((2, 3, 4)).amin(1) for x in (shown, shown.flip(3)))
    assert 0.25 < float((mirrored < plain).float().mean()) < 0.75


def test_half_of_the_compressed_have_halved_chroma(photos: PhotoSet) -> None:
    plain, saved = (
        Composer(photos, size=64, config=replace(AS_IS, jpeg=share, jpeg_quality=(90.0, 90.0))).batch(32, 8).composite
        for share in (0.0, 1.0)
    )
    quality = torch.full((32,), 90.0)
    full, halved = (
        (compress(plain, quality, torch.full((32,), by_half)) == saved).flatten(1).all(1) for by_half in (False, True)
    )
    assert bool((full | halved).all()) and 0.25 < float(halved.float().mean()) < 0.75


def test_the_error_of_a_batch_is_the_mean_over_its_foregrounds() -> None:
    real, mask = torch.rand(2, 3, 8, 8), torch.zeros(2, 1, 8, 8)
    mask[0, ..., :4, :4], mask[1, ..., 4] = 1, 0.25
    pictures = torch.where(mask > 0, real + 0.1, real + 9)
    torch.testing.assert_close(Batch(real, mask, real).fmse(pictures), torch.full((2,), 0.01))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_references_come_from_the_same_source(photos: PhotoSet, share: float) -> None:
    level = torch.where(photos.source == 0, 50, 200).to(torch.uint8)  # of a source of dark photos and one of light ones
    apart = replace(photos, table=level[photos.owner][:, None, None].expand_as(photos.table))
    composer = Composer(apart, size=64, config=replace(AS_IS, same_source=share))
    kind = torch.arange(64) % 2
    drawn = composer._choose(torch.rand(64, 512, 3), torch.zeros(64, 7), kind, torch.rand, torch.randn)[0].reference
    same = (drawn.mean((1, 2)) * 255 < 125) == (kind == 0)
    assert bool(same.all()) if share else 0.2 < float(same.float().mean()) < 0.8


def test_a_crop_that_misses_the_foreground_gives_way_to_the_whole_photo(photos: PhotoSet) -> None:
    batch = Composer(photos, size=64, config=replace(AS_IS, crop=(0.02, 0.02))).batch(64, 3)
    assert bool((batch.mask.mean((1, 2, 3)) > 0.005).all())


def test_references_are_seen_in_the_same_light(photos: PhotoSet) -> None:
    composer = Composer(photos, size=64, config=AS_IS)
    light = []
    for stops in (0.0, -1.0):
        torch.manual_seed(0)
        grade = torch.tensor([[stops, 0, 0, 0, 0, 0, 0]]).expand(64, -1)
        kind = photos.source[torch.arange(64) % 8]
        change = composer._choose(torch.rand(64, 512, 3), grade, kind, torch.rand, torch.randn)[0]
        light.append(float(change.reference.mean()))
    assert light[1] < 0.9 * light[0]


def test_a_foreground_that_is_too_thin_to_be_pasted_stays_where_it_stands(photos: PhotoSet) -> None:
    plain, pasted = (
        Composer(photos, size=64, config=config).batch(64, 8) for config in (AS_IS, replace(PASTED, margin=(12, 12)))
    )
    stays = (plain.mask == pasted.mask).flatten(1).all(1)
    assert 0 < int(stays.sum()) < 64 and torch.equal(plain.composite[stays], pasted.composite[stays])
    assert bool((pasted.mask.mean((1, 2, 3)) > LEAST_AREA).all())


def test_shadows_lie_below_pastes(photos: PhotoSet) -> None:
    config = replace(PASTED, photographic=1.0)
    plain = Composer(photos, size=64, config=config).batch(8, 3)
    shaded = Composer(photos, size=64, config=replace(config, shadow=1.0)).batch(8, 3)
    solid = (plain.mask == 1).expand_as(plain.real)
    assert torch.equal(plain.composite[solid], shaded.composite[solid])
    assert (shaded.real <= plain.real + 0.5 / 255)[~solid].float().mean() > 0.99
    darker = (plain.real - shaded.real).amax((1, 2, 3))
    assert (darker > 0.02).float().mean() > 0.7
    within = (shaded.mask - plain.mask).amax((1, 2, 3)) > 0.02
    assert 0 < within.sum() < 8


def test_a_batch_may_have_no_shadow(photos: PhotoSet) -> None:
    config = replace(PASTED, photographic=1.0)
    plain, shaded = (
        Composer(photos, size=64, config=replace(config, shadow=share)).batch(8, 3) for share in (0.0, 1e-9)
    )
    assert torch.equal(plain.mask, shaded.mask)
