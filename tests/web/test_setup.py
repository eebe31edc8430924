"""Set-up: what `make` and the scripts do, without a network."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str, cwd: Path = ROOT, **environ: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command,
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with what set-up needs and nothing installed."""
    (tmp_path / "deploy").mkdir()
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "deploy/setup.sh", tmp_path / "deploy/setup.sh")
    return tmp_path


def fake(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_a_machine_without_python_is_told_the_package(copy: Path) -> None:
    tools = copy / "tools"
    tools.mkdir()
    for name in ("sh", "dirname", "rm"):
        (tools / name).symlink_to(str(shutil.which(name)))
    done = run("deploy/setup.sh", "requirements.txt", cwd=copy, PATH=str(tools))
    assert done.returncode == 1
    assert "Python 3.11 or newer" in done.stderr
    assert "apt-get install python3 python3-venv" in done.stderr


def test_an_old_python_is_not_taken(copy: Path) -> None:
    tools = copy / "tools"
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14"):
        fake(tools, name, "exit 1")
    done = run("deploy/setup.sh", "x", cwd=copy, PATH=f"{tools}:/usr/bin:/bin")
    assert done.returncode == 1
    assert "Python 3.11 or newer" in done.stderr


def test_a_missing_venv_module_is_told_the_package(copy: Path) -> None:
    tools = copy / "tools"
    fake(tools, "python3", 'case "$2" in *ensurepip*) exit 1;; *) exit 0;; esac')
    done = run("deploy/setup.sh", "x", cwd=copy, PATH=f"{tools}:/usr/bin:/bin")
    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr


def test_a_second_run_does_not_install_again(copy: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed (Debian package make)")
    bin_folder = copy / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    fake(bin_folder, "python", f'echo "$@" >> {copy}/calls; exit 0')
    for _ in range(2):
        done = run(make, "run", cwd=copy)
        assert done.returncode == 0, done.stderr
    calls = (copy / "calls").read_text().splitlines()
    assert sum("--require-hashes" in call for call in calls) == 1
    assert calls.count("app.py") == 2
    run(make, "lint", cwd=copy)
    run(make, "run", cwd=copy)
    calls = (copy / "calls").read_text().splitlines()
    assert sum("--require-hashes" in call for call in calls) == 2


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_the_locks_have_hashes_and_name_no_registry(name: str) -> None:
    text = (ROOT / name).read_text()
    pins = re.findall(r"^[a-z0-9][^=\s]*==\S+", text, re.M | re.I)
    assert len(pins) > 15
    assert text.count("--hash=sha256:") > len(pins)
    assert not re.search(r"https?://|--index-url|--find-links|--trusted-host", text)


def test_the_development_lock_holds_the_same_runtime() -> None:
    def pins(name: str) -> set[str]:
        text = (ROOT / name).read_text()
        return set(re.findall(r"^[a-z0-9][^\s;]*==[^\s;]+", text, re.M | re.I))

    assert pins("requirements.txt") <= pins("requirements-dev.txt")


@pytest.mark.parametrize("path", [".ci/run", "deploy/setup.sh"])
def test_scripts_can_be_run_and_parse(path: str) -> None:
    assert (ROOT / path).stat().st_mode & 0o111
    assert run("sh", "-n", path).returncode == 0


def test_make_names_what_there_is() -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed (Debian package make)")
    done = run("make", "help")
    for target in ("make run", "make test", "make format"):
        assert target in done.stdout


def test_a_skip_is_a_failure_in_ci(tmp_path: Path) -> None:
    """The hook is tried on a test of its own, in a process of its own."""
    shutil.copy(ROOT / "tests/conftest.py", tmp_path / "conftest.py")
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_it(): pytest.skip('chromium is missing')\n"
        "@pytest.mark.xfail(strict=True)\n"
        "def test_expected(): assert False\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    options = [str(tmp_path), "--rootdir", str(tmp_path), "-c", "/dev/null"]
    for ci, code in (("true", 1), ("", 0)):
        done = subprocess.run(
            [*command, *options],
            env={
                "PATH": "/usr/bin:/bin",
                "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
                "CI": ci,
            },
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert ("chromium is missing" in done.stdout) == (ci == "true")
