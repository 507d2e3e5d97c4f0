"""Small tokenizers of several kinds of images, beside k-means of the same patches.

    python benchmarks/tokenizer_errors.py --data mnist=FOLDER photos=FOLDER --out tokenizers.json

A FOLDER has ``train`` and ``val``, with images anywhere inside. Each is seen as a square of 16
pixels, 4 x 4 patches: the validation images whole, those of training in crops of 60 % of the area
or more. The tokenizer is the small recipe's (configs/_base_/small.py, small_dvae.py), for so many
steps of 64 images. k-means, with as many codes, is fitted to the patches of the whole training
images. Errors are mean squared, of pixels in [0, 1], on the validation images; codes in use and
perplexity are counted there too, and for the tokenizer once more on 1,024 crops of them, as few
images cannot use many codes.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from this_machine import describe
from torch import Tensor, nn
from torch.nn import functional as F

from beit_mm.datasets.finding import find_photos
from beit_mm.engine.measuring.yardsticks import kmeans, nearest, patches_of
from beit_mm.models import DiscreteVAE
from beit_mm.models.discrete_vae import codebook_perplexity

VIEW, STRIDE = 16, 4
# Before the crops.
SIZE = 64
MOST_IMAGES = 4000


def read(folder: Path) -> Tensor:
    """Images of a folder, (N, 3, SIZE, SIZE) uint8."""
    paths = sorted(folder / name for name in find_photos(folder).names)
    chosen = np.random.default_rng(0).permutation(len(paths))[:MOST_IMAGES]
    images = []
    for index in chosen:
        with Image.open(paths[index]) as image:
            images.append(
                ImageOps.fit(image.convert('RGB'), (SIZE, SIZE), Image.Resampling.BICUBIC)
            )
    return torch.from_numpy(np.stack([np.asarray(i) for i in images])).permute(0, 3, 1, 2)


def view(images: Tensor) -> Tensor:
    """(N, 3, H, W) uint8 -> (N, 3, VIEW, VIEW) in [0, 1]."""
    return F.interpolate(images.float() / 255, VIEW, mode='bicubic', antialias=True).clamp(0, 1)


def crops(images: Tensor, number: int) -> Tensor:
    """Views of random squares of at least 60 % of the area, eight images a square."""
    parts = []
    for chosen in torch.randint(len(images), (number,)).split(8):
        edge = round(SIZE * math.sqrt(0.6 + 0.4 * torch.rand(()).item()))
        top, left = torch.randint(SIZE - edge + 1, (2,)).tolist()
        parts.append(view(images[chosen, :, top : top + edge, left : left + edge]))
    return torch.cat(parts)


def usage(ids: Tensor, num_codes: int) -> tuple[int, float]:
    """Codes in use, and their perplexity."""
    counts = torch.bincount(ids.flatten(), minlength=num_codes)
    return int((counts > 0).sum()), float(codebook_perplexity(counts))


def train(images: Tensor, num_codes: int, quantizer: str, steps: int) -> DiscreteVAE:
    """The small recipe."""
    model = DiscreteVAE(
        num_codes,
        hidden=32,
        num_groups=3,
        blocks_per_group=1,
        decoder_input=32,
        quantizer=quantizer,
    )
    lr = 5e-3 if quantizer == 'vector' else 2e-3
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=2e-5)
    for step in range(steps):
        # Of the paper's relaxation, as the small recipe had them.
        model.temperature = 1 / 16 + 15 / 32 * (1 + math.cos(math.pi * min(1, step / steps / 0.8)))
        model.kl_weight = 1.5 * (1 - math.cos(math.pi * min(1, step / steps / 0.05)))
        losses = model.loss(crops(images, 64))
        optimizer.zero_grad()
        sum(value for name, value in losses.items() if name.startswith('loss')).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def measure(name: str, train_images: Tensor, val_images: Tensor, num_codes: int, args) -> dict:
    """A row of the table."""
    torch.manual_seed(args.seed)
    whole = view(val_images)
    fitted, held_out = (patches_of(view(images), STRIDE) for images in (train_images, val_images))
    codes = kmeans(fitted, num_codes)
    ids = nearest(held_out, codes)
    row = dict(
        images=name,
        train=len(train_images),
        val=len(val_images),
        num_codes=num_codes,
        mean_mse=float((held_out - fitted.mean(dim=0)).square().mean()),
        kmeans_mse=float((held_out - codes[ids]).square().mean()),
        kmeans_usage=usage(ids, num_codes),
    )
    for quantizer in args.quantizers:
        start = time.perf_counter()
        with torch.enable_grad():
            model = train(train_images, num_codes, quantizer, args.steps)
        tokens = model.tokenize(whole)
        row[quantizer] = dict(
            mse=float((model.decode(tokens) - whole).square().mean()),
            usage=usage(tokens, num_codes),
            usage_of_crops=usage(model.tokenize(crops(val_images, 1024)), num_codes),
            seconds=time.perf_counter() - start,
        )
    return row


def main() -> None:
    """Measure, print and write, row by row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', nargs='+', required=True, metavar='NAME=FOLDER')
    parser.add_argument('--codes', nargs='+', type=int, default=[128, 1024])
    parser.add_argument(
        '--quantizers', nargs='+', choices=['vector', 'gumbel'], default=['vector', 'gumbel']
    )
    parser.add_argument('--steps', type=int, default=1000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, help='JSON file, written after each row')
    args = parser.parse_args()
    torch.set_num_threads(1)
    settings = dict(steps=args.steps, seed=args.seed, data=[d.partition('=')[0] for d in args.data])
    report = dict(benchmark='tokenizers', settings=settings, machine=describe('cpu'), rows=[])
    for name, _, folder in (item.partition('=') for item in args.data):
        images = [read(Path(folder) / split) for split in ('train', 'val')]
        for num_codes in args.codes:
            row = measure(name, *images, num_codes, args)
            report['rows'].append(row)
            print(json.dumps(row), flush=True)
            if args.out:
                args.out.write_text(json.dumps(report, indent=1) + '\n')


if __name__ == '__main__':
    main()
