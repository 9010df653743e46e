package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"

	"github.com/mailweir/mailweir/image/layout"
)

// slot packs kernel and initramfs as they lie in a slot's partition: an ustar archive without any file system around it. GRUB reads it with its
// module tar and holds the files against SHA256SUMS before it starts them; an update writes it in one go.
func slot(about layout.About, vmlinuz, initrd []byte) ([]byte, error) {
	manifest, err := aboutJSON(about)
	if err != nil {
		return nil, err
	}
	sums := fmt.Sprintf("%x  vmlinuz\n%x  initrd.zst\n", sha256.Sum256(vmlinuz), sha256.Sum256(initrd))
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range []struct {
		name string
		data []byte
	}{{layout.SlotManifest, manifest}, {"SHA256SUMS", []byte(sums)}, {"vmlinuz", vmlinuz}, {"initrd.zst", initrd}} {
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644, Size: int64(len(f.data)), Format: tar.FormatUSTAR})
		if err == nil {
			_, err = w.Write(f.data)
		}
		if err != nil {
			return nil, fmt.Errorf("slot: %s: %w", f.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("slot: %w", err)
	}
	return b.Bytes(), nil
}
