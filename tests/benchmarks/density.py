"""Held-out log-likelihood of every recipe beside its peer: same counts, budgets and splits.

Each fit is one line of a JSONL file, written to disk at once: a run that was killed goes on where
it stopped. The learning rate is chosen from a grid by the validation rows at the first seed, on
both sides. The table gives the paired difference to the peer over the held-out rows, averaged over
the seeds, with a standard error that combines rows and seeds.

    python tests/benchmarks/density.py --data two_moons --families maf nsf_coupling --out out.jsonl
    python tests/benchmarks/density.py --table --out out.jsonl
"""

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "examples"), str(Path(__file__).parent)]

from density_families import FAMILIES, LIBRARIES, entries  # noqa: E402
from density_stopping import EarlyStopping  # noqa: E402
from density_table import compact, markdown  # noqa: E402
from tables import DATA, load_table  # noqa: E402


@dataclass(frozen=True)
class Budget:
    """What each fit may use."""

    num_steps: int
    batch_size: int = 256
    eval_every: int = 20
    patience: int = 15

    def stopping(self) -> EarlyStopping:
        return EarlyStopping(self.patience)


def read(path: Path) -> list[dict]:
    """The finished fits; a line cut off by a kill is left out."""
    lines = path.read_text().splitlines() if path.exists() else []
    records = []
    for line in lines:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def append(path: Path, record: dict) -> None:
    """Add one line and flush it to disk."""
    with open(path, "a") as file:
        file.write("\n" if file.tell() and not _ends_with_newline(path) else "")
        file.write(json.dumps(record) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _ends_with_newline(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def fit_once(entry, seed, learning_rate, table, budget) -> dict:
    """Fit one model of one library."""
    if entry.framework == "jax":
        from density_fit_jax import fit
    else:
        from density_fit_torch import fit
    wall, cpu = time.perf_counter(), time.process_time()
    test, valid, best_step, steps = fit(entry.build, seed, table, learning_rate, budget)
    return {
        "family": entry.family,
        "library": entry.library,
        "data": table.name,
        "seed": seed,
        "learning_rate": learning_rate,
        "num_parameters": entry.num_parameters,
        "size": entry.size,
        "num_steps": budget.num_steps,
        "valid": valid,
        "best_step": best_step,
        "steps": steps,
        "wall_seconds": round(time.perf_counter() - wall, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "test": [round(float(v), 5) for v in test],
    }


def run_entry(entry, table, args, budget) -> None:
    """Fit the grid of learning rates at the first seed, and the best of them at the others."""

    def fitted(seed, learning_rate):
        key = (entry.family, entry.library, table.name, seed, learning_rate, budget.num_steps)
        names = ("family", "library", "data", "seed", "learning_rate", "num_steps")
        for record in read(args.out):
            if tuple(record[name] for name in names) == key:
                return record
        record = fit_once(entry, seed, learning_rate, table, budget)
        append(args.out, record)
        mean = sum(record["test"]) / len(record["test"])
        print(
            f"{table.name:14s} {entry.family:18s} {entry.library:16s} seed {seed} "
            f"lr {learning_rate:g} parameters {entry.num_parameters} test {mean:.4f} "
            f"step {record['best_step']}/{record['steps']} {record['wall_seconds']:.1f} s",
            flush=True,
        )
        return record

    grid = [fitted(0, learning_rate) for learning_rate in args.learning_rates]
    best = max(grid, key=lambda record: record["valid"])["learning_rate"]
    for seed in range(1, args.num_seeds):
        fitted(seed, best)


def main(args):
    if args.table:
        print(compact(read(args.out)) if args.compact else markdown(read(args.out)))
        return
    budget = Budget(args.num_steps, eval_every=args.eval_every)
    for data in args.data:
        table = load_table(data)
        for family in args.families:
            for entry in entries(family, table.input_dim, args.libraries):
                run_entry(entry, table, args, budget)


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=DATA, default=["two_moons"])
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    parser.add_argument("--learning-rates", nargs="+", type=float, default=[1e-3, 5e-3])
    parser.add_argument("--num-seeds", type=int, default=3)
    parser.add_argument("--num-steps", type=int, default=1000, help="steps of a fit at most")
    parser.add_argument("--eval-every", type=int, default=20, help="steps between evaluations")
    parser.add_argument("--out", type=Path, required=True, help="JSONL file, appended to")
    parser.add_argument("--table", action="store_true", help="print the table of the file")
    parser.add_argument("--compact", action="store_true", help="the table in short")
    return parser.parse_args(argv)


if __name__ == "__main__":
    try:
        main(parse_args())
    except ImportError as error:
        raise SystemExit(
            f"{error}; the benchmark needs the extra: pip install -e '.[bench]'"
        ) from None
