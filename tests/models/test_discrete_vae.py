"""The tokenizer: against OpenAI's and MMPretrain's networks, and its loss against closed forms."""

import math

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.models.selfsup.cae import DALLEEncoder
from torch import distributions

from beit_mm.layers import linear
from beit_mm.models import DiscreteVAE, discrete_vae, dvae_networks
from beit_mm.models.discrete_vae import (
    MIN_LOG_SCALE,
    codebook_perplexity,
    logit_laplace_nll,
    map_pixels,
    unmap_pixels,
)
from beit_mm.models.target_generators import cpu_knows_float16

VOCAB = 64


def small_tokenizer(seed=0, **changes):
    """A tokenizer of DALL-E's shape, a thirty-second as wide, with no bias left at zero."""
    torch.manual_seed(seed)
    model = DiscreteVAE(**{**dict(vocab_size=VOCAB, hidden=8, decoder_input=8), **changes})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith('bias'):
                parameter.normal_(std=0.2)
        # At random weights one token wins everywhere by a little; equal ids would say little.
        model.encoder.output.conv.weight.mul_(20)
        logits = model.encode(random_images()[:, : model.in_channels])
        model.encoder.output.conv.bias.sub_(logits.mean((0, 2, 3)))
    return model


def random_images(batch=2, size=(32, 48), seed=1):
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(seed))


def copy_weights(ours, peer):
    """Copy into a network of DALL-E's layout: blocks.group_1.block_1.res_path.conv_1.w, .b."""
    theirs = dict(peer.blocks.named_parameters())
    leaves = {'weight': 'w', 'bias': 'b'}
    weights = {}
    for name, parameter in ours.named_parameters():
        stem, leaf = name.rsplit('.', 1)
        weights[f'{stem}.{leaves[leaf]}'] = parameter
    assert theirs.keys() == weights.keys()
    with torch.no_grad():
        for name, weight in weights.items():
            assert theirs[name].shape == weight.shape, name
            theirs[name].copy_(weight)
    return peer


# --- the networks -----------------------------------------------------------------------------


def test_encoder_equals_mmpretrains():
    model = small_tokenizer()
    peer = copy_weights(model.encoder, DALLEEncoder(n_hid=8, vocab_size=VOCAB))
    images = random_images()
    # MMPretrain leaves the mapping of the pixels to the input pipeline.
    expected = peer(0.8 * images + 0.1)
    logits = model.encode(images)
    assert logits.shape == (2, VOCAB, 4, 6)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    assert logits.std() > 0.5
    assert len(model.tokenize(images).unique()) > 10
    assert model.tokenize(images).equal(expected.argmax(1))


def test_encoder_equals_openais():
    from dall_e import Encoder
    from dall_e import map_pixels as map_pixels_of_openai

    model = small_tokenizer()
    peer = copy_weights(model.encoder, Encoder(n_hid=8, vocab_size=VOCAB))
    images = random_images()
    expected = peer(map_pixels_of_openai(images))
    torch.testing.assert_close(model.encode(images), expected, rtol=0, atol=1e-5)
    assert model.tokenize(images).equal(expected.argmax(1))


def test_decoder_equals_openais():
    from dall_e import Decoder
    from dall_e import unmap_pixels as unmap_pixels_of_openai

    model = small_tokenizer()
    peer = copy_weights(model.decoder, Decoder(n_hid=8, n_init=8, vocab_size=VOCAB))
    ids = torch.randint(VOCAB, (2, 4, 6), generator=torch.Generator().manual_seed(2))
    one_hot = torch.zeros(2, VOCAB, 4, 6).scatter_(1, ids[:, None], 1.0)
    expected = peer(one_hot)
    torch.testing.assert_close(model.decoder(one_hot), expected, rtol=0, atol=1e-5)
    images = model.decode(ids)
    assert images.std() > 0.05
    expected = unmap_pixels_of_openai(torch.sigmoid(expected[:, :3]))
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-5)


def test_the_default_network_has_the_shapes_of_openais():
    from dall_e import Decoder, Encoder

    meta = torch.device('meta')
    with meta:
        model = DiscreteVAE()
    for ours, peer in (
        (model.encoder, Encoder(device=meta)),
        (model.decoder, Decoder(device=meta)),
    ):
        shapes = [
            {name.rsplit('.', 1)[0] + f' {p.ndim}': p.shape for name, p in net.named_parameters()}
            for net in (ours, peer.blocks)
        ]
        assert shapes[0] == shapes[1]
    assert model.stride == 8
    assert model.vocab_size == 8192


