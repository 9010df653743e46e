package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"
	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"

	"github.com/mailweir/mailweir/image/bundle"
	"github.com/mailweir/mailweir/image/layout"
)

var (
	built    = time.Date(2020, 2, 3, 10, 0, 0, 0, time.UTC)
	madeUp   = layout.About{Product: "mailweir", Board: "amd64", Version: "v1", Built: built.Unix(), Kernel: "6"}
	someGRUB = grub{boot: bytes.Repeat([]byte{0xb0}, 512), core: bytes.Repeat([]byte{0xc0}, 1000), efi: bytes.Repeat([]byte("MZ"), 4000)}
)

func sameTwice(t *testing.T, what string, make func() ([]byte, error)) []byte {
	t.Helper()
	a, err := make()
	if err != nil {
		t.Fatal(err)
	}
	b, err := make()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("%s: the second is not as the first", what)
	}
	return a
}

func TestTheInitramfsHoldsWhatProcess1Needs(t *testing.T) {
	modules := []module{{name: "nfnetlink", data: []byte("ELF1")}, {name: "nft_queue", data: []byte("ELF2"), depends: []string{"nfnetlink"}, aliases: []string{"nft-expr-queue", "x"}}}
	packed := sameTwice(t, "initramfs", func() ([]byte, error) { return initramfs(madeUp, []byte("binary"), []byte("roots"), modules) })
	z, err := zstd.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(raw)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, r := range records {
		b, err := io.ReadAll(io.NewSectionReader(r, 0, int64(r.FileSize)))
		if err != nil {
			t.Fatal(err)
		}
		files[r.Name] = string(b)
		if r.Name == "init" && r.Mode&0o111 == 0 {
			t.Error("init cannot be run")
		}
	}
	for name, want := range map[string]string{
		"init": "binary", "lib/modules/nft_queue.ko": "ELF2", "lib/modules/modules.dep": "nfnetlink: \nnft_queue: nfnetlink\n",
		"lib/modules/modules.alias": "nft-expr-queue nft_queue\nx nft_queue\n", "etc/ssl/certs/ca-certificates.crt": "roots",
	} {
		if files[name] != want {
			t.Errorf("%s: %q, want %q", name, files[name], want)
		}
	}
	if _, ok := files["dev/console"]; !ok {
		t.Error("without dev/console process 1 has no output")
	}
}

func TestASlotIsATarWhoseSumsGRUBCanCheck(t *testing.T) {
	b := sameTwice(t, "slot", func() ([]byte, error) { return slot(madeUp, []byte("kernel"), []byte("initrd")) })
	if string(b[257:263]) != "ustar\x00" {
		t.Errorf("magic %q: GRUB's tar reads ustar", b[257:263])
	}
	files := map[string]string{}
	err := eachFile(tar.NewReader(bytes.NewReader(b)), func(string) bool { return true }, func(n string, b []byte) error { files[n] = string(b); return nil })
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%x  vmlinuz\n%x  initrd.zst\n", sha256.Sum256([]byte(files["vmlinuz"])), sha256.Sum256([]byte(files["initrd.zst"])))
	if files["SHA256SUMS"] != want || files["vmlinuz"] != "kernel" || files["initrd.zst"] != "initrd" {
		t.Errorf("got %q", files)
	}
}

