"""Which figures of a stage make which charts, of one run or of several over each other."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .charts import Chart, Line
from .curve import Curve
from .run_record import StageRecord

TRAIN, VAL, BESIDE = 'train', 'val', 'beside'


class Series(NamedTuple):
    """A figure of a chart.

    Attributes:
        name: In the log.
        of: Training's or validation's.
        label: For the legend.
        kind: How it is drawn.
    """

    name: str
    of: str
    label: str
    kind: str


def _train(name: str, label: str = 'training', kind: str = TRAIN) -> Series:
    return Series(name, TRAIN, label, kind)


def _val(name: str, label: str = 'validation', kind: str = VAL) -> Series:
    return Series(name, VAL, label, kind)


CHARTS = {
    'Loss': [_train('loss'), _val('loss')],
    'Accuracy on hidden tokens, %': [
        _train('mim_acc'),
        _val('mim/acc'),
        _val('mim/commonest', 'the commonest token', BESIDE),
        _train('mim_commonest', "a batch's commonest token", BESIDE),
    ],
    "Error of the tokenizer's pictures": [
        _train('recon_mse'),
        _val('tokenizer/recon_mse'),
        _val('tokenizer/kmeans_mse', 'k-means of patches', BESIDE),
    ],
    'Codes in use': [
        _train('codes_used', 'in a batch'),
        _train('mim_codes', 'in a batch'),
        _val('tokenizer/codes_used'),
        _val('mim/codes_used'),
    ],
    'Perplexity of the codes': [
        _train('perplexity', 'of a batch'),
        _val('tokenizer/perplexity'),
        _val('mim/perplexity'),
        _val('tokenizer/kmeans_perplexity', 'k-means of patches', BESIDE),
    ],
    'Error of hidden patches': [_val('mim/mse')],
    'Learning rate': [_train('lr'), _train('base_lr', 'of the last layer')],
    'Norm of the gradient': [_train('grad_norm')],
    'Steps clipped, %': [_train('grad_clipped')],
}
# Of what the loop's time is made, of a validation too.
NO_SCORES = ('time', 'data_time', 'tokenizer/mean_mse', 'tokenizer/places', 'mim/places')


def charts_of(stages: Sequence[tuple[str, StageRecord]]) -> Iterator[Chart]:
    """The charts of a stage of one or several runs.

    Args:
        stages: Name of the run, and its stage.
    """
    known = {(series.of, series.name) for chart in CHARTS.values() for series in chart}
    scores = dict.fromkeys(
        name for _, stage in stages for name in stage.val
        if (VAL, name) not in known and name not in NO_SCORES
    )  # fmt: skip
    every = {**CHARTS, **{name: [_val(name)] for name in scores}}
    for title, wanted in every.items():
        if lines := list(_lines(stages, wanted)):
            yield Chart(title, lines, *_how(title, stages))
    for title, compute in (('Images a second', _speed), ('Time waited for data, %', _waiting)):
        lines = [
            Line(run if len(stages) > 1 else 'training', curve, index)
            for index, (run, stage) in enumerate(stages)
            if (curve := compute(stage)) is not None
        ]
        if lines:
            yield Chart(title, lines, True)


def _how(title: str, stages: Sequence[tuple[str, StageRecord]]) -> tuple:
    """Whether steps are even, and what is marked."""
    if title == 'Norm of the gradient':
        most = {stage.amount('optim_wrapper.clip_grad.max_norm') for _, stage in stages}
        if len(most) == 1 and (level := most.pop()) is not None:
            return None, (float(level), f'clipped above {level:g}')
        return (None,)
    return (None if title == 'Loss' else True,)


def _lines(stages: Sequence[tuple[str, StageRecord]], wanted: list[Series]) -> Iterator[Line]:
    for index, (run, stage) in enumerate(stages):
        shown: list[Series] = []
        for series in wanted:
            curves = stage.train if series.of == TRAIN else stage.val
            if series.name not in curves:
                continue
            if series.kind == BESIDE and any(one.kind == BESIDE for one in shown):
                continue
            shown.append(series)
            if len(stages) == 1:
                yield Line(series.label, curves[series.name], len(shown) - 1, series.kind)
            else:
                yield Line(f'{run}, {series.label}', curves[series.name], index, series.kind)


def _speed(stage: StageRecord) -> Curve | None:
    time, images = stage.train.get('time'), stage.images_a_step
    if time is None or images is None:
        return None
    return Curve(time.steps, images / np.maximum(time.values, 1e-9))


def _waiting(stage: StageRecord) -> Curve | None:
    time, waited = stage.train.get('time'), stage.train.get('data_time')
    if time is None or waited is None or len(time.steps) != len(waited.steps):
        return None
    return Curve(time.steps, 100 * waited.values / np.maximum(time.values, 1e-9))
