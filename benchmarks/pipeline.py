"""Input pipeline: images a second of one core, from JPEG files to two views and a mask.

    python benchmarks/pipeline.py [FOLDER] [--config configs/beit_pretrain.py] [--out FILE.json]

MMPretrain's pipeline for BEiT, from its own config, beside this project's: the same files in the
same order, taking turns, one core each. Times are processor time, which threads of libraries and
the system's file reading add to and other programs on the machine do not. FOLDER holds JPEG files,
read from the page cache; without one, photos are made up.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

# Before NumPy and torch read it.
os.environ['OMP_NUM_THREADS'] = '1'

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import TRANSFORMS, DefaultScope
from mmengine.utils import import_modules_from_strings
from PIL import Image
from this_machine import describe

from beit_mm.datasets import LoadTwoViews, TokenCache
from beit_mm.datasets.jpeg import simplejpeg

ROOT = Path(__file__).parent.parent
# The same views step by step, as each of these transforms makes them for the whole photo.
STEP_BY_STEP = [
    dict(type='LoadImageFromFile'),
    dict(type='NumpyToPIL', to_rgb=True),
    dict(type='torchvision/ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4),
    dict(type='torchvision/RandomHorizontalFlip', p=0.5),
    dict(type='beit_mm.TwoViewRandomResizedCrop', size=224, second_size=112),
    dict(type='beit_mm.BlockwiseMaskGenerator', grid_size=(14, 14), num_masked=75),
    dict(type='PackInputs'),
]
PEER_CONFIG = 'mmpretrain::beit/beit_beit-base-p16_8xb256-amp-coslr-300e_in1k.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('folder', nargs='?', type=Path, help='folder of JPEG files')
    parser.add_argument(
        '--config',
        nargs='+',
        default=[str(ROOT / 'configs/beit_pretrain.py')],
        help='config files whose train_dataloader is measured',
    )
    parser.add_argument('--images', type=int, default=300, help='files of the folder to take')
    parser.add_argument('--rounds', type=int, default=5, help='turns of each pipeline')
    parser.add_argument('--out', type=Path, help='JSON file to write')
    return parser.parse_args()


def make_photos(folder: Path, number: int) -> None:
    """JPEG files of ImageNet's usual size and weight: 500 x 375, about 110 kB."""
    rng = np.random.default_rng(0)
    for index in range(number):
        # Detail on every scale, falling with it as in photos.
        image = sum(
            cv2.resize(rng.normal(0, 3 * 4**level, (375 >> level, 500 >> level, 3)), (500, 375))
            for level in (0, 1, 2)
        )
        pixels = (128 + image).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f'{index}.jpg', quality=90)


def build(pipeline: list) -> list:
    return [(str(step['type']).rpartition('/')[2], TRANSFORMS.build(step)) for step in pipeline]


def with_cached_tokens(pipeline: list, folder: Path, photos: int) -> list:
    """The same pipeline reading its tokens from a cache, made up, of these photos."""
    step = next(step for step in pipeline if step['type'] == 'beit_mm.LoadTwoViews')
    views = LoadTwoViews(**{k: v for k, v in step.items() if k != 'type'}, num_views=16)
    cache = TokenCache.create(
        folder,
        dict(
            dataset=dict(photos=photos),
            views=views.settings,
            tokenizer=dict(vocab_size=8192),
            grid=(14, 14),
            photos_per_shard=photos,
        ),
    )
    cache.write(0, np.random.default_rng(0).integers(0, 8192, (photos, 16, 14, 14)))
    return [{**s, 'token_cache': str(folder)} if s is step else s for s in pipeline]


def run(steps: list, paths: list[str]) -> tuple[float, dict[str, float]]:
    """Milliseconds an image, all together and by step."""
    by_step = dict.fromkeys((name for name, _ in steps), 0.0)
    start = time.process_time()
    for index, path in enumerate(paths):
        results = dict(img_path=path, sample_idx=index)
        before = time.process_time()
        for name, transform in steps:
            results = transform(results)
            after = time.process_time()
            by_step[name] += after - before
            before = after
    scale = 1000 / len(paths)
    total = (time.process_time() - start) * scale
    return total, {name: seconds * scale for name, seconds in by_step.items()}


def measure(pipelines: dict[str, list], paths: list[str], rounds: int) -> dict[str, dict]:
    """Let the pipelines take turns; medians over the rounds, after one that warms up."""
    totals, parts = ({name: [] for name in pipelines} for _ in range(2))
    for turn in range(rounds + 1):
        for name, steps in pipelines.items():
            random.seed(turn)
            np.random.seed(turn)
            torch.manual_seed(turn)
            total, by_step = run(steps, paths)
            if turn:
                totals[name].append(total)
                parts[name].append(by_step)
    peer = totals[next(iter(pipelines))]
    return {
        name: dict(
            ms=statistics.median(totals[name]),
            images_per_second=1000 / statistics.median(totals[name]),
            ratio=statistics.median(p / t for p, t in zip(peer, totals[name], strict=True)),
            ms_all=totals[name],
            ms_by_step={
                step: statistics.median(turn[step] for turn in parts[name])
                for step in parts[name][0]
            },
        )
        for name in pipelines
    }


def print_table(results: dict[str, dict]) -> None:
    print(f'{"pipeline":34} {"ms/image":>9} {"images/s":>9} {"ratio":>6}')
    for name, result in results.items():
        print(
            f'{name:34} {result["ms"]:9.2f} {result["images_per_second"]:9.0f} '
            f'{result["ratio"]:6.2f}'
        )
        for step, ms in result['ms_by_step'].items():
            print(f'  {step:42} {ms:7.3f}')


def main() -> None:
    args = parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made_up:
        if args.folder is None:
            make_photos(Path(made_up), args.images)
        folder = args.folder or Path(made_up)
        files = sorted(p for p in folder.rglob('*') if p.suffix.lower() in ('.jpg', '.jpeg'))
        paths = [str(path) for path in files[: args.images]]
        if not paths:
            sys.exit(f'{folder} has no JPEG files')
        pipelines = {'mmpretrain': get_config(PEER_CONFIG).train_dataloader.dataset.pipeline}
        pipelines['step by step'] = STEP_BY_STEP
        for path in args.config:
            cfg = Config.fromfile(path)
            import_modules_from_strings(**cfg.custom_imports)
            pipeline = [dict(step) for step in cfg.train_dataloader.dataset.pipeline]
            pipelines[Path(path).stem] = pipeline
            if any(step['type'] == 'beit_mm.LoadTwoViews' for step in pipeline):
                folder = Path(made_up, f'cache_{Path(path).stem}')
                cached = with_cached_tokens(pipeline, folder, len(paths))
                pipelines[f'{Path(path).stem}, cached tokens'] = cached
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            pipelines = {name: build(steps) for name, steps in pipelines.items()}
        results = measure(pipelines, paths, args.rounds)
    print_table(results)
    if args.out:
        report = dict(
            command=' '.join(['python', *sys.argv]),
            images=len(paths),
            mean_kilobytes=None if args.folder is None else
            sum(os.path.getsize(path) for path in paths) / len(paths) / 1000,
            machine=describe('cpu'),
            simplejpeg=simplejpeg and simplejpeg.__version__,
            results=results,
        )  # fmt: skip
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(report, indent=2) + '\n')


if __name__ == '__main__':
    main()
