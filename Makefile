# make demo: see what it does. make test: everything that must hold. Each sets up what it needs in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= demo-out
MINUTES ?= 30

.PHONY: demo test check types unit fuzz browser clean

# make demo FILMS=~/Videos: films of your own, indexed with the model small and served; without FILMS the demo's own.
demo: $(VENV)/.demo
ifdef FILMS
	$(BIN)/gmmformer models get small
	$(BIN)/gmmformer index $(OUT)/films $(FILMS)
	$(BIN)/gmmformer serve $(OUT)/films
else
	$(BIN)/gmmformer demo $(OUT)
endif

test: check unit

check: $(VENV)/.test types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# The page's modules, by TypeScript, from npm (where that cannot be reached it is said); nothing of it is in what is served.
types: $(VENV)/.test
	@PATH="$(CURDIR)/$(BIN):$$PATH"; tsc="npx --yes --package typescript@5.9.3 tsc"; \
	if $$tsc --version >/dev/null 2>&1; then $$tsc --project tsconfig.json; \
	else echo "no TypeScript here and npm's registry cannot be reached, so the types of the page's modules are not checked"; fi

# Compiled modules are kept even where the user has switched that off: the hundreds of processes that tests start load them.
unit: $(VENV)/.test browser
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

# Damaged and hostile input (`make test` tries a little of it) for MINUTES; ONLY=films tries one kind. Findings: fuzz-findings/.
fuzz: $(VENV)/.test
	OMP_NUM_THREADS=1 GMMFORMER_FUZZ_MINUTES=$(MINUTES) $(BIN)/pytest tests/fuzz -n auto --dist worksteal $(if $(ONLY),-k $(ONLY))

# The page is tested in Debian's Chromium and Firefox (which has its H.264 from libavcodec), and behind Debian's nginx;
# without them those tests are counted as skipped.
browser:
	@PATH="$$PATH:/usr/sbin"; command -v chromium >/dev/null && command -v firefox-esr >/dev/null && ldconfig -p | grep -q libavcodec && command -v nginx >/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		served="$$(command -v nginx)"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			chromium firefox-esr '^libavcodec[0-9]+$$' fonts-dejavu-core nginx-light >/dev/null; \
		[ -n "$$served" ] || ! command -v systemctl >/dev/null || systemctl disable -q --now nginx 2>/dev/null || true; \
	else echo "no Chromium, Firefox (with libavcodec) or nginx here, so tests with it are skipped; to run them: sudo apt-get install chromium firefox-esr nginx-light"; fi

$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[films,train,web]'
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	$(BIN)/pip install --quiet -c constraints.txt -e '.[films,search,speech,text,train,web,ray,mcp,milvus,dev]'
	@touch $@

clean:
	rm -rf $(VENV) $(OUT)
