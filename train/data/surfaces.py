"""Colours and textures of the generated pictures: plain, gradient, stripes, checks, tiles, noise, horizon.

None of it knows the class of what is drawn, so that colour and texture carry no information about it.

Only additions, products and remainders touch the pixels, and angles come from `direction`, so that the same
numbers come out on every platform.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Rng = np.random.Generator
Colour = tuple[float, float, float]
Plane = NDArray[np.floating]

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in brightness (ITU-R BT.601)."""


@dataclass(frozen=True)
class Palette:
    """Two colours each (RGB, 0..1) for the thing, its parts, its details and the background.

    The thing is darker than the background or lighter, as often the one as the other.
    """

    thing: tuple[Colour, Colour]
    accent: tuple[Colour, Colour]
    trim: tuple[Colour, Colour]
    background: tuple[Colour, Colour]


def palette(rng: Rng) -> Palette:
    """Draw colours of any hue, with a gap in brightness between the thing and what is behind it."""
    middle, gap = rng.uniform(0.38, 0.62), rng.uniform(0.2, 0.4)
    dark, light = (0.06, middle - gap / 2), (middle + gap / 2, 0.96)
    thing, background = (dark, light) if rng.random() < 0.5 else (light, dark)
    return Palette(
        thing=(colour(rng, *thing), colour(rng, *thing)),
        accent=(colour(rng, *thing), colour(rng, *thing)),
        trim=(colour(rng, *background), colour(rng, *background)),
        background=(colour(rng, *background), colour(rng, *background)),
    )


def colour(rng: Rng, darkest: float, lightest: float) -> Colour:
    """Draw a colour of any hue (RGB, 0..1) with a brightness between the two given."""
    brightness, saturation = rng.uniform(darkest, lightest), rng.uniform(0.0, 1.0)
    tint = rng.uniform(0, 1, 3)
    offset = tint - (LUMA[0] * tint[0] + LUMA[1] * tint[1] + LUMA[2] * tint[2])
    # As much of the tint as fits into 0..1 without changing the brightness.
    room = np.where(offset > 0, 1 - brightness, brightness) / np.maximum(np.abs(offset), 1e-6)
    red, green, blue = brightness + offset * saturation * min(1.5, float(room.min()))
    return float(red), float(green), float(blue)


def direction(rng: Rng) -> tuple[float, float]:
    """Draw a unit vector (x, y) of any angle, rounded so that no platform's last bits show."""
    angle = rng.uniform(0, 2 * math.pi)
    return round(math.cos(angle), 6), round(math.sin(angle), 6)


def surface(rng: Rng, width: int, height: int, colours: tuple[Colour, Colour], kinds: tuple[str, ...]) -> Image.Image:
    """Draw an RGB image of one of the `kinds` of texture in two colours.

    Kinds: plain, gradient, stripes, checks, tiles, noise and horizon. Lengths are shares of the
    shorter side, so that a picture looks the same at every size.
    """
    kind = kinds[int(rng.integers(len(kinds)))]
    first, second = (np.array(c, dtype=np.float32) * 255 for c in colours)
    mix = texture(rng, kind, width, height)[:, :, None]
    return Image.fromarray(np.rint(first + (second - first) * mix).astype(np.uint8))


def texture(rng: Rng, kind: str, width: int, height: int) -> Plane:
    """Draw how much of the second colour shows at each pixel: [height, width], 0..1."""
    side = min(width, height)
    if kind == "plain":
        return np.zeros((height, width), dtype=np.float32)
    if kind == "noise":
        return noise(rng, width, height, cells=int(rng.integers(3, 16)))
    across, along = direction(rng)
    x = (np.arange(width, dtype=np.float32) / side)[None, :]
    y = (np.arange(height, dtype=np.float32) / side)[:, None]
    u, v = x * across + y * along, y * across - x * along
    if kind == "gradient":
        gradient: Plane = (u - u.min()) / (u.max() - u.min())
        return gradient
    if kind == "horizon":
        level, slope = rng.uniform(0.3, 0.7), rng.uniform(-0.15, 0.15)
        return _edge(y - level * height / side - slope * (x - 0.5), side)
    period = rng.uniform(0.06, 0.25)
    if kind == "stripes":
        return _stripes(u, period, rng.uniform(0.3, 0.7), side)
    if kind == "checks":
        first, second = _stripes(u, period, 0.5, side), _stripes(v, period, 0.5, side)
        checks: Plane = first + second - 2 * first * second
        return checks
    if kind == "tiles":
        from_middle = np.sqrt((u % period - period / 2) ** 2 + (v % period - period / 2) ** 2)
        return _edge(period * rng.uniform(0.2, 0.4) - from_middle, side)
    raise ValueError(f"no texture is called {kind}")


def noise(rng: Rng, width: int, height: int, *, cells: int) -> Plane:
    """Draw smooth noise, [height, width] in 0..1, from a grid with `cells` random values along each side."""
    grid = Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
    return np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32) / 255


def _edge(distance: Plane, side: int) -> Plane:
    """Turn signed distances, in shares of the shorter side, into 0 or 1 with an edge of one pixel."""
    inside: Plane = np.clip(distance * side + 0.5, 0, 1).astype(np.float32)
    return inside


def _stripes(u: Plane, period: float, share: float, side: int) -> Plane:
    """Stripes across `u`, of which the second colour takes `share`."""
    return _edge(np.abs(u % period - period / 2) - (1 - share) * period / 2, side)
