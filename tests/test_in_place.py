"The model itself is run, for real, and what it must not lose is put back: families of what shows a pretence, of shared memory, of threads."
import concurrent.futures
import itertools
import random
import threading
import types
import warnings
import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad

from convlab.arithmetic import arithmetic, totals
from convlab.receptive import effective_receptive_field, gradient_probe, image_box, projective_field, receptive_field, trace_precedents
from convlab.trace.tracing import trace_model
from nets import L

SIZE = (2, 8, 8)


def conv(i=2, o=2, ks=3): return nn.Conv2d(i, o, ks, padding=ks//2)


def either(choose):
    "A convolution of 3 by 3 where `choose` says yes, as it does in life, and one of 5 by 5 in any pretence."
    return L(lambda self, x: self.a(x) if choose(self, x) else self.b(x), a=conv(), b=conv(ks=5))


FUNCTIONS = {
    'arithmetic': lambda m: totals(arithmetic(m, SIZE)), 'field': lambda m: receptive_field(m, SIZE).size,
    'precedents': lambda m: image_box(trace_precedents(m, SIZE, row=3, col=4)), 'probe': lambda m: gradient_probe(m, SIZE, row=3, col=4),
    'effective': lambda m: int((effective_receptive_field(m, torch.rand(1, *SIZE, generator=torch.Generator()), row=3, col=4) > 0).sum())}
ANSWERS = {'arithmetic': dict(params=140, unused=102, multiplications=64*36), 'field': (3, 3), 'precedents': ((2, 5), (3, 6)), 'probe': ((2, 5), (3, 6)),
           'effective': 9}


# Family 1: a pretence would show

def swallows(self, x):
    try: return not bool(x.sum() > 1e9)
    except Exception: return False


def mark(self, x): return self.mode is MARK


def raising(self, x):
    try: return self.odd.absent
    except KeyError: return True


MARK = object()


class Attributes(dict):
    def __getattr__(self, k): return self[k]
    __setattr__ = dict.__setitem__


class Stack(list):
    def top(self): return self[-1]


CHOICES = {
    'is_cpu': lambda s, x: x.is_cpu, 'device': lambda s, x: x.device.type == 'cpu', 'is_meta': lambda s, x: not x.is_meta, 'class': lambda s, x: type(x) is torch.Tensor,
    'address': lambda s, x: x.data_ptr() != 0, 'weight device': lambda s, x: s.a.weight.device.type == 'cpu', 'a number': lambda s, x: bool(x.sum() < 1e9),
    'in a try': swallows, 'finite': lambda s, x: bool(x.isfinite().all()), 'not equal': lambda s, x: not torch.equal(x, x+1), 'storage': lambda s, x: x.untyped_storage().nbytes() > 0,
    'its own class': lambda s, x: type(s).__name__ == 'L' and type(s.a) is nn.Conv2d, 'evaluation': lambda s, x: not s.training, 'no gradient needed': lambda s, x: s.a.weight.requires_grad,
    'same memory': lambda s, x: x[0].untyped_storage().data_ptr() == x.untyped_storage().data_ptr(), 'numbers': lambda s, x: len(x.detach().flatten().tolist()) == 128}
STATE = {
    'attributes': lambda s: (lambda m, x: m.cfg.on, dict(cfg=Attributes(on=True))), 'a list of a class': lambda s: (lambda m, x: m.stack.top(), dict(stack=Stack([True]))),
    'a mark': lambda s: (mark, dict(mode=MARK)), 'a dict that raises': lambda s: (raising, dict(odd=Attributes())), 'a proxy': lambda s: (lambda m, x: m.proxies[0].ks == 1, dict(proxies=[weakref.proxy(s)])),
    'a generator': lambda s: (lambda m, x: next(m.g) >= 0, dict(g=(i for i in range(99)))), 'a counter': lambda s: (lambda m, x: next(m.g) >= 0, dict(g=itertools.count())),
    'a namespace': lambda s: (lambda m, x: m.ns is m.same, dict(ns=s, same=s)), 'a lock': lambda s: (lambda m, x: m.lock.acquire(blocking=False) and not m.lock.release(), dict(lock=threading.Lock())),
    'bytes': lambda s: (lambda m, x: m.bytes[0] == 1, dict(bytes=bytearray(b'\x01'))), 'an array': lambda s: (lambda m, x: m.array is m.arrays[0], dict(arrays=[(a := np.ones(2))], array=a)),
    'a class': lambda s: (lambda m, x: isinstance(m.made, m.kind), dict(kind=Stack, made=Stack())), 'a bound method': lambda s: (lambda m, x: m.method.__self__ is m.owner, dict(owner=s, method=s.get)),
}


class Thing(types.SimpleNamespace):
    def get(self): return self


@pytest.mark.parametrize('function', FUNCTIONS)
@pytest.mark.parametrize('choice', CHOICES)
def test_the_branch_that_is_taken_in_life(choice, function):
    if choice == 'numbers' and function in ('probe', 'effective'): pytest.skip('the gradient may hear of it')
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'values of the image leave')
        assert FUNCTIONS[function](either(CHOICES[choice])) == ANSWERS[function]


