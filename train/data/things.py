"""The ten things of the generated pictures, each a function from a random generator to its shapes.

A thing is drawn upright in a box of about -1..1 in x and y, y downwards; its place, size and turn are the
picture's business (`alexnet.train.data.shapes.arrange`). Each varies within its class, so that what its
pictures have in common is the kind of thing and not one outline.
"""

import math
from collections.abc import Callable

import numpy as np

from alexnet.train.data.shapes import (
    ACCENT,
    GAP,
    PAINT,
    TRIM,
    Point,
    Shape,
    arc,
    box,
    disc,
    ellipse,
    polygon,
    stroke,
)

Rng = np.random.Generator


def bicycle(rng: Rng) -> list[Shape]:
    """Two spoked wheels, a diamond frame, a saddle and a handlebar."""
    radius, width = rng.uniform(0.38, 0.46), rng.uniform(0.09, 0.13)
    rear, front, y = -0.56, 0.56, 0.3
    shapes: list[Shape] = []
    spokes, turn = int(rng.integers(0, 4)), rng.uniform(0, 180)
    for x in (rear, front):
        shapes += [disc(x, y, radius), disc(x, y, radius - width, GAP)]
        for spoke in range(spokes):
            angle = turn + 180 * spoke / spokes
            ends = arc(x, y, radius - width / 2, angle, angle + 180)
            shapes += stroke([ends[0], ends[-1]], width * 0.4)
    seat = (-0.25 + rng.uniform(-0.05, 0.05), -0.3 + rng.uniform(-0.08, 0.05))
    head = (0.38 + rng.uniform(-0.05, 0.05), -0.35 + rng.uniform(-0.08, 0.05))
    pedal = (-0.08, y + 0.03)
    for line in ([(rear, y), seat, pedal, (rear, y)], [seat, head], [pedal, head], [head, (front, y)]):
        shapes += stroke(line, width)
    shapes += stroke([seat, (seat[0] - 0.04, seat[1] - 0.16)], width)
    shapes.append(ellipse(seat[0] - 0.06, seat[1] - 0.2, 0.2, 0.075, ACCENT))
    bar = (head[0] - 0.03, head[1] - 0.22)
    reach = rng.choice([-0.2, 0.2])
    shapes += stroke([head, bar], width)
    shapes += stroke([bar, (bar[0] + reach, bar[1] + rng.uniform(0, 0.12))], width, ACCENT)
    return shapes


def butterfly(rng: Rng) -> list[Shape]:
    """Four wings with spots, mirrored about a slender body with two feelers."""
    tilt, long, broad = rng.uniform(25, 45), rng.uniform(0.5, 0.6), rng.uniform(0.3, 0.4)
    lower, spot, spots = rng.uniform(0.3, 0.42), rng.uniform(0.08, 0.15), int(rng.integers(0, 3))
    pointed = rng.random() < 0.5
    shapes: list[Shape] = []
    for side in (-1, 1):
        if pointed:
            shapes.append(polygon([(0, 0.05), (side * 0.9, -0.8), (side * 1.0, -0.55), (side * 0.75, 0.1)]))
        shapes.append(ellipse(side * 0.5, -0.33, long, broad, tilt=-side * tilt))
        shapes.append(ellipse(side * 0.38, 0.4, lower, lower * rng.uniform(0.95, 1.05), tilt=side * tilt))
    for side in (-1, 1):
        if spots > 0:
            shapes.append(disc(side * 0.58, -0.38, spot * 1.4, TRIM))
        if spots > 1:
            shapes.append(disc(side * 0.42, 0.43, spot, TRIM))
        shapes += stroke([(0, -0.45), (side * 0.12, -0.75), (side * 0.28, -0.9)], 0.06, ACCENT)
    return [*shapes, ellipse(0, 0.05, 0.1, 0.62, ACCENT)]


def clock(rng: Rng) -> list[Shape]:
    """A round face with a rim, hour marks and two hands; some have bells and feet."""
    rim, face = rng.uniform(0.1, 0.2), (TRIM, PAINT) if rng.random() < 0.5 else (PAINT, TRIM)
    shapes: list[Shape] = []
    if rng.random() < 0.4:
        for side in (-1, 1):
            shapes.append(disc(side * 0.55, -0.72, 0.28))
            shapes += stroke([(side * 0.5, 0.6), (side * 0.72, 0.98)], 0.16)
    shapes += [disc(0, 0, 0.9, face[0]), disc(0, 0, 0.9 - rim, face[1])]
    for hour in range(0, 12, int(rng.choice([1, 3]))):
        outer, inner = (arc(0, 0, 0.9 - rim - gap, 30 * hour, 30 * hour)[0] for gap in (0.06, 0.17))
        shapes += stroke([outer, inner], 0.08, face[0])
    long, short = rng.uniform(0, 360, 2)
    if abs((long - short + 180) % 360 - 180) < 25:
        short = long + 90
    shapes += stroke([(0, 0), arc(0, 0, 0.55, long, long)[0]], 0.1, face[0])
    shapes += stroke([(0, 0), arc(0, 0, 0.36, short, short)[0]], 0.14, face[0])
    return shapes


