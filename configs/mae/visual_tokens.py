"""MAE that predicts the tokens of OpenAI's tokenizer, as BEiT does.

    tools/dist_train.sh configs/mae/visual_tokens.py 64

A second view of 112 pixels has a token for each patch.

Expected: 85.3 % ImageNet top-1 after fine-tuning, 71.6 % by a linear probe (paper,
table 1d).
"""

_base_ = ['./table1.py']

tokenizer = dict(type='beit_mm.DiscreteVAE', vocab_size=8192)
model = dict(
    target_generator=dict(
        _delete_=True,
        type='beit_mm.DVAETargetGenerator',
        tokenizer=tokenizer,
        checkpoint='https://download.openmmlab.com/mmselfsup/1.x/target_generator_ckpt/'
        'dalle_encoder.pth',
        precision='tf32',
    ),
    head=dict(
        _delete_=True, type='beit_mm.MIMHead', embed_dims=512, vocab_size=8192, num_masked=147
    ),
)
train_views = dict(_base_.train_views, second_size=112)
test_views = dict(_base_.test_views, second_size=112)
train_dataloader = dict(dataset=dict(pipeline=[train_views, _base_.mask, _base_.pack]))
test_dataloader = dict(dataset=dict(pipeline=[_base_.load, test_views, _base_.mask, _base_.pack]))
test_evaluator = dict(type='beit_mm.MIMAccuracy')
