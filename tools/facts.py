"""Rewrite every copy of a fact that settings.ini, nbs/index.ipynb or convlab/static/ holds.

That is Colab badges, set-up cells, version, README.md, the page of questions and the glossary.

Where git knows a repository on GitHub as `origin`, settings.ini first gets its user, repo and branch."""
import argparse
import json
import re
import subprocess
import sys
from base64 import b64decode
from configparser import ConfigParser
from pathlib import Path

root = Path(__file__).resolve().parent.parent
badge_img = 'https://colab.research.google.com/assets/colab-badge.svg'
badge_re = re.compile(r'\[!\[Open In Colab\]\([^)]*\)\]\([^)]*/nbs/([\w./]+\.ipynb)\)')  # a path in nbs/
source_re = re.compile(r'git\+(https://github\.com/[\w.-]+/[\w.-]+)@')
setup_mark = '#@title Set up: on Colab, and only there'
folded = {'jupyter': {'source_hidden': True}, 'cellView': 'form'}  # by JupyterLab, by Colab


def facts(root: Path) -> dict:
    "What settings.ini in `root` says, and the addresses that follow from it."
    ini = ConfigParser()
    ini.read(root/'settings.ini', encoding='utf-8')
    f = dict(ini['DEFAULT'])
    f['repo_url'] = f"https://github.com/{f['user']}/{f['repo']}"
    init = root/f['lib_path']/'__init__.py'
    f['old_url'] = source_re.search(init.read_text(encoding='utf-8'))[1]  # what links have until they are rewritten
    f['source'] = f"{f['name']}[{{extra}}] @ git+{f['repo_url']}@{f['branch']}"
    f['colab_url'] = f"https://colab.research.google.com/github/{f['user']}/{f['repo']}/blob/{f['branch']}/nbs"
    return f


def links(text: str, f: dict) -> str:
    "`text` with its Colab badges and its links into the repository as `f` has them."
    text = badge_re.sub(lambda m: f"[![Open In Colab]({badge_img})]({f['colab_url']}/{m[1]})", text)
    return re.sub(rf"{re.escape(f['old_url'])}(?![\w-])", f['repo_url'], text)


def setup_cell(f: dict) -> str:
    "The cell every notebook starts with: on Colab it installs the course beside the packages that Colab came with."
    return f"""{setup_mark}, this installs the course.
import os
from importlib import metadata, util
colab = util.find_spec('google') and util.find_spec('google.colab')
if colab: os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE') # threads with nothing to do sleep
if colab and not util.find_spec('{f['lib_path']}'):
    theirs = 'torch', 'torchvision', 'numpy', 'pandas' # Colab keeps its own
    keep = ' '.join(f'{{p}}=={{metadata.version(p)}}' for p in theirs)
    source = "{f['source'].format(extra='course')}"
    !pip install -q {{keep}} "{{source}}"
from {f['lib_path']}.all import *
if colab and not torch.cuda.is_available():
    print('Faster with a GPU: Runtime > Change runtime type > T4 GPU')"""


def notebook(text: str, f: dict) -> str:
    "The notebook `text`, JSON as nbdev writes it, with badges, links and set-up cell as `f` has them."
    nb = json.loads(text)
    for cell in nb['cells']:
        src = ''.join(cell['source'])
        if cell['cell_type'] == 'markdown': src = links(src, f)
        elif src.startswith(setup_mark):
            src = setup_cell(f)
            cell['metadata'] = folded
            name_module(nb)
        cell['source'] = src.splitlines(True)
    return json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False) + '\n'


def name_module(nb: dict):
    "Move the name of the module that a lesson exports from a cell, which a learner would see first, to its metadata."
    for cell in nb['cells']:
        named = re.fullmatch(r'#\| default_exp (\S+)', ''.join(cell['source']).strip())
        if not named: continue
        nb['metadata']['nbdev'] = {'default_exp': named[1]}
        nb['cells'] = [c for c in nb['cells'] if c is not cell]


