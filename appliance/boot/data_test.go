package boot

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/image/layout"
)

// flashed is a disk of this size in MiB onto which an image of 64 MiB was written.
func flashed(t *testing.T, mib int64) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const image = 64 << 20
	if err := f.Truncate(image); err != nil {
		t.Fatal(err)
	}
	table := &gpt.Table{ProtectiveMBR: true, GUID: "5B1A0000-0000-4000-8000-000000000001", LogicalSectorSize: sector, PhysicalSectorSize: sector, Partitions: []*gpt.Partition{
		{Index: layout.ESP, Start: 2048, End: 4095, Type: gpt.EFISystemPartition, Name: layout.Names[layout.ESP], GUID: "5B1A0000-0000-4000-8000-000000000012"},
		{Index: layout.Data, Start: 4096, End: 65535, Type: gpt.LinuxFilesystem, Name: layout.Names[layout.Data], GUID: "5B1A0000-0000-4000-8000-000000000015"},
	}}
	w := file.New(f, false)
	writable, err := w.Writable()
	if err == nil {
		err = table.Write(writable, image)
	}
	if err == nil {
		_, err = f.WriteAt(bytes.Repeat([]byte{0xeb}, 440), 0) // GRUB's boot code
	}
	if err == nil {
		err = f.Truncate(mib << 20)
	}
	if err != nil {
		t.Fatal(err)
	}
	return disk
}

func table(t *testing.T, disk string) map[int]*gpt.Partition {
	t.Helper()
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := gpt.Read(file.New(f, true), sector, sector)
	if err != nil {
		t.Fatal(err)
	}
	m := map[int]*gpt.Partition{}
	for _, one := range p.Partitions {
		if one.Start != 0 {
			m[one.Index] = one
		}
	}
	return m
}

func TestTheDataPartitionGrowsWithTheDisk(t *testing.T) {
	for _, row := range []struct {
		why      string
		disk     int64 // MiB
		dataMost uint64
	}{
		{"a disk of 512 MiB: all but the table at its end, in whole MiB", 512, 509 << 20},
		{"a disk of 16 GiB: 4 GiB are enough", 16384, mostData},
	} {
		disk := flashed(t, row.disk)
		if err := grow(disk); err != nil {
			t.Fatalf("%s: %v", row.why, err)
		}
		if out, err := exec.Command("sgdisk", "-v", disk).CombinedOutput(); err != nil || !strings.Contains(string(out), "No problems found") {
			t.Errorf("%s: sgdisk: %v: %s", row.why, err, out)
		}
		p := table(t, disk)
		if got := (p[layout.Data].End - p[layout.Data].Start + 1) * sector; got != row.dataMost {
			t.Errorf("%s: %d bytes, want %d", row.why, got, row.dataMost)
		}
		if p[layout.ESP].Start != 2048 || p[layout.ESP].End != 4095 || p[layout.ESP].Name != layout.Names[layout.ESP] {
			t.Errorf("%s: the ESP is now %+v", row.why, p[layout.ESP])
		}
		head, err := os.Open(disk)
		if err != nil {
			t.Fatal(err)
		}
		code := make([]byte, 440)
		head.ReadAt(code, 0)
		head.Close()
		if !bytes.Equal(code, bytes.Repeat([]byte{0xeb}, 440)) {
			t.Errorf("%s: GRUB's boot code is gone", row.why)
		}
	}
}

func TestTheDiskThatTheBoxWasStartedFromIsTold(t *testing.T) {
	disk := flashed(t, 128)
	const image = "5b1a0000-0000-4000-8000-000000000012"
	if ok, err := startedFrom(disk, image); err != nil || !ok {
		t.Errorf("as flashed: %v, %v", ok, err)
	}
	if err := grow(disk); err != nil {
		t.Fatal(err)
	}
	if ok, err := startedFrom(disk, image); err != nil || ok {
		t.Errorf("after its first start a disk is told from a USB stick with the same image: %v, %v", ok, err)
	}
	if ok, err := startedFrom(disk, table(t, disk)[layout.ESP].GUID); err != nil || !ok {
		t.Errorf("by its own GUID: %v, %v", ok, err)
	}
}

