"""The first layer's kernels of networks that tell 3s from 7s, before and after training, from many seeds; and what those networks score.

Writes `convlab/static/first_kernels.csv`, one row for each kernel, which lesson `03_first_cnn` reads. Two minutes on one core: `python experiments/first_kernels.py`.
"""
import csv
from pathlib import Path

import torch
import torch.nn.functional as F

from convlab.data import load_mnist, mnist_path
from convlab.models import simple_cnn

table = Path(__file__).resolve().parent.parent/'convlab'/'static'/'first_kernels.csv'
seeds, epochs, bs, lr = range(20), 2, 64, .01


def main():
    torch.set_num_threads(1)
    x, y, xv, yv = load_mnist(mnist_path(sample=True))
    y, yv = (y == y.max()).long(), (yv == yv.max()).long()
    rows = []
    for pixels, mean, std in (('normalized', .1307, .3081), ('0 to 1', 0., 1.)):
        xt, xtv = [(t[:, None].float()/255 - mean)/std for t in (x, xv)]
        for seed in seeds:
            torch.manual_seed(seed)
            net = simple_cnn((1, 4, 8, 16, 32, 2), ks0=3)
            before = net[0][0].weight.detach().clone()
            train(net, xt, y)
            with torch.no_grad(): acc = (net(xtv).argmax(1) == yv).float().mean().item()
            for when, w in (('before', before), ('after', net[0][0].weight.detach())):
                rows += [(pixels, seed, k, when, f'{acc:.4f}', *[f'{v:.4f}' for v in kernel.flatten().tolist()]) for k, kernel in enumerate(w)]
            print(pixels, seed, acc, flush=True)
    with table.open('w', newline='') as f:
        csv.writer(f, lineterminator='\n').writerows([('pixels', 'seed', 'kernel', 'training', 'accuracy', *(f'w{i}' for i in range(9))), *rows])


def train(net, x, y):
    opt = torch.optim.AdamW(net.parameters(), lr)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, lr, epochs*(len(x)//bs))
    for _ in range(epochs):
        for i in torch.randperm(len(x))[:len(x)//bs*bs].view(-1, bs):
            F.cross_entropy(net(x[i]), y[i]).backward()
            opt.step()
            opt.zero_grad()
            sched.step()


if __name__ == '__main__': main()
