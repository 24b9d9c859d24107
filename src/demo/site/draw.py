"""Draws every picture of the demonstration site, and its two short films.

    python3 -m venv venv && venv/bin/pip install pillow==13.0.0
    venv/bin/python src/demo/site/draw.py            # pictures (half a minute)
    venv/bin/python src/demo/site/draw.py --films    # and the films; needs ffmpeg

Pictures go to `pictures/` beside this file, films to `films/`. Every scene takes its random
numbers from its own name, so one can be changed without changing the others, and the same Pillow
draws the same bytes again.

What a kite, a hill or a cloud looks like is in `scene.py`; which of them make up each picture is here.
"""

import math
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from scene import COLOURS, Scene, darker, lighter

HERE = Path(__file__).resolve().parent
PICTURES = HERE / "pictures"
FILMS = HERE / "films"
FILM_FRAMES, FILM_FRAMES_PER_SECOND = 36, 12


def picture(name, *things, ground=None, **canvas):
    """One picture: `ground` and each of `things` are (method, arguments...) of `Scene`, in order."""
    scene = Scene(name, **canvas)
    sky = ("clouds", "cloud", "sun", "moon", "stars", "rainbow", "hills", "mountains")
    for method, *arguments in [thing for thing in things if thing[0] in sky]:
        getattr(scene, method)(*arguments)
    if ground:
        getattr(scene, ground[0])(*ground[1:])
    for method, *arguments in [thing for thing in things if thing[0] not in sky]:
        getattr(scene, method)(*arguments)
    return scene.finish()


def plan(kind, width=360, height=300):
    """A step of the building plan: drawn on squared paper, nothing but sticks, paper and string."""
    scene = Scene(f"plan {kind}", width, height)
    scene.image.paste((250, 246, 234), (0, 0, *scene.image.size))
    for step in range(0, max(width, height), 20):
        scene.stroke([(step, 0), (step, height)], (206, 220, 232), 0.5, 0.8)
        scene.stroke([(0, step), (width, step)], (206, 220, 232), 0.5, 0.8)
    wood, string, paper = (170, 116, 66), (60, 70, 110), COLOURS["red"]
    middle, top, bottom, cross, reach = 180, 30, 270, 105, 100
    corners = [(middle, top), (middle + reach, cross), (middle, bottom), (middle - reach, cross)]
    if kind == "sticks":
        scene.stroke([(60, 110), (300, 110)], wood, 9)
        scene.stroke([(80, 190), (280, 190)], darker(wood, 0.2), 9)
        for x, y in ((60, 110), (300, 110), (80, 190), (280, 190)):
            scene.disc(x, y, 5, lighter(wood), wood)
    elif kind == "tail":
        wave = [(40 + s * 7, 150 + 34 * math.sin(s * 0.28)) for s in range(41)]
        scene.stroke(wave, string, 2.5)
        for knot, name in zip(range(4, 41, 8), ("blue", "yellow", "blue", "yellow", "blue")):
            x, y = wave[knot]
            for side in (-1, 1):
                scene.polygon([(x, y), (x + side * 26, y - 17), (x + side * 26, y + 17)], lighter(COLOURS[name]), COLOURS[name])
    else:
        if kind == "sail":
            scene.polygon([(x + 5, y + 6) for x, y in corners], (150, 150, 150), blur=5, opacity=0.6)
            scene.polygon(corners, lighter(paper), paper)
        scene.stroke([(middle, top), (middle, bottom)], wood, 8)
        scene.stroke([(middle - reach, cross), (middle + reach, cross)], darker(wood, 0.2), 8)
        scene.disc(middle, cross, 11, lighter(string), string)
        if kind == "frame":
            scene.stroke([*corners, corners[0]], string, 3)
    return scene.finish()


def flat_kite(kind, colour):
    """A small figure for the glossary: one kite against plain pale blue."""
    scene = Scene(f"flat {kind}", 240, 200)
    scene.image.paste((226, 238, 248), (0, 0, *scene.image.size))
    scene.kite(kind, colour, 124, 84, 56, tilt=0.0, tail="blue" if colour != "blue" else "red")
    return scene.finish()


def still_pinwheel(turn):
    scene = Scene("pinwheel", 200, 200)
    scene.pinwheel(100, 84, 66, turn)
    return scene.finish()


def portrait(coat):
    """The little round heads beside forum posts: furniture, not content."""
    scene = Scene(f"portrait {coat}", 32, 32)
    scene.person(16, 44, 40, coat)
    return scene.finish()


