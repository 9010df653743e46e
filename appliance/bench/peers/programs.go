package peers

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/mailweir/mailweir/appliance/lab"
)

//go:embed csrc
var sources embed.FS

// unpackTools gets Debian's Postfix, for smtp-source and smtp-sink, iperf3, and what the reader in C is built against.
func unpackTools(ctx context.Context, r *rig) (err error) {
	if r.tools == nil {
		r.tools, err = r.Unpack(ctx, lab.PackageSet{Name: "bench", Roots: []string{"postfix", "iperf3", "libnetfilter-queue-dev"}})
	}
	return err
}

func unpackSuricata(ctx context.Context, r *rig) (err error) {
	if r.ids == nil {
		r.ids, err = r.Unpack(ctx, lab.PackageSet{Name: "suricata", Roots: []string{"suricata"}, Backports: true})
	}
	return err
}

func buildBindSource(ctx context.Context, r *rig) error {
	if r.bindSource != "" {
		return nil
	}
	path := r.path("bindsource.so")
	if err := r.compile(ctx, "bindsource.c", path, "-shared", "-fPIC"); err != nil {
		return err
	}
	r.bindSource = path
	return nil
}

func buildAcceptAll(ctx context.Context, r *rig) error {
	if r.acceptAll != "" {
		return nil
	}
	if err := unpackTools(ctx, r); err != nil {
		return err
	}
	args := []string{"-I" + filepath.Join(r.tools.Root, "usr/include")}
	for _, dir := range r.tools.Libraries() {
		args = append(args, "-L"+dir, "-Wl,-rpath-link,"+dir)
	}
	path := r.path("acceptall")
	if err := r.compile(ctx, "acceptall.c", path, append(args, "-lnetfilter_queue", "-lnfnetlink")...); err != nil {
		return err
	}
	r.acceptAll = path
	return nil
}

// compile makes path of one of the sources in csrc.
func (r *rig) compile(ctx context.Context, source, path string, args ...string) error {
	text, err := sources.ReadFile("csrc/" + source)
	if err != nil {
		return err
	}
	file := r.path(source)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, "gcc", append([]string{"-O2", "-Wall", "-o", path, file}, args...)...)
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("compile %s (it takes gcc and libc6-dev): %w: %s", source, err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}
