"The tracer on everything that a model may do: families of operations, of inputs and outputs, and of ways to be run."
import math
import random
import threading
import types
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convlab import compat  # makes torchvision importable  # noqa: F401
from convlab.arithmetic import arithmetic, totals
from convlab.trace.counting import count_rule
from convlab.receptive import effective_receptive_field, gradient_probe, image_box, receptive_field, trace_precedents
from convlab.trace.tracing import trace_model

from torchvision import models

pytestmark = pytest.mark.filterwarnings('error:a fault of convlab', 'error:convlab has no rule', 'ignore:Default grid_sample', 'ignore:Implicit dimension')
SIZE = (4, 8, 8)
FIELD = (3, 3)  # of the convolution that comes first


def after_conv(f, *after, ch=4):
    "A convolution, then `f`."
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.after = nn.Conv2d(ch, 4, 3, padding=1), nn.ModuleList(after)

        def forward(self, x): return f(self.conv(x), *self.after)
    return Net()


def three_ways(model, size=SIZE, place=(3, 4)):
    "The box of one output position, which the recurrence, the walk back and the gradient agree on."
    kw = dict(zip(('row', 'col'), place))
    box = image_box(trace_precedents(model, size, **kw))
    assert receptive_field(model, size).box(**kw) == box
    assert gradient_probe(model, size, **kw) == box
    return box


# Operations

ACTIVATIONS = [n for n in nn.modules.activation.__all__ if n not in ('MultiheadAttention', 'GLU', 'Softmin', 'Softmax', 'Softmax2d', 'LogSoftmax')]


@pytest.mark.parametrize('name', ACTIVATIONS)
@pytest.mark.parametrize('inplace', [False, True])
@pytest.mark.parametrize('numbers', [False, True])
def test_activation_functions_are_pointwise(name, inplace, numbers):
    kw = dict(threshold=0., value=0.) if name == 'Threshold' else {}
    try: act = getattr(nn, name)(**kw, **dict(inplace=True) if inplace else {})
    except TypeError: pytest.skip('has no inplace')
    def f(x, act):
        if numbers: assert x.isfinite().all()  # tensors without numbers cannot say
        return act(x)
    rf = receptive_field(after_conv(f, act), SIZE)
    assert rf.size == FIELD and rf.jump == (1, 1) and rf.whole == (False, False)


@pytest.mark.parametrize('act', [nn.Softmax(1), nn.LogSoftmax(1), nn.Softmin(1), nn.Softmax2d(), nn.GLU(1), nn.CrossMapLRN2d(3), nn.LocalResponseNorm(3)], ids=repr)
def test_what_mixes_channels_keeps_places(act):
    rf = receptive_field(after_conv(lambda x, act: act(x), act), SIZE)
    assert rf.size == FIELD and rf.jump == (1, 1)


INDICES = {
    'list': lambda x: x[:, [2, 1, 0]], 'list of rows': lambda x: x[:, :, [0, 1, 2, 3, 4, 5, 6, 7]], 'lists': lambda x: x[:, [0, 1], :, :][:, [1, 0]],
    'ellipsis': lambda x: x[..., [7, 6, 5, 4, 3, 2, 1, 0]].flip(3), 'array': lambda x: x[:, np.array([2, 1, 0])], 'tensor': lambda x: x[:, torch.tensor([2, 1])],
    'mask': lambda x: x[:, torch.tensor([True, False, True, True])], 'bool list': lambda x: x[:, [True, False, True, True]],
    'bool array': lambda x: x[:, np.array([True, False, True, True])], 'slice': lambda x: x[:, 1:], 'step': lambda x: x[:, ::2], 'none': lambda x: x[:, None][:, 0],
    'index_select': lambda x: x.index_select(1, torch.tensor([1])), 'gather': lambda x: x.gather(1, torch.zeros(1, 1, 8, 8, dtype=torch.long)),
    'take_along_dim': lambda x: x.take_along_dim(torch.zeros(1, 1, 1, 1, dtype=torch.long), 1), 'narrow': lambda x: x.narrow(1, 0, 2),
    'chunk': lambda x: x.chunk(2, 1)[1], 'split': lambda x: x.split([1, 3], 1)[1], 'unbind': lambda x: torch.stack(x.unbind(2), 2), 'select': lambda x: x.select(1, 0)[:, None],
    'set list': lambda x: _set(x, (slice(None), [0, 1]), 0.), 'set array': lambda x: _set(x, (slice(None), np.array([0, 1])), 1.),
    'scatter': lambda x: x.scatter(1, torch.zeros(1, 1, 8, 8, dtype=torch.long), 0.), 'index_put': lambda x: x.index_put((torch.tensor([0]), torch.tensor([1])), torch.zeros(8, 8, dtype=x.dtype)),
    'index_add': lambda x: x.index_add(1, torch.tensor([0]), x[:, :1]), 'index_copy': lambda x: x.index_copy(1, torch.tensor([0]), x[:, 1:2]),
    'index_fill': lambda x: x.index_fill(1, torch.tensor([0]), 1.), 'masked_fill': lambda x: x.masked_fill(torch.eye(8, dtype=torch.bool), 0.), 'where': lambda x: torch.where(torch.eye(8, dtype=torch.bool), x, x*2),
    'same device': lambda x: x[:, torch.arange(3, device=x.device)],
}