def fish(rng: Rng) -> list[Shape]:
    """A pointed oval body with a forked tail, fins, an eye and a gill, perhaps striped."""
    high, tail = rng.uniform(0.36, 0.5), rng.uniform(0.32, 0.48)
    across = np.linspace(0, math.pi, 13)
    back = [(-0.35 - 0.62 * math.cos(a) + 0.2, -high * math.sin(a) ** 1.2) for a in across]
    belly = [(x, -y * 0.9) for x, y in reversed(back)]
    shapes = [
        polygon([(0.3, 0), (0.98, -tail), (0.98 - rng.uniform(0.1, 0.25), 0), (0.98, tail)]),
        polygon([(-0.45, -high * 0.7), (-0.05, -high - rng.uniform(0.15, 0.3)), (0.2, -high * 0.5)]),
        polygon([(-0.2, high * 0.6), (0.1, high + rng.uniform(0.08, 0.22)), (0.15, high * 0.4)]),
        polygon(back + belly),
    ]
    for x in np.linspace(-0.2, 0.2, int(rng.integers(0, 4))):
        shapes += stroke([(x, -high * 0.6), (x + 0.05, 0), (x, high * 0.55)], 0.08, TRIM)
    shapes += stroke(arc(-0.62, 0, 0.26, -50, 50), 0.05, TRIM)
    return [*shapes, disc(-0.56, -0.1, rng.uniform(0.07, 0.1), TRIM)]


def house(rng: Rng) -> list[Shape]:
    """Walls under a pitched roof, with a door, one or two windows and perhaps a chimney."""
    half, eaves, wall = rng.uniform(0.6, 0.8), rng.uniform(0.08, 0.2), rng.uniform(-0.2, 0.05)
    shapes: list[Shape] = []
    if rng.random() < 0.6:
        x = half * rng.uniform(0.4, 0.6)
        shapes.append(box(x - 0.1, -0.85, x + 0.12, wall))
    shapes.append(box(-half, wall, half, 0.85))
    ridge = rng.choice([0.0, half * 0.35])
    roof = [(-half - eaves, wall), (-ridge, -0.9), (ridge, -0.9), (half + eaves, wall)]
    shapes.append(polygon(roof, ACCENT if rng.random() < 0.3 else PAINT))
    door = rng.choice([-0.5, 0.0, 0.5]) * half
    shapes.append(box(door - 0.13, 0.85 - rng.uniform(0.4, 0.5), door + 0.13, 0.85, TRIM))
    places = {-1: (0.35,), 0: (-0.6, 0.6), 1: (-0.35,)}[int(np.sign(door))]
    for place in places:
        shapes.append(box(place * half - 0.15, wall + 0.18, place * half + 0.15, wall + 0.46, TRIM))
        if rng.random() < 0.5:
            shapes += stroke([(place * half, wall + 0.18), (place * half, wall + 0.46)], 0.05)
    return shapes


def key(rng: Rng) -> list[Shape]:
    """A bow with a hole, a shaft and two or three teeth."""
    radius, width = rng.uniform(0.32, 0.42), rng.uniform(0.13, 0.18)
    x = radius - 1
    hole = radius * rng.uniform(0.45, 0.65)
    kind = int(rng.integers(0, 3))
    if kind == 0:
        shapes = [disc(x, 0, radius), disc(x, 0, hole, GAP)]
    elif kind == 1:
        r = radius * 0.9
        shapes = [box(x - r, -r, x + r, r), box(x - hole * 0.8, -hole * 0.8, x + hole * 0.8, hole * 0.8, GAP)]
    else:
        leaves = [arc(x, 0, radius * 0.62, angle, angle)[0] for angle in (90, 180, 270)]
        shapes = [disc(*leaf, radius * 0.55) for leaf in leaves]
        shapes += [disc(*leaf, radius * 0.25, GAP) for leaf in leaves]
    shapes += stroke([(x + radius - width / 4, 0), (1 - width / 2, 0)], width)
    teeth = int(rng.integers(2, 4))
    for tooth in range(teeth):
        left = 1 - (tooth + 0.5) * 0.2 - 0.08
        shapes.append(box(left, 0, left + 0.12, rng.uniform(0.25, 0.42)))
    if rng.random() < 0.4:
        shapes.append(box(x + radius + 0.05, -width * 0.8, x + radius + 0.13, width * 0.8, ACCENT))
    return shapes


def ladder(rng: Rng) -> list[Shape]:
    """Two rails, parallel or drawing together, joined by four to seven rungs."""
    foot = rng.uniform(0.32, 0.45)
    top, width = foot * rng.uniform(0.6, 1.0), rng.uniform(0.1, 0.15)
    shapes: list[Shape] = []
    rungs = int(rng.integers(4, 8))
    ink = ACCENT if rng.random() < 0.3 else PAINT
    for rung in range(rungs):
        y = -0.95 + 1.9 * (rung + 0.5) / rungs
        half = top + (foot - top) * (y + 1) / 2
        shapes += stroke([(-half, y), (half, y)], width * 0.85, ink)
    for side in (-1, 1):
        shapes += stroke([(side * top, -1), (side * foot, 1)], width)
    return shapes


