"Normalization layers by hand against PyTorch's, and networks trained together against networks trained apart."
import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from convlab.norm_layers import BatchRenorm2d, RMSNorm2d, WeightNormConv2d, norm_cnn, norm_layers
from convlab.study.together import train_apart, train_together
from convlab.training import one_cycle_schedule


def gradients(net, x, params):
    x = x.clone().requires_grad_()
    y = net(x)
    return [y, *torch.autograd.grad((y**3).sum(), [x, *params])]


def close(a, b):
    for p, q in zip(a, b): torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-9)


def test_rms_is_pytorchs_with_one_scale_for_each_channel():
    x = torch.randn(3, 4, 5, 6, dtype=torch.double)
    ours, theirs = RMSNorm2d(4).double(), nn.RMSNorm([4, 5, 6], eps=1e-5, dtype=torch.double)
    with torch.no_grad():
        ours.weight.uniform_(.5, 2)
        theirs.weight.copy_(ours.weight[:, None, None].expand(4, 5, 6))
    (y, dx, dw), (y2, dx2, dw2) = gradients(ours, x, [ours.weight]), gradients(theirs, x, [theirs.weight])
    close((y, dx, dw), (y2, dx2, dw2.sum((1, 2))))


@pytest.mark.parametrize('options', [{}, dict(bias=False), dict(stride=2, padding=1)])
def test_weight_norm_is_pytorchs(options):
    ours = WeightNormConv2d(4, 6, 3, **options).double()
    theirs = weight_norm(nn.Conv2d(4, 6, 3, **options).double())
    length, direction = theirs.parametrizations.weight.original0, theirs.parametrizations.weight.original1
    with torch.no_grad():
        ours.length.uniform_(.5, 2)
        length.copy_(ours.length[:, None, None, None])
        direction.copy_(ours.weight)
        if ours.bias is not None: theirs.bias.copy_(ours.bias)
    x = torch.randn(2, 4, 9, 8, dtype=torch.double)
    (y, dx, dv, dg), (y2, dx2, dv2, dg2) = gradients(ours, x, [ours.weight, ours.length]), gradients(theirs, x, [direction, length])
    close((y, dx, dv, dg), (y2, dx2, dv2, dg2.flatten()))


def test_weight_norm_starts_as_the_plain_convolution():
    torch.manual_seed(0)
    plain = nn.Conv2d(1, 8, 5)
    torch.manual_seed(0)
    torch.testing.assert_close(WeightNormConv2d(1, 8, 5)(x := torch.randn(2, 1, 9, 9)), plain(x))


def test_renorm_is_batch_norm_on_the_first_batch_gradients_and_averages_included():
    x = torch.randn(8, 3, 4, 4, dtype=torch.double)*2+1
    ours, theirs = BatchRenorm2d(3).double(), nn.BatchNorm2d(3, momentum=None).double()
    close(*[gradients(o, x, [o.weight, o.bias]) for o in (ours, theirs)])
    for name, t in theirs.state_dict().items(): torch.testing.assert_close(ours.state_dict()[name], t)


def test_renorm_gives_in_training_what_eval_gives_within_its_limits():
    torch.manual_seed(0)
    bn = BatchRenorm2d(3).double()
    with torch.no_grad():
        for _ in range(100): bn(torch.randn(8, 3, 4, 4, dtype=torch.double))
    x = torch.randn(2, 3, 4, 4, dtype=torch.double)
    before = copy.deepcopy(bn).eval()(x)
    close([bn(x)], [before])
    with torch.no_grad(): bn.running_var /= 1e4  # the batch deviates a hundred times as much as remembered
    assert copy.deepcopy(bn).eval()(x).std() > 30
    torch.testing.assert_close(bn(x).std((0, 2, 3), correction=0), torch.full((3,), 3., dtype=torch.double), rtol=1e-3, atol=0)  # the limit


