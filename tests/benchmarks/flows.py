"""Time flows against their peers and against the bare networks, as ratios measured in one run.

Five layers, hidden widths (64, 64), 8 bins, batches of 1024, one thread, processor time; the floor
is the five networks alone (matrix products, biases, ReLU) in the same framework, with gradients and
Adam for a training step. Medians over interleaved rounds. Needs the ``bench`` extra.

    python tests/benchmarks/flows.py torch --dims 2 16 64 --output torch.json
    python tests/benchmarks/flows.py jax --dims 2 16 64 --output jax.json
    python tests/benchmarks/flows.py summary --dims 64 --input torch.json jax.json
"""

import argparse
import importlib
import json
import os
import platform
import time
from datetime import date
from pathlib import Path

from timing import interleaved

OPERATIONS = ("log_prob", "train", "sample", "joint")


def main(args):
    if args.backend == "summary":
        print(summary([json.loads(Path(path).read_text()) for path in args.input], args.dims))
        return None
    if args.device == "cpu":
        os.environ["OMP_NUM_THREADS"] = "1"
        flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        os.environ["XLA_FLAGS"] = flags
    module = importlib.import_module(f"contestants_{args.backend}")
    if args.backend == "torch" and args.device == "cpu":
        module.torch.set_num_threads(1)
    families = args.families or module.FAMILIES
    libraries = [name for name in module.LIBRARIES if not args.only or name in args.only]
    # on an accelerator the time is not the processor's
    clock = time.process_time if args.device == "cpu" else time.perf_counter
    report = {
        "date": str(date.today()),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "device": args.device,
        "rows": [],
    }
    for dim in args.dims:
        for family in families:
            calls = {}
            for library in libraries:
                try:
                    found = module.operations(library, family, dim, args.device)
                except ValueError as error:
                    print(f"{library} has no {family} at D {dim}: {error}")
                    continue
                for name in args.operations:
                    calls[library, name] = found[name]
            seconds = interleaved(calls, args.rounds, max_seconds=args.max_seconds, clock=clock)
            for library in libraries:
                if (library, args.operations[0]) in seconds:
                    times = {name: seconds[library, name] for name in args.operations}
                    count = module.num_parameters(library, family, dim)
                    row = {"dim": dim, "family": family, "library": library, "parameters": count}
                    report["rows"].append(row | {"seconds": times})
            print(table(report["rows"], dim, family, args.operations), flush=True)
            write(args.output, report)
    if args.extra:
        report["extra"] = extra(args.backend, module, args)
        print(json.dumps(report["extra"], indent=1))
        write(args.output, report)
    return report


def extra(backend: str, module, args) -> dict:
    """Return the memory of gradients (torch) or the seconds of compiling (JAX)."""
    if backend == "torch":
        sizes = {f: module.saved_mebibytes(f, 64) for f in ("MAF", "NSF-AR")}
        return {"MiB kept for the gradient of a sample, D 64": sizes}
    found = {}
    for family in ("NSF-coupling", "NSF-AR"):
        for depth in (5, 10, 20, 40):
            call = module.compile_train_step(family, 16, depth)
            start, clock = time.process_time(), time.perf_counter()
            call()
            found[f"{family}, {depth} layers"] = {
                "processor": time.process_time() - start,
                "wall": time.perf_counter() - clock,
            }
    return {"seconds to trace and compile a training step, D 16": found}


def table(rows: list[dict], dim: int, family: str, operations) -> str:
    """Return a markdown table of ratios to the floor, its first line the floor in ms."""
    rows = [row for row in rows if row["dim"] == dim and row["family"] == family]
    floors = next((row["seconds"] for row in rows if row["library"] == "floor"), None)
    lines = [f"| {family}, D {dim} | " + " | ".join(operations) + " | parameters |"]
    lines.append("|---" * (len(operations) + 2) + "|")
    for row in rows:
        if row["library"] == "floor" or floors is None:
            cells = [f"{1e3 * row['seconds'][name]:.2f} ms" for name in operations]
        else:
            cells = [f"{row['seconds'][name] / floors[name]:.1f}" for name in operations]
        lines.append(f"| {row['library']} | " + " | ".join(cells) + f" | {row['parameters']} |")
    return "\n".join(lines) + "\n"


def summary(reports: list[dict], dims: list[int]) -> str:
    """Return a markdown table of ratios to the floor: ours, and in brackets the best peer's."""
    lines = ["| D | flow | " + " | ".join(OPERATIONS) + " |", "|---" * (len(OPERATIONS) + 2) + "|"]
    keys = {(row["dim"], row["family"]): None for row in reports[0]["rows"] if row["dim"] in dims}
    for dim, family in keys:
        cells = []
        for name in OPERATIONS:
            parts = []
            for report in reports:
                seconds = {
                    row["library"]: row["seconds"][name]
                    for row in report["rows"]
                    if (row["dim"], row["family"]) == (dim, family)
                }
                floor, ours = seconds.pop("floor"), seconds.pop("ours")
                parts.append(f"{ours / floor:.1f} ({min(seconds.values()) / floor:.1f})")
            cells.append(" · ".join(parts))
        lines.append(f"| {dim} | {family} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(path: str | None, report: dict) -> None:
    if path:
        temporary = Path(f"{path}.part")
        temporary.write_text(json.dumps(report, indent=1))
        temporary.replace(path)


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backend", choices=["torch", "jax", "summary"])
    parser.add_argument("--dims", type=int, nargs="+", default=[2, 16, 64])
    parser.add_argument("--families", nargs="+", help="default: all")
    parser.add_argument("--only", nargs="+", help="libraries, default: all")
    parser.add_argument("--operations", nargs="+", choices=OPERATIONS, default=OPERATIONS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--max-seconds", type=float, default=5.0, help="per call and cell")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--extra", action="store_true", help="memory (torch), compiling (JAX)")
    parser.add_argument("--output", help="JSON file")
    parser.add_argument("--input", nargs="+", help="JSON files to summarise, in this order")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(parse_args())
