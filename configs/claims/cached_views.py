"""Claims, for views cached against fresh ones: variant `full`, with views made in one step.

    python benchmarks/cached_views.py --data data/tiny_imagenet --out work_dirs/cached_views

Both sides of the comparison are this config: with `token_cache` None every view is drawn anew and
its tokens are computed, and with a folder of tools/cache_tokens.py views and tokens are those of
the cache. Figures: benchmarks/results/cached_views.md.
"""

_base_ = ['./pretrain.py']

token_cache = None

model = dict(data_preprocessor=dict(type='beit_mm.TwoViewDataPreprocessor'))

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            # The crops and flips of pretrain.py, and as there no change of colours.
            dict(
                type='beit_mm.LoadTwoViews',
                size={{_base_.image_size}},
                second_size={{_base_.second_size}},
                scale={{_base_.crop_scale}},
                brightness=0.0,
                contrast=0.0,
                saturation=0.0,
                flip_prob=0.5,
            ),
            *_base_.train_dataloader.dataset.pipeline[-2:],
        ]
    )
)
