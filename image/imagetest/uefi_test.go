//go:build qemu

package imagetest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The image that BIOS starts is started by UEFI as well: EDK II from Debian's package ovmf.
func TestTheSameImageStartsByUEFI(t *testing.T) {
	const code, blank = "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"
	vars, err := os.ReadFile(blank)
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(t.TempDir(), "vars.fd")
	if err := os.WriteFile(own, vars, 0o600); err != nil {
		t.Fatal(err)
	}
	m := newSite(t).governs(t, disk(t), "observe", "-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+code, "-drive", "if=pflash,format=raw,unit=1,file="+own)
	if s := m.said(); strings.Contains(s, "NOTHING IS KEPT") || strings.Contains(s, "SAFE MODE") || strings.Contains(s, "level=ERROR") {
		t.Errorf("the console said:\n%s", s)
	}
}
