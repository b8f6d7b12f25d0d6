# Keelson's build. `make help` lists the targets; README.md says which two to start with.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VERSION ?= 0.1.0
BOARD   ?= pc
ARCH    ?= $(if $(filter pc,$(BOARD)),amd64,arm64)
NAME    ?= homelab
FUZZTIME ?= 20s
# Debian's mirrors drop a package version when its successor appears, so a clone that is older than
# that must take the successor or end. Empty: end, and say what is gone.
PACKAGES ?= --allow-moved-packages

# The build time is the commit's: it is the clock floor of every node, and two builds
# of one commit must be the same bytes.
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 1700000000)

# One set of flags for build, vet and test, so that they share one compile of Kubernetes.
export CGO_ENABLED := 0
# Distributions' Go may be older than go.mod wants, and set to "local": let it fetch the one it needs.
export GOTOOLCHAIN ?= auto
export GOFLAGS     := -trimpath -buildvcs=false
TAGS        := no_btrfs no_zfs no_devmapper no_tracing
BIN         := bin/$(ARCH)
CONTAINERD_VERSION := $(shell sed -n 's|^\tgithub.com/containerd/containerd/v2 \(v[0-9.]*\).*|\1|p' go.mod)
TRAEFIK_VERSION := $(shell sed -n 's|^require github.com/traefik/traefik/v3 v\(.*\)|\1|p' imagebuilder/traefik/go.mod)
K8S_VERSION := $(shell sed -n 's|^\tk8s.io/kubernetes \(v[0-9.]*\).*|\1|p' go.mod)

LDFLAGS       := -s -w
# Of the programs that know when they were built: PID 1's floor of the clock, and the serial of what the CLI builds.
DATED_LDFLAGS := $(LDFLAGS) -X main.version=$(VERSION) -X main.buildEpoch=$(SOURCE_DATE_EPOCH)
VERSION_PKGS  := k8s.io/client-go/pkg/version k8s.io/component-base/version
NODE_LDFLAGS  := $(LDFLAGS) -X main.version=$(VERSION) \
	-X github.com/containerd/containerd/v2/version.Version=$(CONTAINERD_VERSION:v%=%) \
	$(foreach p,$(VERSION_PKGS),-X $(p).gitVersion=$(K8S_VERSION)+keelson1 -X $(p).gitMajor=$(word 1,$(subst ., ,$(K8S_VERSION:v%=%))) \
	-X $(p).gitMinor=$(word 2,$(subst ., ,$(K8S_VERSION:v%=%))) -X $(p).gitTreeState=clean -X $(p).buildDate=$(shell date -u -d @$(SOURCE_DATE_EPOCH) +%Y-%m-%dT%H:%M:%SZ))

PLUGINS := ipam/host-local main/bridge main/loopback meta/portmap

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- what a fresh machine lacks -------------------------------------------------

# command=Debian package. The first list is for building and running, the second for boards of arm64, the
# third for tests: the reference tools that check our file formats.
RUN_TOOLS  := go=golang-go gcc=gcc qemu-system-x86_64=qemu-system-x86 qemu-img=qemu-utils \
	/usr/share/OVMF/OVMF_CODE_4M.fd=ovmf apt-get=apt dpkg-deb=dpkg git=git \
	/usr/share/keyrings/debian-archive-keyring.gpg=debian-archive-keyring
ARM_TOOLS  := aarch64-linux-gnu-gcc=gcc-aarch64-linux-gnu qemu-system-aarch64=qemu-system-arm \
	/usr/share/AAVMF/AAVMF_CODE.fd=qemu-efi-aarch64
TEST_TOOLS := sgdisk=gdisk sfdisk=fdisk mkimage=u-boot-tools dtc=device-tree-compiler \
	/usr/lib/u-boot/qemu_arm64/u-boot.bin=u-boot-qemu grub-mkimage=grub-common /usr/lib/grub/i386-pc/boot.img=grub-pc-bin fsck.vfat=dosfstools mdir=mtools e2fsck=e2fsprogs veritysetup=cryptsetup-bin \
	fsck.erofs=erofs-utils unsquashfs=squashfs-tools cpio=cpio zstd=zstd objdump=binutils gpg=gnupg ip=iproute2 minisign=minisign jq=jq

