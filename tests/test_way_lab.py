"WayLab: the page's numbers against PyTorch's, its boxes against `trace_precedents`, and the piece in a browser."
import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import root
from torch import nn

from convlab.draw.way import plain_network
from convlab.models import simple_cnn
from convlab.norms import BatchNorm2d
from convlab.receptive import trace_precedents


def node():
    "Node.js: the one on the path, or the one that comes with playwright."
    try: import playwright
    except ImportError: playwright = None
    own = playwright and Path(playwright.__file__).parent/'driver'/'node'
    return str(own) if own and own.exists() else shutil.which('node')


needs_node = pytest.mark.skipif(not node(), reason='there is no Node.js here: pip install playwright brings one')


def in_node(code, cases):
    "What the JavaScript expression `code` makes of each of `cases`, with the numbers module as `way`."
    script = f"""import * as way from {json.dumps((root/'convlab'/'static'/'way_numbers.js').as_uri())}
let text = ''
for await (const part of process.stdin) text += part
console.log(JSON.stringify(JSON.parse(text).map({code}), (k, v) => ArrayBuffer.isView(v) ? Array.from(v) : v))"""
    done = subprocess.run([node(), '--input-type=module', '-e', script], input=json.dumps(cases), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


run_all = """({network, picture}) => { const layers = way.wayReady(network); way.wayRun(layers, picture); return layers.map(l => l.maps) }"""
trace_all = """({network, points}) => { const layers = way.wayReady(network); return points.map(p => way.wayTrace(layers, p).map(s => s && way.wayBox(s))) }"""
sets_all = trace_all.replace('s && way.wayBox(s)', 's')


def some_net(rng, c=1, size=None):
    "A random network of up to five stages of everything that the page runs; returns it and its picture's size."
    size, layers = size or rng.randint(14, 30), []
    x = torch.zeros(1, c, size, size)
    def add(*some):
        nonlocal x
        part = nn.Sequential(*some)
        with torch.no_grad(): x = part.eval()(x)
        layers.extend(some if rng.random() < .5 else [part])  # nested, or not
    while len(layers) < rng.randint(2, 6) and min(x.shape[2:]) > 3:
        add(*some_stage(rng, x))
    if rng.random() < .6:
        if rng.random() < .5: add(nn.AdaptiveAvgPool2d(rng.choice([1, 2, (3, 2)])))
        add(nn.Flatten(), nn.Linear(x[0].numel(), n := rng.randint(2, 9)), rng.choice([nn.BatchNorm1d(n), nn.Dropout()]))
        if rng.random() < .5: add(nn.Tanh(), nn.Linear(n, 10, bias=False))
    net = nn.Sequential(*layers)
    for m in net.modules():
        if isinstance(m, (nn.BatchNorm2d, BatchNorm2d, nn.BatchNorm1d)) and m.running_mean is not None:
            m.running_mean.uniform_(-1, 1), m.running_var.uniform_(.2, 2)
        if getattr(m, 'affine', False):
            with torch.no_grad(): m.weight.uniform_(-1, 2), m.bias.uniform_(-1, 1)
    return net, size


def some_stage(rng, x):
    c, side = x.shape[1], min(x.shape[2:])
    def two(*some): return (rng.choice(some), rng.choice(some)) if rng.random() < .5 else rng.choice(some)
    kind = rng.random()
    if kind < .6:
        groups, dilation = rng.choice([g for g in (1, 2, 3, c) if c % g == 0]), rng.choice([1, 1, 2]) if side > 8 else 1
        nf, mode = groups*rng.randint(1, 3), rng.choice(['zeros']*3 + ['reflect', 'replicate', 'circular'])
        same = rng.random() < .15
        conv = nn.Conv2d(c, nf, two(1, 2, 3), stride=1 if same else two(1, 2, 3), padding='same' if same else two(0, 1, 2), dilation=dilation,
                         groups=groups, bias=rng.random() < .7, padding_mode=mode)
        norms = [nn.BatchNorm2d(nf), BatchNorm2d(nf), nn.GroupNorm(1, nf), nn.GroupNorm(nf, nf), nn.InstanceNorm2d(nf, affine=True),
                 nn.BatchNorm2d(nf, track_running_stats=False), nn.Identity(), nn.BatchNorm2d(nf, affine=False)]
        acts = [nn.ReLU(), nn.LeakyReLU(.1), nn.ELU(.7), nn.SiLU(), nn.Sigmoid(), nn.Tanh(), nn.ReLU6(), nn.Dropout2d()]
        return conv, rng.choice(norms), rng.choice(acts)
    if kind < .75: return nn.MaxPool2d(two(2, 3), stride=two(1, 2), padding=rng.choice([0, 1]), ceil_mode=rng.random() < .5, dilation=rng.choice([1, 2])),
    if kind < .9:
        return nn.AvgPool2d(two(2, 3), stride=two(1, 2, 3), padding=rng.choice([0, 1]), ceil_mode=rng.random() < .5,
                            count_include_pad=rng.random() < .5, divisor_override=rng.choice([None, None, 3])),
    return rng.choice([nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d])(rng.choice([2, 5, (4, 3), (None, 3)])),


def maps_of(net, x):
    "All layers' maps, one module at a time, as PyTorch computes them."
    outs = [x]
    def go(m):
        if isinstance(m, nn.Sequential): [go(o) for o in m]
        else: outs.append(m(outs[-1]))
    with torch.no_grad(): go(net.eval())
    return [o[0] for o in outs]


def near(page, torchs):
    "To 1e-5 of the number itself, or of 1 if it is smaller."
    torch.testing.assert_close(torch.tensor(page, dtype=torchs.dtype).view_as(torchs), torchs, rtol=1e-5, atol=1e-5)


@needs_node
def test_forward_pass_is_pytorchs():
    rng = random.Random(0)
    nets = [some_net(rng) for _ in range(150)]
    pictures = [torch.randn(1, 1, n, n) for _, n in nets]
    cases = [dict(network=plain_network(net, n), picture=x.flatten().tolist()) for (net, n), x in zip(nets, pictures)]
    for (net, n), x, case, got in zip(nets, pictures, cases, in_node(run_all, cases)):
        want = maps_of(net.double(), x.double())  # of the two precisions the one that rounds less, and so does the page
        assert len(got) == len(want) == len(case['network']['layers'])+1
        for page, torchs in zip(got, want): near(page, torchs)


@needs_node
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float64])
def test_forward_pass_in_other_precisions(dtype):
    net = simple_cnn(norm=nn.BatchNorm2d).to(dtype)
    x = torch.randn(1, 1, 28, 28)
    with torch.no_grad(): net[0][0].weight[0, 0, 0, :3] = torch.tensor([1e-7, -3e-5, 0])  # subnormal in float16
    [got] = in_node(run_all, [dict(network=plain_network(net), picture=x.flatten().tolist())])
    for page, torchs in zip(got, maps_of(net.float(), x)): near(page, torchs)


