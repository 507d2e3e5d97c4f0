"""``beit-mm look film``: the pictures of a run one after the other, as it learned."""

from pathlib import Path

import cv2
import numpy as np

from ..checkpoints.writing import partial_path, put_in_place
from ..component import ConfigError
from ..visualization.films import Frame, durations, frames_of, pictures_of, thinned, write_animation
from .picture_files import picture_path
from .trained import STAGES

# What ReconstructionsHook calls its pictures; runs before it drew as they learned have the second.
NAMES = ('learning', 'reconstructions')
KINDS = {'.gif': 'GIF', '.webp': 'WEBP', '.mp4': 'mp4v'}
# Of a video, a second.
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
    frames = _frames_in(given)
    if not frames:
        raise ConfigError(
            f'{work_dir} has no pictures of a run: beit_mm.ReconstructionsHook draws them, in '
            'custom_hooks, where there is val_dataloader'
        )
    shown = thinned(frames)
    left = f', {len(shown)} of them' if len(shown) < len(frames) else ''
    unfinished = partial_path(path)
    if path.suffix == '.mp4':
        # OpenCV goes by the ending.
        video = unfinished.with_name(f'{unfinished.name}.mp4')
        _write_video(shown, video)
        video.replace(unfinished)
    else:
        write_animation(shown, unfinished, KINDS[path.suffix])
    put_in_place(path)
    print(
        f'{path}, {len(frames)} pictures{left}, from iteration {frames[0].iteration} to '
        f'{frames[-1].iteration}'
    )
    return path


def _frames_in(folder: Path) -> list[Frame]:
    """Of a run, of a stage inside of a folder, or of the newest quickstart's."""
    inside = (each for stage in STAGES for each in (folder / stage, *folder.glob(f'*/{stage}')))
    inner = [folder, *sorted(inside, reverse=True)]
    return next((found for name in NAMES for each in inner if (found := frames_of(each, name))), [])


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
