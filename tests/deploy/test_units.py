"""The units of systemd and what installs them, as far as files can show it.

That they start, serve and drain was tried under systemd itself; docs/deploy-aws.md says
how that is done again.
"""

import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
from flask import Flask

from config import SETTINGS, load
from deploy import launcher
from support.templates import SITE, plain

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "deploy" / "systemd"
HOME = "/opt/holdfast/current/"
SERVICES = sorted(UNITS.glob("*.service"))
SERVING = ("holdfast-web", "holdfast-transfers")
ALL_FOUR = (*SERVING, "holdfast-worker", "holdfast-metrics")
HARDENED = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "ProtectProc": "invisible",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
    "RestrictNamespaces": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "SystemCallArchitectures": "native",
    "UMask": "0077",
    "User": "holdfast",
}
"""`systemd-analyze security --offline=yes` gives each unit 1.2 with these."""

DRAIN = (
    f"/bin/sh -c 'test -z \"$$MAINPID\" || exec {HOME}.venv/bin/python -m flask drain'"
)

Unit = dict[str, list[str]]


def read(path: Path) -> Unit:
    """Return the values of each key; a key may stand more than once."""
    found: Unit = defaultdict(list)
    for line in path.read_text("utf-8").replace("\\\n", " ").splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found[key].append(" ".join(value.split()))
    return found


def unit(name: str) -> Unit:
    return read(UNITS / f"{name}.service")


def commands(found: Unit) -> list[str]:
    keys = ("ExecStartPre", "ExecStart", "ExecStop")
    return [line for key in keys for line in found[key]]


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.stem)
def test_every_unit_is_hardened(path: Path) -> None:
    found = read(path)
    for key, value in HARDENED.items():
        assert found[key] == [value], key
    calls = found["SystemCallFilter"]
    assert calls[:2] == ["@system-service", "~@privileged @resources"]
    # gunicorn gives its sockets to its own user, and nobody else needs to.
    assert calls[2:] == (["@chown"] if path.stem in SERVING else [])


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.stem)
def test_every_command_is_there(path: Path, sqlite_app: Flask) -> None:
    found = read(path)
    assert found["WorkingDirectory"] == [HOME.rstrip("/")]
    assert commands(found)
    for line in commands(found):
        started = re.search(rf"{HOME}\.venv/bin/python -m ([\w.]+)(?: ([\w-]+))?", line)
        assert started, line
        module, first = started.groups()
        assert importlib.util.find_spec(module), line
        if module == "flask":
            assert first in sqlite_app.cli.commands, line
        if module == "gunicorn":
            assert (ROOT / line.rpartition(" ")[2]).is_file()


def test_the_target_has_all_that_serves() -> None:
    wanted = " ".join(read(UNITS / "holdfast.target")["Wants"]).split()
    assert sorted(wanted) == sorted(f"{name}.service" for name in ALL_FOUR)
    for name in ALL_FOUR:
        assert unit(name)["PartOf"] == ["holdfast.target"]
        assert unit(name)["Restart"] == ["always"]


def test_a_stop_drains_before_transfers_end_and_outlives_them() -> None:
    """After= is turned round for a stop: transfers, then pages, then Nginx."""
    for name in SERVING:
        found = unit(name)
        assert found["ExecStop"] == [DRAIN]
        assert found["Type"] == ["notify"]
        assert found["KillMode"] == ["mixed"]
        assert "nginx.service" in found["After"][0]
        longest = plain(SITE)["Parameters"]["LongestUploadSeconds"]["MaxValue"]
        assert int(found["TimeoutStopSec"][0]) > longest + 25 + 30
    assert "holdfast-web.service" in unit("holdfast-transfers")["After"][0]


