"""A film of the pictures that a run has left."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

# Pixels: of a frame's width at most, and of the strip with the iteration above it.
WIDTH, STRIP = 1280, 34
# Milliseconds: of all frames but the last, one of them at most, the last.
LENGTH, LONGEST, LAST = 8000, 400, 2500


class Frame(NamedTuple):
    """A picture of a run.

    Attributes:
        iteration: Steps that were done.
        path: The PNG.
    """

    iteration: int
    path: Path


def frames_of(work_dir: Path, name: str) -> list[Frame]:
    """The pictures of a run by their iterations, of all of its folders.

    A run that was killed and resumed has a folder for each start, named by its time. What a later
    one has drawn from an iteration on stands in the place of what earlier ones had.

    Args:
        work_dir: Of the run.
        name: Of the pictures, as the run's hook calls them.
    """
    kept = list[Frame]()
    pattern = re.compile(rf'{re.escape(name)}_(\d+)\.png')
    for folder in sorted(work_dir.glob('*/vis_data/vis_image')):
        found = sorted(
            Frame(int(match[1]), path)
            for path in folder.iterdir()
            if (match := pattern.fullmatch(path.name))
        )
        if found:
            kept = [frame for frame in kept if frame.iteration < found[0].iteration] + found
    return kept


def durations(count: int) -> list[int]:
    """Milliseconds that each frame is shown; the last is held."""
    return [min(LONGEST, LENGTH // max(1, count - 1))] * (count - 1) + [LAST]


def pictures_of(frames: Sequence[Frame]) -> Iterator[Image.Image]:
    """The frames of a film, one at a time, of one size, with their iterations above them."""
    size = None
    for frame in frames:
        with Image.open(frame.path) as image:
            picture = image.convert('RGB')
        if size is None:
            width = min(WIDTH, picture.width)
            # Even, as video wants it.
            size = width - width % 2, round(picture.height * width / picture.width) // 2 * 2
        if picture.size != size:
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        yield _with_iteration(picture, frame.iteration, frames[-1].iteration)


def _with_iteration(picture: Image.Image, iteration: int, last: int) -> Image.Image:
    """A strip above with the number and how far that is."""
    frame = Image.new('RGB', (picture.width, picture.height + STRIP), 'white')
    frame.paste(picture, (0, STRIP))
    draw = ImageDraw.Draw(frame)
    font = ImageFont.truetype(font_manager.findfont('DejaVu Sans'), 17)
    text = f'iteration {iteration:,}'
    draw.text((10, 7), text, fill='black', font=font)
    begin, end = 190, picture.width - 12
    if end <= begin:
        return frame
    draw.rectangle((begin, 14, end, 20), fill='#dddddd')
    if last and iteration:
        draw.rectangle((begin, 14, begin + (end - begin) * iteration // last, 20), fill='#1f77b4')
    return frame


def write_animation(frames: Sequence[Frame], path: Path, kind: str) -> None:
    """Write a film that browsers and documents show.

    Args:
        frames: In order.
        path: Of the file.
        kind: 'GIF' or 'WEBP'.
    """
    pictures = pictures_of(frames)
    first = next(pictures)
    options = dict(save_all=True, duration=durations(len(frames)), loop=0)
    if kind == 'GIF':
        # A palette that all frames have: colours do not flicker.
        palette = _palette(frames)
        to_draw = (each.quantize(palette=palette, dither=Image.Dither.NONE) for each in pictures)
        first = first.quantize(palette=palette, dither=Image.Dither.NONE)
        first.save(path, 'GIF', append_images=to_draw, **options)
    else:
        first.save(path, kind, append_images=pictures, quality=80, **options)


def _palette(frames: Sequence[Frame]) -> Image.Image:
    """256 colours of the first, the middle and the last frame."""
    some = list(pictures_of([frames[place] for place in {0, len(frames) // 2, len(frames) - 1}]))
    sheet = Image.new('RGB', (some[0].width, some[0].height * len(some)))
    for number, each in enumerate(some):
        sheet.paste(each, (0, number * each.height))
    return sheet.quantize(256, Image.Quantize.MEDIANCUT)