def test_the_default_encoder_has_the_shapes_of_mmpretrains():
    meta = torch.device('meta')
    with meta:
        model = DiscreteVAE(with_decoder=False)
    peer = DALLEEncoder(device=meta)
    assert [p.shape for p in model.parameters()] == [p.shape for p in peer.parameters()]


def test_weights_start_normal_with_std_of_one_over_root_fan_in_and_biases_at_zero():
    torch.manual_seed(0)
    model = DiscreteVAE(vocab_size=128, hidden=32, decoder_input=32)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    # What the Runner calls must not initialise a second time.
    model.init_weights()
    for name, parameter in model.named_parameters():
        assert parameter.equal(before[name]), name
        if name.endswith('bias'):
            assert parameter.abs().max() == 0, name
            continue
        values = parameter * math.sqrt(parameter[0].numel())
        # Five standard errors of a sample's std, and the tails that a uniform would lack.
        count = parameter.numel()
        assert values.std().item() == pytest.approx(1, abs=5 / math.sqrt(2 * count)), name
        assert abs(values.mean().item()) < 5 / math.sqrt(count), name
        if count > 2000:
            assert values.abs().max() > 3, name


@pytest.mark.parametrize(('num_groups', 'stride'), [(1, 1), (2, 2), (3, 4), (4, 8)])
def test_the_stride_is_two_to_the_number_of_groups_less_one(num_groups, stride):
    model = small_tokenizer(num_groups=num_groups, blocks_per_group=1)
    assert model.stride == stride
    images = random_images(size=(16, 24))
    ids = model.tokenize(images)
    assert ids.shape == (2, 16 // stride, 24 // stride)
    assert ids.dtype == torch.int64
    assert ids.min() >= 0
    assert ids.max() < VOCAB
    decoded = model.decode(ids)
    assert decoded.shape == images.shape
    assert decoded.dtype == torch.float32
    assert decoded.min() >= 0
    assert decoded.max() <= 1


def test_tokens_and_decoded_images_carry_no_graph():
    model = small_tokenizer()
    ids = model.tokenize(random_images())
    assert not model.decode(ids).requires_grad
    assert model.encode(random_images()).requires_grad


# --- pixels and the likelihood ----------------------------------------------------------------


def test_pixels_are_mapped_to_a_tenth_from_either_end_and_back():
    x = torch.linspace(0, 1, 11, dtype=torch.float64)
    expected = torch.tensor([0.1 + 0.08 * i for i in range(11)], dtype=torch.float64)
    torch.testing.assert_close(map_pixels(x), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(unmap_pixels(map_pixels(x)), x, rtol=0, atol=1e-12)
    assert unmap_pixels(torch.tensor([0.0, 1.0])).tolist() == [0, 1]


def logit_laplace(mean, scale):
    return distributions.TransformedDistribution(
        distributions.Laplace(mean, scale), distributions.SigmoidTransform()
    )


def test_likelihood_is_that_of_a_laplace_through_a_sigmoid():
    generator = torch.Generator().manual_seed(0)
    pixels = 0.1 + 0.8 * torch.rand(500, generator=generator, dtype=torch.float64)
    mean = 2 * torch.randn(500, generator=generator, dtype=torch.float64)
    log_scale = torch.randn(500, generator=generator, dtype=torch.float64)
    expected = -logit_laplace(mean, log_scale.exp()).log_prob(pixels)
    nll = logit_laplace_nll(pixels, mean, log_scale)
    torch.testing.assert_close(nll, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(('mean', 'scale'), [(0.0, 0.3), (1.2, 0.1), (-2.0, 0.45)])
def test_density_integrates_to_one(mean, scale):
    x = torch.linspace(0, 1, 2_000_001, dtype=torch.float64)[1:-1]
    nll = logit_laplace_nll(x, torch.full_like(x, mean), torch.full_like(x, math.log(scale)))
    assert torch.trapezoid(torch.exp(-nll), x).item() == pytest.approx(1, abs=1e-6)


def test_log_scale_floor_is_half_a_grey_level_in_the_middle_of_the_range():
    grey = map_pixels(torch.tensor([0.5 - 0.25 / 255, 0.5 + 0.25 / 255], dtype=torch.float64))
    below, above = torch.logit(grey)
    assert math.exp(MIN_LOG_SCALE) == pytest.approx((above - below).item(), rel=1e-5)


# --- the training loss ------------------------------------------------------------------------


def expected_loss_parts(model, images, seed):
    """The loss step by step, with the Gumbel noise that ``seed`` gives."""
    logits = model.encoder(0.8 * images + 0.1)
    torch.manual_seed(seed)
    gumbel = -torch.empty_like(logits).exponential_().log()
    codes = torch.softmax((logits + gumbel) / model.temperature, dim=1)
    stats = model.decoder(codes)
    floor = math.exp(MIN_LOG_SCALE)
    mean, log_scale = stats[:, :3], (stats[:, 3:].exp() + floor).log()
    recon = -logit_laplace(mean, log_scale.exp()).log_prob(0.8 * images + 0.1)
    posterior = distributions.Categorical(logits=logits.permute(0, 2, 3, 1))
    prior = distributions.Categorical(probs=torch.ones(4, 6, model.vocab_size))
    kl = distributions.kl_divergence(posterior, prior)
    pixels = ((torch.sigmoid(mean) - 0.1) / 0.8).clamp(0, 1)
    return recon.mean(), kl.mean(), (pixels - images).square().mean()


@pytest.mark.parametrize(('temperature', 'beta'), [(1.0, 0.0), (1 / 16, 6.6), (0.5, 2.0)])
def test_loss_parts_equal_a_step_by_step_computation(temperature, beta):
    model = small_tokenizer()
    model.temperature, model.kl_weight = temperature, beta
    images = random_images()
    recon, kl, mse = expected_loss_parts(model, images, seed=3)
    torch.manual_seed(3)
    losses = model(images, mode='loss')
    torch.testing.assert_close(losses['loss_recon'], recon, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(losses['kl'], kl, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(losses['recon_mse'], mse, rtol=1e-5, atol=1e-6)
    # A token of stride 8 stands for 8 x 8 pixels of 3 channels.
    assert kl > 0.1
    torch.testing.assert_close(losses['loss_kl'], beta / 192 * kl, rtol=1e-5, atol=1e-7)
    assert losses['temperature'] == pytest.approx(temperature)
    assert losses['beta'] == pytest.approx(beta)

    ids = model.encoder(0.8 * images + 0.1).argmax(1).flatten().tolist()
    shares = [ids.count(code) / len(ids) for code in set(ids)]
    assert 1 < losses['codes_used'] == len(shares)
    entropy = -sum(share * math.log(share) for share in shares)
    assert losses['perplexity'].item() == pytest.approx(math.exp(entropy), rel=1e-5)


def test_what_is_optimised_is_the_sum_of_the_two_losses():
    model = small_tokenizer()
    model.kl_weight = 6.6
    losses = model(random_images(), mode='loss')
    assert {name for name in losses if 'loss' in name} == {'loss_recon', 'loss_kl'}
    total, _ = model.parse_losses(losses)
    torch.testing.assert_close(total, losses['loss_recon'] + losses['loss_kl'])
    assert {name for name, value in losses.items() if value.requires_grad} == {
        'loss_recon',
        'loss_kl',
    }


@pytest.mark.parametrize(
    ('changes', 'values_per_token'),
    [(dict(num_groups=3), 48), (dict(num_groups=2, in_channels=1), 4)],
)
def test_kl_is_shared_among_the_pixel_values_of_a_token(changes, values_per_token):
    model = small_tokenizer(**changes)
    model.kl_weight = 6.6
    losses = model.loss(random_images()[:, : model.in_channels])
    assert losses['loss_kl'].item() == pytest.approx(
        6.6 / values_per_token * losses['kl'].item(), rel=1e-5
    )


def set_posterior(model, logits):
    with torch.no_grad():
        model.encoder.output.conv.weight.zero_()
        model.encoder.output.conv.bias.copy_(logits)


def test_kl_is_zero_for_a_uniform_posterior_and_log_v_for_a_certain_one():
    model = small_tokenizer()
    set_posterior(model, torch.zeros(VOCAB))
    assert model.loss(random_images())['kl'].item() == pytest.approx(0, abs=1e-5)
    set_posterior(model, 200.0 * F.one_hot(torch.tensor(5), VOCAB))
    losses = model.loss(random_images())
    assert losses['kl'].item() == pytest.approx(math.log(VOCAB), abs=1e-5)
    assert losses['codes_used'] == 1
    assert losses['perplexity'].item() == pytest.approx(1)


def test_each_loss_reaches_what_it_should():
    # Wide enough that no layer's ReLUs are all dead at random weights.
    model = small_tokenizer(hidden=32)
    model.kl_weight = 6.6
    losses = model.loss(random_images())
    parameters = dict(model.named_parameters())
    for loss, silent in (('loss_recon', ()), ('loss_kl', ('decoder.',))):
        gradients = torch.autograd.grad(
            losses[loss], parameters.values(), retain_graph=True, allow_unused=True
        )
        for name, gradient in zip(parameters, gradients, strict=True):
            if name.startswith(silent) and silent:
                assert gradient is None, name
            else:
                assert gradient.abs().max() > 0, (loss, name)


@pytest.mark.parametrize('log_scale', [-100.0, MIN_LOG_SCALE, MIN_LOG_SCALE + 1])
def test_the_floor_adds_to_the_scale_and_lets_it_grow_again(log_scale):
    model = small_tokenizer()
    bias = model.decoder.output.conv.bias
    with torch.no_grad():
        model.decoder.output.conv.weight.zero_()
        bias.copy_(torch.tensor([0.0] * 3 + [log_scale] * 3))
    # A flat grey that the decoder hits exactly: the density at the peak is all that is left.
    loss = model.loss(torch.full((1, 3, 16, 16), 0.5))['loss_recon']
    scale = math.exp(log_scale) + math.exp(MIN_LOG_SCALE)
    assert loss.item() == pytest.approx(math.log(2 * scale * 0.5 * 0.5), rel=1e-5)
    # Where the error is larger than the scale, the gradient asks for a larger scale.
    wrong = model.loss(torch.full((1, 3, 16, 16), 0.9))['loss_recon']
    [gradient] = torch.autograd.grad(wrong, bias)
    if log_scale > -50:
        assert (gradient[3:] < 0).all()


def test_a_small_tokenizer_overfits_four_images():
    torch.manual_seed(0)
    model = DiscreteVAE(
        vocab_size=64, hidden=16, num_groups=3, blocks_per_group=1, decoder_input=64
    )
    # Smooth images: white noise has more in it than 16 tokens can tell.
    images = F.interpolate(torch.rand(4, 3, 4, 4), size=(16, 16), mode='bicubic').clamp(0, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    # A tenth of a nat a nat: without it the codebook collapses to a few tokens.
    model.kl_weight = 0.1 * model.stride**2 * 3
    with torch.no_grad():
        first = model.loss(images)['recon_mse'].item()
    for step in range(400):
        model.temperature = max(1 / 4, 1 - step / 240)
        loss, _ = model.parse_losses(model.loss(images))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    last = (model.decode(model.tokenize(images)) - images).square().mean().item()
    mean_image = (images - images.mean((0, 2, 3), keepdim=True)).square().mean().item()
    # By the tokens alone, and far better than painting every image in the mean colour. Other
    # seeds end at a tenth or less.
    assert last < first / 5
    assert last < mean_image / 5


# --- what is reported, and what is refused ----------------------------------------------------


@pytest.mark.parametrize(
    ('counts', 'expected'),
    [
        ([3] * 16, 16),
        ([0, 0, 7, 0], 1),
        ([2, 1, 1, 0], 2**1.5),
        ([5, 0, 5, 0], 2),
        ([9, 1], math.exp(-0.9 * math.log(0.9) - 0.1 * math.log(0.1))),
    ],
)
def test_perplexity_of_a_codebook_in_closed_form(counts, expected):
    perplexity = codebook_perplexity(torch.tensor(counts))
    assert perplexity.shape == ()
    assert perplexity.item() == pytest.approx(expected, rel=1e-6)


def test_validation_reports_tokens_and_error_of_every_image():
    model = small_tokenizer(data_preprocessor=dict(type='BaseDataPreprocessor'))
    images = random_images(batch=3)
    for step in (model.val_step, model.test_step):
        samples = step(dict(inputs=images))
        assert len(samples) == 3
        for sample, image in zip(samples, images, strict=True):
            ids = model.encode(image[None]).argmax(1)
            decoded = model.decode(ids)[0]
            assert sample.tokens.equal(ids[0])
            error = (decoded - image).square().mean()
            torch.testing.assert_close(sample.recon_mse, error)
            assert sample.vocab_size == VOCAB


def test_modes_of_the_runner():
    model = small_tokenizer()
    images = random_images()
    assert model(images).equal(model.encode(images))
    assert model(images, mode='tensor').equal(model.encode(images))
    assert model(images, mode='predict').equal(model.tokenize(images))
    assert 'loss_recon' in model(images, mode='loss')
    with pytest.raises(ValueError, match=r"'train'.*'tensor', 'loss', 'predict'"):
        model(images, mode='train')


@pytest.mark.parametrize(
    ('shape', 'message'),
    [
        ((2, 1, 32, 32), r'\(2, 1, 32, 32\).*\(B, 3, H, W\)'),
        ((3, 32, 32), r'\(3, 32, 32\).*\(B, 3, H, W\)'),
        ((2, 3, 36, 32), r'36 x 32 pixels.*8 x 8'),
        ((2, 3, 32, 42), r'32 x 42 pixels.*8 x 8'),
    ],
)
def test_images_of_another_shape_are_refused(shape, message):
    model = small_tokenizer()
    for method in (model.encode, model.tokenize, model.loss):
        with pytest.raises(ValueError, match=message):
            method(torch.zeros(shape))


def test_without_a_decoder_it_tokenizes_and_refuses_to_decode():
    whole, encoder = small_tokenizer(), small_tokenizer(with_decoder=False)
    encoder.load_state_dict(
        {n: t for n, t in whole.state_dict().items() if n.startswith('encoder.')}
    )
    assert encoder.tokenize(random_images()).equal(whole.tokenize(random_images()))
    for call in (
        lambda: encoder.decode(torch.zeros(1, 2, 2, dtype=torch.long)),
        lambda: encoder.loss(random_images()),
    ):
        with pytest.raises(ValueError, match='with_decoder=False'):
            call()


# --- the fast way to the tokens -----------------------------------------------------------------


def wide_tokenizer():
    """Wide enough that its 1x1 convolutions take the fast linear layer's way on the CPU."""
    torch.manual_seed(0)
    model = DiscreteVAE(vocab_size=1024, hidden=64, with_decoder=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith('bias'):
                parameter.normal_(std=0.2)
        logits = model.encode(all_kinds_of_images())
        model.encoder.output.conv.bias.sub_(logits.mean((0, 2, 3)))
    return model.eval()


def all_kinds_of_images(size=(64, 96)):
    """Noise, flat ones, a ramp, a chessboard, photo-like blobs, and the ends of the range."""
    generator = torch.Generator().manual_seed(1)
    height, width = size
    noise = torch.rand(2, 3, height, width, generator=generator)
    blobs = F.interpolate(noise[:, :, :8, :8], size=size, mode='bicubic')
    ramp = torch.linspace(0, 1, width).expand(1, 3, height, width)
    board = ((torch.arange(height)[:, None] // 5 + torch.arange(width) // 5) % 2).float()
    flat = [torch.full((1, 3, height, width), value) for value in (0.0, 0.5, 1.0)]
    return torch.cat([noise, blobs.clamp(0, 1), ramp, board.expand(1, 3, -1, -1), *flat])


def assert_most_likely(ids, logits):
    """Equal to the plain twin's, unless two logits are so close that rounding decides."""
    chosen = logits.gather(1, ids[:, None])[:, 0]
    best = logits.amax(1)
    assert ids.shape == best.shape
    scale = logits.abs().max()
    torch.testing.assert_close(chosen, best, rtol=0, atol=(1e-5 * max(scale, 1)).item())
    assert (ids == logits.argmax(1)).float().mean() > 0.999


@pytest.mark.parametrize('channels', [1, 3, 8])
@pytest.mark.parametrize('kernel', [3, 7])
def test_channels_of_zeros_change_no_convolution(channels, kernel):
    """The first layer as half precision on a GPU computes it, beside its plain twin."""
    torch.manual_seed(0)
    layer = dvae_networks.conv(channels, 16, kernel).double()
    images = torch.randn(2, channels, 9, 12, dtype=torch.float64)
    images = images.to(memory_format=torch.channels_last)
    padded = dvae_networks.padded_conv(layer, images)
    torch.testing.assert_close(padded, layer(images), rtol=0, atol=1e-12)
    grads = [
        torch.autograd.grad(output.square().sum(), layer.parameters())
        for output in (padded, layer(images))
    ]
    for ours, expected in zip(*grads, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize('weights', [torch.contiguous_format, torch.channels_last])
def test_tokens_are_those_of_the_plain_twin(monkeypatch, weights):
    model, images = wide_tokenizer().to(memory_format=weights), all_kinds_of_images()
    products = []
    product = linear._product
    monkeypatch.setattr(
        linear, '_product', lambda *args: products.append(args[1].shape) or product(*args)
    )
    ids = model.tokenize(images)
    assert len(ids.unique()) > 100
    # The last layer, and those that are as wide.
    assert ((1024, 512) in products) == (linear.PRODUCTS.chosen == 'oneDNN')
    with torch.no_grad():
        assert_most_likely(ids, model.encode(images))
    for image, expected in zip(images, ids, strict=True):
        assert (model.tokenize(image[None])[0] == expected).float().mean() > 0.99


@pytest.mark.parametrize('places', [1, 7, 24, 1000])
def test_logits_of_some_places_at_a_time_give_the_same_tokens(monkeypatch, places):
    model, images = small_tokenizer(), random_images()
    with torch.no_grad():
        logits = model.encode(images)
    seen = []
    model.encoder.output.register_forward_hook(lambda m, i, output: seen.append(output.numel()))
    monkeypatch.setattr(discrete_vae, 'PLACES_AT_ONCE', places)
    assert_most_likely(model.tokenize(images), logits)
    assert max(seen) <= places * model.vocab_size
    assert sum(seen) == logits.numel()


@pytest.mark.parametrize(('bytes_at_once', 'most'), [(1, 1), (2, 2), (2.9, 2), (1000, None)])
@pytest.mark.parametrize('dtype', [None, torch.bfloat16])
def test_some_images_at_a_time_give_the_same_tokens(monkeypatch, bytes_at_once, most, dtype):
    model, images = small_tokenizer(), random_images(batch=5)
    whole = model.tokenize(images, dtype)
    activation = model.encoder.input(images[:1]).numel() * (4 if dtype is None else 2)
    monkeypatch.setattr(discrete_vae, 'BYTES_AT_ONCE', int(bytes_at_once * activation))
    seen = []
    model.encoder.input.register_forward_hook(lambda m, inputs, output: seen.append(len(output)))
    ids = model.tokenize(images, dtype)
    assert (ids == whole).float().mean() > 0.99
    if dtype is None:
        with torch.no_grad():
            assert_most_likely(ids, model.encode(images))
            del seen[-1]  # the plain twin's
    assert sum(seen) == len(images) > 2
    assert max(seen) == (most or len(images))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_rounds_all_layers_but_the_last(dtype):
    if dtype == torch.float16 and not cpu_knows_float16():
        pytest.skip('this PyTorch has no float16 autocast for the CPU')
    model, images = wide_tokenizer(), all_kinds_of_images()
    seen = {}
    for name in ('input', 'group_2.block_1.res_path.conv_2', 'group_4', 'output'):
        model.encoder.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: seen.update({name: output.dtype})
        )
    ids = model.tokenize(images, dtype)
    assert seen.pop('output') == torch.float32
    assert set(seen.values()) == {dtype}
    with torch.no_grad():
        logits = model.encode(images)
    chosen, best = logits.gather(1, ids[:, None])[:, 0], logits.amax(1)
    # A token that differs is one nearly as likely: by some roundings of the logits' spread.
    spread = logits.std(dim=1)
    assert ((best - chosen) / spread).max() < 20 * torch.finfo(dtype).eps
    assert (ids == logits.argmax(1)).float().mean() > (0.9 if dtype == torch.float16 else 0.6)
