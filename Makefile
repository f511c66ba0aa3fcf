# The gateway's two commands are `make run` and `make test`; CI calls the same.
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  = -s -w -X main.version=$(VERSION)
TOOLS    = GOBIN=$(CURDIR)/bin/tools $(GO) install
# Development tools, pinned.
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.9.0
# What the load tool compares with, besides mosquitto.
NATS_SERVER = github.com/nats-io/nats-server/v2@v2.15.2
# Words of the names of interop's parts, such as INTEROP="sse sdk"; empty: all.
INTEROP    ?=
# The load tool's options, such as BENCH="-only fanout -seconds 5".
BENCH      ?=

.PHONY: all build run test test-deps lint interop bench bench-deps bench-record pictures fuzz soak clean help

all: build

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

build: ## build bin/gateway, a static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/gateway ./cmd/gateway

run: build ## run the gateway; without GATEWAY_MQTT_URL it starts its built-in broker
	./bin/gateway

test: test-deps ## install what the tests need, then run all of them with the race detector
	@GO='$(GO)' ./scripts/test.sh

test-deps:
	@./scripts/test-deps.sh

lint: ## gofmt, go vet, staticcheck, the OpenAPI document, and govulncheck where its database can be reached
	@untidy="$$(gofmt -l $$(git ls-files '*.go'))"; if [ -n "$$untidy" ]; then echo "gofmt would change:"; echo "$$untidy"; exit 1; fi
	$(GO) vet ./...
	cd bench && $(GO) vet ./...
	cd test/manifests && $(GO) vet ./...
	@$(TOOLS) $(STATICCHECK)
	./bin/tools/staticcheck ./...
	./bin/tools/staticcheck -tags interop ./test
	cd bench && ../bin/tools/staticcheck ./...
	cd test/manifests && ../../bin/tools/staticcheck ./...
	@./scripts/lint-openapi.sh
	@./scripts/vuln.sh $(GOVULNCHECK)

interop: build test-deps ## generate clients, and run them and those that people have against the gateway, with npm and Go modules
	@./scripts/interop.sh $(INTEROP)

bench: build bench-deps ## measure the gateway beside its rivals, and print ratios
	cd bench && $(GO) run . $(BENCH)

bench-record: build bench-deps ## measure everything, and rewrite the tables and plots of bench/, docs/ and README
	cd bench && $(GO) run . -growth -out RESULTS.md -docs ../docs -readme ../README.md $(BENCH)

bench-deps:
	@command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || ./scripts/test-deps.sh
	@! command -v npm >/dev/null || [ -d bench/fastify/node_modules/mqtt ] || npm install --prefix bench/fastify --no-package-lock --no-audit --no-fund --loglevel=error || echo "fastify and MQTT.js cannot be installed here; their figures are left out"
	@[ -x bin/tools/nats-server ] || $(TOOLS) $(NATS_SERVER) || echo "nats-server cannot be installed here; its figures are left out"

pictures: test-deps ## take the pictures of the console in docs/ anew
	PICTURES=$(CURDIR)/docs/pictures $(GO) test -count=1 -run TestConsolePictures ./test

fuzz: ## run every fuzz target for FUZZTIME (1m)
	@./scripts/fuzz.sh

soak: test-deps ## see for SOAK (30m) that memory, descriptors and goroutines stay flat while everything comes and goes
	SOAK=$(or $(SOAK),30m) $(GO) test -count=1 -timeout 0 -v -run '^TestSoak$$' ./test

clean: ## remove what was built
	rm -rf bin
