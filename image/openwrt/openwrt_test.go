package openwrt

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden listing")

// program is the head of an ELF file for a processor, and nothing else.
func program(t *testing.T, a Arch, interpreted bool) []byte {
	t.Helper()
	var b bytes.Buffer
	ident := [16]byte{0x7f, 'E', 'L', 'F', byte(a.class), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)}
	segments := uint16(0)
	if interpreted {
		segments = 1
	}
	var header, segment any
	if a.class == elf.ELFCLASS64 {
		header = elf.Header64{Ident: ident, Type: uint16(elf.ET_EXEC), Machine: uint16(a.machine), Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: segments, Shentsize: 64}
		segment = elf.Prog64{Type: uint32(elf.PT_INTERP)}
	} else {
		header = elf.Header32{Ident: ident, Type: uint16(elf.ET_EXEC), Machine: uint16(a.machine), Version: 1, Phoff: 52, Ehsize: 52, Phentsize: 32, Phnum: segments, Shentsize: 40}
		segment = elf.Prog32{Type: uint32(elf.PT_INTERP)}
	}
	for _, v := range []any{header, segment} {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

var built = time.Unix(1764450000, 0).UTC()

func written(t *testing.T, p *Package) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func run(t *testing.T, in []byte, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// GNU tar unpacks what is in the file that opkg gets, and every name, mode, owner and control field is the one that is expected.
func TestUnpacksToWhatOpenWrtExpects(t *testing.T) {
	arch := Arches[2]
	p, err := New(program(t, arch, false), "0.1764450000-r1", arch, built)
	if err != nil {
		t.Fatal(err)
	}
	if p.FileName() != "mailweir_0.1764450000-r1_mipsel_24kc.ipk" {
		t.Errorf("it is called %s", p.FileName())
	}
	dir, file := t.TempDir(), written(t, p)
	run(t, file, "tar", "-xzf", "-", "-C", dir)
	var got strings.Builder
	got.WriteString(run(t, file, "tar", "--numeric-owner", "--utc", "-tvzf", "-"))
	for _, part := range []string{"data", "control"} {
		got.WriteString("\n" + part + "\n" + run(t, nil, "tar", "--numeric-owner", "--utc", "-tvzf", filepath.Join(dir, part+".tar.gz")))
	}
	control := filepath.Join(dir, "control.tar.gz")
	for _, name := range []string{"control", "conffiles", "postinst", "prerm"} {
		got.WriteString("\n" + name + "\n" + run(t, nil, "tar", "-xOzf", control, "./"+name))
	}
	listing := regexp.MustCompile(`0/0 +`).ReplaceAllString(got.String(), "0/0 ")
	listing = regexp.MustCompile(`[0-9]+ (20\S+ \S+ \./(data|control)\.tar\.gz)`).ReplaceAllString(listing, "SIZE $1") // compressed
	golden := filepath.Join("testdata", "ipk.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(listing), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if listing != string(want) {
		t.Errorf("it is not what %s says (-update rewrites it):\n%s", golden, listing)
	}
	if again := written(t, p); !bytes.Equal(file, again) {
		t.Error("the same package has other bytes")
	}
}

func TestWhatDoesNotFitIsRefused(t *testing.T) {
	for i, a := range Arches {
		other := Arches[(i+1)%len(Arches)]
		for why, err := range map[string]error{
			"fits":                   first(New(program(t, a, false), "0.1-r1", a, built)),
			"it is for EM_":          first(New(program(t, other, false), "0.1", a, built)),
			"it needs shared":        first(New(program(t, a, true), "0.1", a, built)),
			"bad magic number":       first(New([]byte("#!/bin/sh\nexit\n   "), "0.1", a, built)),
			`version "v0.1-dirty": `: first(New(program(t, a, false), "v0.1-dirty", a, built)),
		} {
			if why == "fits" && err == nil {
				continue
			}
			if err == nil || !strings.Contains(err.Error(), why) {
				t.Errorf("%s: %v, want %s", a.Name, err, why)
			}
		}
	}
}

func first(_ *Package, err error) error { return err }

// The SDK's Makefile, read by make with stand-ins for OpenWrt's own files, has the same dependencies, files and modes as the package that we build.
func TestTheFeedIsTheSamePackage(t *testing.T) {
	arch := Arches[0]
	p, err := New(program(t, arch, false), "0.1", arch, built)
	if err != nil {
		t.Fatal(err)
	}
	top := t.TempDir()
	for name, text := range map[string]string{
		"rules.mk": "INCLUDE_DIR:=" + top + "/include\nPKG_BUILD_DIR:=/src\nINSTALL_DIR:=dir\nINSTALL_BIN:=0755\nINSTALL_CONF:=0600\nINSTALL_DATA:=0644\n",
		"include/package.mk": "define BuildPackage\n$(eval $(call Package/$(1)))\n$(info depends $(DEPENDS))\n$(info $(call Package/$(1)/conffiles))\n" +
			"$(info $(call Package/$(1)/install,/root))\nendef\nall:\n",
		"feeds/packages/lang/golang/golang-package.mk": "GO_PKG_BUILD_BIN_DIR:=/src/bin\nGO_ARCH_DEPENDS:=\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(top, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(top, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	said := run(t, nil, "make", "-s", "-f", "feed/mailweir/Makefile", "TOPDIR="+top)
	var depends, conffiles, files []string
	for _, line := range strings.Split(said, "\n") {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case words[0] == "depends":
			for _, w := range words[1:] {
				depends = append(depends, strings.TrimPrefix(w, "+"))
			}
		case len(words) == 1 && strings.HasPrefix(words[0], "/"):
			conffiles = append(conffiles, words[0])
		case strings.HasPrefix(words[0], "0"):
			files = append(files, words[0]+" "+strings.TrimPrefix(words[2], "/root/"))
		}
	}
	var want []string
	for _, f := range p.Files {
		mode := map[int64]string{0o755: "0755", 0o600: "0600", 0o644: "0644"}[f.Mode]
		want = append(want, mode+" "+f.Path)
	}
	for _, c := range []struct {
		what      string
		got, want []string
	}{{"dependencies", depends, p.Depends[1:]}, {"conffiles", conffiles, p.Conffiles}, {"files", files, want}} { // libc is the SDK's own
		slices.Sort(c.got)
		if w := slices.Sorted(slices.Values(c.want)); !slices.Equal(c.got, w) {
			t.Errorf("%s of the feed:\n%q\nof the package:\n%q", c.what, c.got, w)
		}
	}
}

// The init script in the shell of OpenWrt, with functions of procd that say what they were asked for.
func TestTheServiceAsksProcdForWhatItNeeds(t *testing.T) {
	shell, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatalf("%v; `make setup` installs it", err)
	}
	script, err := os.ReadFile("files/etc/init.d/mailweir")
	if err != nil {
		t.Fatal(err)
	}
	const (
		on     = "load mailweir\n"
		params = "open \nparam command PROG run --config /etc/mailweir/mailweir.yaml --data /mnt/usb\nparam respawn 60 1 0\nparam limits nofile=65536 65536\nparam term_timeout 30\nparam stdout 1\nparam stderr 1\nclose\n"
		off    = "log -s -t mailweir -p daemon.err not enabled: set 'option enabled 1' in /etc/config/mailweir; mail passes unjudged\n"
	)
	for _, c := range []struct {
		action, why string
		uci         map[string]string
		prog        string
		want        string
	}{
		{"start", "as it is installed", map[string]string{}, "exit 9", on + off},
		{"start", "switched off", map[string]string{"main.enabled": "0"}, "exit 9", on + off},
		{"start", "switched on", map[string]string{"main.enabled": "1", "main.data": "/mnt/usb"}, "exit 0", on + params},
		{"start", "with a mistake", map[string]string{"main.enabled": "on", "main.data": "/mnt/usb"}, "echo 'mailweir: /etc/config/mailweir:7: wrong' >&2; exit 2",
			on + "log -s -t mailweir -p daemon.err mailweir: /etc/config/mailweir:7: wrong\nlog -s -t mailweir -p daemon.err starting with /etc/mailweir/mailweir.yaml as it was\n" + params},
		{"reload", "running", map[string]string{"main.enabled": "1", "running": ""}, "exit 0", on + "signal mailweir * HUP\n"},
		{"reload", "running, with a mistake", map[string]string{"main.enabled": "1", "running": ""}, "echo wrong; exit 2", on + "log -s -t mailweir -p daemon.err wrong\n"},
		{"reload", "not running", map[string]string{"main.enabled": "1", "main.data": "/mnt/usb"}, "exit 0", on + "stop\n" + on + params},
		{"reload", "running, and switched off now", map[string]string{"main.enabled": "0", "running": ""}, "exit 9", on + "stop\n" + on + off},
		{"triggers", "", nil, "exit 9", "trigger mailweir\n"},
	} {
		dir := t.TempDir()
		for name, text := range c.uci {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		prog, init := filepath.Join(dir, "prog"), filepath.Join(dir, "init")
		asked := `[ "$*" = "uci --config /etc/mailweir/mailweir.yaml /etc/config/mailweir" ] || { echo "asked for $*"; exit 2; }` + "\n"
		if err := os.WriteFile(prog, []byte("#!/bin/sh\n"+asked+c.prog+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(init, bytes.Replace(script, []byte("PROG=/usr/sbin/mailweir"), []byte("PROG="+prog), 1), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(shell, "ash", "-u", "testdata/rc.common", init, c.action)
		cmd.Env = append(os.Environ(), "UCI="+dir)
		out, _ := cmd.CombinedOutput() // the status is the service's
		if got := strings.ReplaceAll(string(out), prog, "PROG"); got != c.want {
			t.Errorf("%s, %s:\n%s\nwant\n%s", c.action, c.why, got, c.want)
		}
	}
	for _, name := range []string{"postinst", "prerm"} {
		p, err := New(program(t, Arches[0], false), "0.1", Arches[0], built)
		if err != nil {
			t.Fatal(err)
		}
		root := t.TempDir()
		if err := os.MkdirAll(filepath.Join(root, "lib"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "lib", "functions.sh"), []byte("default_"+name+"() { echo \"did $1 $2\"; }\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(root, "mailweir."+name)
		if err := os.WriteFile(file, []byte(p.Scripts[name]), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(shell, "ash", "-e", file, "argument")
		cmd.Env = append(os.Environ(), "IPKG_INSTROOT="+root)
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != "did "+file+" argument\n" {
			t.Errorf("%s: %v %s", name, err, out)
		}
	}
}
