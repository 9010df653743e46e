// Package image builds the flashable firmware: a disk image that legacy BIOS and UEFI start, with Debian's kernel, Debian's
// GRUB and the mailweir binary as process 1. It needs no root, no loop device and no container, and the same input gives the same bytes.
//
//	lock file -> cache of .deb files -> kernel, modules, GRUB -> initramfs -> slot -> disk image -> .gz
package image

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"aead.dev/minisign"
	"github.com/klauspost/compress/gzip"

	"github.com/mailweir/mailweir/image/bundle"
	"github.com/mailweir/mailweir/image/layout"
)

// Options say what to build.
type Options struct {
	Board   Board
	Lock    Lock
	Cache   *Cache
	Init    string    // the mailweir binary for the board
	Version string    // for people
	Built   time.Time // of the source; the clock of the box is never set back behind it
	Build   int64     // grows from one release to the next
	Floor   int64     // no build below this one is taken after it
	Keys    []string  // of minisign, that sign the updates which this image takes; two at most
	Out     string    // the image file, "": none; beside it comes OUT.gz, the file to download

	Update string // the same as an update, for a box that has an image already; "": none
	Secret minisign.PrivateKey
}

// Result says what came of it.
type Result struct {
	About                   layout.About
	Modules                 int
	Kernel, Initramfs, Slot int   // bytes
	Image, Download         int64 // bytes of the image, and of it packed; 0: none was made
	Update                  int64 // bytes of the update; 0: none was made
	SHA256, DownloadSHA256  string
}

// Build makes the image, the update, or both. What was at Out before is replaced only by a whole one.
func Build(ctx context.Context, o Options) (r Result, err error) {
	p, err := o.Board.parts(o.Lock)
	if err != nil {
		return r, err
	}
	all, err := o.Board.Packages(o.Lock)
	if err != nil {
		return r, err
	}
	if err := os.MkdirAll(o.Cache.Dir, 0o755); err != nil {
		return r, err
	}
	if err := o.Cache.Get(ctx, all); err != nil {
		return r, err
	}
	init, err := os.ReadFile(o.Init)
	if err != nil {
		return r, fmt.Errorf("the binary that becomes process 1: %w", err)
	}
	if err := fits(init, o.Board); err != nil {
		return r, fmt.Errorf("%s cannot become process 1: %w", o.Init, err)
	}
	k := &kernelTree{packed: map[string][]byte{}, ext: map[string]string{}, builtin: map[string]bool{}}
	if err := readDeb(ctx, o.Cache.path(p.kernel), wantsKernelFile, k.add); err != nil {
		return r, err
	}
	if k.vmlinuz == nil || len(k.builtin) == 0 {
		return r, fmt.Errorf("%s: no boot/vmlinuz-* or no modules.builtin in it", p.kernel)
	}
	modules, err := k.closure(moduleNames(modulesWanted, o.Board.Arch))
	if err != nil {
		return r, err
	}
	roots := map[string][]byte{}
	err = readDeb(ctx, o.Cache.path(p.roots), func(n string) bool {
		return strings.HasPrefix(n, "usr/share/ca-certificates/mozilla/") && strings.HasSuffix(n, ".crt")
	}, func(n string, b []byte) error { roots[path.Base(n)] = b; return nil })
	if err != nil {
		return r, err
	}
	r.About = layout.About{Product: "mailweir", Board: o.Board.Arch, Version: o.Version, Build: o.Build, Floor: o.Floor, Built: o.Built.Unix(), Kernel: k.release, Keys: o.Keys}
	initrd, err := initramfs(r.About, init, joinRoots(roots), modules)
	if err != nil {
		return r, err
	}
	packed, err := slot(r.About, k.vmlinuz, initrd)
	if err != nil {
		return r, err
	}
	r.Modules, r.Kernel, r.Initramfs, r.Slot = len(modules), len(k.vmlinuz), len(initrd), len(packed)
	if o.Update != "" {
		if r.Update, err = writeUpdate(o.Update, r.About, packed, o.Secret); err != nil {
			return r, err
		}
	}
	if o.Out == "" {
		return r, nil
	}
	g, err := o.Board.makeGRUB(ctx, o.Cache, p)
	if err != nil {
		return r, err
	}
	return r, r.write(o, g, packed)
}

// write makes the image file and the one to download.
func (r *Result) write(o Options, g grub, packed []byte) error {
	half := o.Out + ".part"
	for _, f := range []string{half, half + ".gz"} {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		defer os.Remove(f)
	}
	if err := writeDisk(half, o.Board, g, packed, o.Built); err != nil {
		return err
	}
	if err := pack(half, half+".gz"); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		sum  *string
		size *int64
	}{{"", &r.SHA256, &r.Image}, {".gz", &r.DownloadSHA256, &r.Download}} {
		var err error
		if *f.sum, err = sumFile(half + f.name); err != nil {
			return err
		}
		s, err := os.Stat(half + f.name)
		if err != nil {
			return err
		}
		*f.size = s.Size()
		if err := os.Rename(half+f.name, o.Out+f.name); err != nil {
			return err
		}
	}
	return nil
}

// writeUpdate makes a bundle. What was at path before is replaced only by a whole one.
func writeUpdate(path string, about layout.About, packed []byte, secret minisign.PrivateKey) (size int64, err error) {
	half := path + ".part"
	f, err := os.Create(half)
	if err != nil {
		return 0, err
	}
	defer os.Remove(half)
	if err := errors.Join(bundle.Write(f, about, packed, secret), f.Close()); err != nil {
		return 0, err
	}
	s, err := os.Stat(half)
	if err != nil {
		return 0, err
	}
	return s.Size(), os.Rename(half, path)
}

// fits says why a binary cannot be process 1: the image has no libraries, and one processor.
func fits(binary []byte, b Board) error {
	f, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil {
		return err
	}
	if want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[b.Arch]; f.Machine != want {
		return fmt.Errorf("it is for %v, the image for %v", f.Machine, want)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("it needs shared libraries; build it with CGO_ENABLED=0")
		}
	}
	return nil
}

// pack compresses the image for the download. gzip, since every flashing tool takes it.
func pack(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	z, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := io.Copy(z, in); err != nil {
		return fmt.Errorf("pack %s: %w", from, err)
	}
	return z.Close()
}
