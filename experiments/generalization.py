"""Does a network with batch normalization generalize better?

The ten-digit network with and without batch norm, both from Kaiming's weights, Adam, 1cycle to .01 (a rate fixed beforehand, not chosen by
results), 512 digits a batch, one epoch and five of 50,000 digits, five seeds. Afterwards loss and accuracy in eval mode on 10,000 digits that it
was trained on, on 10,000 validation digits, and on the test set. The gap between the first two is what does not generalize.
It takes one core eight minutes: `python experiments/generalization.py` writes `convlab/static/generalization.csv`."""
from common import digits, evaluate, kaiming, nn, study, torch, train
from convlab.models import simple_cnn

norms = {'none': None, 'batch norm': nn.BatchNorm2d}


def run(seed, norm, epochs, lr):
    torch.manual_seed(seed)
    net, (x, y), found = kaiming(simple_cnn(norm=norms[norm])), digits()['train'], {}
    train(net, x, y, 512, epochs*(len(x)//512), lr, seed, '1cycle')
    for name, part in (('train', (x[:10_000], y[:10_000])), ('valid', digits()['valid']), ('test', digits()['test'])):
        found[f'{name}_loss'], found[name] = evaluate(net, *part)
    return found


if __name__ == '__main__':
    runs = study(__file__, run, (dict(norm=list(norms), epochs=[1, 5], lr=[.01]), 5))
    print(runs.groupby(['epochs', 'lr', 'norm'], sort=False).mean().round(4).to_string())
