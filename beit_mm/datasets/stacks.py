"""Files that hold a stack of images: each of its images takes part under a name of its own."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .finding import Found
from .reading.broken_image import BrokenImage
from .reading.known_formats import FORMAT_OF, ending_of
from .reading.measuring import MOST_ASKED, spread
from .reading.opening import FRAME, list_frames

# Formats of stacks, and those of which few files are one.
STACKS, RARELY = frozenset(('nii', 'npz', 'h5', 'zarr')), frozenset(('npy', 'dcm', 'tif'))
THREADS = 8
# Files of a format that are all opened.
FEW = 1000


def unroll(folder: str | Path, found: Found) -> Found:
    """Name the images of stacks one by one: ``scan.nii.gz#40`` in the place of ``scan.nii.gz``.

    All files are opened whose formats are made for stacks. Of more than a thousand TIFF, DICOM or
    .npy files some are opened, and all of a format if one of those is a stack. Pages of a TIFF that
    are no stack, and animations, stay one image.

    Args:
        folder: That was searched.
        found: What is in it.

    Returns:
        The same, or with more names. Files that cannot be read keep theirs.
    """
    if not set(found.kinds) & (STACKS | RARELY):
        return found
    frames = images_in_stacks(folder, found.names)
    if not frames:
        return found
    every = [image for name in found.names for image in frames.get(name, (name,))]
    return found._replace(names=every, stacks=len(frames))


def images_in_stacks(folder: str | Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Those of some files that hold a stack, see :func:`unroll` -> names of the images in it."""
    by_kind: dict[str, list[str]] = {}
    for name in names:
        kind = FORMAT_OF.get(ending_of(name), '')
        if kind in STACKS | RARELY:
            by_kind.setdefault(kind, []).append(name)
    frames: dict[str, list[str]] = {}
    for kind, files in by_kind.items():
        asked = spread(files, MOST_ASKED)
        if kind in RARELY and len(files) > FEW and not any(_frames(folder, asked).values()):
            continue
        frames.update(_frames(folder, files))
    return {
        name: [f'{name}{FRAME}{frame}' for frame in inside]
        for name, inside in frames.items()
        if inside
    }


def file_of(name: str) -> str:
    """The stack that :func:`unroll` has named an image of; any other image's name as it is."""
    path = name.rpartition(FRAME)[0]
    return path if FORMAT_OF.get(ending_of(path)) in STACKS | RARELY else name


def _frames(folder: str | Path, names: Sequence[str]) -> dict[str, list[str]]:
    """File -> names of the images in it, none of one that is no stack or cannot be read."""

    def one(name: str) -> list[str]:
        try:
            return list_frames(Path(folder, name))
        except (BrokenImage, OSError):
            return []

    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(names, pool.map(one, names), strict=True))
