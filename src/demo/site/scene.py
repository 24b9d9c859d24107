"""A small landscape painter: a canvas under a sky, and methods that paint one thing each.

`draw.py` beside this file uses it to draw the pictures of the demonstration site. Lengths are in
the picture's own pixels, y downwards. Everything is painted at `OVERSAMPLE` times that size and
shrunk at the end, which is what makes the edges smooth.
"""

import math
import random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

OVERSAMPLE = 3

COLOURS = {
    "red": (214, 48, 49),
    "orange": (240, 132, 32),
    "yellow": (250, 204, 46),
    "green": (56, 158, 84),
    "blue": (42, 104, 206),
    "purple": (128, 68, 170),
    "pink": (240, 120, 170),
    "white": (246, 246, 242),
    "black": (44, 46, 56),
    "brown": (122, 82, 52),
}

# From the top of the sky to the horizon.
SKIES = {
    "day": [(54, 132, 214), (140, 196, 240), (226, 242, 250)],
    "dawn": [(104, 124, 190), (236, 176, 172), (255, 230, 190)],
    "sunset": [(64, 46, 112), (216, 92, 106), (255, 188, 104)],
    "night": [(6, 10, 34), (20, 32, 78), (48, 66, 122)],
    "grey": [(122, 134, 146), (170, 182, 190), (212, 218, 222)],
}


def mix(first, second, share):
    """The colour `share` of the way from `first` to `second`."""
    return tuple(round(a + (b - a) * share) for a, b in zip(first, second))


def lighter(colour, share=0.35):
    return mix(colour, (255, 255, 255), share)


def darker(colour, share=0.3):
    return mix(colour, (10, 10, 30), share)


