"""Images and their masks."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..component import ConfigError
from ..datasets.coco_masks import CocoAnnotations
from ..datasets.reading.opening import size_of
from ..datasets.stacks import images_in_stacks
from .holding_out import hold_out
from .how_to_read import HowToRead
from .photos import Chooser, Photos, decodable, find_and_tell, short_side

# Formats that keep no numbers.
LOSSY = ('.jpg', '.jpeg', '.jpe', '.jfif')
ARRAY = '.npy'
# Images with a mask.
LEAST = 4


class MaskPairs(NamedTuple):
    """Images and their masks.

    Attributes:
        images, masks: Folders.
        stems: Paths below both, without the endings.
        image_ending, mask_ending: '' where the stem is the whole name.
    """

    images: Path
    masks: Path
    stems: list[str]
    image_ending: str
    mask_ending: str

    def photos(self, choose: Chooser) -> Photos:
        """Every fifth is held out.

        Args:
            choose: How they are read.
        """
        train, val = hold_out(self.stems, min(200, max(1, len(self.stems) // 5)))
        names = [f'{stem}{self.image_ending}' for stem in train]
        how = choose(self.images, names)
        return Photos(self.images, train, val, {}, short_side(self.images, names), how)

    def decodable(self, stems: Sequence[str], how: HowToRead) -> list[str]:
        """Those held out whose image can be decoded, as validation looks at each; the rest is told.

        Args:
            stems: Of all held out.
            how: They are read.

        Raises:
            ConfigError: If there is none.
        """
        names = {f'{stem}{self.image_ending}': stem for stem in stems}
        kept = [names[name] for name in decodable(self.images, [*names], how)]
        if not kept:
            raise ConfigError(
                f'of {len(stems)} images held out of {self.images}, none can be decoded'
            )
        return kept

    def image(self, stem: str) -> Path:
        """The file of an image."""
        return self.images / f'{stem}{self.image_ending}'

    def mask(self, stem: str) -> Path:
        """The file of a mask."""
        return self.masks / f'{stem}{self.mask_ending}'

    def check_size(self, stem: str, shape: tuple[int, ...]) -> None:
        """Hold the size of a mask against that of its image.

        Args:
            stem: Of both.
            shape: Of the mask, (H, W, ...).

        Raises:
            ConfigError: If they differ.
        """
        size = size_of(self.image(stem))
        if shape[:2] != size:
            raise ConfigError(
                f'the mask of {self.image(stem)} is {shape[0]} x {shape[1]} pixels '
                f'and the image {size[0]} x {size[1]}; they must be of one size'
            )


def find_pairs(images: Path, masks: Path, least: int = LEAST) -> MaskPairs:
    """Images and masks of one path below their folders, but for the ending; of stacks all images.

    A mask may have the whole name of its image before its own ending, too.

    Args:
        images, masks: The folders.
        least: Images with a mask that there must be.

    Raises:
        ConfigError: If there are fewer, or endings differ.
    """
    found, drawn = (list(find_and_tell(root, stacks=False)) for root in (images, masks))
    drawn += sorted({str(p.relative_to(masks)) for p in masks.rglob(f'*{ARRAY}')} - {*drawn})
    by_stem, marks = _by_stem(found), _by_stem(drawn)
    if found and not any(stem in marks for stem in by_stem) and any(n in marks for n in found):
        # As those are called that were drawn of annotations: the mask of 1.jpg is 1.jpg.png.
        by_stem = dict.fromkeys(found, '')
    stems = sorted(stem for stem in by_stem if stem in marks)
    if len(stems) < least:
        example = found[0] if found else 'cat.jpg'
        raise ConfigError(
            f'{images} and {masks} have {len(stems)} images with a mask; {least} is the '
            f'least: the mask of {example} is {Path(example).with_suffix(".png")}'
        )
    if left := len(by_stem) - len(stems):
        print(f'{left} of {len(by_stem)} images have no mask and are left out')
    names = [f'{stem}{by_stem[stem]}' for stem in stems]
    stacks = images_in_stacks(images, names)
    if any(len(inside) > 1 for inside in stacks.values()):
        inside_of = {name: stacks.get(name, [name]) for name in names}
        return _pairs_of_slices(images, masks, inside_of, {f'{s}{marks[s]}' for s in stems})
    image_ending = _only_ending(images, {by_stem[stem] for stem in stems})
    mask_ending = _only_ending(masks, {marks[stem] for stem in stems})
    if mask_ending.lower() in LOSSY:
        raise ConfigError(
            f'{masks} has masks that end in {mask_ending}, which changes the numbers in '
            'them; write them as .png, .tif, .bmp or .npy'
        )
    for what, names, known in (('images', found, by_stem), ('masks', drawn, marks)):
        if len(known) < len(names):
            folder = images if what == 'images' else masks
            raise ConfigError(f'{folder} has {what} that differ in their ending alone')
    return MaskPairs(images, masks, stems, image_ending, mask_ending)


def _pairs_of_slices(
    images: Path, masks: Path, inside_of: Mapping[str, Sequence[str]], drawn: Collection[str]
) -> MaskPairs:
    """The images in stacks, and those of the same numbers in the masks of the same names.

    Args:
        images, masks: The folders.
        inside_of: File -> names of its images; of one that is no stack its own.
        drawn: Files of masks.

    Raises:
        ConfigError: If a mask is called otherwise, or holds more or fewer.
    """
    if missing := [name for name in inside_of if name not in drawn]:
        raise ConfigError(
            f'{images / missing[0]} holds {len(inside_of[missing[0]])} images, and there is no '
            f'{masks / missing[0]}: where there are stacks, a mask has the whole name of its image'
        )
    of_masks = images_in_stacks(masks, [*inside_of])
    for name, inside in inside_of.items():
        there = of_masks.get(name, [name])
        if there != inside:
            raise ConfigError(
                f'{images / name} holds {len(inside)} images and its mask {len(there)}; they must '
                'be as many'
            )
    stems = [image for inside in inside_of.values() for image in inside]
    print(f'{len(stems)} images in {len(inside_of)} files, each of a stack by itself')
    return MaskPairs(images, masks, stems, '', '')


def pairs_of_coco(
    images: Path, coco: CocoAnnotations, masks: Path, least: int = LEAST
) -> tuple[MaskPairs, dict[str, str]]:
    """Images that annotations are of, with the masks that are to be drawn into a folder.

    Returns:
        The pairs, and file as the annotations name it -> path of its mask.

    Raises:
        ConfigError: If there are fewer than ``least``, or one has another size than the annotations
            say.
    """
    found = find_and_tell(images, stacks=False)
    there, stems = set(found), {}
    for file in coco.sizes:
        # Tools for labelling put folders of their own before the name.
        stem = next((name for name in (file, Path(file).name) if name in there), None)
        if stem is not None:
            stems[file] = stem
    different = len(set(stems.values()))
    if different < least or different < len(stems):
        raise ConfigError(
            f'of {len(coco.sizes)} images with annotations, such as {next(iter(coco.sizes), "")}, '
            f'{different} are in {images}; {least} is the least, and each once'
        )
    for what, left in (('annotated images are not there', len(coco.sizes) - len(stems)),
                       ('images are not annotated', len(there) - len(stems))):  # fmt: skip
        if left:
            print(f'{left} {what}, and left out')
    pairs = MaskPairs(images, masks, sorted(stems.values()), '', '.png')
    for file, stem in stems.items():
        pairs.check_size(stem, coco.sizes[file])
    return pairs, {file: f'{stem}.png' for file, stem in stems.items()}


def _by_stem(names: list[str]) -> dict[str, str]:
    """Path without its ending -> ending."""
    return {str(Path(name).with_suffix('')): Path(name).suffix for name in names}


def _only_ending(folder: Path, endings: set[str]) -> str:
    if len(endings) > 1:
        raise ConfigError(
            f'{folder} has files that end in {" and in ".join(sorted(endings))}; all must end alike'
        )
    return endings.pop()