def readme(index: str) -> tuple[str, dict]:  # Markdown, and the pictures it shows as `{path: bytes}`
    "README.md made from the notebook `index`: its text, its code, and what that gave or drew."
    text, pictures = [], {}
    for cell in json.loads(index)['cells']:
        src = ''.join(cell['source'])
        if cell['cell_type'] == 'markdown':
            text.append(re.sub(r'\]\(((?:\w+/)?\w+\.(?:ipynb|md))\)', r'](nbs/\1)', src))
            continue
        if src.startswith(setup_mark): continue
        alt = re.search(r'^#\| fig-alt: (.*)$', src, re.M)
        code = re.sub(r'^#\|.*\n', '', src, flags=re.M)
        text.append(f'```python\n{code}\n```')
        for out in cell['outputs']:
            png = out.get('data', {}).get('image/png')
            if png:
                name = f'nbs/images/index-{len(pictures)}.png'
                pictures[name] = b64decode(png)
                text.append(f"![{alt[1].strip() if alt else ''}]({name})")
            elif out['output_type'] == 'execute_result':
                text.append(f"```text\n{''.join(out['data']['text/plain']).rstrip()}\n```")
    return '<!-- Made from nbs/index.ipynb by `make badges`: edit that. -->\n\n' + '\n\n'.join(text) + '\n', pictures


def expected(root: Path) -> dict:  # `{path: bytes}`
    "Every file in `root` that holds a copy, as it should be."
    f = facts(root)
    files = {p: notebook(p.read_text(encoding='utf-8'), f) for p in sorted((root/'nbs').rglob('[!_.]*.ipynb'))}
    init = root/f['lib_path']/'__init__.py'
    for name, value in (('__version__', f['version']), ('__source__', f['source'])):
        text = files.get(init) or init.read_text(encoding='utf-8')
        files[init] = re.sub(rf'{name} = ".*?"', f'{name} = "{value}"', text)
    files[root/'CONTRIBUTING.md'] = links((root/'CONTRIBUTING.md').read_text(encoding='utf-8'), f)
    files[root/'README.md'], pictures = readme(files[root/'nbs'/'index.ipynb'])
    files |= pages(root/f['lib_path']/'static', root/'nbs')
    return {p: t.encode() for p, t in files.items()} | {root/n: b for n, b in pictures.items()}


def pages(static: Path, nbs: Path) -> dict:  # `{path: text}`
    "What is made from the data files of questions and terms."
    if not (static/'questions.json').exists(): return {}
    import glossary  # these two import the library, which needs an environment
    from convlab.course.quiz import page
    return {nbs/'questions.md': page(json.loads((static/'questions.json').read_text(encoding='utf-8'))),
            nbs/'glossary.md': glossary.page(glossary.entries(static.parent.parent))}


def differing(root: Path) -> dict:
    "The part of `expected` that is not so yet. Line ends do not count."
    def same(p, b): return p.exists() and p.read_bytes().replace(b'\r\n', b'\n') == b.replace(b'\r\n', b'\n')
    return {p: b for p, b in expected(root).items() if not same(p, b)}


def remote(root: Path) -> dict:  # user, repo and branch; empty where there is no remote on GitHub
    "The address that git knows the house by."
    def git(*args): return subprocess.run(['git', '-C', root, *args], capture_output=True, text=True).stdout.strip()
    at = re.search(r'github\.com[:/]([\w.-]+)/([\w.-]+?)(?:\.git)?/?$', git('remote', 'get-url', 'origin'))
    if not at: return {}
    head = git('symbolic-ref', '--short', 'refs/remotes/origin/HEAD').removeprefix('origin/')
    return dict(user=at[1], repo=at[2], **({'branch': head} if head else {}))


def move(root: Path, address: dict):
    "Write user, repo and branch of `address` into settings.ini, and leave the rest of it as it is."
    ini = root/'settings.ini'
    text = ini.read_text(encoding='utf-8')
    for key, value in address.items(): text = re.sub(rf'^{key} = .*', f'{key} = {value}', text, flags=re.M)
    ini.write_text(text, encoding='utf-8')


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument('--repository', metavar='USER/REPO',
                    help='change nothing; fail if settings.ini names another repository')
    wanted = ap.parse_args().repository
    f = facts(root)
    if wanted:
        if wanted.lower() != f"{f['user']}/{f['repo']}".lower():
            sys.exit(f"settings.ini says {f['user']}/{f['repo']}, and this is {wanted}: "
                     "run `make badges` in a clone of it and commit")
        return
    move(root, remote(root))
    for path, new in differing(root).items():
        print(f'{path.relative_to(root)} rewritten')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(new)


if __name__ == '__main__': main()