def _set(x, at, v):
    x = x.clone()
    x[at] = v
    return x


@pytest.mark.parametrize('name', INDICES)
def test_every_way_to_index(name):
    net = after_conv(INDICES[name])
    assert three_ways(net) == ((2, 5), (3, 6)) and receptive_field(net, SIZE).size == FIELD
    assert [receptive_field(net, SIZE).start for _ in range(3)] == [(-1, -1)]*3  # and never from memory that nobody wrote


LOCAL = {
    'unpool': lambda x: F.max_unpool2d(*F.max_pool2d(x, 1, return_indices=True), 1),
    'topk': lambda x: x.topk(2, 1)[0], 'median': lambda x: x.median(1, keepdim=True)[0], 'kthvalue': lambda x: x.kthvalue(2, 1, keepdim=True)[0],
    'sort': lambda x: x.sort(1)[0], 'max': lambda x: x.max(1, keepdim=True)[0], 'argmax': lambda x: x.argmax(1, keepdim=True).float(), 'norm': lambda x: x/x.norm(dim=1, keepdim=True),
    'std': lambda x: x.std(1, keepdim=True), 'logsumexp': lambda x: x.logsumexp(1, keepdim=True), 'cumsum': lambda x: x.cumsum(1), 'einsum': lambda x: torch.einsum('nchw,cd->ndhw', x, torch.ones(4, 4)),
    'bilinear': lambda x: F.bilinear(x.movedim(1, 3).contiguous(), x.movedim(1, 3).contiguous(), torch.ones(3, 4, 4)).movedim(3, 1),
    'fake_quantize': lambda x: torch.fake_quantize_per_tensor_affine(x, .1, 0, 0, 255), 'complex': lambda x: torch.complex(x, x).abs(), 'as_strided': lambda x: x.contiguous().as_strided((1, 2, 8, 8), (256, 64, 8, 1)),
    'data': lambda x: x.data*2, 'detach': lambda x: x.detach()*2, 'subclass': lambda x: x.as_subclass(Kind).relu(), 'view': lambda x: x.reshape(1, 4, 64).unflatten(2, (8, 8)),
    'channels last': lambda x: x.to(memory_format=torch.channels_last)*1, 'double': lambda x: x.double(), 'dropout': lambda x: F.dropout(x, training=True),
}


class Kind(torch.Tensor): "A tensor of a class of its own."


@pytest.mark.parametrize('name', LOCAL)
@pytest.mark.parametrize('inference', [False, True])
def test_local_operations_are_not_taken_for_global_ones(name, inference):
    net = after_conv(LOCAL[name])
    with torch.inference_mode(inference): rf = receptive_field(net, SIZE)
    assert (rf.size, rf.jump, rf.start) == (FIELD, (1, 1), (-1, -1))


@pytest.mark.parametrize('turn,box', [(lambda x: x.rot90(1, (2, 3)), ((3, 6), (3, 6))), (lambda x: x.transpose(2, 3), ((3, 6), (2, 5))), (lambda x: x.flip(2), ((3, 6), (3, 6))),
                                      (lambda x: x.mT, ((3, 6), (2, 5))), (lambda x: x.roll(1, 2), ((1, 4), (3, 6)))])
def test_rows_and_columns_are_those_of_the_layer(turn, box):
    net = after_conv(turn)
    assert three_ways(net) == box
    assert [abs(j) for j in receptive_field(net, SIZE).jump] == [1, 1]


@pytest.mark.parametrize('factors', [(2,), (3,), (5,), (2, 2), (2, 3), (7,), (2, 2, 2)])
@pytest.mark.parametrize('n', [1, 2, 6])
def test_jump_after_pixel_shuffles(factors, n):
    ch = np.prod(factors)**2
    rf = receptive_field(nn.Sequential(nn.Conv2d(1, ch, 1), *map(nn.PixelShuffle, factors)), (1, n, n))
    assert rf.jump == (pytest.approx(1/np.prod(factors)),)*2
    back = nn.Sequential(nn.Conv2d(1, ch, 1), *map(nn.PixelShuffle, factors), *[nn.PixelUnshuffle(f) for f in factors[::-1]])
    assert receptive_field(back, (1, n, n)).jump == (1, 1)


