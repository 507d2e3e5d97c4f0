"""Rows of BEiT's paper."""

from claim_recipes import (
    CURVE_POINTS,
    PIXELS,
    SCALE,
    STEPS,
    beit,
    finetuned,
    random_masks,
    segmented,
    tokenizer,
)
from claim_row import (
    BEIT,
    BEIT_ALL_LABELS,
    BEIT_TUNED,
    LONG,
    MIOU,
    SCRATCH,
    TOKENIZER,
    Claim,
    Point,
    Row,
    tuned,
)

# Nobody counts the hidden patches of a batch: all places have a loss.
ALL_TOKENS = {'model.predict_all': True, 'model.head.num_masked': None}
TABLE_4 = {
    'BEiT': BEIT_TUNED,
    'random masks': tuned(beit('beit-random-masks', random_masks(25), TOKENIZER)),
    'pixels': tuned(beit('beit-pixels', PIXELS)),
    'pixels, random masks': tuned(beit('beit-pixels-random-masks', PIXELS | random_masks(25))),
    'all tokens': tuned(beit('beit-all-tokens', ALL_TOKENS, TOKENIZER)),
    'all tokens, no masks': tuned(beit('beit-no-masks', ALL_TOKENS | random_masks(0), TOKENIZER)),
    'twice as long': tuned(beit('beit-long', None, TOKENIZER, length=2)),
}


def of_table_4(*names: str) -> tuple[Point, ...]:
    return tuple(Point(name, TABLE_4[name]) for name in names)


PRETRAINING = Row(
    'beit-pretraining',
    'Pre-training BEiT on the photos without labels is better than training from scratch.',
    'BEiT, table 1',
    (Point('BEiT', BEIT_TUNED), Point('from scratch', SCRATCH)),
    (Claim('BEiT', 'from scratch', '83.2 over 81.8'),),
)
XAVIER = {'model.backbone.initial_values': 'xavier'}
INITIAL_VALUES = Row(
    'beit-initial-values',
    'Pre-training BEiT is better than training from scratch, from larger initial values too.',
    'BEiT, table 1',
    (
        Point('BEiT, Xavier', tuned(beit('beit-xavier', XAVIER, TOKENIZER))),
        Point('from scratch, Xavier', finetuned('scratch-xavier', None, 'beit', XAVIER)),
        Point('BEiT', BEIT_TUNED),
        Point('from scratch', SCRATCH),
    ),
    (
        Claim('BEiT, Xavier', 'from scratch, Xavier', '83.2 over 81.8'),
        Claim('from scratch, Xavier', 'from scratch', 'not measured'),
        Claim('BEiT, Xavier', 'BEiT', 'not measured'),
    ),
    note="The paper's initial values are small, whatever the width: a narrow network takes long "
    "to grow out of them. Xavier's, those of MAE and ViT, grow as the width shrinks. Rates are "
    "those chosen for the paper's.",
)
TOKENS = Row(
    'beit-tokens',
    'Visual tokens are better targets than pixels, under either kind of mask.',
    'BEiT, table 4',
    of_table_4('BEiT', 'pixels', 'random masks', 'pixels, random masks'),
    (
        Claim('BEiT', 'pixels', '82.86 over 81.04'),
        Claim('random masks', 'pixels, random masks', '82.77 over 80.50'),
    ),
)
MASKS = Row(
    'beit-masks',
    'Blocks are better masks than single patches, the more so with pixels.',
    'BEiT, table 4',
    of_table_4('BEiT', 'random masks', 'pixels', 'pixels, random masks'),
    (
        Claim('BEiT', 'random masks', '82.86 over 82.77'),
        Claim('pixels', 'pixels, random masks', '81.04 over 80.50'),
    ),
)
HIDDEN = Row(
    'beit-hidden-tokens',
    'Predicting the hidden tokens is better than predicting all, and masks are needed.',
    'BEiT, table 4',
    of_table_4('BEiT', 'all tokens', 'all tokens, no masks'),
    (
        Claim('BEiT', 'all tokens', '82.86 over 82.59'),
        Claim('all tokens', 'all tokens, no masks', 'no figure is known here'),
    ),
)
LONGER = Row(
    'beit-longer',
    'Pre-training for longer goes on helping.',
    'BEiT, table 4',
    of_table_4('twice as long', 'BEiT'),
    (Claim('twice as long', 'BEiT', '83.19 (800 epochs) over 82.86 (300)'),),
)
# Labels a class: 1, 5, 10, 25 and all that are left of 500.
SHARES = {1: 5, 5: 25, 10: 50, 25: 125, 95: 475}


