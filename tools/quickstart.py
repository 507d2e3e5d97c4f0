"""BEiT in minutes: train a tokenizer, pre-train, fine-tune, and train the same from scratch.

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

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from PIL import Image

from beit_mm.checkpoints import load_state_dict
from beit_mm.datasets.class_folders import (
    digit_samples,
    folder_samples,
    write_class_folders,
    write_few_labels,
)
from beit_mm.engine.starting.stages import Progress, Stage, minutes, run_stage
from beit_mm.visualization import (
    draw_neighbours,
    draw_reconstructions,
    nearest_images,
    reconstruct,
)

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / 'configs' / 'quickstart'
# Title, config, and seconds on two cores of an AMD EPYC with AVX2 alone, start-up included.
TOKENIZE = Stage('Train an image tokenizer', CONFIGS / 'dvae.py', 36)
PRETRAIN = Stage('Pre-train BEiT on masked images, without labels', CONFIGS / 'pretrain.py', 94)
FINETUNE = Stage('Fine-tune it on a few labels', CONFIGS / 'finetune.py', 27)
SCRATCH = Stage('Train the same network from scratch on them', CONFIGS / 'scratch.py', 28)
# Networks this small gain nothing from a second thread, the loader's process has use for the core;
# and the result does not depend on how many cores there are.
ONE_THREAD = {'OMP_NUM_THREADS': '1'}
IMAGE_SIZE = 32
LABELS_PER_CLASS = 10
# What the report tells of the tokenizer.
TOKENIZER = ('codes_used', 'perplexity', 'recon_mse', 'mean_mse', 'kmeans_mse')


def last_metric(work_dir: Path, name: str) -> float | None:
    """The newest value of a metric in a run's log, None if it has none."""
    log = max(work_dir.glob('*/vis_data/scalars.json'))
    values = [json.loads(line).get(name) for line in log.read_text().splitlines()]
    return next((value for value in reversed(values) if value is not None), None)


@torch.no_grad()
def show(pretrained: Path, tokenizer: Path, data: Path, seed: int, out: Path) -> None:
    """Write what was learned of the validation images.

    ``reconstructions.png``, eight of them as the tokenizer and the pre-trained BEiT see them;
    ``features.npz``, a vector and a file name for each; ``neighbours.png``, which are alike.
    """
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
    draw_reconstructions(reconstruct(mim, dvae, batch), out / 'reconstructions.png')

    cfg.val_dataloader.batch_size = 100
    cfg.val_dataloader.sampler.shuffle = False
    features, files = features_of(mim, Runner.build_dataloader(cfg.val_dataloader, seed=0))
    np.savez(out / 'features.npz', features=features.numpy(), files=files)
    # As many as there are: a query, and others beside it.
    count, beside = min(6, len(files)), min(8, len(files) - 1)
    if beside > 0:
        queries = np.linspace(0, len(files) - 1, count).astype(int).tolist()
        alike = nearest_images(features, queries, beside)
        rows = [
            [np.asarray(Image.open(files[index])) for index in (query, *others.tolist())]
            for query, others in zip(queries, alike, strict=True)
        ]
        draw_neighbours(rows, out / 'neighbours.png')


def features_of(mim, batches) -> tuple[torch.Tensor, list[str]]:
    """Mean of the patches' last hidden states, (N, C), of whole images; and their files."""
    mim.backbone.out_type = 'featmap'
    features, files = [], []
    for batch in batches:
        data = mim.data_preprocessor(batch)
        features.append(mim.backbone(data['inputs'][0])[-1].mean(dim=(2, 3)))
        files += [sample.img_path for sample in data['data_samples']]
    return torch.cat(features), files


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

    stages = [TOKENIZE, PRETRAIN, *([FINETUNE, SCRATCH] if num_labels else [])]
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

    tokenizer = shutil.copy(train(TOKENIZE), args.out / 'tokenizer.pth')
    checkpoint = train(PRETRAIN, **{'model.target_generator.checkpoint': tokenizer})
    pretrained = shutil.copy(checkpoint, args.out / 'pretrained.pth')
    report = dict(
        mim_acc=last_metric(runs / 'pretrain', 'mim/acc'),
        vocab_size=Config.fromfile(CONFIGS / 'dvae.py').model.vocab_size,
        **{name: last_metric(runs / 'dvae', f'tokenizer/{name}') for name in TOKENIZER},
    )
    if num_labels:
        classes = {'model.head.num_classes': num_classes}
        train(FINETUNE, **classes, **{'model.backbone.init_cfg.checkpoint': pretrained})
        train(SCRATCH, **classes)
        report['pretrained_top1'] = last_metric(runs / 'finetune', 'accuracy/top1')
        report['scratch_top1'] = last_metric(runs / 'scratch', 'accuracy/top1')

    show(pretrained, tokenizer, data, args.seed, args.out)
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
        f'{minutes(report["seconds"])} in all; look at {out}/reconstructions.png and '
        f'{out}/neighbours.png;',
        f'{out}/features.npz holds a vector of each validation image, {out}/report.json these '
        'figures',
        'next, your own images: make quickstart DATA=path/to/images',
    ]
    print('\n' + '\n'.join(lines))


if __name__ == '__main__':
    main()