func TestOnlyABlankPartitionGetsAFileSystem(t *testing.T) {
	part := filepath.Join(t.TempDir(), "part")
	write := func(b []byte) {
		if err := os.WriteFile(part, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(part, 64<<20); err != nil {
			t.Fatal(err)
		}
	}
	is := func(why string, want state) {
		t.Helper()
		if got, err := look(part); err != nil || got != want {
			t.Errorf("%s: state %d, %v, want %d", why, got, err, want)
		}
	}
	write(nil)
	is("zeros alone are no mark: somebody else's disk may begin so", unknown)
	write([]byte("LUKS\xba\xbe"))
	is("somebody's data", unknown)
	write([]byte(layout.Blank))
	is("as flashed", blank)
	if err := makeFS(part); err != nil {
		t.Fatal(err)
	}
	is("after the first start", formatted)
	if out, err := exec.Command("e2fsck", "-fn", part).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v: %s", err, out)
	}
	// A power cut just before the mark is taken away: all was written, and it is made once more.
	f, err := os.OpenFile(part, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(layout.Blank), 0); err != nil {
		t.Fatal(err)
	}
	is("a power cut while it was made", blank)
}

func TestTheMarkStaysWhileAFileSystemIsMade(t *testing.T) {
	// makeFS clears the mark last; this is what the library leaves before that.
	part := filepath.Join(t.TempDir(), "part")
	if err := os.WriteFile(part, []byte(layout.Blank), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(part, 64<<20); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(part, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := formatExt4(f, 64<<20); err != nil {
		t.Fatal(err)
	}
	if got, err := look(part); err != nil || got != blank {
		t.Errorf("state %d, %v: a power cut in the middle would leave a partition that is neither blank nor whole", got, err)
	}
}

// The kernel itself looks at what was made, and so does e2fsck, after more files than one group has inodes. Neither minds a
// table of inodes that ends within a block, before Debian's kernel goes over it in the background.
func TestTheKernelLivesWithTheFileSystem(t *testing.T) {
	for _, size := range []int64{64 << 20, 129 << 20, 145 << 20, 237<<20 + 512, 5 * 15156 * 8192} {
		t.Run(fmt.Sprint(size>>20, " MiB"), func(t *testing.T) {
			t.Parallel()
			part, dir := filepath.Join(t.TempDir(), "part"), t.TempDir()
			if err := errors.Join(os.WriteFile(part, []byte(layout.Blank), 0o600), os.Truncate(part, size), makeFS(part)); err != nil {
				t.Fatal(err)
			}
			run := func(name string, args ...string) string {
				t.Helper()
				out, err := exec.Command(name, args...).CombinedOutput()
				if err != nil {
					t.Errorf("%s: %v: %s", name, err, out)
				}
				return strings.TrimSpace(string(out))
			}
			run("e2fsck", "-fn", part)
			shape := map[string]int{}
			for line := range strings.SplitSeq(run("dumpe2fs", "-h", part), "\n") {
				name, value, _ := strings.Cut(line, ":")
				shape[name], _ = strconv.Atoi(strings.TrimSpace(value))
			}
			if n := shape["Inodes per group"] * shape["Inode size"]; n == 0 || n%shape["Block size"] != 0 {
				t.Errorf("%d inodes of %d bytes in a group are no whole blocks of %d", shape["Inodes per group"], shape["Inode size"], shape["Block size"])
			}
			loop := run("losetup", "-f", "--show", part)
			if t.Failed() {
				return
			}
			defer run("losetup", "-d", loop)
			if err := mountExt4(loop, dir); err != nil {
				t.Fatal(err)
			}
			files := inodesPerGroup * int(max(1, size/groupBytes)) * 3 / 4
			for i := range files {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte("a message waits"), 0o600); err != nil {
					t.Errorf("file %d of %d: %v", i, files, err)
					break
				}
			}
			kernel := filepath.Join("/sys/fs/ext4", filepath.Base(loop), "errors_count")
			if n, err := os.ReadFile(kernel); err != nil || string(n) != "0\n" {
				t.Errorf("the kernel found %q errors, %v", n, err)
			}
			if err := unix.Unmount(dir, 0); err != nil {
				t.Error(err)
			}
			run("e2fsck", "-fn", part)
		})
	}
}
