"""What 8 bits cost a classifier: top-1, size and time of PyTorch, of ONNX, and of ONNX in int8.

    python tools/quickstart.py --out work_dirs/quickstart
    python benchmarks/int8.py work_dirs/quickstart/*/finetune/finetune.py \
        work_dirs/quickstart/*/finetune/iter_800.pth --out benchmarks/results/int8.json

Top-1 is that of the config's test data. Time is that of one image at a time, of a classifier of
1000 classes in the size --arch at 224 pixels with random weights: the small networks here have too
little to multiply. Each of the three takes its turn in every round; the least of the rounds counts.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from this_machine import describe
from torch import nn

from beit_mm.exporting import export
from beit_mm.exporting.building import build_from_config
from beit_mm.exporting.program import order_of_pipeline

KINDS = ('pytorch', 'onnx', 'onnx_int8')


def runners(cfg: Config, checkpoint: str | None, folder: Path, threads: int) -> tuple[dict, dict]:
    """Functions from images (B, 3, H, W) to logits, and megabytes of each."""
    files = dict(onnx=folder / 'float.onnx', onnx_int8=folder / 'int8.onnx')
    with contextlib.redirect_stdout(io.StringIO()):
        for name, path in files.items():
            export(cfg, checkpoint, path, int8=name == 'onnx_int8')
    program: nn.Module = build_from_config(cfg, checkpoint, None).program
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads

    def of_session(path: Path):
        session = onnxruntime.InferenceSession(
            str(path), options, providers=['CPUExecutionProvider']
        )
        return lambda images: session.run(None, {'images': images})[0]

    @torch.no_grad()
    def of_torch(images: np.ndarray) -> np.ndarray:
        return program(torch.from_numpy(images))[0].numpy()

    weights = sum(p.numel() for p in program.parameters()) * 4
    sizes = dict(pytorch=weights, **{name: path.stat().st_size for name, path in files.items()})
    run = dict(pytorch=of_torch, **{name: of_session(path) for name, path in files.items()})
    return run, {name: round(size / 1e6, 2) for name, size in sizes.items()}


def test_data(cfg: Config) -> tuple[np.ndarray, np.ndarray]:
    """All test images of a config, RGB in [0, 1], and their labels."""
    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    samples = [dataset[index] for index in range(len(dataset))]
    images = torch.stack([sample['inputs'] for sample in samples]).float().div(255).numpy()
    if order_of_pipeline(cfg.test_dataloader.dataset.pipeline) == 'BGR':
        images = np.ascontiguousarray(images[:, ::-1])
    return images, np.array([int(sample['data_samples'].gt_label) for sample in samples])


def quality(cfg: Config, checkpoint: str, threads: int) -> dict:
    images, labels = test_data(cfg)
    with tempfile.TemporaryDirectory() as folder:
        run, sizes = runners(cfg, checkpoint, Path(folder), threads)
        batches = [images[start : start + 100] for start in range(0, len(images), 100)]
        found = {
            name: np.concatenate([of(batch) for batch in batches]).argmax(1)
            for name, of in run.items()
        }
    return dict(
        images=len(labels),
        top1={name: round(100 * float((f == labels).mean()), 2) for name, f in found.items()},
        same_class_as_pytorch={
            name: round(100 * float((found[name] == found['pytorch']).mean()), 2) for name in KINDS
        },
        megabytes=sizes,
    )


def speed(arch: str, threads: int, rounds: int) -> dict:
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(
                type='ImageClassifier',
                backbone=dict(type='beit_mm.BEiT', arch=arch),
                head=dict(
                    type='LinearClsHead',
                    num_classes=1000,
                    in_channels=dict(tiny=192, small=384, base=768, large=1024)[arch],
                ),
                data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True),
            ),
            test_dataloader=dict(dataset=dict(type='CustomDataset', pipeline=pipeline)),
        )
    )
    image = np.random.default_rng(0).random((1, 3, 224, 224), dtype=np.float32)
    seconds: dict[str, list[float]] = {name: [] for name in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        run, sizes = runners(cfg, None, Path(folder), threads)
        for _ in range(rounds):
            for name, of in run.items():
                start = time.perf_counter()
                of(image)
                seconds[name].append(time.perf_counter() - start)
    least = {name: round(1000 * min(taken), 1) for name, taken in seconds.items()}
    return dict(arch=arch, rounds=rounds, milliseconds=least, megabytes=sizes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--data-root', help='of the test data, if not where the config says')
    parser.add_argument('--arch', default='base', choices=['tiny', 'small', 'base', 'large'])
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cfg = Config.fromfile(args.config)
    if args.data_root:
        cfg.test_dataloader.dataset.data_root = args.data_root
    report = dict(
        command=' '.join(['python', 'benchmarks/int8.py', *sys.argv[1:]]),
        machine=describe(),
        onnxruntime=onnxruntime.__version__,
        threads=args.threads,
        quality=quality(cfg, args.checkpoint, args.threads),
        speed=speed(args.arch, args.threads, args.rounds),
    )
    text = json.dumps(report, indent=2) + '\n'
    print(text)
    if args.out:
        args.out.write_text(text)


if __name__ == '__main__':
    main()
