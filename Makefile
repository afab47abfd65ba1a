# Thin over cargo. What each needs on a fresh machine is in CONTRIBUTING.md.

CARGO ?= cargo
EXAMPLE ?= examples/bookinfo
LOAD_NAMESPACES ?= 40
LOAD_STREAMS ?= 50

.PHONY: help build install run test lint lint-build format deny golden crds proto bench bench-engine bench-mesh fuzz \
	conformance demo egress node

# A component of the toolchain by its command and its name: added if it is absent, or else an error that says so.
component = @$(CARGO) $(1) --version >/dev/null 2>&1 || rustup component add $(2) || \
	{ echo "make: 'cargo $(1)' is missing and rustup cannot add it: install the component $(2)" >&2; exit 1; }

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

build: ## Build the release binary, target/release/pilothouse
	$(CARGO) build --locked --release -p pilothouse-cli

install: ## Build the release binary, also as a plugin of kubectl, into cargo's folder of binaries (~/.cargo/bin), or PREFIX/bin
	$(CARGO) install --locked --path crates/cli $(if $(PREFIX),--root $(PREFIX))
	ln -sf pilothouse $(if $(PREFIX),$(PREFIX),$${CARGO_HOME:-$$HOME/.cargo})/bin/kubectl-pilothouse

run: ## Build and serve the bookinfo example from its folder
	$(CARGO) run --locked -p pilothouse-cli -- serve --from $(EXAMPLE)

demo: ## Play the bookinfo example on processes, and explain each step
	$(CARGO) build --locked --workspace --bin pilothouse --bin pilothouse-node
	target/debug/pilothouse-node demo --example $(EXAMPLE)

egress: ## Play the egress example on processes, with servers outside of its mesh
	$(CARGO) build --locked --workspace --bin pilothouse --bin pilothouse-node
	target/debug/pilothouse-node demo --example examples/egress

node: ## Run a cluster whose pods are processes (ZTUNNEL=FILE: with a real ztunnel); prints how kubectl reaches it
	$(CARGO) build --locked --workspace --bin pilothouse --bin pilothouse-node
	target/debug/pilothouse-node serve --work target/node $(if $(ZTUNNEL),--ztunnel $(ZTUNNEL))

# Most tests wait for servers and processes most of the time: more run at once than there are processors.
RUST_TEST_THREADS ?= $(shell expr 3 '*' $$(getconf _NPROCESSORS_ONLN))

test: ## Run every test; builds a real kube-apiserver the first time
	RUST_TEST_THREADS=$(RUST_TEST_THREADS) $(CARGO) test --locked --workspace --no-fail-fast

lint: ## Formatting, and clippy with warnings as errors
	$(call component,fmt,rustfmt)
	$(call component,clippy,clippy)
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

# clippy's driver compiles what it checks: with RUSTC_WORKSPACE_WRAPPER=clippy-driver for both, as .ci/run has it, what
# this compiles is what `make test` runs, and nothing is compiled twice.
lint-build: ## Formatting, and every target compiled with warnings as errors, for `make test` to run
	$(call component,fmt,rustfmt)
	$(call component,clippy,clippy)
	$(CARGO) fmt --all --check
	$(CARGO) build --locked --workspace --all-targets

format: ## Format the code
	$(call component,fmt,rustfmt)
	$(CARGO) fmt --all

conformance: ## The conformance suites of the Gateway API (RELEASE=v1_7_0 for one): tests/tests/conformance
	$(CARGO) test --locked --workspace --test conformance --test conformance-before \
		--test conformance-gateway -- \
		--nocapture $(RELEASE)

deny: ## Licences, bans and sources of dependencies (needs cargo-deny)
	$(CARGO) deny --locked --all-features check licenses bans sources

golden: ## Write the golden files anew; review the difference
	UPDATE_GOLDEN=1 $(CARGO) test --locked -p pilothouse-tests --test golden --test envoy

crds: ## Write charts/base/crds anew from the Rust types
	$(CARGO) run --locked -p pilothouse-model --example crds

proto: ## Write the generated messages anew from proto/
	$(CARGO) run --locked -p pilothouse-codegen

bench: bench-engine bench-mesh ## Every benchmark

bench-engine: ## The engine in process: cold build, single changes, memory
	$(CARGO) bench --locked -p pilothouse-bench

bench-mesh: ## A real API server, a release build and LOAD_STREAMS streams
	$(CARGO) build --locked --profile bench -p pilothouse-cli -p pilothouse-load
	tests/load/run.sh $(LOAD_NAMESPACES) $(LOAD_STREAMS)

# What cargo-fuzz gives the compiler: libFuzzer is led by the edges and the comparisons that an input reaches.
FUZZ_FLAGS = --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= $(patsubst fuzz/fuzz_targets/%.rs,%,$(wildcard fuzz/fuzz_targets/*.rs))
# Named, so that the flags are not for build scripts and macros.
FUZZ_HOST = $(shell rustc --print host-tuple)

fuzz: ## A minute of every fuzz target (FUZZ_TARGETS, FUZZ_SECONDS; needs a C++ compiler)
	RUSTFLAGS='$(FUZZ_FLAGS)' $(CARGO) build --locked --profile fuzz -p pilothouse-fuzz --bins --target $(FUZZ_HOST)
	for target in $(FUZZ_TARGETS); do \
		mkdir -p fuzz/corpus/$$target fuzz/artifacts/$$target && \
		$${CARGO_TARGET_DIR:-target}/$(FUZZ_HOST)/fuzz/$$target -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 \
			-artifact_prefix=fuzz/artifacts/$$target/ fuzz/corpus/$$target || exit 1; \
	done
