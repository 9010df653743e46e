package image

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"

	"github.com/mailweir/mailweir/image/layout"
)

// Paths in the initramfs, which is the whole root file system, as cpio has them.
var (
	aboutFile    = strings.TrimPrefix(layout.AboutFile, "/")
	modulesDir   = strings.TrimPrefix(layout.Modules, "/")
	modulesDep   = modulesDir + "/modules.dep"
	modulesAlias = modulesDir + "/modules.alias"
)

const rootsFile = "etc/ssl/certs/ca-certificates.crt" // where Go looks for it

func aboutJSON(a layout.About) ([]byte, error) {
	b, err := json.MarshalIndent(a, "", "  ")
	return append(b, '\n'), err
}

// initramfs packs the root file system: newc cpio in zstd. The same input gives the same bytes.
func initramfs(about layout.About, init, roots []byte, modules []module) ([]byte, error) {
	text, err := aboutJSON(about)
	if err != nil {
		return nil, err
	}
	var raw bytes.Buffer
	w := cpio.NewDedupWriter(cpio.Newc.Writer(&raw))
	var records []cpio.Record
	for _, d := range []string{"dev", "etc", "etc/ssl", "etc/ssl/certs", "lib", modulesDir, "proc", "run", "sys", "tmp", "data"} {
		records = append(records, cpio.Directory(d, 0o755))
	}
	records = append(records,
		cpio.CharDev("dev/console", 0o600, 5, 1),
		cpio.StaticFile("init", string(init), 0o755),
		cpio.StaticFile(aboutFile, string(text), 0o644),
		cpio.StaticFile("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n", 0o644),
		cpio.StaticFile(rootsFile, string(roots), 0o644),
	)
	var dep, alias strings.Builder
	for _, m := range modules {
		records = append(records, cpio.StaticFile(modulesDir+"/"+m.name+".ko", string(m.data), 0o644))
		fmt.Fprintf(&dep, "%s: %s\n", m.name, strings.Join(m.depends, " "))
		for _, a := range m.aliases {
			fmt.Fprintf(&alias, "%s %s\n", a, m.name)
		}
	}
	records = append(records, cpio.StaticFile(modulesDep, dep.String(), 0o644), cpio.StaticFile(modulesAlias, alias.String(), 0o644))
	for _, r := range records {
		if err := w.WriteRecord(cpio.MakeReproducible(r)); err != nil {
			return nil, fmt.Errorf("initramfs: %s: %w", r.Name, err)
		}
	}
	if err := cpio.WriteTrailer(w); err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	var packed bytes.Buffer
	z, err := zstd.NewWriter(&packed, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(8<<20))
	if err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	if _, err := z.Write(raw.Bytes()); err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	return packed.Bytes(), nil
}

// joinRoots joins the certificates of Mozilla's authorities, by file name.
func joinRoots(certs map[string][]byte) []byte {
	var names []string
	for n := range certs {
		names = append(names, n)
	}
	sort.Strings(names)
	var b bytes.Buffer
	for _, n := range names {
		b.Write(bytes.TrimSpace(certs[n]))
		b.WriteByte('\n')
	}
	return b.Bytes()
}
