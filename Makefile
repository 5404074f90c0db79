# `make` alone, or `make help`, says what can be made.

PREFIX  ?= /usr/local
DESTDIR ?=
GO      ?= go

# The version is the nearest tag, or the commit; a tree without git has none.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

bin  = $(DESTDIR)$(PREFIX)/bin
man  = $(DESTDIR)$(PREFIX)/share/man/man1
data = $(DESTDIR)$(PREFIX)/share

# A release build: no cgo, no paths of this machine, no symbol table.
release = CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'

export GO

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build install uninstall test fuzz cover bench bench-idle gobench benchdiff fmt peers clean

help: ## print this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

build: ## build the programs into bin/
	@mkdir -p bin
	$(release) -o bin/ ./cmd/...

install: ## install yodel, its man pages and completions below PREFIX (/usr/local)
	@mkdir -p bin
	$(release) -o bin/yodel ./cmd/yodel
	install -d '$(bin)'
	install -m 755 bin/yodel '$(bin)/yodel'
	@scripts/install-extras bin/yodel '$(man)' '$(data)'

uninstall: ## remove what install has put below PREFIX
	rm -f '$(bin)/yodel' '$(man)'/yodel.1 '$(man)'/yodel-*.1
	rm -f '$(data)/bash-completion/completions/yodel' '$(data)/zsh/site-functions/_yodel' '$(data)/fish/vendor_completions.d/yodel.fish'

test: ## format, build on three systems, vet, staticcheck, tests with -race, 1 s of each fuzz target; STEPS: only some
	@scripts/test $(STEPS)

fuzz: ## fuzz each target for FUZZTIME (30s)
	@FUZZTIME=$(or $(FUZZTIME),30s) scripts/test fuzz

cover: ## run the tests and print each package's coverage against tools/coverage.txt
	@COVERAGE=all scripts/test tests coverage

bench: ## measure echo beside C and other libraries, clients, and kv beside redis-server, on a quiet Linux (14 min); ARGS=-short: 20 s
	@cd bench && $(GO) build -o ../bin/bench . && ../bin/bench $(ARGS)

bench-idle: ## open N (18000) idle connections on ENGINE (epoll), say what each costs, have every one echo
	@cd bench && $(GO) build -o ../bin/bench . && ../bin/bench -idle $(or $(N),18000) -engine $(or $(ENGINE),epoll) $(ARGS)

gobench: ## run the Go benchmarks of PKG (./...) COUNT (6) times and keep the figures in OUT (bench.txt)
	$(GO) test -run='^$$' -bench=. -benchmem -count=$(or $(COUNT),6) $(or $(PKG),./...) | tee $(or $(OUT),bench.txt)

benchdiff: ## compare two files of figures: make benchdiff OLD=old.txt NEW=bench.txt
	@$(GO) tool -modfile=tools/go.mod benchstat $(OLD) $(NEW)

fmt: ## format all Go files
	$(GO) tool -modfile=tools/go.mod gofumpt -w .

peers: ## install the programs that tests talk to (Debian's packages, as root; starts no daemon)
	@scripts/peers

clean: ## remove what build and bench have made
	rm -rf bin bench.txt