@pytest.mark.parametrize("running", [True, False])
def test_only_who_runs_drains(running: bool) -> None:
    """After a crash ExecStop is run as well, then without MAINPID (systemd.service)."""
    command = DRAIN.replace("$$", "$").replace(f"{HOME}.venv/bin/python", "/bin/echo")
    environ = {"MAINPID": "7"} if running else {}
    done = subprocess.run(
        shlex.split(command), env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout == ("-m flask drain\n" if running else "")


def test_nginx_is_started_again_as_well() -> None:
    """Debian's unit has no Restart=, and stops all of it for want of memory."""
    found = read(UNITS / "nginx.service.d/holdfast.conf")
    assert (found["Restart"], found["OOMPolicy"]) == (["always"], ["continue"])
    script = (ROOT / "deploy/install.sh").read_text("utf-8")
    assert "/etc/systemd/system/nginx.service.d/holdfast.conf" in script


def test_an_update_in_place_ends_what_runs_before_it_changes_anything() -> None:
    """Else the old processes would load parts of the new release while they drain."""
    script = (ROOT / "deploy/install.sh").read_text("utf-8")
    begin = script[script.index("start() {") :]
    order = ["publish", "stop holdfast.target", "switch", "daemon-reload"]
    order += ["reload-or-restart nginx", "start holdfast.target"]
    places = [begin.index(f"{words}") for words in order]
    assert places == sorted(places)
    assert script.rindex("try_nginx\n") < script.rindex("    start\n")


def test_transfers_that_start_alone_end_the_draining_of_their_stop() -> None:
    """Else an instance whose pages were never away would stay out of use."""
    off = f"{HOME}.venv/bin/python -m flask drain --off"
    assert unit("holdfast-transfers")["ExecStartPost"] == [off]


def test_one_process_that_the_kernel_ends_does_not_stop_its_unit() -> None:
    """With systemd's own policy the unit would be stopped, and drain."""
    for name in SERVING:
        assert unit(name)["OOMPolicy"] == ["continue"]


def test_ready_is_who_takes_transfers_too() -> None:
    (pages,) = unit("holdfast-web")["ExecStart"]
    (transfers,) = unit("holdfast-transfers")["ExecStart"]
    (where,) = re.findall(r"HOLDFAST_BIND=(\S+)", transfers)
    assert f"HOLDFAST_TRANSFERS_BIND={where} " in pages


def test_pages_bring_the_database_up_to_date_before_all_others_start() -> None:
    (before,) = unit("holdfast-web")["ExecStartPre"]
    assert before.endswith("-m deploy.prepare")
    # The metrics may be served already: their address is not to be checked.
    assert "-u HOLDFAST_METRICS_BIND" in before
    for name in ALL_FOUR[1:]:
        assert "holdfast-web.service" in unit(name)["After"][0]
        assert not unit(name)["ExecStartPre"]


def test_transfers_have_a_socket_and_threads_of_their_own() -> None:
    (line,) = unit("holdfast-transfers")["ExecStart"]
    own = dict(re.findall(r"(HOLDFAST_\w+)=(\S+)", line))
    assert own["HOLDFAST_BIND"] == "unix:/run/holdfast/transfers.sock"
    assert set(own) <= {row.variable for row in SETTINGS}
    nginx = (ROOT / "deploy/nginx.conf").read_text("utf-8")
    for socket in ("web.sock", "transfers.sock"):
        assert f"unix:/run/holdfast/{socket}" in nginx
    for name in SERVING:
        assert unit(name)["RuntimeDirectory"] == ["holdfast"]
        assert unit(name)["RuntimeDirectoryMode"] == ["0750"]
        # The other one's socket is in it as well.
        assert unit(name)["RuntimeDirectoryPreserve"] == ["yes"]


def test_a_worker_has_no_caches_of_its_threads() -> None:
    (wanted,) = (f"{name}={value}" for name, value in launcher.THRIFT.items())
    assert wanted in unit("holdfast-worker")["Environment"]


def test_the_settings_of_one_host_are_taken() -> None:
    text = (ROOT / "deploy/holdfast.env").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and line[0] != "#"]
    settings = load(dict(line.split("=", 1) for line in lines))
    assert settings.trusted_proxies == ("unix",)
    assert settings.registration == "closed"
    offered = re.findall(r"^#(HOLDFAST_\w+)=", text, re.M)
    assert set(offered) <= {row.variable for row in SETTINGS}


def test_what_is_installed_is_there() -> None:
    script = (ROOT / "deploy/install.sh").read_text("utf-8")
    for name in re.findall(r"\$release\"?/(deploy/[\w./-]*\w)", script):
        assert list(ROOT.glob(f"{name}*")), name
    for name in re.findall(r"holdfast-[\w.]+\.(?:service|timer)", script):
        assert (UNITS / name).is_file(), name
    for name in ("install.sh", "holdfast.sh"):
        path = ROOT / "deploy" / name
        assert os.access(path, os.X_OK), name
        done = subprocess.run(["sh", "-n", path], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr


def test_install_refuses_a_release_that_stands_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "deploy"
    folder.mkdir()
    shutil.copy(ROOT / "deploy/install.sh", folder)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "id").write_text("#!/bin/sh\necho 0\n")
    (tools / "id").chmod(0o755)
    done = subprocess.run(
        [folder / "install.sh"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": f"{tools}:/usr/bin:/bin"},
    )
    assert done.returncode == 1
    assert "unpack the release below /opt/holdfast" in done.stderr


def test_a_release_has_its_version_and_its_sum(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    git = tools / "git"
    git.write_text('#!/bin/sh\necho "$*" > asked; echo bytes > "${3#--output=}"\n')
    git.chmod(0o755)
    done = subprocess.run(
        ["make", "release"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": f"{tools}:/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    version = re.search(r'^version = "(.+)"', project, re.M)
    assert version is not None
    name = f"holdfast-{version[1]}"
    asked = (tmp_path / "asked").read_text().split()
    assert asked[:2] == ["archive", f"--prefix={name}/"]
    assert asked[-1] == "HEAD"
    archive = tmp_path / "dist" / f"{name}.tar.gz"
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    summed = (tmp_path / "dist" / f"{name}.tar.gz.sha256").read_text().split()
    assert summed == [digest, f"{name}.tar.gz"]
