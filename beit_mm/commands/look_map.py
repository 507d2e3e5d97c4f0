"""``beit-mm look map``: images in a plane, those that a network takes for alike together."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..component import ConfigError
from ..datasets.reading.measuring import spread
from ..datasets.stacks import file_of
from ..engine.measuring.feature_evaluation import knn_leave_one_out
from ..visualization import PrincipalComponents, cells_of, draw_image_map
from .features import Extractor
from .holding_out import LEAST_FILES
from .look_arguments import MAPS
from .looked_images import backbone_for, counted
from .looked_vectors import Vectors, class_of, small_photo, vectors_of
from .photos import labels_of
from .picture_files import picture_path, write_picture

# Images of a map, cells of its edge, pixels of a picture's edge.
MOST, CELLS, EDGE = 5000, 20, 64
# Numbers of a vector that t-SNE and UMAP are given, as their authors advise.
GIVEN = 50
NEIGHBORS = 20


def look_map(
    weights: str | Path,
    source: str | Path,
    size: int | None = None,
    how: str = MAPS[0],
    out: str | Path | None = None,
) -> Path:
    """Lay images out in a plane by their features, and tell the k-NN accuracy of their classes.

    Features are the mean of the patches' last hidden states, brought to length one, so that the
    map, like k-NN, is of their cosines. Of more than 5,000 images so many are taken, at even
    distances. k-NN is that of :func:`beit_mm.commands.evaluating.evaluate`, each image among all
    others.

    Args:
        weights: What ``beit_mm.load`` takes, or the folder of a command.
        source: Folder of images, of class folders, or of ``train`` and ``val`` with class folders;
            or a table with their labels.
        size: Height and width of what the network sees; without, that of the weights.
        how: 'pca', the first two principal components; 'tsne', which takes scikit-learn; 'umap',
            which takes umap-learn.
        out: The picture, .png; by default ``work_dirs/look/map.png``. Beside it ``.npz``:
            ``files`` (N,), ``features`` (N, C), ``coordinates`` (N, 2), ``labels`` (N,), '' where
            not known, and ``knn``, the accuracy in per cent, NaN without two classes.

    Returns:
        The picture.

    Raises:
        ConfigError: If there are not three images, or a package is missing.
    """
    path = picture_path(out, 'map')
    if how not in MAPS:
        raise ConfigError(f'--how is {how!r}; it must be one of {", ".join(MAPS)}')
    _import(how)
    found, labels, take = _vectors(weights, source, size)
    if len(found.files) < 3:
        raise ConfigError(f'{source} has {counted(len(found.files))}; a map takes three')
    coordinates, axes = _lay_out(found.features, how)
    title = f'{counted(len(found.files))} by their features'
    knn = _accuracy(found.features, labels, found.files)
    if knn is not None:
        title += f'; their {NEIGHBORS} nearest neighbours tell the class of {knn:.1f} %'
    chosen, places = cells_of(coordinates, CELLS)
    pictures = [small_photo(take, found.files[image], EDGE) for image in chosen]
    figure = draw_image_map(coordinates, labels, chosen, pictures, places, CELLS, title, axes)
    arrays = dict(
        files=np.array([str(file) for file in found.files]),
        features=found.features,
        coordinates=coordinates,
        labels=np.array(labels),
        knn=np.nan if knn is None else knn,
    )
    return write_picture(figure, path, arrays)


def _vectors(
    weights: str | Path, source: str | Path, size: int | None
) -> tuple[Vectors, list[str], Extractor]:
    """Vectors, the class of each, and the backbone."""
    table: dict[str, str] = {}
    given: Sequence[str | Path] = [source]
    if Path(source).expanduser().is_file():
        root, table, _ = labels_of(source, stacks=True)
        given = [root / name for name in table]
    take, files = backbone_for(weights, given, size)
    taken = spread(list(files), MOST)
    if len(taken) < len(files):
        print(f'{len(files)} images: the map is of {MOST} at even distances', file=sys.stderr)
    found = vectors_of(take, {file: files[file] for file in taken})
    if table:
        by_file = {root / name: label for name, label in table.items()}
        labels = [by_file[file] for file in found.files]
    else:
        labels = [class_of(files[file]) or '' for file in found.files]
    return found, labels if len({*labels} - {''}) > 1 else [''] * len(labels), take


def _accuracy(features: np.ndarray, labels: Sequence[str], files: Sequence[Path]) -> float | None:
    """Of k-NN, in per cent, told; None without two classes."""
    classes = sorted({*labels} - {''})
    if not classes:
        return None
    known = np.array([bool(label) for label in labels])
    numbers = torch.tensor([classes.index(label) for label in labels if label])
    # Images of one stack are alike; a file that holds all of them is no such stack.
    stacks = [file_of(str(file)) for file, label in zip(files, labels, strict=True) if label]
    several = LEAST_FILES <= len({*stacks}) < len(stacks)
    groups = torch.from_numpy(np.unique(stacks, return_inverse=True)[1]) if several else None
    knn = knn_leave_one_out(torch.from_numpy(features[known]), numbers, NEIGHBORS, groups=groups)
    commonest = 100 * float(numbers.bincount().max()) / len(numbers)
    others = ' of other stacks' if several else ''
    print(f'{len(numbers)} images of {len(classes)} classes, each among all others{others}')
    print(f'{NEIGHBORS} nearest neighbours  {knn:5.1f} % top-1')
    print(f'commonest class        {commonest:5.1f} %')
    return knn


def _lay_out(features: np.ndarray, how: str) -> tuple[np.ndarray, tuple[str, str]]:
    """Coordinates (N, 2) float32, and what they are."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    rows = torch.from_numpy(features / np.maximum(lengths, 1e-12)).double()
    fit = PrincipalComponents()
    fit.add(rows)
    components, shares = fit.first(2 if how == 'pca' else min(GIVEN, len(rows)))
    given = ((rows - fit.mean).numpy() @ components.T).astype(np.float32)
    if how == 'pca':
        first, second = (f'{share:.0%} of the variance' for share in shares)
        return given, (f'first principal component, {first}', f'second, {second}')
    print(f'{len(rows)} images are laid out by {how}', file=sys.stderr)
    if how == 'tsne':
        perplexity = min(30.0, (len(rows) - 1) / 3)
        model = _import(how)(perplexity=perplexity, init='pca', random_state=0)
        return model.fit_transform(given).astype(np.float32), ('t-SNE', '')
    model = _import(how)(n_neighbors=min(15, len(rows) - 1), random_state=0, n_jobs=1)
    return model.fit_transform(given).astype(np.float32), ('UMAP', '')


def _import(how: str):
    """What lays images out; None for principal components.

    Raises:
        ConfigError: If its package is missing.
    """
    try:
        if how == 'tsne':
            from sklearn.manifold import TSNE

            return TSNE
        if how == 'umap':
            from umap import UMAP

            return UMAP
    except ImportError as error:
        package = {'tsne': 'scikit-learn', 'umap': 'umap-learn'}[how]
        raise ConfigError(
            f"--how {how} takes {package}: pip install 'beit-mm[look]' ({error})"
        ) from error
    return None
