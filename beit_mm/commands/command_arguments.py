"""What ``beit-mm`` can do, and what each command takes."""

import argparse
from collections.abc import Sequence

from ..options import Options
from .look_arguments import LOOK, LOOKS
from .parsing import WEIGHTS, Command, add_size, positive, positive_float

TRACKERS = ('tensorboard', 'wandb', 'mlflow')
LAYOUTS = (
    'beit_mm', 'unilm', 'timm', 'huggingface', 'huggingface5', 'mmpretrain', 'mmseg', 'torchvision',
    'jax', 'big_vision',
)  # fmt: skip


def _of_a_run(parser: argparse.ArgumentParser) -> None:
    """What every command that trains takes."""
    parser.add_argument('--out', metavar='DIR', help='folder that everything is written to')
    parser.add_argument('--steps', type=positive, metavar='N', help='steps of the optimizer')
    parser.add_argument(
        '--minutes', type=positive_float, metavar='N', help='for all of it, in place of --steps'
    )
    parser.add_argument(
        '--size', type=positive, metavar='N', help='height and width that the network sees'
    )
    parser.add_argument('--resume', action='store_true', help='go on with the run in --out')
    parser.add_argument('--track', choices=TRACKERS, help='where else the figures go')
    _options(parser)
    parser.add_argument('--dry-run', action='store_true', help='print the whole config and end')


def _no_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--no-data',
        type=float,
        metavar='VALUE',
        help='of pixels that hold no measurement, where files do not say it',
    )


def _of_images(parser: argparse.ArgumentParser) -> None:
    """How images are read, where the images do not decide it."""
    parser.add_argument(
        '--bands', metavar='N|NAMES', help='which to take: 4, or red,green,blue,nir'
    )
    parser.add_argument(
        '--value-range', metavar='LOW,HIGH', help='what is black and white; dtype, measured, '
        'percentile',
    )  # fmt: skip
    _no_data(parser)


def _pretrain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'folder', help='images, in it and in all folders inside; no labels; or shards, s3://... too'
    )
    parser.add_argument('--arch', metavar='NAME', help='tiny, small, base, large ...')
    parser.add_argument(
        '--method',
        choices=('beit', 'mae'),
        help='predict visual tokens of hidden patches, or their pixels; '
        'by default beit with --tokenizer, else mae',
    )
    parser.add_argument('--tokenizer', metavar='X', help="a run's folder or OpenAI's encoder.pkl")
    _of_images(parser)
    _of_a_run(parser)


def _finetune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'source', help='a folder of images for each class, or a table with path and label'
    )
    parser.add_argument(
        '--weights', required=True, metavar='X', help=f'to start from: {WEIGHTS}, or none'
    )
    _multi_label(parser)
    _sweep(
        parser,
        None,
        'say which of these learning rates is best, or of three around the usual one, by '
        'images held back of those to train with',
    )
    _of_images(parser)
    _of_a_run(parser)


def _sweep(parser: argparse.ArgumentParser, default: Sequence[float] | None, what: str) -> None:
    parser.add_argument(
        '--sweep', nargs='*', type=positive_float, default=default, metavar='RATE', help=what
    )


def _transfer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'sources', nargs='+', metavar='[GROUP=]SOURCE',
        help='of each task a folder of images for each class, or a table; its group, if you like',
    )  # fmt: skip
    parser.add_argument(
        '--weights', required=True, metavar='X', help=f'to start from: {WEIGHTS}, or none'
    )
    parser.add_argument(
        '--out', default='work_dirs/transfer', metavar='DIR', help='folder of all tasks'
    )
    parser.add_argument(
        '--labels',
        type=positive,
        default=1000,
        metavar='N',
        help='labelled images of a task: by default 1000',
    )
    _sweep(parser, (), 'learning rates to choose from, by default three around the usual one')
    parser.add_argument('--steps', type=positive, metavar='N', help='of each training')
    parser.add_argument(
        '--size', type=positive, metavar='N', help='height and width that the network sees'
    )
    _of_images(parser)
    parser.add_argument('--resume', action='store_true', help='go on with what is in --out')
    _options(parser)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--cfg-options', nargs='+', default={}, metavar='KEY=VALUE', action=Options,
        help='settings of the config, such as optim_wrapper.optimizer.lr=1e-3',
    )  # fmt: skip


def _multi_label(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--multi-label', nargs='?', const=True, metavar='MARK',
        help='images of a table may have several labels, parted by MARK; without, the table tells',
    )  # fmt: skip