def mug(rng: Rng) -> list[Shape]:
    """A cup with an ear, an open rim, and perhaps a band or a dot."""
    half, foot, high = rng.uniform(0.48, 0.6), rng.uniform(0.4, 0.5), rng.uniform(0.6, 0.8)
    left, lid = -0.25, rng.uniform(0.12, 0.18)
    reach, width = rng.uniform(0.34, 0.42), rng.uniform(0.12, 0.18)
    ear = (left + (half + foot) / 2 - 0.02, 0.0)
    shapes = stroke([(ear[0] + dx * 1.1, dy) for dx, dy in arc(0, 0, reach, -100, 100)], width)
    across = np.linspace(0, math.pi, 13)
    bottom = [(left + foot * math.cos(a), high - 0.08 + 0.14 * math.sin(a)) for a in across]
    shapes.append(polygon([(left - half, -high), (left + half, -high), *bottom]))
    shapes.append(ellipse(left, -high, half, lid))
    shapes.append(ellipse(left, -high, half - 0.08, lid - 0.05, TRIM))
    decoration = int(rng.integers(0, 3))
    if decoration == 1:
        y = rng.uniform(-0.1, 0.3)
        shapes.append(box(left - foot * 1.02, y, left + foot * 1.02, y + rng.uniform(0.1, 0.2), TRIM))
    elif decoration == 2:
        shapes.append(disc(left, rng.uniform(-0.05, 0.2), rng.uniform(0.12, 0.22), TRIM))
    return shapes


def tree(rng: Rng) -> list[Shape]:
    """A trunk under a crown that is round, pointed in tiers, or a cluster of leaves."""
    trunk, kind = rng.uniform(0.09, 0.15), int(rng.integers(0, 3))
    foot = trunk * rng.uniform(1.2, 1.8)
    ink = ACCENT if rng.random() < 0.4 else PAINT
    shapes = [polygon([(-trunk, 0), (trunk, 0), (foot, 1), (-foot, 1)], ink)]
    if kind == 0:
        shapes.append(ellipse(0, -0.3, rng.uniform(0.55, 0.75), rng.uniform(0.6, 0.7)))
    elif kind == 1:
        tiers, broad = int(rng.integers(2, 4)), rng.uniform(0.55, 0.7)
        for tier in range(tiers):
            share = (tiers - tier) / tiers
            y = 0.5 - 1.1 * tier / tiers
            half = broad * (0.4 + 0.6 * share)
            shapes.append(polygon([(-half, y), (half, y), (0, y - 0.95 + 0.1 * tier)]))
    else:
        middle: Point = (0.0, -0.35)
        shapes.append(disc(*middle, 0.42))
        turn = rng.uniform(0, 60)
        for leaf in range(6):
            x, y = arc(*middle, 0.36, turn + 60 * leaf, turn + 60 * leaf)[0]
            shapes.append(disc(x * 1.15, y, rng.uniform(0.24, 0.34)))
    return shapes


def umbrella(rng: Rng) -> list[Shape]:
    """A scalloped dome with ribs over a shaft that ends in a hook."""
    high, scallops, width = rng.uniform(0.7, 0.9), int(rng.integers(3, 6)), rng.uniform(0.1, 0.14)
    base = 0.0
    shaft = ACCENT if rng.random() < 0.4 else PAINT
    hook = rng.uniform(0.14, 0.2)
    shapes = stroke([(0, base - high - 0.12), (0, 0.8), *arc(hook, 0.8, hook, 180, 0)], width, shaft)
    dome = [(math.cos(a), base + high * math.sin(a)) for a in np.linspace(-math.pi, 0, 25)]
    edge: list[Point] = []
    half = 1 / scallops
    for scallop in range(scallops):
        middle = 1 - (2 * scallop + 1) * half
        edge += [(middle + half * math.cos(a), base - 0.16 * math.sin(a)) for a in np.linspace(0, math.pi, 9)]
    shapes.append(polygon(dome + edge))
    if rng.random() < 0.6:
        for rib in range(1, scallops):
            x = -1 + 2 * rib * half
            shapes += stroke([(0, base - high), (x * 0.75, base - high * 0.5), (x, base - 0.03)], 0.05, TRIM)
    return shapes


THINGS: dict[str, Callable[[Rng], list[Shape]]] = {
    "bicycle": bicycle,
    "butterfly": butterfly,
    "clock": clock,
    "fish": fish,
    "house": house,
    "key": key,
    "ladder": ladder,
    "mug": mug,
    "tree": tree,
    "umbrella": umbrella,
}
"""The classes in the order of their labels, which is alphabetical as in every ImageFolder."""
