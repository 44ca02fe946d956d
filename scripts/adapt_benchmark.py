#!/usr/bin/env python3
"""Compare the methods of `truenet adapt` on three made domains, and write the table of equal steps (or, with
--equal-seconds, that of equal seconds) into docs/ADAPT.md.

Usage: scripts/adapt_benchmark.py DATA [--work FOLDER] [--steps N | --steps N --equal-seconds] [--config JSON]
       [--domains ...] [--methods ...] [--made]

DATA is the shared data, of which `made_domains.py` makes the domains; they are held out by recording. Every run is
`truenet adapt`; a run that was made before is not repeated, so the command can be stopped and given again. New base
weights make new runs.
"""

import argparse
import dataclasses
import json
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from made_domains import DOMAINS, RATE_HZ, make_domain

SNR_DB = ("0", "10")  # noisy places
METHODS = ("full", "paca", "paca+dropbp", "lora", "bias")
START, END = "<!-- made by scripts/adapt_benchmark.py: equal {} -->", "<!-- end -->"
COST_STEPS = 7
ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "truenet" / "models" / "truenet.safetensors"


def main() -> None:
    arguments = parse()
    rows: list[dict[str, Any]] = []
    costs = {method: cost(method, arguments) for method in arguments.methods}
    for domain in arguments.domains:
        folder = arguments.work / slug(domain)
        make_domain(domain, arguments.data, folder)
        for method in arguments.methods:
            steps = steps_of(method, costs, arguments)
            result = run(folder, method, steps, arguments)
            if result is not None:
                rows.append({"domain": domain, "method": method, "steps": steps, **result})
                print(json.dumps(rows[-1]), file=sys.stderr)
    if not rows:
        raise SystemExit("no run of these weights was made yet: leave --made out")
    write_table(rows, costs, arguments)


def steps_of(method: str, costs: dict[str, dict[str, float]], arguments: argparse.Namespace) -> int:
    """As many for all; or as many as take the first method's processor time."""
    if not arguments.equal_seconds:
        return arguments.steps
    first = costs[arguments.methods[0]]["seconds"]
    return max(1, round(arguments.steps * first / costs[method]["seconds"]))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/adapt"))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument(
        "--equal-seconds", action="store_true", help="other steps, in the first method's time"
    )
    parser.add_argument("--config", type=Path)
    parser.add_argument("--domains", nargs="+", default=[*DOMAINS], choices=DOMAINS)
    parser.add_argument("--methods", nargs="+", default=[*METHODS], choices=METHODS)
    parser.add_argument("--made", action="store_true", help="only the table, of runs made before")
    parser.add_argument("--threads", type=int, default=0)
    return parser.parse_args()


def slug(text: str) -> str:
    return re.sub(r"[^a-z]+", "_", text)


def run(
    folder: Path, method: str, steps: int, arguments: argparse.Namespace
) -> dict[str, Any] | None:
    """One adaptation; its report, from the last time if there is one of these weights and settings."""
    adapter = folder / f"{slug(method)}_{steps}.adapter"
    report_path, cost_path = adapter.with_suffix(".report.json"), adapter.with_suffix(".cost.json")
    report = json.loads(report_path.read_text()) if report_path.exists() else {}
    if report.get("weights_sha256") != sha256(WEIGHTS) or not cost_path.exists():
        if arguments.made:
            return None
        command = [sys.executable, "-m", "truenet_apps", "adapt", "--noise", str(folder / "noise")]
        command += ["-o", str(adapter), "--method", method, "--threads", str(arguments.threads)]
        command += ["--steps", str(steps), "--snr", *SNR_DB]
        command += ["--rooms", str(folder / "rooms")]
        command += ["--config", str(arguments.config)] if arguments.config else []
        command += ["--overwrite"] if report else []
        started, used = time.perf_counter(), processor_seconds()
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if done.returncode not in (0, 3):
            raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
        print(done.stderr, file=sys.stderr)
        cost_path.write_text(
            json.dumps(
                {
                    "whole_seconds": time.perf_counter() - started,
                    "processor_seconds": processor_seconds() - used,
                }
            )
        )
        report = json.loads(report_path.read_text())
    names = (
        "new",
        "original",
        "strength",
        "adapter_bytes",
        "trained",
        "best_step",
        "success",
        "config",
    )
    return {key: report[key] for key in names} | json.loads(cost_path.read_text())


def processor_seconds() -> float:
    """Of all processes that were run from here."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def sha256(path: Path) -> str:
    from truenet.weights import weights_sha256

    return weights_sha256(path)


def cost(method: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Bytes that a step keeps, peak memory and seconds of a step, in a process of its own; kept for the next time."""
    arguments.work.mkdir(parents=True, exist_ok=True)
    kept = arguments.work / f"cost_{slug(method)}_{sha256(WEIGHTS)[:12]}.json"
    if not kept.exists():
        code = f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r}); import adapt_benchmark as b; "
        code += f"b.print_cost({method!r}, {str(arguments.config or '')!r}, {arguments.threads})"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        kept.write_text(done.stdout)
    return dict(json.loads(kept.read_text()))


