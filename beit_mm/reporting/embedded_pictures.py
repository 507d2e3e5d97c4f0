"""Pictures inside a page: no larger than a screen shows, a few of many."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ..datasets.reading.measuring import spread

# Pixels of an edge, bytes of a picture, and pictures of a run and of a film of one.
LONGEST, MOST_BYTES, MOST_PICTURES, MOST_FRAMES = 1600, 700_000, 24, 5
# The page draws these itself.
DRAWN_HERE = ('curves.png',)
KNOWN = {
    'reconstructions': 'Images held out: what the network saw of them and what it filled in',
    'neighbours': 'Images held out, and those that the network takes for most alike',
    'confusion': 'True classes and those that were predicted',
    'segmentations': 'Masks, true and predicted',
}


def chosen(pictures: Sequence[Path]) -> list[Path]:
    """Those that a page shows: of many frames of one folder the first, the last, some between."""
    shown: list[Path] = []
    frames: dict[Path, list[Path]] = {}
    for path in pictures:
        if path.parent.name == 'vis_image':
            frames.setdefault(path.parent, []).append(path)
        elif path.name not in DRAWN_HERE:
            shown.append(path)
    for film in frames.values():
        shown += spread(film, MOST_FRAMES)
    return shown[:MOST_PICTURES]


def embedded(path: Path) -> tuple[str, int, int]:
    """A picture as a data URL, and the width and height that it has there.

    Raises:
        OSError: If it cannot be read.
    """
    with Image.open(path) as opened:
        picture = opened.convert('RGB')
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    # Of which the last has to do.
    for kind, quality in (('png', 0), ('jpeg', 88), ('jpeg', 75), ('jpeg', 55)):
        content = io.BytesIO()
        picture.save(content, kind, quality=quality, optimize=True)
        if content.tell() <= MOST_BYTES:
            break
    data = base64.b64encode(content.getvalue()).decode()
    return f'data:image/{kind};base64,{data}', *picture.size


def caption_of(path: Path) -> str:
    """What a picture shows, by its name; the name itself where that tells nothing.

    >>> caption_of(Path('neighbours.png')), caption_of(Path('look_rollout.png'))
    ('Images held out, and those that the network takes for most alike', 'look rollout')
    >>> caption_of(Path('20260101_000000/vis_data/vis_image/reconstructions_600.png'))
    'reconstructions after 600 iterations'
    """
    stem, _, step = path.stem.rpartition('_')
    if path.parent.name == 'vis_image' and step.isdigit():
        return f'{stem.replace("_", " ")} after {int(step):,} iterations'
    return KNOWN.get(path.stem, path.stem.replace('_', ' '))
