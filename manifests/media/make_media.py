"""Draws and speaks the demo's media: two talking faces and a greeting.

    python manifests/media/make_media.py        (needs: pip install 'lipsync-batch[sandbox]')

Writes `ada.mp4`, `ben.mp4` (480x360, 25 pictures a second, H.264 and AAC) and `greeting.wav` (16-bit mono) beside
itself. The faces are polygons on a canvas of bytes, drawn three times too large and scaled down; the mouths open with
the loudness of the sound.
"""

from __future__ import annotations

import array
import io
import itertools
import math
import random
import wave
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.video.reformatter import Interpolation

from lipsync_batch.sandbox.voice import speak

HERE = Path(__file__).parent
WIDTH, HEIGHT = 480, 360
SCALE = 3
"""The canvas is this many times larger than the picture: scaling it down smooths the edges."""
RATE = 25

Point = tuple[float, float]
Color = tuple[int, int, int]

WHITE = (255, 255, 255)
INK = (44, 36, 40)


class Canvas:
    """An RGB picture to paint on, in the coordinates of the finished picture."""

    def __init__(self, pixels: bytes | None = None) -> None:
        self.width, self.height = WIDTH * SCALE, HEIGHT * SCALE
        self.pixels = bytearray(pixels or bytes(self.width * self.height * 3))

    def polygon(self, points: Sequence[Point], color: Color, opacity: float = 1.0) -> None:
        """Fill a polygon, line by line."""
        paint = _painter(color, opacity)
        scaled = [(x * SCALE, y * SCALE) for x, y in points]
        top = max(0, math.floor(min(y for _, y in scaled)))
        bottom = min(self.height, math.ceil(max(y for _, y in scaled)))
        for row in range(top, bottom):
            crossings = sorted(_crossings(scaled, row + 0.5))
            for left, right in zip(crossings[::2], crossings[1::2], strict=True):
                first, last = max(0, round(left)), min(self.width, round(right))
                if first < last:
                    start, end = (row * self.width + first) * 3, (row * self.width + last) * 3
                    self.pixels[start:end] = paint(self.pixels[start:end])

    def ellipse(self, center: Point, radii: Point, color: Color, opacity: float = 1.0) -> None:
        self.polygon(arc(center, radii, 0, 360), color, opacity)

    def stroke(self, points: Sequence[Point], thickness: float, color: Color) -> None:
        """A line with round ends along `points`."""
        for start, end in itertools.pairwise(points):
            self.polygon(_bar(start, end, thickness), color)
        for point in points:
            self.ellipse(point, (thickness / 2, thickness / 2), color)

    def frame(self) -> av.VideoFrame:
        """The finished picture, scaled down, in the colours that H.264 takes."""
        large = av.VideoFrame(self.width, self.height, "rgb24")
        plane = large.planes[0]
        if plane.line_size == self.width * 3:
            plane.update(bytes(self.pixels))
        else:
            row, padding = self.width * 3, bytes(plane.line_size - self.width * 3)
            lines = (self.pixels[start : start + row] for start in range(0, len(self.pixels), row))
            plane.update(b"".join(bytes(line) + padding for line in lines))
        return large.reformat(WIDTH, HEIGHT, "yuv420p", interpolation=Interpolation.AREA)


