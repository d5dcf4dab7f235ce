"""What does the start decide? Five ways to draw the first weights, three rates, two schedules, and the same with batch norm.

PyTorch's own start, Kaiming's (variance 2 by the inputs of a unit), Kaiming's with weights a third as large and three times as large, and LSUV
(Mishkin and Matas 2015: Kaiming's, then each layer divided by the deviation that its output has on one batch). The ten-digit network, 117 updates of
512 digits, Adam, six seeds, three with batch norm. One row a run: `first` and `last`, the deviation of what the first and the fourth ReLU is given before training;
`after_20`, the loss after 20 updates; validation and test accuracy; `dead`, the share of channels of the four layers that are 0 for every place of
2,000 digits at the end.
It takes one core a quarter of an hour: `python experiments/starts.py` writes `convlab/static/starts.csv`."""
from common import digits, evaluate, kaiming, nn, study, torch, train

from convlab.models import simple_cnn


def convolutions(net): return [m for m in net.modules() if isinstance(m, nn.Conv2d)]


@torch.no_grad()
def into_relus(net, x):
    "What each of the four ReLUs is given."
    seen = []
    for block in net[:4]:
        for layer in block:
            if isinstance(layer, nn.ReLU): seen.append(x)
            x = layer(x)
    return seen


def level(conv, args, out): conv.weight.div_(out.std())


@torch.no_grad()
def begin(net, start, x):
    "Draw the first weights of `net` in the way `start`."
    if start != 'PyTorch': kaiming(net)
    by = {'a third': 1/3, 'three times': 3.}.get(start, 1.)
    for conv in convolutions(net): conv.weight.mul_(by)
    if start != 'LSUV': return
    for conv in convolutions(net):
        hook = conv.register_forward_hook(level)
        net(x)
        hook.remove()


def run(seed, norm, start, schedule, lr):
    parts = digits()
    x, y = parts['train']
    torch.manual_seed(seed)
    net = simple_cnn(norm=nn.BatchNorm2d if norm else None)
    begin(net, start, x[:512])
    before, early = into_relus(net.train(), x[:512]), []
    def after(i, net, loss):
        if i == 19: early.append(evaluate(net, x[:2000], y[:2000])[0]), net.train()
    train(net, x, y, 512, 117, lr, seed, schedule, after)
    (_, valid), (loss, test) = [evaluate(net, *parts[p]) for p in ('valid', 'test')]
    at_end = into_relus(net.eval(), x[:2000])
    return dict(first=before[0].std().item(), last=before[-1].std().item(), after_20=early[0], valid=valid, test=test, loss=loss,
                dead=torch.cat([(o <= 0).all(3).all(2).all(0).float() for o in at_end]).mean().item(), collapsed=test < .5)


if __name__ == '__main__':
    ways = ['PyTorch', 'Kaiming', 'a third', 'three times', 'LSUV']
    plain = dict(norm=[False], start=ways, schedule=['constant', '1cycle'], lr=[.003, .01, .06])
    runs = study(__file__, run, (plain, 6), (dict(plain, norm=[True], schedule=['1cycle'], lr=[.01, .06]), 3))
    print(runs.groupby(['norm', 'start', 'schedule', 'lr'], sort=False)[['first', 'last', 'after_20', 'test', 'dead', 'collapsed']].mean().round(3).to_string())
