"""The training loop: it resumes exactly, and its schedule rises and falls."""

import json
import resource
import signal

import pytest
import torch
from torch import nn

from training.config import Optimisation
from training.errors import TrainingError
from training.loop import CHECKPOINT_FILE, METRICS_FILE, Chosen, Selection, fit, schedule

SETTINGS = Optimisation(learning_rate=0.05, epochs=1, batch_pairs=8, checkpoint_every_s=5, precision="fp32")


class KilledError(Exception):
    """Stands for a process that is killed in the middle of a step."""


def model_and_loss():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))

    def step_loss(step: int) -> torch.Tensor:
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        return (model(x)[:, 0] - x.sum(1)).square().mean()

    return model, step_loss


def test_a_run_that_was_killed_ends_as_one_that_was_not(tmp_path):
    whole, loss = model_and_loss()
    fit(whole, loss, 30, SETTINGS, tmp_path / "whole", seed=1, label="whole")

    broken, loss = model_and_loss()
    now = iter(range(0, 1000, 2))

    def loss_until_killed(step: int) -> torch.Tensor:
        if step == 17:
            raise KilledError
        return loss(step)

    with pytest.raises(KilledError):
        fit(broken, loss_until_killed, 30, SETTINGS, tmp_path / "broken", 1, "broken", clock=lambda: next(now))
    # The steps after the last checkpoint are done again; a line that the kill cut short is among what was written.
    with (tmp_path / "broken" / METRICS_FILE).open("a") as file:
        file.write('{"step": 16, "loss": 1.0}\n{"step": 1')
    resumed, loss = model_and_loss()
    first_steps = []
    fit(resumed, lambda s: first_steps.append(s) or loss(s), 30, SETTINGS, tmp_path / "broken", 1, "resumed")

    assert 0 < first_steps[0] <= 17
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert (tmp_path / "broken" / METRICS_FILE).read_text() == (tmp_path / "whole" / METRICS_FILE).read_text()


def test_a_damaged_checkpoint_says_how_to_mend_it(tmp_path):
    model, loss = model_and_loss()
    fit(model, loss, 5, SETTINGS, tmp_path, seed=1, label="once")
    path = tmp_path / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TrainingError, match=r"checkpoint\.pt: damaged; delete it"):
        fit(model, loss, 9, SETTINGS, tmp_path, seed=1, label="again")


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path):
    model, loss = model_and_loss()
    fit(model, loss, 5, SETTINGS, tmp_path, seed=1, label="once")
    before = (tmp_path / CHECKPOINT_FILE).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises((TrainingError, OSError)):
            fit(model, loss, 9, SETTINGS, tmp_path, seed=1, label="again")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert (tmp_path / CHECKPOINT_FILE).read_bytes() == before
    assert not list(tmp_path.glob("*.new"))


def test_a_finished_run_is_not_run_again(tmp_path):
    model, loss = model_and_loss()
    fit(model, loss, 5, SETTINGS, tmp_path, seed=1, label="once")
    fit(model, lambda _: pytest.fail("ran again"), 5, SETTINGS, tmp_path, seed=1, label="again")


def test_the_loss_falls_and_is_written_down(tmp_path):
    model, loss = model_and_loss()
    fit(model, loss, 200, SETTINGS, tmp_path, seed=1, label="fall")
    records = [json.loads(line) for line in (tmp_path / METRICS_FILE).read_text().splitlines()]
    assert records[-1]["step"] == 199
    assert records[-1]["loss"] < records[0]["loss"]
    assert (tmp_path / CHECKPOINT_FILE).exists()