def _segment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('images', help='folder of images')
    parser.add_argument(
        'masks', help='folder of masks under the names of the images, or COCO .json'
    )
    parser.add_argument(
        '--weights', required=True, metavar='X', help=f'to start from: {WEIGHTS}, or none'
    )
    parser.add_argument(
        '--classes', nargs='+', metavar='NAME', help='names of the classes 0, 1, ...'
    )
    parser.add_argument('--colors', metavar='FILE', help='table with the colour of each class')
    parser.add_argument(
        '--ignore', nargs='*', metavar='N', help='numbers or colours in the masks that are no class'
    )
    parser.add_argument(
        '--divide-by', type=positive, metavar='N', help='1000, where 26001 is of class 26'
    )
    _of_images(parser)
    _of_a_run(parser)


def _predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('model', help='folder of a beit-mm finetune or segment')
    parser.add_argument('images', nargs='+', help='images, or folders of them')
    parser.add_argument(
        '--out', metavar='PATH', help='classes: a .csv to write; masks: the folder of the pictures'
    )
    parser.add_argument(
        '--threshold', type=positive_float, metavar='P',
        help='of several labels those that are this probable, 0.5 by default',
    )  # fmt: skip
    parser.add_argument(
        '--keep-scale', action='store_true',
        help='of masks: images are scenes, and those trained with were tiles of such',
    )  # fmt: skip


def _embed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folder', help='images, in it and in all folders inside; or shards')
    parser.add_argument('out', help='file to write, .npz or .parquet')
    parser.add_argument('--weights', required=True, metavar='X', help=WEIGHTS)
    add_size(parser)
    parser.add_argument('--batch-size', type=positive, default=32, metavar='N')
    _of_images(parser)


def _evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'source', help='a folder of images for each class, or a table with path and label'
    )
    parser.add_argument('--weights', required=True, metavar='X', help=WEIGHTS)
    add_size(parser)
    _of_images(parser)
    parser.add_argument('--neighbors', type=positive, metavar='N', help='of k-NN: by default 20')
    _multi_label(parser)
    parser.add_argument(
        '--few-shot', nargs='+', type=positive, metavar='K',
        help='learn from K images of each class alone, by least squares; several K in one run',
    )  # fmt: skip
    parser.add_argument(
        '--seeds', type=positive, metavar='N', help='choices of these images: by default 5'
    )
    parser.add_argument('--out', metavar='FILE', help='picture of --few-shot to write, .png')


def _nothing(parser: argparse.ArgumentParser) -> None:
    pass


def _convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('source', help=f'weights in any layout: {WEIGHTS}')
    parser.add_argument('target', help='file to write, .pth, .safetensors or .npz, or a folder')
    parser.add_argument('--to', required=True, choices=LAYOUTS, help='whose names they get')
    parser.add_argument(
        '--which', default='', metavar='SET', help='of several sets of weights, such as ema'
    )


def _size(text: str) -> int | str:
    return text if text == 'any' else positive(text)


def _export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('model', help='folder of a beit-mm pretrain, finetune or segment; a config')
    parser.add_argument('out', help='file to write: .onnx, .pt2 or .pt')
    parser.add_argument('--checkpoint', metavar='FILE', help='weights of a config')
    parser.add_argument(
        '--size', type=_size, metavar='N', help='height and width of the images, or any'
    )
    parser.add_argument('--int8', action='store_true', help='weights in 8 bits, in .onnx')


