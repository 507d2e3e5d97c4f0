"""BEiT-B that recovers the visual token of every place, masked or not (paper, 3.3).

    tools/dist_train.sh configs/ablations/all_tokens.py 16

Expected: 82.59 % ImageNet top-1 after fine-tuning, 40.93 ADE20K mIoU (paper, table 4).
"""

_base_ = ['./full.py']

model = dict(predict_all=True)
