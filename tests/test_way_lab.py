"WayLab: the page's numbers against PyTorch's, its boxes against `trace_precedents`, and the piece in a browser."
import base64
import json
import random

import pytest
import torch
from browser import axe, browser, from_disk, lab, needs_chromium, node, notebook, opened, pages, run_all, save, violations  # noqa: F401
from PIL import Image
from torch import nn

from convlab.draw.way import WayLab, plain_network, way_net
from convlab.draw.widgets import joined
from convlab.models import simple_cnn
from convlab.norms import BatchNorm2d
from convlab.receptive import trace_precedents


def in_node(code, cases):
    "What the JavaScript function `code` makes of each of `cases`, with the numbers module as `way`."
    return node(f"import * as way from './way_numbers.js'\nconst plain = (k, v) => ArrayBuffer.isView(v) ? Array.from(v) : v\n"
                f"done(JSON.parse(JSON.stringify(given.map({code}), plain)))", cases)


run_net = """({network, picture}) => { const layers = way.wayReady(network); way.wayRun(layers, picture); return layers.map(l => l.maps) }"""
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


def test_forward_pass_is_pytorchs():
    rng = random.Random(0)
    nets = [some_net(rng) for _ in range(150)]
    pictures = [torch.randn(1, 1, n, n) for _, n in nets]
    cases = [dict(network=plain_network(net, n), picture=x.flatten().tolist()) for (net, n), x in zip(nets, pictures)]
    for (net, n), x, case, got in zip(nets, pictures, cases, in_node(run_net, cases)):
        want = maps_of(net.double(), x.double())  # of the two precisions the one that rounds less, and so does the page
        assert len(got) == len(want) == len(case['network']['layers'])+1
        for page, torchs in zip(got, want): near(page, torchs)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float64])
def test_forward_pass_in_other_precisions(dtype):
    net = simple_cnn(norm=nn.BatchNorm2d).to(dtype)
    x = torch.randn(1, 1, 28, 28)
    with torch.no_grad(): net[0][0].weight[0, 0, 0, :3] = torch.tensor([1e-7, -3e-5, 0])  # subnormal in float16
    [got] = in_node(run_net, [dict(network=plain_network(net), picture=x.flatten().tolist())])
    for page, torchs in zip(got, maps_of(net.float(), x)): near(page, torchs)


def some_points(rng, network, n):
    "Random places: layer, channel, row and column."
    shapes = [network['input']] + [layer['shape'] for layer in network['layers']]
    picked = [rng.randrange(len(shapes)) for _ in range(n)]
    return [[k, *([rng.randrange(s) for s in shapes[k]] + [0, 0])[:3]] for k in picked]


def test_boxes_are_those_of_trace_precedents():
    rng = random.Random(1)
    nets = [some_net(rng) for _ in range(50)]
    networks = [plain_network(net, n) for net, n in nets]
    points = [[p for p in some_points(rng, network, 8) if p[0] and len(network['layers'][p[0]-1]['shape']) == 3] for network in networks]
    compared = 0
    for (net, n), network, ps, found in zip(nets, networks, points, in_node(trace_all, [dict(network=a, points=b) for a, b in zip(networks, points)])):
        names = ['image'] + [layer['name'] for layer in network['layers']]
        for p, boxes in zip(ps, found):
            want = trace_precedents(net, (1, n, n), names[p[0]], *p[2:])
            traced = {r.name: [r.top, r.bottom, r.left, r.right] for r in want.itertuples()}
            page = {name: box for name, box in zip(names[:p[0]+1], boxes) if box}
            after = {name: traced.pop(name) for name in names[p[0]+1:] if name in traced}  # what passes on its input is the same tensor
            assert page == traced, (net, p)
            assert all(box == boxes[p[0]] for box in after.values())
            compared += len(page)
    assert compared > 400


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
            layer, *at = p
            at = tuple(at[:maps[layer].dim()])
            for k, s in enumerate(sets):
                first, last = sorted((k, layer))
                jac = torch.autograd.functional.jacobian(lambda v: nn.Sequential(*layers[first:last])(v[None])[0], maps[first])
                if k <= layer: moved = jac[at] != 0
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
    channels, rows, cols = (torch.tensor(marks).bool() for marks in s)
    return (channels[:, None, None] & rows[:, None] & cols).view(shape)


# What Python refuses, and what it knows

