"""Digits in color: each in an ink and on a paper of its own, drawn by chance. What do networks score on them in several encodings, and what do first layers learn?

The same network, the same 20,000 digits, three epochs, five seeds. It takes one core ten minutes: `python experiments/color_digits.py` writes two tables that
lesson `06_color` reads: `convlab/static/color_digits.csv`, one row for each run, and `convlab/static/color_kernels.csv`,
the first layers of three kinds before and after training (one row for each kernel; 3 slices of 5 by 5). Run again,
single accuracies differ by up to three tenths of a point."""
from functools import lru_cache

import matplotlib.colors
from common import epochs, kernel_rows, load_mnist, mnist_path, swept, torch, unfold, write
from convlab.color import to_gray
from convlab.models import simple_cnn

ycbcr = torch.tensor([[.299, .587, .114], [-.169, -.331, .5], [.5, -.419, -.081]])


def painted(x, seed):
    "Gray digits `[N,28,28]` from 0 to 1, each in an ink and on a paper of its own: `[N,3,28,28]` from 0 to 1."
    gen = torch.Generator().manual_seed(seed)
    ink, paper = torch.rand(2, len(x), 3, 1, 1, generator=gen)
    return paper + (ink-paper)*x[:, None]


def hsv(x): return torch.from_numpy(matplotlib.colors.rgb_to_hsv(x.permute(0, 2, 3, 1).numpy())).permute(0, 3, 1, 2)
def gray(x): return to_gray(x)[:, None].expand(-1, 3, -1, -1)
def black_on_white(x, seed): return (1-x)[:, None].expand(-1, 3, -1, -1)


kinds = {'black on white': (black_on_white, lambda x: x), 'color': (painted, lambda x: x), 'color, made gray': (painted, gray),
         'color, as YCbCr': (painted, lambda x: torch.einsum('dc,nchw->ndhw', ycbcr, x)), 'color, as HSV': (painted, hsv)}


@lru_cache
def gray_digits():
    x, y, xv, yv = load_mnist(mnist_path())
    few = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:20_000]
    return x[few].float()/255, y[few], xv.float()/255, yv


def run(seed, digits):
    (x, y, xv, yv), (paint, encode) = gray_digits(), kinds[digits]
    xt, xtv = encode(paint(x, seed)), encode(paint(xv, 1000+seed))
    mean, std = [f(xt.float(), (0, 2, 3), keepdim=True) for f in (torch.mean, torch.std)]
    xt, xtv = [((t-mean)/std).float() for t in (xt, xtv)]
    torch.manual_seed(seed)
    net = simple_cnn((3, 8, 16, 32, 64, 10))
    before = net[0][0].weight.detach().clone()
    epochs(net, xt, y, 3, .005)
    with torch.no_grad(): accuracy = (net(xtv).argmax(1) == yv).float().mean()
    return dict(accuracy=accuracy, rows=kernel_rows(before, net[0][0].weight.detach()))


if __name__ == '__main__':
    runs = swept(run, (dict(digits=list(kinds)), 5)).sort_values('seed', kind='stable')
    write('color_digits', runs[['digits', 'seed', 'accuracy']], '%.4f')
    shown = runs[runs.digits.isin(['black on white', 'color', 'color, made gray'])]
    write('color_kernels', unfold(shown, 'digits', 'seed'), '%.3f')
    print(runs.groupby('digits', sort=False).accuracy.describe())
