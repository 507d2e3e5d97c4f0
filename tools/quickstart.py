"""BEiT in minutes: train a tokenizer, pre-train, fine-tune, and train the same from scratch.

Without --data it uses 5,000 of MNIST's handwritten digits, with it any folder of class folders, or
of images alone, whose labels nobody knows. Each stage is one run of tools/train.py; the commands
are printed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from beit_mm.checkpoints import load_state_dict
from beit_mm.datasets.class_folders import (
    digit_samples,
    folder_samples,
    write_class_folders,
    write_few_labels,
)
from beit_mm.visualization import draw_reconstructions, reconstruct

CONFIGS = Path(__file__).resolve().parent.parent / 'configs' / 'quickstart'
IMAGE_SIZE = 32
LABELS_PER_CLASS = 10
# What the report tells of the tokenizer.
TOKENIZER = ('codes_used', 'perplexity', 'recon_mse', 'mean_mse', 'kmeans_mse')


def run_stage(number: int, title: str, config: str, work_dir: Path, options: dict) -> Path:
    """Run one stage as a user would, and return its last checkpoint."""
    command = [
        'tools/train.py', f'configs/quickstart/{config}.py', '--work-dir', str(work_dir),
        '--cfg-options', *(f'{key}={value}' for key, value in options.items()),
    ]  # fmt: skip
    print(f'\n[{number}/4] {title}\npython {" ".join(command)}', flush=True)
    command[:2] = [str(CONFIGS.parent.parent / part) for part in command[:2]]
    # Networks this small gain nothing from a second thread, the loader's process has use for the
    # core; and the result does not depend on how many cores there are.
    environment = {'OMP_NUM_THREADS': '1', **os.environ}
    if code := subprocess.run([sys.executable, *command], env=environment, check=False).returncode:
        sys.exit(code)
    return Path((work_dir / 'last_checkpoint').read_text().strip())


def shortened(cfg: Config, speedup: int) -> dict:
    """Options that divide a stage's iterations and its warm-up."""
    iterations = cfg.max_iters // speedup
    options = {'train_cfg.max_iters': iterations, 'train_cfg.val_interval': iterations}
    if warmup := cfg.get('warmup_iters', 0) // speedup:
        options |= {
            'param_scheduler.0.end': warmup,
            'param_scheduler.1.begin': warmup,
            'param_scheduler.1.T_max': iterations - warmup,
        }
    return options


def last_metric(work_dir: Path, name: str) -> float | None:
    """The newest value of a metric in a run's log, None if it has none."""
    log = max(work_dir.glob('*/vis_data/scalars.json'))
    values = [json.loads(line).get(name) for line in log.read_text().splitlines()]
    return next((value for value in reversed(values) if value is not None), None)


