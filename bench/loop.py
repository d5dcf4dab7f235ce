"""What `fit` costs beside a bare PyTorch loop over the same tensors: one epoch of MNIST, in turns, the fastest of each.

`python bench/loop.py`, or `python bench/loop.py --bs 64 --rounds 2`."""
import argparse
import time

import torch
import torch.nn.functional as F
from torch import nn

from convlab.data import get_dls, load_mnist, mnist_path
from convlab.models import simple_cnn
from convlab.training import fit


def bare(model, x, y, x_valid, y_valid, bs, lr=0.001):
    "One epoch with `torch.optim.AdamW` over normalized float tensors, then the accuracy on the validation set."
    opt = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.99), eps=1e-5, fused=True)
    for idx in torch.randperm(len(x))[:len(x)//bs*bs].view(-1, bs):
        F.cross_entropy(model(x[idx]), y[idx]).backward()
        opt.step()
        opt.zero_grad()
    model.eval()
    with torch.no_grad():
        preds = torch.cat([model(xb).argmax(1) for xb in x_valid.split(bs)])
    return (preds == y_valid).float().mean().item()


def seconds(f, *args, **kwargs):
    start = time.perf_counter()
    f(*args, **kwargs)
    return time.perf_counter()-start


def compare(path, bs, norm, rounds):
    "Seconds an epoch, fastest of `rounds`, of the bare loop and of `fit` without and with statistics."
    x, y, x_valid, y_valid = load_mnist(path)
    mean, std = (x/255.).mean(), (x/255.).std()
    x, x_valid = [(o.unsqueeze(1)/255.-mean)/std for o in (x, x_valid)]
    dls = get_dls(bs, path)
    ways = {'bare loop': lambda: bare(simple_cnn(norm=norm), x, y, x_valid, y_valid, bs),
            'fit': lambda: fit(simple_cnn(norm=norm), dls, 1, 0.001, stats=False),
            'fit with statistics': lambda: fit(simple_cnn(norm=norm), dls, 1, 0.001)}
    times = {k: [] for k in ways}
    for _ in range(rounds):
        for k, way in ways.items(): times[k].append(seconds(way))
    return {k: min(v) for k, v in times.items()}


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument('--bs', type=int, nargs='+', default=[64, 512])
    ap.add_argument('--rounds', type=int, default=3)
    args = ap.parse_args()
    path = mnist_path()
    for bs in args.bs:
        for norm in (None, nn.BatchNorm2d):
            times = compare(path, bs, norm, args.rounds)
            base = times['bare loop']
            print(f"batch {bs}{', batch norm' if norm else ''}:",
                  ' · '.join(f'{k} {s:.2f} s ({s/base:.2f}x)' for k, s in times.items()), flush=True)


if __name__ == '__main__': main()
