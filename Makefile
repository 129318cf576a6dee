# make            both programs, static, stripped          make demo      a container, seen from inside
# make test       everything CI wants                      make test-all  every injected fault, every runtime at hand
# make bench      measured against a floor and runc         make install   into $(DESTDIR)$(PREFIX)

PREFIX ?= /usr/local
SHARE = $(DESTDIR)$(PREFIX)/share
TARGET := x86_64-unknown-linux-gnu
CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
RELEASE := $(TARGET_DIR)/$(TARGET)/release
DEBUG := $(TARGET_DIR)/$(TARGET)/debug
GARBOARD := $(RELEASE)/garboard
SHIM := $(RELEASE)/containerd-shim-garboard-v2

# The programs run on any distribution, and start faster, without a dynamic linker. A target is always named: without one the flag would
# reach build scripts and procedural macros, which cannot be static.
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS := -C target-feature=+crt-static

.PHONY: all build demo test test-all check unit fuzz suite engines engines-all vm vm-all faults faults-all bench install deb tools packages debian deny snapshots

all: build

build:
	$(CARGO) build --locked --release --target $(TARGET) -p garboard-runtime-cli -p garboard-shim

# What Debian has and a fresh machine may lack. apt is asked only if something is missing.
PACKAGES := gcc libc6-dev busybox-static hyperfine strace runc util-linux uidmap mmdebstrap dbus qemu-system-x86 e2fsprogs libseccomp-dev \
  containerd containernetworking-plugins docker.io docker-compose podman conmon netavark aardvark-dns buildah slirp4netns fuse-overlayfs
