"""Digits in color: each in an ink and on a paper of its own, drawn by chance. What do networks score on them in several encodings, and what do first layers learn?

Writes two tables that lesson `06_color` reads: `convlab/static/color_digits.csv`, one row for each run, and `convlab/static/color_kernels.csv`, the first layers before and after
training (one row for each kernel; 3 slices of 5 by 5). The same network, the same 20,000 digits, three epochs, five seeds. About ten minutes on one core: `python experiments/color_digits.py`.
It can be stopped: the seeds that are in the tables are not run again.
"""
import csv
from pathlib import Path

import matplotlib.colors
import torch
import torch.nn.functional as F

from convlab.color import to_grey
from convlab.data import load_mnist, mnist_path
from convlab.models import simple_cnn

static = Path(__file__).resolve().parent.parent/'convlab'/'static'
seeds, n_train, epochs, bs, lr = range(5), 20_000, 3, 64, .005
ycbcr = torch.tensor([[.299, .587, .114], [-.169, -.331, .5], [.5, -.419, -.081]])


def painted(x, seed):
    "Grey digits `[N,28,28]` from 0 to 1, each in an ink and on a paper of its own: `[N,3,28,28]` from 0 to 1."
    gen = torch.Generator().manual_seed(seed)
    ink, paper = torch.rand(2, len(x), 3, 1, 1, generator=gen)
    return paper + (ink-paper)*x[:, None]


def hsv(x): return torch.from_numpy(matplotlib.colors.rgb_to_hsv(x.permute(0, 2, 3, 1).numpy())).permute(0, 3, 1, 2)
def grey(x): return to_grey(x)[:, None].expand(-1, 3, -1, -1)
def black_on_white(x, seed): return (1-x)[:, None].expand(-1, 3, -1, -1)


kinds = {'black on white': (black_on_white, lambda x: x), 'color': (painted, lambda x: x), 'color, made grey': (painted, grey),
         'color, as YCbCr': (painted, lambda x: torch.einsum('dc,nchw->ndhw', ycbcr, x)), 'color, as HSV': (painted, hsv)}


def train(net, x, y):
    opt, steps = torch.optim.AdamW(net.parameters(), lr), epochs*(len(x)//bs)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, lr, steps)
    for _ in range(epochs):
        for i in torch.randperm(len(x))[:len(x)//bs*bs].view(-1, bs):
            F.cross_entropy(net(x[i]), y[i]).backward()
            opt.step()
            opt.zero_grad()
            sched.step()


def load(name):  # rows without the header; none if there is no such table yet
    if not (static/name).exists(): return []
    with (static/name).open(newline='') as f: return list(csv.reader(f))[1:]


def save(name, *rows):
    with (static/name).open('w', newline='') as f: csv.writer(f, lineterminator='\n').writerows(rows)


def main():
    torch.set_num_threads(1)
    x, y, xv, yv = load_mnist(mnist_path())
    few = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:n_train]
    x, y, xv = x[few].float()/255, y[few], xv.float()/255
    runs, kernels = load('color_digits.csv'), load('color_kernels.csv')
    for seed in sorted(set(seeds) - {int(row[1]) for row in runs}):
        for name, (paint, encode) in kinds.items():
            xt, xtv = encode(paint(x, seed)), encode(paint(xv, 1000+seed))
            mean, std = [f(xt.float(), (0, 2, 3), keepdim=True) for f in (torch.mean, torch.std)]
            xt, xtv = [((t-mean)/std).float() for t in (xt, xtv)]
            torch.manual_seed(seed)
            net = simple_cnn((3, 8, 16, 32, 64, 10))
            before = net[0][0].weight.detach().clone()
            train(net, xt, y)
            with torch.no_grad(): acc = (net(xtv).argmax(1) == yv).float().mean().item()
            runs.append((name, seed, f'{acc:.4f}'))
            print(*runs[-1], flush=True)
            if name in ('black on white', 'color'):
                for when, w in (('before', before), ('after', net[0][0].weight.detach())):
                    kernels += [(name, seed, k, when, *[f'{v:.3f}' for v in kernel.flatten().tolist()]) for k, kernel in enumerate(w)]
        save('color_digits.csv', ('digits', 'seed', 'accuracy'), *runs)
        save('color_kernels.csv', ('digits', 'seed', 'kernel', 'training', *(f'w{i}' for i in range(75))), *kernels)


if __name__ == '__main__': main()