# Heads on maps of any size, and what comes behind global operations

HEADS = {
    'pool': (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)), 'max': (nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
    'mean': (nn.Flatten(2), nn.Linear(1, 1)), 'conv': (nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1)),
}


@pytest.mark.parametrize('size', [(4, 4), (8, 8), (4, 8), (16, 4), (32, 32)])
@pytest.mark.parametrize('head', ['pool', 'max', 'conv', 'flat', 'reshape', 'squeeze', 'mean'])
def test_heads_on_maps_of_any_size(size, head):
    "Rows and columns are treated alike, however few there are."
    body = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1))  # a map of a quarter
    n = 4*size[0]//4*size[1]//4
    tails = {'flat': lambda x: nn.Linear(n, 2)(x.flatten(1)), 'reshape': lambda x: nn.Linear(n, 2)(x.reshape(1, -1)), 'mean': lambda x: x.mean((2, 3)),
             'squeeze': lambda x: x.mean((2, 3), keepdim=True).squeeze(-1).squeeze(-1), **{k: nn.Sequential(*v) for k, v in HEADS.items() if k != 'mean'}}
    net = after_conv(lambda x, body: tails[head](body(x)), body, ch=3)
    net.conv = nn.Conv2d(3, 3, 3, padding=1)
    rf = receptive_field(net, (3, *size))
    assert rf.whole == (True, True) and rf.size == size and rf.jump == (None, None) and rf.box(*[0, 0][:2*(head == 'conv')]) == ((0, size[0]), (0, size[1]))


def test_known_networks_on_small_images():
    for name in ('resnet18', 'mobilenet_v3_small', 'convnext_tiny'):
        with torch.device('meta'): net = models.get_model(name, weights=None)
        rf = receptive_field(net, (3, 32, 32))
        assert rf.size == (32, 32) and rf.whole == (True, True)
    with torch.device('meta'): net = models.resnet18(weights=None)
    assert receptive_field(net, (3, 32, 32), 'layer4').size == receptive_field(net, (3, 224, 224), 'layer4').size == (435, 435)


UP = {
    'bilinear': lambda x: F.interpolate(x, size=(8, 8), mode='bilinear'), 'nearest': lambda x: F.interpolate(x, scale_factor=3), 'bicubic': lambda x: F.interpolate(x, size=(7, 9), mode='bicubic'),
    'transposed': lambda x: F.conv_transpose2d(x, torch.ones(4, 4, 3, 3), stride=2), 'gaps': lambda x: F.conv_transpose2d(x, torch.ones(4, 4, 1, 1), stride=3),
    'shuffle': lambda x: F.pixel_shuffle(x, 2), 'area': lambda x: F.interpolate(x, size=(4, 4), mode='area'), 'expand': lambda x: x.expand(-1, -1, 8, 8) if x.shape[2] == 1 else x,
}
GLOBAL = {'SE': lambda x: x*x.mean((2, 3), keepdim=True).sigmoid(), 'pool': lambda x: F.adaptive_avg_pool2d(x, 1), 'norm': F.instance_norm,
          'attention': lambda x: F.scaled_dot_product_attention(*[x.flatten(2).mT]*3).mT.unflatten(2, (8, 8))}


@pytest.mark.parametrize('up', UP)
@pytest.mark.parametrize('what', GLOBAL)
def test_upsampling_behind_global_operations(what, up):
    rf = receptive_field(after_conv(lambda x: UP[up](GLOBAL[what](x))), SIZE)
    assert rf.whole == (True, True) and rf.size == (8, 8)
    assert not any(t.isnan().any() for t in (*rf.first, *rf.last))


class Shift(nn.Module):
    def forward(self, x):
        y = torch.zeros_like(x)
        y[:, :, 2:] = x[:, :, :-2]
        return y


def test_positions_that_depend_on_nothing():
    rf = receptive_field(Shift(), (1, 6, 6))
    assert rf.size == (1, 1) and rf.start == (None, 0) and rf.box(0, 0) is None and rf.box(3, 2) == ((1, 2), (2, 3))
    assert receptive_field(after_conv(lambda x: x*0 + torch.ones(1)), SIZE).size == FIELD


@pytest.mark.parametrize('cut', [lambda x, m: x.masked_fill(m, 0), lambda x, m: torch.where(m, 0., x), lambda x, m: torch.where(~m, x, torch.zeros(())), lambda x, m: x.clone().masked_fill_(m, 1.),
                                 lambda x, m: torch.where(m, torch.zeros(1, 4, 1, 1), x)])
