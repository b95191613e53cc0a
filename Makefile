# A VPN in eight steps. 'make help' lists what there is to do.

steps  := $(sort $(patsubst %/,%,$(wildcard step*-*/)))
# The chapters beyond the steps.
chapters := $(sort $(patsubst %/README.md,%,$(wildcard step*-*/further/*/README.md)))
latest := $(lastword $(steps))
reverse := $(shell printf '%s\n' $(steps) | sort -r)

.PHONY: help demo walk tour progress mine setup test soak lint unit modules exercises demos readme solutions sheets
.DEFAULT_GOAL := help

help:
	@echo "A VPN in eight steps:"
	@echo "  make demo    the furthest step ($(latest)) at work, in a network of its own"
	@echo "  make walk    the same, stopping before each act"
	@echo "  make tour    the demos of all steps, in order, and of the chapters beyond them"
	@echo "  make progress  which exercises are to do, failing, done by you"
	@echo "  make mine    build the VPN out of what you have written, after checking it"
	@echo "  make sheets  for a class: each step's questions, and the answers, as PDF"
	@echo "  make test    all checks: lint, tests, demos; some 15 minutes on 2 cores"
	@echo "  make soak    what takes long: all variants of the tests, fuzzing, Ctrl-C at many moments"
	@echo "  make lint    gofmt, go vet, staticcheck, and what the READMEs say of the source"
	@echo "  make readme  refresh the output that the READMEs show (after make tour)"
	@echo "Each step has its own: cd $(firstword $(steps)) && make help"

# If this make is killed, the shell and the make that it starts end, too: what is called
# this way dies with the process that started it.
with := setpriv --pdeathsig KILL
sub  := $(with) $(MAKE) --no-print-directory -C

# At its end it says whose the pieces are. The step's demo looks whether one is missing.
demo walk:
	+@$(with) sh -ec '$(sub) $(latest) $@; printf "\n   "; go run stepvpn/shared/exercise pieces'

progress:
	@go run stepvpn/shared/exercise progress

mine:
	@go run stepvpn/shared/exercise mine
	@$(MAKE) --no-print-directory -C $(latest) build

# For a class: see step.mk.
sheets:
	@$(with) sh -ec 'for step in $(steps) $(chapters); do $(sub) $$step sheet; done'

# For those who change the course: the texts of the solutions are made from the code.
solutions:
	@go run stepvpn/shared/exercise sync

tour:
	+@$(with) sh -ec 'for step in $(steps) $(chapters); do \
		printf "\n######## %s ########\n" $$step; \
		$(sub) $$step demo; \
	done'

# What the demos and tests use; what is only a judge in tests stands last.
setup:
	@shared/lab/setup.sh && shared/lab/setup.sh tun && shared/lab/setup.sh zsh fish gropdf tshark chromium wireguard-go wg wg-quick zbarimg age oathtool

# What is quick comes first. The rest mostly waits, so it is done at the same time. 'demos'
# runs every demo, and then compares the READMEs with what the demos printed. Nobody
# debugs the programs that are built here (-s): that halves the time of the linker, which
# was the largest part of it all.
test: export GOFLAGS := $(GOFLAGS) -ldflags=-s
test: setup
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory modules
	@$(MAKE) --no-print-directory -j3 unit exercises demos
	@echo "make test: lint, unit and namespace tests, module builds, exercises, demos and READMEs are fine"

# STEPVPN_SOAK is what shared/soak and lint look at.
soak: setup
	@shared/lab/setup.sh lintian promtool
	@STEPVPN_SOAK=1 $(MAKE) --no-print-directory lint unit
	@go run stepvpn/shared/exercise prove -all
	@echo "== faults in the core that no test notices"
	@go run stepvpn/shared/exercise mutants -n 12
	@echo "== every fuzz target"
	@shared/lab/fuzz.sh 20s
	@shared/lab/interrupt.sh 50
	@cd $(latest) && ./bench.sh soak
	@echo "make soak: all variants of the tests, fuzz targets, 50 ends of a demo and the traffic with loss are fine"

lint:
	@shared/lab/lint.sh

# The namespace tests make their namespaces by themselves. All modules at once, and
# two packages more than there are cores (-p), for most tests wait more than they
# compute; what takes long comes first. lint has had go vet look at everything. The
# timeout, of a package, is for tests that hang: on a busy machine all take longer.
# GORACE: programs built with -race wait for a second at their end unless they are
# told not to. GOFLAGS, which also holds for the programs that tests build: the race
# detector does not watch the arithmetic of X25519 and of the two password hashes, which
# share nothing and would be ten times slower.
unit: export GORACE = atexit_sleep_ms=0
unit: export GOFLAGS := $(GOFLAGS) -gcflags=crypto/internal/fips140/edwards25519/...=-race=false \
	-gcflags=golang.org/x/crypto/scrypt=-race=false -gcflags=golang.org/x/crypto/argon2=-race=false
unit:
	@echo "== go test -race: all modules$(if $(filter 1,$(STEPVPN_SOAK)),, (some tests in a quick variant: 'make soak' has all of it))"
	@shared/lab/snapshot.sh around go test -race -vet=off -timeout=30m -p $$(($$(nproc) + 2)) ./shared/... $(reverse:%=./%/...)

# Every module builds by itself, too; and the first two on macOS.
modules:
	@set -e; for module in shared $(steps); do \
		echo "== builds without the workspace: $$module"; \
		(cd $$module && GOWORK=off go build -buildvcs=false ./...); \
	done
	@set -e; for module in $(wordlist 1,2,$(steps)); do \
		echo "== builds for macOS: $$module"; \
		(cd $$module && GOOS=darwin go build -buildvcs=false ./...); \
	done

# Each exercise is what it says, see shared/exercise.
exercises:
	@echo "== exercises (one mistake of each: 'make soak' makes them all)"
	@go run stepvpn/shared/exercise prove

demos:
	@shared/lab/test.sh
	@go run stepvpn/shared/readme -check README.md $(steps:%=%/README.md) $(chapters:%=%/README.md)

readme:
	@go run stepvpn/shared/readme README.md $(steps:%=%/README.md) $(chapters:%=%/README.md)
