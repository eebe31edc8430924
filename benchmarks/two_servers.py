"""Four buckets on two servers, one killed under load; then the database lost, too.

    python -m benchmarks.two_servers [--quick] [--dir FOLDER]

The real trees of `benchmarks.acceptance` go into RAID-6 over two buckets of moto and
two of `rclone serve s3`, through a real web server: two parities, so that a whole
server may die. Then, in one story:

1. rclone's server gets SIGKILL while clients upload and download; they go on; every
   file is compared without it;
2. it returns in the middle of more of the same, with what it had on its disk (moto has
   all in memory, so it is not the one that dies); debts are paid, a scrub is clean;
3. the site is killed, the database is removed, and a bucket of moto's is deleted, so
   that those buckets count that were away; `flask array recover` rebuilds the database
   from the three; every file is compared again, by its path.

Prints a transcript; exits with 0 only if nothing failed and every byte is right.
"""

import argparse
import platform
import subprocess
import sys
import time
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

from benchmarks.acceptance import PASSWORD, Acceptance, files_below
from benchmarks.common import MIB, scratch
from benchmarks.load import Load
from benchmarks.servers import use_test_keys
from support.buckets import CREDENTIALS, S3Server, moto, rclone
from support.server import ServerError
from support.site import Site, until

HOUR = 3600.0


class Story:
    """One run; every step says what it did, and notes what is not right."""

    def __init__(self, site: Site, folder: Path, quick: bool) -> None:
        self.begun = time.monotonic()
        self.site, self.folder, self.quick = site, folder, quick
        self.problems: list[str] = []
        site.server.command_seconds = HOUR

    # -- saying

    def say(self, text: str) -> None:
        """Print a line of the transcript."""
        seconds = int(time.monotonic() - self.begun)
        print(f"{seconds // 60:3}:{seconds % 60:02}  {text}", flush=True)

    def wrong(self, text: str) -> None:
        """Print what is not right, and remember it."""
        self.problems.append(text)
        self.say(f"WRONG: {text}")

    def state(self) -> str:
        """Say how the array is."""
        status = self.site.status()
        members = status["members"]
        words = [str(one["observed"] or one["state"]) for one in members]
        return f"{status['state']} ({', '.join(words)})"

    # -- the steps

    def fill(self) -> None:
        """Put the trees in."""
        self.run = Acceptance(self.site, self.folder, self.quick)
        self.run.fill()
        for what, files, seconds, _ in self.run.lines:
            self.say(f"{what}: {files}, {seconds}")
        self.size()
        self.compare("compared with all four buckets there")

    def size(self) -> None:
        """Say how much there is."""
        files = self.run.files.values()
        total = sum(size for _, size in files) / MIB
        self.say(f"{len(files)} files of {total:.0f} MiB; {self.state()}")

    def compare(self, what: str) -> None:
        """Download every file and compare it."""
        begun = time.monotonic()
        wrong = self.run.compare()
        seconds = time.monotonic() - begun
        count = len(self.run.files)
        self.say(f"{count} files {what}: {len(wrong)} wrong, {seconds:.1f} s")
        for entry, reason in wrong[:5]:
            self.wrong(f"{entry}: {reason}")
        if len(wrong) > 5:
            self.wrong(f"and {len(wrong) - 5} more")

    def kill(self, server: S3Server) -> None:
        """Kill a server in the middle of uploads and downloads, and go on."""
        turns = 20 if self.quick else 150
        with Load(self.run, 8, "while it dies") as load:
            load.wait_for(turns, HOUR)
            self.told(load, "before")
            uploads, downloads = load.in_the_middle()
            server.kill()
            self.say(
                f"SIGKILL for {server.name}, two of the four buckets, in the middle "
                f"of {uploads} uploads and {downloads} downloads"
            )
            load.wait_for(3 * turns, HOUR)
            if self.site.status()["state"] != "degraded":
                self.wrong(f"the array is not degraded: {self.state()}")
        self.told(load, "in all")
        self.size()
        self.compare("compared without that server")
        owed = self.site.owed()
        self.say(f"owed to its buckets: {owed} objects")
        if not owed:
            self.wrong("nothing is owed to a server that was away")

    def told(self, load: Load, when: str) -> None:
        """Say what the clients met; a failure is not right, whatever the reason."""
        self.say(f"  uploads {when}: {load.uploads.words}")
        self.say(f"  downloads {when}: {load.downloads.words}")
        if when == "in all":
            for reason in load.failed[:10]:
                self.wrong(reason)
            if len(load.failed) > 10:
                self.wrong(f"and {len(load.failed) - 10} more failures")

    def bring_back(self, stack: ExitStack, folder: Path, port: int) -> None:
        """Start the server again under load; wait until nothing is owed to it."""
        with Load(self.run, 8, "while it returns") as load:
            load.in_the_middle()
            stack.enter_context(rclone(folder, port))
            begun = time.monotonic()
            self.say("rclone is back, with what it had on its disk")
            load.wait_for(20 if self.quick else 150, HOUR)
        self.told(load, "in all")
        self.say(self.site.server.flask("array", "pace", "100").strip())
        until(self.run.whole, HOUR, 1, "every debt is paid")
        seconds = time.monotonic() - begun
        self.say(f"all debts are paid {seconds:.0f} s after its return; {self.state()}")

    def scrub(self) -> None:
        """Look at every object of every bucket; nothing may be bad."""
        begun = time.monotonic()
        said = self.site.server.flask("array", "scrub", "--check", "--wait")
        for line in said.splitlines()[1:]:
            self.say(f"  {line}")
        self.say(f"the scrub is clean, {time.monotonic() - begun:.1f} s")

    def lose_database(self, server: S3Server, bucket: str) -> None:
        """Kill the site; remove the database, and a bucket with all that is in it."""
        self.paths = files_below(self.run.person, self.run.root)
        if set(self.paths.values()) != set(self.run.files):
            self.wrong("the pages list other files than were put in")
        self.site.server.kill()
        gone = list(self.site.data.glob("holdfast.db*"))
        for path in gone:
            path.unlink()
        count = _delete_bucket(server, bucket)
        self.say(f"the site is killed, and {len(gone)} files of the database removed")
        self.say(f"{bucket} of {server.name} is deleted with its {count} objects")

    def recover(self) -> None:
        """Rebuild the database from three buckets, as docs/recovery.md says."""
        try:
            self.site.server.start()
        except ServerError as error:
            if "flask array recover" not in str(error):
                raise
            self.say("a start refuses, and names the command to recover with")
        else:
            self.wrong("the site made a new array out of members that hold one")
        begun = time.monotonic()
        said = self.site.server.flask("array", "recover")
        for line in said.splitlines():
            self.say(f"  {line}")
        self.say(f"flask array recover: {time.monotonic() - begun:.1f} s")
        self.site.server.start()

    def compare_paths(self) -> None:
        """Sign in anew and compare every file, by its path."""
        person = self.site.client().login("keeper", PASSWORD.strip())
        found = files_below(person, person.root())
        for path in sorted(set(self.paths) - set(found))[:5]:
            self.wrong(f"{path} did not come back")
        for path in sorted(set(found) - set(self.paths))[:5]:
            self.wrong(f"{path} was not there before")
        self.run.files = {
            found[path]: self.run.files[entry]
            for path, entry in self.paths.items()
            if path in found
        }
        self.run.person, self.run.root = person, person.root()
        self.compare("compared by path after the recovery, from three buckets")
        with Load(self.run, 4, "after the recovery") as load:
            load.wait_for(5, HOUR)
        self.told(load, "in all")
        self.size()