func TestTheDiskIsWhatFirmwareExpects(t *testing.T) {
	dir := t.TempDir()
	var sums [2]string
	for n := range sums {
		file := filepath.Join(dir, fmt.Sprint(n))
		if err := writeDisk(file, Boards["amd64"], someGRUB, []byte("slot a"), built); err != nil {
			t.Fatal(err)
		}
		var err error
		if sums[n], err = sumFile(file); err != nil {
			t.Fatal(err)
		}
	}
	if sums[0] != sums[1] {
		t.Error("two images of the same are not the same")
	}
	file := filepath.Join(dir, "0")
	part := func(at, size int64) []byte {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b := make([]byte, size)
		if _, err := f.ReadAt(b, at); err != nil {
			t.Fatal(err)
		}
		return b
	}
	if out, err := exec.Command("sgdisk", "-v", file).CombinedOutput(); err != nil || !strings.Contains(string(out), "No problems found") {
		t.Errorf("sgdisk: %v: %s", err, out)
	}
	mbr, core := part(0, sector), part(mib, sector)
	if lba := binary.LittleEndian.Uint64(mbr[bootKernelSector:]); lba != mib/sector || core[0] != 0xc0 {
		t.Errorf("the boot sector loads LBA %d, where there is no core.img", lba)
	}
	if got := binary.LittleEndian.Uint64(core[coreBlocklist:]); got != mib/sector+1 {
		t.Errorf("core.img goes on at LBA %d, want %d", got, mib/sector+1)
	}
	if mbr[bootDriveCheck] != 0x90 || mbr[0] != 0xb0 || mbr[510] != 0x55 {
		t.Errorf("boot sector: %x ... %x", mbr[:4], mbr[510:])
	}
	if string(part(66*mib, 6)) != "slot a" || string(part(194*mib, int64(len(layout.Blank)))) != layout.Blank {
		t.Error("slot a or the mark of the blank data partition is not where its partition begins")
	}
	esp := filepath.Join(dir, "esp")
	if err := os.WriteFile(esp, part(2*mib, 48*mib), 0o644); err != nil {
		t.Fatal(err)
	}
	// fsck.fat finds one cluster marked as used that is not (of go-diskfs), and nothing else.
	out, _ := exec.Command("fsck.fat", "-n", esp).CombinedOutput()
	if strings.Count(string(out), "\n") != 5 || !strings.Contains(string(out), "\nReclaimed 1 unused cluster (2048 bytes).\n\nLeaving filesystem unchanged.\n") {
		t.Errorf("fsck.fat: %s", out)
	}
	if out, err := exec.Command("mdir", "-i", esp, "::/grub").Output(); err != nil || strings.Count(string(out), built.Format(" 2006-01-02 ")) != 5 {
		t.Errorf("mdir: %v; the files are not of the time of the source: %s", err, out)
	}
	for name, want := range map[string][]byte{"::/EFI/BOOT/BOOTX64.EFI": someGRUB.efi, "::/grub/grub.cfg": grubCfg, "::/grub/grubenv": layout.Env{Active: "a"}.Block(), "::/grub/network": make([]byte, layout.KeptSize)} {
		got, err := exec.Command("mtype", "-i", esp, name).Output()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v, %d bytes, want %d", name, err, len(got), len(want))
		}
	}
}

func TestAnImageWithoutBIOSHasNoBootSector(t *testing.T) {
	file := filepath.Join(t.TempDir(), "img")
	if err := writeDisk(file, Boards["arm64"], grub{efi: someGRUB.efi}, []byte("slot a"), built); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head := make([]byte, bootCodeLen)
	if _, err := f.ReadAt(head, 0); err != nil || slices.Max(head) != 0 {
		t.Errorf("%v; boot code in an image for arm64", err)
	}
	if out, err := exec.Command("sgdisk", "-v", file).CombinedOutput(); err != nil || !strings.Contains(string(out), "No problems found") {
		t.Errorf("sgdisk: %v: %s", err, out)
	}
}

func TestASlotThatIsTooLargeIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "img")
	if err := writeDisk(file, Boards["amd64"], someGRUB, make([]byte, layout.SlotBytes+1), built); err == nil {
		t.Error("it would have run over slot b")
	}
}

func TestAnUpdateHoldsTheSlot(t *testing.T) {
	packed, err := slot(madeUp, []byte("kernel"), []byte("initrd"))
	if err != nil {
		t.Fatal(err)
	}
	public, secret, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "v1"+bundle.Suffix)
	about := madeUp
	about.Build = 3
	if n, err := writeUpdate(file, about, packed, secret); err != nil || n < int64(len(packed)) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	u, err := bundle.Open(f, []minisign.PublicKey{public})
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := u.Slot(&got); err != nil || !bytes.Equal(got.Bytes(), packed) || u.Build != 3 || u.Version != madeUp.Version {
		t.Errorf("%v, %+v", err, u.Manifest)
	}
}
