"""Writes progressive.jpg beside itself: a picture in passes that refine each other, as libjpeg writes them. Needs Pillow."""
import math
from pathlib import Path

from PIL import Image

SIZE = (181, 121)


def wave(t):
    return int(127 * (math.sin(t) + 1))


picture = Image.new("RGB", SIZE)
picture.putdata([(wave(x / 5), wave(y / 7), wave(x * y / 301)) for y in range(SIZE[1]) for x in range(SIZE[0])])
picture.save(Path(__file__).with_suffix(".jpg"), quality=85, progressive=True)
