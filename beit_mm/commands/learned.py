"""What a pre-training has learned: pictures, vectors of the images held out, a report."""

import functools
import json
import random
import shlex
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner
from PIL import Image
from torch import Tensor

from ..checkpoints import load_state_dict
from ..datasets.reading.measuring import spread
from ..datasets.sources.photo_source import photo_source
from ..engine.checking.config_check import enter_scope
from ..engine.measuring.collapse import evidence_of_collapse, what_to_try
from ..engine.starting.stages import minutes
from ..models.data_preprocessor import in_colors
from ..models.painter import painter_of
from ..models.whole_tokenizer import whole_tokenizer
from ..visualization import (
    draw_curves,
    draw_neighbours,
    draw_reconstructions,
    nearest_images,
    read_scalars,
    reconstruct,
)
from .how_to_read import HowToRead, how_of, picture_of
from .run_folder import RunFolder

# Of a panel: pictures side by side, queries below each other, pixels of a neighbour's edge.
COLUMNS, QUERIES, EDGE = 8, 6, 128


def draw_what_was_learned(out: Path) -> None:
    """Pictures of the run in a folder, see :func:`draw_pretraining`, and its curves."""
    cfg = Config.fromfile(out / 'pretrain.py')
    draw_pretraining(cfg, out / 'pretrained.pth', out)
    panels = {'loss': (out / 'pretrain', 'loss')}
    if 'MaskedAutoencoder' not in cfg.model.type:
        panels = {
            "tokenizer's error": (out / 'tokenizer', 'loss'),
            **panels,
            'hidden tokens predicted, %': (out / 'pretrain', 'mim_acc'),
        }
    draw_curves(panels, out / 'curves.png')


@torch.no_grad()
def draw_pretraining(cfg: Config, pretrained: Path, out: Path, seed: int = 0) -> None:
    """Write what was learned of the validation images.

    ``reconstructions.png``, eight of them as the tokenizer and the pre-trained BEiT see them, if
    the tokenizer has its decoder; ``features.npz``, a vector and a file name for each;
    ``neighbours.png``, which are alike.

    Args:
        cfg: Of the pre-training, with its tokenizer's weights and its data.
        pretrained: Its weights.
        out: Folder of the pictures.
        seed: Decides which eight, and what is hidden of them.
    """
    enter_scope(cfg.default_scope)
    how = how_of(cfg)
    cfg.val_dataloader.update(batch_size=COLUMNS, num_workers=0)
    cfg.val_dataloader.sampler.shuffle = True
    np.random.seed(seed)
    # Of the masks.
    random.seed(seed)
    mim = MODELS.build(cfg.model).eval()
    mim.load_state_dict(load_state_dict(pretrained))
    tokenizer = whole_tokenizer(cfg.model.target_generator)
    batch = next(iter(Runner.build_dataloader(cfg.val_dataloader, seed=seed)))
    colors = functools.partial(in_colors, mim.data_preprocessor)
    # Of two views the second is in [0, 1].
    one_view = len(batch['inputs']) == 1
    painter = painter_of(mim.target_generator, tokenizer, colors if one_view else None)
    if painter is not None:
        draw_reconstructions(
            reconstruct(mim, painter, batch, mean=True),
            out / 'reconstructions.png',
            bands=how.reading.names,
            note=painter.note,
        )

    cfg.val_dataloader.batch_size = 100
    cfg.val_dataloader.sampler.shuffle = False
    batches = Runner.build_dataloader(cfg.val_dataloader, seed=0)
    features, files = features_of(mim, batches)
    np.savez(out / 'features.npz', features=features.numpy(), files=files)
    # As many as there are: a query, and others beside it.
    count, beside = min(QUERIES, len(files)), min(COLUMNS, len(files) - 1)
    if beside > 0:
        queries = spread(range(len(files)), count)
        alike = nearest_images(features, queries, beside)
        rows = [
            [_square(photo_source(batches.dataset, i), how) for i in (query, *others.tolist())]
            for query, others in zip(queries, alike, strict=True)
        ]
        draw_neighbours(rows, out / 'neighbours.png')


