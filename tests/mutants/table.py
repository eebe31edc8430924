"""Bugs that somebody could put into the product, and the test that notices each.

`old` stands in the file exactly once; `new` takes its place. A survivor is a hole in
the tests, and an anchor that is gone is a hole in this table.
"""

from typing import NamedTuple


class Mutant(NamedTuple):
    """One bug: where it goes, and who has to fail because of it."""

    name: str
    file: str
    old: str
    new: str
    tests: str


AGAIN = "tests/proof/test_power_loss_again.py"
FAR = "tests/raid/test_far_reads.py"
DISK, LOCAL = "storage/members/disk.py", "storage/members/local.py"
BUCKET = "storage/members/s3.py"
BUCKETS = "tests/storage/test_members_s3.py"
CONTRACT = "tests/storage/test_members_contract.py"
POWER = "tests/proof/test_power_loss_member.py"
CUT = f"{POWER}::test_it_keeps_what_it_acknowledged_when_the_power_goes"
FAULTS = "tests/storage/test_members_faults.py"
FOLDERS = "tests/storage/test_members_local.py"
COMMIT = "tests/storage/test_commit.py"
DEBTS = "tests/storage/test_debts.py"
PURGE = "tests/storage/test_purge.py"
WRITER = "tests/raid/test_array_writer.py"
ROT = "tests/raid/test_array_rot.py"
_SQLITE = "[sqlite]"