def print_cost(method: str, settings: str, threads: int) -> None:
    """Measure a step of a method on noise."""
    from truenet_apps.memory import keep_memory

    keep_memory()
    import torch

    import partialgrad
    from truenet.config import read_config
    from truenet.mixing import Mixture
    from truenet.weights import load_weights
    from truenet_apps.adapt_config import AdaptConfig
    from truenet_apps.adapt_losses import crop_losses
    from truenet_apps.adapt_methods import start

    torch.set_num_threads(threads or torch.get_num_threads())
    torch.set_flush_denormal(True)
    config = read_config(AdaptConfig, Path(settings)) if settings else AdaptConfig()
    config = dataclasses.replace(config, method=method)
    model, _ = load_weights(WEIGHTS)
    training = start(model, config)
    model.mixed_precision = config.precision == "bfloat16"
    parts = 0.05 * torch.randn(3, config.batch_crops, config.mixing.crop_samples)
    mixture = Mixture(parts.sum(0), *parts)
    before = peak_mb()
    kept = [
        partialgrad.saved_bytes(lambda: crop_losses(model, mixture, config.loss), model),
        partialgrad.saved_bytes(
            lambda: model.parts(mixture.mixture, model.initial_state(config.batch_crops)),
            model,
        ),
    ]
    seconds = []
    for _ in range(COST_STEPS):
        started = time.process_time()  # of all threads, and the same on a busy machine
        crop_losses(model, mixture, config.loss).mean().backward()
        training.pull_gradients()
        training.update()
        training.optimizer.zero_grad()
        seconds.append(time.process_time() - started)
    facts = {"step_mb": kept[0] / 1e6, "network_mb": kept[1] / 1e6, "peak_mb": peak_mb() - before}
    print(json.dumps(facts | {"seconds": statistics.median(seconds)}))


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_table(
    rows: list[dict[str, Any]], costs: dict[str, dict[str, float]], arguments: argparse.Namespace
) -> None:
    lines = [
        "| domain | method | steps | strength | PESQ-WB here | of full's gain | STOI here | SI-SDR here "
        "| PESQ-WB elsewhere | success | processor time |",
        "|---|---|---:|---:|---|---:|---|---|---|---|---:|",
    ]
    full = {
        row["domain"]: row["new"]["pesq_wb"]["change"] for row in rows if row["method"] == "full"
    }
    for row in rows:
        cells = [
            row["domain"],
            row["method"],
            str(row["steps"]),
            f"{row['strength']['chosen']:g}",
            interval(row["new"]["pesq_wb"]),
            share(row["new"]["pesq_wb"]["change"], full.get(row["domain"])),
            interval(row["new"]["stoi"], 3),
            interval(row["new"]["si_sdr_db"]),
            interval(row["original"]["pesq_wb"]),
            "yes" if row["success"] else "no",
            f"{row['processor_seconds']:.0f} s",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if not arguments.equal_seconds:
        lines += ["", *method_table(rows, costs)]
    facts = describe(rows[0]["config"], arguments)
    page = ROOT / "docs" / "ADAPT.md"
    text = page.read_text(encoding="utf-8")
    mark = START.format("seconds" if arguments.equal_seconds else "steps")
    first = text.index(mark) + len(mark)
    page.write_text(
        text[:first]
        + "\n"
        + facts
        + "\n\n"
        + "\n".join(lines)
        + "\n"
        + text[text.index(END, first) :],
        encoding="utf-8",
    )


def method_table(rows: list[dict[str, Any]], costs: dict[str, dict[str, float]]) -> list[str]:
    """What a step of each method costs, and what it trains."""
    lines = [
        "| method | trained | adapter | a step keeps | of it the net | peak above start | processor time a step |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    sizes = {row["method"]: row for row in rows}
    for method, row in sizes.items():
        one = costs[method]
        lines.append(
            f"| {method} | {row['trained']:,} | {row['adapter_bytes'] / 1000:.0f} kB | {one['step_mb']:.0f} MB | "
            f"{one['network_mb']:.0f} MB | {one['peak_mb']:.0f} MB | {one['seconds']:.2f} s |"
        )
    return lines


def describe(config: dict[str, Any], arguments: argparse.Namespace) -> str:
    """What all rows have in common."""
    from truenet.weights import load_weights

    _, facts = load_weights(WEIGHTS)
    crops, old = config["batch_crops"], config["old_crops"]
    length = "the processor time of the first method" if arguments.equal_seconds else "equal steps"
    return (
        f"Base weights {sha256(WEIGHTS)[:12]} ({facts['hours_seen']} h seen), {time.strftime('%Y-%m-%d')}; {length}, "
        f"{crops} crops of {config['mixing']['crop_samples'] / RATE_HZ:.1f} s a step, {old} of them of the original "
        f"domain, {config['precision']}; talk {' to '.join(SNR_DB)} dB above the noise; "
        f"change against the base over {config['report_mixtures']} held-out mixtures, and its 95 % interval."
    )


def share(gain: float, full_gain: float | None) -> str:
    """Of what training in full gains, where that is a gain."""
    return f"{gain / full_gain:.0%}" if full_gain and full_gain > 0 else ""


def interval(value: dict[str, float], digits: int = 2) -> str:
    return (
        f"{value['change']:+.{digits}f} ({value['low']:+.{digits}f} to {value['high']:+.{digits}f})"
    )


if __name__ == "__main__":
    main()