def test_what_a_known_mask_covers_is_gone(cut):
    net = after_conv(lambda x: cut(x, torch.arange(8) % 2 == 0))
    assert three_ways(net, place=(3, 5)) == ((2, 5), (4, 7)) and receptive_field(net, SIZE).size == FIELD
    for f in (gradient_probe, lambda *a, **k: image_box(trace_precedents(*a, **k))): assert f(net, SIZE, row=3, col=4) is None
    both = after_conv(lambda x: torch.where(torch.arange(8) < 4, x, x.flip(3)))
    assert [three_ways(both, place=(3, c))[1] for c in (2, 6)] == [(1, 4), (0, 3)]


class Alias(nn.Module):
    "Writes through one view, reads through another that was made before."
    def forward(self, x):
        base = torch.zeros(1, 2, 6, 6)
        left, top = base[..., :3], base[:, :, :3]
        left.copy_(x[..., 3:].expand(1, 2, 6, 3))
        top.add_(1)
        return top.view(1, 2, 3, 6)*1


@pytest.mark.parametrize('inference', [False, True])
def test_views_see_what_is_written_through_others(inference):
    with torch.inference_mode(inference): d = trace_precedents(Alias(), (1, 6, 6), None, 1, 2)
    assert image_box(d) == ((1, 2), (5, 6))
    assert image_box(trace_precedents(Alias(), (1, 6, 6), None, 1, 4)) is None


@pytest.mark.parametrize('get', [lambda x: x.mean((0, 2, 3))[0], lambda x: x.sum(), lambda x: x.flatten()[5], lambda x: x.mean(), lambda x: torch.dot(x.flatten(), x.flatten())])
def test_scalars(get):
    df = arithmetic(after_conv(get), SIZE)
    assert len(df) and receptive_field(after_conv(get), SIZE).jump == (None, None)


# Products

@pytest.mark.parametrize('cls', [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize('kw', [dict(), dict(num_layers=3), dict(bidirectional=True), dict(num_layers=2, bidirectional=True), dict(bias=False), dict(proj_size=3), dict(proj_size=2, num_layers=2, bidirectional=True)], ids=str)
@pytest.mark.parametrize('numbers', [False, True])
@pytest.mark.parametrize('batch', [1, 3])
def test_recurrent_layers_by_hand(cls, kw, numbers, batch):
    if 'proj_size' in kw and cls is not nn.LSTM: pytest.skip('only LSTM projects')
    rnn, steps = cls(5, 7, batch_first=True, **kw), 4
    layers, ways, proj = kw.get('num_layers', 1), 1+kw.get('bidirectional', False), kw.get('proj_size', 0)
    gates, out = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}[cls], proj or 7
    want = sum(ways*(gates*7*(5 if i == 0 else out*ways) + gates*7*out + (7*proj)) for i in range(layers))*steps*batch
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = rnn

        def forward(self, x):
            if numbers: assert x.isfinite().all()
            return self.rnn(x)[0]
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'LSTM with proj')
        df = arithmetic(Net(), inputs=torch.zeros(batch, steps, 5))
    assert totals(df) == dict(params=sum(p.numel() for p in rnn.parameters()), unused=0, multiplications=want)


@pytest.mark.parametrize('f,want', [
    (lambda x: F.bilinear(x, x, torch.ones(3, 6, 6)), 5*3*36), (lambda x: torch.addbmm(torch.zeros(5, 5), x[None], x.T[None]), 5*5*6), (lambda x: torch.addmv(torch.zeros(5), x, x[0]), 30),
    (lambda x: x @ x[0], 30), (lambda x: torch.dot(x[0], x[1]), 6), (lambda x: torch.cdist(x, x), 5*5*6), (lambda x: torch.outer(x[0], x[1]), 0), (lambda x: torch.einsum('ij,kj->ik', x, x), 150),
    (lambda x: torch.addmm(torch.zeros(5, 5), x, x.T), 150), (lambda x: torch.baddbmm(torch.zeros(1, 5, 5), x[None], x.T[None]), 150), (lambda x: torch.chain_matmul(x, x.T, x), 300)])
@pytest.mark.parametrize('inference', [False, True])
@pytest.mark.filterwarnings('ignore:torch.chain_matmul')
def test_products_by_hand(f, want, inference):
    class Net(nn.Module):
        def forward(self, x): return f(x[0])
    with torch.inference_mode(inference): assert arithmetic(Net(), (5, 6)).multiplications.sum() == want


class OnWeights(nn.Module):
    "Multiplies parameters with each other; the image comes in at the end."
    def __init__(self):
        super().__init__()
        self.a, self.b, self.table = nn.Parameter(torch.ones(4, 5)), nn.Linear(5, 3), nn.Parameter(torch.ones(2))

    def forward(self, x): return x + self.b(self.a).sum()


def test_work_on_parameters_counts():
    df = arithmetic(OnWeights(), (2, 3))
    assert totals(df) == dict(params=40, unused=2, multiplications=60) and df.loc[df.name == 'b', 'multiplications'].tolist() == [60]