# need LIST: installs the packages of LIST whose command or file is missing.
define need
	@missing=""; export PATH="$$PATH:/usr/sbin:/sbin"; \
	for pair in $(1); do what=$${pair%%=*}; \
		if [[ $$what == /* ]]; then [[ -e $$what ]] || missing+=" $${pair##*=}"; \
		else command -v $$what >/dev/null || missing+=" $${pair##*=}"; fi; done; \
	[[ -z $$missing ]] && exit 0; \
	command -v apt-get >/dev/null || { echo "make: missing:$$missing; install them (these are Debian's package names)" >&2; exit 1; }; \
	sudo=""; [[ $$(id -u) == 0 ]] || sudo=sudo; \
	echo "installing:$$missing"; \
	$$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null
endef

.PHONY: deps test-deps
deps:
	$(call need,$(RUN_TOOLS) $(if $(filter arm64,$(ARCH)),$(ARM_TOOLS)))
test-deps: deps
	$(call need,$(ARM_TOOLS) $(TEST_TOOLS))

# --- build ----------------------------------------------------------------------

.PHONY: build
build: deps cli programs traefik ## bin/keelson and everything an image needs; BOARD=rpi for arm64

.PHONY: cli
cli:
	@mkdir -p $(BIN)
	go build -ldflags '$(DATED_LDFLAGS)' -o bin/keelson ./cmd/keelson

.PHONY: programs
programs: cli
	@echo "building the node's programs (the first time compiles Kubernetes: about 15 minutes on two cores)"
	GOARCH=$(ARCH) go build -ldflags '$(DATED_LDFLAGS)' -o $(BIN)/init ./cmd/init
	GOARCH=$(ARCH) go build -ldflags '$(LDFLAGS) -X main.version=$(VERSION)' -o $(BIN)/machined ./cmd/machined
	GOARCH=$(ARCH) go build -ldflags '$(LDFLAGS)' -o $(BIN)/pause ./cmd/pause
	cd imagebuilder/programs && GOARCH=$(ARCH) go build -tags '$(TAGS)' -ldflags '$(LDFLAGS)' -o ../../$(BIN)/ \
		github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2 \
		$(addprefix github.com/containernetworking/plugins/plugins/,$(PLUGINS))
	bin/keelson runc $(PACKAGES) --arch $(ARCH) --source imagebuilder/programs --out $(BIN)/runc
	GOARCH=$(ARCH) go build -tags '$(TAGS)' -ldflags '$(NODE_LDFLAGS)' -o $(BIN)/node ./cmd/node

# A program of a container image in the image. Its 2200 packages take 7 minutes of one core, once.
.PHONY: traefik
traefik:
	@mkdir -p $(BIN) bin/src/traefik
	cd imagebuilder/traefik && go run . ../../bin/src/traefik && \
		GOARCH=$(ARCH) go build -modfile ../../bin/src/traefik/go.mod -ldflags '$(LDFLAGS) -X github.com/traefik/traefik/v3/pkg/version.Version=$(TRAEFIK_VERSION)' \
		-o ../../$(BIN)/ github.com/traefik/traefik/v3/cmd/traefik

# --- run ------------------------------------------------------------------------

.PHONY: run
run: build ## build, boot in QEMU, end at a Ready node and a kubeconfig (Ctrl-C powers it off)
	@[[ -e $(NAME)/kubeconfig ]] || bin/keelson config new $(NAME)
	bin/keelson build $(PACKAGES) --board $(BOARD) --config $(NAME)/server.yaml --out $(NAME).img
	@exec bin/keelson run $(NAME).img $(if $(FRESH),--fresh)

# --- checks ---------------------------------------------------------------------

.PHONY: lint
lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [[ -z $$unformatted ]] || { echo "not gofmt-clean: $$unformatted" >&2; exit 1; }
	go vet -tags '$(TAGS)' ./...
	@mkdir -p bin
	cd tools && go build -o ../bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	bin/staticcheck -tags '$(TAGS)' ./...
	@$(MAKE) --no-print-directory portable

# The CLI on other systems: it is compiled and vetted, nothing of it runs here.
PORTABLE := ./cmd/keelson ./flash/... ./tests/qemu ./tests/kubeapi ./config ./boards ./cluster/pki ./cluster/token ./cluster/generate ./upgrade/bundle
.PHONY: portable
portable:
	@for target in darwin/arm64 darwin/amd64 windows/amd64; do \
		echo "keelson for $$target"; export GOOS=$${target%/*} GOARCH=$${target#*/}; \
		go build -o /dev/null ./cmd/keelson && go vet $(PORTABLE) || exit 1; done

.PHONY: unit
unit: test-deps
	go test -tags '$(TAGS)' ./...

.PHONY: test
test: test-deps build lint unit ## everything that must pass: lint, unit tests, formats, QEMU scenarios
	@$(MAKE) --no-print-directory programs ARCH=arm64
	KEELSON_QEMU=1 go test -tags '$(TAGS)' -count=1 -p 1 -timeout 80m -v ./tests/...

# Not cluster/: fuzzing compiles everything below a package anew, and that is Kubernetes. Its
# seeds run in "unit".
.PHONY: fuzz
fuzz: ## feed every parser FUZZTIME of made-up input
	@grep -rlE '^func Fuzz' --include='*_test.go' . | grep -v '^./cluster/' | xargs -n1 dirname | sort -u | while read -r dir; do \
		for f in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | cut -d' ' -f2); do \
			echo "fuzzing $$dir $$f for $(FUZZTIME)"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$dir; \
		done; done

.PHONY: test-all
test-all: test fuzz ## also the slow matrices: machines, disks, cards, networks, and fuzzing
	KEELSON_QEMU=1 KEELSON_ALL=1 go test -tags '$(TAGS)' -count=1 -timeout 180m -v ./tests/scenario

.PHONY: bench
bench: build ## measure, and rewrite docs/benchmarks.md; BOARD=arm64 for its part of the page
	KEELSON_QEMU=1 go run -tags '$(TAGS)' ./tests/bench -board $(BOARD)

.PHONY: clean
clean: ## remove what was built here (the caches in the home folder stay)
	rm -rf bin out
