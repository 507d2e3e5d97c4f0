"""Rows of ViT's paper, and of what is faster and must be as good."""

from claim_recipes import (
    ALL,
    ARCH,
    SCALE,
    STEPS,
    WIDTH,
    Run,
    beit,
    few_shot,
    finetuned,
    mae,
    masks,
    second_view,
)
from claim_row import (
    BEIT,
    BEIT_TUNED,
    FEW_SHOT,
    LONG,
    MAE,
    MAE_TUNED,
    SCRATCH_VIT,
    TOKENIZER,
    VIT_ALL_LABELS,
    Claim,
    Point,
    Row,
    tuned,
)

# As much time of a core as the plain network's, by what a step costs.
HYBRID_STEPS = {
    steps: round(steps * (SCALE.hybrid or 1))
    for steps in (STEPS['finetune_all'] // 4, STEPS['finetune_all'])
}
STEM = {'model.backbone.stem': dict(type='beit_mm.HybridStem', stages=())}


def _hybrid() -> Row:
    points = []
    for name, steps, of_hybrid in zip(
        ('little', 'more'), HYBRID_STEPS, HYBRID_STEPS.values(), strict=True
    ):
        plain = VIT_ALL_LABELS
        if steps != STEPS['finetune_all']:
            plain = finetuned('scratch-vit-short', None, 'vit', labels=ALL, steps=steps)
        hybrid = finetuned(
            f'hybrid-{name}', None, 'vit', STEM, labels=ALL, steps=of_hybrid
        )._replace(seconds=plain.seconds)
        points += [Point(f'hybrid, {name} compute', hybrid), Point(f'ViT, {name} compute', plain)]
    return Row(
        'vit-hybrid',
        'At little compute a hybrid is better than a plain Transformer; at more they are alike.',
        'ViT, figure 5',
        tuple(points),
        (
            Claim('hybrid, little compute', 'ViT, little compute', 'plotted'),
            Claim('hybrid, more compute', 'ViT, more compute', 'plotted', margin=2.0),
        ),
        note='Trained with all labels for as much time of one core, by what a step costs: the '
        f'hybrid for {" and ".join(map(str, HYBRID_STEPS.values()))} steps, the plain network for '
        f'{" and ".join(map(str, HYBRID_STEPS))}. The hybrid has the root of a ResNet, stride 4. '
        'Tried: half the rate at little compute, 13.7 for 12.7 on the photos that choose, one '
        'seed, which is far less than what parts the two.',
    )


MEAN_COLORS = dict(
    _scope_='mmpretrain',
    type='beit_mm.MaskedPatchPrediction',
    backbone=dict(
        type='beit_mm.VisionTransformer', arch=ARCH, img_size=64, patch_size=8,
        positions='learned', out_type='raw', with_mask_token=True,
    ),
    target_generator=dict(type='beit_mm.MeanColorTargetGenerator', patch_size=8),
    head=dict(type='beit_mm.MIMHead', embed_dims=WIDTH, vocab_size=512, num_masked=32),
    data_preprocessor=dict(
        type='beit_mm.TwoViewDataPreprocessor',
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375],
    ),
)  # fmt: skip
PACK = dict(type='PackInputs', algorithm_keys=('sources',))
CORRUPTED = Run(
    'vit-masked-patches', 'mae', STEPS['pretrain'], 230,
    {
        'model': MEAN_COLORS,
        'val_evaluator': dict(type='beit_mm.MIMAccuracy'),
        'train_dataloader.dataset.pipeline.2': PACK,
        'val_dataloader.dataset.pipeline.3': PACK,
        **masks(
            type='beit_mm.PatchCorruptionGenerator', share=0.5, mask_share=0.8, other_share=0.1
        ),
        **second_view(64, second_interpolation='bicubic'),
    },
)  # fmt: skip
MASKED_PATCHES = Row(
    'vit-masked-patches',
    'Predicting the mean colour of masked patches is better than training from scratch.',
    'ViT, section 4.6',
    (Point('masked patch prediction', tuned(CORRUPTED)), Point('from scratch', SCRATCH_VIT)),
    (Claim('masked patch prediction', 'from scratch', '79.9, two points over'),),
)
OTHERS = {
    labels: finetuned(
        f'vit-other-{labels}', None, 'vit', classes='other', labels=labels,
        steps=STEPS['finetune_all'],
    )
    for labels in (50, ALL)
}  # fmt: skip
HALF = f'{SCALE.classes // 2} classes'
FEW = Row(
    'vit-few-shot',
    'The more a network was pre-trained on, the more of new classes it tells from five photos.',
    'ViT, figure 4',
    (
        Point(f'{HALF}, 475 labels each', few_shot(OTHERS[ALL]), FEW_SHOT),
        Point(f'{HALF}, 50 labels each', few_shot(OTHERS[50]), FEW_SHOT),
        Point('MAE, no labels', few_shot(MAE), FEW_SHOT),
        Point('BEiT, no labels', few_shot(BEIT), FEW_SHOT),
    ),
    (Claim(f'{HALF}, 475 labels each', f'{HALF}, 50 labels each', 'plotted'),),
    note='Least squares on frozen features, five labels of each of the other classes. MAE and '
    'BEiT, which saw all photos and no label, are shown beside.',
)