@torch.no_grad()
def picture(pretrained: Path, tokenizer: Path, data: Path, seed: int, target: Path) -> None:
    """Draw eight validation images as the tokenizer and the pre-trained BEiT see them."""
    configs = {name: Config.fromfile(CONFIGS / f'{name}.py') for name in ('dvae', 'pretrain')}
    cfg = configs['pretrain']
    init_default_scope(cfg.default_scope)
    cfg.model.target_generator.checkpoint = str(tokenizer)
    cfg.val_dataloader.dataset.data_root = str(data)
    cfg.val_dataloader.batch_size = 8
    cfg.val_dataloader.sampler.shuffle = True
    np.random.seed(seed)
    batch = next(iter(Runner.build_dataloader(cfg.val_dataloader, seed=0)))

    dvae = MODELS.build(configs['dvae'].model).eval()
    dvae.load_state_dict(load_state_dict(tokenizer))
    mim = MODELS.build(cfg.model).eval()
    mim.load_state_dict(load_state_dict(pretrained))
    draw_reconstructions(reconstruct(mim, dvae, batch), target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--data',
        type=Path,
        help='folder of class folders, or of images without labels; default: digits',
    )
    parser.add_argument('--seed', type=int, default=0, help='decides everything random')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/quickstart'))
    parser.add_argument(
        '--speedup', type=int, default=1, help='divide the iterations by this, for a dry run'
    )
    args = parser.parse_args()
    start = time.time()
    data, runs = args.out / 'data', args.out / time.strftime('%Y%m%d_%H%M%S')

    if args.data and data.resolve() in (args.data.resolve(), *args.data.resolve().parents):
        sys.exit(f'--data {args.data} lies in {data}, which the quickstart writes anew')
    try:
        samples = folder_samples(args.data) if args.data else digit_samples()
    except ValueError as error:
        sys.exit(str(error))
    try:
        write_class_folders(samples, data, IMAGE_SIZE)
    except FileExistsError as error:
        sys.exit(str(error))
    num_classes = len({class_name for class_name, _, _ in samples['train']})
    labels = data / 'few_labels.txt'
    num_labels = 0
    if num_classes > 1:
        num_labels = write_few_labels(samples['train'], labels, LABELS_PER_CLASS, args.seed)
    known = f'of {num_classes} classes, {num_labels} labels' if num_labels else 'without labels'
    print(f'{len(samples["train"])} training and {len(samples["val"])} validation images '
          f'{known}, in {data}')  # fmt: skip

    def stage(number: int, title: str, config: str, **options) -> Path:
        cfg = Config.fromfile(CONFIGS / f'{config}.py')
        options = {
            'randomness.seed': args.seed,
            'train_dataloader.dataset.data_root': data,
            'val_dataloader.dataset.data_root': data,
            **options,
        }
        if args.speedup > 1:
            options |= shortened(cfg, args.speedup)
        return run_stage(number, title, config, runs / config, options)

    checkpoint = stage(1, 'Train an image tokenizer', 'dvae')
    tokenizer = shutil.copy(checkpoint, args.out / 'tokenizer.pth')
    checkpoint = stage(
        2, 'Pre-train BEiT on masked images, without labels', 'pretrain',
        **{'model.target_generator.checkpoint': tokenizer},
    )  # fmt: skip
    pretrained = shutil.copy(checkpoint, args.out / 'pretrained.pth')
    report = dict(
        mim_acc=last_metric(runs / 'pretrain', 'mim/acc'),
        vocab_size=Config.fromfile(CONFIGS / 'dvae.py').model.vocab_size,
        **{name: last_metric(runs / 'dvae', f'tokenizer/{name}') for name in TOKENIZER},
    )
    if num_labels:
        classes = {'model.head.num_classes': num_classes}
        stage(
            3, f'Fine-tune it on {num_labels} labels', 'finetune', **classes,
            **{'model.backbone.init_cfg.checkpoint': pretrained},
        )  # fmt: skip
        stage(4, f'Train the same network from scratch on the same {num_labels} labels', 'scratch',
              **classes)  # fmt: skip
        report['pretrained_top1'] = last_metric(runs / 'finetune', 'accuracy/top1')
        report['scratch_top1'] = last_metric(runs / 'scratch', 'accuracy/top1')

    picture(pretrained, tokenizer, data, args.seed, args.out / 'reconstructions.png')
    report['seconds'] = round(time.time() - start, 1)
    (args.out / 'report.json').write_text(json.dumps(report, indent=2) + '\n')
    print_report(report, num_labels, args.out)


def print_report(report: dict, num_labels: int, out: Path) -> None:
    """The table that the quickstart ends with."""
    kmeans = report['kmeans_mse']
    beside = '' if kmeans is None else f'; k-means of patches {kmeans:.4f}'
    lines = [
        f'tokenizer          {report["codes_used"]} of {report["vocab_size"]} visual tokens in use',
        f'its pictures       squared error {report["recon_mse"]:.4f}{beside}',
        f'masked images      {report["mim_acc"]:.1f} % of the hidden tokens predicted',
    ]
    if num_labels:
        pretrained, scratch = report['pretrained_top1'], report['scratch_top1']
        lines += [
            f'{num_labels} labels, from scratch    {scratch:.1f} % top-1',
            f'{num_labels} labels, pre-trained     {pretrained:.1f} % top-1   '
            f'({pretrained - scratch:+.1f} points)',
        ]
    lines += [
        f'{report["seconds"]:.0f} seconds in all; {out}/report.json, {out}/reconstructions.png',
        'next, your own images: make quickstart DATA=path/to/images',
    ]
    print('\n' + '\n'.join(lines))


if __name__ == '__main__':
    main()