def features_of(mim: Any, batches: Iterable[dict]) -> tuple[Tensor, list[str]]:
    """Mean of the patches' last hidden states, (N, C), of whole images; and their files."""
    mim.backbone.out_type = 'featmap'
    features, files = [], []
    for batch in batches:
        data = mim.data_preprocessor(batch)
        features.append(mim.backbone(data['inputs'][0])[-1].mean(dim=(2, 3)))
        files += [sample.img_path for sample in data['data_samples']]
    return torch.cat(features), files


def _square(source: str | bytes, how: HowToRead) -> np.ndarray:
    """An image, squeezed into a small square."""
    picture = Image.fromarray(picture_of(source, how))
    return np.asarray(picture.resize((EDGE, EDGE), Image.Resampling.BICUBIC))


def _of_the_codebook(run: RunFolder, logged: dict[str, Any]) -> list[str]:
    """What is wrong with it, and what to try."""
    used, places = logged.get('tokenizer/codes_used'), logged.get('tokenizer/places')
    if used is None or places is None:
        return []
    wrong = evidence_of_collapse(
        Config.fromfile(run.path / 'pretrain.py').model.head.vocab_size,
        int(places),
        int(used),
        logged.get('tokenizer/perplexity'),
        logged.get('tokenizer/kmeans_perplexity'),
    )
    if not wrong:
        return []
    margin = ' ' * 14
    return [
        f'{margin}the codebook has collapsed: {wrong}',
        f'{margin}what to try: {what_to_try("vector")}',
    ]


def report_of_pretraining(run: RunFolder, num_images: int, start: float) -> str:
    """Write ``report.md`` and ``report.json``, and return what the user is told."""
    tokenizer, transformer = (
        {name: values[-1][1] for name, values in read_scalars(run.path / stage).items()}
        for stage in ('tokenizer', 'pretrain')
    )
    seconds = time.monotonic() - start
    figures = dict(
        images=num_images,
        seconds=round(seconds, 1),
        mim_acc=transformer.get('mim/acc'),
        mim_mse=transformer.get('mim/mse'),
        **{
            name: tokenizer.get(f'tokenizer/{name}')
            for name in ('codes_used', 'perplexity', 'recon_mse', 'mean_mse', 'kmeans_mse')
        },
    )
    run.write('report.json', json.dumps(figures, indent=2) + '\n')
    lines = []
    if figures['recon_mse'] is not None:
        kmeans = figures['kmeans_mse']
        beside = '' if kmeans is None else f'; k-means of patches has {kmeans:.4f}'
        lines += [
            f'tokenizer     {figures["codes_used"]:.0f} visual tokens in use',
            f'its pictures  squared error {figures["recon_mse"]:.4f}{beside}',
        ]
        lines += _of_the_codebook(run, tokenizer)
    if figures['mim_acc'] is not None:
        lines.append(f'BEiT          {figures["mim_acc"]:.1f} % of the hidden tokens predicted')
    if figures['mim_mse'] is not None:
        lines.append(
            f'MAE           squared error {figures["mim_mse"]:.3f} of hidden patches, whose pixels '
            'have a variance of 1'
        )
    lines.append(f'{minutes(seconds)} in all')
    weights = shlex.quote(str(run.path / 'pretrained.pth'))
    shown = [n for n in ('reconstructions', 'neighbours', 'curves') if
             (run.path / f'{n}.png').is_file()]  # fmt: skip
    looks = ', '.join(f'{name}.png' for name in shown)
    steps = [
        ('look', f'{run.path}: {looks}'),
        ('vectors of images', f'beit-mm embed FOLDER vectors.npz --weights {weights}'),
        ('a classifier', f'beit-mm finetune CLASS_FOLDERS --weights {weights}'),
        ('a segmentor', f'beit-mm segment IMAGES MASKS --weights {weights}'),
        ('how good it is', f'beit-mm evaluate CLASS_FOLDERS --weights {weights}'),
    ]
    told = '\n'.join([*lines, 'next:', *(f'  {what:18}{command}' for what, command in steps)])
    run.write('report.md', f'# What came out\n\n```\n{told}\n```\n')
    return f'\n{told}'
