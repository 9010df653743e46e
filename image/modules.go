package image

import (
	"bytes"
	"debug/elf"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/ulikunitz/xz"
)

//go:embed modules.txt
var modulesWanted string

// moduleNames are the modules of modules.txt for a processor.
func moduleNames(text, arch string) (names []string) {
	in := true
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 1 && strings.HasPrefix(f[0], "[") {
			in = f[0] == "[all]" || f[0] == "["+arch+"]"
			continue
		}
		if in {
			names = append(names, f...)
		}
	}
	return names
}

// module is one of the kernel's, with what its .modinfo says.
type module struct {
	name    string
	data    []byte // the ELF file with Debian's signature behind it
	depends []string
	aliases []string
}

// kernelTree are the files of a kernel package that an image may need.
type kernelTree struct {
	vmlinuz []byte
	release string            // what uname -r says
	packed  map[string][]byte // the modules as they come, by name
	ext     map[string]string // .ko, .ko.xz
	builtin map[string]bool
}

// canonical is a module's name as the kernel knows it; files and lists have - and _ at will.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// closure is the named modules and all that they need, each after what it needs. Debian's packages have no modules.dep, so the
// dependencies are read from the modules themselves.
func (k *kernelTree) closure(names []string) (all []module, err error) {
	seen := map[string]bool{}
	var missing []error
	var visit func(name, from string) error
	visit = func(name, from string) error {
		name = canonical(name)
		if seen[name] || k.builtin[name] {
			return nil
		}
		seen[name] = true
		packed, ok := k.packed[name]
		if !ok {
			missing = append(missing, fmt.Errorf("kernel %s has no module %s, which %s needs", k.release, name, from))
			return nil
		}
		m, before, err := readModule(name, k.ext[name], packed)
		if err != nil {
			return err
		}
		for _, d := range before {
			// What is only to be loaded before need not be there: a soft dependency may name an alias or a module of another configuration.
			if d = canonical(d); k.packed[d] != nil {
				if err := visit(d, name); err != nil {
					return err
				}
				m.depends = append(m.depends, d)
			}
		}
		for _, d := range m.depends {
			if err := visit(d, name); err != nil {
				return err
			}
		}
		m.depends = slices.DeleteFunc(m.depends, func(d string) bool { return k.builtin[d] })
		all = append(all, m)
		return nil
	}
	for _, n := range names {
		if err := visit(n, "modules.txt"); err != nil {
			return nil, err
		}
	}
	return all, errors.Join(missing...)
}

// readModule unpacks a module and reads its .modinfo: NUL-terminated KEY=VALUE (include/linux/moduleparam.h). before are
// those that "softdep=pre:" names.
func readModule(name, ext string, packed []byte) (m module, before []string, err error) {
	m = module{name: name, data: packed}
	if ext == ".ko.xz" {
		r, err := xz.NewReader(bytes.NewReader(packed))
		if err != nil {
			return m, nil, fmt.Errorf("module %s: %w", name, err)
		}
		if m.data, err = io.ReadAll(r); err != nil {
			return m, nil, fmt.Errorf("module %s: %w", name, err)
		}
	}
	f, err := elf.NewFile(bytes.NewReader(m.data))
	if err != nil {
		return m, nil, fmt.Errorf("module %s: %w", name, err)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return m, nil, fmt.Errorf("module %s has no section .modinfo", name)
	}
	info, err := section.Data()
	if err != nil {
		return m, nil, fmt.Errorf("module %s: %w", name, err)
	}
	for kv := range bytes.SplitSeq(info, []byte{0}) {
		k, v, _ := strings.Cut(string(kv), "=")
		switch k {
		case "alias":
			m.aliases = append(m.aliases, v)
		case "depends":
			for d := range strings.SplitSeq(v, ",") {
				if d != "" {
					m.depends = append(m.depends, canonical(d))
				}
			}
		case "softdep":
			before = append(before, softBefore(v)...)
		}
	}
	return m, before, nil
}

// softBefore are the modules behind "pre:" in a soft dependency, up to "post:".
func softBefore(v string) (names []string) {
	in := false
	for _, w := range strings.Fields(v) {
		switch {
		case strings.HasSuffix(w, ":"):
			in = w == "pre:"
		case in:
			names = append(names, w)
		}
	}
	return names
}

// add takes one file of a kernel package.
func (k *kernelTree) add(name string, b []byte) error {
	base := path.Base(name)
	switch {
	case strings.HasPrefix(name, "boot/vmlinuz-"):
		k.vmlinuz, k.release = b, strings.TrimPrefix(base, "vmlinuz-")
	case base == "modules.builtin":
		for _, l := range strings.Fields(string(b)) {
			k.builtin[canonical(strings.TrimSuffix(path.Base(l), ".ko"))] = true
		}
	default:
		n, ext, _ := strings.Cut(base, ".ko")
		k.packed[canonical(n)], k.ext[canonical(n)] = b, ".ko"+ext
	}
	return nil
}

// wantsKernelFile picks the files that add understands.
func wantsKernelFile(name string) bool {
	return strings.HasPrefix(name, "boot/vmlinuz-") || path.Base(name) == "modules.builtin" ||
		strings.Contains(name, "/modules/") && (strings.HasSuffix(name, ".ko") || strings.HasSuffix(name, ".ko.xz"))
}
