"""What needs no exporter but torch.jit.trace, and so works with every PyTorch."""

import numpy as np
import pytest
import torch
from full_disk import full_disk
from mmengine.utils import digit_version
from mmpretrain import ImageClassificationInferencer
from small_models import build, classifier, photo, save, segmentor

from beit_mm.component import ConfigError
from beit_mm.exporting import export
from beit_mm.exporting.formats import MIN_TORCH


@torch.no_grad()
def test_a_traced_classifier_scores_photos_as_mmpretrain_does(tmp_path):
    cfg = classifier()
    checkpoint = save(cfg, tmp_path / 'weights.pth')
    exported = export(cfg, checkpoint, tmp_path / 'out.torchscript')
    assert exported.difference < 1e-5
    pixels = photo(tmp_path / 'photo.png')
    images = torch.from_numpy(pixels.copy()).permute(2, 0, 1).div(255).expand(3, -1, -1, -1)
    (logits,) = torch.jit.load(str(tmp_path / 'out.torchscript'))(images)
    classify = ImageClassificationInferencer(cfg, pretrained=str(checkpoint))
    (result,) = classify(str(tmp_path / 'photo.png'))
    np.testing.assert_allclose(logits.softmax(1)[2], result['pred_scores'], atol=1e-5)


@pytest.mark.parametrize('head', ['SETRPUPHead', 'UPerHead'])
def test_a_traced_segmentor(head, tmp_path):
    exported = export(build(segmentor(head)), None, tmp_path / 'out.bin', format='torchscript')
    assert exported.outputs == {'logits': (2, 3, 64, 64)}
    assert exported.greatest > 0.1


def test_a_full_disk_is_told(tmp_path):
    """torch, writing by itself, would end the process."""
    model = build(classifier())
    said = r'out\.pt cannot be written: File too large$'
    with full_disk(1000), pytest.raises(ConfigError, match=said):
        export(model, None, tmp_path / 'out.pt')
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(
    digit_version(torch.__version__) >= digit_version(MIN_TORCH), reason='of older PyTorch'
)
def test_an_older_pytorch_is_told(tmp_path):
    with pytest.raises(ConfigError, match=f'take PyTorch {MIN_TORCH}, this is'):
        export(build(classifier()), None, tmp_path / 'out.pt2')