@pytest.mark.parametrize('function', FUNCTIONS)
@pytest.mark.parametrize('state', STATE)
def test_state_of_every_kind_is_the_models_own(state, function):
    choose, parts = STATE[state](thing := Thing(ks=1))
    net = either(choose)
    for k, v in parts.items(): setattr(net, k, v)
    assert FUNCTIONS[function](net) == ANSWERS[function] and thing.ks == 1


HOOKS = {
    'default argument': lambda m, kept: m.a.register_forward_hook(lambda m, i, o, kept=kept: kept.__setitem__('out', o)),
    'closure': lambda m, kept: m.a.register_forward_hook(lambda m, i, o: kept.update(out=o)),
    'keyword only': lambda m, kept: m.a.register_forward_hook(lambda m, i, o, *, kept=kept: kept.update(out=o)),
    'partial': lambda m, kept: m.a.register_forward_hook(__import__('functools').partial(lambda kept, m, i, o: kept.update(out=o), kept)),
    'pre hook': lambda m, kept: m.b.register_forward_pre_hook(lambda m, i: kept.setdefault('seen', True) and None) and m.a.register_forward_hook(lambda m, i, o: kept.update(out=o))}


@pytest.mark.parametrize('hook', HOOKS)
def test_hooks_that_keep_what_they_see(hook):
    kept = {}
    net = L(lambda self, x: self.b((self.a(x), kept['out'])[1]), a=conv(), b=conv())
    HOOKS[hook](net, kept)
    assert receptive_field(net, SIZE).size == (5, 5) and totals(arithmetic(net, SIZE)) == dict(params=76, unused=0, multiplications=2*64*36)
    assert not kept['out'].is_meta and kept['out'].isfinite().all() and len(net.a._forward_hooks) == 1


@pytest.mark.parametrize('context', [lambda: torch.device('meta'), torch.inference_mode, torch.enable_grad, torch.no_grad, lambda: torch.autocast('cpu', torch.bfloat16)])
def test_whatever_the_caller_has_set(context):
    net, want = nn.Sequential(conv(), nn.BatchNorm2d(2), nn.ReLU()), dict(ANSWERS, arithmetic=dict(params=42, unused=0, multiplications=64*36))
    x = torch.rand(1, *SIZE)
    for name, f in FUNCTIONS.items():
        if name == 'effective': continue
        with context(): assert f(net) == want[name], name
    with context(): assert (effective_receptive_field(net, x, row=3, col=4) > 0).sum() == 9


def test_default_dtype_of_the_caller():
    def folded(self, x): return F.fold(F.unfold(self.a(x), 3, padding=1), (8, 8), 3, padding=1)
    def sampled(self, x): return F.grid_sample(folded(self, x), F.affine_grid(torch.eye(2, 3, dtype=x.dtype)[None], (1, 2, 8, 8), align_corners=True), 'nearest', align_corners=True)
    torch.set_default_dtype(torch.float64)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            net = L(folded, a=conv())
            assert receptive_field(net, SIZE).status == 'upper bound' and image_box(trace_precedents(net, SIZE)) == ((0, 8), (0, 8))
            assert receptive_field(L(sampled, a=conv()), SIZE).status == 'upper bound'
    finally: torch.set_default_dtype(torch.float32)


def test_inside_of_what_was_compiled():
    "Compiled parts run as written while they are followed, and are compiled when their turn comes."
    graphs = []
    def backend(graph, inputs): return graphs.append(graph) or graph.forward
    def twice(x): return x*2
    for make in (lambda: torch.compile(conv(), backend=backend), lambda: nn.Sequential(torch.compile(nn.Sequential(conv(), nn.ReLU()), backend=backend)),
                 lambda: L(lambda self, x: self.g(self.a(x)), a=conv(), g=torch.compile(twice, backend=backend))):
        torch._dynamo.reset()
        graphs.clear()
        net = make().eval()
        for f in FUNCTIONS.values(): f(net)
        assert totals(arithmetic(net, SIZE)) == dict(params=38, unused=0, multiplications=64*36) and not graphs
        net(torch.rand(1, *SIZE))
        assert len(graphs) == 1
        for f in FUNCTIONS.values(): f(net)
        assert len(graphs) == 1


