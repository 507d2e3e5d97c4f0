"""Rows of MAE's paper. Its figures are of ViT-L."""

from claim_recipes import (
    DECODER,
    DEPTH,
    SCALE,
    TOKENIZER,
    Run,
    finetuned,
    frozen,
    mae,
    masks,
    random_masks,
    second_view,
)
from claim_row import LINEAR, MAE, MAE_TUNED, SCRATCH_VIT, TOP1, Claim, Point, Row, tuned
from claim_row import TOKENIZER as TOKENIZER_RUN

PRETRAINING = Row(
    'mae-pretraining',
    'Pre-training MAE is better than training from scratch.',
    'MAE, section 4',
    (Point('MAE', MAE_TUNED), Point('from scratch', SCRATCH_VIT)),
    (Claim('MAE', 'from scratch', '84.9 over 82.5'),),
)


def both(label: str, run: Run, x: float | None = None) -> tuple[Point, Point]:
    """Fine-tuned, and by a linear classifier on frozen features."""
    return (
        Point(label, tuned(run), TOP1, x),
        Point(f'{label}, linear', frozen(run), LINEAR, x, 'linear'),
    )


def _share(percent: int, seconds: float) -> Run:
    """MAE with another share of 64 patches left out."""
    if percent == 75:
        return MAE
    number = round(64 * percent / 100)
    options = random_masks(number) | {'model.head.num_masked': number}
    return mae(f'mae-mask-{percent}', options, seconds=seconds)


SECONDS = {10: 260, 25: 225, 40: 205, 50: 200, 75: 150, 90: 130}
SHARE = Row(
    'mae-mask-share',
    'Hiding three quarters of the patches is best, fine-tuned and linear.',
    'MAE, figure 5',
    tuple(
        point
        for percent, seconds in SECONDS.items()
        for point in both(f'{percent} %', _share(percent, seconds), percent)
    ),
    (
        Claim('75 %', '10 %', 'plotted'),
        Claim('75 %', '50 %', 'plotted; 40 to 80 % work well'),
        Claim('75 %', '90 %', 'plotted'),
        Claim('75 %, linear', '10 %, linear', '73.5 over 54.6'),
        Claim('75 %, linear', '50 %, linear', 'plotted'),
        Claim('75 %, linear', '90 %, linear', 'plotted'),
    ),
    'share of the patches that is hidden, %',
    'Equal steps, whatever they cost: on a CPU a step at 10 % takes twice as long as one at 75 %.',
)


def _blocks(number: int) -> str:
    return f'{number} block{"s" * (number > 1)}'


def _depth() -> Row:
    middle = DECODER['num_layers']
    runs = {
        depth: MAE if depth == middle else
        mae(f'mae-decoder-{depth}', {'model.decoder.num_layers': depth}, seconds=115 + 16 * depth)
        for depth in (1, middle, 8)
    }  # fmt: skip
    return Row(
        'mae-decoder-depth',
        'A deeper decoder helps a linear classifier, and fine-tuning hardly at all.',
        'MAE, table 1a',
        tuple(p for depth, run in runs.items() for p in both(_blocks(depth), run, depth)),
        (
            Claim('8 blocks, linear', '1 block, linear', '73.5 over 65.5'),
            Claim('8 blocks', '1 block', '84.9 and 84.8', margin=2.0),
        ),
        'blocks of the decoder',
    )


