"""``beit-mm predict``: names of classes, or masks as pictures."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..checkpoints.writing import written_whole
from ..component import ConfigError, did_you_mean
from ..datasets.label_files import narrow
from ..datasets.reading.opening import FRAME, split_frame
from ..datasets.stacks import images_in_stacks
from ..visualization import paint_labels
from .output_files import output_file, write_table
from .photos import find_and_tell
from .several_labels import BETWEEN
from .trained import CLASSIFIER, SEGMENTOR, Trained, finished_run, load_trained, predict_files

# Of a classifier's answer on the screen.
NAMED = 3
# Of numbers of classes that are others than in the masks, how many are told.
MOST_NUMBERS = 12
NONE_DECODED = 'of {} images none can be decoded'


def predict(
    model: str | Path,
    images: Sequence[str | Path],
    out: str | Path | None = None,
    *,
    threshold: float | None = None,
    keep_scale: bool = False,
) -> list[tuple[Path, str, float]] | list[tuple[Path, dict[str, float]]] | list[Path]:
    """Name the class of images, or paint what is where in them.

    Args:
        model: Folder that ``beit-mm finetune`` or ``beit-mm segment`` has made.
        images: Files, or folders of them; of stacks all images.
        out: Of classes, a .csv file to write; of masks, a folder for the pictures, ``predicted``
            in the model's by default: under an image's name the number of a class in each pixel,
            and with ``_colours`` behind the name the same to look at.
        threshold: Of a model whose images have several labels, the probability from which on one
            is named; 0.5 by default.
        keep_scale: Of masks: whether a pixel is taken to show as much as in the images trained
            with, as where those were tiles and these are scenes. Without, an image is brought to
            their size, as photos are of more or fewer pixels.

    Returns:
        (file, class, probability) of each image; of a model with several labels (file, label ->
        probability) with those from the threshold on, the best first; or the files of the masks.

    Raises:
        ConfigError: If there is no such model or image.
    """
    finished_run(model, CLASSIFIER, SEGMENTOR)
    files = files_of(images)
    if threshold is not None and not 0 < threshold < 1:
        raise ConfigError(f'--threshold is {threshold:g}; it must be between 0 and 1')
    trained = load_trained(model)
    several = str(trained.cfg.model.get('head', {}).get('type')).startswith('MultiLabel')
    if threshold is not None and not several:
        raise ConfigError(f'--threshold is of labels, of which {model} gives one an image')
    if trained.segments:
        own = Path(model).expanduser() / 'predicted'
        folder = own if out is None else Path(out)
        return _masks(trained, files, folder, may_be_there=out is None, keep_scale=keep_scale)
    if keep_scale:
        raise ConfigError('--keep-scale is of models that beit-mm segment has made')
    target = None if out is None else output_file('--out', out, ['.csv'])
    if several:
        return _several(trained, files, target, threshold)
    return _names(trained, files, target)


def files_of(images: Sequence[str | Path]) -> dict[Path, Path]:
    """Files, with those of folders in the place of the folders -> their paths below those.

    Raises:
        ConfigError: If one is not there.
    """
    files: dict[Path, Path] = {}
    for given in images:
        # Not Path's own, which knows no name that begins so and is no user's, as of '~1.jpg'.
        path = Path(os.path.expanduser(given))
        if path.is_dir():
            files.update({path / name: Path(name) for name in find_and_tell(path)})
        elif Path(split_frame(str(path))[0]).exists():
            inside = images_in_stacks(path.parent, [path.name]).get(path.name, (path.name,))
            files.update({path.parent / name: Path(name) for name in inside})
        else:
            known = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            raise ConfigError(f'{given}: there is no such file{did_you_mean(path.name, known)}')
    if not files:
        raise ConfigError(f'{", ".join(map(str, images))}: there are no images')
    return files


def _names(
    trained: Trained, files: Mapping[Path, Path], out: Path | None
) -> list[tuple[Path, str, float]]:
    found = []
    for file, sample in predict_files(trained, list(files)):
        if sample is None:
            continue
        scores = sample.pred_score.cpu().numpy()
        best = np.argsort(-scores)[:NAMED]
        found.append((file, trained.classes[best[0]], float(scores[best[0]])))
        if out is None:
            said = ', '.join(f'{trained.classes[index]} {scores[index]:.1%}' for index in best)
            print(f'{file}: {said}')
    if not found:
        raise ConfigError(NONE_DECODED.format(len(files)))
    if out is not None:
        write_table(out, [('path', 'class', 'probability'), *found])
        print(f'{out}: {len(found)} images')
    return found


def _several(
    trained: Trained, files: Mapping[Path, Path], out: Path | None, threshold: float | None
) -> list[tuple[Path, dict[str, float]]]:
    """All labels from a threshold on; the table has all probabilities."""
    least = threshold or trained.model.head.thr or 0.5
    found, rows = [], []
    for file, sample in predict_files(trained, list(files)):
        if sample is None:
            continue
        scores = sample.pred_score.float().cpu().numpy()
        best = [index for index in np.argsort(-scores) if scores[index] >= least]
        named = {trained.classes[index]: float(scores[index]) for index in best}
        found.append((file, named))
        rows.append((file, BETWEEN.join(named), *(f'{score:.4f}' for score in scores)))
        if out is None:
            said = ', '.join(f'{name} {score:.1%}' for name, score in named.items())
            print(f'{file}: {said or f"none from {least:.0%} on"}')
    if not found:
        raise ConfigError(NONE_DECODED.format(len(files)))
    if out is not None:
        write_table(out, [('path', 'labels', *trained.classes), *rows])
        print(f'{out}: {len(found)} images')
    return found


def _masks(
    trained: Trained,
    files: Mapping[Path, Path],
    out: Path,
    may_be_there: bool,
    keep_scale: bool,
) -> list[Path]:
    # Of an image in a stack the name ends in '#' and what it is called there.
    targets = {
        file: out / below.with_name(f'{below.name.replace(FRAME, "_")}.png')
        if FRAME in below.name
        else out / below.with_suffix('.png')
        for file, below in files.items()
    }
    given = {file.resolve() for file in files}
    names = [name for path in targets.values() for name in (path, _painted(path))]
    for path in names:
        if path.exists() and (not may_be_there or path.resolve() in given):
            raise ConfigError(f'--out is {out}, where {path.name} is already; choose another')
    if len(set(names)) < len(names):
        raise ConfigError(
            'some images have one name but for their ending or their folder, and so would their '
            'masks: predict them one folder at a time'
        )
    palette = trained.cfg.val_dataloader.dataset.metainfo.palette
    written = []
    for file, sample in predict_files(trained, list(files), keep_scale=keep_scale):
        if sample is None:
            continue
        labels = narrow(sample.pred_sem_seg.data[0].cpu().numpy())
        path = targets[file]
        path.parent.mkdir(parents=True, exist_ok=True)
        painted = _painted(path)
        colours = paint_labels(labels, palette)[..., :3].copy()
        for target, pixels in ((path, labels), (painted, colours)):
            with written_whole(target) as picture:
                Image.fromarray(pixels).save(picture, 'PNG')
        shares = np.bincount(labels.ravel(), minlength=len(trained.classes)) / labels.size
        most = np.argsort(-shares)[:NAMED]
        said = ', '.join(f'{trained.classes[i]} {shares[i]:.0%}' for i in most if shares[i])
        print(f'{file}: {said} -> {painted}')
        written.append(path)
    if not written:
        raise ConfigError(NONE_DECODED.format(len(files)))
    if label_map := trained.cfg.get('label_map'):
        others = ', '.join(
            f'{new} for {old}' for old, new in list(label_map.items())[:MOST_NUMBERS]
        )
        print(f'numbers are not those of the masks that it has learned from: {others}')
    return written


def _painted(path: Path) -> Path:
    """Where the picture of a mask goes that is to be looked at."""
    return path.with_name(f'{path.stem}_colours.png')
