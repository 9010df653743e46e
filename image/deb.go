package image

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// readDeb gives every file of a .deb that pick wants, by its path without the leading "./", to take. Nothing is
// installed, and nothing is written.
func readDeb(ctx context.Context, path string, pick func(name string) bool, take func(name string, b []byte) error) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("unpack %s: %w; it needs dpkg", path, err)
	}
	read := eachFile(tar.NewReader(out), pick, take)
	if read == nil {
		_, read = io.Copy(io.Discard, out) // tar's padding, or dpkg-deb fails at its last write
	} else {
		out.Close()
	}
	ended := cmd.Wait()
	if read != nil {
		return fmt.Errorf("%s: %w", path, read)
	}
	if ended != nil {
		return fmt.Errorf("unpack %s: %w: %s", path, ended, strings.TrimSpace(said.String()))
	}
	return nil
}

func eachFile(r *tar.Reader, pick func(string) bool, take func(string, []byte) error) error {
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(h.Name, "./")
		if h.Typeflag != tar.TypeReg || !pick(name) {
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := take(name, b); err != nil {
			return err
		}
	}
}
