# limpet's everyday commands. `make` alone lists them.

GO ?= go
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
NGINX ?= /usr/sbin/nginx
FUZZTIME ?= 10s
CONF ?=

# Each fuzz target, as PACKAGE:NAME.
FUZZ = $(shell grep -rl --include='*_test.go' '^func Fuzz' . | xargs -r grep -Ho '^func Fuzz[A-Za-z0-9_]*' | sed 's|/[^/]*:func |:|')

.PHONY: help build test race racescripts fuzz oracle bench lint docs run demo clean

help: ## lists the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/' | awk -F': *' '{ printf "  make %-8s %s\n", $$1, $$2 }'

build: ## builds bin/limpet, one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o bin/limpet ./cmd/limpet

test: ## runs all tests; needs no root, no nginx, no network but loopback
	$(GO) test ./...

race: ## runs the tests under the race detector, but for those that run the binary
	$(GO) test -race $$($(GO) list ./... | grep -v -e internal/script -e internal/hostile -e cmd/limpet)

racescripts: ## runs the scripts against a binary built with the race detector
	$(GO) test -race ./internal/script

fuzz: ## fuzzes each target for FUZZTIME (10s)
	@set -e; for f in $(FUZZ); do \
		echo "fuzz $$f"; \
		$(GO) test -run='^$$' -fuzz="^$${f##*:}\$$" -fuzztime=$(FUZZTIME) $${f%:*}; \
	done

oracle: ## runs the scripts and the wrong configurations against a real nginx (NGINX=/usr/sbin/nginx)
	ORACLE=$(NGINX) $(GO) test -count=1 ./internal/script

bench: ## measures limpet against nginx
	$(GO) run ./internal/bench

lint: ## gofmt, go vet, staticcheck
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "gofmt -w needed:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

docs: ## writes nginxconf/DIRECTIVES.md anew from the rows
	DOCS=write $(GO) test -count=1 -run TestDirectivesPage ./internal/server

run: build ## runs CONF=FILE in the foreground; without CONF the demo
	@if [ -z "$(CONF)" ]; then exec bin/limpet demo; fi; \
	if grep -Eq '^[[:space:]]*daemon[[:space:]]' "$(CONF)"; then exec bin/limpet -c "$(CONF)" -e stderr; fi; \
	exec bin/limpet -c "$(CONF)" -e stderr -g 'daemon off;'

demo: build ## runs the demo: two backends, sticky sessions, health checks
	exec bin/limpet demo

clean: ## removes what was built
	rm -rf bin
	$(GO) clean -testcache
