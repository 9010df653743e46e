package image

import (
	"bytes"
	"encoding/binary"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"
)

// elfModule is a 64-bit ELF file whose only content is .modinfo (ELF-64 Object File Format 1.5: header 64 bytes, section headers of 64).
func elfModule(info ...string) []byte {
	modinfo := strings.Join(info, "\x00") + "\x00"
	names := "\x00.modinfo\x00.shstrtab\x00"
	var b bytes.Buffer
	le := func(v ...any) {
		for _, x := range v {
			binary.Write(&b, binary.LittleEndian, x)
		}
	}
	content := uint64(64 + len(modinfo) + len(names))
	b.WriteString("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9))
	le(uint16(1), uint16(62), uint32(1), uint64(0), uint64(0), content, uint32(0), uint16(64), uint16(0), uint16(0), uint16(64), uint16(3), uint16(2))
	b.WriteString(modinfo + names)
	section := func(name, typ uint32, at, size int) {
		le(name, typ, uint64(0), uint64(0), uint64(at), uint64(size), uint32(0), uint32(0), uint64(1), uint64(0))
	}
	section(0, 0, 0, 0)
	section(1, 1, 64, len(modinfo))
	section(10, 3, 64+len(modinfo), len(names))
	return b.Bytes()
}

func packXZ(t *testing.T, b []byte) []byte {
	var out bytes.Buffer
	w, err := xz.NewWriter(&out)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func tree(t *testing.T, files map[string][]byte) *kernelTree {
	k := &kernelTree{packed: map[string][]byte{}, ext: map[string]string{}, builtin: map[string]bool{}}
	for n, b := range files {
		if !wantsKernelFile(n) {
			t.Fatalf("%s is not picked", n)
		}
		if err := k.add(n, b); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func TestModulesComeAfterWhatTheyNeed(t *testing.T) {
	const dir = "usr/lib/modules/6/kernel/"
	k := tree(t, map[string][]byte{
		"boot/vmlinuz-6":                    []byte("kernel"),
		"usr/lib/modules/6/modules.builtin": []byte("kernel/lib/crc-t10.ko\n"),
		dir + "net/nft-queue.ko.xz":         packXZ(t, elfModule("alias=nft-expr-queue", "depends=nf_tables,nfnetlink,crc_t10")),
		dir + "net/nf_tables.ko":            elfModule("depends=nfnetlink", "softdep=pre: crc32c_generic not_there post: late"),
		dir + "net/nfnetlink.ko":            elfModule("depends="),
		dir + "crypto/crc32c_generic.ko":    elfModule("alias=crypto-crc32c", "alias=crc32c"),
		dir + "late.ko":                     elfModule(),
	})
	all, err := k.closure([]string{"nft_queue"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range all {
		names = append(names, m.name)
	}
	if want := []string{"crc32c_generic", "nfnetlink", "nf_tables", "nft_queue"}; !slices.Equal(names, want) {
		t.Errorf("order %v, want %v", names, want)
	}
	if got := all[3]; !slices.Equal(got.depends, []string{"nf_tables", "nfnetlink"}) || !slices.Equal(got.aliases, []string{"nft-expr-queue"}) || got.data[0] != 0x7f {
		t.Errorf("nft_queue: depends %v, aliases %v, first byte %#x", got.depends, got.aliases, got.data[0])
	}
	if got := all[2].depends; !slices.Contains(got, "crc32c_generic") {
		t.Errorf("what is to be loaded before nf_tables is not loaded for it: %v", got)
	}
}

func TestAModuleThatIsNotThereIsNamedWithWhoNeedsIt(t *testing.T) {
	k := tree(t, map[string][]byte{"boot/vmlinuz-6": nil, "lib/modules/6/kernel/a.ko": elfModule("depends=b")})
	_, err := k.closure([]string{"a", "c"})
	if err == nil || err.Error() != "kernel 6 has no module b, which a needs\nkernel 6 has no module c, which modules.txt needs" {
		t.Errorf("got %v", err)
	}
	k = tree(t, map[string][]byte{"lib/modules/6/kernel/a.ko": []byte("no ELF file")})
	if _, err := k.closure([]string{"a"}); err == nil || !strings.Contains(err.Error(), "module a") {
		t.Errorf("a damaged module: %v", err)
	}
}

func TestModulesOfAnotherProcessorAreLeftOut(t *testing.T) {
	const text = "# x\n[all]\na b # c\n[amd64]\nd\n[arm64]\ne\n"
	if got := moduleNames(text, "arm64"); !slices.Equal(got, []string{"a", "b", "e"}) {
		t.Errorf("arm64: %v", got)
	}
}

func TestABinaryThatCannotRunInTheImageIsRefused(t *testing.T) {
	if err := fits(elfModule("a=b"), Boards["amd64"]); err != nil {
		t.Errorf("a static one: %v", err)
	}
	if err := fits(elfModule("a=b"), Boards["arm64"]); err == nil || !strings.Contains(err.Error(), "EM_X86_64") {
		t.Errorf("one for another processor: %v", err)
	}
	shell, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	if err := fits(shell, Boards[runtime.GOARCH]); err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=0") {
		t.Errorf("one with shared libraries: %v", err)
	}
	if err := fits([]byte("#!/bin/sh\n"), Boards["amd64"]); err == nil {
		t.Error("a script was taken")
	}
}