def red_kite_over_hills(moment):
    """One frame of the film; `moment` runs from 0 to 1 and ends where it began."""
    swing = math.sin(2 * math.pi * moment)
    scene = Scene("film kite", 320, 240)
    scene.clouds(3)
    scene.hills("blue")
    scene.kite("diamond", "red", 168 + 46 * swing, 84 - 12 * math.cos(4 * math.pi * moment), 38, 0.1 + 0.35 * swing, "yellow", (120, 246))
    return scene.finish()


def white_windmill_turning(moment):
    scene = Scene("film windmill", 320, 240)
    scene.clouds(3)
    scene.meadow("red")
    scene.windmill(170, 206, 150, turn=moment * math.pi / 2)
    return scene.finish()


LANDSCAPES = {
    # The welcome page.
    "three-kites-green-hills": lambda n: picture(n, ("clouds", 5), ("sun", 400, 56, 18), ("hills", "green"), ("kite", "diamond", "red", 120, 100, 44, 0.3), ("kite", "delta", "blue", 250, 76, 42, -0.1, "yellow"), ("kite", "star", "yellow", 368, 136, 36, 0.1, "red")),
    # Diamond kites.
    "red-diamond-blue-hills": lambda n: picture(n, ("clouds", 4), ("hills", "blue"), ("kite", "diamond", "red", 268, 104, 58, 0.3, "yellow")),
    "yellow-diamond-meadow": lambda n: picture(n, ("clouds", 3), ("kite", "diamond", "yellow", 230, 98, 54, -0.2, "blue", (150, 246)), ("person", 142, 284, 60, "blue"), ground=("meadow", "white")),
    "green-diamond-sea": lambda n: picture(n, ("clouds", 4), ("kite", "diamond", "green", 210, 96, 54, 0.35, "white"), ground=("sea",)),
    "blue-diamond-sunset": lambda n: picture(n, ("sun", 372, 186, 20, (255, 220, 130)), ("hills", "purple"), ("kite", "diamond", "blue", 196, 92, 52, 0.2, "pink"), sky="sunset"),
    "two-diamonds-white-clouds": lambda n: picture(n, ("cloud", 120, 90, 34), ("cloud", 360, 220, 40), ("cloud", 250, 300, 36), ("cloud", 60, 260, 28), ("kite", "diamond", "orange", 170, 120, 46, 0.3, "white"), ("kite", "diamond", "purple", 330, 100, 46, -0.15, "yellow")),
    # The gallery.
    "orange-delta-dunes": lambda n: picture(n, ("sun", 90, 60, 20), ("kite", "delta", "orange", 270, 104, 56, 0.2, "purple"), ground=("dunes",)),
    "purple-box-meadow": lambda n: picture(n, ("clouds", 4), ("kite", "box", "purple", 250, 110, 58, 0.15), ground=("meadow", "yellow")),
    "pink-star-sunset": lambda n: picture(n, ("hills", "purple"), ("kite", "star", "pink", 240, 106, 58, 0.1, "white"), sky="sunset"),
    "white-bird-sea": lambda n: picture(n, ("clouds", 2), ("kite", "bird", "white", 240, 104, 58, 0.2), ground=("sea",)),
    "golden-fish-beach": lambda n: picture(n, ("clouds", 3), ("kite", "fish", "yellow", 240, 110, 58, -0.1), ground=("beach",)),
    "green-dragon-mountains": lambda n: picture(n, ("clouds", 3, 0.1, 0.3), ("mountains",), ("kite", "dragon", "green", 130, 90, 48, 0.15)),
    "red-hexagon-snow": lambda n: picture(n, ("clouds", 4), ("kite", "hexagon", "red", 240, 100, 56, 0.15, "yellow"), ground=("snow",)),
    "three-deltas-hills": lambda n: picture(n, ("clouds", 3), ("hills", "green"), ("kite", "delta", "red", 110, 70, 34, 0.2), ("kite", "delta", "yellow", 240, 120, 34, 0.1), ("kite", "delta", "blue", 370, 72, 34, -0.1)),
    "blue-box-roofs": lambda n: picture(n, ("clouds", 5), ("kite", "box", "blue", 250, 100, 54, -0.1), ground=("roofs",)),
    "yellow-star-night": lambda n: picture(n, ("stars", 110), ("hills", "blue"), ("kite", "star", "yellow", 240, 112, 56, 0.0, "orange"), sky="night"),
    "black-bird-grey-sky": lambda n: picture(n, ("clouds", 6), ("hills", "green"), ("kite", "bird", "black", 240, 106, 58, -0.15), sky="grey"),
    "purple-delta-rainbow": lambda n: picture(n, ("rainbow", 240, 250, 205), ("kite", "delta", "purple", 240, 130, 50, 0.1, "white"), ground=("meadow", "white")),
    # Night.
    "full-moon-lake": lambda n: picture(n, ("stars", 60), ("moon", 330, 80, 36), ("hills", "blue"), ground=("lake",), sky="night"),
    "crescent-moon-roofs": lambda n: picture(n, ("stars", 70), ("moon", 120, 84, 38, True), ground=("roofs",), sky="night"),
    "three-orange-lanterns": lambda n: picture(n, ("stars", 50), ("hills", "purple"), ("lantern", 120, 150, 26), ("lantern", 240, 84, 30), ("lantern", 366, 136, 26), sky="night"),
    "stars-over-mountains": lambda n: picture(n, ("stars", 240), ("mountains", (40, 66, 70)), sky="night"),
    "white-delta-moon": lambda n: picture(n, ("stars", 40), ("moon", 330, 96, 56), ("hills", "blue"), ("kite", "delta", "white", 196, 130, 50, 0.25, "red"), sky="night"),
    # Balloons.
    "red-yellow-balloon-hills": lambda n: picture(n, ("clouds", 3), ("hills", "green"), ("balloon", 240, 110, 72, "red", "yellow")),
    "blue-white-balloon-sea": lambda n: picture(n, ("clouds", 3), ("balloon", 200, 106, 68, "blue", "white"), ground=("sea",)),
    "three-balloons-dawn": lambda n: picture(n, ("sun", 70, 180, 16), ("hills", "blue"), ("balloon", 110, 90, 44, "red", "white"), ("balloon", 250, 130, 38, "green", "yellow"), ("balloon", 380, 82, 46, "blue", "orange"), sky="dawn"),
    "green-balloon-mountains": lambda n: picture(n, ("mountains",), ("balloon", 120, 96, 60, "green", "white")),
    "purple-balloon-dunes": lambda n: picture(n, ("sun", 400, 60, 18), ("balloon", 220, 104, 66, "purple", "pink"), ground=("dunes",)),
    # The visit.
    "museum-red-roof": lambda n: picture(n, ("clouds", 4), ("tree", 90, 262, 120, "green"), ("tree", 404, 266, 110, "green"), ("house", 150, 270, 190, 170, "red", (250, 248, 242)), ground=("meadow", "pink")),
    "windmill-garden": lambda n: picture(n, ("clouds", 4), ("windmill", 240, 276, 210), ground=("meadow", "red")),
    "town-roofs-dawn": lambda n: picture(n, ("sun", 360, 90, 22), ("clouds", 3), ground=("roofs",), sky="dawn"),
    # Readers' letters, and the letter from abroad.
    "orange-diamond-bare-tree": lambda n: picture(n, ("clouds", 5), ("tree", 250, 290, 230), ("kite", "diamond", "orange", 300, 96, 40, 0.7, "blue", (330, 330)), ground=("meadow", "white"), sky="grey"),
    "blue-fish-beach": lambda n: picture(n, ("sun", 400, 60, 20), ("kite", "fish", "blue", 220, 104, 60, 0.1), ground=("beach",)),
    "two-people-meadow": lambda n: picture(n, ("clouds", 4), ("kite", "hexagon", "yellow", 250, 84, 46, 0.1, "red", (212, 214)), ("person", 190, 290, 90, "red"), ("person", 290, 292, 84, "green"), ground=("meadow", "yellow")),
    "red-bird-dunes": lambda n: picture(n, ("clouds", 3), ("kite", "bird", "red", 240, 100, 60, 0.1), ground=("dunes",)),
    "yellow-box-beach": lambda n: picture(n, ("clouds", 4), ("kite", "box", "yellow", 250, 100, 56, 0.1), ground=("beach",)),
    "five-lanterns-dawn": lambda n: picture(n, ("hills", "blue"), *(("lantern", 70 + 86 * i, 92 + 34 * (i % 2), 20, "red") for i in range(5)), sky="dawn"),
    # Mountains, and the page that robots may not read.
    "red-delta-mountains": lambda n: picture(n, ("clouds", 2, 0.08, 0.2), ("mountains",), ("kite", "delta", "red", 170, 82, 46, 0.2, "white")),
    "orange-tree-green-hill": lambda n: picture(n, ("clouds", 3), ("tree", 240, 280, 190, "orange"), ground=("hills", "green")),
    "golden-kite-vault": lambda n: picture(n, ("clouds", 2), ("hills", "purple"), ("kite", "diamond", "yellow", 240, 110, 60, 0.0, "red"), sky="dawn"),
}

