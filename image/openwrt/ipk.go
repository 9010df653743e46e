package openwrt

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"
)

// Package is what opkg installs (releases up to 24.10).
type Package struct {
	Name, Version, Arch string
	Depends             []string
	Fields              [][2]string // further ones of the control file, such as Maintainer
	Files               []File
	Conffiles           []string          // absolute paths of files which an upgrade leaves as the owner has made them
	Scripts             map[string]string // postinst, prerm
	Built               time.Time
}

// File is one of its files. The directories above it need not be named.
type File struct {
	Path string // from the root, without the leading slash
	Mode int64
	Data []byte
}

// FileName is what the package is called: NAME_VERSION_ARCH.ipk.
func (p *Package) FileName() string { return fmt.Sprintf("%s_%s_%s.ipk", p.Name, p.Version, p.Arch) }

// Write writes it as OpenWrt's scripts/ipkg-build does, which is not an ar archive as Debian's are: a gzipped tar of ./debian-binary, ./data.tar.gz
// and ./control.tar.gz, all in GNU's format with owner 0. The same package gives the same bytes.
func (p *Package) Write(w io.Writer) error {
	data, size, err := p.packed(p.Files)
	if err != nil {
		return err
	}
	control, _, err := p.packed(p.controlFiles(size))
	if err != nil {
		return err
	}
	z := gzip.NewWriter(w)
	t := tar.NewWriter(z)
	for _, f := range []File{{"debian-binary", 0o644, []byte("2.0\n")}, {"data.tar.gz", 0o644, data}, {"control.tar.gz", 0o644, control}} {
		if err := p.add(t, f); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	return z.Close()
}

// controlFiles are those of control.tar.gz; size is that of the unpacked data.
func (p *Package) controlFiles(size int) []File {
	var c bytes.Buffer
	for _, f := range slices.Concat([][2]string{{"Package", p.Name}, {"Version", p.Version}, {"Depends", strings.Join(p.Depends, ", ")}},
		p.Fields, [][2]string{{"Architecture", p.Arch}, {"Installed-Size", fmt.Sprint(size)}}) {
		fmt.Fprintf(&c, "%s: %s\n", f[0], f[1])
	}
	files := []File{{"control", 0o644, c.Bytes()}}
	if len(p.Conffiles) > 0 {
		files = append(files, File{"conffiles", 0o644, []byte(strings.Join(slices.Sorted(slices.Values(p.Conffiles)), "\n") + "\n")})
	}
	for name, text := range p.Scripts {
		files = append(files, File{name, 0o755, []byte(text)})
	}
	return files
}

// packed is a gzipped tar of files and the directories they are in, and its size before gzip.
func (p *Package) packed(files []File) ([]byte, int, error) {
	var plain, out bytes.Buffer
	t := tar.NewWriter(&plain)
	files = slices.SortedFunc(slices.Values(files), func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	there := map[string]bool{}
	var above func(dir string) error
	above = func(dir string) error {
		if there[dir] {
			return nil
		}
		name := "./"
		if dir != "." {
			if err := above(path.Dir(dir)); err != nil {
				return err
			}
			name += dir + "/"
		}
		there[dir] = true
		return t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, ModTime: p.Built, Format: tar.FormatGNU})
	}
	for _, f := range files {
		if err := above(path.Dir(f.Path)); err != nil {
			return nil, 0, err
		}
		if err := p.add(t, f); err != nil {
			return nil, 0, err
		}
	}
	if err := t.Close(); err != nil {
		return nil, 0, err
	}
	size := plain.Len()
	z := gzip.NewWriter(&out)
	if _, err := plain.WriteTo(z); err != nil {
		return nil, 0, err
	}
	err := z.Close()
	return out.Bytes(), size, err
}

func (p *Package) add(t *tar.Writer, f File) error {
	err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "./" + f.Path, Mode: f.Mode, Size: int64(len(f.Data)), ModTime: p.Built, Format: tar.FormatGNU})
	if err == nil {
		_, err = t.Write(f.Data)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	return nil
}
