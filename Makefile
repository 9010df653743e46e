# mailweir. `make` lists the targets. Everything runs as root: the lab and the tests
# make network namespaces, and nothing outside them is touched.

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS   = -s -w -X main.version=$(VERSION)
FUZZTIME ?= 30s

ARCH     ?= amd64
MKIMAGE   = $(GO) run ./image/cmd/mkimage $(if $(MIRROR),-mirror $(MIRROR))
# KEYS: public keys of minisign whose updates the image takes; SECRET: the secret key that signs an update of the same.
KEYS     ?=
SECRET   ?=
MAKE_IMAGE = $(MKIMAGE) -arch $(ARCH) -init bin/mailweir-$(ARCH) -version $(VERSION) -built $$(git log -1 --format=%ct) $(addprefix -key ,$(KEYS))

export CGO_ENABLED = 0

# What the tests and the lab take from Debian. Postfix and Exim are not here: the
# lab unpacks them for itself and never installs them.
PACKAGES = ca-certificates iproute2 procps nftables conntrack openssl socat swaks msmtp curl prometheus python3 libnet-ssleay-perl freeradius-utils dnsmasq-base chrony kea-dhcp4-server kea-dhcp6-server rsyslog rsyslog-gnutls rsyslog-relp tshark chromium strace gcc libc6-dev $(IMAGE_TEST_PACKAGES)

# What builds the image, and what its tests look at it with.
IMAGE_PACKAGES = dpkg apt debian-archive-keyring
IMAGE_TEST_PACKAGES = $(IMAGE_PACKAGES) gdisk mtools dosfstools e2fsprogs busybox qemu-user-static
QEMU_PACKAGES = $(if $(filter arm64,$(ARCH)),qemu-system-arm qemu-efi-aarch64 u-boot-qemu,qemu-system-x86 ovmf) dnsmasq-base chrony mtools dosfstools e2fsprogs

# What builds the eBPF programs, of which the results are committed.
BPF_PACKAGES = clang-14 llvm-14 libbpf-dev linux-libc-dev

.PHONY: help setup generate build cross test test-foreign test-race clusters-sim storm xarf lint fuzz run bench bench-estimate crossing image image-test image-boot-test image-update-test ipk image-lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

setup: ## install the Debian packages that the tests and the lab need (as root), and fetch what browser tests take from npm
	@sh .ci/packages $(PACKAGES) $(BPF_PACKAGES)
	@sh .ci/npm web-admin/testdata/npm

generate: ## build the eBPF programs of the fast lane (nfq/lane) and of tags (nfq/tags) anew; the same source gives the same bytes
	@sh .ci/packages $(BPF_PACKAGES)
	@cd nfq/lane && GO='$(GO)' sh ../../.ci/generate .
	@cd nfq/tags && GO='$(GO)' sh ../../.ci/generate .

build: ## bin/mailweir for this machine
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/mailweir ./appliance/cmd/mailweir

cross: ## build for every processor the product is made for
	@set -e; for target in amd64 arm64 arm/7 mipsle/softfloat; do \
		arch=$${target%%/*}; variant=$${target#*/}; \
		GOOS=linux GOARCH=$$arch GOARM=$$([ $$arch = arm ] && echo $$variant) GOMIPS=$$([ $$arch = mipsle ] && echo $$variant) \
			$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/mailweir-$$arch ./appliance/cmd/mailweir; \
		ls -l bin/mailweir-$$arch | awk '{printf "%s %.1f MB\n", $$9, $$5/1e6}'; \
	done

test: setup build cross ## every test: unit, kernel (namespaces), real mail servers, browser
	@GO='$(GO)' sh .ci/test ./...
	@GO='$(GO)' sh .ci/foreign short

test-foreign: setup ## unit tests as arm and mipsle under qemu-user, half an hour; `make test` runs some of them
	@GO='$(GO)' sh .ci/foreign long

test-race: setup ## the tests that need no mail servers under the race detector (needs gcc; ./nfq as root)
	CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 60m $$($(GO) list ./... | grep -v -e /appliance/bench -e /appliance/cmd -e /appliance/crossing -e /appliance/e2e -e /appliance/lab -e /image/imagetest)

lint: ## gofmt, go vet, staticcheck
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "gofmt would change:"; echo "$$out"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

clusters-sim: ## the simulations of botnets and of common programs in 40 worlds each, a few minutes
	$(GO) test -v -count=1 -timeout 30m ./appliance/clusters -args -seeds=40

storm: ## records under a storm, about eight minutes: the collector ended 20 times, 3 after it hung, and the box killed 5 times over each transport; are they whole?
	$(GO) test -v -count=1 -timeout 15m -run TestStorm ./appliance/syslog -args -storm

