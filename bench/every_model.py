"""Every classification, segmentation and video model of torchvision (and one of every timm family, where timm is installed):
parameters and products against PyTorch's own, receptive field finite or whole, and a third of them against the gradient.

    python bench/every_model.py [part of a name ...]
"""
import random
import sys
import time
import warnings
from contextlib import contextmanager

import torch
from convlab import compat  # noqa: F401
from convlab.arithmetic import arithmetic, totals
from convlab.receptive import gradient_probe, image_box, receptive_field, trace_precedents
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

SIZES = {'inception_v3': (3, 299, 299), 'mvit_v1_b': (3, 16, 224, 224), 'mvit_v2_s': (3, 16, 224, 224), 's3d': (3, 16, 224, 224)}
VIDEO = models.list_models(models.video)


@contextmanager
def in_parts():
    "No fused short cuts, which PyTorch's counter does not see."
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), torch.no_grad(): yield
    finally: torch.backends.mha.set_fastpath_enabled(before)


def candidates():
    for name in models.list_models(models) + models.list_models(models.segmentation) + VIDEO:
        def build(name=name):
            kw = dict(weights=None) | (dict(init_weights=False) if name in ('googlenet', 'inception_v3') else {})
            return models.get_model(name, **kw, **dict(weights_backbone=None) if name in models.list_models(models.segmentation) else {})
        size = SIZES.get(name) or ((3, 8, 112, 112) if name in VIDEO else (3, 64, 64) if name in models.list_models(models.segmentation) else (3, 224, 224))
        yield name, build, size
    try: import timm
    except ImportError: return
    for module in timm.list_modules():
        names = timm.list_models(module=module)
        if not names: continue
        def build(name=names[0]): return timm.create_model(name, pretrained=False)
        yield 'timm/'+names[0], build, timm.create_model(names[0], pretrained=False).default_cfg['input_size']


def line(name, build, size):
    with torch.device('meta'): model = build().eval()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        start = time.perf_counter()
        tot = totals(arithmetic(model, size))
        took = time.perf_counter() - start
        rf = receptive_field(model, size)
    with in_parts(), FlopCounterMode(display=False) as counter: model(torch.empty(1, *size, device='meta'))
    macs, params = counter.get_total_flops()//2, sum(p.numel() for p in model.parameters())
    good = tot['params'] == params and tot['multiplications'] == macs
    field = ' whole' if all(rf.whole) else rf.size
    notes = '; '.join({str(w.message)[:150] for w in said if 'convlab' in str(w.filename) or 'no rule' in str(w.message) or 'leave' in str(w.message)})
    print(f"{'ok ' if good else 'BAD'} {name:40} {params:13,} {tot['multiplications']:17,} {tot['multiplications']-macs:+13,} {field} {took:5.1f} s {notes}", flush=True)
    return good


def check(name, build, size):
    "The gradient and the walk back, at one place of a layer in the middle."
    model = build().eval()
    rows = [n for n, m in model.named_modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Conv3d))]
    layer = rows[len(rows)//4]
    size = (*size[:-2], 64, 64) if name not in SIZES and not 'vit' in name and not 'swin' in name and 'maxvit' not in name else size
    at = [len(f)//2 for f in receptive_field(model, size, layer).first]
    kw = dict(zip(('depth', 'row', 'col')[3-len(at):], at))
    a, b = gradient_probe(model, size, layer, **kw), image_box(trace_precedents(model, size, layer, **kw))
    print(f"    {'ok ' if a == b else 'BAD'} {name} {layer} at {at}: {b}" + (f', gradient {a}' if a != b else ''), flush=True)
    return a == b


def main():
    random.seed(0)
    bad = []
    for name, build, size in candidates():
        if sys.argv[1:] and not any(a in name for a in sys.argv[1:]): continue
        try:
            if not line(name, build, size) or random.random() < 1/3 and not check(name, build, size): bad.append(name)
        except Exception as e:
            print(f'BAD {name}: {type(e).__name__}: {str(e)[:300]}', flush=True)
            bad.append(name)
    print(f'{len(bad)} to look at: {bad}')
    sys.exit(bool(bad))


if __name__ == '__main__': main()
