"Hand-made features, the linear classifier that judges them, and the orders of norm and activation."
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convlab.classic import cells, classic_features, classifiers, energy, fit_linear, gabor_bank, haar, halves, judge, respond, sobel
from convlab.models import simple_cnn
from convlab.orders import ordered_cnn


def test_haar_is_a_turn():
    "Orthonormal: the matrix of the transform times its transpose is the identity."
    m = haar(torch.eye(64).view(64, 8, 8), levels=3)
    torch.testing.assert_close(m@m.T, torch.eye(64), atol=1e-6, rtol=0)
    even = haar(torch.ones(1, 8, 8), levels=3)[0]
    assert even[0] == pytest.approx(8) and even[1:].abs().max() < 1e-6  # one average, no difference


def test_a_turn_tells_a_linear_classifier_nothing_new():
    gen = torch.Generator().manual_seed(0)
    x, y = torch.rand(100, 8, 8, generator=gen), torch.randint(0, 10, (100,), generator=gen)
    a, b = (fit_linear(f-f.mean(0), y, .1)(f-f.mean(0)) for f in (x.flatten(1), haar(x)))
    torch.testing.assert_close(a, b, atol=1e-3, rtol=0)


def test_gabor_kernels_have_no_mean_and_length_1():
    bank = gabor_bank(4, (4, 6), 13)
    assert bank.shape == (8, 13, 13)
    assert bank.mean((1, 2)).abs().max() < 1e-6
    torch.testing.assert_close(bank.abs().square().sum((1, 2)), torch.ones(8))


@pytest.mark.parametrize('size', [5, 11, 21])
def test_gabor_energy_is_largest_for_its_own_wave(size):
    "Stripes of wavelength 4 in four directions: each excites the kernel of its direction most, and a moved wave as much."
    r = torch.arange(40).float()
    bank, found = gabor_bank(4, (4,), size), []
    for k in range(4):
        angle = torch.tensor(k*torch.pi/4)
        wave = torch.cos(2*torch.pi/4*(r*angle.cos() + r[:, None]*angle.sin()))
        found.append(energy(wave[None], bank)[0, :, 15:25, 15:25].mean((1, 2)))
    assert [o.argmax().item() for o in found] == [0, 1, 2, 3]


def test_energy_does_not_mind_the_phase():
    r = torch.arange(40).float()
    waves = torch.stack([torch.cos(2*torch.pi/8*r+p).expand(40, 40) for p in (0, .5, 1, 1.5)])
    found = energy(waves, gabor_bank(1, (8,), 21))[:, 0, 20, 20]
    assert (found/found.mean()-1).abs().max() < .05


def test_halves_keep_all():
    maps = torch.randn(2, 3, 4, 4)
    up, down = halves(maps).split(3, 1)
    assert torch.equal(up-down, maps) and (up*down == 0).all()
    torch.testing.assert_close(cells(maps).view(2, 3), maps.mean((2, 3)))


def test_respond_checks_its_arguments():
    assert respond(torch.zeros(2, 9, 7), sobel).shape == (2, 2, 9, 7)
    with pytest.raises((TypeError, ValueError), match='x must'): respond(torch.zeros(9, 7), sobel)
    with pytest.raises((TypeError, ValueError), match='kernels must'): respond(torch.zeros(2, 9, 7), sobel[0])


@pytest.mark.parametrize('name', classic_features)
def test_features_are_a_matrix_and_blank_paper_is_finite(name):
    x = torch.zeros(2, 28, 28)
    x[1, 8:20, 12:16] = 1
    f = classic_features[name](x)
    assert f.ndim == 2 and len(f) == 2 and f.dtype == torch.float32 and f.isfinite().all()
    assert not torch.equal(f[0], f[1])


def test_fit_linear_arrives():
    "At the minimum the gradient of loss and penalty is zero."
    gen = torch.Generator().manual_seed(0)
    f, y = torch.randn(200, 6, generator=gen), torch.randint(0, 10, (200,), generator=gen)
    net = fit_linear(f, y, .01)
    (F.cross_entropy(net(f), y) + .005*net.weight.square().sum()).backward()
    assert max(p.grad.abs().max() for p in net.parameters()) < 1e-3


def test_classifiers_take_features_as_they_come():
    "Shifted and scaled features change nothing: the same answers, under the same penalties."
    gen = torch.Generator().manual_seed(0)
    f, y = torch.randn(80, 5, generator=gen), torch.randint(0, 10, (80,), generator=gen)
    nets, moved = classifiers(f, y, (1e-1, 1e-3)), classifiers(20*f+7, y, (1e-1, 1e-3))
    for p in nets: torch.testing.assert_close(moved[p](20*f+7), nets[p](f), rtol=1e-3, atol=.02)
    assert nets[1e-1].weight.norm() < nets[1e-3].weight.norm()


def test_judge_chooses_by_validation_digits():
    "Two thirds are zeros. Under a huge penalty all are called zero, which is right for validation digits that are all zeros."
    gen = torch.Generator().manual_seed(0)
    f, y = torch.randn(60, 30, generator=gen), torch.arange(60) % 3 // 2
    nets = classifiers(f, y, (1e3, 1e-6))
    fits = judge(nets, (f, y), (f, y))
    assert fits['chosen'] == 1e-6 and fits['valid'] == fits['test'] > .9
    found = judge(nets, (f, torch.zeros_like(y)), (f, y))
    assert (found['chosen'], found['valid']) == (1e3, 1.) and found['test'] == pytest.approx(2/3)


# Orders

def kinds(net): return [[type(m).__name__ for m in layer] if isinstance(layer, nn.Sequential) else type(layer).__name__ for layer in net]


def test_the_default_is_the_courses_network():
    assert str(ordered_cnn()) == str(simple_cnn(norm=nn.BatchNorm2d))


def test_before_and_last():
    conv, norm, relu = 'Conv2d', 'BatchNorm2d', 'ReLU'
    assert kinds(ordered_cnn('before')) == [[conv, norm, relu]]*4 + [[conv, norm], 'Flatten']
    assert kinds(ordered_cnn('before', last=False)) == [[conv, norm, relu]]*4 + [conv, 'Flatten']
    with pytest.raises(ValueError, match='order must be one of'): ordered_cnn('between')


@pytest.mark.parametrize('last', [True, False])
def test_a_bias_goes_where_a_norm_is(last):
    net = ordered_cnn(bias=False, last=last)
    biases = [m.bias is not None for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert biases == [False]*4 + [not last]


def test_a_seed_has_the_same_weights_in_all_eight():
    found = []
    for order in ('after', 'before'):
        for bias in (True, False):
            for last in (True, False):
                torch.manual_seed(3)
                found.append([m.weight for m in ordered_cnn(order, bias, last).modules() if isinstance(m, nn.Conv2d)])
    for other in found[1:]: assert all(torch.equal(a, b) for a, b in zip(found[0], other))


def test_before_a_norm_a_bias_does_nothing():
    def net(*args):
        torch.manual_seed(0)
        return ordered_cnn(*args).double()
    x, y = torch.randn(16, 1, 28, 28, dtype=torch.float64), torch.arange(16) % 10
    biased = net('before', True)
    torch.testing.assert_close(biased(x), net('before', False)(x), atol=1e-9, rtol=0)
    F.cross_entropy(biased(x), y).backward()
    assert max(m.bias.grad.abs().max() for m in biased.modules() if isinstance(m, nn.Conv2d)) < 1e-9
    assert (net('after', True)(x)-net('after', False)(x)).abs().max() > 1e-3  # with a ReLU between, it does
