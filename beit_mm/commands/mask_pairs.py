"""Images and their masks."""

from pathlib import Path

import numpy as np
from PIL import Image

from ..component import ConfigError
from .photos import Photos, find_and_tell, hold_out, short_side

# EXIF's tag of how an image is turned; from 5 on it lies on its side.
EXIF_ORIENTATION = 0x0112
# Formats that keep no numbers.
LOSSY = ('.jpg', '.jpeg', '.jpe', '.jfif')
ARRAY = '.npy'


class MaskPairs:
    """Images and their masks, by the path below both folders without its ending.

    Args:
        images, masks: Folders.

    Raises:
        ConfigError: If there are fewer than four, or endings differ.
    """

    def __init__(self, images: Path, masks: Path) -> None:
        self.images, self.masks = images, masks
        found, drawn = find_and_tell(images), find_and_tell(masks)
        drawn += sorted({str(p.relative_to(masks)) for p in masks.rglob(f'*{ARRAY}')} - {*drawn})
        stems, marks = _by_stem(found), _by_stem(drawn)
        self.stems = sorted(stem for stem in stems if stem in marks)
        if len(self.stems) < 4:
            example = found[0] if found else 'cat.jpg'
            raise ConfigError(
                f'{images} and {masks} have {len(self.stems)} images with a mask; four is the '
                f'least: the mask of {example} is {Path(example).with_suffix(".png")}'
            )
        if left := len(stems) - len(self.stems):
            print(f'{left} of {len(stems)} images have no mask and are left out')
        self.image_ending = _only_ending(images, {stems[stem] for stem in self.stems})
        self.mask_ending = _only_ending(masks, {marks[stem] for stem in self.stems})
        if self.mask_ending.lower() in LOSSY:
            raise ConfigError(
                f'{masks} has masks that end in {self.mask_ending}, which changes the numbers in '
                'them; they must be .png'
            )
        for folder, names, by_stem in ((images, found, stems), (masks, drawn, marks)):
            if len(by_stem) < len(names):
                what = 'images' if folder is images else 'masks'
                raise ConfigError(f'{folder} has {what} that differ in their ending alone')

    def photos(self) -> Photos:
        """Every fifth is held out."""
        train, val = hold_out(self.stems, min(200, max(1, len(self.stems) // 5)))
        names = [f'{stem}{self.image_ending}' for stem in train]
        return Photos(self.images, train, val, {}, short_side(self.images, names))

    def image(self, stem: str) -> Path:
        """The file of an image."""
        return self.images / f'{stem}{self.image_ending}'

    def mask(self, stem: str) -> Path:
        """The file of a mask."""
        return self.masks / f'{stem}{self.mask_ending}'

    def check_size(self, stem: str, labels: np.ndarray) -> None:
        """Hold the size of a mask against that of its image.

        Args:
            stem: Of both.
            labels: (H, W, ...).

        Raises:
            ConfigError: If they differ.
        """
        with Image.open(self.image(stem)) as image:
            turned = image.getexif().get(EXIF_ORIENTATION, 1) >= 5
            size = image.size if turned else image.size[::-1]
        if labels.shape[:2] != size:
            raise ConfigError(
                f'the mask of {self.image(stem)} is {labels.shape[0]} x {labels.shape[1]} pixels '
                f'and the image {size[0]} x {size[1]}; they must be of one size'
            )


def _by_stem(names: list[str]) -> dict[str, str]:
    """Path without its ending -> ending."""
    return {str(Path(name).with_suffix('')): Path(name).suffix for name in names}


def _only_ending(folder: Path, endings: set[str]) -> str:
    if len(endings) > 1:
        raise ConfigError(
            f'{folder} has files that end in {" and in ".join(sorted(endings))}; all must end alike'
        )
    return endings.pop()