def _few_labels() -> Row:
    points = []
    for share, labels in SHARES.items():
        pair = (BEIT_TUNED, SCRATCH)
        if share == 95:
            pair = (BEIT_ALL_LABELS, finetuned('scratch-all-labels', None, 'beit', **LONG))
        elif share != 10:
            pair = (
                finetuned(f'beit-labels-{labels}', BEIT, labels=labels),
                finetuned(f'scratch-labels-{labels}', None, 'beit', labels=labels),
            )
        for line, run in zip(('BEiT', 'from scratch'), pair, strict=True):
            points.append(Point(f'{line}, {share} %', run, x=share, line=line))
    return Row(
        'beit-few-labels',
        'At equal labels pre-training is better than training from scratch, with few or many.',
        'BEiT, table 1',
        tuple(points),
        tuple(
            Claim(f'BEiT, {share} %', f'from scratch, {share} %',
                  '83.2 over 81.8 (all labels)' if share == 95 else 'not measured')
            for share in SHARES
        ),
        'share of the 500 photos a class that have a label, %',
        f'Networks are trained for {STEPS["finetune"]} steps, with all labels for '
        f'{STEPS["finetune_all"]}.',
        log=True,
    )  # fmt: skip


FEW_LABELS = _few_labels()


# Steps between two points of the curve, and half of all.
CURVE, HALF = STEPS['finetune'] // CURVE_POINTS, STEPS['finetune'] // 2


def _convergence() -> Row:
    points = []
    for line, start in (('BEiT', BEIT), ('from scratch', None)):
        run = finetuned(
            f'{"beit" if start else "scratch"}-convergence', start, 'beit', held_out=True
        )
        points += [
            Point(f'{line}, {step} steps', run, f'curve:{step}', step, line)
            for step in range(CURVE, STEPS['finetune'] + 1, CURVE)
        ]
    return Row(
        'beit-convergence',
        'Fine-tuning a pre-trained network converges faster than training from scratch.',
        'BEiT, figure 2',
        tuple(points),
        (
            Claim(f'BEiT, {HALF} steps', f'from scratch, {HALF} steps', 'plotted'),
            Claim(f'BEiT, {HALF} steps', f'from scratch, {STEPS["finetune"]} steps', 'plotted'),
        ),
        'steps of fine-tuning',
        'On training photos that nothing else reads, as it is looked at ten times.',
    )


CONVERGENCE = _convergence()


def _sized(size: int) -> dict:
    """Options of fine-tuning on photos of another size."""
    places = ('train_dataloader.dataset.pipeline.1', 'val_dataloader.dataset.pipeline.1',
              'val_dataloader.dataset.pipeline.2')  # fmt: skip
    return {'model.backbone.img_size': size} | {f'{place}.size': size for place in places}


