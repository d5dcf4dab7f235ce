"Arithmetic on networks that a learner need not read: many models, against other tools, and what can go wrong."
import functools
import gc
import math
import re
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convlab import compat  # makes torchvision importable  # noqa: F401
from convlab.arithmetic import arithmetic, layer_table, taps_on_pixels, totals
from convlab.trace.reach import node_field
from convlab.trace.tracing import trace_model

from torchvision import models
import torchinfo

NETS = dict(resnet18=224, mobilenet_v2=224, mobilenet_v3_small=224, efficientnet_b0=224, densenet121=224, vgg11=224, alexnet=224,
            convnext_tiny=224, googlenet=224, inception_v3=299, shufflenet_v2_x1_0=224, squeezenet1_1=224)
SIZES = dict(NETS, efficientnet_v2_s=384)


def build(name, **kw):
    if name in ('googlenet', 'inception_v3'): kw['init_weights'] = False
    with torch.device('meta'): return models.get_model(name, weights=None, **kw)


@functools.cache
def counted(name, side=224):
    "A network, and its table."
    model = build(name)
    return model, arithmetic(model, (3, side, side))


def leaf_calls(model, size):
    "Name and output shape of every call of a layer without layers, as forward hooks see them."
    rows, hooks = [], []
    for name, m in model.named_modules():
        if not any(True for _ in m.children()):
            hooks.append(m.register_forward_hook(lambda m, i, o, n=name: rows.append((n, tuple(o.shape[1:])))))
    with torch.no_grad(): model.eval()(torch.empty(1, *size, device='meta'))
    for h in hooks: h.remove()
    return rows


def is_module(t): return t[0].isupper()  # functions have small letters


@pytest.mark.parametrize('name', NETS)
def test_shapes_agree_with_forward_hooks(name):
    (model, df), size = counted(name, NETS[name]), (3, NETS[name], NETS[name])
    df = df[df.type.map(is_module)]
    assert list(zip(df.name, df['output shape'])) == leaf_calls(model, size)


@pytest.mark.parametrize('name', NETS)
def test_agrees_with_torchinfo(name):
    """torchinfo adds up, for convolutions, (weights + bias) times output positions; for other layers just their parameters, however
    many positions there are. Ours are the products. So, layer by layer, theirs = ours + biases for convolutions and for linear
    layers at one position; what is left is parameters of norms, and linear layers at many positions (ConvNeXt)."""
    (model, df), size = counted(name, NETS[name]), (3, NETS[name], NETS[name])
    info = torchinfo.summary(model.eval(), input_size=(1, *size), device='meta', verbose=0)
    tot = totals(df)
    assert tot['params'] == sum(p.numel() for p in model.parameters())
    # torchinfo sees parameters of layers only: not those that a block owns itself, such as ConvNeXt's layer scale
    assert int(df.params[df.type.map(is_module)].sum()) == info.total_params - tot['unused'] - own_params(model)
    expected = theirs = 0
    layers = dict(model.named_modules())
    for layer in info.summary_list:
        if layer.is_leaf_layer: theirs += layer.macs
    for r in df[df.type.map(is_module)].itertuples():
        m, shape = layers[r.name], r._3
        bias = getattr(m, 'bias', None)
        if isinstance(m, nn.Conv2d): expected += r.multiplications + (math.prod(shape) if bias is not None else 0)
        elif isinstance(m, nn.Linear):
            positions = math.prod(shape[:-1])
            expected += r.multiplications//positions + (m.out_features if bias is not None else 0)
        else: expected += sum(p.numel() for p in m.parameters())
    assert theirs == expected
    assert info.total_mult_adds == expected


def own_params(model):
    return sum(p.numel() for m in model.modules() if any(True for _ in m.children()) for p in m.parameters(recurse=False))