SEA = {
    "lighthouse-red-white": lambda n: picture(n, ("clouds", 4), ("lighthouse", 250, 262, 210), ground=("sea", 220)),
    "two-boats-white-sails": lambda n: picture(n, ("clouds", 4), ("boat", 150, 236, 84), ("boat", 336, 268, 104), ground=("sea", 200)),
    "five-gulls": lambda n: picture(n, ("clouds", 3), *(("gull", 70 + 84 * i, 70 + 50 * ((i * 2) % 3), 36) for i in range(5)), ground=("sea",)),
    "yellow-airship": lambda n: picture(n, ("clouds", 4), ("airship", 230, 100, 110, "yellow"), ground=("sea",)),
}
SEA_WIDTHS = (240, 360, 480)

WEATHER = {
    "windsock-hanging": lambda n: picture(n, ("clouds", 3), ("windsock", 120, 170, 130, 0.0), ground=("meadow", "white"), width=240, height=180),
    "windsock-half-lifted": lambda n: picture(n, ("clouds", 4), ("windsock", 100, 170, 130, 0.5), ground=("meadow", "white"), width=240, height=180),
    "windsock-straight": lambda n: picture(n, ("clouds", 5), ("windsock", 80, 170, 130, 1.0), ground=("meadow", "white"), sky="grey", width=240, height=180),
    "rain-over-roofs": lambda n: picture(n, ("clouds", 9, 0.05, 0.35), ("rain",), ground=("roofs",), sky="grey", width=240, height=180),
    "snow-over-firs": lambda n: picture(n, ("clouds", 6), ("snowflakes",), ground=("snow",), sky="grey", width=240, height=180),
    "rainbow-over-hills": lambda n: picture(n, ("rainbow", 120, 140, 104), ("hills", "green"), width=240, height=180),
}