def _delete_bucket(server: S3Server, bucket: str) -> int:
    """Delete every object of a bucket and the bucket; returns how many there were."""
    count = 0
    for page in server.client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for found in page.get("Contents", ()):
            server.client.delete_object(Bucket=bucket, Key=found["Key"])
            count += 1
    server.client.delete_bucket(Bucket=bucket)
    return count


def _servers() -> str:
    program = Path(sys.executable).with_name("rclone")
    said = subprocess.run([program, "version"], capture_output=True, text=True)
    return f"moto {version('moto')}, {said.stdout.splitlines()[0]}"


def tell(folder: Path, quick: bool) -> int:
    """Tell the whole story; 0 only if all is right."""
    disk = folder / "rclone"
    disk.mkdir()
    with ExitStack() as stack:
        first = stack.enter_context(moto())
        second = stack.enter_context(rclone(disk))
        urls = [first.url(), first.url(), second.url(), second.url()]
        settings = {"ARRAY_LEVEL": "raid6", "ARRAY_MEMBERS": " ".join(urls)}
        site = Site(folder / "site", settings, width=0, environment=CREDENTIALS)
        story = Story(stack.enter_context(site), folder, quick)
        story.say(f"{_servers()}, Python {platform.python_version()}")
        story.say("RAID-6 over bucket-0 and bucket-1 of each of the two servers")
        try:
            story.fill()
            story.kill(second)
            story.bring_back(stack, disk, int(second.endpoint.rpartition(":")[2]))
            story.compare("compared with all four buckets back")
            story.scrub()
            story.lose_database(first, "bucket-0")
            story.recover()
            story.compare_paths()
        except (AssertionError, ServerError, OSError) as error:
            story.wrong(f"the story broke off: {error}")
        if story.problems:
            print(f"Not all right: {len(story.problems)} problems", file=sys.stderr)
            return 1
        print("All right")
        return 0


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a slice of the trees")
    parser.add_argument("--dir", default=None)
    options = parser.parse_args()
    use_test_keys()
    with scratch(options.dir) as folder:
        return tell(folder, options.quick)


if __name__ == "__main__":
    sys.exit(main())
