// Package openwrt puts mailweir into packages for OpenWrt routers: the same binary as a service of procd, with a bridge from UCI to mailweir.yaml.
package openwrt

import (
	"bytes"
	"debug/elf"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"time"
)

//go:embed all:files
var embedded embed.FS

// Arch is one of OpenWrt's.
type Arch struct {
	Name    string // as `opkg print-architecture` has it
	Binary  string // what `make cross` names the binary after: mailweir-arm
	machine elf.Machine
	class   elf.Class
}

// Arches are those that packages are made for.
var Arches = []Arch{
	{"aarch64_cortex-a53", "arm64", elf.EM_AARCH64, elf.ELFCLASS64},
	{"arm_cortex-a7", "arm", elf.EM_ARM, elf.ELFCLASS32},
	{"mipsel_24kc", "mipsle", elf.EM_MIPS, elf.ELFCLASS32},
	{"x86_64", "amd64", elf.EM_X86_64, elf.ELFCLASS64},
}

// fits says why a binary does not run on a router of the architecture: OpenWrt's C library is another one than Debian's.
func (a Arch) fits(binary []byte) error {
	f, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil {
		return err
	}
	if f.Machine != a.machine || f.Class != a.class || f.Data != elf.ELFDATA2LSB {
		return fmt.Errorf("it is for %v, %v, %v", f.Machine, f.Class, f.Data)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("it needs shared libraries; build it with CGO_ENABLED=0")
		}
	}
	return nil
}

// Kernel modules, by what they are for; each brings with it what it needs (package/kernel/linux/modules/netfilter.mk and netsupport.mk of OpenWrt).
var (
	// needed: without these nothing is judged.
	needed = []string{
		"kmod-nft-core", "kmod-nft-queue", "kmod-nfnetlink-queue", // the queue
		"kmod-nft-nat",              // what leads deferred sessions to us
		"kmod-nf-conntrack-netlink", // marks of connections
		"kmod-nfnetlink-log",        // copies of what servers say inside TLS
		"kmod-nft-bridge",           // topology bridge
		"kmod-br-netfilter",         // and that
		"kmod-sched-core",           // clsact: the fast lane
		"kmod-sched-bpf",            // and its program
	}
	programs = []string{"ca-bundle"} // whom TLS to collectors and smarthosts trusts
)

// version: one that opkg and apk both take, in which a later build is a later version.
var version = regexp.MustCompile(`^[0-9]+(\.[0-9]+)*(-r[0-9]+)?$`)

// New is the package of a binary that was built for arch.
func New(binary []byte, ver string, arch Arch, built time.Time) (*Package, error) {
	if !version.MatchString(ver) {
		return nil, fmt.Errorf("version %q: it must be numbers with dots between, and perhaps a release: 0.1764450000-r1", ver)
	}
	if err := arch.fits(binary); err != nil {
		return nil, fmt.Errorf("binary for %s: %w", arch.Name, err)
	}
	p := &Package{
		Name: "mailweir", Version: ver, Arch: arch.Name, Built: built,
		Depends: append(append([]string{"libc"}, needed...), programs...),
		Fields: [][2]string{
			{"Source", "feeds/mailweir/mailweir"},
			{"SourceName", "mailweir"},
			{"License", "Apache-2.0"},
			{"Section", "net"},
			{"SourceDateEpoch", fmt.Sprint(built.Unix())},
			{"Maintainer", "mailweir"},
			{"Description", "governs the SMTP sessions of subscribers by their rates: delays, defers or cuts who goes over budget"},
		},
		Files: []File{{"usr/sbin/mailweir", 0o755, binary}},
		// As OpenWrt's own packages have it (include/package-pack.mk): what to do stands in its functions.sh.
		Scripts: map[string]string{
			"postinst": "#!/bin/sh\n[ \"${IPKG_NO_SCRIPT}\" = \"1\" ] && exit 0\n[ -s ${IPKG_INSTROOT}/lib/functions.sh ] || exit 0\n. ${IPKG_INSTROOT}/lib/functions.sh\ndefault_postinst $0 $@\n",
			"prerm":    "#!/bin/sh\n[ -s ${IPKG_INSTROOT}/lib/functions.sh ] || exit 0\n. ${IPKG_INSTROOT}/lib/functions.sh\ndefault_prerm $0 $@\n",
		},
	}
	err := fs.WalkDir(embedded, "files", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := embedded.ReadFile(name)
		if err != nil {
			return err
		}
		f := File{strings.TrimPrefix(name, "files/"), 0o644, b}
		switch {
		case strings.HasPrefix(f.Path, "etc/init.d/"):
			f.Mode = 0o755
		case strings.HasPrefix(f.Path, "etc/mailweir/"):
			f.Mode = 0o600 // web admin and collectors have their secrets there
			p.Conffiles = append(p.Conffiles, "/"+f.Path)
		case strings.HasPrefix(f.Path, "etc/config/"):
			f.Mode = 0o600
			p.Conffiles = append(p.Conffiles, "/"+f.Path)
		}
		p.Files = append(p.Files, f)
		return nil
	})
	return p, err
}
