# What every step can do, and every chapter beyond the steps. A step's Makefile is one line that includes this.

lab  := $(dir $(lastword $(MAKEFILE_LIST)))
step := $(notdir $(CURDIR))
what := $(if $(wildcard go.mod),step,chapter)
# The step before this one, if any: the folders sort by their number.
steps    := $(sort $(notdir $(patsubst %/,%,$(wildcard ../step*-*/))))
previous := $(lastword $(filter-out $(step) %/,$(shell printf '%s\n' $(steps) | sed '/^$(step)$$/q')))

# exercise COMMAND: with the number in EX, or for all of the step; PUT=1 puts the course's version in.
exercise = @go build -o $(lab)../../.cache/exercise stepvpn/shared/exercise && $(lab)../../.cache/exercise $(1) $(if $(PUT),-put) $(EX)

comma := ,

.PHONY: start check hint solution lab sheet help demo walk test diff build judges bench readme
.DEFAULT_GOAL := help

help:
	@echo "$(step):"
	@echo "  make demo    see it work, in a network of its own; nothing of this machine changes"
	@echo "  make walk    the same, stopping before each act: predict, then press Enter"
	@echo "  make test    run the tests of this $(what)"
	@echo "  make diff    $(if $(filter step,$(what)),what this step adds to the one before,the packages of this chapter$(comma) and where its step uses them)"
	@echo "  make build   build the programs into bin/"
	@echo "  make bench   measure"
	@echo "  make lab     a shell on alice, in the network of the demo (HOST=server: on another host)"
	@echo "  make start EX=1     write a piece of it: takes the course's version out (without EX: all of the $(what)'s)"
	@echo "  make check EX=1     is it right?"
	@echo "  make hint EX=1      the next hint"
	@echo "  make solution EX=1  the course's version; with PUT=1 it is put in"
	@echo "  make sheet   for a class: the questions of the demo and the exercises, and the answers, as PDF"
	@echo "  make readme  refresh the output that README.md shows (after make demo)"

demo: ; @./demo.sh
walk: ; @WALK=1 ./demo.sh

start check hint solution: ; $(call exercise,$@)

lab: ; @$(lab)open.sh $(HOST)

# To print: questions with room for answers, and the answers.
sheet:
	@$(lab)setup.sh gropdf
	@mkdir -p out
	@set -e; for kind in questions answers; do \
		go run stepvpn/shared/exercise sheet $$([ $$kind = questions ] || echo -answers) >out/$$kind.ms; \
		groff -ms -K utf8 -T pdf out/$$kind.ms >out/$$kind.pdf; rm out/$$kind.ms; \
		echo "$(step)/out/$$kind.pdf"; \
	done

build:
	@$(lab)build.sh

# What the demo uses beyond that which all use: a chapter adds how to get it. (It is apart from build,
# as 'make install' builds, too, and installs nothing else on an operator's machine.)
judges:

test:
	@$(lab)setup.sh
	go vet ./...
	GORACE=atexit_sleep_ms=0 go test -race ./...

bench:
	@$(lab)setup.sh
	go test -run '^$$' -bench . -benchmem ./...
	@if [ -e bench.sh ]; then ./bench.sh; fi

diff:
	@$(lab)diff.sh "$(previous)" $(wiring)

readme:
	@go run stepvpn/shared/readme README.md