def _painter(color: Color, opacity: float) -> Callable[[bytearray], bytes | bytearray]:
    """What turns a run of pixels into the same run with `color` over it."""
    if opacity >= 1:
        return lambda run: bytes(color) * (len(run) // 3)
    tables = [bytes(round(old + (new - old) * opacity) for old in range(256)) for new in color]

    def mix(run: bytearray) -> bytearray:
        for channel, table in enumerate(tables):
            run[channel::3] = run[channel::3].translate(table)
        return run

    return mix


def _crossings(points: Sequence[Point], y: float) -> Iterator[float]:
    """Where the outline crosses the horizontal line at `y`."""
    for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
        if (y0 <= y) != (y1 <= y):
            yield x0 + (y - y0) * (x1 - x0) / (y1 - y0)


def _bar(start: Point, end: Point, thickness: float) -> list[Point]:
    """The rectangle around a straight line."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = math.hypot(dx, dy) or 1.0
    nx, ny = -dy / length * thickness / 2, dx / length * thickness / 2
    (x0, y0), (x1, y1) = start, end
    return [(x0 + nx, y0 + ny), (x1 + nx, y1 + ny), (x1 - nx, y1 - ny), (x0 - nx, y0 - ny)]


def arc(center: Point, radii: Point, start: float, end: float, steps: int = 48) -> list[Point]:
    """Points along an ellipse; degrees, clockwise from three o'clock as y points down."""
    angles = (math.radians(start + (end - start) * step / steps) for step in range(steps + 1))
    return [(center[0] + radii[0] * math.cos(angle), center[1] + radii[1] * math.sin(angle)) for angle in angles]


@dataclass(frozen=True, kw_only=True)
class Pose:
    """A moment of a face: how far mouth, eyes and brows are up, from 0 to 1, and where the head is, in pixels."""

    mouth: float
    eyes: float
    brows: float
    head: Point


@dataclass(frozen=True, kw_only=True)
class Look:
    """What makes a face somebody's."""

    wall: tuple[Color, Color]
    """The background, from its middle to its edge."""
    skin: Color
    shade: Color
    blush: Color
    hair: Color
    shine: Color
    iris: Color
    lips: Color
    shirt: Color
    collar: Color


ADA = Look(
    wall=((126, 205, 196), (60, 150, 152)),
    skin=(196, 134, 96),
    shade=(168, 108, 76),
    blush=(222, 104, 84),
    hair=(52, 32, 38),
    shine=(92, 58, 62),
    iris=(94, 56, 34),
    lips=(184, 62, 72),
    shirt=(246, 190, 70),
    collar=(226, 160, 44),
)
BEN = Look(
    wall=((255, 214, 150), (240, 160, 104)),
    skin=(250, 208, 178),
    shade=(228, 172, 140),
    blush=(244, 132, 112),
    hair=(196, 92, 40),
    shine=(222, 124, 62),
    iris=(62, 122, 168),
    lips=(236, 134, 122),
    shirt=(58, 84, 138),
    collar=(42, 64, 110),
)


def draw_wall(look: Look) -> bytes:
    """The background, drawn once for a film: rings of light behind the head."""
    canvas = Canvas()
    middle, edge = look.wall
    rings = 28
    for ring in range(rings, 0, -1):
        part = (ring - 1) / (rings - 1)
        color = tuple(round(inner + (outer - inner) * part) for inner, outer in zip(middle, edge, strict=True))
        radius = 300 * ring / rings + 40
        canvas.ellipse((240, 165), (radius * 1.1, radius), (color[0], color[1], color[2]))
    return bytes(canvas.pixels)


def draw_ada(canvas: Canvas, pose: Pose) -> None:
    """Dark hair in a bun, round glasses, earrings."""
    x, y = pose.head
    canvas.ellipse((x, y - 122), (42, 38), ADA.hair)
    canvas.ellipse((x - 12, y - 132), (15, 10), ADA.shine, 0.6)
    canvas.ellipse((x, y - 8), (102, 116), ADA.hair)
    canvas.ellipse((x, y + 40), (96, 78), ADA.hair)
    draw_body(canvas, ADA, (x, y), 27)
    draw_head(canvas, ADA, (x, y), (80, 98))
    fringe = [*arc((x, y - 22), (90, 94), 180, 360), *arc((x + 45, y - 22), (45, 44), 0, -145)]
    fringe += [*arc((x - 42, y - 24), (48, 36), -25, -180)]
    canvas.polygon(fringe, ADA.hair)
    canvas.stroke(arc((x, y - 8), (88, 96), 232, 308, 24), 9, (236, 120, 96))
    canvas.stroke(arc((x, y - 10), (70, 72), 222, 258, 10), 5, ADA.shine)
    draw_features(canvas, ADA, pose)
    for side in (-1, 1):
        canvas.stroke(arc((x + side * 34, y - 4), (26, 25), 0, 360, 36), 3.5, (60, 44, 92))
        canvas.stroke([(x + side * 60, y - 8), (x + side * 78, y - 14)], 3.5, (60, 44, 92))
        canvas.ellipse((x + side * 83, y + 36), (6, 6), (250, 214, 96))
        canvas.ellipse((x + side * 83, y + 50), (7, 9), (236, 120, 96))
    canvas.stroke(arc((x, y - 4), (9, 7), 200, 340, 8), 3.5, (60, 44, 92))


def draw_ben(canvas: Canvas, pose: Pose) -> None:
    """Ginger curls, a beard, freckles."""
    x, y = pose.head
    draw_body(canvas, BEN, (x, y), 34)
    for side in (-1, 1):
        canvas.ellipse((x + side * 86, y + 6), (16, 22), BEN.skin)
        canvas.ellipse((x + side * 88, y + 7), (8, 13), BEN.shade)
    canvas.ellipse((x, y - 10), (90, 96), BEN.hair)
    draw_head(canvas, BEN, (x, y), (84, 98))
    canvas.polygon([*arc((x, y + 16), (86, 98), -22, 202), *arc((x, y - 4), (70, 52), 180, 0)], BEN.hair)
    for side in (-1, 1):
        canvas.polygon([*arc((x + side * 15, y + 48), (25, 12), 160, 380)], BEN.hair)
    for step in range(9):
        angle = math.radians(192 + step * 19.5)
        center = (x + 78 * math.cos(angle), y - 22 + 74 * math.sin(angle))
        canvas.ellipse(center, (25, 23), BEN.hair)
        canvas.stroke(arc(center, (14, 12), 190, 290, 8), 3.5, BEN.shine)
    draw_features(canvas, BEN, pose)
    for dx, dy in ((-50, 20), (-41, 26), (-52, 28), (50, 20), (41, 26), (52, 28)):
        canvas.ellipse((x + dx, y + dy), (1.8, 1.6), (206, 132, 92))


def draw_body(canvas: Canvas, look: Look, head: Point, neck: float) -> None:
    """Shoulders that stay, and a neck that goes with the head."""
    x, y = head
    canvas.ellipse((240, 392), (158, 104), look.shirt)
    canvas.ellipse((240, 300), (neck + 26, 30), look.collar)
    canvas.polygon([(x - neck, y + 60), (x + neck, y + 60), (240 + neck + 4, 300), (240 - neck - 4, 300)], look.skin)
    canvas.ellipse((240, 300), (neck + 4, 18), look.skin)
    canvas.ellipse((x, y + 96), (neck + 1, 20), look.shade)


def draw_head(canvas: Canvas, look: Look, head: Point, radii: Point) -> None:
    """A face without features: rounder above, narrower at the chin."""
    x, y = head
    canvas.polygon(
        [*arc((x, y - 10), radii, 180, 360), *arc((x, y - 10), (radii[0], radii[1] + 14), 0, 180)],
        look.skin,
    )
    for side in (-1, 1):
        for step in range(4):
            canvas.ellipse((x + side * 50, y + 34), (21 - step * 4, 14 - step * 3), look.blush, 0.12)


def draw_features(canvas: Canvas, look: Look, pose: Pose) -> None:
    """Eyes, brows, nose and mouth."""
    x, y = pose.head
    for side in (-1, 1):
        draw_eye(canvas, look, (x + side * 34, y - 4), pose)
        lift = y - 38 - 7 * pose.brows
        canvas.stroke(arc((x + side * 35, lift + 16), (24, 17), 222, 318, 10), 5.5, look.hair)
    canvas.stroke(arc((x, y + 20), (9, 8), 30, 150, 10), 4, look.shade)
    draw_mouth(canvas, look, (x, y + 56), pose.mouth)


def draw_eye(canvas: Canvas, look: Look, center: Point, pose: Pose) -> None:
    x, y = center
    if pose.eyes < 0.2:
        canvas.stroke(arc(center, (14, 6), 20, 160, 10), 3.5, INK)
        return
    canvas.ellipse(center, (15, 15 * pose.eyes), WHITE)
    size = min(1.0, pose.eyes * 1.1)
    canvas.ellipse((x, y + 1), (9.5, 9.5 * size), look.iris)
    canvas.ellipse((x, y + 1), (5, 5 * size), INK)
    canvas.ellipse((x + 4, y - 3 * pose.eyes), (3, 3 * size), WHITE)
    canvas.stroke(arc(center, (16, 15.5 * pose.eyes), 195, 345, 14), 3.5, INK)


def draw_mouth(canvas: Canvas, look: Look, center: Point, openness: float) -> None:
    """From a smile, over lips that part, to a round vowel with teeth and tongue."""
    x, y = center
    width = 27 - 6 * openness
    if openness < 0.08:
        canvas.stroke(arc((x, y - 14), (width, 18), 30, 150, 16), 5, look.lips)
        return
    drop = 5 + 23 * openness
    outer = [*arc((x, y), (width, 6 + 5 * openness), 180, 360, 24), *arc((x, y), (width, drop + 4), 0, 180, 24)]
    canvas.polygon(outer, look.lips)
    inside = (width - 5, 2.5 + 3.5 * openness, drop - 1)
    canvas.polygon(
        [*arc((x, y), inside[:2], 180, 360, 24), *arc((x, y), (inside[0], inside[2]), 0, 180, 24)], (92, 26, 36)
    )
    if openness > 0.3:
        canvas.ellipse((x, y + drop * 0.72), (width * 0.52, drop * 0.3), (222, 104, 108))
    teeth = 2 + 4 * openness
    upper = arc((x, y), (inside[0] - 2, inside[1] - 0.5), 180, 360, 24)
    lower = [(inside[0] - 4, teeth / 2), (inside[0] - 8, teeth), (8 - inside[0], teeth), (4 - inside[0], teeth / 2)]
    canvas.polygon([*upper, *((x + dx, y + dy) for dx, dy in lower)], WHITE)


@dataclass(frozen=True, kw_only=True)
class Sound:
    """Mono 16-bit samples."""

    samples: array.array[int]
    rate: int

    @classmethod
    def spoken(cls, text: str, speaker: str, *, before: float = 0.0, after: float = 0.0) -> Sound:
        """Speech with silence around it, in seconds."""
        with wave.open(io.BytesIO(speak(text, speaker))) as file:
            rate = file.getframerate()
            speech = file.readframes(file.getnframes())
        silence = [bytes(2 * round(rate * seconds)) for seconds in (before, after)]
        return cls(samples=array.array("h", silence[0] + speech + silence[1]), rate=rate)

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    def loudness(self) -> list[float]:
        """From 0 to 1, one value a picture, a little smoothed."""
        step = self.rate / RATE
        windows = [self.samples[round(i * step) : round((i + 1) * step)] for i in range(math.ceil(self.seconds * RATE))]
        levels = [math.sqrt(sum(sample * sample for sample in window) / max(1, len(window))) for window in windows]
        loud = sorted(levels)[int(len(levels) * 0.95)] or 1.0
        shaped = [min(1.0, level / loud) ** 0.7 for level in levels]
        around = zip([0.0, *shaped], shaped, [*shaped[1:], 0.0], strict=False)
        return [0.15 * before + 0.7 * now + 0.15 * after for before, now, after in around]


def act(sound: Sound, seed: int) -> Iterator[Pose]:
    """How a head moves while it says `sound`: it sways, blinks, and lifts its brows where it grows loud."""
    chance = random.Random(seed)
    blinks = {round((second + chance.uniform(0.2, 0.9)) * RATE) for second in (0.3, 2.0, 3.3)}
    brows = 0.0
    for number, mouth in enumerate(sound.loudness()):
        seconds = number / RATE
        brows += 0.2 * (mouth - brows)
        near = min(abs(number - blink) for blink in blinks)
        sway = (240 + 5 * math.sin(seconds * 1.7 + seed), 168 + 2.5 * math.sin(seconds * 3.1) - 3 * brows)
        yield Pose(mouth=mouth, eyes=(0.0, 0.55)[near] if near < 2 else 1.0, brows=brows, head=sway)


def film(path: Path, sound: Sound, pictures: Iterable[av.VideoFrame]) -> None:
    """Write pictures and sound as MP4."""
    with av.open(path, "w", options={"movflags": "faststart"}) as out:
        video = out.add_stream("libx264", rate=RATE, options={"crf": "24", "preset": "slow"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = out.add_stream("aac", rate=sound.rate, layout="mono")
        audio.bit_rate = 48_000
        for number, picture in enumerate(pictures):
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            out.mux(video.encode(picture))
        out.mux(video.encode(None))
        for frame in audio_frames(sound):
            out.mux(audio.encode(frame))
        out.mux(audio.encode(None))


def audio_frames(sound: Sound, size: int = 1024) -> Iterator[av.AudioFrame]:
    """The sound in pieces of `size` samples, as AAC takes them."""
    resampler = av.AudioResampler("fltp", "mono", sound.rate, frame_size=size)
    frame = av.AudioFrame("s16", "mono", len(sound.samples))
    frame.planes[0].update(sound.samples.tobytes() + bytes(frame.planes[0].buffer_size - 2 * len(sound.samples)))
    frame.sample_rate, frame.pts, frame.time_base = sound.rate, 0, Fraction(1, sound.rate)
    yield from resampler.resample(frame)
    yield from resampler.resample(None)


def make_face(name: str, look: Look, draw: Callable[[Canvas, Pose], None], sound: Sound, seed: int) -> None:
    wall = draw_wall(look)

    def pictures() -> Iterator[av.VideoFrame]:
        for pose in act(sound, seed):
            canvas = Canvas(wall)
            draw(canvas, pose)
            yield canvas.frame()

    film(HERE / f"{name}.mp4", sound, pictures())


def main() -> None:
    ada = Sound.spoken(
        "Hello, I am Ada. Give me your words, and I will say them for you.", "Emily", before=0.2, after=0.3
    )
    ben = Sound.spoken("Hi there, this is Ben. I speak any language that you like.", "Oliver", before=0.2, after=0.3)
    make_face("ada", ADA, draw_ada, ada, seed=1)
    make_face("ben", BEN, draw_ben, ben, seed=4)
    greeting = Sound.spoken("Good morning, and welcome. It is lovely to see you here today.", "Sophia")
    with wave.open(str(HERE / "greeting.wav"), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(greeting.rate)
        out.writeframes(greeting.samples.tobytes())


if __name__ == "__main__":
    main()
