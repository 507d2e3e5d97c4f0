"""``beit-mm look features``: the features of patches as colours."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..component import ConfigError
from ..datasets.reading.measuring import spread
from ..visualization import FeatureColours, draw_feature_colours
from .looked_images import backbone_for, look_at
from .picture_files import picture_path, write_picture
from .predicting import NONE_DECODED

# Images that the colours are chosen by, and those of them that are drawn.
FITTED, SHOWN = 256, 24
# Patches in a batch, and those whose coordinates tell black and white.
AT_ONCE, SAMPLED = 8192, 20_000


@torch.no_grad()
def look_features(
    weights: str | Path,
    images: Sequence[str | Path],
    size: int | None = None,
    block: int = -1,
    out: str | Path | None = None,
) -> Path:
    """Draw the first three principal components of patch features as red, green and blue.

    One basis is fitted to all images, or to 256 of them at even distances if there are more, and
    24 are drawn.

    Args:
        weights: What ``beit_mm.load`` takes, or the folder of a command.
        images: Files, or folders of them.
        size: Height and width of what the network sees; without, that of the weights. Larger ones
            have finer maps.
        block: Whose output the features are, counted from 0; negative ones from the end.
        out: The picture, .png; by default ``work_dirs/look/features.png``. Beside it ``.npz``:
            ``files`` (N,), ``features`` (N, C, h, w), ``coordinates`` (N, h, w, 3) along the
            components, and the basis: ``mean`` (C,), ``components`` (3, C), ``shares`` (3,), and
            ``low`` and ``high`` (3,), the coordinates that are black and white.

    Returns:
        The picture.

    Raises:
        ConfigError: If there is no such block, or no image.
    """
    path = picture_path(out, 'features')
    take, files = backbone_for(weights, images, size)
    blocks = take.model.num_layers
    if not -blocks <= block < blocks:
        raise ConfigError(f'--block is {block}; there are {blocks}, 0 to {blocks - 1}')
    take.model.out_indices = (block % blocks,)
    fitted = spread(list(files), FITTED)
    shown = set(spread(fitted, SHOWN))
    if len(shown) < len(files):
        print(
            f'{len(files)} images: colours are chosen by {len(fitted)} of them, {len(shown)} drawn',
            file=sys.stderr,
        )
    fit = FeatureColours(per_image=max(1, SAMPLED // len(fitted)))
    batch = max(1, AT_ONCE // (take.size // take.model.patch_size[0]) ** 2)
    kept, photos, features = list[Path](), [], []
    for seen in look_at(take, {file: files[file] for file in fitted}, batch):
        maps = take.model(seen.batch)[-1].float().cpu()
        fit.add(maps)
        for file, photo, one in zip(seen.files, seen.photos, maps, strict=True):
            if file in shown:
                kept.append(file)
                photos.append(photo)
                features.append(one)
    if not kept:
        raise ConfigError(NONE_DECODED.format(len(shown)))
    basis, maps = fit.basis(), torch.stack(features)
    coordinates = basis.coordinates(maps)
    what = f'patch features, block {block % blocks} (0 to {blocks - 1}),'
    figure = draw_feature_colours(photos, basis.colours(coordinates), basis.shares, what)
    names = np.array([str(file) for file in kept])
    arrays = dict(files=names, features=maps.numpy(), coordinates=coordinates, **basis._asdict())
    return write_picture(figure, path, arrays)