packages:
	@missing=$$(for p in $(PACKAGES); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'install ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then echo "installing: "$$missing; apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null; fi

demo: packages build
	@GARBOARD=$(abspath $(GARBOARD)) sh integration-tests/demo.sh

# The programs that judge: no need for the release profile, which is slow to build.
tools:
	$(CARGO) build --locked --target $(TARGET) -p garboard-integration-tests

test: packages check unit suite engines vm faults

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --features garboard-libcontainer/oci-spec,garboard-seccomp-profiles/libseccomp --all-targets --target $(TARGET) -- -D warnings
	$(MAKE) --no-print-directory deny

# Building cargo-deny takes minutes: it is kept in the user's cargo directory. The advisory database is not at hand everywhere, so licences,
# sources and duplicates are what is checked; `cargo deny check` alone checks advisories too.
deny:
	@command -v cargo-deny >/dev/null || $(CARGO) install --quiet --locked cargo-deny
	$(CARGO) deny --locked --offline check bans licenses sources

# With the target of everything else: the dependencies are built once.
unit:
	$(CARGO) test --locked --workspace --features garboard-libcontainer/oci-spec,garboard-seccomp-profiles/libseccomp --target $(TARGET)

# A Debian root filesystem for the cases that want a whole system, with the servers that are recorded: made once, in a minute.
DEBIAN := $(abspath $(TARGET_DIR))/debian-rootfs
export GARBOARD_TEST_DEBIAN := $(DEBIAN)
debian: packages
	@test -e $(DEBIAN)/usr/lib/postgresql || { rm -rf $(DEBIAN).new && \
	mmdebstrap --quiet --variant=minbase --include=python3,nginx-light,redis-server,postgresql bookworm $(DEBIAN).new && \
	rm -rf $(DEBIAN) && mv $(DEBIAN).new $(DEBIAN); }

suite: build tools debian
	GARBOARD_TEST_RUNTIME=$(abspath $(GARBOARD)) $(DEBUG)/suite

# Under the engines, by both doors: the command in runc's place, and the shim. Debian's runc shows that the tests are right.
engines: build tools debian
	GARBOARD_TEST_RUNTIME=$(abspath $(GARBOARD)) $(DEBUG)/engines --place native --door command --door shim

engines-all: build tools debian
	GARBOARD_TEST_ALL=1 GARBOARD_TEST_RUNTIME=$(abspath $(GARBOARD)) $(DEBUG)/engines --place native

# In the virtual machine: systemd, cgroup v2 with every controller, AppArmor and all capabilities, as root and as a user with subordinate ids.
# Its image is made once, in ~/.cache/garboard. `make vm` is the part that a machine without all this cannot judge.
VM := --place vm --place user --driver cgroupfs --driver systemd
VM_PART := lifecycle:: limits:: values::engines pause:: apparmor:: rootless:: a_privileged_engine
VM_USER_PART := lifecycle:: privileges:: mounts::
# With the package installed and the engines that systemd starts: one at a time, for they have the guest to themselves.
VM_ENGINES := installed::the_package installed::docker installed_podman::as_a_user
vm: build tools deb
	GARBOARD_TEST_RUNTIME=$(abspath $(GARBOARD)) $(DEBUG)/suite --place vm $(VM_PART)
	GARBOARD_TEST_RUNTIME=$(abspath $(GARBOARD)) $(DEBUG)/suite --place user $(VM_USER_PART)
	GARBOARD_TEST_RUNTIME=$(abspath $(GARBOARD)) $(DEBUG)/suite --place vm --place user --driver systemd systemd::
	GARBOARD_TEST_RUNTIME=$(abspath $(GARBOARD)) $(DEBUG)/stepper --place vm --every 201 create
	GARBOARD_TEST_DEB=$(abspath $(DEB)) GARBOARD_TEST_RUNTIME=$(abspath $(GARBOARD)) $(DEBUG)/engines --place vm --jobs 1 $(VM_ENGINES)

vm-all: build tools deb
	GARBOARD_TEST_ALL=1 GARBOARD_TEST_LIVES=1000 GARBOARD_TEST_RUNTIME=$(abspath $(GARBOARD)) $(DEBUG)/suite $(VM)
	GARBOARD_TEST_RUNTIME=$(abspath $(GARBOARD)) $(DEBUG)/stepper --place vm --every 13
	GARBOARD_TEST_DEB=$(abspath $(DEB)) GARBOARD_TEST_RUNTIME=$(abspath $(GARBOARD)) $(DEBUG)/engines --place vm --jobs 1 installed
	GARBOARD_TEST_RUNTIME=$(abspath $(GARBOARD)) $(DEBUG)/engines --place vm --driver systemd --jobs 1 cri_systemd

faults: build tools
	GARBOARD_TEST_RUNTIME=$(abspath $(GARBOARD)) $(DEBUG)/stepper --every 7

faults-all: build tools
	GARBOARD_TEST_RUNTIME=$(abspath $(GARBOARD)) $(DEBUG)/stepper --every 1

# Random profiles and programs for ten minutes each, and two thousand of each kind against libseccomp.
fuzz: packages
	GARBOARD_FUZZ_SECONDS=600 GARBOARD_SECCOMP_PROFILES=6000 $(CARGO) test --locked --target $(TARGET) \
	  -p garboard-seccomp-profiles --features libseccomp --test fuzz --test differential

test-all: packages check unit fuzz suite engines-all vm-all faults-all
	GARBOARD_TEST_RUNTIME=/usr/sbin/runc $(DEBUG)/suite

# What the files in snapshots/ hold, written anew from what the runtime says now: for review, not for CI.
snapshots: build tools
	GARBOARD_TEST_SNAPSHOTS=update GARBOARD_TEST_RUNTIME=$(abspath $(GARBOARD)) $(DEBUG)/suite --place v2 broken::

bench: packages build tools
	$(CARGO) build --locked --release --target $(TARGET) -p garboard-libcontainer --example embedder
	GARBOARD_TEST_RUNTIME=$(abspath $(GARBOARD)) $(DEBUG)/bench $(BENCH)

install: build
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/bin $(GARBOARD) $(SHIM)
	install -d $(SHARE)/man/man8 $(SHARE)/bash-completion/completions $(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d
	$(GARBOARD) generate man $(SHARE)/man/man8
	install -m 0644 -t $(SHARE)/man/man8 packaging/man/containerd-shim-garboard-v2.8
	$(GARBOARD) generate bash > $(SHARE)/bash-completion/completions/garboard
	$(GARBOARD) generate zsh > $(SHARE)/zsh/site-functions/_garboard
	$(GARBOARD) generate fish > $(SHARE)/fish/vendor_completions.d/garboard.fish
	install -D -m 0644 -t $(SHARE)/garboard/seccomp seccomp-profiles/profiles/default.json seccomp-profiles/profiles/strict.json

# Debian's package of it, $(DEB).
DEB_ROOT := $(abspath $(TARGET_DIR))/deb
DEB := $(TARGET_DIR)/garboard_$(shell sed -n '1s/^garboard (\(.*\)) .*/\1/p' packaging/debian/changelog)_amd64.deb
deb: build
	rm -rf $(DEB_ROOT)
	umask 022 && $(MAKE) --no-print-directory install DESTDIR=$(DEB_ROOT) PREFIX=/usr
	sh packaging/deb.sh $(DEB_ROOT) $(TARGET_DIR)
	rm -rf $(DEB_ROOT)