def _positions() -> Row:
    kinds = {
        'none': {'model.backbone.positions': None},
        '2-D': {'model.backbone.positions': 'learned-2d'},
        'relative': {'model.backbone.positions': None, 'model.backbone.use_rel_pos_bias': True},
    }
    runs = {
        name: finetuned(f'vit-positions-{name.lower()}', None, 'vit', options, **LONG)
        for name, options in kinds.items()
    }
    return Row(
        'vit-positions',
        'Positions are needed; which kind matters little.',
        'ViT, table 8',
        (Point('1-D', VIT_ALL_LABELS), *(Point(name, run) for name, run in runs.items())),
        (
            Claim('1-D', 'none', '64.2 over 61.4, 5-shot'),
            Claim('1-D', '2-D', '64.2 and 64.0, 5-shot', margin=2.0),
            Claim('1-D', 'relative', '64.2 and 64.0, 5-shot', margin=2.0),
        ),
        note='Trained from scratch with all labels.',
    )


HYBRID, POSITIONS = _hybrid(), _positions()
# Points of top-1 that what is faster may be off by.
MARGIN = 2.0
FLOAT32 = {'optim_wrapper.type': 'OptimWrapper'}
EXACT = mae('mae-float32', FLOAT32, seconds=200)
BFLOAT16 = Row(
    'same-bfloat16',
    'Training in bfloat16 is as good as in float32.',
    'nothing that a paper claims',
    (
        Point('bfloat16', MAE_TUNED),
        Point('float32', finetuned('mae-float32-finetuned', EXACT, options=FLOAT32)),
    ),
    (Claim('bfloat16', 'float32', '', MARGIN),),
    note='Both stages, of MAE.',
)
SKIPPING = Row(
    'same-drop-path',
    'Stochastic depth that leaves the work out is as good as one that multiplies by zero.',
    'nothing that a paper claims',
    (
        Point('work left out', finetuned(
            'mae-skipping', MAE, options={'model.backbone.skip_dropped': True})),
        Point('multiplied', MAE_TUNED),
    ),
    (Claim('work left out', 'multiplied', '', MARGIN),),
)  # fmt: skip
CACHE = Run('cached-views', 'cache', 0, 120, BEIT.options, teacher=TOKENIZER)
TIMES_SEEN = round(STEPS['pretrain'] * SCALE.batch['pretrain'] / (SCALE.classes * ALL))
CACHED = Row(
    'same-cached-tokens',
    'Four kept views of each photo are as good as new ones in each epoch.',
    'nothing that a paper claims',
    (
        Point('four kept views', tuned(beit('beit-cached', None, TOKENIZER)._replace(cache=CACHE))),
        Point('new views', BEIT_TUNED),
    ),
    (Claim('four kept views', 'new views', '', MARGIN),),
    note=f'A photo is seen {TIMES_SEEN} times in all.',
)
COMPILED = Row(
    'same-compiled',
    'Compiled blocks are as good as plain ones.',
    'nothing that a paper claims',
    (
        Point('compiled', finetuned(
            'mae-compiled', MAE, options={'model.backbone.compile_blocks': True})),
        Point('plain', MAE_TUNED),
    ),
    (Claim('compiled', 'plain', '', MARGIN),),
)  # fmt: skip
