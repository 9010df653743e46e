//go:build qemu

package imagetest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The image for arm64 is started by UEFI (EDK II from Debian's package qemu-efi-aarch64) on QEMU's machine virt.
func TestARM64StartsByUEFI(t *testing.T) {
	const code, blank = "/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"
	vars, err := os.ReadFile(blank)
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(t.TempDir(), "vars.fd")
	if err := os.WriteFile(own, vars, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	s.board = arm
	m := s.governs(t, disk(t), "observe", "-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+code, "-drive", "if=pflash,format=raw,unit=1,file="+own)
	if s := m.said(); strings.Contains(s, "NOTHING IS KEPT") || strings.Contains(s, "SAFE MODE") || strings.Contains(s, "level=ERROR") {
		t.Errorf("the console said:\n%s", s)
	}
}

// The same image by U-Boot's own EFI loader (Debian's package u-boot-qemu), and with no more memory than a box has to have.
func TestARM64StartsByUBoot(t *testing.T) {
	s := newSite(t)
	s.board = arm
	s.board.args = slices.Concat(arm.args, []string{"-m", "256"})
	m := s.governs(t, disk(t), "observe", "-bios", "/usr/lib/u-boot/qemu_arm64/u-boot.bin")
	said := m.said()
	if !strings.Contains(said, "U-Boot 20") {
		t.Error("U-Boot did not start it")
	}
	if strings.Contains(said, "NOTHING IS KEPT") || strings.Contains(said, "SAFE MODE") || strings.Contains(said, "level=ERROR") {
		t.Errorf("the console said:\n%s", said)
	}
}