def test_models_that_cannot_be_run_are_named():
    class Twice(nn.Conv2d):
        def forward(self, x): return 2*super().forward(x)
    class Residual(nn.Module):
        def __init__(self): super().__init__(); self.conv = nn.Conv2d(4, 4, 3, padding=1)
        def forward(self, x): return x + self.conv(x)
    for net, message in ((nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(nn.ReLU(), Residual())), "layer '1.1' of the model, a Residual, cannot be run in the page; what can is"),
                         (nn.Sequential(Twice(1, 4, 3)), "layer '0' of the model, a Twice, cannot be run"),
                         (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(2)), 'it must flatten all but the batch'),
                         (nn.Sequential(nn.MaxPool2d(2, return_indices=True)), 'it must return one tensor'),
                         (nn.Sequential(nn.Conv2d(1, 4, 31)), "a Conv2d, cannot take its input of shape [1, 28, 28]"),
                         (nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3))), "model must take pictures of one channel, as what is drawn in the page is ink on paper; its layer '0.0' takes 3 channels"),
                         (simple_cnn().to('meta'), "model must have weights to run with; those of layer '0.0' are on the meta device"),
                         (nn.Sequential(), 'model must have a layer'),
                         (nn.Sequential(nn.Flatten(), nn.Linear(784, 800)), 'model must have 500,000 weights at most')):
        with pytest.raises(ValueError) as e: WayLab(net)
        assert message in str(e.value)
    with pytest.raises(TypeError, match='model must be an nn.Sequential; got Conv2d'): WayLab(nn.Conv2d(1, 4, 3))
    with pytest.raises(TypeError, match='classes must be a list of names; got int'): WayLab(classes=5)


def test_the_model_is_left_as_it_was_and_hooks_are_not_run():
    net, called = simple_cnn(norm=nn.BatchNorm2d), []
    net[0][0].register_forward_hook(lambda *a: called.append(a))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    lab = WayLab(net)
    lab.scores
    assert net.training and all(m.training for m in net.modules()) and not called
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    first = lab.scores
    with torch.no_grad(): net[0][0].weight.mul_(3)
    assert lab.scores == first and WayLab(net).scores != first  # the lab has the network as it was when it was made


def test_scores_are_those_of_the_model_in_evaluation_mode():
    net = nn.Sequential(*simple_cnn(), nn.Dropout(.5))
    im = torch.randint(256, (28, 28))
    want = net.eval()((im[None, None]/255 - .1307)/.3081)[0].tolist()
    assert WayLab(net.train(), im).scores == pytest.approx(want, abs=1e-5)
    assert WayLab(net, im/255).image == WayLab(net, Image.fromarray(im.byte().numpy())).image == im.tolist()
    assert WayLab(net, im, mean=0, std=1).scores == pytest.approx(net.eval()(im[None, None]/255)[0].tolist(), abs=1e-5)


def test_the_network_that_ships_reads_its_digits():
    lab = WayLab()
    digits = torch.frombuffer(bytearray(base64.b64decode(lab.state['samples'])), dtype=torch.uint8).view(10, 28, 28)
    for k, digit in enumerate(digits):
        lab.image = digit
        assert lab.scores.index(max(lab.scores)) == k
    assert sum(p.numel() for p in way_net().parameters()) == 30_282 and str(way_net()) == str(simple_cnn())


# In a browser

drawn = 'canvas >> nth=0'


def mounted(page, lab, width='auto'):
    "The piece of `lab` on an empty page, with its state in reach: `model.state`."
    page.set_content(f'<html lang="en"><title>way</title><body style="color-scheme: light dark; width: {width}"><main></main></body></html>')
    page.evaluate('''async ([text, state]) => {
        const { default: piece, LiveModel } = await import(URL.createObjectURL(new Blob([text + '\\nexport { LiveModel }'], { type: 'text/javascript' })))
        globalThis.model = new LiveModel(state)
        const root = document.createElement('div')
        document.querySelector('main').append(root)
        piece.render({ model, el: root })
    }''', [joined('way_lab.js', 'live.js'), lab.state])
    page.wait_for_selector('.sheet canvas')
    return page


def state(page, name): return page.evaluate('name => model.get(name)', name)


def says(page, text): page.wait_for_function("t => document.querySelector('.says').textContent.startsWith(t)", arg=text)


def told(page, text): page.wait_for_function("t => document.querySelector('[role=status]').textContent.includes(t)", arg=text)


