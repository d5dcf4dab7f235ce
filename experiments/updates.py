"""How large is an update beside the weight it changes, through a whole training?

For each convolution, the standard deviation of its update divided by that of its weights: at every update to 20, then every third. The ten-digit
network, 117 updates of 512 digits; Adam at three rates, constant and 1cycle, and with batch norm; three seeds. One row a step and layer.
It takes one core four minutes: `python experiments/updates.py` writes `convlab/static/updates.csv`."""
import json

from common import digits, evaluate, nn, swept, torch, train, unfold, write

from convlab.models import simple_cnn


def run(seed, norm, schedule, lr):
    parts = digits()
    torch.manual_seed(seed)
    net = simple_cnn(norm=nn.BatchNorm2d if norm else None)
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    was, rows = [m.weight.detach().clone() for m in convs], []

    def after(i, net, loss):
        for layer, (m, old) in enumerate(zip(convs, was), 1):
            w = m.weight.detach()
            if i < 20 or i % 3 == 0: rows.append(dict(step=i, layer=layer, ratio=((w-old).std()/old.std()).item()))
            old.copy_(w)
    train(net, *parts['train'], 512, 117, lr, seed, schedule, after)
    return dict(test=evaluate(net, *parts['test'])[1], rows=json.dumps(rows))


if __name__ == '__main__':
    runs = unfold(swept(run, (dict(norm=[False, True], schedule=['constant', '1cycle'], lr=[.001, .01, .06]), 3)), 'norm', 'schedule', 'lr', 'seed', 'test')
    write('updates', runs, '%.3g')
    print(runs.groupby(['norm', 'schedule', 'lr']).ratio.median().round(4).to_string())