@pytest.mark.parametrize('name', [*NETS, 'resnet50', 'vit_b_32', 'swin_t', 'mnasnet0_5', 'resnext50_32x4d', 'efficientnet_v2_s'])
def test_agrees_with_what_torchvision_publishes(name):
    meta = list(models.get_model_weights(name))[0].meta
    tot = totals(counted(name, SIZES.get(name, 224))[1])
    aside = tot['unused'] if name == 'googlenet' else 0  # published without the heads that only help in training
    assert tot['params'] - aside == meta['num_params']
    assert tot['multiplications']/1e9 == pytest.approx(meta['_ops'], abs=6e-4)


@pytest.mark.parametrize('name', [
    'vit_b_16', 'densenet121', 'efficientnet_v2_s', 'convnext_tiny', 'swin_t', 'inception_v3', 'resnet50'])
def test_printed_on_eighty_columns(name):
    table = counted(name, SIZES.get(name, 224))[1]
    lines = str(table).splitlines()
    assert max(map(len, lines)) <= 80
    assert re.sub(' +', ' ', lines[0]) == 'name type output params % MACs % field'
    assert len([line for line in lines if line]) == len(table) + 5 + (set(table.status) > {'exact'})  # a line for what the marks mean
    assert len(repr(table).splitlines()) == 40 + 1 + 6 + (set(table.status) > {'exact'}) and f'… {len(table)-40} rows more …' in repr(table)
    assert f"{totals(table)['multiplications']:,} MACs" in str(table)


def last(df, column):  # of the last call: one number, or the sides if they differ
    row = df.iloc[-1]
    sides = tuple(row[c] for c in row.index if c.startswith(f'{column} '))
    if len(set(sides)) > 1 and not any(map(math.isnan, sides)): return sides
    return None if math.isnan(row[column]) else row[column]


@pytest.mark.parametrize('layer,size,mults,field,jump', [
    (nn.Conv1d(2, 4, 5, stride=2), (2, 21), 9*4*2*5, 5, 2),
    (nn.Conv1d(4, 4, 3, dilation=3, groups=2), (4, 21), 15*4*2*3, 7, 1),
    (nn.Conv2d(3, 6, (3, 5), stride=(2, 1), padding=(1, 2)), (3, 9, 10), 5*10*6*3*15, (3, 5), (2, 1)),
    (nn.Conv2d(4, 8, 3, padding='same', dilation=2), (4, 9, 9), 81*8*4*9, 5, 1),
    pytest.param(nn.Conv2d(4, 8, 4, padding='same'), (4, 9, 9), 81*8*4*16, 4, 1,
                 marks=pytest.mark.filterwarnings('ignore:Using padding')),
    (nn.Conv2d(4, 4, 3, padding=1, padding_mode='reflect'), (4, 9, 9), 81*4*4*9, None, 1),
    (nn.Conv3d(1, 2, (1, 3, 3), stride=(1, 2, 2)), (1, 4, 9, 9), 4*4*4*2*9, (1, 3, 3), (1, 2, 2)),
    (nn.ConvTranspose2d(3, 5, 2, stride=2), (3, 4, 4), 16*3*5*4, 1, 0.5),
    (nn.ConvTranspose1d(2, 2, 4, stride=2, padding=1), (2, 8), 8*2*2*4, 2, 0.5),
    (nn.MaxPool2d(3, 2, ceil_mode=True), (2, 8, 8), 0, 3, 2),
    (nn.MaxPool1d(2), (2, 8), 0, 2, 2),
    (nn.AvgPool3d(2), (2, 4, 4, 4), 0, 2, 2),
    (nn.AdaptiveAvgPool2d(4), (2, 8, 8), 0, 2, 2),
    (nn.AdaptiveMaxPool2d(1), (2, 8, 8), 0, math.inf, None),
    (nn.BatchNorm2d(2), (2, 8, 8), 0, 1, 1),
    (nn.InstanceNorm2d(2), (2, 8, 8), 0, math.inf, 1),
    (nn.GroupNorm(1, 2), (2, 8, 8), 0, math.inf, 1),
    (nn.Upsample(scale_factor=2), (2, 4, 4), 0, 1, 0.5),
    (nn.Upsample(scale_factor=2, mode='bilinear'), (2, 4, 4), 0, 2, 0.5),
    (nn.PixelShuffle(2), (4, 4, 4), 0, 1, 0.5),
    (nn.PixelUnshuffle(2), (1, 8, 8), 0, 2, 2),
    (nn.ZeroPad2d((1, 2, 3, 4)), (1, 8, 8), 0, 1, 1),
    (nn.Linear(7, 5), (7,), 35, None, None),
    (nn.Sequential(nn.Flatten(), nn.Linear(32, 5)), (2, 4, 4), 160, math.inf, None),
])
def test_one_layer(layer, size, mults, field, jump):
    df = arithmetic(layer, size)
    assert df.multiplications.sum() == mults
    assert df.params.sum() == sum(p.numel() for p in layer.parameters())
    if field is not None: assert last(df, 'receptive field') == field
    assert last(df, 'jump') == jump
    with torch.no_grad(): assert df['output shape'].iloc[-1] == layer.eval()(torch.zeros(1, *size)).shape[1:]


