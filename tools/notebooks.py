"Run notebooks from top to bottom in a real Jupyter kernel and save them with their outputs: `make notebooks`."
import argparse
import base64
import io
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import numpy as np
from fastcore.nbio import read_nb, write_nb
from nbclient import NotebookClient
from nbdev.clean import clean_nb
from nbdev.config import get_config
from PIL import Image, ImageChops

from agree import complaints

nbs = Path(__file__).resolve().parent.parent/'nbs'


view = 'application/vnd.jupyter.widget-view+json'


def without_widgets(nb):
    "Take out of `nb` what only a running kernel can show, where there is something else to show; in place."
    nb.metadata.pop('widgets', None)
    for cell in nb.cells:
        for out in cell.get('outputs', []):
            if 'text/html' not in out.get('data', {}): continue
            out.data.pop(view, None)
            # the name of a model that is gone
            out.data['text/html'] = re.sub(r'data-piece="\w+"', 'data-piece=""', out.data['text/html'])
        if 'outputs' in cell: cell.outputs = [o for o in cell.outputs if view not in o.get('data', {})]


def lighter(png: str) -> str:
    "A large opaque picture with 256 colors, which takes less than half the room, if that hardly changes it."
    im = Image.open(io.BytesIO(base64.b64decode(png))).convert('RGBA')
    if len(png) < 30_000 or im.getextrema()[3] != (255, 255): return png
    im = im.convert('RGB')
    few = im.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
    # of 255; photographs in color stay as they are
    if np.asarray(ImageChops.difference(im, few.convert('RGB'))).max() > 16: return png
    buf = io.BytesIO()
    few.save(buf, 'png', optimize=True)
    return base64.b64encode(buf.getvalue()).decode()


def lighten(nb):
    "Make the pictures of `nb` take less room, in place."
    for out in (o for c in nb.cells for o in c.get('outputs', []) if 'image/png' in o.get('data', {})):
        out.data['image/png'] = lighter(out.data['image/png'])


def run(path: Path) -> list[str]:
    "Execute the notebook at `path` and save it clean; nothing is saved when a cell fails."
    nb = nbformat.read(path, as_version=4)
    # what a reader has yet to write is not run
    stubs = [c for c in nb.cells if c.cell_type == 'code' and c.source.startswith('#| eval: false')]
    for cell in stubs: cell.cell_type = 'raw'
    where = {'metadata': {'path': str(path.parent)}}
    NotebookClient(nb, timeout=3600, kernel_name='python3', resources=where).execute()
    for cell in stubs: cell.cell_type = 'code'
    nb.metadata['kernelspec'] = {'display_name': 'python3', 'language': 'python', 'name': 'python3'}
    without_widgets(nb)
    lighten(nb)
    found = complaints(nb)
    tmp = path.with_suffix('.tmp')
    nbformat.write(nb, tmp)
    clean = read_nb(tmp)
    clean_nb(clean, allowed_cell_metadata_keys=get_config(path=path).allowed_cell_metadata_keys)
    write_nb(clean, tmp)
    tmp.replace(path)
    return found


def chosen(names: list[str]) -> list[Path]:
    "Notebooks by path in nbs/, without `.ipynb`, or by bare name, a lesson before others of that name; by default all."
    paths = {p.relative_to(nbs).with_suffix('').as_posix(): p for p in sorted(nbs.rglob('[!_.]*.ipynb'))}
    wanted = {n.removesuffix('.ipynb') for n in names}
    return [p for path, p in paths.items() if not names or path in wanted or p.stem in wanted - {*paths}]


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument('names', nargs='*',
                    help='notebooks to run, such as 03_first_cnn or solutions/03_first_cnn (default: all)')
    names = ap.parse_args().names
    paths = chosen(names)
    os.environ['PYTHONHASHSEED'] = '0'
    os.environ.pop('MPLBACKEND', None)  # pictures are kept in the notebooks
    os.environ['CONVLAB_PROGRESS'] = os.path.join(tempfile.mkdtemp(), 'progress.json')  # not of who runs them
    bad = 0
    for path in paths:
        start = time.time()
        found = run(path)
        print(f'{path.name}: {time.time()-start:.0f} s', flush=True)
        for line in found: print(f'  {line}')
        bad += len(found)
    sys.exit(bool(bad))


if __name__ == '__main__': main()
