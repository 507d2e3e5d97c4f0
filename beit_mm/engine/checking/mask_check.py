"""A look at some annotations of a segmentation: which classes occur, and what is ignored."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ...component import Component, Note
from ...datasets.annotations import LoadLabels
from ...datasets.label_files import renumber
from ...datasets.reading.broken_image import BrokenImage

# How many annotations are looked at, and about how many pixels of each.
LOOKED_AT, PIXELS = 20, 250_000
# MMSegmentation's label of what does not count.
IGNORED = 255
# From which share of ignored pixels on it is said.
MUCH = 0.5


def check_masks(dataset: Component, paths: Sequence[Path], num_classes: int) -> Iterator[str]:
    """What the annotations of a training set hold, beside what the head expects.

    Args:
        dataset: Of MMSegmentation, with the pipeline and what it does with labels.
        paths: Annotations, single-channel pictures.
        num_classes: Of the decode head.
    """
    places = np.linspace(0, len(paths) - 1, min(len(paths), LOOKED_AT)).astype(int)
    chosen = [paths[place] for place in places]
    where, ignored_label = dataset.key, dataset.get('ignore_index') or IGNORED
    loader = loader_of(dataset)
    if 0 <= ignored_label < num_classes:
        yield (
            f'{where}: {ignored_label} is ignored, and with {num_classes} classes it is one of '
            "them; set ignore_index to 65535 here, in the heads, the metrics and beit_mm's steps, "
            'and seg_pad_val of the data preprocessor too'
        )
        return
    raw, counts = np.zeros(2**16, np.int64), np.zeros(2**16, np.int64)
    for path in chosen:
        try:
            found = _values(path, loader)
        except (BrokenImage, ValueError) as error:
            yield f'{where}: {error}'
            return
        if found is None:
            return
        values, numbers = found
        raw[values] += numbers
        labels = _seen_by_loss(values.astype(np.int64), dataset)
        np.add.at(counts, labels, numbers)
        wrong = values[(labels >= num_classes) & (labels != ignored_label)]
        if len(wrong):
            yield (
                f'{where}: {path} has the label(s) {_few(wrong.tolist())}; with '
                f'model.decode_head.num_classes={num_classes} those that count are 0 to '
                f'{num_classes - 1}{_after_zero(dataset)}, and {ignored_label} is ignored'
            )
            return
    there = np.flatnonzero(raw).tolist()
    ignored = counts[ignored_label] / counts.sum()
    counts[ignored_label] = 0
    never = np.flatnonzero(counts[:num_classes] == 0).tolist()
    if ignored_label in there and len(there) == 2 and num_classes == 2 and never:
        other = next(value for value in there if value != ignored_label)
        yield (
            f'{where}: the annotations hold {other} and {ignored_label} alone, and '
            f'{ignored_label} is ignored: one class is left. If {ignored_label} is the object, put '
            f"dict(type='beit_mm.MapLabels', label_map={{{ignored_label}: {never[0]}}}) after "
            'the step that loads annotations into every pipeline'
        )
        return
    if ignored == 1:
        yield (
            f'{where}: all pixels of {len(chosen)} annotations are ignored (label {ignored_label}'
            f'{_after_zero(dataset)}); they hold {_few(there)}'
        )
        return
    if never:
        yield Note(
            f'{where}: {len(never)} of {num_classes} classes do not occur in '
            f'{len(chosen)} annotations that were looked at: {_few(never)}.'
        )
    if ignored > MUCH:
        yield Note(
            f'{where}: {ignored:.0%} of the pixels of {len(chosen)} annotations are '
            f'ignored (label {ignored_label}{_after_zero(dataset)}).'
        )


def loader_of(dataset: Component) -> LoadLabels | None:
    """This project's step that loads annotations, if the pipeline has it."""
    for step in dataset.get('pipeline') or []:
        if str(step.get('type')).endswith('LoadLabels'):
            return LoadLabels(**{key: value for key, value in step.items() if key != 'type'})
    return None


def _values(path: Path, loader: LoadLabels | None) -> tuple[np.ndarray, np.ndarray] | None:
    """(labels, how many pixels have each) of an annotation; None if it is no picture of labels."""
    if loader is not None:
        labels = loader.read(str(path))
    else:
        try:
            with Image.open(path) as image:
                labels = np.asarray(image)
        except OSError:
            return None
    if labels.ndim != 2 or labels.dtype not in (np.uint8, np.uint16, np.int32, bool):
        return None
    step = max(1, int((labels.size / PIXELS) ** 0.5))
    return np.unique(labels[::step, ::step].astype(np.uint16), return_counts=True)


def _moves_down(dataset: Component) -> bool:
    """Whether 0 means unlabelled: the step that loads annotations says so, or else the data set."""
    for step in dataset.get('pipeline') or []:
        if str(step.get('type')).endswith('LoadAnnotations') and step.get('reduce_zero_label'):
            return True
    return bool(dataset.get('reduce_zero_label'))


def _seen_by_loss(labels: np.ndarray, dataset: Component) -> np.ndarray:
    """Labels for the loss: behind ``reduce_zero_label``, ``label_map`` and ``MapLabels``."""
    loader = loader_of(dataset)
    ignored = IGNORED if loader is None else loader.ignore_index
    if _moves_down(dataset):
        # MMSegmentation's: 0 is ignored, the others move down, ignored stays.
        labels = np.where((labels == 0) | (labels == ignored), ignored, labels - 1)
    if label_map := dataset.get('label_map'):
        # Of a data set that keeps some of its classes.
        labels = renumber(labels, label_map)
    for step in dataset.get('pipeline') or []:
        if str(step.get('type')).endswith('MapLabels'):
            mapped = {int(old): new for old, new in step['label_map'].items()}
            labels = np.array([mapped.get(int(label), int(label)) for label in labels], np.int64)
    return labels


def _after_zero(dataset: Component) -> str:
    return ' after reduce_zero_label' if _moves_down(dataset) else ''


def _few(labels: Sequence[int]) -> str:
    more = ' ...' if len(labels) > 8 else ''
    return ', '.join(map(str, labels[:8])) + more