def _test(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config, or folder of a beit-mm finetune or segment')
    parser.add_argument('checkpoint', nargs='?', help='weights of a config')
    parser.add_argument('--out', metavar='FILE', help='write the metrics to a .json or .pkl file')
    parser.add_argument(
        '--cfg-options', nargs='+', default={}, metavar='KEY=VALUE', action=Options,
        help='settings of the config',
    )  # fmt: skip


def _check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folder', help='images, in it and in all folders inside')
    parser.add_argument('list', nargs='?', help='file to write the broken ones to')
    parser.add_argument('--workers', type=positive, metavar='N', help='processes')
    _no_data(parser)


def _shard(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'source', metavar='folder',
        help='images, in a folder for each class if there are classes, or a .csv with path and '
        'label; with --verify alone: shards',
    )  # fmt: skip
    parser.add_argument('out', nargs='?', help='folder to write')
    parser.add_argument(
        '--megabytes', type=positive_float, metavar='N', help='of a shard: by default 256'
    )
    parser.add_argument(
        '--images', type=positive, metavar='N', help='in a shard, at most: by default 10,000'
    )
    parser.add_argument('--no-labels', action='store_true', help='folders are no classes')
    parser.add_argument('--verify', action='store_true', help='read shards, compare checksums')


def _report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('work_dirs', nargs='+', metavar='work_dir', help='folder of any run')
    parser.add_argument('--out', metavar='FILE', help='in place of report.html in the first folder')


COMMANDS = {
    'pretrain': Command(
        'learn from images without labels',
        'pretraining:pretrain',
        _pretrain,
        'beit-mm pretrain photos --minutes 10 --out work_dirs/first\n'
        'beit-mm pretrain photos --method beit\n'
        'beit-mm pretrain photos --out work_dirs/first --resume\n'
        'beit-mm pretrain photos --arch base --size 224 --cfg-options '
        'optim_wrapper.optimizer.lr=1e-3',
    ),
    'finetune': Command(
        'train a classifier on images of classes',
        'finetuning:finetune',
        _finetune,
        'beit-mm finetune photos --weights work_dirs/first/pretrained.pth\n'
        'beit-mm finetune labels.csv --weights work_dirs/first/pretrained.pth --minutes 5\n'
        'beit-mm finetune photos --weights work_dirs/first/pretrained.pth --sweep 1e-4 3e-4 1e-3\n'
        "beit-mm finetune tags.csv --multi-label , --weights work_dirs/first/pretrained.pth",
    ),
    'transfer': Command(
        'fine-tune on a thousand labelled images of each of several tasks',
        'transferring:transfer',
        _transfer,
        'beit-mm transfer natural=pets natural=flowers specialised=tissue '
        '--weights work_dirs/first/pretrained.pth\n'
        'beit-mm transfer pets --labels 200 --weights work_dirs/first/pretrained.pth --resume',
    ),
    'predict': Command(
        'name the class of images, or paint their masks',
        'predicting:predict',
        _predict,
        'beit-mm predict work_dirs/photos_finetune cat.jpg\n'
        'beit-mm predict work_dirs/photos_finetune more_photos --out classes.csv\n'
        'beit-mm predict work_dirs/photos_segment photo.jpg --out predicted',
    ),
    'segment': Command(
        'train a segmentor on images and masks',
        'segmenting:segment',
        _segment,
        'beit-mm segment photos masks --weights work_dirs/first/pretrained.pth\n'
        'beit-mm segment photos masks --weights none --classes background cat dog\n'
        'beit-mm segment photos annotations.json --weights work_dirs/first/pretrained.pth',
    ),
    'embed': Command(
        'turn images into vectors',
        'embedding:embed',
        _embed,
        'beit-mm embed photos vectors.npz --weights work_dirs/first/pretrained.pth\n'
        'beit-mm embed scenes vectors.npz --bands 4,3,2 --weights timm:vit_base_patch16_224.mae',
    ),
    'evaluate': Command(
        'measure what frozen weights know of classes',
        'evaluating:evaluate',
        _evaluate,
        'beit-mm evaluate photos --weights work_dirs/first/pretrained.pth\n'
        'beit-mm evaluate photos --weights work_dirs/first/pretrained.pth --few-shot 1 5 10',
    ),
    'test': Command(
        'metrics of a checkpoint on the test data of a config',
        'testing_runs:run_test',
        _test,
        'beit-mm test work_dirs/photos_finetune\n'
        'beit-mm test mine.py epoch_100.pth --out metrics.json',
    ),
    'report': Command(
        'a page on runs: curves, pictures, what looks wrong', 'reporting:report', _report,
        'beit-mm report work_dirs/photos_pretrain\n'
        'beit-mm report run_a run_b --out compare.html',
    ),
    'export': Command(
        'write a model as ONNX, torch.export or TorchScript',
        'handing_on:export',
        _export,
        'beit-mm export work_dirs/photos_finetune classifier.onnx',
    ),
    'convert': Command(
        'write weights as timm, transformers ... read them',
        'handing_on:convert',
        _convert,
        'beit-mm convert work_dirs/first/pretrained.pth beit.pth --to timm\n'
        'beit-mm convert work_dirs/first/pretrained.pth beit --to huggingface\n'
        'beit-mm convert timm:vit_base_patch16_224.augreg_in21k vit.npz --to jax',
    ),
    'check': Command(
        'what is in images: sizes, depth, bands, values; which are broken',
        'checking_photos:check',
        _check,
        'beit-mm check photos\n'
        'beit-mm check photos broken.txt',
    ),
    **{f'{LOOK} {name}': look for name, look in LOOKS.items()},
    'shard': Command(
        'write images into tar shards, as slow disks and stores want them',
        'sharding:shard',
        _shard,
        'beit-mm shard photos shards\n'
        'beit-mm shard labels.csv shards --megabytes 1000\n'
        'beit-mm shard s3://bucket/shards --verify',
    ),
    'info': Command('versions, machine, what is fast here', 'telling_machine:info', _nothing,
                    'beit-mm info'),
    'recipes': Command('the recipes, with data, cost and figure', 'telling_recipes:recipes',
                       _nothing, 'beit-mm recipes'),
}  # fmt: skip