class Reused(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x): return torch.cat([self.conv(self.conv(x)), F.avg_pool2d(x, 3, 1, 1)], 1)


def test_reused_layers_branches_and_functions():
    df = arithmetic(Reused(), (4, 8, 8))
    assert df.type.tolist() == ['Conv2d', 'Conv2d', 'avg_pool2d', 'cat']
    assert df.params.tolist() == [148, 0, 0, 0]
    assert df.multiplications.tolist() == [64*16*9]*2 + [0, 0]
    assert df['receptive field'].tolist() == [3, 5, 3, 5]  # the union of the two branches
    assert df['output shape'].tolist()[-1] == (8, 8, 8)


class Own(nn.Module):
    "Parameters without a layer, and a layer whose weight is computed."
    def __init__(self):
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 2, 3))
        self.scale = nn.Parameter(torch.ones(2, 1, 1))
        self.aside = nn.Linear(3, 3)

    def forward(self, x): return self.conv(x)*self.scale


def test_parameters_are_counted_once_wherever_they_are():
    model = Own()
    df = arithmetic(model, (2, 5, 5))
    assert totals(df) == dict(params=sum(p.numel() for p in model.parameters()), unused=12, multiplications=9*2*2*9)


class NeedsNumbers(nn.Module):
    "Looks at the values, adds noise, counts its calls, has a buffer that it changes: all that may go wrong."
    def __init__(self, fail=False):
        super().__init__()
        self.conv, self.bn, self.drop, self.fail, self.calls = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), fail, 0
        self.register_buffer('seen', torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        self.seen += 1
        self.last = x
        self.bn.running_mean.add_(1)
        x = self.drop(self.bn(self.conv(x))) + torch.rand(1)
        if self.fail: raise RuntimeError('no luck')
        return x if x.sum().item() > 1e9 else x*2


def state(m):
    return [(n, p.device, p.clone()) for n, p in m.named_parameters()] + [(n, b.device, b.clone()) for n, b in m.named_buffers()]


@pytest.mark.parametrize('fail', [False, True])
@pytest.mark.parametrize('train', [False, True])
def test_the_model_is_left_as_it_was(fail, train):
    model, heard = NeedsNumbers(fail).train(train), []
    model.bn.eval()
    model.conv.register_forward_hook(lambda m, i, o: heard.append(o))
    before, rng = state(model), torch.get_rng_state()
    if fail:
        with pytest.raises(ValueError, match='NeedsNumbers fails on input_size=.*no luck'): arithmetic(model, (1, 6, 6))
    else:
        with pytest.warns(UserWarning, match=r'leave PyTorch through item\(\)'): df = arithmetic(model, (1, 6, 6))
        assert totals(df)['multiplications'] == 16*2*9
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(a[:2] == b[:2] and torch.equal(a[2], b[2]) for a, b in zip(before, state(model)))
    assert (model.training, model.conv.training, model.bn.training) == (train, train, False)
    assert (model.calls, len(heard), len(model.conv._forward_hooks)) == (1, 1, 1)  # what one call changes, one call has changed
    assert not torch.nn.modules.module._global_forward_hooks and not torch.nn.modules.module._global_forward_pre_hooks
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_untouched_when_interrupted():
    class Stops(nn.BatchNorm2d):
        def forward(self, x):
            self.running_var.zero_()
            self.weight.data.zero_()
            self.last = 'here'
            raise KeyboardInterrupt
    model = Stops(2)
    with pytest.raises(KeyboardInterrupt): arithmetic(model, (2, 3, 3))
    assert model.training and not model._forward_hooks and not model._forward_pre_hooks
    assert torch.equal(model.running_var, torch.ones(2)) and torch.equal(model.weight.data, torch.ones(2))


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_other_dtypes(dtype):
    assert arithmetic(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()).to(dtype), (1, 5, 5)).multiplications.sum() == 162