def test_a_loss_that_is_not_finite_stops_the_run_before_it_spoils_the_weights(tmp_path):
    model, loss = model_and_loss()
    with pytest.raises(TrainingError, match="step 0: the gradient is not finite; lower the learning rate"):
        fit(model, lambda s: loss(s) * float("nan"), 5, SETTINGS, tmp_path, seed=1, label="nan")
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_the_learning_rate_rises_over_the_warm_up_and_falls_to_the_end():
    rates = [schedule(step, 100, 0.1) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[9] == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.02


def dev_loss_of(model, curve):
    """A dev loss with the value of a curve for each measurement, and the weights that were seen."""
    calls = []

    def measure() -> float:
        calls.append(model[0].weight.detach().clone())
        return curve(len(calls))

    return measure, calls


def test_the_weights_of_the_lowest_dev_loss_are_kept(tmp_path):
    model, loss = model_and_loss()
    measure, seen = dev_loss_of(model, lambda call: [3.0, 1.0, 2.0, 1.5][call - 1])
    chosen = fit(model, loss, 8, SETTINGS, tmp_path, 1, "best", selection=Selection(measure, every_steps=2))
    assert chosen == Chosen(steps=4, dev_loss=1.0, misses=2)
    assert torch.equal(model[0].weight, seen[1])
    assert not torch.equal(model[0].weight, seen[-1])
    records = [json.loads(line) for line in (tmp_path / METRICS_FILE).read_text().splitlines()]
    assert [r["dev_loss"] for r in records if "dev_loss" in r] == [3.0, 1.0, 2.0, 1.5]
    assert [path.name for path in tmp_path.glob("best-*")] == ["best-4.pt"]


def test_training_stops_when_the_dev_loss_gains_no_more(tmp_path):
    model, loss = model_and_loss()
    measure, seen = dev_loss_of(model, lambda call: abs(call - 2.0))
    steps = []
    selection = Selection(measure, every_steps=3, patience=2)
    chosen = fit(model, lambda s: steps.append(s) or loss(s), 100, SETTINGS, tmp_path, 1, "stop", selection=selection)
    assert (chosen.steps, len(steps), len(seen)) == (6, 12, 4)
    again = Selection(lambda: pytest.fail("measured again"), every_steps=3, patience=2)
    other, _ = model_and_loss()
    assert (
        fit(other, lambda _: pytest.fail("ran again"), 100, SETTINGS, tmp_path, 1, "again", selection=again) == chosen
    )
    assert torch.equal(other[0].weight, seen[1])


@pytest.mark.parametrize("killed_at", [1, 9, 10, 16, 29])
def test_the_best_weights_outlive_a_kill(tmp_path, killed_at):
    def trained(folder, until=None):
        model, loss = model_and_loss()
        x = torch.randn(64, 3, generator=torch.Generator().manual_seed(99))

        def step_loss(step):
            if step == until:
                raise KilledError
            return loss(step)

        def dev_loss():
            model.eval()
            with torch.no_grad():
                return float((model(x)[:, 0] - x.sum(1)).square().mean())

        chosen = fit(model, step_loss, 30, SETTINGS, folder, 1, "fit", selection=Selection(dev_loss, every_steps=2))
        return chosen, model

    expected, whole = trained(tmp_path / "whole")
    with pytest.raises(KilledError):
        trained(tmp_path / "broken", killed_at)
    chosen, resumed = trained(tmp_path / "broken")
    assert chosen == expected
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert (tmp_path / "broken" / METRICS_FILE).read_text() == (tmp_path / "whole" / METRICS_FILE).read_text()


def test_frozen_weights_are_not_in_checkpoints(tmp_path):
    model, loss = model_and_loss()
    model[0].weight.requires_grad = False
    fit(model, loss, 3, SETTINGS, tmp_path, seed=1, label="frozen")
    assert set(torch.load(tmp_path / CHECKPOINT_FILE)["model"]) == {"0.bias", "2.weight", "2.bias"}


def test_a_dev_loss_that_is_not_finite_stops_the_run(tmp_path):
    model, loss = model_and_loss()
    with pytest.raises(TrainingError, match="the dev loss is not finite; lower the learning rate"):
        fit(model, loss, 3, SETTINGS, tmp_path, 1, "nan", selection=Selection(lambda: float("nan"), every_steps=1))
