"""docs/recovery.md: every command, run as it is written, in the order of the page."""

import os
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from app import create_app
from deploy import prepare
from storage import restore, watch
from storage.members.calls import SystemCalls
from support import database
from support.store import Store
from support.team import Team, Tree, data_of, export

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "recovery.md"
_BLOCK = re.compile(r"^## (?P<title>.+?)$|^```sh\n(?P<lines>.*?)^```$", re.M | re.S)


def recipes() -> dict[str, list[str]]:
    """Return the commands of the page by their heading."""
    found: dict[str, list[str]] = {}
    title = ""
    for match in _BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        title = match["title"] or title
        if match["lines"]:
            found.setdefault(title, []).extend(match["lines"].splitlines())
    return found


class Machine:
    """A data folder with a team's files, and a shell that stands in the checkout."""

    def __init__(self, folder: Path, app: Flask, team: Team) -> None:
        self.folder = folder
        self.app = app
        self.team = team
        self.tree: Tree = team.tree()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            bind = f"127.0.0.1:{probe.getsockname()[1]}"
        self.environment = os.environ | database.environment(folder, BIND=bind)

    def lose_database(self) -> None:
        """Remove the file, as nobody should."""
        database.close(self.app)
        for path in self.folder.glob("*.db*"):
            path.unlink()

    def here(self, line: str) -> str:
        """Return a line of the page with the places of this test."""
        line = line.replace("file:///srv/d", f"file://{self.folder}/members/")
        return line.replace("--to restored", f"--to {self.folder}/restored")

    def shell(self, line: str) -> int:
        """Run it as people do; of `make run` what it does before it serves."""
        line = re.sub(r"(?m)^make run$", ".venv/bin/python -m deploy.prepare", line)
        command = ["/bin/sh", "-c", self.here(line)]
        return subprocess.run(command, cwd=ROOT, env=self.environment).returncode

    def run(self, line: str) -> tuple[int, str]:
        """Run it in this process, which is quicker."""
        words = shlex.split(self.here(line))
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            match words:
                case ["make", "run"]:
                    return self._prepare()
                case [".venv/bin/flask", *args]:
                    return self._flask(args)
                case [".venv/bin/python", "-m", "storage.restore", *args]:
                    return restore.main(args), ""
        raise AssertionError(f"{line} is no command that this test knows")

    def _prepare(self) -> tuple[int, str]:
        mask = os.umask(0)
        try:
            prepare.make_ready()
        except prepare.NotReady as error:
            return 1, str(error)
        finally:
            os.umask(mask)
        return 0, ""

    def _flask(self, args: list[str]) -> tuple[int, str]:
        typed = None
        if "<" in args:
            args, typed = args[: args.index("<")], "kelp grips the stone below\n"
        app = create_app(self.environment)
        done = app.test_cli_runner().invoke(args=args, input=typed)
        database.close(app)
        return done.exit_code, done.output

    def check(self) -> None:
        """Compare with what was there before."""
        self.app.extensions["holdfast_runtime"] = None
        with self.app.app_context():
            assert self.team.tree() == self.tree


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setattr(watch, "start", lambda own: None)
    monkeypatch.setattr(SystemCalls, "fsync", lambda self, fd: None)
    app = database.application(tmp_path, None, {})
    with app.app_context():
        team = Team(Store(app))
        team.work()
        export(team.store)
        made = Machine(tmp_path, app, team)
    yield made
    database.close(app)


def test_the_database_is_gone(machine: Machine) -> None:
    start, dry, recover, again, rescue, after = recipes()["The database is gone"]
    machine.lose_database()
    code, said = machine.run(start)
    assert (code, "flask array recover" in said) == (1, True)
    code, said = machine.run(dry)
    assert (code, "this was a dry run" in said) == (0, True), said
    code, said = machine.run(recover)
    assert (code, "The database was rebuilt" in said) == (0, True), said
    assert machine.run(again) == (0, "")
    machine.check()
    for line in (rescue, after):
        code, said = machine.run(line)
        assert code == 0, said


def test_the_database_is_from_an_old_backup(machine: Machine) -> None:
    with machine.app.app_context():
        old = next(machine.folder.glob("*.db"))
        shutil.copy(old, machine.folder / "backup")
        machine.team.put("ann/later.txt", data_of(99))
        export(machine.team.store)
        machine.tree = machine.team.tree()
    machine.lose_database()
    shutil.copy(machine.folder / "backup", old)
    for line in recipes()["The database is from an old backup"]:
        code, said = machine.run(line)
        assert code == 0, said
    machine.check()


def test_everything_but_the_members_is_gone(machine: Machine) -> None:
    lines = recipes()["Everything but the members is gone"]
    assert lines[0].startswith("export HOLDFAST_ARRAY_MEMBERS=")
    machine.lose_database()
    codes = [machine.shell(f"{lines[0]}\n{line}") for line in lines[1:]]
    assert codes == [1, 0, 0, 0]
    machine.check()


def test_only_the_files_are_wanted(machine: Machine) -> None:
    machine.lose_database()
    shutil.rmtree(machine.folder / "members/2")
    for line in recipes()["Only the files are wanted"]:
        assert machine.run(line)[0] == 0
    to = machine.folder / "restored"
    deep = to / "ann/Ship/deep"
    assert (deep / "307200.bin").read_bytes() == data_of(307200)
    assert (to / ".trash/bob/Old/inside.txt").read_bytes() == data_of(13)


def test_every_recipe_is_run_here() -> None:
    assert set(recipes()) == {
        "The database is gone",
        "The database is from an old backup",
        "Everything but the members is gone",
        "Only the files are wanted",
    }
