"""CamVid: a small BEiT with the SETR-PUP layer, pre-trained on the same pictures or from scratch.

    python benchmarks/camvid.py data/camvid [--out work_dirs/camvid] [--seeds 0 1 2] [--speedup 4]

Trains a tokenizer, pre-trains once, then for each seed fine-tunes and trains from scratch. A stage
that was finished before is not run again. Writes benchmarks/results/camvid.json and .md and
docs/camvid.png.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import mmengine
import mmseg
import numpy as np
import torch
from mmcv.image import imread
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.evaluation import IoUMetric
from mmseg.registry import MODELS

from beit_mm.checkpoints import load_state_dict
from beit_mm.visualization import draw_segmentations

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / 'configs/camvid'
RUNS = {'pre-trained': 'finetune', 'from scratch': 'scratch'}


def run_stage(config: str, work_dir: Path, options: dict) -> Path:
    """Train as a user would, unless it was done before; the last checkpoint."""
    finished = work_dir / 'seconds.json'
    if not finished.exists():
        shutil.rmtree(work_dir, ignore_errors=True)
        command = ['tools/train.py', f'configs/camvid/{config}.py', '--work-dir', str(work_dir)]
        command += ['--cfg-options', *(f'{key}={value}' for key, value in options.items())]
        print('python', *command, flush=True)
        start = time.time(), os.times()
        subprocess.run(
            [sys.executable, *(ROOT / part for part in command[:2]), *command[2:]], check=True
        )
        end = os.times()
        cpu = sum(getattr(end, k) - getattr(start[1], k) for k in
                  ('children_user', 'children_system'))  # fmt: skip
        finished.write_text(json.dumps(dict(wall=round(time.time() - start[0]), cpu=round(cpu))))
    return Path((work_dir / 'last_checkpoint').read_text().strip())


def of_data(data: Path) -> dict:
    return {f'{name}_dataloader.dataset.data_root': data for name in ('train', 'val', 'test')}


@torch.no_grad()
def evaluate(config: str, checkpoint: Path, data: Path) -> tuple[dict, list[dict]]:
    """MMSegmentation's IoU of every class on the validation pictures, and what was predicted."""
    cfg = Config.fromfile(CONFIGS / f'{config}.py')
    init_default_scope(cfg.default_scope)
    cfg.test_dataloader.dataset.data_root = str(data)
    model = MODELS.build(cfg.model)
    model.load_state_dict(load_state_dict(checkpoint))
    # Some backbones of MMSegmentation return nothing here.
    model.eval()
    loader = Runner.build_dataloader(cfg.test_dataloader)
    metric = IoUMetric(iou_metrics=['mIoU'])
    metric.dataset_meta = loader.dataset.metainfo
    samples = []
    for batch in loader:
        batch_samples = [sample.to_dict() for sample in model.test_step(batch)]
        metric.process(batch, batch_samples)
        samples += [
            dict(
                path=sample['img_path'],
                truth=sample['gt_sem_seg']['data'][0].numpy(),
                prediction=sample['pred_sem_seg']['data'][0].numpy(),
            )
            for sample in batch_samples
        ]
    areas = [sum(area) for area in zip(*metric.results, strict=True)]
    scores = IoUMetric.total_area_to_metrics(*areas, metrics=['mIoU'])
    iou = {
        name: round(100 * float(v), 1) for name, v in zip(cfg.classes, scores['IoU'], strict=True)
    }
    result = dict(
        mIoU=round(100 * float(np.nanmean(scores['IoU'])), 2),
        aAcc=round(100 * float(scores['aAcc']), 2),
        IoU=iou,
    )
    return result, samples


def shortened(speedup: int) -> dict:
    """Options that divide the labelled steps of both runs, and their warm-up."""
    cfg = Config.fromfile(CONFIGS / 'finetune.py')
    iterations, warmup = cfg.max_iters // speedup, cfg.warmup_iters // speedup
    return {
        'train_cfg.max_iters': iterations,
        'param_scheduler.0.end': warmup,
        'param_scheduler.1.begin': warmup,
        'param_scheduler.1.end': iterations,
    }


def draw(samples: list[dict], target: Path) -> None:
    """Eight pictures at equal distances in the data set."""
    cfg = Config.fromfile(CONFIGS / 'finetune.py')
    chosen = [samples[i] for i in np.linspace(0, len(samples) - 1, 8).round().astype(int)]
    draw_segmentations(
        [imread(sample['path'], channel_order='rgb')[::2, ::2] for sample in chosen],
        [sample['truth'][::2, ::2] for sample in chosen],
        [sample['prediction'][::2, ::2] for sample in chosen],
        cfg.classes,
        cfg.palette,
        target,
    )