@torch.library.custom_op('convlabtest::twice', mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor: return 2*x
@torch.library.custom_op('convlabtest::blur', mutates_args=())
def blur(x: torch.Tensor) -> torch.Tensor: return x + x.mean(2, keepdim=True)
@torch.library.custom_op('convlabtest::cut', mutates_args=())
def cut(x: torch.Tensor) -> torch.Tensor: return x[:, :, 1:].clone()
for op, to in ((twice, torch.empty_like), (blur, torch.empty_like), (cut, lambda x: torch.empty_like(x)[:, :, 1:])): op.register_fake(to)


@pytest.mark.filterwarnings('default')
def test_what_nobody_knows_is_said():
    net = after_conv(lambda x: twice(x))
    with pytest.warns(UserWarning, match='no rule for convlabtest::twice: it is taken to depend on everything.*no formula.*convlabtest::twice') as said: df = arithmetic(net, SIZE)
    assert len(said) == 1 and df.multiplications.isna().tolist() == [False, True] and df['receptive field'].tolist() == [3, math.inf] and df.status.tolist() == ['exact', 'upper bound']
    for op in (twice, blur, cut):
        with pytest.warns(UserWarning, match='is taken to depend on everything'): field = receptive_field(after_conv(lambda x: op(x)), SIZE)
        assert field.whole == (True, True) and field.status == 'upper bound'


@torch.library.custom_op('convlabtest::thrice', mutates_args=(), tags=(torch.Tag.pointwise,))
def thrice(x: torch.Tensor) -> torch.Tensor: return 3*x
thrice.register_fake(torch.empty_like)


@pytest.mark.filterwarnings('error')
def test_an_operation_that_says_of_itself_that_it_is_pointwise():
    field = receptive_field(after_conv(lambda x: thrice(x)), SIZE)
    assert field.size == FIELD and field.status == 'exact'


@pytest.mark.filterwarnings('default')
def test_formulas_can_be_added():
    @count_rule('convlabtest::cut')
    def _cut(x, out): return x.numel()*10 + out.numel()
    assert count_rule(torch.ops.convlabtest.blur)(lambda x, out: 7)(0, 0) == 7
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        assert arithmetic(after_conv(cut), SIZE).multiplications.tolist() == [64*4*36, 256*10 + 224]
        assert arithmetic(after_conv(blur), SIZE).multiplications.tolist() == [64*4*36, 7]
    with pytest.raises(ValueError, match='op must be an operation'): count_rule('cut')


def test_quantized_layers_are_not_followed_and_say_so():
    ops = torch.ao.quantization
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.conv, self.relu, self.fc, self.d = ops.QuantStub(), nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU(), nn.Linear(8, 3), ops.DeQuantStub()

        def forward(self, x): return self.d(self.fc(self.relu(self.conv(self.q(x))).mean((2, 3))))
    net = Net().eval()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        net.qconfig = ops.get_default_qconfig('fbgemm')
        ops.prepare(net, inplace=True)(torch.rand(1, *SIZE))
        ops.convert(net, inplace=True)
        df = arithmetic(net, SIZE).df.set_index('name')
    assert df.multiplications[['conv', 'fc']].isna().all() and (df.status[['conv', 'fc', 'd']] == 'upper bound').all() and df['receptive field']['fc'] == math.inf
    with warnings.catch_warnings(), pytest.warns(UserWarning, match='no rule for quantized::conv2d.*products of quantized::'):
        warnings.simplefilter('default')
        arithmetic(net, SIZE)


# Inputs and outputs

@dataclass
class Data: score: torch.Tensor; name: str = 'x'


OUTPUTS = {'tuple': lambda x: (x, 1), 'list': lambda x: [x], 'dict': lambda x: {'out': x}, 'dataclass': lambda x: Data(x), 'nested': lambda x: {'a': [None, (x,)]},
           'object': lambda x: types.SimpleNamespace(a=1, b=x), 'subclass': lambda x: x.as_subclass(Kind), 'named': lambda x: x.max(1)[:1]}


@pytest.mark.parametrize('kind', OUTPUTS)
def test_every_kind_of_output(kind):
    net = nn.Sequential(after_conv(OUTPUTS[kind]))
    assert receptive_field(net, SIZE).size == receptive_field(net, SIZE, '0').size == FIELD
    assert arithmetic(net, SIZE).params.sum() == 148


@pytest.mark.filterwarnings('default')
def test_outputs_that_leave_something_open_are_said():
    with pytest.warns(UserWarning, match='the model returns 2 tensors; this is about the first one'): receptive_field(after_conv(lambda x: {'out': x, 'aux': x*2}), SIZE)
    net = after_conv(lambda x, fc: fc(torch.from_numpy(x.numpy()*2)), nn.Conv2d(4, 4, 1))
    with pytest.warns(UserWarning, match=r'values of the image leave PyTorch through numpy\(\)'): df = arithmetic(net, SIZE)
    assert totals(df) == dict(params=168, unused=0, multiplications=64*4*36 + 64*16)
    with pytest.raises(ValueError, match=r'returns no tensor that is known to depend on the input; values of the image leave PyTorch through numpy'): receptive_field(net, SIZE)
    with pytest.raises(ValueError, match='returns no tensor'): receptive_field(after_conv(lambda x: 'no tensor'), SIZE)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 5, padding=1)

    def forward(self, x, y, scale=1, *, flip=False): return self.a(x) + self.b(y.flip(2) if flip else y)*scale


