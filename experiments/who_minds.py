"""Who minds when the pixels of all digits are shuffled, or when digits are moved off centre: a convolutional or a linear network?

Writes `convlab/static/who_minds.csv`, one row for each run and test, which lesson `03_first_cnn` reads. Both networks have some 30,000 weights and learn
from the same 20,000 digits of ten kinds for three epochs. About ten minutes on one core: `python experiments/who_minds.py`.
"""
import csv
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from convlab.data import load_mnist, mnist_path
from convlab.models import simple_cnn

table = Path(__file__).resolve().parent.parent/'convlab'/'static'/'who_minds.csv'
seeds, n_train, epochs, bs, lr, most = range(5), 20_000, 3, 64, .005, 4


def linear_net(): return nn.Sequential(nn.Flatten(), nn.Linear(784, 38), nn.ReLU(), nn.Linear(38, 10))


def shuffled(x, gen, order=torch.randperm(784, generator=torch.Generator().manual_seed(0))):
    "The pixels of every digit in another order, the same for all."
    return x.flatten(1)[:, order].view_as(x)


def moved(x, gen):
    "Each digit up to `most` pixels up or down and left or right; the paper around a digit is wide enough for that."
    ways = torch.randint(-most, most+1, (len(x), 2), generator=gen)
    rows, cols = [(torch.arange(28) - ways[:, k:k+1]) % 28 for k in (0, 1)]
    return x[torch.arange(len(x))[:, None, None], 0, rows[:, :, None], cols[:, None, :]][:, None]


kinds = {'as they are': lambda x, gen: x, 'shuffled': shuffled, 'moved': moved}


def train(net, x, y, gen):
    "AdamW under a 1cycle schedule."
    opt, steps = torch.optim.AdamW(net.parameters(), lr), epochs*(len(x)//bs)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, lr, steps)
    for _ in range(epochs):
        for i in torch.randperm(len(x), generator=gen)[:len(x)//bs*bs].view(-1, bs):
            F.cross_entropy(net(x[i]), y[i]).backward()
            opt.step()
            opt.zero_grad()
            sched.step()


@torch.no_grad()
def accuracy(net, x, y): return (net(x).argmax(1) == y).float().mean().item()


def main():
    torch.set_num_threads(1)
    x, y, xv, yv = load_mnist(mnist_path())
    few = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:n_train]
    x, xv = [(t[:, None].float()/255 - .1307)/.3081 for t in (x[few], xv)]
    y = y[few]
    rows = []
    for seed in seeds:
        for name, change in kinds.items():
            gen = torch.Generator().manual_seed(seed)
            xt = change(x, gen)
            tests = {'the same': change(xv, gen)} | ({'moved': moved(xv, gen)} if name == 'as they are' else {})
            for net_name, make in dict(convolutional=simple_cnn, linear=linear_net).items():
                torch.manual_seed(seed)
                net = make()
                train(net, xt, y, gen)
                rows += [(net_name, name, test, seed, f'{accuracy(net, t, yv):.4f}') for test, t in tests.items()]
                print(*rows[-1], flush=True)
    with table.open('w', newline='') as f:
        csv.writer(f, lineterminator='\n').writerows([('network', 'digits', 'tested on', 'seed', 'accuracy'), *rows])


if __name__ == '__main__': main()
