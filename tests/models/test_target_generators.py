"""The frozen tokenizer: nothing to optimise, float32 always, and its checkpoints."""

import pytest
import torch
from mmengine.registry import MODELS
from mmpretrain.models.selfsup.cae import DALLEEncoder
from torch import nn

from beit_mm.checkpoints import CheckpointError
from beit_mm.layers import compiling
from beit_mm.models import (
    DiscreteVAE,
    DVAETargetGenerator,
    MeanColorTargetGenerator,
    PixelTargetGenerator,
    target_generators,
)
from beit_mm.models.target_generators import cpu_knows_float16, tf32

SIZE = dict(vocab_size=64, hidden=8, decoder_input=8)


def random_tokenizer(seed=0, **changes):
    torch.manual_seed(seed)
    tokenizer = DiscreteVAE(**{**SIZE, **changes})
    with torch.no_grad():
        for name, parameter in tokenizer.named_parameters():
            if name.endswith('bias'):
                parameter.normal_(std=0.2)
        # At random weights one token wins everywhere; equal ids would then say little.
        logits = tokenizer.encode(random_images())
        tokenizer.encoder.output.conv.bias.sub_(logits.mean((0, 2, 3)))
    return tokenizer


def random_images(batch=2, size=(32, 48)):
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(1))


def config(**changes):
    return dict(type='beit_mm.DiscreteVAE', **{**SIZE, **changes})


def test_targets_are_the_tokens_of_the_tokenizer():
    generator = DVAETargetGenerator(random_tokenizer())
    ids = generator(random_images())
    assert ids.shape == (2, 4, 6)
    assert ids.dtype == torch.int64
    assert len(ids.unique()) > 10
    assert ids.equal(random_tokenizer().tokenize(random_images()))
    assert generator.vocab_size == 64
    assert generator.stride == 8


def test_it_holds_no_parameter_and_saves_every_weight():
    tokenizer = random_tokenizer(with_decoder=False)
    weights = {f'tokenizer.{name}': tensor for name, tensor in tokenizer.state_dict().items()}
    generator = DVAETargetGenerator(tokenizer)
    assert list(generator.parameters()) == []
    state = generator.state_dict()
    assert state.keys() == weights.keys()
    for name, tensor in state.items():
        assert tensor.equal(weights[name]), name
        assert not tensor.requires_grad


def test_its_state_loads_into_another():
    first = DVAETargetGenerator(random_tokenizer(seed=0))
    second = DVAETargetGenerator(random_tokenizer(seed=5))
    images = random_images()
    assert not first(images).equal(second(images))
    second.load_state_dict(first.state_dict())
    assert first(images).equal(second(images))


def test_it_stays_in_eval_mode_within_a_model_in_training():
    model = nn.ModuleDict(dict(target_generator=DVAETargetGenerator(random_tokenizer())))
    tokenizer = model['target_generator'].tokenizer
    assert not any(module.training for module in tokenizer.modules())
    for mode in (True, False, True):
        model.train(mode)
        assert model['target_generator'].training == mode
        assert not any(module.training for module in tokenizer.modules())


def test_no_graph_leads_into_it():
    generator = DVAETargetGenerator(random_tokenizer())
    seen = []
    generator.tokenizer.encoder.output.conv.register_forward_hook(
        lambda module, inputs, output: seen.append((output.requires_grad, output.grad_fn))
    )
    generator(random_images().requires_grad_())
    assert seen == [(False, None)]


def test_its_weights_move_with_the_model():
    model = nn.ModuleDict(dict(target_generator=DVAETargetGenerator(random_tokenizer())))
    model.to(torch.float64)
    assert {t.dtype for t in model.state_dict().values()} == {torch.float64}
    model.to('meta')
    assert {t.device.type for t in model.state_dict().values()} == {'meta'}


def test_it_runs_in_float32_under_autocast():
    # A large vocabulary over few channels puts likely tokens close together.
    generator = DVAETargetGenerator(random_tokenizer(vocab_size=2048))
    images = random_images(size=(64, 64))
    expected = generator(images)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        # Unless half precision changes some tokens, the comparison says nothing.
        assert not generator.tokenizer.tokenize(images).equal(expected)
        assert generator(images).equal(expected)
        # What surrounds it stays in half precision.
        assert (images[0, 0] @ images[0, 0]).dtype == torch.bfloat16


def test_half_precision_images_are_read_in_float32():
    generator = DVAETargetGenerator(random_tokenizer())
    images = random_images().bfloat16()
    assert generator(images).equal(random_tokenizer().tokenize(images.float()))