@pytest.mark.parametrize('give', [lambda x, y: (x, y), lambda x, y: [x, y], lambda x, y: dict(x=x, y=y), lambda x, y: ((x,), dict(y=y, flip=True)), lambda x, y: ((x, y, 2), {})])
@pytest.mark.parametrize('batch', [1, 2, 5])
def test_several_inputs(give, batch):
    x, y = torch.rand(batch, 3, 8, 8), torch.rand(batch, 3, 8, 8)
    df = arithmetic(Two(), inputs=give(x, y))
    assert totals(df) == dict(params=4*27+4 + 4*75+4, unused=0, multiplications=batch*36*4*(27+75))
    assert df['receptive field'].dropna().tolist()[0] == 3 and df['output shape'].tolist()[0][-3:] == (4, 6, 6)
    assert receptive_field(Two(), inputs=give(x, y)).size == (3, 3)


def test_whole_numbers_and_bad_inputs():
    net = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 2))
    df = arithmetic(net, inputs=torch.zeros(1, 6, dtype=torch.long))
    assert totals(df) == dict(params=50, unused=0, multiplications=48) and df['receptive field'].tolist() == [1, 1]
    with pytest.raises(ValueError, match=r"Sequential fails on input_size=\(6,\).*in layer '0' \(Embedding\).*give an example with inputs="): arithmetic(net, (6,))
    for bad, kind in ((dict(), ValueError), (dict(input_size=(6,), inputs=torch.zeros(1, 6)), ValueError), (dict(inputs=3), TypeError), (dict(inputs='x'), TypeError)):
        with pytest.raises(kind, match='input'): arithmetic(net, **bad)
    assert receptive_field(nn.Sequential(nn.Unflatten(1, (1, 20)), nn.Conv1d(1, 1, 5)), (20,)).size == (5,)  # a signal without channels
    x = torch.ones(1, 4, 8, 8)
    arithmetic(after_conv(lambda x: x), inputs=x)
    assert (x == 1).all()


@pytest.mark.parametrize('dtype', [torch.complex64, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.filterwarnings('ignore:Complex modules')
def test_every_kind_of_number(dtype):
    net = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3)).to(dtype)
    assert receptive_field(net, (2, 8, 8)).size == (5, 5) and arithmetic(net, (2, 8, 8)).multiplications.sum() == (36+16)*36*(3 if dtype.is_complex else 1)  # three real ones do


def test_fourier_transforms_see_everything_and_are_not_counted():
    with pytest.warns(UserWarning, match='no formula for the products of aten::_fft'): df = arithmetic(after_conv(lambda x: torch.fft.ifft2(torch.fft.fft2(x)).real), SIZE)
    assert df['receptive field'].iloc[-1] == math.inf


# Ways to be run

def test_scripted_models_are_refused_before_anything_is_touched():
    for net in (torch.jit.script(nn.BatchNorm2d(4)), nn.Sequential(torch.jit.trace(nn.BatchNorm2d(4).eval(), torch.rand(1, *SIZE)))):
        net.train()
        before = {k: v.clone() for k, v in net.state_dict().items()}
        for f in (arithmetic, receptive_field, trace_precedents):
            with pytest.raises(ValueError, match='scripted'): f(net, SIZE)
        assert net.training and all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_compiled_models_are_unwrapped():
    net = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())
    part = nn.Sequential(torch.compile(nn.Conv2d(4, 4, 3)), nn.ReLU())
    whole, inplace, parallel = torch.compile(net), nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU()), nn.DataParallel(net)
    inplace.compile()
    for m in (part, whole, inplace, parallel):
        df = arithmetic(m, SIZE)
        assert df.type.tolist() == ['Conv2d', 'ReLU'] and df.name.tolist() == ['0', '1'] and totals(df)['params'] == 148
    assert receptive_field(whole, SIZE, '_orig_mod.0').size == receptive_field(whole, SIZE, '0').size == FIELD

    @torch.compile
    def f(x): return x.relu()*2
    assert receptive_field(after_conv(f), SIZE).size == FIELD


