"""Claims, the tokenizer of variant `untrained-tokens`: an encoder that stays as it was drawn.

    python tools/train.py configs/claims/untrained_dvae.py

The codes follow what the random encoder makes of the images, so that all are in use: what this
lacks beside dvae.py is training, and nothing else.
"""

_base_ = ['./dvae.py']

optim_wrapper = dict(optimizer=dict(lr=0.0, weight_decay=0.0))
param_scheduler = [dict(_base_.decay, begin=0, end={{_base_.max_epochs}}, eta_min=0.0)]
