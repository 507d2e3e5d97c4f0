"""``beit-mm look attention``, ``rollout`` and ``distance``: where a network looks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..component import ConfigError
from ..datasets.reading.measuring import spread
from ..visualization.attention_maps import (
    attention_distances,
    attention_rollout,
    attention_rows,
    patch_distances,
    place_of,
)
from ..visualization.attention_overlays import (
    Point,
    Row,
    S,
    draw_attention,
    draw_distances,
    draw_rollouts,
)
from .features import Extractor
from .looked_images import LookedAt, backbone_for, counted, look_at
from .picture_files import picture_path, write_picture

# Images of a picture of attention and of rollouts; and those that distances are averaged over, as
# many as in the paper of ViT (D.7).
ROWS, ROLLED, AVERAGED = 8, 16, 128
# Images at once, and their patches: a matrix of all by all of one is 64 MB at 1024 pixels.
BATCH, PATCHES = 8, 4096
ALL, MEAN = 'all', 'mean'
CENTRE = (0.5, 0.5)
QUARTERS = ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))


def look_attention(
    weights: str | Path,
    images: Sequence[str | Path],
    size: int | None = None,
    out: str | Path | None = None,
    *,
    block: int = -1,
    head: str = MEAN,
    points: Sequence[tuple[float, float]] | None = None,
) -> Path:
    """Draw what points of images attend to (BEiT, figure 2).

    Args:
        weights: What ``beit_mm.load`` takes, or the folder of a command.
        images: Files, or folders of them; of more than 8, as many from all over them.
        size: Height and width of what the network sees; without, that of the weights.
        out: The picture, .png; by default ``work_dirs/look/attention.png``. Beside it ``.npz``:
            ``attention`` (B, Q, heads, h, w), ``to_s`` (B, Q, heads), what goes to [S], ``points``
            (Q, 2), NaN of [S], ``photos`` (B, S, S, 3) uint8 and ``names`` (B,).
        block: Counted from 0; negative ones from the end.
        head: ``mean``, ``all`` for the mean and each, or a number, counted from 0.
        points: Fractions of the height and width of the middle of an image, which the network
            sees. Without, [S], the centre and, but for all heads, the middles of the quarters.

    Returns:
        The picture.

    Raises:
        ConfigError: If there is no such block or head, or a point lies outside.
    """
    path = picture_path(out, 'attention')
    take, files = backbone_with_token(weights, images, size)
    count = len(take.model.blocks)
    if not -count <= block < count:
        raise ConfigError(f'--block is {block}; there are {count}, 0 to {count - 1}')
    heads = take.model.blocks[block].attn.num_heads
    if head not in (ALL, MEAN, *map(str, range(heads))):
        raise ConfigError(f'--head is {head}; it must be all, mean, or one of 0 to {heads - 1}')
    asked = _points(points, [None, CENTRE] if head == ALL else [None, CENTRE, *QUARTERS])
    grid = _grid(take.size, take.model.patch_size)
    tokens = [0 if point is None else place_of(point, grid) for point in asked]
    probabilities, names, photos = _computed(
        take, files, ROWS, lambda batch: attention_rows(take.model, batch, tokens, block)
    )
    maps = probabilities[..., 1:].unflatten(-1, grid).numpy()
    title = f'Self-attention, block {block % count}'
    title += '' if head == ALL else ', mean of the heads' if head == MEAN else f', head {head}'
    stems = [Path(name).stem for name in names]
    figure = draw_attention(*_rows(stems, photos, maps, asked, head), title)
    arrays = dict(
        attention=maps,
        to_s=probabilities[..., 0].numpy(),
        points=np.array([(np.nan, np.nan) if point is None else point for point in asked]),
        photos=photos,
        names=np.array(names),
    )
    return write_picture(figure, path, arrays)


def _points(
    given: Sequence[tuple[float, float]] | None, otherwise: Sequence[Point]
) -> Sequence[Point]:
    for point in given or ():
        if not all(0 <= share <= 1 for share in point):
            raise ConfigError(
                f'--points has {point[0]:g},{point[1]:g}; it must be two fractions from 0 to 1, of '
                'height and width'
            )
    return given or otherwise


def _rows(
    names: Sequence[str],
    photos: np.ndarray,
    maps: np.ndarray,
    points: Sequence[Point],
    head: str,
) -> tuple[list[Row], list[str]]:
    """Rows of the picture, and what its columns are: heads, or points."""
    if head != ALL:
        chosen = maps.mean(axis=2) if head == MEAN else maps[:, :, int(head)]
        numbers = iter(range(1, len(points) + 1))
        columns = [S if point is None else f'point {next(numbers)}' for point in points]
        each = zip(names, photos, chosen, strict=True)
        return [Row(name, photo, heats, points) for name, photo, heats in each], columns
    rows, heads = list[Row](), maps.shape[2]
    for name, photo, of_image in zip(names, photos, maps, strict=True):
        for point, heats in zip(points, of_image, strict=True):
            drawn = np.concatenate([heats.mean(axis=0, keepdims=True), heats])
            whose = S if point is None else '{:g}, {:g}'.format(*point)
            rows.append(Row(f'{name}\n{whose}', photo, drawn, [point] * len(drawn)))
    return rows, [MEAN, *(f'head {index}' for index in range(heads))]


def look_rollout(
    weights: str | Path,
    images: Sequence[str | Path],
    size: int | None = None,
    out: str | Path | None = None,
) -> Path:
    """Draw what [S] draws on through all blocks: attention rollout (arXiv 2005.00928; ViT, D.8).

    Args:
        weights: What ``beit_mm.load`` takes, or the folder of a command.
        images: Files, or folders of them; of more than 16, as many from all over them.
        size: Height and width of what the network sees; without, that of the weights.
        out: The picture, .png; by default ``work_dirs/look/rollout.png``. Beside it ``.npz``:
            ``rollout`` (B, h, w), ``on_s`` (B,), what is left on [S], ``photos`` (B, S, S, 3) uint8
            and ``names`` (B,).

    Returns:
        The picture.
    """
    path = picture_path(out, 'rollout')
    return rollouts_of(*backbone_with_token(weights, images, size), path)


def rollouts_of(take: Extractor, files: Mapping[Path, Path], path: Path) -> Path:
    """Write what :func:`look_rollout` does, of a network and images that were found."""
    grid = _grid(take.size, take.model.patch_size)
    shares, names, photos = _computed(
        take, files, ROLLED, lambda batch: attention_rollout(take.model, batch)
    )
    maps = shares[:, 1:].unflatten(1, grid).numpy()
    arrays = dict(rollout=maps, on_s=shares[:, 0].numpy(), photos=photos, names=np.array(names))
    return write_picture(draw_rollouts(photos, maps), path, arrays)


def look_distance(
    weights: str | Path,
    images: Sequence[str | Path],
    size: int | None = None,
    out: str | Path | None = None,
) -> Path:
    """Draw how far each head looks, by depth (ViT, figure 7, right).

    Args:
        weights: What ``beit_mm.load`` takes, or the folder of a command.
        images: Files, or folders of them; of more than 128, as many from all over them.
        size: Height and width of what the network sees; without, that of the weights.
        out: The picture, .png; by default ``work_dirs/look/distance.png``. Beside it ``.npz``:
            ``distances`` (B, blocks, heads) in pixels, ``uniform``, that of attention which goes
            to all patches alike, and ``names`` (B,).

    Returns:
        The picture.
    """
    path = picture_path(out, 'distance')
    take, files = backbone_with_token(weights, images, size)
    arrays = distances_of(take, files)
    title = f'{counted(len(arrays["names"]))} of {take.size} pixels'
    figure = draw_distances(arrays['distances'].mean(axis=0), float(arrays['uniform']), title)
    return write_picture(figure, path, arrays)


def distances_of(take: Extractor, files: Mapping[Path, Path]) -> dict[str, np.ndarray]:
    """The arrays that :func:`look_distance` writes, of a network and images that were found."""
    found, names = list[Tensor](), list[str]()
    for part in _looked(take, files, AVERAGED):
        found.append(attention_distances(take.model, part.batch).cpu())
        names += part.names
    grid = _grid(take.size, take.model.patch_size)
    uniform = patch_distances(grid, take.model.patch_size).mean()
    return dict(distances=torch.cat(found).numpy(), uniform=uniform.numpy(), names=np.array(names))


def _grid(size: int, patch_size: tuple[int, int]) -> tuple[int, int]:
    return size // patch_size[0], size // patch_size[1]


def _looked(take: Extractor, files: Mapping[Path, Path], most: int) -> Iterator[LookedAt]:
    """Some of the images, at even steps: the first of a folder of classes are all of one class."""
    chosen = dict(spread(list(files.items()), most))
    height, width = _grid(take.size, take.model.patch_size)
    batch_size = max(1, min(BATCH, PATCHES // (height * width)))
    return look_at(take, chosen, batch_size)


def _computed(
    take: Extractor, files: Mapping[Path, Path], most: int, compute: Callable[[Tensor], Tensor]
) -> tuple[Tensor, list[str], np.ndarray]:
    """What is computed of some of the images, on the CPU; their names; and photos, (B, S, S, 3)."""
    found, names, photos = list[Tensor](), list[str](), list[np.ndarray]()
    for part in _looked(take, files, most):
        found.append(compute(part.batch).cpu())
        names += part.names
        photos.append(part.photos)
    return torch.cat(found), names, np.concatenate(photos)


def backbone_with_token(
    weights: str | Path, images: Sequence[str | Path], size: int | None
) -> tuple[Extractor, dict[Path, Path]]:
    """:func:`backbone_for`, of weights with [S] before the patches and nothing else.

    Raises:
        ConfigError: If there is no such token, or another one beside it.
    """
    take, files = backbone_for(weights, images, size)
    if take.model.num_extra_tokens != 1:
        raise ConfigError(
            f'{weights} has {take.model.num_extra_tokens} tokens before the patches; these '
            'pictures are of [S] alone: look at its features'
        )
    return take, files