TOKENS = {
    'model.target_generator': dict(
        type='beit_mm.DVAETargetGenerator',
        tokenizer=dict(
            type='beit_mm.DiscreteVAE', quantizer='vector', vocab_size=256, num_groups=3,
            blocks_per_group=1, **TOKENIZER,
        ),
        checkpoint=None,
    ),
    'model.head': dict(
        type='beit_mm.MIMHead', embed_dims=DECODER['embed_dims'], vocab_size=256, num_masked=48),
    'model.data_preprocessor.second_mean': [0.0],
    'model.data_preprocessor.second_std': [255.0],
    'val_evaluator': dict(type='beit_mm.MIMAccuracy'),
} | second_view(32)  # fmt: skip
# The paper's 96 of 768 values are an eighth.
COMPONENTS = 24
PRINCIPAL = {
    'model.target_generator': dict(
        type='beit_mm.PCATargetGenerator', checkpoint=None, num_values=COMPONENTS, patch_size=8
    ),
    'model.head.num_values': COMPONENTS,
}
FITTED = Run('mae-components', 'components', 0, 30, options=MAE.options | PRINCIPAL)
TARGETS = Row(
    'mae-targets',
    'Normalised pixels are as good targets as tokens, better than plain pixels and components.',
    'MAE, table 1d',
    (
        *both('normalised pixels', MAE),
        *both('pixels', mae('mae-pixels', {'model.target_generator.normalize': False})),
        *both('components', mae('mae-pca', PRINCIPAL, FITTED)),
        *both('tokens', mae('mae-tokens', TOKENS, TOKENIZER_RUN, 200)),
    ),
    (
        Claim('normalised pixels', 'pixels', '85.4 over 84.9'),
        Claim('normalised pixels', 'components', '85.4 over 84.6'),
        Claim('normalised pixels', 'tokens', '85.4 and 85.3', margin=2.0),
        Claim('normalised pixels, linear', 'tokens, linear', '73.9 over 71.6'),
    ),
)
IN_ENCODER = mae(
    'mae-mask-tokens',
    {'model.encode_all': True, 'model.backbone.with_mask_token': True},
    seconds=245,
)
MASK_TOKENS = Row(
    'mae-mask-tokens',
    'An encoder that is not shown mask tokens is better, and faster.',
    'MAE, table 1c',
    (*both('without mask tokens', MAE), *both('with mask tokens', IN_ENCODER)),
    (
        Claim('without mask tokens', 'with mask tokens', '84.9 over 84.2'),
        Claim('without mask tokens, linear', 'with mask tokens, linear', '73.5 over 59.6'),
    ),
)
VIEWS = 'train_dataloader.dataset.pipeline.0'
NOTHING = {f'{VIEWS}.scale': (1.0, 1.0), f'{VIEWS}.ratio': (1.0, 1.0), f'{VIEWS}.flip_prob': 0.0}
# 56 of 64 pixels.
FIXED = {f'{VIEWS}.scale': (0.7656, 0.7656), f'{VIEWS}.ratio': (1.0, 1.0)}
JITTER = {f'{VIEWS}.{name}': 0.4 for name in ('brightness', 'contrast', 'saturation')}
AUGMENTATION = Row(
    'mae-augmentation',
    'Crops of random sizes are all that it takes: fewer changes are worse, and so are colours.',
    'MAE, table 1e',
    (
        *both('crops of random sizes', MAE),
        *both('crops of one size', mae('mae-fixed-crops', FIXED)),
        *both('random sizes and colours', mae('mae-jitter', JITTER)),
        *both('none', mae('mae-no-augmentation', NOTHING)),
    ),
    (
        Claim('crops of random sizes', 'none', '84.9 over 84.0'),
        Claim('crops of random sizes, linear', 'none, linear', '73.5 over 65.7'),
        Claim('crops of random sizes', 'crops of one size', '84.9 over 84.7'),
        Claim('crops of random sizes, linear', 'random sizes and colours, linear',
              '73.5 over 71.9'),
    ),
)  # fmt: skip


def _masked(name: str, number: int, **generator) -> Run:
    options = masks(num_masked=number, **generator) | {'model.head.num_masked': number}
    return mae(name, options, seconds=155 if number == 48 else 190)


BLOCK, GRID = dict(type='beit_mm.BlockwiseMaskGenerator', min_block=5), 'beit_mm.GridMaskGenerator'
MASKS = Row(
    'mae-masks',
    'Random patches are better masks than blocks and than a grid.',
    'MAE, table 1f',
    (
        *both('random, 75 %', MAE),
        *both('blocks, 50 %', _masked('mae-blocks-50', 32, **BLOCK)),
        *both('blocks, 75 %', _masked('mae-blocks-75', 48, **BLOCK)),
        *both('grid, 75 %', _masked('mae-grid-75', 48, type=GRID)),
    ),
    (
        Claim('random, 75 %', 'blocks, 50 %', '84.9 over 83.9'),
        Claim('random, 75 %', 'blocks, 75 %', '84.9 over 82.8'),
        Claim('random, 75 %', 'grid, 75 %', '84.9 over 84.0'),
        Claim('random, 75 %, linear', 'blocks, 75 %, linear', '73.5 over 63.9'),
    ),
)


def _partial() -> Row:
    points = [Point('0 blocks (linear)', frozen(MAE), LINEAR, 0)]
    for blocks in SCALE.partial:
        options = {'model.backbone.frozen_stages': DEPTH - blocks}
        run = finetuned(f'mae-partial-{blocks}', MAE, options=options)
        points.append(Point(_blocks(blocks), run, TOP1, blocks))
    points.append(Point('all', MAE_TUNED, TOP1, DEPTH))
    return Row(
        'mae-partial',
        'Fine-tuning the last block alone is far better than a linear classifier.',
        'MAE, figure 9',
        tuple(points),
        (
            Claim('1 block', '0 blocks (linear)', '81.0 over 73.5'),
            Claim('all', '1 block', '84.9 over 81.0'),
        ),
        'blocks that are fine-tuned, the last ones',
    )


DECODERS, PARTIAL = _depth(), _partial()