def some_points(rng, network, n):
    "Random places, given by layer, channel, row and column."
    shapes = [network['input']] + [layer['shape'] for layer in network['layers']]
    picked = [rng.randrange(len(shapes)) for _ in range(n)]
    return [dict(layer=k, **dict(zip(('channel', 'row', 'col'), [rng.randrange(s) for s in shapes[k]] + [0, 0]))) for k in picked]


@needs_node
def test_boxes_are_those_of_trace_precedents():
    rng = random.Random(1)
    nets = [some_net(rng) for _ in range(60)]
    networks = [plain_network(net, n) for net, n in nets]
    points = [[p for p in some_points(rng, network, 12) if p['layer'] and len(network['layers'][p['layer']-1]['shape']) == 3] for network in networks]
    compared = 0
    for (net, n), network, ps, found in zip(nets, networks, points, in_node(trace_all, [dict(network=a, points=b) for a, b in zip(networks, points)])):
        names = ['image'] + [layer['name'] for layer in network['layers']]
        for p, boxes in zip(ps, found):
            want = trace_precedents(net, (1, n, n), names[p['layer']], p['row'], p['col'])
            traced = {r.name: [r.top, r.bottom, r.left, r.right] for r in want.itertuples()}
            page = {name: box for name, box in zip(names[:p['layer']+1], boxes) if box}
            after = {name: traced.pop(name) for name in names[p['layer']+1:] if name in traced}  # what passes on its input is the same tensor
            assert page == traced, (net, p)
            assert all(box == boxes[p['layer']] for box in after.values())
            compared += len(page)
    assert compared > 500


@needs_node
def test_sets_are_what_a_change_moves():
    "Change every activation before, one at a time: exactly those of the set move the one pointed at, and so for those after."
    rng = random.Random(2)
    gen = torch.Generator().manual_seed(0)
    for _ in range(12):
        net, n = some_net(rng, size=12)
        smooth(net, gen)
        network = plain_network(net, n)
        layers = [m for m in net.modules() if not isinstance(m, nn.Sequential)]
        points = some_points(rng, network, 4)
        [found] = in_node(sets_all, [dict(network=network, points=points)])
        maps = [m.double() for m in maps_of(net.double(), torch.rand(1, 1, n, n, generator=gen).double())]
        for p, sets in zip(points, found):
            at = (p['channel'], p['row'], p['col'])[:maps[p['layer']].dim()]
            for k, s in enumerate(sets):
                first, last = sorted((k, p['layer']))
                jac = torch.autograd.functional.jacobian(lambda v: nn.Sequential(*layers[first:last])(v[None])[0], maps[first])
                if k <= p['layer']: moved = jac[at] != 0
                else: moved = jac.flatten(maps[k].dim())[(..., torch.arange(maps[first].numel()).view_as(maps[first])[at])] != 0
                want = torch.zeros_like(moved) if s is None else product(s, moved.shape)
                assert torch.equal(moved, want), (net, p, k)


def smooth(net, gen):
    "Positive weights and no kinks, so that whatever can move does."
    for name, m in [*net.named_modules()]:
        for child, o in m.named_children():
            if isinstance(o, (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.ELU, nn.SiLU)): setattr(m, child, nn.LeakyReLU(.5))
            if isinstance(o, nn.MaxPool2d): setattr(m, child, nn.AvgPool2d(o.kernel_size, o.stride, o.padding, o.ceil_mode))
            if isinstance(o, nn.AdaptiveMaxPool2d): setattr(m, child, nn.AdaptiveAvgPool2d(o.output_size))
            if isinstance(o, nn.InstanceNorm2d | nn.GroupNorm): setattr(m, child, nn.Identity())
            if isinstance(o, nn.BatchNorm2d | BatchNorm2d) and o.running_mean is None: setattr(m, child, nn.Identity())
    for p in net.parameters(): p.data.uniform_(.1, 1, generator=gen)


def product(s, shape):
    channels, rows, cols = (torch.tensor(s[k]).bool() for k in ('channels', 'rows', 'cols'))
    return (channels[:, None, None] & rows[:, None] & cols).view(shape)
