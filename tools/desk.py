"""Lay the notebooks out in desk/, where a reader runs and changes them and git does not look: `make lab`.

What the reader has not touched is brought up to date, and what he or she has saved stays as it is.
"""
import json
from hashlib import sha256
from pathlib import Path

root = Path(__file__).resolve().parent.parent


def digest(path: Path): return sha256(path.read_bytes()).hexdigest() if path.exists() else None


def lay(nbs: Path, desk: Path) -> list[str]:
    "Copy what is new in `nbs` to `desk`. Gives the files that have changed in both, which are left alone."
    desk.mkdir(exist_ok=True)
    record, kept = desk/'.copied.json', []
    copied = json.loads(record.read_text(encoding='utf-8')) if record.exists() else {}
    for path in sorted(p for p in nbs.rglob('[!_.]*') if p.is_file() and '.ipynb_checkpoints' not in p.parts):
        name = path.relative_to(nbs).as_posix()
        new, old, mine = digest(path), copied.get(name), digest(desk/name)
        if mine in (None, old, new):  # not there, or as it was copied
            (desk/name).parent.mkdir(parents=True, exist_ok=True)
            (desk/name).write_bytes(path.read_bytes())
            copied[name] = new
        elif new != old: kept.append(name)
    record.write_text(json.dumps(copied), encoding='utf-8')
    return kept


def main():
    kept = lay(root/'nbs', root/'desk')
    if kept: print(f"Newer in nbs/, kept in desk/ as you left them: {', '.join(kept)}. Delete one to get the new one.")


if __name__ == '__main__': main()