RESOLUTION = Row(
    'beit-resolution',
    'Fine-tuning at a higher resolution is better.',
    'BEiT, table 1',
    tuple(
        Point(f'{size} pixels', BEIT_TUNED if size == 64 else
              finetuned(f'beit-size-{size}', BEIT, options=_sized(size)), x=size)
        for size in (48, 64, 96)
    ),
    (
        Claim('64 pixels', '48 pixels', '84.6 (384 pixels) over 83.2 (224)'),
        Claim('96 pixels', '64 pixels', '84.6 (384 pixels) over 83.2 (224)'),
    ),
    'pixels of a side, in patches of 8',
    'Photos have 64 pixels: at 96 there are more patches, no more detail. Positions are resized.',
)  # fmt: skip
HALVES = dict(
    other=finetuned('beit-other-classes', BEIT, classes='other', **LONG),
    plain=finetuned('beit-target-classes', BEIT, classes='target'),
)
INTERMEDIATE = Row(
    'beit-intermediate',
    'Intermediate fine-tuning on labels of other classes helps.',
    'BEiT, section 3.1',
    (
        Point(
            'with intermediate fine-tuning',
            finetuned('beit-intermediate', HALVES['other'], 'beit', classes='target'),
        ),
        Point('without', HALVES['plain']),
    ),
    (Claim('with intermediate fine-tuning', 'without', 'helps; 47.7 over 45.6 mIoU on ADE20K'),),
    note='Every second class is the target, with 50 labels a class; the other classes, with all '
    'labels, are between pre-training and it.',
)
SEGMENTATION = Row(
    'beit-segmentation',
    'Pre-training helps segmentation, and intermediate fine-tuning helps it more.',
    'BEiT, table 3',
    (
        Point(
            'with intermediate fine-tuning',
            segmented('camvid-intermediate', BEIT_ALL_LABELS),
            MIOU,
        ),
        Point('pre-trained', segmented('camvid-pretrained', BEIT), MIOU),
        Point('from scratch', segmented('camvid-scratch', None), MIOU),
    ),
    (
        Claim('pre-trained', 'from scratch', '45.6, of supervised pre-training 45.3'),
        Claim('with intermediate fine-tuning', 'pre-trained', '47.7 over 45.6'),
    ),
    note=f'CamVid, trained for {STEPS["segment"]} steps of {SCALE.batch["segment"]} crops by '
    'configs/camvid/finetune.py; pre-trained on Tiny ImageNet, as the paper does on ImageNet for '
    "ADE20K; intermediate fine-tuning is on all of Tiny ImageNet's labels.",
)  # fmt: skip


def _tokenizers() -> Row:
    few = {'vocab_size': 16}
    coders = {
        '256 codes': (TOKENIZER, BEIT),
        '16 codes': _coder('16', {f'model.{key}': value for key, value in few.items()}, {
            'model.head.vocab_size': 16, 'model.target_generator.tokenizer.vocab_size': 16,
        }),
        'never trained': _coder('untrained', {
            'optim_wrapper.optimizer.lr': 0.0, 'optim_wrapper.optimizer.weight_decay': 0.0,
            'param_scheduler.eta_min': 0.0,
        }, {}),
    }  # fmt: skip
    points = [Point(name, tuned(network)) for name, (_, network) in coders.items()]
    for name, (coder, _) in coders.items():
        for score in ('recon_mse', 'perplexity'):
            points.append(Point(f'{name}: {score}', coder, f'tokenizer/{score}', drawn=False))
    return Row(
        'beit-tokenizers',
        'A tokenizer that sees more teaches more.',
        'BEiT, section 2.1 (implied: its tokenizer is taken as it is)',
        tuple(points),
        (
            Claim('256 codes', '16 codes', 'not measured'),
            Claim('256 codes', 'never trained', 'not measured'),
        ),
        note='`recon_mse`: squared error of the pictures that the codes give back, in [0, 1]; '
        '`perplexity`: how many codes are in use, as if equally.',
    )


def _coder(name: str, of_tokenizer: dict, of_network: dict) -> tuple:
    """A tokenizer, and BEiT pre-trained with it."""
    coder = tokenizer(f'tokenizer-{name}', of_tokenizer)
    return coder, beit(f'beit-tokenizer-{name}', of_network, coder)


TOKENIZERS = _tokenizers()