def stroke(page, *points, box=None):
    "Move the pressed mouse along `points`, rows and columns of the picture."
    box = page.locator(drawn).bounding_box()
    places = [(box['x']+c*box['width']/28, box['y']+r*box['height']/28) for r, c in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for p in places[1:]: page.mouse.move(*p, steps=6)
    page.mouse.up()


def shown_scores(page): return [float(t.replace('−', '-')) for t in page.locator('.score span:last-child').all_text_contents()]


def follows(page, lab):
    "The scores in the page are PyTorch's for the picture in the page."
    lab.image = state(page, 'image')
    page.wait_for_function("s => Math.abs(document.querySelector('.score span:last-child').textContent.replace('−', '-') - s) < .006", arg=lab.scores[0])
    assert shown_scores(page) == pytest.approx(lab.scores, abs=.006)


@needs_chromium
def test_by_mouse(pages):
    lab = WayLab()
    page = mounted(pages(), lab)
    says(page, 'It says 3')
    page.click('text=Clear')
    says(page, 'Draw a digit.')
    stroke(page, (5, 14), (23, 13))
    says(page, 'It says 1')
    follows(page, lab)
    stroke(page, (5, 14), (6, 6))
    says(page, 'It says 7')
    ink = sum(map(sum, state(page, 'image')))
    page.click('text=Erase')
    stroke(page, (5, 4), (5, 12))
    assert 0 < sum(map(sum, state(page, 'image'))) < ink
    assert 'fell by' in page.locator('.answer').text_content()
    follows(page, lab)
    page.click('text=Move')
    before = torch.tensor(state(page, 'image'))
    stroke(page, (14, 14), (17, 12))
    assert torch.equal(torch.tensor(state(page, 'image'))[3:, :-2], before[:-3, 2:])
    page.click('text=Center')
    rows, cols = torch.where(torch.tensor(state(page, 'image')) > 60)
    assert max(rows.max()-rows.min(), cols.max()-cols.min())+1 in (19, 20, 21)
    follows(page, lab)


@needs_chromium
@pytest.mark.parametrize('point', [('0.0', 2, 0, 13), ('1.1', 3, 5, 2), ('2.0', 31, 3, 3), ('3.1', 63, 0, 1)])
def test_pointing_lights_up_what_trace_precedents_says(pages, point):
    page = mounted(pages(), WayLab(point=point))
    box = trace_precedents(simple_cnn(), (1, 28, 28), point[0], *point[2:]).iloc[0]
    told(page, f'It depends on {(box.bottom-box.top)*(box.right-box.left)} pixels, in rows {box.top} to {box.bottom-1} and columns {box.left} to {box.right-1} of the picture.')


@needs_chromium
def test_a_click_pins_and_enlarges(pages):
    page = mounted(pages(), WayLab())
    sheet = page.locator('.sheet canvas').nth(2)  # 1.0: 16 maps of 7 by 7, in four columns
    box = sheet.bounding_box()
    pitch = box['width']/4
    page.mouse.click(box['x']+2.5*pitch, box['y']+1.5*pitch)
    assert state(page, 'point') == ['1.0', 6, 3, 3]
    page.wait_for_function("document.querySelector('.glass b')?.textContent == '1.0 Conv2d, map 6'")  # drawn in the next frame
    page.mouse.move(5, 5)
    told(page, '1.0 Conv2d, map 6, row 3, column 3')
    page.locator('.glass canvas >> nth=1').click(position=dict(x=3, y=3))
    assert state(page, 'point') == ['1.0', 6, 0, 0]
    page.locator('.glass canvas >> nth=1').click(position=dict(x=3, y=3))
    assert state(page, 'point') is None
    page.locator('.score').nth(4).click()
    assert state(page, 'point') == ['5', 4, 0, 0]


@needs_chromium
def test_by_touch(pages):
    lab = WayLab()
    page = mounted(pages(width=390, height=844, touch=True), lab)
    page.tap('text=Clear')
    page.tap(drawn, position=dict(x=100, y=100))
    assert sum(map(sum, state(page, 'image'))) > 255
    page.tap('[aria-label="A handwritten 4"]')
    says(page, 'It says 4')
    page.locator('.sheet canvas').nth(1).tap(position=dict(x=20, y=20))
    name, channel, *_ = state(page, 'point')
    assert (name, channel) == ('0.1', 0)
    page.wait_for_selector('.glass .mini')
    follows(page, lab)


@needs_chromium
def test_by_keyboard_alone(pages):
    lab = WayLab()
    page = mounted(pages(), lab)
    def tab_to(label):
        for _ in range(40):
            page.keyboard.press('Tab')
            if page.evaluate("l => (document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent).startsWith(l)", label): return
        raise AssertionError(label)
    tab_to('Clear')
    page.keyboard.press('Enter')
    says(page, 'Draw a digit.')
    page.keyboard.press('Shift+Tab'), page.keyboard.press('Shift+Tab')
    for _ in range(9): page.keyboard.press('ArrowUp')
    page.keyboard.press(' ')
    told(page, 'The pen is down.')
    for _ in range(18): page.keyboard.press('ArrowDown')
    page.keyboard.press(' ')
    says(page, 'It says 1')
    follows(page, lab)
    tab_to('2.1 ReLU')
    for key in ('ArrowRight', 'ArrowDown', 'Enter'): page.keyboard.press(key)
    assert state(page, 'point') == ['2.1', 0, 1, 1]
    for _ in range(4): page.keyboard.press('ArrowRight')  # into the next map
    told(page, '2.1 ReLU, map 1, row 1, column 1')
    page.keyboard.press('Escape')
    assert state(page, 'point') is None
    page.locator('button:has-text("Move")').press('Enter')
    before = torch.tensor(state(page, 'image'))
    page.keyboard.press('Tab'), page.keyboard.press('Tab')
    page.keyboard.press('ArrowLeft')
    assert torch.equal(torch.tensor(state(page, 'image'))[:, :-1], before[:, 1:])


@needs_chromium
def test_bad_state_is_told_and_the_piece_lives_on(pages):
    page = mounted(pages(), WayLab())
    page.evaluate("model.set('image', [[1, 2], [3]])")
    assert 'The picture must be 28 × 28 numbers' in page.locator('[role=alert]').text_content()
    says(page, 'It says 3')
    page.click('[aria-label="A handwritten 9"]')
    says(page, 'It says 9')
    assert page.locator('[role=alert]').text_content() == ''
    page.evaluate("model.set('point', ['nowhere', 1, 2, 3])")
    page.evaluate("model.set('point', ['0.0', 1, 2, 3])")
    told(page, '0.0 Conv2d, map 1, row 2, column 3')


@needs_chromium
def test_any_network_is_drawn(pages):
    "Depthwise and dilated kernels, flat layers in the middle, pooling, a network that ends in maps, one that has diverged."
    deep = nn.Sequential(nn.Conv2d(1, 6, 3), nn.Conv2d(6, 12, 3, groups=6, dilation=3), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Flatten(), nn.Linear(1200, 30), nn.Tanh(), nn.Linear(30, 3))
    lab = WayLab(deep, classes=['cat', 'dog', 'cow'], point=('1', 5, 10, 10))
    page = mounted(pages(), lab)
    told(page, 'It depends on 81 pixels, in rows 10 to 18 and columns 10 to 18 of the picture.')
    follows(page, lab)
    pooled = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AvgPool2d(3, 2))
    page = mounted(pages(), WayLab(pooled, point=('0', 1, 24, 2)))
    told(page, 'In the last layer it reaches 1 of 4 maps, in row 11 and columns 0 to 1.')
    page = mounted(pages(), WayLab(pooled, point=('0', 1, 25, 2)))  # the pool does not get as far as row 25
    told(page, 'Nothing at the end depends on it.')
    broken = simple_cnn()
    with torch.no_grad(): broken[0][0].weight.fill_(torch.nan)
    page = mounted(pages(), WayLab(broken))
    told(page, 'The scores are no numbers')


