"""Every classification, segmentation, detection and video model of torchvision, and one of every timm family if timm is installed, beside
PyTorch's own counter and the gradient: `python experiments/zoo.py [name, torchvision or timm ...]`. Resumes where it stopped; names given are run again.
Writes convlab/static/zoo.csv, one row a model. Takes some 20 minutes on one core."""
import argparse
import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import time
import warnings
from pathlib import Path
from queue import Empty

import pandas as pd
import torch
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from convlab import compat  # noqa: F401  makes torchvision importable
from convlab.trace.probing import index_at, bounding_box, probe_gradient
from convlab.trace.reach import map_dims
from convlab.receptive import ReceptiveField, layer_node, walk_back
from convlab.trace.table import arithmetic_table, totals
from convlab.trace.tracing import trace_model
import torchvision
from torchvision import models

path = Path(__file__).resolve().parent.parent/'convlab'/'static'/'zoo.csv'
columns = ['name', 'source', 'kind', 'input', 'params', 'params_ok', 'macs', 'macs_torch', 'difference', 'why', 'field', 'probe', 'seconds', 'error']
counts = ['params', 'macs', 'macs_torch', 'difference']
small = 'atto femto pico nano xxt xx_small xxs xs tiny _t small _s mini 0a 0b m0 b0 s0 t0 l0 v0 18 10'.split()  # in the name of small models


def pick(names):  # a small model of a family, by its name
    return min(names, key=lambda n: (next((i for i, s in enumerate(small) if s in n), len(small)), len(n), n))


def torchvision_models():
    kinds = dict(classification=models, segmentation=models.segmentation, detection=models.detection, video=models.video)
    for kind, module in kinds.items():
        for name in models.list_models(module=module): yield name, 'torchvision', kind


def timm_models():
    try: import timm
    except ImportError: return
    for module in timm.list_modules():
        names = [n for n in timm.list_models(module=module) if not n.startswith('test_')]
        if names: yield pick(names), 'timm', module


class Quick(TorchFunctionMode):
    "Build a model without drawing random numbers: their values do not matter here."
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(func, '__name__', '') in ('normal_', 'uniform_', 'erfinv_'):
            t = args[0] if args else kwargs['tensor']
            t.detach().zero_()
            return t
        return func(*args, **kwargs)


