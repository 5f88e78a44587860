from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gknet.baselines import BASELINES, composite, match_covariances, match_deviations, mkl, reinhard

Floats = npt.NDArray[np.float64]


def clouds(seed: int) -> tuple[Floats, Floats]:
    """Foreground [200, 3] and background [300, 3], correlated colours well inside 0..1."""
    rng = np.random.default_rng(seed)
    f = 0.5 + rng.normal(0, 0.06, (200, 3)) @ rng.normal(0, 0.8, (3, 3))
    b = 0.4 + rng.normal(0, 0.06, (300, 3)) @ rng.normal(0, 0.8, (3, 3))
    return f.clip(0.05, 0.95), b.clip(0.05, 0.95)


def slow_reinhard(foreground: Floats, background: Floats) -> list[list[float]]:
    """Reinhard et al. 2001, pixel by pixel, with the published matrices (their inverse solved by Cramer's rule)."""
    to_lms = [[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]]

    def lab(pixel: Floats) -> list[float]:
        big_l, m, s = (math.log10(max(sum(w * v for w, v in zip(row, pixel, strict=True)), 1 / 255)) for row in to_lms)
        return [(big_l + m + s) / math.sqrt(3), (big_l + m - 2 * s) / math.sqrt(6), (big_l - m) / math.sqrt(2)]

    def determinant(m: list[list[float]]) -> float:
        return sum(
            m[0][i] * (m[1][(i + 1) % 3] * m[2][(i + 2) % 3] - m[1][(i + 2) % 3] * m[2][(i + 1) % 3]) for i in range(3)
        )

    def rgb(pixel: list[float]) -> list[float]:
        a, b, c = pixel[0] / math.sqrt(3), pixel[1] / math.sqrt(6), pixel[2] / math.sqrt(2)
        lms = [10 ** (a + b + c), 10 ** (a + b - c), 10 ** (a - 2 * b)]
        return [
            determinant([[lms[y] if x == i else to_lms[y][x] for x in range(3)] for y in range(3)])
            / determinant(to_lms)
            for i in range(3)
        ]

    f, b = [lab(p) for p in foreground], [lab(p) for p in background]

    def moments(pixels: list[list[float]], channel: int) -> tuple[float, float]:
        values = [p[channel] for p in pixels]
        mean = sum(values) / len(values)
        return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))

    result = []
    for pixel in f:
        moved = []
        for c in range(3):
            (f_mean, f_deviation), (b_mean, b_deviation) = moments(f, c), moments(b, c)
            moved.append((pixel[c] - f_mean) * b_deviation / f_deviation + b_mean)
        result.append(rgb(moved))
    return result


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_reinhard_equals_the_loops(seed: int) -> None:
    f, b = clouds(seed)
    f[:2], b[:1] = 0, 0  # black has no logarithm
    np.testing.assert_allclose(match_deviations(f[:20], b[:30]), slow_reinhard(f[:20], b[:30]), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_mkl_gives_the_backgrounds_mean_and_covariance(seed: int) -> None:
    f, b = clouds(seed)
    moved = match_covariances(f, b)
    np.testing.assert_allclose(moved.mean(0), b.mean(0), atol=1e-12)
    np.testing.assert_allclose(np.cov(moved.T), np.cov(b.T) * (299 / 300) * (200 / 199), atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_mkl_is_the_optimal_map(seed: int) -> None:
    """Of all maps that match the covariance the Monge-Kantorovich one alone is symmetric and positive."""
    f, b = clouds(seed)
    t, *_ = np.linalg.lstsq(f - f.mean(0), match_covariances(f, b) - b.mean(0), rcond=None)
    np.testing.assert_allclose(t, t.T, atol=1e-9)
    assert np.linalg.eigvalsh((t + t.T) / 2).min() > 0


@pytest.mark.parametrize("match", [match_deviations, match_covariances])
def test_equal_statistics_change_nothing(match: Callable[[Floats, Floats], Floats]) -> None:
    f, _ = clouds(3)
    np.testing.assert_allclose(match(f, f[::-1]), f, atol=1e-9)


def test_a_constant_foreground_takes_the_backgrounds_mean() -> None:
    _, b = clouds(4)
    f = np.full((10, 3), 0.3)
    np.testing.assert_allclose(match_covariances(f, b), np.broadcast_to(b.mean(0), (10, 3)), atol=1e-12)
    moved = match_deviations(f, np.full((5, 3), [0.2, 0.6, 0.4]))
    np.testing.assert_allclose(moved, np.broadcast_to([0.2, 0.6, 0.4], (10, 3)), atol=1e-12)


def test_mkl_of_grey_pixels() -> None:
    """Grey pixels vary along one axis only: the map must not blow the other two up."""
    f = np.repeat(np.linspace(0.2, 0.4, 50)[:, None], 3, 1)
    _, b = clouds(5)
    moved = match_covariances(f, b)
    np.testing.assert_allclose(moved.mean(0), b.mean(0), atol=1e-9)
    # T A T = B on the axis that there is
    axis = np.full(3, 3**-0.5)
    t_axis = (moved[-1] - moved[0]) @ axis / ((f[-1] - f[0]) @ axis)
    b_axis = axis @ np.cov(b.T, bias=True) @ axis
    assert t_axis == pytest.approx(math.sqrt(b_axis / (axis @ np.cov(f.T, bias=True) @ axis)), rel=1e-6)


@given(st.integers(0, 1000))
def test_mkl_of_colours_on_a_line(seed: int) -> None:
    rng = np.random.default_rng(seed)
    _, b = clouds(seed)
    f = 0.5 + rng.normal(0, 0.1, (50, 1)) * rng.normal(0, 1, 3)
    moved = match_covariances(f, b)
    assert moved.var(0).sum() <= b.var(0).sum() * (1 + 1e-9)


def test_reinhard_of_one_odd_pixel_in_a_large_flat_foreground() -> None:
    """It lies hundreds of deviations off the mean; the power of ten that becomes of it must stay finite."""
    f = np.full((300_000, 3), 0.5)
    f[0] = 1
    assert np.isfinite(match_deviations(f, np.array([[0.0, 0, 0], [1, 1, 1]]))).all()


PIXELS = st.one_of(arrays(np.uint8, (6, 5, 3)), st.integers(0, 255).map(lambda v: np.full((6, 5, 3), v, np.uint8)))


@pytest.mark.parametrize("name", list(BASELINES))
@settings(max_examples=50)
@given(image=PIXELS, mask=arrays(np.bool_, (6, 5)))
def test_any_picture_and_mask(name: str, image: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]) -> None:
    before = image.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a NaN on its way to uint8 warns
        result = BASELINES[name](image, mask)
    assert result.dtype == np.uint8 and result.shape == image.shape
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(result[~mask], image[~mask])
    if mask.all() or not mask.any():
        np.testing.assert_array_equal(result, image)


@settings(max_examples=100)
@given(
    foreground=arrays(np.uint8, st.tuples(st.integers(1, 4), st.just(3))),
    background=arrays(np.uint8, st.tuples(st.integers(1, 4), st.just(3))),
)
def test_few_pixels_give_finite_colours(foreground: npt.NDArray[np.uint8], background: npt.NDArray[np.uint8]) -> None:
    for match in (match_deviations, match_covariances):
        assert np.isfinite(match(foreground / 255, background / 255)).all()


def test_pictures_are_matched_inside_the_mask() -> None:
    f, b = clouds(6)
    mask = np.zeros((20, 25), bool)
    mask.flat[:200] = True
    image = np.zeros((20, 25, 3), np.uint8)
    image[mask], image[~mask] = np.rint(f * 255), np.rint(b * 255)
    for method, match in ((reinhard, match_deviations), (mkl, match_covariances)):
        expected = np.rint(match(image[mask] / 255, image[~mask] / 255).clip(0, 1) * 255)
        np.testing.assert_array_equal(method(image, mask)[mask], expected)
        assert (method(image, mask)[mask] != image[mask]).any()
    np.testing.assert_array_equal(composite(image, mask), image)
