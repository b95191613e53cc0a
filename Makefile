# A VPN in eight steps. 'make help' lists what there is to do.

steps  := $(sort $(patsubst %/,%,$(wildcard step*-*/)))
latest := $(lastword $(steps))

.PHONY: help demo walk tour test lint unit modules demos readme
.DEFAULT_GOAL := help

help:
	@echo "A VPN in eight steps:"
	@echo "  make demo    the furthest step ($(latest)) at work, in a network of its own"
	@echo "  make walk    the same, stopping before each act"
	@echo "  make tour    the demos of all steps, in order"
	@echo "  make test    all checks: lint, tests, demos"
	@echo "  make lint    gofmt, go vet, staticcheck"
	@echo "  make readme  refresh the output that the READMEs show (after make tour)"
	@echo "Each step has its own: cd $(firstword $(steps)) && make help"

# Should this make be killed, then the one that it starts ends, too.
sub := setpriv --pdeathsig KILL $(MAKE) --no-print-directory -C

demo walk:
	+@$(sub) $(latest) $@

tour:
	+@set -e; for step in $(steps); do \
		printf '\n######## %s ########\n' $$step; \
		$(sub) $$step demo; \
	done

# The order is from quick to slow. 'demos' runs every demo, and then compares
# the READMEs with what the demos printed.
test:
	@shared/lab/setup.sh && shared/lab/setup.sh tun
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory modules
	@$(MAKE) --no-print-directory demos
	@echo "make test: lint, unit and namespace tests, module builds, demos and READMEs are fine"

lint:
	@shared/lab/lint.sh

# The namespace tests make their namespaces by themselves. GORACE: programs built
# with -race wait for a second at their end unless they are told not to.
unit:
	@set -e; for module in shared $(steps); do \
		echo "== go test -race: $$module"; \
		(cd $$module && GORACE=atexit_sleep_ms=0 go test -race ./...); \
	done

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

demos:
	@shared/lab/test.sh
	@go run stepvpn/shared/readme -check README.md $(steps:%=%/README.md)

readme:
	@go run stepvpn/shared/readme README.md $(steps:%=%/README.md)
