"""Every method: what is frozen stays, stopped and resumed equals uninterrupted, two processes equal one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY

from truenet.config import MixingConfig, TRUNetConfig
from truenet.mixing import Mixer, Mixture
from truenet.rooms import Rooms
from truenet.sources import Recordings
from truenet.streaming import StreamingTRUNet
from truenet.training_step import estimate_parts
from truenet_apps import adapt_run
from truenet_apps.adapt_config import LEARNING_RATES, AdaptConfig, Method
from truenet_apps.adapt_domains import Domain
from truenet_apps.adapt_losses import crop_losses
from truenet_apps.adapt_methods import apply_adapter, start, trained_count, write_adapter
from truenet_apps.adapt_run import CHECKPOINT, Adaptation

METHODS = tuple(LEARNING_RATES)
CROP = 8128


def base() -> StreamingTRUNet:
    torch.manual_seed(0)
    model = StreamingTRUNet(TINY)
    model.train()
    generator = torch.Generator().manual_seed(1)
    audio = 0.1 * torch.randn(2, 128 * 40, generator=generator)
    model.parts(audio, model.initial_state(2))  # statistics of the batch norms
    return model.eval()


def settings(method: Method = "paca", **changes: object) -> AdaptConfig:
    small = MixingConfig(crop_samples=CROP, room_probability=1.0, noise_room_probability=0.0)
    values: dict[str, object] = {
        "method": method, "steps": 6, "batch_crops": 4, "old_crops": 2, "watch_crops": 2,
        "watch_steps": 2, "warmup_steps": 1, "rank": 3, "mixing": small, "old_mixing": small,
    }  # fmt: skip
    return AdaptConfig(**{**values, **changes})  # type: ignore[arg-type]


def domain(config: AdaptConfig, seed: int) -> Domain:
    generator = np.random.default_rng(seed)
    noises = [
        (generator.standard_normal(20_000) * 3000).astype(np.int16) for _ in range(4)
    ]  # two of speech and two of noise
    offsets = np.array([0, 20_000, 40_000])
    speech, noise = (
        Recordings(np.concatenate(two), offsets, ("a", "a")) for two in (noises[:2], noises[2:])
    )
    direct = np.zeros((1, 19_200), np.float32)
    direct[0, 40] = 1
    rooms = Rooms(direct, np.roll(direct, 900) * np.float32(0.5))
    mixers = [Mixer(config.mixing, speech, noise, rooms, seed + i) for i in range(4)]
    return Domain(*mixers, "nothing")


def adaptation(config: AdaptConfig, folder: Path | None = None) -> Adaptation:
    return Adaptation(config, base(), domain(config, 1), domain(config, 2), folder)


@pytest.mark.parametrize("method", METHODS)
def test_stopped_and_resumed_equals_uninterrupted(method: Method, tmp_path: Path) -> None:
    whole = adaptation(settings(method))
    assert whole.train(lambda _: None)
    for stop_at in (1, 3, None):
        pieces = adaptation(settings(method), tmp_path)
        pieces.seconds_a_step()  # as the command does, and changes nothing
        at_end = pieces.train(lambda _: None, lambda at=stop_at, run=pieces: run.step == at)
        assert at_end == (stop_at is None)
    assert pieces.step == 6
    for name, value in whole.values().items():
        assert torch.equal(value, pieces.values()[name]), name
        assert torch.equal(whole.best[name], pieces.best[name]), name
    assert [(s.step, s.new, s.old) for s in whole.history] == [
        (s.step, s.new, s.old) for s in pieces.history
    ]
    assert whole.best_step == pieces.best_step


@pytest.mark.parametrize(("bfloat16_seconds", "chosen"), [(0.5, "bfloat16"), (0.9, "float32")])
def test_the_precision_goes_by_the_time_of_a_step(
    bfloat16_seconds: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seconds(run: Adaptation) -> float:
        return bfloat16_seconds if run.model.mixed_precision else 1.0

    monkeypatch.setattr(Adaptation, "seconds_a_step", seconds)
    run = adaptation(settings(precision="auto"))
    assert run.choose_precision() == (bfloat16_seconds if chosen == "bfloat16" else 1.0)
    assert run.config.precision == chosen
    assert run.model.mixed_precision == (chosen == "bfloat16")
    assert [seen.step for seen in run.history] == [0]
    given = adaptation(settings(precision="float32"))
    given.choose_precision()
    assert given.config.precision == "float32"


@pytest.mark.parametrize("method", METHODS)
def test_what_is_frozen_stays_and_the_adapter_gives_what_was_trained(
    method: Method, tmp_path: Path
) -> None:
    run = adaptation(settings(method, learning_rate=1e-2))
    run.train(lambda _: None)
    run.take_best()
    write_adapter(run.training, tmp_path / "a.adapter", {"adapted_to": "here"})
    model, before, trained = base(), base().state_dict(), dict(run.model.state_dict())
    assert apply_adapter(model, tmp_path / "a.adapter")["adapted_to"] == "here"
    changed = set()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, trained[name], rtol=2e-3, atol=2e-4)
        if not torch.equal(value, before[name]):
            changed.add(name)
    assert changed
    assert not any("running" in name or "batches_tracked" in name for name in changed)
    if method != "full":
        assert not any("norm" in name or "depthwise.weight" in name for name in changed)
        assert not any("weight_hh" in name or name.startswith("features") for name in changed)
    if method == "bias":
        assert all(".bias" in name for name in changed)
    if method.startswith("paca"):
        weight = "network.encoder.2.pointwise.weight"
        columns = (model.state_dict()[weight] != before[weight]).flatten(1).any(0)
        assert columns.sum() <= 3


@pytest.mark.parametrize("method", METHODS)
def test_training_lowers_the_loss(method: Method) -> None:
    rate = 12 * LEARNING_RATES[method]
    run = adaptation(settings(method, steps=16, learning_rate=rate, watch_steps=8))
    run.train(lambda _: None)
    assert run.history[-1].new < run.history[0].new - 0.01


@pytest.mark.parametrize("method", METHODS)
def test_the_original_domain_is_taught_by_the_base(
    method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its crops get what the base made of them, however far training went; those of the place keep their parts."""
    run = adaptation(settings(method, steps=2, learning_rate=2e-2))
    run.train(lambda _: None)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    seen = []

    def losses(model: StreamingTRUNet, mixture: Mixture, *rest: object) -> torch.Tensor:
        seen.append(mixture)
        return crop_losses(model, mixture, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(adapt_run, "crop_losses", losses)
    run._gradients(5)
    drawn, old = run.batch(5), run.config.old_crops
    starts = torch.cat([run.starts.draw(5, crop) for crop in range(old)])
    with torch.no_grad():
        made, _ = estimate_parts(base(), drawn.mixture[:old], starts)
    taught = torch.stack(seen[0][1:])
    torch.testing.assert_close(taught[:, :old], made, rtol=1e-4, atol=1e-6)
    assert torch.equal(taught[:, old:], torch.stack(drawn[1:])[:, old:])
    assert torch.equal(seen[0].mixture, drawn.mixture)
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_best_step_is_kept() -> None:
    run = adaptation(settings(learning_rate=0.5))  # far too large
    run.train(lambda _: None)
    costs = {seen.step: run._cost(seen) for seen in run.history}
    assert run.best_step == min(costs, key=costs.__getitem__)
    run.take_best()
    for name, value in run.values().items():
        assert torch.equal(value, run.best[name])


def test_a_full_disk_costs_the_checkpoint_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, said = settings(), []
    run = Adaptation(config, base(), domain(config, 1), domain(config, 2), tmp_path, said.append)
    run.save()
    before = (tmp_path / CHECKPOINT).read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    assert run.train(lambda _: None)
    assert len(said) == 3
    assert "No space left on device" in said[0]
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_sizes_at_the_shipped_shape(tmp_path: Path) -> None:
    """What the table in docs/ADAPT.md says: a fifth of the kept bytes is `tests/partialgrad/test_our_network.py`."""
    trained = {
        method: start(StreamingTRUNet(TRUNetConfig()), AdaptConfig(method=method))
        for method in METHODS
    }
    counts = {method: trained_count(training) for method, training in trained.items()}
    write_adapter(trained["paca"], tmp_path / "a.adapter", {})
    assert (tmp_path / "a.adapter").stat().st_size < 80_000
    assert counts["paca"] == counts["paca+dropbp"]
    assert counts["bias"] < counts["paca"] < counts["full"] == 382_685


TWO_PROCESSES = """
import os, sys, torch
from torch import distributed as dist
sys.path.insert(0, {tests!r})
from test_adapt_run import adaptation_in_double
if {world} > 1:
    dist.init_process_group("gloo", init_method="file://" + {store!r}, rank=int(sys.argv[1]), world_size={world})
run = adaptation_in_double()
run.train(lambda _: None)
if run.rank == 0:
    torch.save(run.values(), {out!r})
if {world} > 1:
    dist.barrier()
    os._exit(0)  # as in partialgrad/ranks.py
"""


def adaptation_in_double() -> Adaptation:
    torch.set_num_threads(1)
    config = settings(steps=3)
    return Adaptation(config, base().double(), domain(config, 1), domain(config, 2))


@pytest.mark.slow
def test_two_processes_equal_one_with_all_crops(tmp_path: Path) -> None:
    found = {}
    for world in (1, 2):
        out = tmp_path / f"{world}.pt"
        code = TWO_PROCESSES.format(
            tests=str(Path(__file__).parent),
            world=world,
            store=str(tmp_path / "store"),
            out=str(out),
        )
        command = [sys.executable, "-c", code]
        running = [subprocess.Popen([*command, str(rank)], env=os.environ) for rank in range(world)]
        assert [one.wait(timeout=120) for one in running] == [0] * world
        found[world] = torch.load(out, weights_only=True)
    for name, value in found[1].items():
        assert value.dtype == torch.float64
        torch.testing.assert_close(found[2][name], value, rtol=0, atol=1e-5)
    assert any(value.abs().max() > 1e-4 for value in found[1].values())