def test_nothing_is_kept():
    "A table does not keep the model alive."
    import weakref
    model = nn.Conv2d(1, 2, 3)
    ref = weakref.ref(model)
    df = arithmetic(model, (1, 5, 5))
    del model
    gc.collect()
    assert ref() is None and len(df) == 1


@pytest.mark.parametrize('model,size,error,text', [
    ('resnet', (3, 8, 8), TypeError, 'model must be an nn.Module; got str'),
    (nn.ReLU, (3, 8, 8), TypeError, r'model must be an nn.Module; got the class itself; call it: ReLU\(\)'),
    (nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()), (28, 28), ValueError,
     r"must have the channels first; got \(28, 28\), and layer '0' \(Conv2d\) took the batch for channels: give \(1, 28, 28\)"),
    (nn.MaxPool1d(2), (8,), ValueError, r'give \(1, 8\) if there is one channel'),
    (nn.Conv2d(1, 1, 3), 28, TypeError, r'input_size must be a tuple of whole numbers of at least 1; got 28'),
    (nn.Conv2d(1, 1, 3), (), ValueError, 'input_size must be a tuple'),
    (nn.Conv2d(1, 1, 3), (1, 2.5, 3), TypeError, 'input_size must be a tuple'),
    (nn.Conv2d(1, 1, 3), (1, True, 3), TypeError, 'input_size must be a tuple'),
    (nn.Conv2d(1, 1, 3), (1, 0, 5), ValueError, r'input_size must be a tuple of whole .* got \(1, 0, 5\)'),
    (nn.Conv2d(3, 1, 3), (1, 8, 8), ValueError, r'Conv2d fails on input_size=\(1, 8, 8\).*expected input.* to have 3 channels'),
    (nn.Conv2d(1, 1, 3), (1, 2, 2), ValueError, r'fails on input_size=\(1, 2, 2\).*Kernel size'),
    (nn.Linear(10, 2), (9,), ValueError, r'Linear fails on input_size=\(9,\)'),
    (nn.LazyConv2d(1, 3), (1, 8, 8), ValueError, 'lazy'),
])
def test_bad_input(model, size, error, text):
    with pytest.raises(error, match=text): arithmetic(model, size)


class Whole(nn.Module):
    "Calls a layer on what is no batch, rightly."
    def __init__(self, each):
        super().__init__()
        self.conv, self.each = nn.Conv2d(1, 2, 3), each

    def forward(self, x): return torch.stack([self.conv(i) for i in x]) if self.each else self.conv(x[:, None])


@pytest.mark.parametrize('each,size', [(True, (1, 6, 6)), (False, (6, 6))])
def test_a_model_may_add_the_channels_itself(each, size):
    assert arithmetic(Whole(each), size).multiplications.tolist()[0] == 16*2*9


