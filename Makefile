# Two commands: `make run` serves, `make test` is the whole gate. The rest helps developers.

PY := .venv/bin/python
# One process more than there are processors: servers, disks and browsers are waited for.
PYTEST := $(PY) -m pytest -n $(shell expr $$(nproc) + 1) --dist loadfile --no-loadscope-reorder
RUNTIME := .venv/.runtime
DEV := .venv/.dev
RELEASE := holdfast-$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

# The parts of `make soak`, in their order; docs/testing.md says what each one proves.
PARTS := kill calls sequences power bits machine buckets jobs members faults recipes full server stack long drawn
kill := tests/proof/test_kill_storage.py
calls := tests/proof/test_every_call.py tests/proof/test_traced_calls.py
sequences := tests/proof/test_short_sequences.py
power := tests/proof/test_power_loss_member.py tests/proof/test_power_loss_store.py
bits := tests/proof/test_every_bit.py tests/raid/test_array_rot.py
machine := tests/raid/test_array_machine.py
buckets := tests/storage/test_bucket_faults.py tests/storage/test_bucket_machine.py \
	tests/storage/test_kept.py tests/storage/test_strange_buckets.py \
	tests/storage/test_buckets.py tests/storage/test_bucket_recovery.py tests/storage/test_mixed.py
jobs := tests/raid/test_scrub.py tests/storage/test_scrub.py tests/files/test_journal_replay.py
members := tests/storage/test_loss_at_every_step.py tests/storage/test_outlook.py
faults := tests/web/test_postgres_faults.py tests/web/test_sqlite_faults.py \
	tests/web/test_overloss_http.py tests/storage/test_clock.py \
	tests/storage/test_jobs_without_database.py tests/storage/test_purge.py
recipes := tests/docs/test_operations.py
full := tests/proof/test_full_disk_and_clock.py
server := tests/web/test_kill.py tests/deploy/test_kill.py
stack := tests/deploy/test_topology.py tests/deploy/test_registers.py tests/deploy/test_drain.py \
	tests/deploy/test_nginx.py tests/deploy/test_slow_reader.py
long := tests/deploy/test_long.py
drawn := tests/raid/test_array_losses.py tests/auth tests/files tests/storage/test_[cdjr]*.py tests/web/test_member_start.py \
	tests/web/test_member_faults.py tests/browser/test_names.py tests/browser/test_access.py

.PHONY: run test whole stack soak mutants lint format types docs lock release help
.DEFAULT_GOAL := help

help: ## say what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile

run: $(RUNTIME) ## set up what is missing, then serve http://127.0.0.1:5000
	@exec $(PY) app.py

test: $(DEV) lint types ## set up what is missing, then run the whole gate
	$(PYTEST)

whole: $(DEV) ## every test once, also those that a gate draws a share of
	WHOLE=1 $(PYTEST)

stack: $(DEV) ## serve from three instances behind a balancer, with all they share
	@PYTHONPATH=.:tests $(PY) -m support.stack

soak: $(DEV) ## the long runs, all or one: make soak PART=power
	@failed=; for part in $(or $(PART),$(PARTS)); do \
		$(MAKE) --no-print-directory soak-$$part || failed="$$failed $$part"; \
	done; test -z "$$failed" || { echo "Failed:$$failed"; exit 1; }

soak-stack soak-long: WORKERS := 0 -s # one deployment at a time, and its figures at once
soak-%:
	@echo "== $*"
	@SOAK=$${SOAK:-20} HOLDFAST_TEST_KILLS=$${HOLDFAST_TEST_KILLS:-1000} \
		$(PY) -m pytest -n $(or $(WORKERS),auto) --dist load -q -rP --timeout 14400 $($*)

mutants: $(DEV) ## put bugs into copies of the tree: each has to be noticed
	$(PY) tests/mutants/run.py $(if $(MUTANT),"$(MUTANT)")

lint: $(DEV) ## check format and style
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .

format: $(DEV) ## put the code into its format
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

types: $(DEV) ## check types
	$(PY) -m mypy

docs: $(DEV) ## write the table of settings into docs/configuration.md
	$(PY) -m deploy.document

lock: ## lock the newest packages that the .in files allow (needs uv)
	@command -v uv >/dev/null || { echo "uv is missing: pip install uv"; exit 1; }
	uv pip compile --universal --generate-hashes --no-header --no-emit-index-url \
		--python-version 3.11 --upgrade requirements.in -o requirements.txt
	uv pip compile --universal --generate-hashes --no-header --no-emit-index-url \
		--python-version 3.11 --upgrade requirements-dev.in -o requirements-dev.txt

release: ## pack what is committed into dist/holdfast-VERSION.tar.gz, with its SHA-256
	@mkdir -p dist
	git archive --prefix=$(RELEASE)/ --output=dist/$(RELEASE).tar.gz HEAD
	@cd dist && sha256sum $(RELEASE).tar.gz | tee $(RELEASE).tar.gz.sha256

# The development packages contain those of the runtime.
$(RUNTIME): requirements.txt deploy/setup.sh
	@test -e $(DEV) && test $(DEV) -nt requirements-dev.txt \
		&& test $(DEV) -nt requirements.txt || deploy/setup.sh requirements.txt
	@touch $@

$(DEV): requirements-dev.txt deploy/setup.sh
	@deploy/setup.sh requirements-dev.txt
	@touch $@
