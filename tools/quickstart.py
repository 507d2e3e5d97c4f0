"""BEiT or MAE in minutes: pre-train, fine-tune, and train the same from scratch.

Without --data it uses 5,000 of MNIST's handwritten digits, with it any folder of class folders, or
of images alone, whose labels nobody knows. Each stage is one run of tools/train.py; the first line
of its log, output.txt, is the command.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

from mmengine.config import Config

from beit_mm.commands.learned import draw_pretraining
from beit_mm.datasets.class_folders import (
    digit_samples,
    folder_samples,
    write_class_folders,
    write_few_labels,
)
from beit_mm.engine.starting.stages import Progress, Stage, minutes, run_stage
from beit_mm.visualization import read_scalars

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / 'configs' / 'quickstart'
# Title, config, and seconds on two cores of an AMD EPYC with AVX2 alone, start-up included.
TOKENIZE = Stage('Train an image tokenizer', CONFIGS / 'dvae.py', 36)
FINETUNE, SCRATCH = 'Fine-tune it on a few labels', 'Train the same network from scratch on them'
# Pre-training, fine-tuning, from scratch.
STAGES = {
    'beit': (
        Stage('Pre-train BEiT on masked images, without labels', CONFIGS / 'pretrain.py', 94),
        Stage(FINETUNE, CONFIGS / 'finetune.py', 27),
        Stage(SCRATCH, CONFIGS / 'scratch.py', 28),
    ),
    'mae': (
        Stage('Pre-train MAE on masked images, without labels', CONFIGS / 'mae.py', 90),
        Stage(FINETUNE, CONFIGS / 'mae_finetune.py', 27),
        Stage(SCRATCH, CONFIGS / 'mae_scratch.py', 28),
    ),
}
# Networks this small gain nothing from a second thread, the loader's process has use for the core;
# and the result does not depend on how many cores there are.
ONE_THREAD = {'OMP_NUM_THREADS': '1'}
IMAGE_SIZE = 32
LABELS_PER_CLASS = 10
# What the report tells of the tokenizer.
TOKENIZER = ('codes_used', 'perplexity', 'recon_mse', 'mean_mse', 'kmeans_mse')


def last_metric(work_dir: Path, name: str) -> float | None:
    """The newest value of a metric in a run's log, None if it has none."""
    values = read_scalars(work_dir).get(name)
    return values[-1][1] if values else None


def show(
    config: Path, pretrained: Path, tokenizer: Path | None, data: Path, seed: int, out: Path
) -> None:
    """Write what was learned of the validation images, see :func:`draw_pretraining`."""
    cfg = Config.fromfile(config)
    if tokenizer is not None:
        cfg.model.target_generator.checkpoint = str(tokenizer)
    cfg.val_dataloader.dataset.data_root = str(data)
    draw_pretraining(cfg, pretrained, out, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--data',
        type=Path,
        help='folder of class folders, or of images without labels; default: digits',
    )
    parser.add_argument(
        '--method', choices=STAGES, default='beit', help='what is predicted: visual tokens, pixels'
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
        samples = write_class_folders(samples, data, IMAGE_SIZE)
    except (FileExistsError, ValueError) as error:
        sys.exit(str(error))
    num_classes = len({class_name for class_name, _, _ in samples['train']})
    labels = data / 'few_labels.txt'
    num_labels = 0
    if num_classes > 1:
        num_labels = write_few_labels(samples['train'], labels, LABELS_PER_CLASS, args.seed)
    known = f'of {num_classes} classes, {num_labels} labels' if num_labels else 'without labels'
    print(f'{len(samples["train"])} training and {len(samples["val"])} validation images '
          f'{known}, in {data}')  # fmt: skip

    pretrain, *with_labels = STAGES[args.method]
    with_tokens = args.method == 'beit'
    stages = [*([TOKENIZE] if with_tokens else []), pretrain, *(with_labels if num_labels else [])]
    progress = Progress(stages)

    def train(stage: Stage, **options) -> Path:
        iterations = Config.fromfile(stage.config).train_cfg.max_iters // args.speedup
        options = {
            'randomness.seed': args.seed,
            'train_dataloader.dataset.data_root': data,
            'val_dataloader.dataset.data_root': data,
            'train_cfg.max_iters': iterations,
            'train_cfg.val_interval': iterations,
            **options,
        }
        work_dir = runs / stage.config.stem
        return run_stage(stage, ROOT / 'tools/train.py', work_dir, options, progress, ONE_THREAD)

    tokenizer, options = None, {}
    if with_tokens:
        tokenizer = shutil.copy(train(TOKENIZE), args.out / 'tokenizer.pth')
        options['model.target_generator.checkpoint'] = tokenizer
    pretrained = shutil.copy(train(pretrain, **options), args.out / 'pretrained.pth')
    report = report_of_pretraining(args.method, runs)
    if num_labels:
        finetune, scratch = with_labels
        classes = {'model.head.num_classes': num_classes}
        train(finetune, **classes, **{'model.backbone.init_cfg.checkpoint': pretrained})
        train(scratch, **classes)
        report['pretrained_top1'] = last_metric(runs / finetune.config.stem, 'accuracy/top1')
        report['scratch_top1'] = last_metric(runs / scratch.config.stem, 'accuracy/top1')

    show(pretrain.config, pretrained, tokenizer, data, args.seed, args.out)
    report['seconds'] = round(time.time() - start, 1)
    (args.out / 'report.json').write_text(json.dumps(report, indent=2) + '\n')
    print_report(report, num_labels, args.out)


def report_of_pretraining(method: str, runs: Path) -> dict:
    """What a tokenizer and BEiT have learned, or MAE."""
    if method == 'mae':
        return dict(mim_mse=last_metric(runs / 'mae', 'mim/mse'))
    return dict(
        mim_acc=last_metric(runs / 'pretrain', 'mim/acc'),
        vocab_size=Config.fromfile(CONFIGS / 'dvae.py').model.vocab_size,
        **{name: last_metric(runs / 'dvae', f'tokenizer/{name}') for name in TOKENIZER},
    )


def lines_of_pretraining(report: dict) -> list[str]:
    """The same for the table."""
    if 'mim_mse' in report:
        error = report['mim_mse']
        return [f'masked images      squared error {error:.3f} of hidden patches of variance 1']
    kmeans = report['kmeans_mse']
    beside = '' if kmeans is None else f'; k-means of patches {kmeans:.4f}'
    return [
        f'tokenizer          {report["codes_used"]} of {report["vocab_size"]} visual tokens in use',
        f'its pictures       squared error {report["recon_mse"]:.4f}{beside}',
        f'masked images      {report["mim_acc"]:.1f} % of the hidden tokens predicted',
    ]


def print_report(report: dict, num_labels: int, out: Path) -> None:
    """The table that the quickstart ends with."""
    lines = lines_of_pretraining(report)
    if num_labels:
        pretrained, scratch = report['pretrained_top1'], report['scratch_top1']
        lines += [
            f'{num_labels} labels, from scratch    {scratch:.1f} % top-1',
            f'{num_labels} labels, pre-trained     {pretrained:.1f} % top-1   '
            f'({pretrained - scratch:+.1f} points)',
        ]
    lines += [
        f'{minutes(report["seconds"])} in all; look at {out}/reconstructions.png and '
        f'{out}/neighbours.png;',
        f'{out}/features.npz holds a vector of each validation image, {out}/report.json these '
        'figures',
        'next, your own images: make quickstart DATA=path/to/images',
    ]
    print('\n' + '\n'.join(lines))


if __name__ == '__main__':
    main()
