package appliance

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAControlGroupBoundsTheMemory(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for path, text := range map[string]string{
		"box/memory.max": "max\n", "box/mail/memory.max": "167772160\n", "box/mail/deep/memory.max": "max\n",
		"memory/old/memory.limit_in_bytes": "209715200\n", "memory/memory.limit_in_bytes": "9223372036854771712\n",
	} {
		file := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const machine = 1 << 30
	for _, row := range []struct {
		why, groups string
		want        uint64
	}{
		{"no group", "", machine},
		{"version 2, without a bound", "0::/box\n", machine},
		{"version 2, bounded", "0::/box/mail\n", 160 << 20},
		{"bounded further up", "0::/box/mail/deep\n", 160 << 20},
		{"version 1", "5:cpu:/\n4:memory:/old\n0::/\n", 200 << 20},
		{"both", "4:memory:/old\n0::/box/mail\n", 160 << 20},
		{"a group that is not there", "0::/nowhere\n", machine},
		{"nonsense", "memory\n\n::::\n", machine},
	} {
		if got := groupMemory(root, row.groups, machine); got != row.want {
			t.Errorf("%s: %d, want %d", row.why, got, row.want)
		}
	}
	if memoryHere() == 0 {
		t.Error("this machine has no memory")
	}
}

func TestPartsFollowTheMemory(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	for _, row := range []struct {
		memory, heap uint64
		want         sizes
	}{
		{0, 0, sizesFor(1 << 30)},
		{16 * mb, 8 * mb, sizes{1 << 12, 1 << 12, 1 << 12, 1 << 10, 1 << 12, mb, 1 << 12, 1 << 12, mb}},
		{160 * mb, 80 * mb, sizes{1 << 14, 1 << 14, 1 << 13, 1 << 11, 1 << 13, mb, 1 << 14, 1 << 13, 4 * mb}},
		{256 * mb, 128 * mb, sizes{1 << 15, 1 << 15, 1 << 14, 1 << 12, 1 << 14, 2 * mb, 1 << 15, 1 << 14, 8 * mb}},
		{1024 * mb, 768 * mb, sizes{1 << 17, 1 << 17, 1 << 16, 1 << 14, 1 << 16, 8 * mb, 1 << 16, 1 << 16, 32 * mb}},
		{64 << 30, 48 << 30, sizes{1 << 17, 1 << 17, 1 << 16, 1 << 14, 1 << 16, 8 * mb, 1 << 16, 1 << 17, 32 * mb}},
	} {
		if got := sizesFor(row.memory); got != row.want {
			t.Errorf("%d MB: %+v, want %+v", row.memory/mb, got, row.want)
		}
		if got := heapLimit(row.memory); got != row.heap {
			t.Errorf("%d MB: the heap has %d MB, want %d", row.memory/mb, got/mb, row.heap/mb)
		}
	}
}
