"""Put the scripts of now into the live pieces of saved notebooks, without running anything: `make pieces`.

What a piece keeps in its state stays as it is. Where that has changed, run the notebook: `make notebooks`."""
import json
import sys
from pathlib import Path

from convlab.draw.widgets import refreshed

nbs = Path(__file__).resolve().parent.parent/'nbs'


def outputs(nb: dict) -> list[dict]:
    "The outputs of a notebook that hold live pieces, each as its forms."
    found = [out.get('data', {}) for cell in nb['cells'] for out in cell.get('outputs', [])]
    return [data for data in found if 'convlab-place' in ''.join(data.get('text/html', ''))]


def bring_up_to_date(nb: dict) -> bool:
    "Change the scripts of `nb` in place; was there one to change?"
    old = [data['text/html'] for data in outputs(nb)]
    for data in outputs(nb): data['text/html'] = refreshed(''.join(data['text/html'])).splitlines(True)
    return old != [data['text/html'] for data in outputs(nb)]


def main():
    "All notebooks, or those that are named."
    for path in map(Path, sys.argv[1:] or sorted(nbs.rglob('[!_.]*.ipynb'))):
        nb = json.loads(path.read_text(encoding='utf-8'))
        if not bring_up_to_date(nb): continue
        path.write_text(json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
        print(f'{path.name} has the scripts of now')


if __name__ == '__main__': main()