def test_a_config_builds_it_without_the_decoder():
    generator = MODELS.build(dict(type='beit_mm.DVAETargetGenerator', tokenizer=config()))
    assert type(generator) is DVAETargetGenerator
    assert generator.tokenizer.decoder is None
    with_decoder = DVAETargetGenerator(config(with_decoder=True))
    assert with_decoder.tokenizer.decoder is not None


@pytest.mark.parametrize('prefix', ['', 'module.', 'target_generator.tokenizer.'])
def test_it_loads_a_checkpoint_of_this_project(tmp_path, prefix):
    tokenizer = random_tokenizer(seed=5)
    weights = {prefix + name: tensor for name, tensor in tokenizer.state_dict().items()}
    path = str(tmp_path / 'dvae.pth')
    torch.save(dict(state_dict=weights, meta=dict(iter=1)), path)
    generator = DVAETargetGenerator(config(), checkpoint=path)
    assert generator(random_images()).equal(tokenizer.tokenize(random_images()))
    for name, tensor in generator.tokenizer.state_dict().items():
        assert tensor.equal(tokenizer.state_dict()[name]), name
    generator.init_weights()
    assert generator(random_images()).equal(tokenizer.tokenize(random_images()))


def test_it_loads_the_encoder_that_mmpretrain_publishes(tmp_path):
    torch.manual_seed(5)
    peer = DALLEEncoder(n_hid=8, vocab_size=64)
    with torch.no_grad():
        logits = peer(0.8 * random_images() + 0.1)
        peer.blocks.output.conv.b.sub_(logits.mean((0, 2, 3)))
    assert 'blocks.group_1.block_1.res_path.conv_1.w' in peer.state_dict()
    path = str(tmp_path / 'dalle_encoder.pth')
    torch.save(peer.state_dict(), path)
    generator = DVAETargetGenerator(config(), checkpoint=path)
    images = random_images()
    assert len(generator(images).unique()) > 10
    assert generator(images).equal(peer(0.8 * images + 0.1).argmax(1))


def test_a_missing_file_is_reported_with_how_to_get_one(tmp_path):
    path = str(tmp_path / 'missing.pth')
    with pytest.raises(FileNotFoundError) as error:
        DVAETargetGenerator(config(), checkpoint=path)
    message = str(error.value)
    assert path in message
    assert 'dalle_encoder.pth' in message
    assert 'tools/train.py configs/dvae_train.py' in message


@pytest.mark.parametrize(
    'changes', [dict(vocab_size=32), dict(hidden=16), dict(num_groups=3), dict(blocks_per_group=1)]
)
def test_a_tokenizer_of_another_size_is_refused_by_name(tmp_path, changes):
    path = str(tmp_path / 'dvae.pth')
    torch.save(dict(state_dict=random_tokenizer(**changes).state_dict()), path)
    with pytest.raises(ValueError, match=r'dvae\.pth.*model\.target_generator\.tokenizer'):
        DVAETargetGenerator(config(), checkpoint=path)


def test_a_checkpoint_without_a_tokenizer_is_refused_by_name(tmp_path):
    path = str(tmp_path / 'backbone.pth')
    torch.save(dict(state_dict={'backbone.cls_token': torch.zeros(3)}), path)
    with pytest.raises(CheckpointError, match=r'backbone\.pth holds no image tokenizer'):
        DVAETargetGenerator(config(), checkpoint=path)


# --- pixels -----------------------------------------------------------------------------------


@pytest.mark.parametrize('normalize', [False, True])
def test_pixels_are_each_patchs_own_row_by_row(normalize):
    generator = PixelTargetGenerator(patch_size=4, normalize=normalize)
    images = random_images(size=(8, 12))
    targets = generator(images)
    assert targets.shape == (2, 2, 3, 48)
    assert (generator.num_values, generator.stride) == (48, 4)
    for b in range(2):
        for y in range(2):
            for x in range(3):
                values = torch.tensor(
                    [
                        images[b, channel, 4 * y + row, 4 * x + column]
                        for row in range(4)
                        for column in range(4)
                        for channel in range(3)
                    ],
                    dtype=torch.float64,
                )
                if normalize:
                    # MAE's: the variance is the unbiased one.
                    variance = ((values - values.mean()) ** 2).sum() / 47
                    values = (values - values.mean()) / (variance + 1e-6) ** 0.5
                torch.testing.assert_close(targets[b, y, x].double(), values, rtol=1e-5, atol=1e-5)


def test_a_patch_of_one_colour_is_normalised_to_zero():
    targets = PixelTargetGenerator(patch_size=4, normalize=True)(torch.full((1, 3, 4, 4), 0.25))
    assert targets.abs().max() == 0


def test_a_view_that_does_not_divide_into_patches_is_refused():
    for generator in (PixelTargetGenerator(8), MeanColorTargetGenerator(8)):
        with pytest.raises(ValueError, match=r'20 x 16 .* 8 x 8'):
            generator(torch.zeros(1, 3, 20, 16))


