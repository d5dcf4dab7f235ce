"""How large is the effective receptive field, is it bell-shaped, and does it grow while a network learns?

The network of lesson `05_receptive_fields`: one 5 by 5 convolution with stride 2 and five of 3 by 3 with stride 1, 8 channels each, ReLU after each, started by Kaiming's rule, and a linear
layer on top; theoretical field 25 pixels. Five seeds, Adam at .003, batches of 64. `side`: the smallest centered square with 90 % of the gradient's share at the middle of the last map, over 200
validation digits. `width`: the standard deviation of the share along rows and columns, in pixels, which moves where the side does not. `p0` to `p27`: the share of each column, before
training (`before`) and at the end (`after`). Four minutes on one core: `python experiments/effective_field.py`.
"""
from common import F, batches, digits, evaluate, kaiming, nn, study, torch

from convlab.receptive import effective_receptive_field

looks, middle = (0, 100, 400, 1600), 7


def deep_net(nf=8, n=5):
    convs = [nn.Conv2d(1, nf, 5, stride=2, padding=2), *[nn.Conv2d(nf, nf, 3, padding=1) for _ in range(n)]]
    body = nn.Sequential(*[layer for c in convs for layer in (c, nn.ReLU())])
    return kaiming(nn.Sequential(body, nn.Flatten(), nn.Linear(nf*14*14, 10)))


def side(share, at=2*middle, part=.9):
    return next(2*r+1 for r in range(len(share)) if share[max(0, at-r):at+r+1, max(0, at-r):at+r+1].sum() >= part)


def width(share):
    i = torch.arange(len(share)).float()
    return sum((p*(i - (p*i).sum()).square()).sum() for p in (share.sum(0), share.sum(1))).div(2).sqrt().item()


def run(seed):
    torch.manual_seed(seed)
    net, (x, y), (xv, yv) = deep_net(), digits()['train'], digits()['valid']
    opt, found = torch.optim.Adam(net.parameters(), .003), {}

    def look(step):
        share = effective_receptive_field(net, xv[:200], '0', middle, middle)
        found[f'side_{step}'], found[f'width_{step}'] = side(share), width(share)
        if step in (looks[0], looks[-1]): found.update({f'{"after" if step else "before"}_p{i}': v for i, v in enumerate(share.sum(0).tolist())})

    look(0)
    for step, (xb, yb) in enumerate(batches(x, y, 64, looks[-1], seed), 1):
        opt.zero_grad()
        F.cross_entropy(net(xb), yb).backward()
        opt.step()
        if step in looks: look(step)
    return dict(found, accuracy=evaluate(net, xv, yv)[1])


if __name__ == '__main__': study(__file__, run, ({}, range(5)))