xarf: ## evidence packs against XARF's own schemas: SPEC=DIR, a checkout of github.com/xarf/xarf-spec, tag v4.2.0
	@[ -n '$(SPEC)' ] || { echo 'make xarf: SPEC=DIR is missing, a checkout of the specification'; exit 2; }
	$(GO) test -count=1 ./appliance/evidence -args -xarf '$(abspath $(SPEC))'

fuzz: ## every fuzz target for FUZZTIME (30s) each
	@GO='$(GO)' FUZZTIME='$(FUZZTIME)' sh .ci/fuzz

run: build ## the lab: real mail servers and a bot around the box, in namespaces; Ctrl-C removes all of it
	@sh .ci/packages iproute2 openssl ca-certificates
	bin/mailweir lab

bench: build ## governor, store, records, pages, packet path and peers measured into out/bench.md and out/peers.md, about half an hour; QUICK=1: under 5 minutes
	@sh .ci/packages ca-certificates iproute2 nftables gcc libc6-dev rsyslog rsyslog-gnutls rsyslog-relp
	$(GO) build -trimpath -o bin/bench ./appliance/cmd/bench
	@bin/bench $(if $(QUICK),-quick) -go '$(GO)'

bench-estimate: build ## what the estimate inside TLS costs: this build beside one without it, into out/estimate.md, half an hour
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -tags noestimate -o bin/mailweir-noestimate ./appliance/cmd/mailweir
	$(GO) build -trimpath -o bin/bench ./appliance/cmd/bench
	@bin/bench -go '$(GO)' -parts peers -measures starttls,bulk-tls -variants fast,fast-beside,queue,queue-beside -beside bin/mailweir-noestimate \
		-repetitions 24 -peers-sample 3s -report out/estimate-head.md -peers-report out/estimate.md

crossing: build ## real SMTP clients and servers, each with each over TLS: are the estimates true? Into out/crossing.md, about an hour
	@sh .ci/packages iproute2 ca-certificates openssl swaks libnet-ssleay-perl msmtp curl python3
	$(GO) build -trimpath -o bin/crossing ./appliance/cmd/crossing
	@bin/crossing

image: ## the flashable image, out/mailweir-ARCH.img and .img.gz; ARCH=arm64: for those; MIRROR=URL: another mirror of Debian; KEYS, SECRET: for updates, see image/README.md
	@sh .ci/packages $(IMAGE_PACKAGES)
	GOOS=linux GOARCH=$(ARCH) $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/mailweir-$(ARCH) ./appliance/cmd/mailweir
	$(MAKE_IMAGE) -out out/mailweir-$(ARCH).img $(if $(SECRET),-update out/mailweir-$(ARCH).mwu -secret $(SECRET))

image-test: image-boot-test $(if $(filter arm64,$(ARCH)),,image-update-test) ## everything that is tried of the image in QEMU, about two hours; ARCH=arm64: only that it starts

image-boot-test: image ## is the image the same when built again, and does it govern when QEMU starts it? About half an hour; ARCH=arm64: that one
	@sh .ci/packages $(QEMU_PACKAGES)
	$(MAKE_IMAGE) -out out/again.img
	cmp out/again.img out/mailweir-$(ARCH).img && rm out/again.img out/again.img.gz
	$(GO) test -v -count=1 -timeout 90m -tags qemu $(if $(filter arm64,$(ARCH)),-run TestARM64,-skip '$(UPDATE_TESTS)|TestARM64') ./image/imagetest -args -image $(CURDIR)/out/mailweir-$(ARCH).img

UPDATE_TESTS = TestUpdates|TestAPowerCut
image-update-test: image ## do updates come, go back, and outlive power cuts? In QEMU, about an hour; SEED=N: the power cuts of an earlier run
	@sh .ci/packages $(QEMU_PACKAGES)
	GOOS=linux GOARCH=amd64 $(GO) build -tags faulty -trimpath -ldflags '$(LDFLAGS)' -o bin/mailweir-faulty ./appliance/cmd/mailweir
	$(GO) test -v -count=1 -timeout 180m -tags qemu -run '$(UPDATE_TESTS)' ./image/imagetest -args -seed $(or $(SEED),0) \
		-init $(CURDIR)/bin/mailweir-$(ARCH) -faulty $(CURDIR)/bin/mailweir-faulty -lock $(CURDIR)/image/packages.lock

ipk: cross ## packages for OpenWrt routers, out/mailweir_VERSION_ARCH.ipk
	$(GO) run ./image/cmd/mkipk -bin bin -out out -built $$(git log -1 --format=%ct)

image-lock: ## take the newest kernel and GRUB of Debian for the image: image/packages.lock
	@sh .ci/packages $(IMAGE_PACKAGES)
	$(MKIMAGE) -refresh

clean: ## remove what was built
	rm -rf bin out
