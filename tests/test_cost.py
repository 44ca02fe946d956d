"""Multiply-accumulates agree with the count by hand for the paper's table."""

from truenet.config import TRUNetConfig
from truenet.cost import count_macs_per_frame, count_parameters
from truenet.streaming import StreamingTRUNet


def test_the_papers_network_costs_two_billion_macs_per_second() -> None:
    config = TRUNetConfig()
    macs = count_macs_per_frame(config)
    assert macs["time_gru"] == 16 * (3 * 128 * (64 + 128) + 128 * 64)
    assert macs["frequency_gru"] == 16 * (2 * 3 * 64 * (128 + 64) + 128 * 64)
    assert abs(sum(macs.values()) - 17.05e6) < 0.01e6
    assert abs(sum(macs.values()) * config.frames_per_second - 2.13e9) < 0.01e9


def test_half_the_frames_cost_half() -> None:
    config = TRUNetConfig(hop_samples=256)
    assert count_macs_per_frame(config) == count_macs_per_frame(TRUNetConfig())
    assert config.frames_per_second == 62.5


def test_every_parameter_is_in_one_block() -> None:
    model = StreamingTRUNet(TRUNetConfig())
    counted = count_parameters(model)
    assert sum(counted.values()) == sum(parameter.numel() for parameter in model.parameters())
    assert counted["encoder"] == 81_344
    assert counted["features"] == 769
