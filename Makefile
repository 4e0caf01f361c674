# What is done with ferry's source. Only Go is needed for `make demo` and
# `make test`; works with GNU make 3.81 and later.

GO       ?= go
FUZZTIME ?= 10s
BENCH    ?=
RELEASE  ?=

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT  := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
# The only clock of a build: when its commit was made.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
export SOURCE_DATE_EPOCH

LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'
EXE     := $(shell $(GO) env GOEXE)

LINT    := $(GO) tool -modfile=tools/go.mod golangci-lint
SUMMARY := $(GO) run ./scripts/summary

# The race detector wants a C compiler with its headers.
RACE = $(shell printf '\043include <stdlib.h>\nint main(void){return 0;}\n' | \
	$$($(GO) env CC) -x c - -o /dev/null >/dev/null 2>&1 && \
	test "$$($(GO) env CGO_ENABLED)" = 1 && echo -race)

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile

.PHONY: build
build: ## bin/ferry and bin/ferry-scanner, static
	$(BUILD) -o bin/ferry$(EXE) ./cmd/ferry
	$(BUILD) -o bin/ferry-scanner$(EXE) ./cmd/ferry-scanner

# The scanner takes minutes to compile the first time; who needs none does not
# wait for it.
.PHONY: ferry
ferry:
	$(BUILD) -o bin/ferry$(EXE) ./cmd/ferry

.PHONY: demo
demo: ferry ## pack, verify and open sample images on this machine
	bin/ferry$(EXE) demo

.PHONY: test
test: ## every test that needs nothing but Go
	@race='$(RACE)'; \
	test -n "$$race" || echo 'no working C compiler: the tests run without the race detector'; \
	echo "go test $$race ./..."; \
	$(SUMMARY) $$race $$($(GO) list ./... | grep -v -e /internal/scanner -e /cmd/ferry-scanner)
	CGO_ENABLED=0 $(SUMMARY) -trimpath ./internal/scanner/... ./cmd/ferry-scanner/...

.PHONY: check
check: vet lint test arch build ## the whole gate: format, vet, lint, tests, layers, build

# What only looks at the source uses what the build compiled, and does not
# have all libraries compiled again in another way.
vet lint: export CGO_ENABLED = 0
vet lint: export GOFLAGS += -trimpath

.PHONY: vet
vet:
	$(GO) vet ./...
	$(GO) vet -tags e2e ./test/e2e/...
	cd test/bench && $(GO) vet ./...
	cd test/conformance && $(GO) vet ./...
	cd test/cluster && $(GO) vet -tags bench ./...

.PHONY: lint
lint: ## format and lint
	$(LINT) fmt --diff
	$(LINT) run ./...
	cd test/cluster && $(GO) tool -modfile=../../tools/go.mod golangci-lint run --build-tags bench ./...
	cd test/bench && $(GO) tool -modfile=../../tools/go.mod golangci-lint run ./...
	cd test/conformance && $(GO) tool -modfile=../../tools/go.mod golangci-lint run ./...

.PHONY: fmt
fmt: ## format in place
	$(LINT) fmt

.PHONY: arch
arch: ## who may import what
	$(GO) test .

.PHONY: vuln
vuln: ## known vulnerabilities in what is linked in (needs the internet)
	$(GO) tool -modfile=tools/go.mod govulncheck ./...

.PHONY: corpus
corpus: ## score explain on labelled messages; CORPUS="-v FILE.jsonl" for others
	$(GO) run ./scripts/corpus $(or $(CORPUS),internal/diagnose/testdata/corpus.jsonl)

.PHONY: e2e
e2e: ## against podman, skopeo, a registry, containerd (root on Debian installs them)
	scripts/e2e-install
	CGO_ENABLED=0 $(SUMMARY) -no-skips -trimpath -tags e2e -count=1 -timeout 20m ./internal/engine/... ./internal/ssh/... ./internal/node/... ./internal/report/... ./internal/scanner/... ./test/e2e/...
	$(GO) build -o bin/summary ./scripts/summary
	cd test/conformance && ../../bin/summary -no-skips -count=1 ./...
	cd test/cluster && ../../bin/summary -no-skips -count=1 -timeout 40m ./...

.PHONY: docs
docs: ## docs/story.md, from real clusters (root)
	cd test/cluster && FERRY_STORY=$(CURDIR)/docs/story.md $(GO) test -count=1 -timeout 20m -run 'Test(Laptop|Bank)Story$$' .

.PHONY: bench
bench: build ## compare with crane, skopeo, ctr, podman, kubectl by hand (root); BENCH=-quick for a small try
	cd test/bench && $(GO) run . $(BENCH)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (10s)
	@for p in $$($(GO) list ./...); do \
		targets=$$($(GO) test -list '^Fuzz' $$p) || { echo "$$targets"; exit 1; }; \
		for f in $$(echo "$$targets" | grep '^Fuzz'); do \
			echo "fuzz $$p $$f"; \
			$(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$p || exit 1; \
		done; \
	done

.PHONY: release
release: ## dist/: archives, licences, SBOMs and checksums, reproducible
	$(GO) run ./scripts/release -version '$(VERSION)' -commit '$(COMMIT)' -to dist $(RELEASE)

.PHONY: licences
licences: ## may all that is linked in be shipped? Compiles nothing
	$(GO) run ./scripts/release -licences

.PHONY: clean
clean: ## what was built
	rm -rf bin dist