def build(name, source, kind, device='cpu'):
    "The model and the shape of one input."
    with torch.device(device), Quick(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        if source == 'timm':
            import timm
            model = timm.create_model(name, pretrained=False)
            size = tuple(model.default_cfg['input_size'])
            return model.eval(), (3, 512, 512) if 'samvit' in name else size  # tracing attention over 64×64 places takes some 40 GB
        extra = dict(init_weights=False) if name in ('googlenet', 'inception_v3') else {}
        if kind in ('segmentation', 'detection'): extra['weights_backbone'] = None
        if kind == 'detection': extra['box_score_thresh' if 'rcnn' in name else 'score_thresh'] = 0.  # find something in noise
        model = models.get_model(name, weights=None, **extra).eval()
    if kind == 'video': return model, (3, 16, 112, 112) if name in ('r3d_18', 'mc3_18', 'r2plus1d_18') else (3, 16, 224, 224)
    return model, (3, 320, 320) if kind == 'detection' else (3, 299, 299) if name == 'inception_v3' else (3, 224, 224)


def plain_nms(boxes, scores, threshold):
    keep, order = [], scores.argsort(descending=True)
    while len(order):
        keep.append(order[0])
        order = order[1:][torchvision.ops.box_iou(boxes[order[:1]], boxes[order[1:]])[0] <= threshold]
    return torch.stack(keep) if keep else order


def declare():
    "Where torchvision has no compiled operators, give the two that detectors need a plain one each."
    if torchvision.extension._has_ops(): return None
    module = sys.modules['torchvision.ops.roi_align']
    lib = torch.library.Library('torchvision', 'FRAGMENT')
    lib.define('roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, int sampling_ratio, '
               'bool aligned) -> Tensor')
    lib.impl('nms', plain_nms, 'CPU')
    lib.impl('roi_align', module._roi_align, 'CPU')
    torchvision.extension._has_ops = module._has_ops = lambda: True
    return lib


def torch_counts(model, size):
    "Products by operation, as PyTorch's counter has them, without fused kernels."
    torch.backends.mha.set_fastpath_enabled(False)
    x, counter = torch.zeros(1, *size, device=next(model.parameters()).device), FlopCounterMode(display=False)
    with torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), counter: model.requires_grad_(False)(x)
    return {str(op).split('.')[-1]: n//2 for op, n in counter.get_flop_counts().get('Global', {}).items()}


def both_counts(model, size):
    "What the tracer found, and PyTorch's counts."
    t = trace_model(model, size)
    return t, torch_counts(model, size)


def probe(model, name, size):
    "The box of what a random value of a random layer depends on, by tracing back and by the gradient, on a small image."
    rng = random.Random(name)
    for side in (64, 96, 128, 192, size[-1]):
        little = (size[0], *[min(s, side if i or len(size) == 3 else 8) for i, s in enumerate(size[1:])])
        try: t = trace_model(model, little)
        except Exception: continue
        break
    maps = {}
    for layer, calls in t.calls.items():
        if layer and calls[-1] and (dims := map_dims(node := calls[-1][0][1])) and max(node.shape[d] for d in dims) > 1: maps[layer] = dims
    layer = rng.choice([*maps]) if maps else ''  # no layer has rows and columns: the output as a whole
    nth, node = t.calls[layer][-1][0]
    dims = maps.get(layer)
    place = [rng.randrange(node.shape[d]) for d in dims] if dims else None
    run = [next(iter(d)) for d in t.image.dims]
    ours = bounding_box(walk_back(t, node, place)[t.image], run)
    theirs = bounding_box(probe_gradient(model, t.image.shape, layer, len(t.calls[layer]), nth, index_at(node.shape, dims, place), 0) != 0, run)
    return 'equal' if ours == theirs else f'{layer} {place} of {little}: {ours} by tracing, {theirs} by the gradient'


def measure(name, source, kind, probed, limit, queue):
    "One row of the table."
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit+5))
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    row, start = dict(name=name, source=source, kind=kind, error=''), time.process_time()
    try:
        try:  # without numbers, if the model can do without; what a detector does depends on them
            if kind == 'detection': raise NotImplementedError
            model, size = build(name, source, kind, 'meta')
            t, theirs = both_counts(model, size)
        except Exception:
            model, size = build(name, source, kind)
            t, theirs = both_counts(model, size)
        row['input'] = '×'.join(map(str, size))
        table = arithmetic_table(t)
        tot = totals(table)
        row |= dict(params=tot['params'], params_ok=tot['params'] == sum(p.numel() for p in model.parameters()), macs=tot['multiplications'])
        field = ReceptiveField(layer_node(t, None)[0], t.sizes)
        row['field'] = '×'.join('whole' if w else str(s) for s, w in zip(field.size, field.whole))
        row |= dict(macs_torch=sum(theirs.values()), difference=tot['multiplications'] - sum(theirs.values()))
        if row['difference']: row['why'] = json.dumps(dict(torch=theirs, ours=table.groupby('type').multiplications.sum().loc[lambda s: s > 0].to_dict()), default=int)
        if probed: row['probe'] = probe(build(name, source, kind)[0], name, size)
    except BaseException as e: row['error'] = f'{type(e).__name__}: {e}'.replace('\n', ' ')[:300]
    queue.put(row | dict(seconds=round(time.process_time()-start, 1)))


def run(model, limit, probed):
    "Measure in a process of its own, so that nothing is kept, and no model can stop the others."
    ctx = multiprocessing.get_context('fork')
    queue = ctx.Queue()
    p = ctx.Process(target=measure, args=(*model, probed, limit, queue))
    p.start()
    row = None
    while row is None and p.is_alive():
        try: row = queue.get(timeout=1)
        except Empty: pass
    if row is None and not queue.empty(): row = queue.get()
    p.join()
    return row or dict(zip(columns, model), error=f'stopped after {limit} s' if p.exitcode == -signal.SIGXCPU else f'the process ended with {p.exitcode}')


def read(path):
    "The rows of the table, with None for an empty cell."
    rows = pd.read_csv(path, dtype={c: 'Int64' for c in counts}).astype(object)
    return rows.where(rows.notna(), None).to_dict('records')


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument('names', nargs='*')
    ap.add_argument('--limit', type=int, default=300, help='seconds of processor time for one model')
    ap.add_argument('--errors', action='store_true', help='run again what failed or differed')
    ap.add_argument('--out', type=Path, default=path)
    args = ap.parse_args()
    lib = declare()  # noqa: F841  forgotten when it is collected
    done = {(r['name'], r['source']): r for r in read(args.out)} if args.out.exists() else {}
    every = [*torchvision_models(), *timm_models()]
    third = set(random.Random(42).sample([m[:2] for m in every], len(every)//3))
    for model in every:
        if args.names and not {*model[:2]} & {*args.names}: continue
        old = done.get(model[:2])
        bad = old and (old['error'] or old['difference'] != 0 or 'by tracing' in (old['probe'] or ''))
        if old and model[0] not in args.names and not (args.errors and bad): continue
        row = run(model, args.limit, model[:2] in third)
        done[model[:2]] = row
        rows = [done[m[:2]] for m in every if m[:2] in done]
        tmp = args.out.with_suffix('.tmp')
        pd.DataFrame(rows, columns=columns).astype({c: 'Int64' for c in counts}).to_csv(tmp, index=False)
        os.replace(tmp, args.out)
        print({k: v for k, v in row.items() if k not in ('source', 'why')}, flush=True)


if __name__ == '__main__': main()
