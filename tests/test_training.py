"""A run that was stopped and resumed equals one that was not; two processes equal their averaged gradients."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch
from conftest import TINY
from running import ENVIRONMENT

from truenet.config import MixingConfig, StartConfig, TrainingConfig, TRUNetConfig, to_dict
from truenet.grids import GRIDS, Grids, SignalGrid, WeightGrid, remove_batch_norms
from truenet.mixing import Mixer
from truenet.streaming import StreamingTRUNet
from truenet.training import BEST_WEIGHTS, WEIGHTS, Run, learning_rate
from truenet.training_log import Progress
from truenet.training_step import TrainingStep
from truenet.weights import load_weights, save_weights


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainingConfig:
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    for kind, count in (
        ("speech", 3),
        ("noise", 2),
        ("rooms", 2),
        ("valid/clean", 2),
        ("valid/noisy", 2),
    ):
        (folder / kind).mkdir(parents=True)
        for index in range(count):
            samples = generator.standard_normal(16_000) * 0.1
            if kind == "rooms":
                samples *= np.exp(-np.arange(16_000) / 2000)
            soundfile.write(folder / kind / f"{index}.wav", samples, 16_000)
    return TrainingConfig(
        model=TINY,
        mixing=MixingConfig(
            speech=(str(folder / "speech"),),
            noise=(str(folder / "noise"),),
            rooms=(str(folder / "rooms"),),
            crop_samples=8128,
        ),
        steps=6,
        batch_crops=2,
        warmup_steps=2,
        decay_steps=2,
        checkpoint_steps=100,
        validation_steps=100,
        validation=str(folder / "valid"),
        workers=0,
    )


@pytest.fixture(scope="module")
def mixer(config: TrainingConfig) -> Mixer:
    return Mixer.from_config(config.mixing, config.seed)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / WEIGHTS)


@pytest.mark.parametrize(("sign", "optimizer"), [("continuous", "muon"), ("gumbel", "adamw")])
def test_resuming_equals_never_having_stopped(
    config: TrainingConfig, mixer: Mixer, tmp_path: Path, sign: str, optimizer: str
) -> None:
    config = dataclasses.replace(
        config,
        optimizer=optimizer,  # type: ignore[arg-type]
        validation="",
        starts=StartConfig(carried_share=0.4, rested_share=0.3, rest_steps=2, rest_seconds=0.2),
        model=dataclasses.replace(TINY, sign=sign),  # type: ignore[arg-type]
    )
    whole: list[Progress] = []
    Run(config, tmp_path / "whole", mixer).train(whole.append)
    pieces: list[Progress] = []
    for stop_at in (1, 4, None):
        run = Run(config, tmp_path / "pieces", mixer)
        run.train(pieces.append, lambda at=stop_at: at is not None and pieces[-1].step >= at)  # type: ignore[misc]
        torch.rand(7)  # whatever happens in between
    assert [p.step for p in pieces] == [p.step for p in whole] == [1, 2, 3, 4, 5, 6]
    assert [p.loss for p in pieces] == [p.loss for p in whole]
    expected = tensors(tmp_path / "whole")
    for name, tensor in tensors(tmp_path / "pieces").items():
        assert torch.equal(tensor, expected[name]), name
    rows = (tmp_path / "pieces" / "metrics.csv").read_text().splitlines()
    assert len(rows) == 7


def test_training_lowers_the_loss_of_a_batch(
    config: TrainingConfig, mixer: Mixer, tmp_path: Path
) -> None:
    config = dataclasses.replace(config, steps=40, learning_rate=3e-3, validation="", decay_steps=1)
    run = Run(config, tmp_path, mixer)
    step = TrainingStep(run.model, config)
    batch = mixer.batch(0, 2)
    parts = torch.stack([batch.voice, batch.room, batch.noise])

    def loss() -> float:
        with torch.no_grad():
            return step(batch.mixture, parts)[0].item()

    before = loss()
    run.train(lambda _: None)
    assert loss() < before - 0.2


def test_the_run_folder(config: TrainingConfig, mixer: Mixer, tmp_path: Path) -> None:
    reports: list[Progress] = []
    Run(config, tmp_path, mixer).train(reports.append)
    names = {path.name for path in tmp_path.iterdir()}
    assert {
        "config.json",
        "commit.txt",
        "metrics.csv",
        "checkpoint.pt",
        WEIGHTS,
        BEST_WEIGHTS,
    } <= names
    assert any(name.startswith("events.out") for name in names)
    assert not any(name.endswith(".part") for name in names)
    assert set(reports[-1].validation) == {"pesq_wb", "stoi", "si_sdr_db"}
    model, facts = load_weights(tmp_path / BEST_WEIGHTS)
    assert model.config == TINY
    assert float(facts["hours_seen"]) == pytest.approx(6 * 2 * 8128 / 16_000 / 3600, abs=0.01)
    assert float(facts["pesq_wb"]) == pytest.approx(reports[-1].validation["pesq_wb"], abs=1e-3)


def test_another_config_is_refused(config: TrainingConfig, mixer: Mixer, tmp_path: Path) -> None:
    Run(config, tmp_path, mixer).save()
    with pytest.raises(ValueError, match=r"another config.*learning_rate"):
        Run(dataclasses.replace(config, learning_rate=1.0), tmp_path, mixer)


def test_going_on_from_weights(config: TrainingConfig, mixer: Mixer, tmp_path: Path) -> None:
    first = Run(config, tmp_path / "first", mixer)
    first.train(lambda _: None)
    start = str(tmp_path / "first" / WEIGHTS)
    second = Run(dataclasses.replace(config, initial_weights=start), tmp_path / "second", mixer)
    for name, tensor in second.model.state_dict().items():
        assert torch.equal(tensor, first.average.state_dict()[name])
    other = dataclasses.replace(config, initial_weights=start, model=TRUNetConfig())
    with pytest.raises(ValueError, match="another model config"):
        Run(other, tmp_path / "third", mixer)


def test_learning_rate_rises_and_falls() -> None:
    config = TrainingConfig(steps=100, warmup_steps=10, decay_steps=50, learning_rate=1.0)
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[0] == 0.1
    assert rates[9] == rates[50] == 1.0
    assert rates[75] == 0.5
    assert 0 < rates[99] < 0.03
    assert max(rates) == 1.0


def test_two_processes_take_the_mean_of_their_gradients(
    config: TrainingConfig, mixer: Mixer, tmp_path: Path
) -> None:
    """One step by `truenet train` under torchrun, against the same step by hand."""
    config = dataclasses.replace(
        config, steps=1, validation="", mixed_precision=False, warmup_steps=1, decay_steps=1
    )
    path = tmp_path / "two.json"
    path.write_text(json.dumps(to_dict(config)))
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        "0",
    ]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "-m", "truenet_apps"]
    command += ["train", str(path), "-o", str(tmp_path / "two"), "--threads", "1"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    torch.set_num_threads(1)
    run = Run(config, tmp_path / "one", mixer)
    for rank in (0, 1):
        batch = mixer.batch(0, config.batch_crops, rank)
        replica = TrainingStep(run.model, config)
        statistics = {name: value.clone() for name, value in run.model.named_buffers()}
        loss, *_ = replica(batch.mixture, torch.stack([batch.voice, batch.room, batch.noise]))
        (loss / 2).backward()
        for (
            name,
            value,
        ) in run.model.named_buffers():  # every process has batch-norm statistics of its own
            value.copy_(statistics[name])
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), config.gradient_norm)
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(config, 0)
    run.optimizer.step()
    saved = torch.load(tmp_path / "two" / "checkpoint.pt", weights_only=True)["model"]
    for name, parameter in run.model.named_parameters():
        torch.testing.assert_close(saved[name], parameter.detach(), rtol=0, atol=2e-5, msg=name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 1, "stepz": 2}, "unknown key 'stepz'; did you mean 'steps'"),
        ({"mixing": {}}, "mixing.speech names no folder"),
        (
            {"mixing": {"speech": ["/nowhere"], "noise": ["/nowhere"]}},
            "/nowhere is not a folder",
        ),
    ],
)
def test_mistakes_end_the_command_in_one_line(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps(change))
    command = [
        sys.executable,
        "-m",
        "truenet_apps",
        "train",
        str(path),
        "-o",
        str(tmp_path / "run"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.fixture
def many_steps(config: TrainingConfig, tmp_path: Path) -> list[str]:
    """A command of more steps than anybody waits for, with a worker that mixes."""
    path = tmp_path / "c.json"
    config = dataclasses.replace(config, steps=100_000, validation="", workers=1)
    path.write_text(json.dumps(to_dict(config)))
    return ["train", str(path), "-o", str(tmp_path / "run"), "--threads", "1", "--every", "1"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_of_a_run_saves_it(
    number: signal.Signals, many_steps: list[str], tmp_path: Path
) -> None:
    """As Ctrl-C and service managers send it: to the workers that mix as well."""
    command = [sys.executable, "-m", "truenet_apps", *many_steps]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, start_new_session=True
    ) as run:
        late = threading.Timer(120, os.killpg, (run.pid, signal.SIGKILL))
        late.start()
        assert run.stderr is not None
        next(line for line in run.stderr if line.startswith("step 2/"))
        os.kill(run.pid, signal.SIGSTOP)  # the workers get it first, as in a long step
        os.killpg(run.pid, number)
        time.sleep(0.5)
        os.kill(run.pid, signal.SIGCONT)
        rest = run.stderr.read()
        late.cancel()
    assert run.returncode == 130, rest
    assert rest.count("stopping after this step") == 1
    step = int(rest.rsplit("at step ", 1)[1])
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step"] == step
    assert "Traceback" not in rest


@pytest.mark.parametrize(
    "where",
    ["training.Run._update", "training.TrainingLog.write", "mixing.MixtureBatches.__getitem__"],
)
def test_an_error_in_a_step_ends_the_run(where: str, many_steps: list[str]) -> None:
    """And does not wait for workers that nobody tells to end."""
    module = where.split(".")[0]
    code = f"""