def test_autocast():
    net = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    for device in ('cpu',):
        with torch.autocast(device, torch.bfloat16):
            net(torch.rand(1, *SIZE))  # fills the cache of weights
            assert totals(arithmetic(net, SIZE)) == dict(params=148+290, unused=0, multiplications=36*4*36 + 288)
            seen = after_conv(lambda x, fc: fc(x) if x.isfinite().all() else x, nn.Conv2d(4, 4, 1))
            assert totals(arithmetic(seen, SIZE))['unused'] == 0


class Hooked(nn.Module):
    "Reads in its forward what a hook has kept, as fastai's U-Net does."
    def __init__(self, keep):
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.kept = keep(self)

    def forward(self, x):
        self.a(x)
        return self.b(self.kept())


class Keeper:
    def __init__(self, m): m.a.register_forward_hook(self.hook)
    def hook(self, m, i, o): self.value = o
    def __call__(self): return self.value


def in_list(m):
    kept = []
    m.a.register_forward_hook(lambda m, i, o: kept.append(o))
    return lambda: kept[-1]


def in_dict(m):
    kept = {}
    m.a.register_forward_hook(lambda m, i, o: kept.__setitem__('out', o))
    return lambda: kept['out']


@pytest.mark.parametrize('keep', [Keeper, in_list, in_dict])
def test_hooks_of_the_model_work(keep):
    net = Hooked(keep)
    df = arithmetic(net, SIZE)
    assert totals(df) == dict(params=296, unused=0, multiplications=2*64*4*36) and df['receptive field'].tolist() == [3, 5]
    assert receptive_field(net, SIZE).size == (5, 5)
    assert not net.kept().is_meta  # what its own hook keeps of a call, and real


def test_unet_of_fastai():
    from fastai.vision.models.unet import DynamicUnet
    body = nn.Sequential(*list(models.resnet18(weights=None).children())[:-2])
    net = DynamicUnet(body, 2, (64, 64)).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad(): net(torch.zeros(1, 3, 64, 64))
    tot = totals(arithmetic(net, (3, 64, 64)))
    assert tot['multiplications'] == counter.get_total_flops()//2
    assert tot['params'] == sum(p.numel() for p in net.parameters()) and tot['unused'] == 0


class Restless(nn.Module):
    "Changes all that a forward can reach."
    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.log, self.counts, self.inner = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), [], {'calls': 0}, {'deep': [1]}
        self.register_buffer('seen', torch.zeros(1))

    def forward(self, x):
        self.log.append(x)
        self.counts['calls'] += 1
        self.inner['deep'].append(2)
        self.seen += 1
        self.new = torch.rand(3)
        self.conv.weight.data = self.conv.weight.data*2
        with torch.no_grad(): self.conv.bias.add_(1)
        self.conv.register_forward_hook(lambda *a: None)
        self.bn.train()
        noise = random.random() + np.random.rand() + torch.rand(1)
        return self.bn(self.conv(x)) + noise


@pytest.mark.parametrize('f', [arithmetic, receptive_field, lambda m, s: gradient_probe(m, s, row=1, col=1), lambda m, s: effective_receptive_field(m, torch.rand(s, generator=torch.Generator()), row=1, col=1)])
@pytest.mark.filterwarnings('default')
def test_what_must_not_change_is_put_back(f):
    net = Restless()
    before, states = {k: v.clone() for k, v in net.state_dict().items()}, (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())
    f(net, SIZE)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items()) and len(net.conv._forward_hooks) == 0 and net.bn.training
    assert random.getstate() == states[0] and np.random.get_state()[1].tolist() == states[1] and torch.equal(torch.get_rng_state(), states[2])


def test_threads():
    "Two threads trace, forty times in all, while a third uses the model: it may find it in evaluation mode, and notices nothing else."
    net = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Dropout(.5), nn.Conv2d(4, 4, 3)).train()
    done, tables = threading.Event(), []

    def trace():
        for i in range(20): tables.append(totals(arithmetic(net, SIZE)) if i % 2 else receptive_field(net, SIZE).size)

    def use():
        while not done.is_set(): calls.append(net(torch.rand(2, *SIZE)).requires_grad)
    calls, threads, user = [], [threading.Thread(target=trace) for _ in range(2)], threading.Thread(target=use)
    user.start()
    for t in threads: t.start()
    for t in threads: t.join()
    done.set()
    user.join()
    assert len(tables) == 40 and tables.count((5, 5)) == 20 and len({str(t) for t in tables}) == 2
    assert all(calls) and all(m.training for m in net.modules()) and not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert not torch.nn.modules.module._global_forward_hooks and not torch.nn.modules.module._global_forward_pre_hooks


# Errors