def test_traces_in_threads_leave_the_compiler_alone():
    before = torch._dynamo.eval_frame._stance
    net = conv()
    with concurrent.futures.ThreadPoolExecutor(4) as pool: assert set(pool.map(lambda i: receptive_field(net, SIZE).size, range(24))) == {(3, 3)}
    assert torch._dynamo.eval_frame._stance == before and net.training and not net._forward_hooks and not net._forward_pre_hooks


@pytest.mark.parametrize('draw', [random.random, np.random.rand, lambda: torch.rand(1, dtype=torch.float64).item()])
def test_other_threads_are_not_dealt_the_same_numbers_twice(draw):
    net = L(lambda self, x: self.a(x) + torch.rand(1) + random.random() + np.random.rand(), a=conv())
    drawn, done = [], threading.Event()
    def use():
        while not done.is_set(): drawn.append(draw())
    user = threading.Thread(target=use)
    user.start()
    for _ in range(20): receptive_field(net, SIZE)
    done.set()
    user.join()
    assert len(drawn) > 100 and len(set(drawn)) == len(drawn)


def test_a_trace_inside_of_a_trace():
    net, inner = L(lambda self, x: self.b(self.a(x)), a=conv(), b=conv()), []
    net.a.register_forward_hook(lambda m, i, o: inner.append((totals(arithmetic(net.b, SIZE)), receptive_field(net.b, SIZE).size)) or None)
    assert totals(arithmetic(net, SIZE)) == dict(params=76, unused=0, multiplications=2*64*36) and receptive_field(net, SIZE).size == (5, 5)
    assert inner == [(dict(params=38, unused=0, multiplications=64*36), (3, 3))]*2 and net.b.training and not net.b._forward_hooks


# What is put back

def renamed(m):
    m.a.weight = nn.Parameter(torch.zeros_like(m.a.weight))
    m.a.register_parameter('more', nn.Parameter(torch.zeros(1)))


DAMAGE = {
    'in place': lambda m: m.a.weight.data.mul_(0), 'through a view': lambda m: m.a.weight.data[0].zero_(), 'other memory': lambda m: setattr(m.a.weight, 'data', m.a.weight.data*2),
    'another parameter': renamed, 'a buffer': lambda m: m.bn.running_mean.add_(1), 'another buffer': lambda m: setattr(m.bn, 'running_mean', torch.ones(2)), 'deleted': lambda m: m.bn.register_buffer('running_var', None),
    'training': lambda m: m.bn.train(), 'frozen': lambda m: m.requires_grad_(False), 'a hook': lambda m: m.a.register_forward_hook(lambda *a: None), 'a pre hook': lambda m: m.a.register_forward_pre_hook(lambda *a: None),
    'hooks cleared': lambda m: m.a._forward_hooks.clear(), 'copied': lambda m: m.a.bias.data.copy_(torch.ones(2)), 'filled': lambda m: nn.init.zeros_(m.a.weight), 'statistics': lambda m: m.bn.train()(torch.rand(4, 2, 3, 3)),
    'shape': lambda m: m.a.bias.data.resize_(1), 'seeds': lambda m: (torch.manual_seed(0), random.seed(0), np.random.seed(0)), 'numbers': lambda m: (torch.rand(3), random.random(), np.random.rand()),
    'eval of a part': lambda m: m.a.eval(), 'load': lambda m: m.a.load_state_dict({k: v*0 for k, v in m.a.state_dict().items()})}


def seen_state(m):
    tensors = [(k, id(v), v.data_ptr(), v.clone(), v.requires_grad) for k, v in (*m.named_parameters(), *m.named_buffers())]
    hooks = [[*h] for k in m.modules() for h in (k._forward_hooks, k._forward_pre_hooks, k._forward_hooks_with_kwargs, k._forward_pre_hooks_with_kwargs, k._forward_hooks_always_called)]
    return tensors, [k.training for k in m.modules()], hooks, random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


