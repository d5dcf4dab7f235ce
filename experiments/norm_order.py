"""Batch norm before or after the activation, with a bias in the convolutions before it or without, and on the last layer or not.

The ten-digit network: both orders with and without a norm on the last layer; and, where all layers have one, with and without biases. 100 steps
with 256 digits each (half an epoch), 1cycle to .06 (the chapter's rate), to a sixth of it and to five times as much (nothing is chosen by results), ten
seeds. A seed has the same first weights and the same batches in every way. Straight before a norm a bias does nothing: the two networks `before` with
all norms are one function, and their difference is the null model. `dead`: how many of the 120 channels of layers 1 to 4 have a ReLU that passes
nothing of 2,000 digits; `spread`: the standard deviation of the scores of these digits.
It takes one core a quarter of an hour: `python experiments/norm_order.py` writes `convlab/static/norm_order.csv`."""
from common import digits, evaluate, nn, study, torch, train
from convlab.orders import ordered_cnn


@torch.no_grad()
def dead(net, x) -> int:  # channels
    "How many channels of all ReLUs are zero everywhere on `x`."
    net.eval()
    found = []
    for layer in net[:4]:
        for m in layer:
            x = m(x)
            if isinstance(m, nn.ReLU): found.append((x.amax((0, 2, 3)) <= 0).sum())
    return sum(found).item()


def run(seed, order, bias, last, lr):
    torch.manual_seed(seed)
    net, (x, y) = ordered_cnn(order, bias, last), digits()['train']
    train_loss = train(net, x, y, 256, 100, lr, seed, '1cycle')
    test_loss, test = evaluate(net, *digits()['test'])
    some = digits()['valid'][0][:2000]
    with torch.no_grad(): spread = net.eval()(some).std().item()
    return dict(train_loss=train_loss, test_loss=test_loss, test=test, dead=dead(net, some), spread=spread)


if __name__ == '__main__':
    both = dict(order=['after', 'before'], lr=[.01, .06, .3])
    runs = study(__file__, run, (dict(both, bias=[True], last=[True, False]), 10), (dict(both, bias=[False], last=[True]), 10))
    print(runs.groupby(['lr', 'order', 'bias', 'last'], sort=False)[['train_loss', 'test_loss', 'test', 'dead', 'spread']].mean().round(4).to_string())
