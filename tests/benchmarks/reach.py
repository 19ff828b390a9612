"""How far the default guide reaches: gap, k-hat, coverage, modes and moments on known posteriors.

    python tests/benchmarks/reach.py run numpyro --out reach.jsonl
    python tests/benchmarks/reach.py run pyro --out reach.jsonl --targets ring moons
    python tests/benchmarks/reach.py table --out reach.jsonl

``AutoFlow`` and ``fit(num_steps=8000)`` as they are, 8 particles, float64. A run goes on where it
was cut. Moments are those of the unconstrained variables, in standard deviations of the reference:
exact draws, else four long chains of NUTS on NumPyro, kept beside the results.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from reach_hosts import HOSTS
from reach_targets import DENSITIES, MODES, PROBLEM_NAMES, mode_shares, model_of

NUM_PROPOSALS = 20_000
NUM_REFERENCE = 100_000
CHAINS = {"num_warmup": 2000, "num_samples": 5000}


def measure(host_name: str, target: str, seed: int, num_steps: int, folder: Path) -> dict:
    """Train the default guide on a target and describe it."""
    host = HOSTS[host_name](seed)
    problem = None if target in DENSITIES else host.problems[target]
    model = model_of(host, target) if problem is None else problem.model
    kwargs = {} if problem is None else {k: host.array(v) for k, v in problem.data.items()}
    begun = time.perf_counter()
    result = host.train(model, kwargs, num_steps)
    seconds = time.perf_counter() - begun
    weighted = host.weigh(model, kwargs, NUM_PROPOSALS)
    cover = host.cover(model, kwargs)
    log_weights = np.asarray(weighted.log_weights)
    row = {
        "host": host_name,
        "target": target,
        "seed": seed,
        "num_steps": num_steps,
        "start": host.guide.init_report.chosen,
        "num_modes": len(cover.posterior_masses),
        "learning_rate": result.learning_rate,
        "elbo": float(log_weights.mean()),
        "elbo_error": float(log_weights.std() / np.sqrt(log_weights.size)),
        "khat": weighted.khat,
        "log_evidence": weighted.log_evidence,
        "coverage": cover.fraction,
        "coverage_error": cover.fraction_error,
        "lost_modes": cover.lost_modes,
        "seconds": round(seconds, 1),
    }
    if target in MODES:
        shares = mode_shares(target, np.asarray(weighted.proposals["z"]))
        row["worst_share"] = float(np.abs(shares * MODES[target] - 1.0).max())
    if problem is not None:
        reference = host.unconstrain(_reference(target, problem, folder))
        draws = host.unconstrain({k: np.asarray(v) for k, v in weighted.proposals.items()})
        shift = np.abs(draws.mean(0) - reference.mean(0)) / reference.std(0)
        spread = np.abs(np.log(draws.std(0) / reference.std(0)))
        row |= {"mean_error": float(shift.mean()), "max_mean_error": float(shift.max())}
        row |= {"log_sd_error": float(spread.mean()), "max_log_sd_error": float(spread.max())}
    return row


def _reference(target: str, problem, folder: Path) -> dict[str, np.ndarray]:
    if problem.reference_fn is not None:
        return problem.reference_fn(NUM_REFERENCE, 1)
    path = folder / f"reference_{target}.npz"
    if not path.exists():
        np.savez(path, **_long_chains(target))
    return dict(np.load(path))


def _long_chains(target: str) -> dict[str, np.ndarray]:
    import jax
    from numpyro.infer import MCMC, NUTS

    from numpyro_deepgen.compare.problems import PROBLEMS

    jax.config.update("jax_enable_x64", True)
    problem = PROBLEMS[target]
    data = {name: jax.numpy.asarray(value) for name, value in problem.data.items()}
    kernel = NUTS(problem.model, target_accept_prob=0.95)
    mcmc = MCMC(kernel, num_chains=4, chain_method="sequential", progress_bar=False, **CHAINS)
    mcmc.run(jax.random.key(0), **data)
    return {name: np.asarray(value) for name, value in mcmc.get_samples().items()}


def table(rows: list[dict]) -> str:
    """Markdown, one line a target, Pyro before NumPyro."""
    lines = [
        "| target | gap, nats | worst mode | mean error | log-sd error | k-hat | coverage |",
        "|---|---|---|---|---|---|---|",
    ]

    def cells(found: list[dict], write) -> str:
        return " · ".join(write(row) for row in found) if found else "-"

    def gap(row: dict) -> str:
        value = -row["elbo"] if row["target"] in DENSITIES else row["log_evidence"] - row["elbo"]
        return f"{value:.3f}"

    for target in (*DENSITIES, *PROBLEM_NAMES):
        found = [r for host in HOSTS for r in rows if (r["host"], r["target"]) == (host, target)]
        writers = [
            gap,
            lambda r: f"{r['worst_share']:.1%}" if "worst_share" in r else "",
            lambda r: f"{r['mean_error']:.3f}" if "mean_error" in r else "",
            lambda r: f"{r['log_sd_error']:.3f}" if "log_sd_error" in r else "",
            lambda r: f"{r['khat']:.2f}",
            lambda r: f"{r['coverage']:.2f} ± {r['coverage_error']:.2f}",
        ]
        columns = [cells(found, write).strip(" ·") for write in writers]
        lines.append(f"| {target} | " + " | ".join(columns) + " |")
    return "\n".join(lines)


def read(path: Path) -> list[dict]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def main(args) -> None:
    if args.command == "table":
        print(table(read(args.out)))
        return
    for target in args.targets:
        key = (args.host, target, args.seed, args.num_steps)
        done = {(r["host"], r["target"], r["seed"], r["num_steps"]) for r in read(args.out)}
        if key in done:
            continue
        row = measure(args.host, target, args.seed, args.num_steps, args.out.parent)
        with args.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure and append")
    run.add_argument("host", choices=HOSTS)
    run.add_argument("--targets", nargs="+", default=[*DENSITIES, *PROBLEM_NAMES])
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--num-steps", type=int, default=8000)
    commands.add_parser("table", help="print what was measured")
    for command in commands.choices.values():
        command.add_argument("--out", type=Path, default=Path("reach.jsonl"))
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(parse_args())
