#!/usr/bin/env python3
"""A training run that keeps its history: saves in the background, keeps the last, the best and every hundredth step, goes
on where it stopped, and tells afterwards what changed.

    PYTHONPATH=build/python build/venv/bin/python examples/training_history.py [FOLDER] [STEPS]
"""

import pathlib
import sys
import tempfile

import torch

import tenon


def data(generator):
    x = torch.rand(64, 8, generator=generator)
    return x, (x.sum(1, keepdim=True) * 0.5).sin()


def train(manager, steps):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
    first = manager.next_step()
    if first > 0:
        manager.load_into(model)  # assigned, not copied: pages are read when they are used
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)  # after that, for parameters are others now
    if first > 0:
        optimizer.load_state_dict(manager.load(path="optim"))
        print(f"goes on at step {first}")
    for step in range(first, steps):
        x, y = data(torch.Generator().manual_seed(step))
        loss = torch.nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        manager.save(step, model=model, optimizer=optimizer, metrics={"loss": loss.item()})  # does not wait for the disk
    manager.wait()


def main(folder, steps=300):
    path = pathlib.Path(folder) / "run.tenon"
    rules = {"save_every": 10, "keep_last": 2, "keep_every": 100, "keep_best": "min:loss"}
    train(tenon.CheckpointManager(path, **rules), steps // 2)
    train(tenon.CheckpointManager(path, **rules), steps)  # as after a restart

    store = tenon.open(path)
    print("kept:")
    for info in store.log():
        print(f"  {info.id[:12]} step {info.step}, loss {info.meta['loss']:.5f}, {info.tensor_count} tensors")
    oldest = store.log()[-1]
    print(f"what changed since step {oldest.step}:")
    for change in store.diff(oldest.id, "main", prefix="model"):
        print(f"  {change.name}: {change.change}, by {change.rel_change:.1%} of its norm")
    best = store.snapshot("main@min:loss")
    state = best.load("model")
    print(f"the best was step {best.step}; its first layer has norm {state['0.weight'].norm():.3f}, as the store knew "
          f"without reading it: {store[f'{best.id}:model/0.weight'].stats()['norm']:.3f}")
    moments = [handle for handle in best.select("optim") if handle.param == "0.weight"]
    print("its optimizer state:", ", ".join(handle.name for handle in moments))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        given = sys.argv[1:]
        main(given[0] if given else temporary, *map(int, given[1:2]))