IMPORTS = [
    'import convlab; convlab.arithmetic(net, size)', 'import convlab.arithmetic; convlab.arithmetic(net, size)',
    'from convlab import arithmetic; arithmetic(net, size)', 'from convlab.arithmetic import arithmetic; arithmetic(net, size)',
    'import convlab.arithmetic as a; a(net, size); a.arithmetic(net, size); import convlab; convlab.arithmetic(net, size)',
    'import convlab; f = convlab.arithmetic; import convlab.arithmetic; f(net, size); convlab.arithmetic.totals(f(net, size))',
    'import convlab.receptive, convlab.trace.table, convlab; convlab.arithmetic(net, size); convlab.arithmetic.arithmetic(net, size)']


def test_module_and_function_are_one_after_any_import():
    "Each in an interpreter of its own."
    start = 'from torch import nn; net, size = nn.Conv2d(1, 2, 3), (1, 5, 5); '
    running = [subprocess.Popen([sys.executable, '-c', start+line], stderr=subprocess.PIPE, text=True) for line in IMPORTS]
    assert {line: p.communicate()[1] for line, p in zip(IMPORTS, running)} == dict.fromkeys(IMPORTS, '')


class Policy(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.fc, self.how = nn.Linear(4, 3), how

    def forward(self, x): return self.how(self.fc(x))


@pytest.mark.parametrize('how,rows', [
    (lambda y: torch.distributions.Categorical(logits=y), ['Linear', 'logsumexp', 'sub']),
    (lambda y: torch.distributions.Categorical(probs=y.softmax(1)), ['Linear', 'softmax', 'sum', 'div', 'sum']),
    (lambda y: torch.distributions.Normal(y, y.exp()), ['Linear']),
    (lambda y: torch.distributions.Dirichlet(y.exp()), ['Linear'])])
@pytest.mark.filterwarnings('error')
def test_checks_of_arguments_are_no_layers(how, rows):
    "A distribution tests what it is given. A test has no row; that probabilities add up to 1 takes a sum, which has one."
    assert arithmetic(Policy(how), (4,)).type.tolist() == rows


def test_what_leads_nowhere_but_costs_something_has_a_row():
    class Aside(Policy):
        def forward(self, x):
            x @ x.T
            return self.fc(x)
    assert arithmetic(Aside(None), (4,)).multiplications.tolist() == [4, 12]


def test_fields_of_a_flattened_map():
    "Places are followed through reshaping: tokens keep the field of their patch."
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch, self.mlp = nn.Conv2d(3, 8, 4, stride=4), nn.Linear(8, 8)

        def forward(self, x): return self.mlp(self.patch(x).flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, (4, 4))
    t = trace_model(Tokens(), (3, 16, 16))
    first, last = node_field(t.out[0][1], 0)
    assert first.tolist() == [0, 4, 8, 12] and last.tolist() == [3, 7, 11, 15]


# The plain version of the lesson

def test_the_hooks_and_the_table_agree():
    model = models.alexnet(weights=None).eval()
    df = arithmetic(model, (3, 224, 224))
    df = df[df.type.map(is_module)]
    rows = layer_table(model, torch.zeros(1, 3, 224, 224))
    assert rows == list(zip(df.name, df.type, df['output shape'], df.params, df.multiplications))


def test_the_hooks_go_whatever_happens():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(5, 2))
    with pytest.raises(RuntimeError): layer_table(model, torch.zeros(1, 1, 8, 8))
    assert not any(m._forward_hooks for m in model)


@pytest.mark.parametrize('ks,stride,padding', [(3, 2, 1), (5, 1, 2), (3, 1, 0), (4, 3, 1)])
def test_taps_on_pixels(ks, stride, padding):
    "The gradient of a weight counts the ones that it met."
    conv = nn.Conv2d(1, 1, ks, stride, padding)
    conv(torch.ones(1, 1, 9, 9)).sum().backward()
    assert torch.equal(taps_on_pixels(conv, 9), conv.weight.grad[0, 0])
