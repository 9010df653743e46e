package image

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Package is a Debian package that an image is made of, down to its bytes.
type Package struct {
	Name, Version, Arch string
	SHA256              string // of the .deb, 64 hexadecimal digits
}

func (p Package) String() string { return p.Name + " " + p.Version + " " + p.Arch }

// file is its name in the cache. Debian's own file names leave the epoch out, so two versions could share one.
func (p Package) file() string {
	return p.Name + "_" + strings.ReplaceAll(p.Version, ":", "%3a") + "_" + p.Arch + ".deb"
}

// Lock is the list of all packages that images are made of, in the order of the file.
type Lock []Package

const lockHeader = `# The Debian packages that the image is made of: package, version, architecture, SHA-256 of the .deb.
# Written by "make image-lock"; review what changes here like code.
`

// ParseLock reads a lock file. name is what errors call it.
func ParseLock(name string, text []byte) (l Lock, err error) {
	s := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; s.Scan(); n++ {
		line := strings.TrimSpace(s.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Fields(line)
		if len(f) != 4 {
			return nil, fmt.Errorf("%s:%d: %d words; a line is PACKAGE VERSION ARCHITECTURE SHA256", name, n, len(f))
		}
		p := Package{f[0], f[1], f[2], f[3]}
		if sum, err := hex.DecodeString(p.SHA256); err != nil || len(sum) != 32 {
			return nil, fmt.Errorf("%s:%d: %q is no SHA-256 (64 hexadecimal digits)", name, n, p.SHA256)
		}
		if slices.ContainsFunc(l, func(q Package) bool { return q.Name == p.Name && q.Arch == p.Arch }) {
			return nil, fmt.Errorf("%s:%d: %s for %s is there already", name, n, p.Name, p.Arch)
		}
		l = append(l, p)
	}
	return l, s.Err()
}

// Format is the text of a lock file.
func (l Lock) Format() []byte {
	var b bytes.Buffer
	b.WriteString(lockHeader)
	for _, p := range l {
		fmt.Fprintf(&b, "%s %s %s %s\n", p.Name, p.Version, p.Arch, p.SHA256)
	}
	return b.Bytes()
}

// find is the package with this name for this architecture. A name that ends in * is a kernel's, whose package name has
// its version in it.
func (l Lock) find(name, arch string) (Package, error) {
	stem, open := strings.CutSuffix(name, "*")
	for _, p := range l {
		if p.Arch == arch && (p.Name == name || open && strings.HasPrefix(p.Name, stem)) {
			return p, nil
		}
	}
	return Package{}, fmt.Errorf("the lock file has no %s for %s; \"make image-lock\" writes it anew", name, arch)
}