import sys
from truenet import {module}
from truenet_apps.main import run
def fail(*_):
    raise RuntimeError("made to fail")
{where} = fail
sys.argv[1:] = {many_steps!r}
run()
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert done.returncode == 1
    assert "made to fail" in done.stderr


def test_weights_on_grids_are_trained_on_them(
    config: TrainingConfig, mixer: Mixer, tmp_path: Path
) -> None:
    model = StreamingTRUNet(TINY)
    remove_batch_norms(model)
    name = "network.first.weight"
    steps = WeightGrid(8, torch.full((TINY.encoder_channels[0], 1, 1, 1), 2.0**-8))
    signal = SignalGrid(2.0**-4, 128)
    facts = {GRIDS: Grids({name: steps}, {"network.first": (signal, signal)}).to_text()}
    first = tmp_path / "first.safetensors"
    save_weights(model, first, facts)
    config = dataclasses.replace(config, initial_weights=str(first), steps=3, warmup_steps=0)
    Run(config, tmp_path / "run", mixer).train(lambda progress: None)
    trained, found = load_weights(tmp_path / "run" / WEIGHTS)
    assert found[GRIDS] == facts[GRIDS]
    assert tensors(tmp_path / "run")[name].dtype == torch.int8
    assert not torch.equal(trained.network.first.bias, load_weights(first)[0].network.first.bias)