@pytest.mark.parametrize('shared', [False, True])
@pytest.mark.parametrize('error', [None, RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize('damage', DAMAGE)
def test_put_back(damage, error, shared):
    def forward(self, x):
        y = self.bn(self.a(x))
        DAMAGE[damage](self)
        if error: raise error('now')
        return y
    net = L(forward, a=conv(), bn=nn.BatchNorm2d(2)).train()
    if shared: nn.utils.vector_to_parameters(nn.utils.parameters_to_vector(net.parameters()), net.parameters())
    net.a.register_forward_hook(lambda m, i, o: None)
    net.bn.eval()
    before = seen_state(net)
    for f in (arithmetic, receptive_field, lambda m, s: gradient_probe(m, s, row=1, col=1), lambda m, s: effective_receptive_field(m, torch.ones(1, *s), row=1, col=1)):
        try: f(net, SIZE)
        except (ValueError, RuntimeError, KeyboardInterrupt) as e: assert error or 'inplace operation' in str(e)  # of what the gradient needs
        else: assert not error
        after = seen_state(net)
        assert after[1:] == before[1:]
        assert all(a[:3] == b[:3] and torch.equal(a[3], b[3]) and a[4] == b[4] for a, b in zip(after[0], before[0], strict=True))


@pytest.mark.parametrize('had', [False, True])
def test_gradients_are_put_back(had):
    def forward(self, x):
        with torch.enable_grad(): self.a(x.detach()).sum().backward()
        return self.a(x)
    net = L(forward, a=conv())
    if had:
        for p in net.parameters(): p.grad = torch.ones_like(p)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # derivatives have no rule
        for f in (arithmetic, receptive_field): f(net, SIZE)
    assert all((p.grad == 1).all() if had else p.grad is None for p in net.parameters())


def clears(*which):
    def forward(self, x):
        for m in self.modules() if 'all' in which else [getattr(self, name) for name in which]:
            m._forward_hooks.clear()
            m._forward_pre_hooks.clear()
        return self.b(self.a(x))
    return forward


class ClearsItsOwn(nn.Conv2d):
    def forward(self, x):
        self._forward_hooks.clear()
        return super().forward(x)


@pytest.mark.parametrize('net,names', [
    (L(clears('a'), a=conv(), b=conv()), "'a'"), (L(clears('a', 'b'), a=conv(), b=conv()), "'a', 'b'"), (L(clears('all'), a=conv(), b=conv()), "'the model', 'a', 'b'"),
    (nn.Sequential(conv(), ClearsItsOwn(2, 2, 3), conv()), "'1'"), (ClearsItsOwn(2, 2, 3), "'the model'")], ids=['one', 'two', 'all', 'its own', 'the model'])
def test_a_forward_that_takes_hooks_away_is_told(net, names):
    with pytest.warns(UserWarning, match=f'forward takes the hooks away from {names}'): table = arithmetic(net, SIZE)
    assert totals(table)['params'] == sum(p.numel() for p in net.parameters())
    if len(net._modules) < 2: return
    with pytest.warns(UserWarning, match='is not seen'): assert receptive_field(net, SIZE).size[0] in (5, 7)


def test_a_layer_that_fails_and_is_passed_over_is_in_the_table():
    class Fails(nn.Conv2d):
        def forward(self, x): return super().forward(x)[9, 9, 9]

    def forward(self, x):
        try: return self.a(x)
        except IndexError: return self.b(x)
    table = arithmetic(L(forward, a=Fails(2, 2, 3), b=conv()), SIZE)
    table = table.df.sort_values('name')
    assert table.name.tolist() == ['a', 'b'] and table.params.tolist() == [38, 38] and table.multiplications.tolist() == [36*36, 64*36]
    assert table.activations.tolist() == [0, 128] and table['receptive field'].tolist()[1] == 3


def test_the_generators_of_every_gpu_are_put_back(monkeypatch):
    was, put = [torch.zeros(16, dtype=torch.uint8), torch.ones(16, dtype=torch.uint8)], []
    for name, value in (('is_initialized', lambda: True), ('get_rng_state_all', lambda: was), ('set_rng_state_all', put.append)): monkeypatch.setattr(torch.cuda, name, value)
    receptive_field(conv(), SIZE)
    assert put == [was]


# Family 2: parameters that share memory

def joined(*layers):
    net = nn.Sequential(*layers)
    nn.utils.vector_to_parameters(nn.utils.parameters_to_vector(net.parameters()), net.parameters())
    return net


def same_data(make):
    a, b = make(), make()
    b.weight.data = a.weight.data
    return nn.Sequential(a, b)


@pytest.mark.parametrize('net,size,params', [
    (joined(conv(), conv(), conv()), SIZE, [38, 38, 38]), (joined(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2)), (4,), [20, 8, 10]), (joined(nn.BatchNorm2d(2), conv(), nn.PReLU()), SIZE, [4, 38, 1]),
    (same_data(conv), SIZE, [38, 38]), (same_data(lambda: nn.Linear(4, 4)), (4,), [20, 20]), (same_data(lambda: nn.Conv1d(2, 2, 1, bias=False)), (2, 5), [4, 4]),
    (nn.Sequential(a := nn.Linear(4, 4), nn.ReLU(), a), (4,), [20, 0, 0])])
def test_parameters_are_booked_where_they_are_used(net, size, params):
    table = arithmetic(net, size)
    assert table.params.tolist() == params and totals(table)['params'] == sum(p.numel() for p in net.parameters()) and not len(table.unused)


def test_a_layer_never_called_is_never_used():
    net = L(lambda self, x: self.a(x), a=conv(), never=conv())
    nn.utils.vector_to_parameters(nn.utils.parameters_to_vector(net.parameters()), net.parameters())
    assert arithmetic(net, SIZE).unused.values.tolist() == [['never', 'Conv2d', 38, 'never called']]


class Positions(nn.Module):
    "Tokens and their places, as in GPT-2, with the first table tied to the last layer."
    def __init__(self):
        super().__init__()
        self.tokens, self.places, self.head = nn.Embedding(10, 4), nn.Embedding(8, 4), nn.Linear(4, 10, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, i): return self.head(self.tokens(i) + self.places(torch.arange(i.shape[1])))


@pytest.mark.parametrize('net,give,want', [
    (Positions(), dict(inputs=torch.zeros(1, 6, dtype=torch.long)), {'tokens': 40, 'places': 32, 'head': 0}),
    (L(lambda self, x: x*self.fc(torch.ones(3)).view(1, 2, 1, 1), fc=nn.Linear(3, 2)), dict(input_size=SIZE), {'fc': 8}),
    (L(lambda self, x: x + self.grid(torch.rand(1, 2, 8, 8)), grid=conv()), dict(input_size=SIZE), {'grid': 38}),
    (L(lambda self, x: self.a(x + self.norm(torch.ones(8))), a=conv(), norm=nn.LayerNorm(8)), dict(input_size=SIZE), {'norm': 16, 'a': 38})])
def test_layers_called_on_constants_have_their_parameters(net, give, want):
    table = arithmetic(net, **give)
    assert dict(zip(table.name, table.params)) | want == dict(zip(table.name, table.params)) and totals(table)['unused'] == 0
    assert totals(table)['params'] == sum(p.numel() for p in net.parameters())


# Family 6: threads inside of forward

def in_pool(f):
    def forward(self, x):
        with concurrent.futures.ThreadPoolExecutor(2) as pool: return torch.cat([*pool.map(lambda layer: f(layer, x), (self.a, self.b))], 1)
    return forward


def in_thread(self, x):
    out = []
    thread = threading.Thread(target=lambda: out.append(self.a(x)))
    thread.start()
    thread.join()
    return self.b(out[0])


def functional(layer, x): return F.conv2d(x, layer.weight, layer.bias, padding=1)
def pooled(layer, x): return F.max_pool2d(x, 3, 1, 1)


WORK = {'layers': in_pool(lambda layer, x: layer(x)), 'a thread': in_thread, 'functions of parameters': in_pool(functional), 'functions': in_pool(pooled), 'layers and functions': in_pool(lambda layer, x: layer(x).relu()),
        'before a layer': in_pool(lambda layer, x: layer(x*2))}


@pytest.mark.parametrize('work', WORK)
def test_work_in_other_threads_is_seen_or_said(work):
    net = L(WORK[work], a=conv(), b=conv())
    with pytest.warns(UserWarning, match='another thread'): table = arithmetic(net, SIZE)
    known = table[table.name.isin(['a', 'b']) & (table.type == 'Conv2d')]
    assert (known.multiplications.isna() | (known.multiplications == 2304)).all()
    if work == 'layers':
        assert known.params.tolist() == [38, 38] and known.multiplications.isna().all() and set(table.status) == {'upper bound'}
        with pytest.warns(UserWarning, match='another thread'): assert receptive_field(net, SIZE).status == 'upper bound'


def started(f):
    "What `f` returns in a thread of its own, which has ended when it is used."
    out = []
    thread = threading.Thread(target=lambda: out.append(f()))
    thread.start()
    thread.join()
    return out[0]


CONSTANT = {'a kernel': lambda self, x: F.conv2d(x, self.k, padding=1), 'a product': lambda self, x: x @ self.m, 'a pool': lambda self, x: F.max_pool2d(x, 3, 1, 1)}


@pytest.mark.parametrize('work', CONSTANT)
def test_functions_without_parameters_in_another_thread_are_said(work):
    net = L(lambda self, x: self.a(x) + started(lambda: CONSTANT[work](self, x)), a=conv(), k=torch.ones(2, 2, 3, 3), m=torch.eye(8))
    with pytest.warns(UserWarning, match='another thread of the model .* not followed, and not counted'): arithmetic(net, SIZE)
    net = L(lambda self, x: started(lambda: CONSTANT[work](self, x)), k=torch.ones(2, 2, 3, 3), m=torch.eye(8))
    with pytest.warns(UserWarning, match='nothing that the model returns is known to depend on the input'): arithmetic(net, SIZE)


def test_a_constant_of_the_models_own_making_is_no_other_thread():
    kernel = torch.ones(2, 2, 3, 3)[None][0]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        arithmetic(L(lambda self, x: F.conv2d(self.a(x), kernel) + torch.from_numpy(np.ones((1, 1, 6, 6), np.float32)), a=conv()), SIZE)


def test_somebody_else_uses_the_model_meanwhile():
    "A call of another thread on an image of its own is no part of the trace."
    net, ready, done = nn.Sequential(conv(), conv()), threading.Event(), threading.Event()
    def use():
        while not done.is_set():
            net(torch.rand(1, *SIZE))
            ready.set()
    user = threading.Thread(target=use)
    user.start()
    ready.wait()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            for _ in range(10): assert totals(arithmetic(net, SIZE)) == dict(params=76, unused=0, multiplications=2*64*36) and len(arithmetic(net, SIZE)) == 2
    finally:
        done.set()
        user.join()


# Errors, and what PyTorch has besides

def test_rows_up_to_the_layer_that_fails():
    net = nn.Sequential(conv(), nn.ReLU(), nn.Sequential(conv(), conv(5)))
    with pytest.raises(ValueError, match=r"in layer '2.1' \(Conv2d\)") as e: arithmetic(net, SIZE)
    assert [r.name for r in e.value.rows] == ['0', '1', '2.0'] and 'the last layers that ran: 0 (1, 2, 8, 8), 1' in e.value.__notes__[0]


def test_choices_are_followed_and_nested_tensors_refused():
    net = L(lambda self, x: torch.cond(x.sum() > 0, self.a, self.b, (x,)), a=conv(), b=conv(ks=5))
    assert totals(arithmetic(net, SIZE))['multiplications'] == 64*36 and receptive_field(net, SIZE).status == 'depends on the data'
    for layout in (torch.strided, torch.jagged):
        with warnings.catch_warnings(), pytest.raises(ValueError, match='nested tensors are not followed'):
            warnings.simplefilter('ignore')
            arithmetic(L(lambda self, x: torch.nested.nested_tensor([x[0, 0], x[0, 1, :4]], layout=layout)*2), SIZE)


@pytest.mark.parametrize('layout', [torch.strided, torch.jagged])
@pytest.mark.parametrize('give', [lambda x: x, lambda x: dict(x=x), lambda x: (torch.rand(1, 2), x), lambda x: ([torch.rand(1, 2), [x]],)])
@pytest.mark.filterwarnings('ignore:The PyTorch API of nested tensors')
def test_nested_tensors_are_refused_as_inputs(give, layout):
    x = torch.nested.nested_tensor([torch.rand(3, 4), torch.rand(2, 4)], layout=layout)
    with pytest.raises(TypeError, match='nested tensors are not followed'): arithmetic(L(lambda self, *args, **kwargs: x), inputs=give(x))


DERIVED = {'conv': lambda s, x: s.a(x)**2, 'relu': lambda s, x: s.a(x).relu(), 'maximum': lambda s, x: F.max_pool2d(s.a(x), 2), 'mean': lambda s, x: F.avg_pool2d(s.a(x), 2)**2, 'softmax': lambda s, x: s.a(x).softmax(-1)**2,
           'joined': lambda s, x: torch.cat([s.a(x), x], 1)**2, 'batch norm': lambda s, x: s.bn(s.a(x))**2, 'layer norm': lambda s, x: F.layer_norm(s.a(x), (8, 8))**2, 'nearest': lambda s, x: F.interpolate(s.a(x), scale_factor=2)**2,
           'bilinear': lambda s, x: F.interpolate(s.a(x), scale_factor=2., mode='bilinear')**2, 'attention': lambda s, x: F.scaled_dot_product_attention(x, x, x)**2, 'mirrored': lambda s, x: F.pad(s.a(x), (1, 1, 1, 1), mode='reflect')**2,
           'unfolded': lambda s, x: F.unfold(s.a(x), 3)**2, 'transposed': lambda s, x: s.t(x)**2, 'group norm': lambda s, x: F.group_norm(s.a(x), 1)**2, 'running sum': lambda s, x: x.cumsum(-1)**2}


@pytest.mark.parametrize('way', ['autograd', 'func', 'backward'])
@pytest.mark.parametrize('name', DERIVED)
def test_derivatives_inside_of_forward_are_followed_loosely(name, way):
    "Without a fault of ours, and nothing that depends on the image is left out."
    def forward(self, x):
        f = DERIVED[name]
        if way == 'func': return torch.func.grad(lambda x: f(self, x).sum())(x)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            if way == 'autograd': return torch.autograd.grad(f(self, x).sum(), x)[0]
            f(self, x).sum().backward()
            return x.grad
    net = L(forward, a=conv(), bn=nn.BatchNorm2d(2), t=nn.ConvTranspose2d(2, 2, 2, 2))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        field = receptive_field(net, SIZE)
        arithmetic(net, SIZE)
    assert not any('fault of convlab' in str(w.message) for w in said)
    net.double()
    at = torch.zeros(1, *SIZE, dtype=torch.float64)
    at[..., 4, 4] = 1
    x = torch.rand(1, *SIZE, dtype=torch.float64)
    net.eval()
    moved = (net(x + 1e-3*at) - net(x)).abs().amax((0, 1)).nonzero()
    spans = [int((moved[:, d] - 4).abs().max()) for d in (0, 1)] if len(moved) else [0, 0]
    assert all(size == 8 or size >= 2*span + 1 for size, span in zip(field.size, spans))
    assert field.status != 'exact' or name == 'running sum'


FORWARD = {
    'jvp': lambda f, x: torch.func.jvp(f, (x,), (torch.ones_like(x),))[1], 'jacfwd': lambda f, x: torch.func.jacfwd(f)(x).flatten(-4).sum(-1),
    'jacrev': lambda f, x: torch.func.jacrev(f)(x).flatten(-4).sum(-1), 'dual level': lambda f, x: dual(f, x)}


def dual(f, x):
    with forward_ad.dual_level(): return forward_ad.unpack_dual(f(forward_ad.make_dual(x, torch.ones_like(x)))).tangent


@pytest.mark.parametrize('way', FORWARD)
@pytest.mark.parametrize('name', DERIVED)
def test_derivatives_that_run_along_are_upper_bounds(name, way):
    "What one pixel moves is among what it is said to reach."
    if name == 'attention' and way != 'jacrev': pytest.skip('PyTorch has no such derivative')
    net = L(lambda self, x: FORWARD[way](lambda x: DERIVED[name](self, x), x), a=conv(), bn=nn.BatchNorm2d(2), t=nn.ConvTranspose2d(2, 2, 2, 2)).double().eval()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        warnings.filterwarnings('error', 'a fault of convlab')
        assert receptive_field(net, SIZE).status != 'exact' or (name, way) == ('running sum', 'jacrev')
        reached = projective_field(net, SIZE, row=4, col=3)
    x, at = torch.rand(1, *SIZE, dtype=torch.float64), torch.zeros(1, *SIZE, dtype=torch.float64)
    at[..., 4, 3] = 1e-3
    moved = (net(x + at) - net(x))[0] != 0
    assert not ((moved.any(0) if reached.dim() == 2 and moved.dim() == 3 else moved) & ~reached).any()


INSIDE = {'vmap': lambda s, x: torch.vmap(lambda r: s.a(r[None])[0])(x), 'jvp': lambda s, x: torch.func.jvp(s.a, (x,), (x,))[1],
          'grad': lambda s, x: torch.func.grad(lambda y: s.a(y).sum())(x), 'both': lambda s, x: torch.vmap(torch.func.grad(lambda y: s.a(y[None]).sum()))(x),
          'functional call': lambda s, x: torch.func.functional_call(s.a, dict(s.a.named_parameters()), x)}


@pytest.mark.parametrize('way', INSIDE)
def test_layers_inside_of_transforms_have_fields(way):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        net = L(INSIDE[way], a=conv())
        field, row = receptive_field(net, SIZE, 'a'), arithmetic(net, SIZE).iloc[0]
    assert field.size == (3, 3) and field.box(row=4, col=3) == ((3, 6), (2, 5))
    assert (row['name'], row['receptive field'], row.status) == ('a', 3, 'upper bound' if way == 'jvp' else 'exact')


def test_what_traces_a_function_is_refused_by_name():
    with pytest.raises(ValueError, match='torch.func.linearize, cannot be followed'): arithmetic(L(lambda s, x: torch.func.linearize(s.a, x)[1](x), a=conv()), SIZE)


class Grows(nn.Module):
    "Makes layers while it runs."
    def __init__(self, grow):
        super().__init__()
        self.a, self.list, self.block, self.grow = conv(), nn.ModuleList([conv()]), nn.Sequential(conv()), grow

    def forward(self, x):
        self.grow(self)
        for m in (self.a, *self.list, self.block): x = m(x)
        return x


GROW = {"'a'": lambda s: setattr(s, 'a', conv()), "'list.1'": lambda s: s.list.append(conv()), "'list.0'": lambda s: s.list.__setitem__(0, conv()),
        "'block.0'": lambda s: s.block.__setitem__(0, conv()), "'block', 'block.0', 'block.1'": lambda s: setattr(s, 'block', nn.Sequential(conv(), nn.ReLU())),
        "'late'": lambda s: hasattr(s, 'late') or setattr(s, 'late', conv())}


@pytest.mark.parametrize('names', GROW)
def test_layers_that_forward_makes_are_told(names):
    with pytest.warns(UserWarning, match=f'forward makes the layer {names} while it runs'): table = arithmetic(Grows(GROW[names]), SIZE)
    assert table.multiplications.sum() >= 3*64*36  # all that ran


@pytest.mark.filterwarnings('error')
def test_layers_that_change_places_are_not_new():
    def swap(s): s.a, s.list[0] = s.list[0], s.a
    assert totals(arithmetic(Grows(swap), SIZE)) == dict(params=114, unused=0, multiplications=3*64*36)


def test_fake_tensors_are_refused():
    from torch._subclasses import FakeTensorMode
    with FakeTensorMode(): fake = conv()
    with pytest.raises(ValueError, match='FakeTensorMode'): arithmetic(fake, SIZE)
    with FakeTensorMode(), pytest.raises(ValueError, match='FakeTensorMode'): arithmetic(conv(), SIZE)


def test_deep_models_and_attributes_of_ones_own():
    net = conv()
    for _ in range(160): net = nn.Sequential(net)
    assert receptive_field(net, SIZE).size == (3, 3) and gradient_probe(net, SIZE, row=2, col=2) == ((1, 4), (1, 4))

    class Own(nn.Module):
        padding_mode = 'reflect'
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.rand(2, 2, 3, 3))

        def forward(self, x): return F.conv2d(x, self.weight)
    assert arithmetic(Own(), SIZE)[['kernel', 'padding']].values.tolist() == [[3, 0]]


def test_models_without_numbers_stay_so():
    with torch.device('meta'): net = nn.Sequential(conv(), nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
    assert totals(arithmetic(net, SIZE)) == totals(arithmetic(net, inputs=torch.zeros(1, *SIZE))) == dict(params=51, unused=0, multiplications=64*36 + 6)
    assert all(p.is_meta for p in net.parameters())
    assert totals(arithmetic(conv(), inputs=torch.zeros(1, *SIZE, device='meta')))['multiplications'] == 64*36
    with torch.device('meta'): asks = L(lambda self, x: self.a(x) if x.sum() > 0 else x, a=conv())
    with pytest.raises(ValueError, match='device meta, without numbers'): arithmetic(asks, SIZE)


def test_a_trace_keeps_nothing_alive():
    net = nn.Sequential(conv(), nn.ReLU(), nn.Flatten())
    kept = []
    net[0].register_forward_hook(lambda m, i, o: kept.append(weakref.ref(o)))
    t = trace_model(net, SIZE)
    ref = weakref.ref(net[0])
    del net
    __import__('gc').collect()
    assert ref() is None and kept[0]() is None and len(t.rows) == 3