def test_errors_are_the_models_own():
    class Fails(nn.Module):
        def __init__(self, error):
            super().__init__()
            self.conv, self.error = nn.Conv2d(4, 4, 3), error

        def forward(self, x):
            self.conv(x)
            raise self.error
    own = KeyError('missing')
    with pytest.raises(ValueError, match=r"Sequential fails on input_size=\(4, 8, 8\) \(without the batch\), in layer '0' \(Fails\): 'missing'") as e: arithmetic(nn.Sequential(Fails(own)), SIZE)
    assert isinstance(e.value.__cause__, KeyError)
    with pytest.raises(MemoryError) as e: arithmetic(nn.Sequential(Fails(MemoryError('full'))), SIZE)
    assert "in layer '0' (Fails)" in e.value.__notes__[0]
    with pytest.raises(KeyboardInterrupt): arithmetic(Fails(KeyboardInterrupt()), SIZE)

    class Forgives(nn.Module):
        def __init__(self):
            super().__init__()
            self.bad, self.good = nn.Conv2d(7, 4, 3), nn.Conv2d(4, 4, 3)

        def forward(self, x):
            try: return self.bad(x)
            except RuntimeError: return self.good(x)
    assert arithmetic(Forgives(), SIZE).name.tolist() == ['good'] and totals(arithmetic(Forgives(), SIZE))['unused'] == 4*63+4


@pytest.mark.filterwarnings('default')
def test_a_fault_of_ours_is_called_ours(monkeypatch):
    import convlab.trace.tracing
    def broken(c): raise ZeroDivisionError('oops')
    monkeypatch.setattr(convlab.trace.tracing, 'find_rule', broken)
    with pytest.warns(UserWarning, match=r'a fault of convlab, not of the model: ZeroDivisionError at aten::convolution \(oops\)'): df = arithmetic(after_conv(F.relu), SIZE)
    assert df.multiplications.tolist()[0] == 64*4*36 and df['receptive field'].iloc[-1] == math.inf


@pytest.mark.parametrize('x,error,text', [
    (np.zeros((1, 4, 8, 8)), TypeError, 'x must be a tensor'), (torch.zeros(4, 8), ValueError, 'x must be a tensor .* got shape'), (torch.zeros(1, 4, 8, 8, dtype=torch.uint8), TypeError, 'fractions'),
    (torch.zeros(1, 4, 8, 8, device='meta'), ValueError, 'device meta'), (torch.zeros(1, 5, 8, 8), ValueError, 'fails on input_size')])
def test_bad_images_for_the_effective_field(x, error, text):
    with pytest.raises(error, match=text): effective_receptive_field(after_conv(F.relu), x, row=1, col=1)


def test_effective_field_in_other_precisions():
    net = after_conv(F.relu)
    for dtype in (torch.bfloat16, torch.float64, torch.float16): assert effective_receptive_field(net, torch.rand(2, *SIZE).to(dtype), row=3, col=3).sum() == pytest.approx(1, abs=1e-3)
    with pytest.raises(ValueError, match='model must have numbers'): effective_receptive_field(after_conv(F.relu).to('meta'), torch.rand(1, *SIZE), row=1, col=1)


# The table's columns

def test_kernels_as_the_layer_has_them():
    for layer in (nn.MaxPool1d(3, 2, 1), nn.AvgPool1d(3, 2, 1), nn.Conv1d(2, 2, 3, 2, 1), nn.Conv1d(2, 2, 3, 2, 1, padding_mode='reflect'), nn.Conv1d(2, 2, 3, 2, 1, padding_mode='circular')):
        assert arithmetic(layer, (2, 20))[['kernel', 'stride', 'padding']].values.tolist() == [[3, 2, 1]]
    for mode in ('zeros', 'reflect', 'replicate', 'circular'):
        df = arithmetic(nn.Conv2d(2, 2, (3, 5), padding=(1, 2), padding_mode=mode), (2, 9, 9))
        assert df[['kernel row', 'kernel col', 'padding row', 'padding col']].values.tolist() == [[3, 5, 1, 2]]
    assert df[['kernel', 'padding']].values.tolist() == [[5, 2]]
    t = trace_model(nn.Sequential(nn.Conv2d(4, 4, 3), nn.ConvTranspose2d(4, 2, 2, 2)), SIZE)
    assert [(r.kernel, r.stride, r.padding, r.jump, r.depth, r.bytes) for r in t.rows] == [((3, 3), (1, 1), (0, 0), (1, 1), 1, 576), ((2, 2), (2, 2), (0, 0), (.5, .5), 1, 1152)]
    assert trace_model(Hooked(in_list), SIZE).uncalled == [] and trace_model(models.googlenet(weights=None, init_weights=False), (3, 64, 64)).uncalled[0] == 'aux1.conv.conv'