@needs_chromium
@pytest.mark.parametrize('dark', [False, True])
@pytest.mark.parametrize('width', [390, 700, 1400])
def test_looks_and_axe(pages, tmp_path, dark, width):
    WayLab(point=('1.1', 3, 5, 2)).save(tmp_path/'way.html')
    assert (tmp_path/'way.html').stat().st_size < 300_000
    page = from_disk(pages, tmp_path/'way.html', width=width, dark=dark)
    says(page, 'It says 3')
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    page.click('[aria-label="A handwritten 5"]')
    says(page, 'It says 5')
    if axe.exists(): assert violations(page) == []


@needs_chromium
def test_live_in_jupyterlab(pages, lab):
    notebook(lab[1]/'way.ipynb', 'from convlab.draw.way import WayLab\nway = WayLab()\nway', 'from convlab.draw import way as m\nway.image = m._digits()[6]', "way.point = '1.1',3,5,2",
             'print(len(way.image), way.point, max(range(10), key=lambda k: way.scores[k]))')
    page = opened(pages, lab, 'way')
    run_all(page)
    says(page, 'It says 6')
    told(page, '1.1 ReLU, map 3, row 5, column 2')
    page.click('[aria-label="A handwritten 8"]')
    says(page, 'It says 8')
    page.locator('.jp-InputPrompt').nth(3).click()
    page.keyboard.press('Escape')
    page.keyboard.press('Shift+Enter')
    page.wait_for_selector('text="28 (\'1.1\', 3, 5, 2) 8"')
    page.wait_for_timeout(1500)
    saved = save(page, lab[1]/'way.ipynb')
    assert len(json.dumps(saved)) < 1_000_000 and 'widget-view' not in json.dumps(saved)
