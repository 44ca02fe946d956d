"""Which inputs become which outputs, before anything is opened."""

from collections.abc import Callable
from pathlib import Path

import pytest

from truenet_apps.enhance_plan import PIPE, Naming, Plan, make_plan

Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Make files under a folder that becomes the working folder."""
    monkeypatch.chdir(tmp_path)

    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
        return tmp_path

    return make


def outputs(plan: Plan) -> list[str]:
    assert not plan.failures
    return [path.as_posix() for task in plan.tasks for path in task.outputs]


@pytest.mark.parametrize(
    ("naming", "expected"),
    [
        (Naming(), ["in/a_enhanced.wav"]),
        (Naming(suffix=".flac"), ["in/a_enhanced.flac"]),
        (Naming("b.wav"), ["b.wav"]),
        (Naming("b.mp3", plot=True), ["b.mp3", "b.png"]),
        (Naming("out"), ["out/a.wav"]),
        (Naming("out.d/"), ["out.d/a.wav"]),
        (Naming("out", suffix=".ogg"), ["out/a.ogg"]),
        (Naming(plot=True), ["in/a_enhanced.wav", "in/a_enhanced.png"]),
        (Naming(stems=True), ["in/a_voice.wav", "in/a_room.wav", "in/a_noise.wav"]),
        (Naming("b.flac", stems=True), ["b_voice.flac", "b_room.flac", "b_noise.flac"]),
        (Naming("-"), []),
    ],
)
def test_names_of_outputs(tree: Tree, naming: Naming, expected: list[str]) -> None:
    tree("in/a.wav")
    assert outputs(make_plan(["in/a.wav"], False, naming)) == expected


@pytest.mark.parametrize(
    ("source", "naming", "expected"),
    [
        ("a.m4a", Naming(), "a_enhanced.wav"),
        ("a.MP4", Naming("out"), "out/a.wav"),
        ("a.m4a", Naming("b.flac"), "b.flac"),
        ("a.flac", Naming(stems=True), "a_voice.wav"),
        ("a", Naming(), "a_enhanced"),
    ],
)
def test_suffixes_that_change(tree: Tree, source: str, naming: Naming, expected: str) -> None:
    tree(source)
    assert outputs(make_plan([source], False, naming))[0] == expected


def test_folders_keep_their_trees(tree: Tree) -> None:
    tree("in/a.wav", "in/b.txt", "in/.hidden.wav", "in/deep/er/c.FLAC", "in/deep/c.ogg")
    assert outputs(make_plan(["in"], False, Naming("out"))) == ["out/a.wav"]
    assert outputs(make_plan(["in"], True, Naming("out"))) == [
        "out/a.wav",
        "out/deep/c.ogg",
        "out/deep/er/c.FLAC",
    ]


def test_what_enhance_made_is_no_input(tree: Tree) -> None:
    tree("in/a.wav", "in/a_enhanced.wav", "in/a_voice.wav", "in/my_voice.wav")
    plan = make_plan(["in"], False, Naming(overwrite=True))
    assert [task.source.name for task in plan.tasks] == ["a.wav", "my_voice.wav"]


def test_patterns_and_repeated_inputs(tree: Tree) -> None:
    tree("a.wav", "b.wav", "c [1].wav", "c.txt")
    plan = make_plan(["*.wav", "a.wav", "c [1].wav"], False, Naming())
    assert [task.source.name for task in plan.tasks] == ["a.wav", "b.wav", "c [1].wav"]


@pytest.mark.parametrize(
    ("inputs", "recursive", "reason"),
    [
        (["*.wav"], False, "no file matches this pattern"),
        (["empty"], False, "a folder without audio files; -r searches"),
        (["empty"], True, "a folder without audio files"),
    ],
)
def test_inputs_that_are_none(tree: Tree, inputs: list[str], recursive: bool, reason: str) -> None:
    tree("empty/notes.txt")
    plan = make_plan(inputs, recursive, Naming())
    assert not plan.tasks
    assert plan.failures[0].source == inputs[0]
    assert plan.failures[0].reason.startswith(reason)


def test_existing_outputs(tree: Tree) -> None:
    tree("a.wav", "a_enhanced.wav", "b.wav")
    refused = make_plan(["a.wav", "b.wav"], False, Naming())
    assert [failure.source for failure in refused.failures] == ["a.wav"]
    assert "exists; use --overwrite, --skip-existing or -o" in refused.failures[0].reason
    skipped = make_plan(["a.wav", "b.wav"], False, Naming(skip_existing=True))
    assert [path.name for path in skipped.skipped] == ["a.wav"]
    assert [task.source.name for task in skipped.tasks] == ["b.wav"]
    assert len(make_plan(["a.wav", "b.wav"], False, Naming(overwrite=True)).tasks) == 2


@pytest.mark.parametrize("output", ["a.wav", ".", "link.wav", "in/../a.wav"])
def test_an_input_is_never_an_output(tree: Tree, output: str) -> None:
    folder = tree("a.wav", "in/b.wav")
    (folder / "link.wav").symlink_to(folder / "a.wav")
    plan = make_plan(["a.wav"], False, Naming(output, overwrite=True))
    assert not plan.tasks
    assert "is an input; choose another name" in plan.failures[0].reason


def test_another_input_is_no_output_either(tree: Tree) -> None:
    tree("a.wav", "a_enhanced.wav")
    plan = make_plan(["a.wav", "a_enhanced.wav"], False, Naming(overwrite=True))
    assert [task.source.name for task in plan.tasks] == ["a_enhanced.wav"]


def test_two_inputs_with_one_name(tree: Tree) -> None:
    tree("x/a.wav", "y/a.wav")
    plan = make_plan(["x", "y"], False, Naming("out"))
    assert len(plan.tasks) == 1
    assert plan.failures[0].source == str(Path("y/a.wav"))
    assert "is already that of x" in plan.failures[0].reason


@pytest.mark.parametrize(
    ("naming", "message"),
    [
        (Naming("b.wav"), "2 inputs cannot all become b.wav; give a folder"),
        (Naming("b.xyz"), r"cannot write .xyz files; use one of .wav"),
        (Naming(suffix=".doc"), r"cannot write .doc files"),
        (Naming(overwrite=True, skip_existing=True), "exclude each other"),
    ],
)
def test_namings_that_make_no_sense(tree: Tree, naming: Naming, message: str) -> None:
    tree("a.wav", "c.wav")
    with pytest.raises(ValueError, match=message):
        make_plan(["a.wav", "c.wav"], False, naming)


def test_standard_input() -> None:
    assert make_plan(["-"], False, Naming()).tasks[0].audio == (PIPE,)
    assert outputs(make_plan(["-"], False, Naming("b.wav"))) == ["b.wav"]
    with pytest.raises(ValueError, match="cannot be mixed with other inputs"):
        make_plan(["-", "a.wav"], False, Naming("out"))
