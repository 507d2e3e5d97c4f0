"""Images that may have several labels, or none: their lists, and what was learned."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..engine.starting.stages import minutes as as_minutes
from ..visualization import draw_curves, draw_precisions
from .output_files import write_table
from .photos import Photos
from .run_folder import RunFolder
from .trained import load_trained, predict_files

# What parts the labels of an image in the tables that are written; finetune reads it too.
BETWEEN = '|'
# Classes that the screen shows: the worst and the best.
SHOWN = 5


def list_of(photos: Photos, names: Sequence[str]) -> str:
    """Images and the numbers of their classes, as MMPretrain's ``MultiLabelDataset`` reads them."""
    numbers = {label: index for index, label in enumerate(photos.classes)}
    rows = [
        dict(img_path=name, gt_label=[numbers[label] for label in (photos.several or {})[name]])
        for name in names
    ]
    about = dict(metainfo=dict(classes=photos.classes), data_list=rows)
    return json.dumps(about, ensure_ascii=False, indent=1) + '\n'


def read_list(path: Path, classes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Path -> names of the classes, of a list that :func:`list_of` has made."""
    rows = json.loads(path.read_text(encoding='utf-8'))['data_list']
    return {row['img_path']: tuple(classes[n] for n in row['gt_label']) for row in rows}


def look_back_at_several(run: RunFolder, photos: Photos, start: float, chosen_by: str) -> str:
    """Predict what was held out, write pictures and report, and return what the user is told."""
    # It needs MMPretrain, which the package does not.
    from mmpretrain.evaluation import AveragePrecision

    trained = load_trained(run.path)
    truths, scores, rows = [], [], []
    labels = photos.several or {}
    held_out = predict_files(trained, photos.held_out, photos.inside)
    for (_, sample), name in zip(held_out, photos.val, strict=True):
        if sample is None:
            continue
        truths.append([label in labels[name] for label in trained.classes])
        scores.append(sample.pred_score.float().cpu().numpy())
        predicted = [trained.classes[index] for index in sample.pred_label.tolist()]
        rows.append((name, BETWEEN.join(labels[name]), BETWEEN.join(predicted),
                     *(f'{score:.4f}' for score in scores[-1])))  # fmt: skip
    head = ('path', 'labels', 'predicted', *trained.classes)
    write_table(run.path / 'predictions.csv', [head, *rows])
    truth = np.array(truths)
    precisions = AveragePrecision.calculate(
        torch.tensor(np.array(scores)), torch.tensor(truth).long(), average=None
    ).numpy()
    shares = 100 * truth.mean(axis=0)
    draw_precisions(precisions, shares, trained.classes, run.path / 'precision.png')
    draw_curves({'loss': (run.path / 'finetune', 'loss'),
                 'mAP of the held out, %': (run.path / 'finetune', 'multi-label/mAP')},
                run.path / 'curves.png')  # fmt: skip
    seconds = time.monotonic() - start
    figures = dict(
        mAP=round(float(precisions.mean()), 2),
        seconds=round(seconds, 1),
        by_class={n: round(float(p), 2) for n, p in zip(trained.classes, precisions, strict=True)},
    )
    run.write('report.json', json.dumps(figures, indent=2, ensure_ascii=False) + '\n')
    told = '\n'.join(
        [
            f'{precisions.mean():.1f} % mean average precision of the {len(rows)} images '
            f'{chosen_by}; by chance: {shares.mean():.1f} %',
            *_best_and_worst(precisions, truth.sum(axis=0), trained.classes),
            f'{as_minutes(seconds)} in all',
            'next:',
            f'  look                {run.path}: precision.png, curves.png, predictions.csv',
            f'  name an image       beit-mm predict {run.quoted} IMAGE',
            f'  take it elsewhere   beit-mm export {run.quoted} classifier.onnx',
        ]
    )
    table = [f'| {name} | {p:.1f} % | {share:.1f} % | {n} |' for name, p, share, n in
             zip(trained.classes, precisions, shares, truth.sum(axis=0), strict=True)]  # fmt: skip
    heads = ['| class | average precision | by chance | images |', '| --- | --- | --- | --- |']
    lines = ['# What came out', '', '```', told, '```', '', *heads, *table]
    run.write('report.md', '\n'.join(lines) + '\n')
    return f'\n{told}'


def _best_and_worst(precisions: np.ndarray, counts: np.ndarray, classes: list[str]) -> list[str]:
    """A line for each class, or for the worst and the best of many."""
    order = np.argsort(precisions, kind='stable')
    if len(order) > 2 * SHOWN:
        order = np.concatenate([order[:SHOWN], order[-SHOWN:]])
    width = max(len(classes[index]) for index in order)
    lines = [f'  {classes[i]:{width}}  {precisions[i]:5.1f} %  of {counts[i]}' for i in order]
    if len(classes) > 2 * SHOWN:
        lines.insert(SHOWN, f'  ... {len(classes) - 2 * SHOWN} more in report.md')
    return lines