class Scene:
    """A canvas under a sky; each method paints one thing over what is there."""

    def __init__(self, name, width=480, height=320, sky="day"):
        self.width, self.height, self.sky_name = width, height, sky
        self.random = random.Random(name)
        self.horizon = height * 0.68
        self.stops = SKIES[sky]
        self.image = Image.new("RGB", (width * OVERSAMPLE, height * OVERSAMPLE))
        self._gradient_column(self.stops, 0, height * 0.8)

    def _gradient_column(self, stops, top, bottom):
        column = Image.new("RGB", (1, self.image.height))
        for row in range(column.height):
            place = (row / OVERSAMPLE - top) / (bottom - top)
            place = min(max(place, 0.0), 1.0) * (len(stops) - 1)
            below = min(int(place), len(stops) - 2)
            column.putpixel((0, row), mix(stops[below], stops[below + 1], place - below))
        self.image.paste(column.resize(self.image.size))

    def mask(self, paint, blur=0.0):
        """What `paint(draw)` paints in white, softened by `blur` pixels."""
        mask = Image.new("L", self.image.size)
        paint(ImageDraw.Draw(mask))
        if blur:
            mask = mask.filter(ImageFilter.GaussianBlur(blur * OVERSAMPLE))
        return mask

    def fill(self, mask, top, bottom=None, opacity=1.0):
        """Fills the mask with a gradient from `top` to `bottom` over the mask's own height."""
        box = mask.getbbox()
        if box is None:
            return
        if opacity < 1.0:
            mask = mask.point(lambda value: value * opacity)
        ramp = Image.linear_gradient("L").resize((box[2] - box[0], box[3] - box[1]))
        upper = Image.new("RGB", ramp.size, top)
        lower = Image.new("RGB", ramp.size, bottom or top)
        self.image.paste(Image.composite(lower, upper, ramp), box[:2], mask.crop(box))

    def polygon(self, points, top, bottom=None, blur=0.0, opacity=1.0):
        scaled = [(x * OVERSAMPLE, y * OVERSAMPLE) for x, y in points]
        self.fill(self.mask(lambda d: d.polygon(scaled, fill=255), blur), top, bottom, opacity)

    def disc(self, x, y, radius, top, bottom=None, blur=0.0, opacity=1.0, squash=1.0):
        box = [(x - radius) * OVERSAMPLE, (y - radius * squash) * OVERSAMPLE]
        box += [(x + radius) * OVERSAMPLE, (y + radius * squash) * OVERSAMPLE]
        self.fill(self.mask(lambda d: d.ellipse(box, fill=255), blur), top, bottom, opacity)

    def stroke(self, points, colour, width=1.2, opacity=1.0):
        scaled = [(x * OVERSAMPLE, y * OVERSAMPLE) for x, y in points]
        pen = max(1, round(width * OVERSAMPLE))
        mask = self.mask(lambda d: d.line(scaled, fill=255, width=pen, joint="curve"))
        self.fill(mask, colour, None, opacity)

    # The sky and what stands in it by itself.

    def clouds(self, count, low=0.15, high=0.45):
        for _ in range(count):
            x = self.random.uniform(0.05, 0.95) * self.width
            y = self.random.uniform(low, high) * self.height
            size = self.random.uniform(0.7, 1.2) * self.width / 18
            self.cloud(x, y, size)

    def cloud(self, x, y, size, colour=None):
        light = colour or mix((255, 255, 255), self.stops[-1], 0.25)
        shade = mix(light, self.stops[0], 0.35)
        for offset, tone, opacity in ((size * 0.28, shade, 0.7), (0.0, light, 0.92)):
            puffs = [(-2.0, 0.2, 0.7), (-1.1, -0.15, 1.0), (0.0, -0.4, 1.25), (1.1, -0.1, 1.0), (2.0, 0.2, 0.65)]

            def paint(draw):
                for across, down, radius in puffs:
                    cx, cy, r = x + across * size, y + down * size + offset, radius * size
                    draw.ellipse([v * OVERSAMPLE for v in (cx - r, cy - r * 0.7, cx + r, cy + r * 0.7)], fill=255)

            self.fill(self.mask(paint, size * 0.2), tone, None, opacity)

    def sun(self, x, y, radius, colour=(255, 244, 200)):
        for spread, opacity in ((4.2, 0.22), (2.4, 0.35), (1.5, 0.5)):
            self.disc(x, y, radius * spread, colour, blur=radius * spread * 0.35, opacity=opacity)
        self.disc(x, y, radius, (255, 252, 236), colour)

    def moon(self, x, y, radius, crescent=False):
        self.disc(x, y, radius * 2.2, (170, 186, 236), blur=radius * 0.9, opacity=0.4)
        box = [v * OVERSAMPLE for v in (x - radius, y - radius, x + radius, y + radius)]
        disc = self.mask(lambda d: d.ellipse(box, fill=255))
        if crescent:
            shift = radius * 0.55 * OVERSAMPLE
            moved = [box[0] + shift, box[1] - shift * 0.35, box[2] + shift, box[3] - shift * 0.35]
            disc = ImageChops.subtract(disc, self.mask(lambda d: d.ellipse(moved, fill=255)))
        self.fill(disc, (255, 253, 236), (232, 226, 196))
        if not crescent:
            for across, down, size in ((-0.35, -0.2, 0.22), (0.3, 0.25, 0.28), (0.1, -0.5, 0.13), (-0.2, 0.45, 0.16)):
                self.disc(x + across * radius, y + down * radius, size * radius, (206, 200, 176), blur=0.8, opacity=0.7)

    def stars(self, count):
        for _ in range(count):
            x, y = self.random.uniform(0, self.width), self.random.uniform(0, self.horizon)
            radius = self.random.choice((0.6, 0.8, 1.3))
            self.disc(x, y, radius * 2.4, (200, 214, 255), blur=1.2, opacity=0.5)
            self.disc(x, y, radius, (255, 255, 250))

    def rainbow(self, x, y, radius):
        bands = ("red", "orange", "yellow", "green", "blue", "purple")
        for index, name in enumerate(bands):
            outer = radius - index * radius * 0.045
            box = [v * OVERSAMPLE for v in (x - outer, y - outer, x + outer, y + outer)]
            pen = round(radius * 0.055 * OVERSAMPLE)
            self.fill(self.mask(lambda d: d.arc(box, 180, 360, fill=255, width=pen), 1.0), lighter(COLOURS[name], 0.15), opacity=0.62)

    def rain(self, count=90):
        for _ in range(count):
            x, y = self.random.uniform(0, self.width), self.random.uniform(self.height * 0.35, self.height * 0.95)
            self.stroke([(x, y), (x - 3, y + 11)], (226, 236, 246), 0.8, 0.75)

    def snowflakes(self, count=120):
        for _ in range(count):
            x, y = self.random.uniform(0, self.width), self.random.uniform(0, self.height)
            self.disc(x, y, self.random.uniform(1.0, 2.4), (255, 255, 255), blur=0.4, opacity=0.9)

    # The ground.

    def ridge(self, base, swell, top, bottom, jagged=0.0):
        """Fills from a wavy line about `base` down to the bottom edge; returns the line."""
        phase, waves = self.random.uniform(0, 6.3), self.random.uniform(0.9, 1.7)
        line = []
        for step in range(0, 61):
            x = self.width * step / 60
            angle = phase + waves * 2 * math.pi * step / 60
            y = base + swell * (math.sin(angle) + 0.35 * math.sin(2.3 * angle + 1.0))
            line.append((x, y + self.random.uniform(-jagged, jagged)))
        self.polygon(line + [(self.width, self.height), (0, self.height)], top, bottom)
        return line

    def hills(self, name="blue"):
        near = {"blue": (52, 84, 140), "green": (70, 132, 70), "purple": (96, 70, 130)}[name]
        for depth in range(4):
            tone = mix(mix(near, self.stops[-1], 0.68), near, depth / 3)
            base = self.horizon + self.height * (-0.06 + 0.105 * depth)
            self.ridge(base, self.height * 0.035, lighter(tone, 0.12), darker(tone, 0.12))

    def sea(self, level=None):
        level = level or self.horizon
        deep = mix((22, 86, 134), self.stops[0], 0.35)
        pale = mix((120, 186, 206), self.stops[-1], 0.55)
        box = [(0, level), (self.width, level), (self.width, self.height), (0, self.height)]
        self.polygon(box, pale, deep)
        for _ in range(110):
            depth = self.random.random() ** 1.6
            y = level + 2 + depth * (self.height - level)
            x, length = self.random.uniform(0, self.width), 4 + 26 * depth
            self.stroke([(x, y), (x + length, y)], lighter(pale, 0.5), 0.5 + depth, 0.4)

    def beach(self):
        self.sea(self.height * 0.6)
        self.ridge(self.height * 0.80, 5, (250, 244, 226), (250, 244, 226))
        self.ridge(self.height * 0.825, 5, (244, 218, 150), (222, 182, 106))

    def meadow(self, flower="yellow"):
        self.ridge(self.horizon - 8, 6, (120, 172, 110), (96, 156, 88))
        self.ridge(self.height * 0.76, 5, (122, 186, 84), (58, 124, 56))
        for _ in range(150):
            depth = self.random.random()
            x, y = self.random.uniform(0, self.width), self.height * (0.80 + 0.2 * depth)
            if self.random.random() < 0.35:
                self.disc(x, y, 1.2 + 2.2 * depth, lighter(COLOURS[flower], 0.3), COLOURS[flower])
            else:
                self.stroke([(x, y), (x + self.random.uniform(-3, 3), y - 5 - 7 * depth)], (48, 112, 50), 0.9, 0.7)

    def dunes(self):
        for depth, tone in enumerate(((244, 206, 150), (236, 184, 114), (222, 158, 84))):
            base = self.horizon + self.height * (-0.02 + 0.11 * depth)
            self.ridge(base, self.height * 0.045, lighter(tone, 0.25), darker(tone, 0.18))

    def mountains(self, foot=(84, 130, 92)):
        ranges = ((0.20, 0.47, 0.30), (0.82, 0.44, 0.34), (0.50, 0.30, 0.36))
        for centre, peak, half in ranges:
            x, top, reach = centre * self.width, peak * self.height, half * self.width
            base = self.height * 0.82
            rock = mix((88, 102, 136), self.stops[-1], 0.22 if peak < 0.4 else 0.42)
            self.polygon([(x - reach, base), (x, top), (x + reach, base)], lighter(rock, 0.15), rock)
            self.polygon([(x, top), (x + reach, base), (x + reach * 0.12, base)], darker(rock, 0.25), darker(rock, 0.1))
            snow = 0.36
            left, right = (x - reach * snow, top + (base - top) * snow), (x + reach * snow, top + (base - top) * snow)
            teeth = [left]
            for step in range(1, 6):
                across = left[0] + (right[0] - left[0]) * step / 6
                teeth.append((across, left[1] + (9 if step % 2 else -8)))
            self.polygon([(x, top), *teeth, right], (255, 255, 255), (226, 236, 248))
            self.polygon([(x, top), right, (x + reach * 0.18, right[1] - 6), (x + reach * 0.05, right[1] + 2)], (206, 218, 238), (196, 210, 232))
        self.ridge(self.height * 0.80, 6, lighter(foot, 0.2), darker(foot, 0.15))

    def snow(self):
        for depth in range(3):
            tone = mix((206, 222, 242), (250, 252, 255), depth / 2)
            self.ridge(self.horizon + self.height * 0.1 * depth, 8, lighter(tone, 0.5), mix(tone, (176, 196, 226), 0.35))
        for _ in range(7):
            x, size = self.random.uniform(0, self.width), self.random.uniform(22, 40)
            self.fir(x, self.height * self.random.uniform(0.82, 0.9), size)

    def roofs(self):
        x = -10.0
        while x < self.width:
            wide, tall = self.random.uniform(44, 70), self.random.uniform(40, 74)
            self.house(x, self.height, wide, tall, self.random.choice(("red", "orange", "brown")))
            x += wide * 0.96

    def lake(self):
        """Mirrors what stands above the horizon, dimmed and blurred, and adds ripples."""
        split = round(self.horizon * OVERSAMPLE)
        rows = self.image.height - split
        mirror = self.image.crop((0, split - rows, self.image.width, split)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        mirror = mirror.filter(ImageFilter.GaussianBlur(2 * OVERSAMPLE)).point(lambda value: value * 0.82)
        self.image.paste(mirror, (0, split))
        for _ in range(60):
            depth = self.random.random()
            x, y = self.random.uniform(0, self.width), self.horizon + depth * (self.height - self.horizon)
            self.stroke([(x, y), (x + 10 + 22 * depth, y)], (214, 224, 250), 0.8, 0.25)

    # Things that stand on the ground.

    def fir(self, x, y, size):
        self.polygon([(x - size * 0.06, y), (x + size * 0.06, y), (x + size * 0.06, y - size * 0.2), (x - size * 0.06, y - size * 0.2)], (92, 68, 50))
        for step in range(3):
            bottom, half = y - size * (0.15 + 0.26 * step), size * (0.34 - 0.07 * step)
            self.polygon([(x - half, bottom), (x, bottom - size * 0.45), (x + half, bottom)], (78, 128, 96), (36, 84, 66))

    def tree(self, x, y, size, leaves=None):
        bark = (98, 72, 54)
        self.polygon([(x - size * 0.07, y), (x - size * 0.03, y - size * 0.6), (x + size * 0.03, y - size * 0.6), (x + size * 0.07, y)], lighter(bark, 0.15), darker(bark, 0.2))
        if leaves is None:
            for angle, length in ((-1.1, 0.42), (-0.55, 0.5), (0.0, 0.48), (0.5, 0.5), (1.05, 0.44)):
                fork = (x, y - size * 0.5)
                tip = (fork[0] + math.sin(angle) * size * length, fork[1] - math.cos(angle) * size * length)
                self.stroke([fork, tip], bark, size * 0.035)
                for side in (-0.5, 0.45):
                    twig = (tip[0] + math.sin(angle + side) * size * 0.14, tip[1] - math.cos(angle + side) * size * 0.14)
                    half = ((fork[0] + 2 * tip[0]) / 3, (fork[1] + 2 * tip[1]) / 3)
                    self.stroke([half, twig], bark, size * 0.018)
            return
        colour = COLOURS[leaves]
        for across, down, radius in ((-0.26, -0.62, 0.26), (0.26, -0.64, 0.26), (0.0, -0.86, 0.3), (0.0, -0.58, 0.28)):
            self.disc(x + across * size, y + down * size, radius * size, lighter(colour, 0.25), darker(colour, 0.25), blur=0.8)

    def house(self, x, y, wide, tall, roof, wall=(244, 232, 212)):
        eaves = y - tall * 0.62
        self.polygon([(x, y), (x, eaves), (x + wide, eaves), (x + wide, y)], wall, darker(wall, 0.2))
        colour = COLOURS[roof]
        self.polygon([(x - wide * 0.06, eaves), (x + wide / 2, y - tall), (x + wide * 1.06, eaves)], lighter(colour, 0.1), darker(colour, 0.25))
        glass = (255, 220, 130) if self.sky_name in ("night", "sunset") else (104, 140, 176)
        for across in (0.2, 0.6):
            left, top = x + wide * across, eaves + tall * 0.14
            self.polygon([(left, top), (left + wide * 0.2, top), (left + wide * 0.2, top + tall * 0.2), (left, top + tall * 0.2)], lighter(glass, 0.3), glass)

    def lighthouse(self, x, y, tall):
        wide = tall * 0.13
        self.polygon([(x - wide * 4, y + 8), (x - wide * 2, y - 8), (x + wide * 2, y - 10), (x + wide * 4.5, y + 8)], (116, 108, 104), (72, 68, 70))
        for band in range(6):
            low, high = y - 8 - tall * 0.78 * band / 6, y - 8 - tall * 0.78 * (band + 1) / 6
            half, narrower = wide * (1 - 0.06 * band), wide * (1 - 0.06 * (band + 1))
            colour = COLOURS["white" if band % 2 else "red"]
            self.polygon([(x - half, low), (x - narrower, high), (x + narrower, high), (x + half, low)], colour, darker(colour, 0.08))
            self.polygon([(x + half * 0.3, low), (x + narrower * 0.3, high), (x + narrower, high), (x + half, low)], darker(colour, 0.18))
        top = y - 8 - tall * 0.78
        self.polygon([(x - wide * 0.5, top), (x - wide * 0.5, top - tall * 0.1), (x + wide * 0.5, top - tall * 0.1), (x + wide * 0.5, top)], (255, 240, 170), (250, 206, 90))
        self.polygon([(x - wide * 0.7, top - tall * 0.1), (x, top - tall * 0.2), (x + wide * 0.7, top - tall * 0.1)], (96, 40, 44))

    def boat(self, x, y, size, sail="white", hull="brown"):
        colour, wood = COLOURS[sail], COLOURS[hull]
        self.stroke([(x, y), (x, y - size * 1.15)], (80, 60, 46), size * 0.03)
        self.polygon([(x + size * 0.04, y - size * 1.1), (x + size * 0.04, y - size * 0.18), (x + size * 0.62, y - size * 0.18)], lighter(colour), darker(colour, 0.08))
        self.polygon([(x - size * 0.04, y - size), (x - size * 0.04, y - size * 0.18), (x - size * 0.42, y - size * 0.18)], colour, darker(colour, 0.16))
        self.polygon([(x - size * 0.6, y - size * 0.1), (x + size * 0.72, y - size * 0.1), (x + size * 0.5, y + size * 0.16), (x - size * 0.42, y + size * 0.16)], wood, darker(wood))
        self.stroke([(x - size * 0.6, y + size * 0.2), (x + size * 0.7, y + size * 0.2)], (255, 255, 255), size * 0.03, 0.5)

    def windmill(self, x, y, tall, turn=0.4, cap="red"):
        self.polygon([(x - tall * 0.2, y), (x - tall * 0.12, y - tall * 0.7), (x + tall * 0.12, y - tall * 0.7), (x + tall * 0.2, y)], (250, 246, 236), (206, 198, 186))
        self.polygon([(x, y), (x, y - tall * 0.7), (x + tall * 0.12, y - tall * 0.7), (x + tall * 0.2, y)], (222, 214, 202), (184, 176, 166))
        self.polygon([(x - tall * 0.15, y - tall * 0.7), (x, y - tall * 0.86), (x + tall * 0.15, y - tall * 0.7)], COLOURS[cap], darker(COLOURS[cap]))
        hub = (x, y - tall * 0.72)
        for arm in range(4):
            angle = turn + arm * math.pi / 2
            along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))

            def place(a, b):
                return (hub[0] + tall * (along[0] * a + across[0] * b), hub[1] + tall * (along[1] * a + across[1] * b))

            self.polygon([place(0.1, 0.0), place(0.1, 0.09), place(0.52, 0.11), place(0.52, 0.0)], (252, 250, 244), (224, 216, 200), opacity=0.95)
            self.stroke([hub, place(0.54, 0.0)], (92, 70, 54), tall * 0.014)
        self.disc(*hub, tall * 0.03, (92, 70, 54))

    def windsock(self, x, y, tall, lift, colour="orange"):
        """A striped sock on a pole; `lift` from 0 (hangs) to 1 (stands straight out)."""
        self.stroke([(x, y), (x, y - tall)], (90, 94, 104), 3)
        angle = math.radians(86 * (1 - lift))
        for band in range(5):
            start, end = tall * 0.17 * band, tall * 0.17 * (band + 1)
            wide, narrower = tall * (0.1 - 0.013 * band), tall * (0.1 - 0.013 * (band + 1))
            along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
            corner = lambda a, b: (x + along[0] * a + across[0] * b, y - tall * 0.92 + along[1] * a + across[1] * b)
            tone = COLOURS["white" if band % 2 else colour]
            self.polygon([corner(start, -wide), corner(end, -narrower), corner(end, narrower), corner(start, wide)], lighter(tone, 0.15), darker(tone, 0.15))

    def person(self, x, y, tall, coat):
        colour = COLOURS[coat]
        self.polygon([(x - tall * 0.1, y), (x - tall * 0.07, y - tall * 0.42), (x + tall * 0.07, y - tall * 0.42), (x + tall * 0.1, y)], (50, 56, 78))
        self.polygon([(x - tall * 0.14, y - tall * 0.36), (x - tall * 0.1, y - tall * 0.78), (x + tall * 0.1, y - tall * 0.78), (x + tall * 0.14, y - tall * 0.36)], lighter(colour, 0.15), darker(colour, 0.1))
        self.stroke([(x + tall * 0.06, y - tall * 0.7), (x + tall * 0.26, y - tall * 0.9)], darker(colour, 0.05), tall * 0.08)
        self.disc(x, y - tall * 0.88, tall * 0.1, (236, 192, 158), (206, 158, 126))
        self.disc(x, y - tall * 0.93, tall * 0.095, (84, 58, 42), squash=0.6)

    # Things that fly.

    def kite(self, kind, colour, x, y, size, tilt=0.25, tail="white", hand=None):
        """A kite with its tail and line; `hand` is where the line ends, below the edge if not said."""
        tone, trim = COLOURS[colour], COLOURS[tail]
        turn = lambda a, b: (x + size * (a * math.cos(tilt) - b * math.sin(tilt)), y + size * (a * math.sin(tilt) + b * math.cos(tilt)))
        hand = hand or (x - self.width * 0.22, self.height + 6)
        start = turn(0, 0.15)
        sag = [((1 - t) ** 2 * start[0] + 2 * t * (1 - t) * (start[0] * 0.45 + hand[0] * 0.55 + 14) + t * t * hand[0],
                (1 - t) ** 2 * start[1] + 2 * t * (1 - t) * (start[1] * 0.35 + hand[1] * 0.65) + t * t * hand[1]) for t in (s / 24 for s in range(25))]
        self.stroke(sag, lighter(darker(self.stops[1], 0.6), 0.1), 0.9, 0.75)
        panel = lambda points, first, second: self.polygon([turn(a, b) for a, b in points], first, second)
        spar = lambda a, b: self.stroke([turn(*a), turn(*b)], darker(tone, 0.5), max(0.8, size * 0.022))
        if kind in ("diamond", "delta", "hexagon"):
            self._tail(turn, size, trim, 1.15 if kind == "diamond" else 0.75)
        if kind == "diamond":
            panel([(0, -1), (-0.72, -0.25), (0, -0.25)], lighter(tone, 0.45), lighter(tone, 0.2))
            panel([(0, -1), (0.72, -0.25), (0, -0.25)], lighter(tone, 0.15), tone)
            panel([(-0.72, -0.25), (0, 1.15), (0, -0.25)], lighter(tone, 0.1), tone)
            panel([(0.72, -0.25), (0, 1.15), (0, -0.25)], tone, darker(tone, 0.25))
            spar((0, -1), (0, 1.15)), spar((-0.72, -0.25), (0.72, -0.25))
        elif kind == "delta":
            panel([(0, -0.7), (-1.25, 0.5), (0, 0.6)], lighter(tone, 0.4), tone)
            panel([(0, -0.7), (1.25, 0.5), (0, 0.6)], lighter(tone, 0.1), darker(tone, 0.22))
            panel([(0, -0.3), (-0.1, 0.75), (0.1, 0.75)], darker(tone, 0.2), darker(tone, 0.4))
            spar((0, -0.7), (0, 0.6)), spar((0, -0.7), (-1.25, 0.5)), spar((0, -0.7), (1.25, 0.5))
        elif kind == "box":
            for top in (-0.95, 0.3):
                panel([(-0.5, top), (0.15, top + 0.14), (0.15, top + 0.74), (-0.5, top + 0.6)], lighter(tone, 0.35), tone)
                panel([(0.15, top + 0.14), (0.7, top - 0.06), (0.7, top + 0.54), (0.15, top + 0.74)], tone, darker(tone, 0.3))
                panel([(-0.5, top), (0.05, top - 0.2), (0.7, top - 0.06), (0.15, top + 0.14)], darker(tone, 0.45), darker(tone, 0.3))
            for a, top in ((-0.5, -0.95), (0.15, -0.81), (0.7, -1.01)):
                spar((a, top), (a, top + 1.85))
        elif kind == "star":
            corners = [(math.sin(i * math.pi / 5) * (1 if i % 2 == 0 else 0.42), -math.cos(i * math.pi / 5) * (1 if i % 2 == 0 else 0.42)) for i in range(10)]
            for index, corner in enumerate(corners):
                after = corners[(index + 1) % 10]
                panel([(0, 0), corner, after], lighter(tone, 0.4 if index % 2 else 0.1), tone if index % 2 else darker(tone, 0.15))
            self._streamers(turn, size, trim, ((-0.59, 0.81), (0.59, 0.81)))
        elif kind == "hexagon":
            corners = [(0, -1), (0.72, -0.5), (0.72, 0.5), (0, 1), (-0.72, 0.5), (-0.72, -0.5)]
            for index, corner in enumerate(corners):
                panel([(0, 0), corner, corners[(index + 1) % 6]], lighter(tone, 0.3) if index > 2 else tone, tone if index > 2 else darker(tone, 0.2))
            self.disc(*turn(0, 0), size * 0.3, lighter(trim), trim)
            spar((0, -1), (0, 1)), spar((-0.72, -0.5), (0.72, -0.5)), spar((-0.72, 0.5), (0.72, 0.5))
        elif kind == "fish":
            body = [(-1.1 + 2.0 * s / 20, -0.55 * math.sin(math.pi * s / 20)) for s in range(21)]
            under = [(a, -b) for a, b in reversed(body)]
            panel([(0.75, 0), (1.4, -0.55), (1.2, 0), (1.4, 0.55)], lighter(tone, 0.1), darker(tone, 0.3))
            panel([(-0.1, -0.45), (0.25, -0.95), (0.45, -0.35)], tone, darker(tone, 0.2))
            panel(body + under, lighter(tone, 0.45), darker(tone, 0.12))
            for a in (-0.3, 0.0, 0.3, 0.55):
                arc = [turn(a + 0.12 * math.cos(s), 0.34 * math.sin(s)) for s in (-1.2 + 2.4 * i / 8 for i in range(9))]
                self.stroke(arc, darker(tone, 0.3), size * 0.03, 0.8)
            self.disc(*turn(-0.72, -0.1), size * 0.13, (255, 255, 255))
            self.disc(*turn(-0.74, -0.1), size * 0.07, (20, 20, 30))
        elif kind == "bird":
            panel([(0.0, 0.35), (-0.28, 1.0), (0.28, 1.0)], tone, darker(tone, 0.2))
            for side in (-1, 1):
                wing = [(0, -0.25), (side * 0.6, -0.62), (side * 1.5, -0.2), (side * 1.05, -0.12), (side * 0.95, 0.1), (side * 0.62, 0.05), (side * 0.45, 0.26), (0, 0.25)]
                panel(wing, lighter(tone, 0.4 if side < 0 else 0.15), tone if side < 0 else darker(tone, 0.2))
            panel([(0, -0.75), (-0.2, -0.3), (-0.14, 0.5), (0.14, 0.5), (0.2, -0.3)], lighter(tone, 0.2), darker(tone, 0.1))
            panel([(0, -0.98), (-0.1, -0.66), (0.1, -0.66)], COLOURS["orange"], darker(COLOURS["orange"]))
        elif kind == "dragon":
            for link in range(11, 0, -1):
                a, b = link * 0.38, 0.34 * math.sin(link * 0.85)
                shade = tone if link % 2 else lighter(tone, 0.35)
                self.disc(*turn(a, b), size * (0.36 - 0.014 * link), lighter(shade, 0.25), darker(shade, 0.15))
            for side in (-1, 1):
                panel([(-0.1, side * 0.25), (0.35, side * 0.85), (0.3, side * 0.2)], COLOURS["yellow"], COLOURS["orange"])
            self.disc(*turn(0, 0), size * 0.46, lighter(tone, 0.35), darker(tone, 0.1))
            for side in (-1, 1):
                self.disc(*turn(-0.2, side * 0.18), size * 0.13, (255, 255, 255))
                self.disc(*turn(-0.24, side * 0.18), size * 0.06, (20, 20, 30))
            self.stroke([turn(-0.44, -0.02), turn(-0.72, 0.06), turn(-0.6, 0.14)], COLOURS["red"], size * 0.05)

    def _tail(self, turn, size, colour, start):
        wave = [turn(0.22 * math.sin(s * 0.55), start + s * 0.1) for s in range(17)]
        self.stroke(wave, darker(colour, 0.25), max(0.8, size * 0.025))
        for knot in range(3, 17, 4):
            (a, b), half = wave[knot], size * 0.13
            self.polygon([(a, b), (a - half, b - half * 0.7), (a - half, b + half * 0.7)], colour, darker(colour, 0.12))
            self.polygon([(a, b), (a + half, b - half * 0.7), (a + half, b + half * 0.7)], lighter(colour), colour)

    def _streamers(self, turn, size, colour, roots):
        for a, b in roots:
            wave = [turn(a + 0.1 * math.sin(s * 0.7), b + s * 0.09) for s in range(13)]
            self.stroke(wave, colour, size * 0.06)

    def balloon(self, x, y, size, first, second):
        """A hot-air balloon of upright stripes; `size` is the envelope's radius."""
        outline = [(math.sin(s) * (1.0 if math.cos(s) > -0.2 else 1.0 + 0.25 * (math.cos(s) + 0.2)), -math.cos(s) * (1 if math.cos(s) > 0 else 1.25)) for s in (math.pi * i / 30 for i in range(31))]
        edges = [1.0, 0.66, 0.24, -0.24, -0.66, -1.0]
        for stripe in range(5):
            colour = COLOURS[first if stripe % 2 == 0 else second]
            shade = mix(lighter(colour, 0.3), darker(colour, 0.22), 1 - stripe / 4)
            left = [(x + size * a * edges[stripe + 1], y + size * b) for a, b in outline]
            right = [(x + size * a * edges[stripe], y + size * b) for a, b in outline]
            self.polygon(left + right[::-1], lighter(shade, 0.12), darker(shade, 0.08))
        basket = y + size * 1.5
        for side in (-1, 1):
            self.stroke([(x + side * size * 0.12, y + size * 1.2), (x + side * size * 0.14, basket)], (84, 70, 60), 0.8)
        self.polygon([(x - size * 0.16, basket), (x + size * 0.16, basket), (x + size * 0.13, basket + size * 0.22), (x - size * 0.13, basket + size * 0.22)], (186, 134, 80), (124, 82, 48))

    def lantern(self, x, y, size, colour="orange"):
        tone = COLOURS[colour]
        self.disc(x, y, size * 2.2, lighter(tone, 0.2), blur=size * 0.8, opacity=0.4)
        self.polygon([(x - size * 0.55, y + size * 0.8), (x - size * 0.8, y - size * 0.3), (x - size * 0.5, y - size), (x + size * 0.5, y - size), (x + size * 0.8, y - size * 0.3), (x + size * 0.55, y + size * 0.8)], tone, lighter(mix(tone, (255, 230, 120), 0.7), 0.3))
        self.disc(x, y + size * 0.78, size * 0.5, (255, 246, 200), squash=0.25)

    def airship(self, x, y, size, colour):
        tone = COLOURS[colour]
        for side in (-1, 1):
            self.polygon([(x + size * 0.75, y), (x + size * 1.12, y + side * size * 0.34), (x + size * 1.12, y + side * size * 0.12)], darker(tone, 0.2), darker(tone, 0.35))
        self.disc(x, y, size, lighter(tone, 0.35), darker(tone, 0.28), squash=0.32)
        self.disc(x - size * 0.1, y - size * 0.12, size * 0.72, lighter(tone, 0.7), blur=size * 0.08, opacity=0.4, squash=0.12)
        self.polygon([(x - size * 0.3, y + size * 0.28), (x + size * 0.2, y + size * 0.28), (x + size * 0.14, y + size * 0.42), (x - size * 0.24, y + size * 0.42)], (236, 236, 236), (120, 124, 134))

    def gull(self, x, y, size):
        for side in (-1, 1):
            self.polygon([(x, y), (x + side * size * 0.45, y - size * 0.42), (x + side * size, y - size * 0.2), (x + side * size * 0.48, y - size * 0.2), (x, y + size * 0.16)], (255, 255, 255), (176, 188, 204))
            self.polygon([(x + side * size * 0.82, y - size * 0.28), (x + side * size, y - size * 0.2), (x + side * size * 0.8, y - size * 0.2)], (60, 64, 76))

    def pinwheel(self, x, y, size, turn):
        self.stroke([(x, y), (x, self.height)], (150, 108, 70), 4)
        for blade, name in enumerate(("red", "yellow", "green", "blue")):
            angle, tone = turn + blade * math.pi / 2, COLOURS[name]
            place = lambda a, b: (x + size * (a * math.cos(angle) - b * math.sin(angle)), y + size * (a * math.sin(angle) + b * math.cos(angle)))
            self.polygon([(x, y), place(1.0, 0.0), place(0.78, 0.62)], lighter(tone, 0.25), tone)
            self.polygon([(x, y), place(0.78, 0.62), place(0.4, 0.36)], darker(tone, 0.1), darker(tone, 0.3))
        self.disc(x, y, size * 0.1, (255, 255, 255), (190, 190, 190))

    def finish(self):
        """The picture in its own size."""
        return self.image.resize((self.width, self.height), Image.Resampling.LANCZOS)
