"""``beit-mm predict``: names of classes, or masks as pictures."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..component import ConfigError, did_you_mean
from ..visualization import paint_labels
from .photos import find_and_tell
from .trained import CLASSIFIER, SEGMENTOR, Trained, finished_run, load_trained, predict_files

# Of a classifier's answer on the screen.
NAMED = 3


def predict(
    model: str | Path, images: Sequence[str | Path], out: str | Path | None = None
) -> list[tuple[Path, str, float]] | list[Path]:
    """Name the class of images, or paint what is where in them.

    Args:
        model: Folder that ``beit-mm finetune`` or ``beit-mm segment`` has made.
        images: Files, or folders of them.
        out: Of classes, a .csv file to write; of masks, a folder for the pictures, ``masks`` by
            default: under an image's name the number of a class in each pixel, and with
            ``_colours`` behind the name the same to look at.

    Returns:
        (file, class, probability) of each image, or the files of the masks.

    Raises:
        ConfigError: If there is no such model or image.
    """
    finished_run(model, CLASSIFIER, SEGMENTOR)
    files = files_of(images)
    trained = load_trained(model)
    if trained.segments:
        return _masks(trained, files, Path(out or 'masks'))
    if out is not None and Path(out).suffix != '.csv':
        raise ConfigError(f'--out is {out}; it must end in .csv')
    return _names(trained, files, None if out is None else Path(out))


def files_of(images: Sequence[str | Path]) -> list[Path]:
    """Files, with those of folders in the place of the folders.

    Raises:
        ConfigError: If one is not there.
    """
    files = []
    for given in images:
        path = Path(given).expanduser()
        if path.is_dir():
            files += [path / name for name in find_and_tell(path)]
        elif path.is_file():
            files.append(path)
        else:
            known = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            raise ConfigError(f'{given}: there is no such file{did_you_mean(path.name, known)}')
    if not files:
        raise ConfigError(f'{", ".join(map(str, images))}: there are no images')
    return files


def _names(trained: Trained, files: list[Path], out: Path | None) -> list[tuple[Path, str, float]]:
    found = []
    for file, sample in predict_files(trained, files):
        if sample is None:
            continue
        scores = sample.pred_score.cpu().numpy()
        best = np.argsort(-scores)[:NAMED]
        found.append((file, trained.classes[best[0]], float(scores[best[0]])))
        if out is None:
            said = ', '.join(f'{trained.classes[index]} {scores[index]:.1%}' for index in best)
            print(f'{file}: {said}')
    if out is not None:
        with out.open('w', encoding='utf-8', newline='') as table:
            csv.writer(table).writerows([('path', 'class', 'probability'), *found])
        print(f'{out}: {len(found)} images')
    return found


def _masks(trained: Trained, files: list[Path], out: Path) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    palette = trained.cfg.val_dataloader.dataset.metainfo.palette
    written = []
    for file, sample in predict_files(trained, files):
        if sample is None:
            continue
        labels = sample.pred_sem_seg.data[0].cpu().numpy().astype(np.uint8)
        path = out / f'{file.stem}.png'
        Image.fromarray(labels).save(path)
        painted = out / f'{file.stem}_colours.png'
        Image.fromarray(paint_labels(labels, palette)).save(painted)
        shares = np.bincount(labels.ravel(), minlength=len(trained.classes)) / labels.size
        most = np.argsort(-shares)[:NAMED]
        said = ', '.join(f'{trained.classes[i]} {shares[i]:.0%}' for i in most if shares[i])
        print(f'{file}: {said} -> {painted}')
        written.append(path)
    return written