def test_renorms_gradient_is_batch_norms_times_r():
    torch.manual_seed(0)
    bn, x = BatchRenorm2d(2).double(), torch.randn(4, 2, 3, 3, dtype=torch.double)
    bn.num_batches_tracked.fill_(1000)
    bn.running_var.fill_(4.)
    plain = nn.BatchNorm2d(2).double()
    r = (x.var((0, 2, 3), correction=0)+1e-5).sqrt()/(4+1e-5)**.5
    def dx(layer):
        z = x.clone().requires_grad_()
        return torch.autograd.grad((layer(z)*weights).sum(), z)[0]
    weights = torch.randn_like(x)
    close([dx(bn)], [dx(plain)*r[:, None, None]])


@pytest.mark.parametrize('shape', [(1, 3, 1, 1), (0, 3, 2, 2), (2, 3, 0, 4)])
@pytest.mark.parametrize('warm', [1, 100])
def test_renorm_is_never_taken_by_a_single_value_or_none(shape, warm):
    ours, theirs, x = BatchRenorm2d(3, warm=warm), nn.BatchNorm2d(3), torch.randn(shape)
    if x.numel() == 3:
        for bn in (ours, theirs):
            with pytest.raises(ValueError, match='Expected more than 1 value per channel'): bn(x)
    else: assert ours(x).shape == theirs(x).shape
    assert torch.isfinite(ours.running_mean).all() and torch.isfinite(ours.running_var).all()
    assert torch.isfinite(ours(torch.randn(4, 3, 2, 2))).all() and torch.isfinite(ours.eval()(torch.randn(1, 3, 1, 1))).all()


def test_renorms_limits_widen_with_the_batches():
    torch.manual_seed(0)
    x = 20*torch.randn(64, 2, 8, 8, dtype=torch.double)  # far from the running averages of 0 and 1
    for seen, limit in ((0, 1), (25, 1.5), (50, 2), (100, 3), (1000, 3)):
        bn = BatchRenorm2d(2, warm=100).double()
        bn.num_batches_tracked.fill_(seen)
        torch.testing.assert_close(bn(x).std((0, 2, 3), correction=0), torch.full((2,), limit, dtype=torch.double), rtol=1e-3, atol=0)


@pytest.mark.parametrize('warm, error', [(0, ValueError), (1.5, TypeError), (None, TypeError)])
def test_renorms_warm_up_is_a_number_of_batches(warm, error):
    with pytest.raises(error, match='warm must be a whole number of at least 1'): BatchRenorm2d(3, warm=warm)


@pytest.mark.parametrize('norm', norm_layers)
def test_networks_trained_together_are_those_trained_apart(norm):
    x, y = torch.randn(24, 1, 28, 28, dtype=torch.double), torch.arange(24) % 10
    torch.manual_seed(0)
    apart = [norm_cnn(norm).double() for _ in range(2)]
    together = copy.deepcopy(apart)
    for nets, train in ((apart, train_apart), (together, train_together)): train(nets, x, y, torch.arange(24).view(2, 4, 3), *one_cycle_schedule(4, .01))
    for a, b in zip(apart, together):
        assert list(a.state_dict()) == list(b.state_dict())
        close([t.double() for t in a.state_dict().values()], [t.double() for t in b.state_dict().values()])
    assert not torch.equal(together[0][0][0].weight, together[1][0][0].weight)


def test_a_seed_gives_all_norms_the_same_kernels():
    def kernels(norm):
        torch.manual_seed(3)
        return torch.cat([p.flatten() for p in norm_cnn(norm).parameters() if p.ndim == 4])
    for norm in norm_layers: torch.testing.assert_close(kernels(norm), kernels('none'))


def test_names_are_checked():
    with pytest.raises(ValueError, match="norm must be one of"): norm_cnn('batchnorm')
    assert isinstance(norm_cnn(nn.BatchNorm2d, last=True)[-2], nn.BatchNorm2d)
