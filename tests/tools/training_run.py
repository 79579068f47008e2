"""A small training run in a store: what docs/questions.md asks about. The same bytes on every machine.

main      steps 0 to 1000: a model with two dead rows in its embedding and a head that is tied to it, its optimizer, a
          learning rate that falls; from step 800 on a NaN in layers.1.mlp.weight
ablation  steps 0 to 1000 from the same embedding, other layers
"""

import math
import pathlib
import subprocess

import torch

STEPS = range(0, 1001, 200)
VAL_LOSS = {"main": [4.10, 2.95, 2.31, 2.02, 2.44, 2.61], "ablation": [4.10, 3.05, 2.52, 2.27, 2.15, 2.09]}
LAYERS = 3


def first_model(seed):
    torch.manual_seed(7)
    embed = torch.rand(8, 4) - 0.5
    embed[[2, 5]] = 0
    torch.manual_seed(seed)
    model = {"embed.weight": embed}
    for layer in range(LAYERS):
        model[f"layers.{layer}.norm.weight"] = torch.ones(4)
        model[f"layers.{layer}.attn.weight"] = torch.rand(4, 4, dtype=torch.float32) - 0.5
        model[f"layers.{layer}.mlp.weight"] = torch.rand(8, 4, dtype=torch.float32) - 0.5
    model["head.weight"] = embed
    return model


def learning_rate(step):
    return 0.001 * 2.0 ** (-step / 400)


def take_step(model, index):
    """Later layers move more; the embedding and the norms stay as they are."""
    for layer in range(LAYERS):
        for part, share in (("attn", 0.01), ("mlp", 0.02)):
            name = f"layers.{layer}.{part}.weight"
            update = (torch.rand_like(model[name]) - 0.5) * share * (layer + 1) / (index + 1)
            model[name] = model[name] + update
    return model


def optimizer(model, step):
    parameters = [tensor for name, tensor in model.items() if name != "head.weight"]
    state = {i: {"step": torch.tensor(float(step)), "exp_avg": tensor.nan_to_num() * 0.1,
                 "exp_avg_sq": tensor.nan_to_num() ** 2 * 0.01} for i, tensor in enumerate(parameters)}
    return {"state": state, "param_groups": [{"lr": learning_rate(step), "weight_decay": 0.01,
                                              "params": list(range(len(parameters)))}]}


def make(tenon, folder):
    """A store run.tenon in `folder`, by the command `tenon`."""
    folder = pathlib.Path(folder)
    subprocess.run([tenon, "init", "--relaxed", folder / "run.tenon"], check=True, stdout=subprocess.DEVNULL)
    for seed, ref in ((1, "main"), (2, "ablation")):
        model = first_model(seed)
        for index, step in enumerate(STEPS):
            if index:
                model = take_step(model, index)
            if ref == "main" and step >= 800:
                model["layers.1.mlp.weight"] = model["layers.1.mlp.weight"].clone()
                model["layers.1.mlp.weight"][3, 1] = math.nan
            checkpoint = {"model": model, "optim": optimizer(model, step), "step": step}
            torch.save(checkpoint, folder / "checkpoint.pt")
            subprocess.run([tenon, "--store", folder / "run.tenon", "import", folder / "checkpoint.pt", "--ref", ref,
                            "--step", str(step), "--meta", f"val_loss={VAL_LOSS[ref][index]}"],
                           check=True, stdout=subprocess.DEVNULL)
    (folder / "checkpoint.pt").unlink()
