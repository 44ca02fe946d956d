"""`truenet doctor`: what this machine has, what it lacks and for what, and what is broken."""

import dataclasses
import importlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated

import typer

from truenet.extras import how_to_install

OK, ABSENT, SLOW, BROKEN = "ok", "absent", "slow", "BROKEN"
NEEDED = ("numpy", "onnxruntime", "soundfile", "soxr", "rich")
EXTRAS = {"av": "sound of videos and .m4a", "matplotlib": "--plot", "torch": "train, adapt, export"}
PIP_EXTRAS = {"matplotlib": "plot", "torch": "train"}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked at: its name, OK, ABSENT, SLOW or BROKEN, and what was found."""

    name: str
    state: str
    found: str


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Look at this machine: versions, model file, speed, sound devices, web page.

    Exits with 1 if something is broken that every command needs; what is absent is only needed for what it says.
    """
    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            typer.echo(f"{finding.state:<7} {finding.name:<13} {finding.found}")
    if as_json:
        listed = [dataclasses.asdict(finding) for finding in findings]
        typer.echo(json.dumps(listed, indent=2, ensure_ascii=False))
    broken = [finding.name for finding in findings if finding.state == BROKEN]
    if broken:
        typer.echo(f"truenet doctor: broken here: {', '.join(broken)}", err=True)
        raise typer.Exit(1)


def examine() -> Iterator[Finding]:
    """Everything, each when it has been looked at. Nothing that is wrong with a machine is raised."""
    yield _ask("truenet", _itself)
    for name in NEEDED:
        yield _ask(name, partial(_version, name))
    yield from _model()
    yield _ask("microphone", _devices, ABSENT)
    yield _ask("sound server", _sound_server, ABSENT)
    yield _ask("web page", _page, ABSENT)
    for name, use in EXTRAS.items():
        yield _ask(name, partial(_extra, name, use), ABSENT)


def _ask(name: str, question: Callable[[], str], otherwise: str = BROKEN) -> Finding:
    try:
        return Finding(name, OK, question())
    except (
        Exception
    ) as error:  # a broken machine may raise anything, and that is what we are here to tell
        return Finding(name, otherwise, " ".join(str(error).split()) or type(error).__name__)


def _itself() -> str:
    try:
        version = importlib.metadata.version("truenet")
    except importlib.metadata.PackageNotFoundError:
        version = "from its source, not installed"
    system = f"{platform.system()} {platform.release()}, {platform.machine()}"
    python = f"Python {platform.python_version()}"
    return f"{version}; {python}, {system}, {os.cpu_count()} processors"


def _version(package: str) -> str:
    importlib.import_module(package)
    return importlib.metadata.version(package)


def _extra(package: str, use: str) -> str:
    try:
        return _version(package)
    except ModuleNotFoundError as error:
        extra = PIP_EXTRAS.get(package, package)
        raise ValueError(f"for {use}, {how_to_install(extra)}") from error


def _model() -> Iterator[Finding]:
    """The model file of the package, and how fast it is here."""
    try:
        from truenet.modelfile import SHIPPED_MODEL
        from truenet.verification import verify

        checks = {check.name: check for check in verify(SHIPPED_MODEL)}
    except Exception as error:  # as in _ask
        yield Finding("model file", BROKEN, " ".join(str(error).split()))
        return
    speed = checks.pop("speed")
    failed = [f"{check.name}: {check.found}" for check in checks.values() if not check.passed]
    found = f"{checks['metadata'].found}; {checks['score'].found}"
    yield Finding("model file", BROKEN if failed else OK, "; ".join(failed) or found)
    yield Finding("speed", OK if speed.passed else SLOW, speed.found)


def _devices() -> str:
    from truenet_apps.live_devices import choose, list_devices
    from truenet_apps.live_pulse import find_pulse
    from truenet_apps.live_streams import import_sounddevice
    from truenet_apps.live_terminal import native_messages_hidden

    with native_messages_hidden():
        inputs, outputs = list_devices(import_sounddevice(), find_pulse())
        source, sink = choose(inputs, None, "input"), choose(outputs, None, "output")
    return f"{source.name} → {sink.name}; {len(inputs)} inputs, {len(outputs)} outputs"


def _sound_server() -> str:
    from truenet_apps.live_pulse import find_pulse

    pulse = find_pulse()
    if pulse is None:
        raise ValueError(
            "for --virtual-microphone: PulseAudio, or PipeWire with pipewire-pulse, and pactl"
        )
    told = dict(line.split(": ", 1) for line in pulse.run("info").splitlines() if ": " in line)
    return (
        f"{told.get('Server Name', 'of an unknown name')} {told.get('Server Version', '')}".strip()
    )


def _page() -> str:
    from truenet_apps.serve import PAGE, require_page

    require_page(PAGE)
    size = sum(path.stat().st_size for path in PAGE.rglob("*") if path.is_file())
    return f"built, {size / 1e6:.1f} MB; truenet serve opens it"
