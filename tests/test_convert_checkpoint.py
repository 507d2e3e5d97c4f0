"""The command line that converts checkpoints, against the libraries that shall read them."""

import runpy
import sys
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from timm.models.beit import Beit

from beit_mm.checkpoints import load_state_dict

TOOL = Path(__file__).parent.parent / 'tools/convert_checkpoint.py'


def convert(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')


@pytest.fixture
def model():
    """timm's BEiT, small, with random weights everywhere."""
    torch.manual_seed(0)
    model = Beit(
        img_size=64, embed_dim=32, depth=2, num_heads=2, mlp_ratio=2, num_classes=5,
        init_values=0.1, use_abs_pos_emb=False, use_rel_pos_bias=True,
    )  # fmt: skip
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


@pytest.mark.parametrize('ending', ['.pth', '.safetensors'])
@pytest.mark.parametrize('layout', ['beit_mm', 'unilm', 'huggingface', 'mmpretrain'])
def test_there_and_back_timm_gives_its_own_outputs(tmp_path, monkeypatch, model, layout, ending):
    first, other, back = tmp_path / 'a.pth', tmp_path / f'b{ending}', tmp_path / f'c{ending}'
    torch.save(model.state_dict(), first)
    convert(monkeypatch, first, other, '--to', layout)
    convert(monkeypatch, other, back, '--to', 'timm')
    weights = load_state_dict(back)
    assert weights.keys() == model.state_dict().keys()
    fresh = Beit(
        img_size=64, embed_dim=32, depth=2, num_heads=2, mlp_ratio=2, num_classes=5,
        init_values=0.1, use_abs_pos_emb=False, use_rel_pos_bias=True,
    ).eval()  # fmt: skip
    timm.models.load_checkpoint(fresh, str(back), strict=True)
    images = torch.randn(2, 3, 64, 64)
    assert fresh(images).equal(model(images))


def test_files_have_the_form_that_each_library_expects(tmp_path, monkeypatch, model, capsys):
    source = tmp_path / 'a.pth'
    torch.save(model.state_dict(), source)
    for layout, wrapper in [('unilm', 'model'), ('mmpretrain', 'state_dict'), ('timm', None)]:
        target = tmp_path / f'{layout}.pth'
        convert(monkeypatch, source, target, '--to', layout)
        content = torch.load(target, weights_only=True)
        assert (content.keys() == {wrapper}) if wrapper else ('cls_token' in content)
        assert f'{source} (timm, ' in capsys.readouterr().out
    # transformers asks a file for the framework that wrote it.
    target = tmp_path / 'model.safetensors'
    convert(monkeypatch, source, target, '--to', 'huggingface')
    with safetensors.safe_open(target, 'pt') as file:
        assert file.metadata() == {'format': 'pt'}
    # One matrix cut in three is saved once, not three times.
    saved = tmp_path / 'huggingface.pth'
    convert(monkeypatch, source, saved, '--to', 'huggingface')
    assert saved.stat().st_size < 1.3 * source.stat().st_size


def test_averaged_weights_are_converted_when_asked_for(tmp_path, monkeypatch, model):
    source, target = tmp_path / 'a.pth', tmp_path / 'b.pth'
    averaged = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    torch.save(dict(model=model.state_dict(), model_ema=averaged), source)
    convert(monkeypatch, source, target, '--to', 'beit_mm', '--ema')
    assert load_state_dict(target)['backbone.cls_token'].equal(averaged['cls_token'])


def test_bad_input_is_refused_by_name(tmp_path, monkeypatch):
    target = tmp_path / 'b.pth'
    with pytest.raises(SystemExit, match=r'missing\.pth: no such checkpoint'):
        convert(monkeypatch, tmp_path / 'missing.pth', target, '--to', 'timm')
    other = tmp_path / 'resnet.pth'
    torch.save({'layer1.0.conv1.weight': torch.zeros(3)}, other)
    with pytest.raises(SystemExit, match=r'resnet\.pth: these are not the weights of a Vision'):
        convert(monkeypatch, other, target, '--to', 'timm')
    assert not target.exists()


@pytest.mark.parametrize('arguments', [['a.pth', 'b.bin', '--to', 'timm'], ['a.pth', 'b.pth']])
def test_wrong_arguments_are_usage_errors(monkeypatch, arguments, capsys):
    with pytest.raises(SystemExit) as error:
        convert(monkeypatch, *arguments)
    assert error.value.code == 2
    assert '.pth or .safetensors' in (text := capsys.readouterr().err) or '--to' in text