MUTANTS = (
    # -- what makes bytes and names durable
    Mutant(
        "no fsync of a file",
        DISK,
        "            self._write_all(fd, parts)\n            self.calls.fsync(fd)\n",
        "            self._write_all(fd, parts)\n",
        CUT,
    ),
    Mutant(
        "a failed fsync is tried again",
        DISK,
        "            self._write_all(fd, parts)\n            self.calls.fsync(fd)\n",
        "            self._write_all(fd, parts)\n"
        "            try:\n                self.calls.fsync(fd)\n"
        "            except OSError:\n                self.calls.fsync(fd)\n",
        FAULTS,
    ),
    Mutant(
        "no fsync of any directory",
        DISK,
        "        fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY)\n",
        "        return\n        fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY)\n",
        CUT,
    ),
    Mutant(
        "no fsync of the directory after a rename",
        LOCAL,
        "            self._disk.sync_directory(folder)\n"
        "            self._sync_above(folder)\n        except",
        "            self._sync_above(folder)\n        except",
        CUT,
    ),
    Mutant(
        "no fsync above a new directory",
        LOCAL,
        "            self._sync_above(folder)\n        except",
        "        except",
        CUT,
    ),
    Mutant(
        "a directory of a killed writer is trusted",
        LOCAL,
        "        if folder == self._root or folder in self._durable:\n",
        "        if folder == self._root or os.listdir(folder) != []:\n",
        f"{POWER}::test_a_directory_that_a_killed_writer_made_is_made_durable",
    ),
    Mutant(
        "a repair takes what a killed one left for durable",
        "raid/repair.py",
        "        with array.using(slot, write=True) as member:\n"
        "            member.sync(key)\n        return False\n",
        "        return False\n",
        AGAIN,
    ),
    Mutant(
        "a rebuild takes what a killed one left for durable",
        "raid/rebuild.py",
        "                    member.sync(holding.key)\n",
        "                    pass\n",
        AGAIN,
    ),
    Mutant(
        "an inventory takes what a killed repair left for durable",
        "storage/jobs/inventory.py",
        '                    member.sync(f"{OBJECTS}{byte:02x}/")\n',
        "                    pass\n",
        "tests/storage/test_inventory.py"
        "::test_what_it_finds_is_durable_before_it_counts",
    ),
    Mutant(
        "no fsync of the quarantine",
        LOCAL,
        '        self._disk.sync_directory(self._at("quarantine"))\n',
        "",
        f"{CUT} {POWER}::test_what_was_replaced_is_in_quarantine",
    ),
    Mutant(
        "no fsync after a removal",
        LOCAL,
        "                self._disk.unlink(target)\n"
        "            with suppress(FileNotFoundError):\n"
        "                self._disk.sync_directory(os.path.dirname(target))",
        "                self._disk.unlink(target)\n"
        "            with suppress(FileNotFoundError):\n"
        "                os.path.dirname(target)",
        CUT,
    ),
    Mutant(
        "SQLite may lose its last commits",
        "storage/db.py",
        '"synchronous=FULL"',
        '"synchronous=NORMAL"',
        "tests/web/test_database.py::test_sqlite_is_set_to_be_durable",
    ),
    # -- a member
    Mutant(
        "a short write is taken for a whole one",
        DISK,
        "            left = _after(left, taken)\n",
        "            left = []\n",
        FAULTS,
    ),
    Mutant(
        "a short read is taken for the end",
        DISK,
        "            return self._read_on(fd, data, offset, length)\n",
        "            return data\n",
        FAULTS,
    ),
    Mutant(
        "a bad object is removed, not kept aside",
        LOCAL,
        "            self._quarantine(target, key)\n            self._rename(",
        "            self._disk.unlink(target)\n            self._rename(",
        f"{FOLDERS}::test_a_replaced_object_moves_to_quarantine",
    ),
    Mutant(
        "a file that is being written can be seen",
        LOCAL,
        'temporary = self._at("tmp", temporary_name())',
        'temporary = self._at("o", temporary_name())',
        f"{POWER}::test_a_killed_writer_leaves_nothing_that_is_listed",
    ),
    Mutant(
        "an object is overwritten in place",
        LOCAL,
        '            temporary = self._at("tmp", temporary_name())\n',
        "            with suppress(OSError):\n"
        "                self._disk.unlink(self._at(key))\n"
        '            temporary = self._at("tmp", temporary_name())\n',
        FAULTS,
    ),
    Mutant(
        "an empty mount point is written to",
        LOCAL,
        '        with self._border(f"store {key}"):\n            self._insist()\n',
        '        with self._border(f"store {key}"):\n',
        f"{FOLDERS}::test_an_empty_mount_point_is_missing_and_never_written_to",
    ),
    Mutant(
        "a member that is away says that an object is absent",
        LOCAL,
        "        self._insist()\n        return ObjectMissing(self.label, key)\n",
        "        return ObjectMissing(self.label, key)\n",
        f"{FOLDERS}::test_an_empty_mount_point_is_missing_and_never_written_to",
    ),
    Mutant(
        "what a failed write left stays",
        LOCAL,
        "                with suppress(OSError):\n"
        "                    self._disk.unlink(temporary)\n                raise\n",
        "                raise\n",
        FAULTS,
    ),
    Mutant(
        "the files of others are swept",
        "storage/members/temporary.py",
        "    if place != _place():\n        return False\n",
        "    if place != _place():\n        return True\n",
        f"{FOLDERS}::test_it_clears_what_killed_writers_left",
    ),
    Mutant(
        "the reserve is used up",
        LOCAL,
        "        if free < size + self._reserve:\n",
        "        if free < size:\n",
        f"{FOLDERS}::test_a_read_only_mount_and_a_full_disk_show_in_the_check",
    ),
    # -- the engine
    Mutant(
        "a put that failed counts as done",
        "raid/batches.py",
        "            if error is None:\n",
        "            if error is None or slot:\n",
        f"{WRITER}::test_a_member_that_fails_in_the_middle_costs_nothing",
    ),
    Mutant(
        "one manifest is enough",
        "raid/writer.py",
        "        needed = self.array.map.shape.m + 1\n",
        "        needed = 1\n",
        f"{WRITER}::test_refuse_keeps_the_promise_or_stores_nothing",
    ),
    Mutant(
        "a unit is served without a look at its tag",
        "raid/segments.py",
        "        return unit_tag(self._tag_keys[column], unit, self._row.number) =="
        " expected\n",
        "        return expected is not None\n",
        f"{ROT}::test_flipped_bits_are_found_never_served_and_repaired",
    ),
    Mutant(
        "parity of an unverified unit is published",
        "raid/segments.py",
        "        if self._matches(column, made):\n",
        "        if made:\n",
        f"{ROT}::test_a_repair_never_publishes_what_it_can_not_verify",
    ),
    Mutant(
        "any manifest of a blob will do",
        "raid/reader.py",
        "            return Manifest.unpack(data, self._ref.manifest_digest)\n",
        "            return Manifest.unpack(data)\n",
        f"{ROT}::test_a_manifest_of_another_blob_is_not_accepted",
    ),
    Mutant(
        "a scrub looks at no tag",
        "raid/repair.py",
        "    if found != [table.tag(index, column) for index in range(len(units))]:\n",
        "    if len(found) != len(units):\n",
        f"{ROT}::test_flipped_bits_are_found_never_served_and_repaired",
    ),
    Mutant(
        "a bad object is repaired by leaving it",
        "raid/repair.py",
        "        member.put(key, parts, replace=bad)\n",
        "        if not bad:\n            member.put(key, parts)\n",
        f"{ROT}::test_flipped_bits_are_found_never_served_and_repaired",
    ),
    Mutant(
        "a member that is away counts as one without the object",
        "raid/segments.py",
        "        except MemberError:\n            self._away.add(role)\n",
        "        except MemberError:\n            self._absent.add(role)\n",
        "tests/raid/test_array_losses.py",
    ),
    # -- far members
    Mutant(
        "a late read is waited for",
        "raid/race.py",
        "        if len(others) == needed and self._pace.allow(needed, size):\n",
        "        if not others and self._pace.allow(needed, size):\n",
        f"{FAR}::test_a_member_that_hangs_keeps_no_reader",
    ),
    Mutant(
        "asking others has no bound",
        "raid/pace.py",
        "            if self._left < reads or self._today + size > BYTES_A_DAY:\n",
        "            if self._left < 0:\n",
        "tests/raid/test_pace.py",
    ),
    Mutant(
        "data far away are read though parity is near",
        "raid/preference.py",
        "    return set(range(shape.k)) & set(able[shape.k :])\n",
        "    return set()\n",
        f"{FAR}::test_parity_nearby_is_better_than_data_far_away",
    ),
    Mutant(
        "all try a member whose rest is over",
        "raid/health.py",
        "                trouble.trial = now + TRIAL\n",
        "                trouble.trial = 0.0\n",
        f"{FAR}::test_after_a_rest_one_request_tries_and_the_others_leave_it_alone",
    ),
    # -- the commit
    Mutant(
        "debts are forgotten at the commit",
        "storage/blobs.py",
        "            debts.owe(locked, self._stored, lacks)\n",
        "            debts.owe(locked, self._stored, [])\n",
        f"{DEBTS}::test_a_member_away_and_back{_SQLITE}",
    ),
    Mutant(
        "a member that missed a write stays in sync",
        "storage/debts.py",
        "        if member.state == StoredState.IN_SYNC:\n",
        "        if member.state == StoredState.FAULTY:\n",
        f"{DEBTS}::test_a_member_away_and_back{_SQLITE}",
    ),
    Mutant(
        "the fence is open",
        "storage/uploads.py",
        ".where(Upload.blob == self.blob, Upload.attempt == self.attempt)\n",
        ".where(Upload.blob == self.blob)\n",
        f"{COMMIT}::test_two_writers_of_one_upload{_SQLITE}",
    ),
    Mutant(
        "another length than the one announced is kept",
        "storage/uploads.py",
        "        if wanted.size is not None and size != wanted.size:\n",
        "        if wanted.size is not None and size > wanted.size:\n",
        f"{COMMIT}::test_refusals_come_before_the_blob_can_exist",
    ),
    Mutant(
        "a failed upload is not undone",
        "storage/blobs.py",
        "    except BaseException:\n        _undo(own, array, log)\n        raise\n",
        "    except BaseException:\n        raise\n",
        f"{COMMIT}::test_a_cut_body_leaves_nothing{_SQLITE}",
    ),
    Mutant(
        "a read-only array takes a commit",
        "storage/blobs.py",
        "        locked.refuse_readonly()\n        self._log.close",
        "        self._log.close",
        f"{COMMIT}::test_a_readonly_array_takes_nothing{_SQLITE}",
    ),
    Mutant(
        "what lies on replaced members alone is committed",
        "storage/blobs.py",
        "        if not (described and whole):\n",
        "        if not described:\n",
        f"{COMMIT}::test_who_still_holds_it_decides_at_the_commit",
    ),
    Mutant(
        "the quota is looked at and not taken in one step",
        "files/quota.py",
        "        change = change.where(User.used_bytes + amount <= quota)\n",
        "        change = change.where(User.used_bytes <= quota)\n",
        "tests/files/test_quota.py"
        "::test_the_last_room_is_taken_once_whatever_was_known_before[sqlite]",
    ),
    Mutant(
        "what other uploads will take counts as room",
        "files/quota.py",
        "    return Room(max(0, room - others), others, old)\n",
        "    return Room(room, 0, old)\n",
        "tests/files/test_quota.py::test_what_others_will_take_is_no_room[sqlite]",
    ),
    Mutant(
        "two uploads take the same room when they begin",
        "storage/uploads.py",
        "            self._reserve(session, self.blob, wanted.size or 0)\n",
        "",
        "tests/files/test_quota.py"
        "::test_two_that_look_at_the_same_moment_do_not_both_begin",
    ),
    Mutant(
        "a body of unknown length goes on where the room ends",
        "storage/uploads.py",
        "            if self._wanted.size is None:\n",
        "            if self._wanted.size == -1:\n",
        "tests/files/test_quota.py"
        "::test_what_does_not_say_how_long_it_is_stops_where_the_room_ends[sqlite]",
    ),
    Mutant(
        "who comes later changes a tree first",
        "files/tree.py",
        '    take_turn(session, f"tree {user_id}")\n',
        "",
        "tests/files/test_races.py::test_nobody_is_overtaken_by_who_came_later",
    ),
    # -- accounts
    Mutant(
        "a password may be read in any number of ways",
        "auth/passwords.py",
        "        if _readings([*kept, sign]) > _READINGS:\n",
        "        if _readings([*kept, sign]) > 1000:\n",
        "tests/auth/test_passwords.py::test_no_password_costs_more_than_a_few_readings",
    ),
    Mutant(
        "an upload of an account that was disabled is kept",
        "files/uploads.py",
        "        access.refuse_disabled(user)\n",
        "",
        "tests/files/test_uploads.py"
        "::test_what_a_disabled_account_had_under_way_is_not_kept",
    ),
    # -- conditions
    Mutant(
        "a condition is looked at only before the bytes come",
        "files/uploads.py",
        "        old = _replaced(session, folder_id, offer)\n",
        "        known = Offer(offer.name, taken=offer.taken)\n"
        "        old = _replaced(session, folder_id, known)\n",
        "tests/files/test_uploads.py"
        "::test_a_condition_holds_until_the_file_is_visible[sqlite]",
    ),
    # -- deleting
    Mutant(
        "objects go before enough tombstones are there",
        "storage/purge.py",
        "told[uuid]) >= enough\n",
        "told[uuid]) >= 0\n",
        f"{PURGE}::test_no_object_goes_before_m_plus_one_tombstones{_SQLITE}",
    ),
    Mutant(
        "a repair brings back what was deleted meanwhile",
        "storage/supply.py",
        "    if dead:\n        with array.using",
        "    if dead is None:\n        with array.using",
        f"{DEBTS}::test_a_purge_during_a_repair_leaves_nothing{_SQLITE}",
    ),
    Mutant(
        "bytes go while they are still downloaded",
        "storage/blobs.py",
        "            due_at=latest() + timedelta(seconds=grace),\n",
        "            due_at=latest() + timedelta(seconds=0 * grace),\n",
        f"{PURGE}::test_a_released_blob_stays_for_the_grace{_SQLITE}",
    ),
    Mutant(
        "a full member takes no tombstone",
        "raid/repair.py",
        "            member.put(key, parts, essential=True)\n        except Obj",
        "            member.put(key, parts)\n        except Obj",
        f"{PURGE}::test_a_full_member_takes_tombstones",
    ),
    # -- members and those who work on them
    Mutant(
        "two payers pay the same debts",
        "storage/debts.py",
        "            .values(due_at=batch.until)\n",
        "            .values(due_at=now)\n",
        f"{DEBTS}::test_two_payers_never_pay_the_same{_SQLITE}",
    ),
    Mutant(
        "a member that is needed is replaced for ever",
        "storage/membership.py",
        "    force = force or not outlook.is_needed(slot)\n",
        "    force = True\n",
        "tests/storage/test_overloss.py::test_two_are_lost_for_good_in_raid5[sqlite]",
    ),
    # -- what a bucket says, and what is believed of it
    Mutant(
        "absence is believed of any bucket",
        BUCKET,
        "        self._insist(BELIEVED)\n        return ObjectMissing",
        "        return ObjectMissing",
        f"{BUCKETS}::test_a_blank_bucket_in_place_of_a_full_one_is_missing",
    ),
    Mutant(
        "a list is believed of any bucket",
        BUCKET,
        "                    yield info\n            self._insist(BELIEVED)\n",
        "                    yield info\n",
        f"{BUCKETS}::test_a_bucket_that_was_emptied_under_way_is_no_empty_member",
    ),
    Mutant(
        "a 404 of whoever stands between is absence",
        "storage/members/s3errors.py",
        'ABSENT = ("NoSuchKey",)',
        'ABSENT = ("NoSuchKey", "404")',
        f"{BUCKETS}::test_a_read_that_fails_says_why",
    ),
    Mutant(
        "If-None-Match is trusted without proof",
        "storage/members/s3objects.py",
        "known = self._refuses(PROBE) or self._refuses(PROBE)",
        "known = True",
        f"{CONTRACT}::test_it_never_replaces_other_bytes_unasked",
    ),
    Mutant(
        "what is there already is taken for ours",
        BUCKET,
        "            if sent or self._objects.same(key, body):\n",
        "            if sent or not replace:\n",
        f"{BUCKETS}::test_a_lost_answer_never_hides_other_bytes",
    ),
    Mutant(
        "retries without a budget",
        "storage/members/s3calls.py",
        " or not own.budget.spend()",
        "",
        f"{BUCKETS}::test_a_retry_is_paid_for_out_of_one_budget",
    ),
    Mutant(
        "what stays as an older version is taken for gone",
        "storage/kept.py",
        "        return not member.keeps(blob_prefix(blob))\n",
        "        return True\n",
        "tests/storage/test_kept.py::test_a_purge_stays_as_tombstones",
    ),
    Mutant(
        "a spare takes over from a member that only denies access",
        "storage/upkeep.py",
        "seen.observed.get(slot) == MemberDenied.word",
        "seen.observed.get(slot) == ''",
        "tests/storage/test_strange_buckets.py::test_no_spare_takes_over_from_one_that_only_denies",
    ),
    Mutant(
        "the errors of a replaced member are its successor's",
        "storage/runtime.py",
        "            self.health = self.health.without(taken)\n",
        "            for slot in taken:\n                self.health.forget(slot)\n",
        "tests/storage/test_spares.py"
        "::test_what_a_replaced_member_did_is_not_its_successors",
    ),
    Mutant(
        "what a member did before it was taken back counts on elsewhere",
        "storage/runtime.py",
        "        self._forget_taken_back(found)\n        if self",
        "        if self",
        "tests/storage/test_spares.py"
        "::test_what_is_taken_back_is_forgotten_in_every_process",
    ),
    Mutant(
        "what a look at all places finds taken back is not forgotten",
        "storage/runtime.py",
        "            self._forget_taken_back(found)\n            self._install",
        "            self._install",
        "tests/storage/test_spares.py"
        "::test_what_is_taken_back_while_all_places_are_looked_at_is_forgotten_too",
    ),
    Mutant(
        "a worker that runs does not see that an older database was put in place",
        "storage/worker.py",
        "            self._done_at.pop(_WHOLE_JOURNALS, None)\n        return back",
        "            pass\n        return back",
        "tests/storage/test_journal_heads.py"
        "::test_a_database_older_than_the_members_undoes_no_upload",
    ),
    Mutant(
        "a process that has not looked gives up what it hopes for",
        "storage/outlook.py",
        "        own.array()\n    except NoArray",
        "        pass\n    except NoArray",
        "tests/storage/test_array_page.py"
        "::test_a_process_that_just_started_gives_up_nothing_that_is_needed",
    ),
    Mutant(
        "a host that is cut off ends members that others reach",
        "storage/upkeep.py",
        "        if denies or member in moved:\n",
        "        if denies:\n",
        "tests/storage/test_spares.py"
        "::test_a_member_that_another_host_reaches_is_not_gone",
    ),
    Mutant(
        "an upload is judged by the clock of whoever looks",
        "storage/clock.py",
        '    if db.engine.dialect.name == "postgresql":\n',
        '    if db.engine.dialect.name == "":\n',
        "tests/storage/test_clock.py"
        "::test_hosts_whose_clocks_differ_leave_each_others_uploads_alone",
    ),
    Mutant(
        "what went away while it was looked through counts as looked at",
        "storage/jobs/seat.py",
        "MemberRow.uuid == member, MemberRow.state != StoredState.STALE",
        "MemberRow.uuid == member",
        "tests/storage/test_inventory.py"
        "::test_what_went_away_in_its_last_step_is_looked_at_again",
    ),
    Mutant(
        "a glance does not see that a member was rolled back",
        "storage/journal/heads.py",
        "        if one.held and _holds(array, one.slot, newest) is False:\n",
        "        if False:\n",
        "tests/storage/test_journal_heads.py"
        "::test_a_glance_finds_a_member_that_was_rolled_back",
    ),
    Mutant(
        "a glance does not see that the database was rolled back",
        "storage/journal/heads.py",
        "    if not any(_holds(array, one.slot, one_more) for one in found):\n",
        "    if found:\n",
        "tests/storage/test_journal_heads.py"
        "::test_a_glance_finds_a_database_that_is_behind_any_member",
    ),
    Mutant(
        "a job fails because the map is older than its member",
        "storage/jobs/seat.py",
        "    if state in (None, StoredState.RETIRED):\n",
        "    if state != '':\n",
        "tests/storage/test_replace.py"
        "::test_a_worker_whose_map_is_older_than_the_job_waits",
    ),
    Mutant(
        "a reshape takes all clocks for one",
        "storage/jobs/reshape.py",
        "Upload.started_at < asked + _MARGIN",
        "Upload.started_at < asked",
        "tests/storage/test_reshape.py"
        "::test_an_upload_that_began_under_the_old_map_is_waited_for",
    ),
    Mutant(
        "a reshape passes by what ends during its last pass",
        "storage/jobs/reshape.py",
        "cls(again=int(_older_uploads(job)))",
        "cls()",
        "tests/storage/test_reshape.py"
        "::test_an_upload_that_ends_behind_the_last_pass_is_not_missed",
    ),
    Mutant(
        "a spare takes over from the spare of another worker",
        "storage/upkeep.py",
        "spares.pop(0), seen=array.uuid_of(slot), why=why",
        "spares.pop(0), why=why",
        "tests/storage/test_spares.py"
        "::test_a_second_worker_leaves_the_spare_that_stepped_in",
    ),
    Mutant(
        "what a killed worker removed is not made durable",
        "storage/kept.py",
        "            member.sync(blob_prefix(blob))\n",
        "",
        "tests/storage/test_purge.py::test_what_a_killed_worker_removed_is_made_durable",
    ),
    Mutant(
        "all workers purge the same blobs",
        "storage/purge.py",
        "        yield [blob for blob in blobs if blob in taken or blob not in owed]\n",
        "        yield list(blobs)\n",
        "tests/storage/test_purge_claims.py::test_two_that_look_at_the_same_moment_do_not_both_begin",
    ),
    Mutant(
        "each member that is made anew makes a client of boto3",
        "storage/members/s3calls.py",
        "        return _shared.setdefault(bucket, Calls(bucket))\n",
        "        return Calls(bucket)\n",
        "tests/storage/test_members_client.py::test_a_member_that_is_made_anew_uses_the_client_that_is_there",
    ),
    Mutant(
        "manifests that nobody uses stay in memory",
        "storage/manifests.py",
        "        long_ago = self._clock() - self.UNUSED_SECONDS\n",
        "        long_ago = 0.0\n",
        "tests/storage/test_manifest_cache.py::test_what_nobody_has_used_for_long_goes",
    ),
    Mutant(
        "each thread may have a heap of its own",
        "storage/heap.py",
        "            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)\n",
        "            pass\n",
        "tests/storage/test_heap.py::test_the_site_has_one_heap",
    ),
    Mutant(
        "credentials that were refused are never read again",
        "storage/members/s3calls.py",
        "                self._renew()\n",
        "                pass\n",
        "tests/storage/test_members_client.py::test_renewed_credentials_are_used_by_a_member_that_is_there",
    ),
    Mutant(
        "what a member has kept is claimed and then left alone",
        "storage/kept.py",
        "    claimed = now + timedelta(seconds=debts.CLAIM_SECONDS)\n",
        "    claimed = now\n",
        "tests/storage/test_purge_claims.py::test_what_a_member_has_kept_is_tried_again_once_it_is_due",
    ),
    Mutant(
        "errors that refer to themselves stay in memory",
        "storage/heap.py",
        "    gc.collect()\n",
        "",
        "tests/storage/test_heap.py::test_what_nobody_can_reach_goes_however_old_it_is",
    ),
    Mutant(
        "who is silent keeps the turn",
        "storage/db.py",
        '        hold = f"{HOLD_SECONDS * 1000:.0f}"\n',
        '        hold = "0"\n',
        "tests/web/test_database.py::test_who_falls_silent_loses_the_turn",
    ),
    Mutant(
        "a disk has to have room before it may say that a deleted file is gone",
        LOCAL,
        '        with self._border("ask what it keeps"):\n            self._insist()\n',
        "        self.check()\n",
        f"{PURGE}::test_a_member_below_its_reserve_is_emptied_in_one_round",
    ),
    Mutant(
        "what a bucket keeps of purged files counts as a debt of its kind",
        "storage/metrics/rows.py",
        "func.count()).where(_IS_OWED).group_by(Debt.kind)\n",
        "func.count()).group_by(Debt.kind)\n",
        "tests/storage/test_metrics.py::test_what_a_bucket_keeps_is_not_owed",
    ),
    Mutant(
        "what a member kept while a clock was ahead is never tried again",
        "storage/kept.py",
        "Debt.due_at <= claimed, *too_late)\n",
        "Debt.due_at <= claimed)\n",
        "tests/storage/test_clock.py::test_what_a_member_keeps_is_tried_again_although_the_clock_was_ahead",
    ),
    Mutant(
        "assets whose upload was not answered are not put again",
        "files/publishing.py",
        "size=size, elsewhere=False, **request",
        "size=size, **request",
        "tests/files/test_publishing.py::test_trouble_that_passes_fails_no_publishing",
    ),
    Mutant(
        "what a member keeps is tried again each day for ever",
        "storage/kept.py",
        "        before = row.tries if row.reason == Reason.KEPT else 0\n",
        "        before = 0\n",
        "tests/storage/test_kept_waits.py::test_the_days_of_the_tries",
    ),
    Mutant(
        "a tombstone that can't go is the first one in every round",
        "storage/purge.py",
        "                owe_again(locked, [(uuid, member)], **why)\n",
        "                pass\n",
        f"{PURGE}::test_a_tombstone_that_cannot_go_holds_up_no_other_purge",
    ),
    Mutant(
        "the last full scrub is forgotten",
        "storage/jobs/schedule.py",
        "        old.append(Job.id != full.id)\n",
        "        pass\n",
        "tests/storage/test_schedule.py::test_what_the_last_jobs_said_is_not_forgotten",
    ),
    Mutant(
        "a check does not know what was answered",
        "files/uploads.py",
        "    return begun if isinstance(begun, Answer) else None\n",
        "    return None\n",
        "tests/files/test_uploads.py::test_a_check_knows_what_was_answered_already",
    ),
    Mutant(
        "hosts that share a disk take each other's writers for dead",
        "storage/members/temporary.py",
        "        host = Path(_BOOT_ID).read_text()\n",
        '        host = ""\n',
        f"{FOLDERS}::test_what_another_host_is_writing_is_left_alone",
    ),
    Mutant(
        "a name is composed however long it is",
        "files/names.py",
        "        _refuse_long(raw)\n",
        "",
        "tests/files/test_names.py::test_a_name_that_cannot_fit_is_refused_before_it_is_composed",
    ),
    Mutant(
        "an answer that the client leaves is whole",
        "storage/logs.py",
        "        if not self.whole:\n",
        "        if not self.status:\n",
        "tests/web/test_logs.py::test_an_answer_that_the_client_leaves_is_broken",
    ),
    Mutant(
        "an answer that was cut counts as a success",
        "storage/metrics/meters.py",
        "if whole or status[0] >= 400 else CUT\n",
        "if whole or status[0] else CUT\n",
        "tests/storage/test_metrics.py::test_an_answer_that_was_cut_is_no_success",
    ),
    Mutant(
        "a database that goes away hides which files of a form were kept",
        "files/transfers.py",
        "        result.failure = without_database(error)\n        abandon()\n",
        "        raise\n",
        "tests/files/test_uploads.py::test_a_form_whose_database_goes_away_says_what_was_kept",
    ),
)
