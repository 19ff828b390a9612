"""Maximum likelihood with early stopping, torch."""

import copy
import math

import torch

__all__ = ["fit"]


def log_prob(model, x):
    return model.log_prob(x) if hasattr(model, "log_prob") else model().log_prob(x)


def fit(build, seed, table, learning_rate, budget):
    """Fit one model; returns its held-out log-densities, the best validation value and its step."""
    model = build(seed)
    train, valid, test = (torch.from_numpy(a) for a in (table.train, table.valid, table.test))
    batch_size = min(budget.batch_size, len(train))
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    stopping, best = budget.stopping(), copy.deepcopy(model.state_dict())
    for step in range(1, budget.num_steps + 1):
        rows = train
        if batch_size < len(train):
            rows = train[torch.randperm(len(train), generator=generator)[:batch_size]]
        optimizer.zero_grad()
        loss = -log_prob(model, rows).mean()
        loss.backward()
        optimizer.step()
        if step % budget.eval_every == 0:
            with torch.no_grad():
                value = float(log_prob(model, valid).mean())
            if not math.isfinite(value):
                break
            if stopping.improved(step, value):
                best = copy.deepcopy(model.state_dict())
            if stopping.exhausted:
                break
    model.load_state_dict(best)
    with torch.no_grad():
        return log_prob(model, test).double().numpy(), stopping.best, stopping.best_step, step