def table(report: dict) -> str:
    """The report in Markdown."""
    seeds = report['seeds']
    lines = [
        '# CamVid: pre-trained against from scratch',
        '',
        report['note'],
        '',
        '| mIoU | ' + ' | '.join(f'seed {seed}' for seed in seeds) + ' | mean |',
        '| --- |' + ' --- |' * (len(seeds) + 1),
    ]
    for name in RUNS:
        scores = [report['runs'][f'{name}, seed {seed}']['mIoU'] for seed in seeds]
        cells = ' | '.join(f'{score:.1f}' for score in scores)
        lines.append(f'| {name} | {cells} | **{np.mean(scores):.1f}** |')
    lines += ['', '| IoU, mean over the seeds | ' + ' | '.join(RUNS) + ' |', '| --- | --- | --- |']
    for cls in report['runs'][f'pre-trained, seed {seeds[0]}']['IoU']:
        means = [
            np.mean([report['runs'][f'{name}, seed {seed}']['IoU'][cls] for seed in seeds])
            for name in RUNS
        ]
        lines.append(f'| {cls} | ' + ' | '.join(f'{mean:.1f}' for mean in means) + ' |')
    lines += [
        '',
        f'Command: `{report["command"]}`. {report["hardware"]}; {report["versions"]}. Seconds a '
        'stage (wall, CPU): '
        + ', '.join(f'{k} {v["wall"]} ({v["cpu"]})' for k, v in report['seconds'].items())
        + '.',
    ]
    return '\n'.join(lines) + '\n'


def report_of(runs: dict, seconds: dict, seeds: list[int], speedup: int, hardware: str) -> dict:
    """Everything that a reader needs to judge the figures."""
    pretraining = Config.fromfile(CONFIGS / 'pretrain.py')
    steps = shortened(speedup)['train_cfg.max_iters']
    return dict(
        note=(
            'A BEiT of 6 blocks, width 128, patches of 8 on half-size pictures, with the SETR-PUP '
            'layer of 64 channels, on the 101 validation pictures. Pre-trained once, on the 367 '
            f'training pictures without labels, for {pretraining.max_iters} steps of 16 crops; '
            f'then {steps} steps of 4 labelled crops for both, at one learning rate, tuned for '
            'neither; layer decay 0.85 for the pre-trained, none from scratch. Minutes on a CPU, '
            'far from converged: it compares the two, not with other work.'
        ),
        seeds=seeds,
        runs=runs,
        seconds=seconds,
        command=f'python benchmarks/camvid.py data/camvid --speedup {speedup} '
        f'--seeds {" ".join(map(str, seeds))}',
        hardware=hardware,
        versions=f'Python {platform.python_version()}, torch {torch.__version__}, mmengine '
        f'{mmengine.__version__}, mmseg {mmseg.__version__}',
    )


def write(report: dict) -> None:
    """Write the report as JSON and as a table."""
    results = ROOT / 'benchmarks/results'
    (results / 'camvid.json').write_text(json.dumps(report, indent=2) + '\n')
    (results / 'camvid.md').write_text(table(report))
    print(table(report))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('data', type=Path, help='CamVid in the layout of configs/camvid/_base_.py')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/camvid'))
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--speedup', type=int, default=1, help='divide the labelled steps by this')
    parser.add_argument('--hardware', default=f'{os.cpu_count()} cores, {platform.machine()}')
    args = parser.parse_args()
    data, out = args.data.resolve(), args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    seconds, runs, panel = {}, {}, None

    def stage(config: str, name: str, options: dict) -> Path:
        checkpoint = run_stage(config, out / name, options)
        seconds[name] = json.loads((out / name / 'seconds.json').read_text())
        return checkpoint

    tokenizer = stage('dvae', 'dvae', of_data(data))
    options = {**of_data(data), 'model.target_generator.checkpoint': tokenizer}
    pretrained = stage('pretrain', 'pretrain', options)
    for seed in args.seeds:
        for name, config in RUNS.items():
            # Every class is evaluated below; once is enough.
            options = {
                'train_dataloader.dataset.data_root': data,
                **dict.fromkeys(('val_dataloader', 'val_evaluator', 'val_cfg')),
                **shortened(args.speedup),
                'randomness.seed': seed,
            }
            if config == 'finetune':
                options['model.backbone.init_cfg.checkpoint'] = pretrained
            steps = options['train_cfg.max_iters']
            checkpoint = stage(config, f'{config}-{seed}-{steps}', options)
            result, samples = evaluate(config, checkpoint, data)
            print(name, seed, result, flush=True)
            runs[f'{name}, seed {seed}'] = result
            panel = panel or samples
    write(report_of(runs, seconds, args.seeds, args.speedup, args.hardware))
    draw(panel, ROOT / 'docs/camvid.png')


if __name__ == '__main__':
    main()
