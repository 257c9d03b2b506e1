"""Polygons in the plane: what the things and the clutter of generated pictures are made of."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

GAP = 0
"""Ink that lets the background through again, such as the inside of a wheel."""
PAINT = 1
"""Ink of the thing's main surface."""
ACCENT = 2
"""Ink of parts of the thing that stand beside the main surface, such as a trunk or a saddle."""
TRIM = 3
"""Ink of details on the main surface, such as windows and hands, of another brightness."""

SUPERSAMPLING = 3
"""Shapes are drawn this many times larger than the picture, and averaged down."""

Points = NDArray[np.float64]
Point = tuple[float, float]


@dataclass(frozen=True)
class Shape:
    """A filled polygon: `points` [corners, 2] as (x, y), y downwards, and the `ink` that fills it."""

    points: Points
    ink: int


def polygon(points: Sequence[Point], ink: int = PAINT) -> Shape:
    """Fill the polygon with the given corners."""
    return Shape(np.array(points, dtype=np.float64), ink)


def box(left: float, top: float, right: float, bottom: float, ink: int = PAINT) -> Shape:
    """Fill an upright rectangle."""
    return polygon([(left, top), (right, top), (right, bottom), (left, bottom)], ink)


def ellipse(x: float, y: float, radius_x: float, radius_y: float, ink: int = PAINT, *, tilt: float = 0.0) -> Shape:
    """Fill an ellipse about (x, y), turned by `tilt` degrees."""
    angles = np.linspace(0, 2 * math.pi, 36, endpoint=False)
    points = np.stack([radius_x * np.cos(angles), radius_y * np.sin(angles)], axis=1)
    return Shape(points @ rotation(tilt) + (x, y), ink)


def disc(x: float, y: float, radius: float, ink: int = PAINT) -> Shape:
    """Fill a circle."""
    return ellipse(x, y, radius, radius, ink)


def stroke(points: Sequence[Point], width: float, ink: int = PAINT) -> list[Shape]:
    """Draw a line of the given width through the points, with round joints and ends."""
    half = width / 2
    shapes = [disc(x, y, half, ink) for x, y in points]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        length = math.hypot(x1 - x0, y1 - y0)
        if length > 0:
            dx, dy = half * (y0 - y1) / length, half * (x1 - x0) / length
            corners = [(x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy), (x0 - dx, y0 - dy)]
            shapes.append(polygon(corners, ink))
    return shapes


def arc(x: float, y: float, radius: float, start: float, end: float) -> list[Point]:
    """Twelve steps along a circle from `start` to `end` degrees; 0 is to the right, 90 is down."""
    angles = np.radians(np.linspace(start, end, 13))
    return [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]


def rotation(degrees: float) -> Points:
    """The matrix [2, 2] that turns row vectors by `degrees`."""
    angle = math.radians(degrees)
    return np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])


def arrange(shapes: Sequence[Shape], *, degrees: float, mirrored: bool, extent: float, centre: Point) -> list[Shape]:
    """Turn, mirror, scale and move shapes together.

    The bounding box of the result has its longer side `extent` and its middle at `centre`, so that
    neither the size nor the place of a thing depends on how its outline was written down.
    """
    matrix = np.diag([-1.0 if mirrored else 1.0, 1.0]) @ rotation(degrees)
    turned = [shape.points @ matrix for shape in shapes]
    everything = np.concatenate(turned)
    low, high = everything.min(axis=0), everything.max(axis=0)
    scale = extent / float((high - low).max())
    return [
        Shape((points - (low + high) / 2) * scale + centre, shape.ink)
        for points, shape in zip(turned, shapes, strict=True)
    ]


def masks(shapes: Sequence[Shape], width: int, height: int) -> list[Image.Image]:
    """Draw shapes in order and return four antialiased masks (mode L, 255 inside).

    The first is that of all ink together, those that follow are PAINT's, ACCENT's and TRIM's.
    """
    inks = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING), GAP)
    draw = ImageDraw.Draw(inks)
    for shape in shapes:
        draw.polygon(_pixels(shape.points), fill=shape.ink)
    groups: list[tuple[int, ...]] = [(PAINT, ACCENT, TRIM), (PAINT,), (ACCENT,), (TRIM,)]
    # `point` looks every pixel's ink up in a table of 256 entries.
    return [inks.point([255 * (ink in group) for ink in range(256)]).reduce(SUPERSAMPLING) for group in groups]


def overlay(shapes: Sequence[Points], colours: Sequence[tuple[int, int, int]], width: int, height: int) -> Image.Image:
    """Draw polygons in their colours (RGB, 0..255) over nothing: an antialiased RGBA image."""
    image = Image.new("RGBA", (width * SUPERSAMPLING, height * SUPERSAMPLING))
    draw = ImageDraw.Draw(image)
    for points, colour in zip(shapes, colours, strict=True):
        draw.polygon(_pixels(points), fill=(*colour, 255))
    return image.reduce(SUPERSAMPLING)


def _pixels(points: Points) -> list[Point]:
    # Whole supersampled pixels, so that the last bits of sines and cosines cannot show.
    return [(int(x), int(y)) for x, y in np.rint(points * SUPERSAMPLING)]
