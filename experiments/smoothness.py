"""Is the loss smoother with batch norm in the hidden layers alone? And do gradients change less when earlier layers are updated?

Santurkar et al. (2018) make two tests; both, on the ten-digit network from Kaiming's start, over 120 updates of plain gradient descent with
batches of 256, at three rates, five seeds, for four networks: none; batch norm after each convolution, the scores' own too, as in the chapter; batch norm in the
hidden layers alone; and none with its scores normalized, to see what that alone does.

line       every fourth update: the loss along the gradient, at .5, 1, 2 and 4 times the rate. `low` and `high` are the band it covers; `change` is
           how far the gradient moves, as a share of its length.
earlier    the same updates: for each layer after the first, the gradient of its weights before and after all *earlier* layers are updated, at the
           same digits: `shift`, the distance as a share of the length before, and `cosine`.

One row an update and layer (layer 0: the line). It takes one core six minutes: `python experiments/smoothness.py` writes `convlab/static/smoothness.csv`."""
import json

from batchnorm_why import batches, data
from common import F, kaiming, nn, swept, torch, unfold, write

from convlab.models import simple_cnn


def network(kind):
    "The ten-digit network with batch norm where `kind` says."
    net = simple_cnn(norm=nn.BatchNorm2d if kind != 'none' else None)
    if kind == 'hidden layers': net[4] = net[4][0]
    if kind == 'scores alone': net = nn.Sequential(*[nn.Sequential(*block[:2]) for block in net[:4]], net[4], net[5])
    return kaiming(net)


def gradients(net, params, xb, yb):
    loss = F.cross_entropy(torch.func.functional_call(net, params, xb), yb)
    return loss.item(), dict(zip(params, torch.autograd.grad(loss, list(params.values()))))


def step(params, grad, lr, only=None):  # only: names to move
    return {k: (p - lr*grad[k] if only is None or k in only else p).detach().requires_grad_() for k, p in params.items()}


def norm(grads): return sum(g.square().sum() for g in grads).sqrt()


def line(net, params, grad, loss, xb, yb, lr):
    "The band that the loss covers along the gradient, and how far the gradient moves."
    tries = [gradients(net, step(params, grad, k*lr), xb, yb) for k in (.5, 1, 2, 4)]
    losses = [loss for loss, _ in tries]
    far = max(norm(g[k]-grad[k] for k in grad) for _, g in tries)
    return dict(layer=0, loss=loss, low=min(losses), high=max(losses), change=(far/norm(grad.values())).item())


def earlier(net, params, grad, xb, yb, lr):
    "For each layer after the first, how its gradient changes when the layers before it are updated."
    rows, before = [], set()
    blocks = [[k for k in params if k.startswith(f'{i}.')] for i in range(5)]
    for i, names in enumerate(blocks):
        if i:
            _, after = gradients(net, step(params, grad, lr, before), xb, yb)
            weight, = [k for k in names if params[k].dim() == 4]
            a, b = grad[weight], after[weight]
            rows.append(dict(layer=i+1, shift=(norm([b-a])/norm([a])).item(), cosine=F.cosine_similarity(a.flatten(), b.flatten(), 0).item()))
        before |= set(names)
    return rows


def run(seed, network_is, lr):
    x, y, xv, yv = data()
    torch.manual_seed(seed)
    net = network(network_is)
    params, rows = dict(net.named_parameters()), []
    for i, (xb, yb) in enumerate(batches(x, y, 256, 120, seed)):
        loss, grad = gradients(net, params, xb, yb)
        if i % 4 == 0: rows += [dict(step=i, **row) for row in (line(net, params, grad, loss, xb, yb, lr), *earlier(net, params, grad, xb, yb, lr))]
        params = step(params, grad, lr)
    with torch.no_grad(): scores = torch.func.functional_call(net.eval(), params, xv)
    right = (scores.argmax(1) == yv).float().mean().item()
    return dict(test=F.cross_entropy(scores, yv).item(), right=right, rows=json.dumps(rows))


if __name__ == '__main__':
    grid = dict(network_is=['none', 'every layer', 'hidden layers', 'scores alone'], lr=[.03, .1, .3])
    runs = unfold(swept(run, (grid, 5)), 'network_is', 'lr', 'seed', 'test', 'right')
    write('smoothness', runs, '%.3g')
    by = ['network_is', 'lr']
    print(runs[runs.layer == 0].assign(band=lambda t: t.high-t.low).groupby(by, sort=False)[['band', 'change', 'test', 'right']].median().round(3).to_string())
    print(runs[runs.layer > 0].groupby([*by, 'layer'], sort=False)[['shift', 'cosine']].median().round(3).to_string())