# --- mean colours -----------------------------------------------------------------------------


def test_mean_colours_are_three_bits_a_channel():
    generator = MeanColorTargetGenerator(patch_size=4)
    torch.manual_seed(0)
    # Patches of strong colours, so that all levels occur, with noise that their means average out.
    colours = torch.rand(3, 3, 5, 6)
    images = colours.repeat_interleave(4, 2).repeat_interleave(4, 3)
    images = (images + 0.1 * torch.randn(images.shape)).clamp(0, 1)
    targets = generator(images)
    assert targets.dtype == torch.int64
    assert targets.shape == (3, 5, 6)
    for b in range(3):
        for y in range(5):
            for x in range(6):
                patch = images[b, :, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4]
                bits = ''
                for channel in patch.tolist():
                    mean = sum(map(sum, channel)) / 16
                    bits += format(min(7, int(mean * 8)), '03b')
                assert targets[b, y, x] == int(bits, 2)
    assert {b for b in targets.unique().tolist() if b >> 6 == 7}, 'the brightest level occurs'


def test_mean_colours_run_from_black_to_white():
    generator = MeanColorTargetGenerator(patch_size=2)
    images = torch.stack([torch.full((3, 2, 2), value) for value in (0.0, 1.0)])
    assert generator(images).flatten().tolist() == [0, 511]
    assert generator.vocab_size == 512
    assert list(generator.parameters()) == []


# --- precision and compilation ------------------------------------------------------------------


@pytest.mark.parametrize(
    ('precision', 'dtype'),
    [('tf32', None), ('float16', torch.float16), ('bfloat16', torch.bfloat16)],
)
def test_a_chosen_precision_is_that_of_the_tokenizer(precision, dtype):
    if dtype == torch.float16 and not cpu_knows_float16():
        pytest.skip('this PyTorch has no float16 autocast for the CPU')
    generator = DVAETargetGenerator(random_tokenizer(vocab_size=2048), precision=precision)
    images = random_images(size=(64, 64))
    exact = generator.tokenizer.tokenize(images)
    seen = []
    generator.tokenizer.encoder.group_2.register_forward_hook(
        lambda module, inputs, output: seen.append(output.dtype)
    )
    ids = generator(images)
    # A CPU knows no TF32.
    assert seen == [dtype or torch.float32]
    assert ids.equal(generator.tokenizer.tokenize(images, dtype))
    assert (ids == exact).float().mean() > 0.6
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert generator(images).equal(ids)


def test_float16_falls_back_to_float32_with_one_line_where_the_cpu_lacks_it(monkeypatch):
    lines = []
    monkeypatch.setattr(target_generators, 'cpu_knows_float16', lambda: False)
    monkeypatch.setattr(target_generators, 'print_log', lambda line, logger: lines.append(line))
    target_generators.half_dtype.cache_clear()
    generator = DVAETargetGenerator(random_tokenizer(), precision='float16')
    for _ in range(2):
        assert generator(random_images()).equal(random_tokenizer().tokenize(random_images()))
    assert len(lines) == 1
    assert torch.__version__ in lines[0]
    # A GPU's float16 does not depend on it.
    assert target_generators.half_dtype('float16', 'cuda') == torch.float16
    target_generators.half_dtype.cache_clear()


def test_an_unknown_precision_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match=r"precision 'half' is none of float32, tf32, float16"):
        DVAETargetGenerator(random_tokenizer(), precision='half')


@pytest.mark.parametrize('before', [False, True])
def test_tf32_is_allowed_inside_alone_and_on_cuda_alone(monkeypatch, before):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', before)
    for allowed in (False, True):
        with tf32('cuda', allowed):
            assert torch.backends.cudnn.allow_tf32 == allowed
        assert torch.backends.cudnn.allow_tf32 == before
        with tf32('cpu', allowed):
            assert torch.backends.cudnn.allow_tf32 == before
        with pytest.raises(KeyError), tf32('cuda', allowed):
            raise KeyError
        assert torch.backends.cudnn.allow_tf32 == before


def test_compiled_tokens_are_the_same(monkeypatch):
    compilations = []

    def compiled(method):
        compilations.append(method)
        # Everything of the compiler but its code generator, which takes a minute.
        return torch.compile(method, backend='aot_eager')

    monkeypatch.setattr(compiling, 'compiled', compiled)
    generator = DVAETargetGenerator(random_tokenizer(), compile=True)
    for size in ((32, 48), (64, 32)):
        images = random_images(size=size)
        assert generator(images).equal(random_tokenizer().tokenize(images))
    assert compilations == [DiscreteVAE.tokenize] * 2
