"""One generated picture: a thing on a background, among clutter, under uneven light, through a camera."""

import math

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from alexnet.train.data import shapes, surfaces
from alexnet.train.data.shapes import Points, Shape
from alexnet.train.data.surfaces import Rng

BACKGROUNDS = ("plain", "gradient", "stripes", "checks", "tiles", "noise", "noise", "horizon")
FILLS = ("plain", "plain", "gradient", "stripes", "checks", "noise")
DETAIL_FILLS = ("plain", "gradient")

SMALLEST, LARGEST = 0.35, 0.85
"""Range of a thing's longer side, as a share of the picture's shorter side."""


def picture_size(rng: Rng, size: int) -> tuple[int, int]:
    """Draw (width, height): the shorter side is `size`, the longer up to 1.5 times as long."""
    longer = round(size * rng.uniform(1.0, 1.5))
    return (longer, size) if rng.random() < 0.5 else (size, longer)


def compose(rng: Rng, thing: list[Shape], width: int, height: int) -> Image.Image:
    """Draw the thing's picture, RGB. What is random is drawn from `rng` in the same order at every size."""
    colours = surfaces.palette(rng)
    picture = surfaces.surface(rng, width, height, colours.background, BACKGROUNDS)
    picture.paste(*_clutter(rng, width, height, number=int(rng.integers(0, 9)), largest=0.09))
    _place(rng, picture, thing, colours)
    picture.paste(*_clutter(rng, width, height, number=int(rng.integers(0, 5)), largest=0.035))
    return _photograph(rng, _light(rng, picture))


def _place(rng: Rng, picture: Image.Image, thing: list[Shape], colours: surfaces.Palette) -> None:
    """Draw the thing somewhere in the central square, so that centre cropping keeps it."""
    width, height = picture.size
    side = min(width, height)
    extent = rng.uniform(SMALLEST, LARGEST) * side
    x, y = rng.uniform(-0.5, 0.5, 2) * (side - extent)
    placed = shapes.arrange(
        thing,
        degrees=rng.uniform(-30, 30),
        mirrored=bool(rng.random() < 0.5),
        extent=extent,
        centre=(width / 2 + x, height / 2 + y),
    )
    inside, *masks = shapes.masks(placed, width, height)
    fills = [
        surfaces.surface(rng, width, height, colours.thing, FILLS),
        surfaces.surface(rng, width, height, colours.accent, DETAIL_FILLS),
        surfaces.surface(rng, width, height, colours.trim, DETAIL_FILLS),
    ]
    outlined, shadowed = rng.random() < 0.3, rng.random() < 0.3
    outline = _bytes(surfaces.colour(rng, 0.0, 1.0))
    fall = rng.uniform(-0.04, 0.04, 2) * side
    if shadowed:
        shadow = Image.new("L", picture.size)
        shadow.paste(inside.point([level // 2 for level in range(256)]), (round(fall[0]), round(fall[1])))
        picture.paste((0, 0, 0), mask=shadow.filter(ImageFilter.BoxBlur(side / 64)))
    if outlined:
        picture.paste(outline, mask=inside.filter(ImageFilter.MaxFilter(2 * max(1, round(side / 128)) + 1)))
    for fill, mask in zip(fills, masks, strict=True):
        picture.paste(fill, mask=mask)


def _clutter(
    rng: Rng, width: int, height: int, *, number: int, largest: float
) -> tuple[Image.Image, tuple[int, int], Image.Image]:
    """Draw small polygons and lines of any colour: what `Image.paste` takes to lay them on a picture."""
    side = min(width, height)
    pieces: list[Points] = []
    inks: list[tuple[int, int, int]] = []
    for _ in range(number):
        middle = rng.uniform(0, 1, 2) * (width, height)
        radius = rng.uniform(0.3, 1) * largest
        corners = int(rng.integers(2, 9))
        angles = np.sort(rng.uniform(0, 2 * math.pi, corners))
        points = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        if corners == 2:
            (x0, y0), (x1, y1) = points * rng.uniform(1, 5)
            parts = [shape.points for shape in shapes.stroke([(x0, y0), (x1, y1)], 0.2 * largest)]
        else:
            parts = [points]
        pieces += [part * side + middle for part in parts]
        inks += [_bytes(surfaces.colour(rng, 0.0, 1.0))] * len(parts)
    layer = shapes.overlay(pieces, inks, width, height)
    return layer, (0, 0), layer


def _light(rng: Rng, picture: Image.Image) -> Image.Image:
    """Lay a gradient of light over the picture and, on some, the soft shadow of something outside it."""
    width, height = picture.size
    side = min(width, height)
    darkest = rng.uniform(0.45, 1.0)
    light = 1 - (1 - darkest) * surfaces.texture(rng, "gradient", width, height)
    across, along = surfaces.direction(rng)
    place, softness, depth = rng.uniform(-0.4, 0.4), rng.uniform(0.01, 0.2), rng.uniform(0.2, 0.5)
    if rng.random() < 0.4:
        x = (np.arange(width, dtype=np.float32) - width / 2)[None, :] / side
        y = (np.arange(height, dtype=np.float32) - height / 2)[:, None] / side
        light = light * (1 - depth * np.clip((x * across + y * along - place) / softness, 0, 1))
    shade = Image.fromarray(np.rint(light * 255).astype(np.uint8))
    return ImageChops.multiply(picture, Image.merge("RGB", (shade, shade, shade)))


def _photograph(rng: Rng, picture: Image.Image) -> Image.Image:
    """Give the picture a camera's exposure, gamma, blur and sensor noise."""
    width, height = picture.size
    gamma, gain = round(rng.uniform(0.6, 1.5), 3), rng.uniform(0.8, 1.25)
    table = [min(255, round(255 * gain * (level / 255) ** gamma)) for level in range(256)]
    picture = picture.point(table * 3)
    blur, deviation = rng.uniform(0, 0.008) * min(width, height), rng.uniform(0, 8)
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(blur))
    # The only draw whose length depends on the size, and so the last.
    grain = rng.standard_normal((height, width, 3), dtype=np.float32) * np.float32(deviation)
    noisy = np.asarray(picture, dtype=np.float32) + grain
    return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


def _bytes(colour: surfaces.Colour) -> tuple[int, int, int]:
    red, green, blue = (min(255, max(0, round(255 * value))) for value in colour)
    return red, green, blue
