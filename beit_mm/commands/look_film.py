"""``beit-mm look film``: the pictures of a run one after the other, as it learned."""

import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..checkpoints.writing import written_elsewhere
from ..component import ConfigError, in_a_line
from ..datasets.reading.measuring import spread
from ..visualization.films import Frame, durations, frames_of, pictures_of, write_animation
from .picture_files import picture_path
from .trained import pretrainings_in

# What ReconstructionsHook calls its pictures; runs before it drew as they learned have the second.
NAMES = ('learning', 'reconstructions')
KINDS = {'.gif': 'GIF', '.webp': 'WEBP', '.mp4': 'mp4v'}
# Pictures of a film at most: a longer one would not fit into memory; those of a video, a second.
FRAMES = 120
RATE = 10


def look_film(work_dir: str | Path, out: str | Path | None = None) -> Path:
    """Make a film of a run's pictures of the same held-out images.

    Args:
        work_dir: Of a run; of a folder of ``beit-mm pretrain`` or the quickstart the Transformer's.
        out: The film, .gif, .webp or .mp4; by default ``work_dirs/look/film.gif``.

    Returns:
        The film.

    Raises:
        ConfigError: If there are no pictures, or this machine's OpenCV writes no such video.
    """
    path = picture_path(out, 'film', tuple(KINDS))
    given = Path(work_dir).expanduser()
    if not given.is_dir():
        raise ConfigError(f'{work_dir}: there is no such folder')
    frames = [frame for frame in _frames_in(given) if _can_be_read(frame)]
    if not frames:
        raise ConfigError(
            f'{work_dir} has no pictures of a run: beit_mm.ReconstructionsHook draws them, in '
            'custom_hooks, where there is val_dataloader'
        )
    shown = spread(frames, FRAMES)
    left = f', {len(shown)} of them' if len(shown) < len(frames) else ''
    with written_elsewhere(path) as unfinished:
        if path.suffix == '.mp4':
            _write_video(shown, unfinished)
        else:
            write_animation(shown, unfinished, KINDS[path.suffix])
    if len(frames) == 1:
        print(
            f'{path}, a single picture, of iteration {frames[0].iteration}: the run has drawn no '
            'others; interval of ReconstructionsHook says how often it draws'
        )
        return path
    print(
        f'{path}, {len(frames)} pictures{left}, from iteration {frames[0].iteration} to '
        f'{frames[-1].iteration}'
    )
    return path


def _frames_in(folder: Path) -> list[Frame]:
    """Of a run, of a stage inside of a folder, or of the newest quickstart's."""
    runs = pretrainings_in(folder)
    return next((found for name in NAMES for run in runs if (found := frames_of(run, name))), [])


def _can_be_read(frame: Frame) -> bool:
    """Whether a picture is whole; one that is not is told: a full disk, a killed run."""
    try:
        with Image.open(frame.path) as picture:
            picture.load()
    except Exception as error:
        print(f'{frame.path}: left out, {in_a_line(error)}', file=sys.stderr)
        return False
    return True


def _write_video(frames: list[Frame], path: Path) -> None:
    writer = None
    for picture, shown in zip(pictures_of(frames), durations(len(frames)), strict=True):
        if writer is None:
            code = cv2.VideoWriter.fourcc(*KINDS['.mp4'])
            writer = cv2.VideoWriter(str(path), code, RATE, picture.size)
            if not writer.isOpened():
                raise ConfigError('OpenCV writes no .mp4 on this machine: give --out film.gif')
        pixels = np.ascontiguousarray(np.asarray(picture)[..., ::-1])
        for _ in range(max(1, round(shown * RATE / 1000))):
            writer.write(pixels)
    if writer is not None:
        writer.release()
        # It is silent of a full disk.
        written = cv2.VideoCapture(str(path))
        if not written.isOpened() or written.get(cv2.CAP_PROP_FRAME_COUNT) < len(frames):
            raise OSError('the video could not be written whole: is the disk full?')
        written.release()
