"""The replay of a Dockerfile: what it reads, what a build sees, what the steps do, and what it refuses."""

import subprocess

import pytest

from deploy.image import Image, ReplayError, contained, context_files, replay, why_not_contained
from deploy.image.__main__ import main
from deploy.image.dockerfile import DockerfileError, expand, read_dockerfile, words

engine = pytest.mark.skipif(why_not_contained() is not None, reason=str(why_not_contained()))


@pytest.fixture
def build(tmp_path):
    """Replays a Dockerfile over these files."""

    def build(dockerfile, files=None, arguments=None):
        folder = tmp_path / "project"
        folder.mkdir()
        for name, text in {".dockerignore": "", "Dockerfile": dockerfile, **(files or {})}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return replay(folder, tmp_path / "out", arguments)

    return build


def test_what_dockerignore_lets_through_goes_by_its_last_matching_line(tmp_path):
    (tmp_path / ".dockerignore").write_text("# all but\n*\n!kept\n**/__pycache__\n")
    for name in ("kept/a.py", "kept/deep/__pycache__/a.pyc", "kept/deep/b.py", "other/kept/c.py", ".env", "Dockerfile"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [str(each) for each in context_files(tmp_path)] == ["kept/a.py", "kept/deep/b.py"]


def test_a_dockerfile_is_read_into_stages_with_their_arguments(tmp_path):
    (tmp_path / "Dockerfile").write_text(
        "# syntax=docker/dockerfile:1\nARG A=1\nFROM base:1 AS build\nRUN one && \\\n    two\n\n"
        "FROM base:2\nCOPY --from=build /a /b\n"
    )
    read = read_dockerfile(tmp_path / "Dockerfile")
    assert read.arguments == {"A": "1"}
    assert [(stage.name, stage.base) for stage in read.stages] == [("build", "base:1"), ("1", "base:2")]
    assert [(step.line, step.instruction, step.value.split()) for stage in read.stages for step in stage.steps] == [
        (4, "RUN", ["one", "&&", "two"]),
        (8, "COPY", ["--from=build", "/a", "/b"]),
    ]


def test_what_stands_before_the_first_stage_and_is_no_argument_is_refused(tmp_path):
    (tmp_path / "Dockerfile").write_text("RUN true\nFROM base\n")
    with pytest.raises(DockerfileError, match="line 1: RUN"):
        read_dockerfile(tmp_path / "Dockerfile")


def test_a_variable_that_is_not_set_and_a_command_for_the_shell_are_refused():
    assert expand("/venv/bin:$PATH", {"PATH": "/bin"}) == "/venv/bin:/bin"
    with pytest.raises(DockerfileError, match="PATH"):
        expand("$PATH", {})
    with pytest.raises(DockerfileError, match="python -m service"):
        words("python -m service")


@engine
def test_steps_see_arguments_variables_the_folder_and_what_was_copied(build):
    image = build(
        "ARG A=outer\nFROM base AS first\nARG A\nARG B=inner\nENV C=$A-$B D='two words'\nWORKDIR /work\n"
        "WORKDIR deeper\n"
        'COPY one two/ ./\nCOPY folder named\nRUN echo "$PWD $A $B $C $D $(cat one two.txt named/inside)" > /found\n'
        'FROM base\nCOPY --from=first /found /found\nUSER 10001\nSTOPSIGNAL SIGINT\nCMD ["cat", "/found"]\n',
        {"one": "1", "two/two.txt": "2", "folder/inside": "3"},
        {"B": "given"},
    )
    assert (image.root / "found").read_text() == "/work/deeper outer given outer-given two words 123\n"
    assert (image.user, image.stop_signal, image.command) == ("10001", "SIGINT", ["cat", "/found"])
    assert Image.load(image.root.parent / "image.json") == image


@engine
@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("RUN echo why >&2; exit 3", r"(?s)ended with 3\n.*why"),
        ("ONBUILD RUN true", "ONBUILD is not known here"),
        ("COPY missing .", "there is no missing"),
        ("COPY --chown=1 file .", "only --from is known"),
        ("RUN --network=none true", "only --mount=type=cache,target=... is known"),
        ("CMD python -m service", "line 2"),
    ],
)
def test_a_step_that_fails_or_is_not_known_ends_the_build(build, step, message):
    with pytest.raises(ReplayError, match=message):
        build(f"FROM base\n{step}\n")


@engine
def test_a_cache_is_this_machines_own_and_stays_out_of_the_image(build, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "before").touch()
    image = build(f"FROM base\nRUN --mount=type=cache,target={cache} ls {cache} > /found && touch {cache}/after\n")
    assert (image.root / "found").read_text() == "before\n"
    assert (cache / "after").exists()
    assert not (image.root / str(cache)[1:] / "after").exists()


@engine
def test_a_user_without_rights_can_write_nowhere_in_a_read_only_root(build):
    image = build("FROM base\nRUN mkdir -m 777 /open\n")
    for user in ("0", "10001"):
        command = contained(
            image.root,
            ["sh", "-c", "touch /open/file || touch /tmp/file || touch /file"],
            environment=image.environment,
            user=user,
            read_only=True,
        )
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert done.stderr.count("Read-only file system") == 3, done.stderr


@engine
def test_the_command_says_what_an_image_holds(tmp_path, capsys):
    site = tmp_path / "root/venv/lib/python3.11/site-packages"
    (site / "till-1.0.dist-info").mkdir(parents=True)
    (site / "till.py").write_bytes(b"#" * 2_000_000)
    (site / "till-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: till\nVersion: 1.0\n")
    (site / "till-1.0.dist-info/RECORD").write_text("till.py,,\nmissing.py,,\n")
    (tmp_path / "root/app/models").mkdir(parents=True)
    (tmp_path / "root/app/models/model").write_bytes(b"#" * 3_000_000)
    Image(tmp_path / "root", {}).save(tmp_path / "image.json")
    assert main(["contents", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    assert "| till 1.0 | 2.0 |\n| models/default | 3.0 |\n| **all of /venv and /app** | **5** |" in table