def save_jpeg(image, name):
    image.save(PICTURES / f"{name}.jpg", quality=80, optimize=True, progressive=True)


def draw_pictures():
    PICTURES.mkdir(exist_ok=True)
    (PICTURES / "balloons").mkdir(exist_ok=True)
    for name, draw in LANDSCAPES.items():
        image = draw(name)
        if name == "purple-delta-rainbow":
            image.save(PICTURES / f"{name}.webp", quality=80, method=6)
        elif "balloon" in name:
            save_jpeg(image, f"balloons/{name}")
        else:
            save_jpeg(image, name)
    for name, draw in SEA.items():
        image = draw(name)
        for width in SEA_WIDTHS:
            save_jpeg(image.resize((width, width * 2 // 3), Image.Resampling.LANCZOS), f"{name}-{width}")
    for name, draw in WEATHER.items():
        save_jpeg(draw(name), name)
    for kind in ("sticks", "cross", "frame", "sail", "tail"):
        plan(kind).quantize(128).save(PICTURES / f"plan-{kind}.png", optimize=True)
    shapes = (("diamond", "red"), ("delta", "blue"), ("box", "yellow"), ("hexagon", "green"), ("star", "purple"))
    for kind, colour in shapes:
        flat_kite(kind, colour).quantize(128).save(PICTURES / f"shape-{kind}.png", optimize=True)
    turns = [still_pinwheel(step * math.pi / 12).quantize(64) for step in range(6)]
    turns[0].save(PICTURES / "pinwheel.gif", save_all=True, append_images=turns[1:], duration=90, loop=0, optimize=True)
    save_jpeg(red_kite_over_hills(0.15), "poster-red-kite-swaying")
    save_jpeg(white_windmill_turning(0.3), "poster-windmill-turning")
    for coat in ("red", "blue", "green"):
        portrait(coat).save(PICTURES / f"portrait-{coat}.png", optimize=True)
    Image.new("RGB", (1, 1), (255, 255, 255)).quantize(2).save(PICTURES / "pixel.gif")


def draw_films():
    FILMS.mkdir(exist_ok=True)
    films = (
        ("red-kite-swaying.mp4", red_kite_over_hills, ["-c:v", "libx264", "-preset", "veryslow", "-crf", "30", "-movflags", "+faststart"]),
        ("windmill-turning.webm", white_windmill_turning, ["-c:v", "libvpx-vp9", "-crf", "40", "-b:v", "0"]),
    )
    for name, frame, codec in films:
        with tempfile.TemporaryDirectory() as folder:
            for index in range(FILM_FRAMES):
                frame(index / FILM_FRAMES).save(Path(folder) / f"{index:03}.png")
            source = ["-framerate", str(FILM_FRAMES_PER_SECOND), "-i", f"{folder}/%03d.png"]
            exact = ["-pix_fmt", "yuv420p", "-threads", "1", "-bitexact", "-map_metadata", "-1"]
            subprocess.run(["ffmpeg", "-v", "error", "-y", *source, *codec, *exact, str(FILMS / name)], check=True)


if __name__ == "__main__":
    draw_pictures()
    if "--films" in sys.argv[1:]:
        draw_films()
