package image

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/image/layout"
)

// shell is grub.cfg as a shell script: GRUB's language differs in little from a shell's. What GRUB's commands do is written in front.
func shell(t *testing.T) string {
	t.Helper()
	cfg := regexp.MustCompile(`(?m)\bset ([a-z]+)=`).ReplaceAllString(string(grubCfg), "$1=")
	for _, r := range [][2]string{{"function start {", "start() {"}, {"($disk,gpt$part)", "gpt$part"}} {
		if !strings.Contains(cfg, r[0]) {
			t.Fatalf("grub.cfg has no %q any more: this test has to learn what it has", r[0])
		}
		cfg = strings.ReplaceAll(cfg, r[0], r[1])
	}
	return `
serial() { :; }; terminal_input() { :; }; terminal_output() { :; }; regexp() { :; }; probe() { :; }; sleep() { :; }
load_env() { . ./grubenv; }
save_env() {
	[ "$*" = "next tries failed" ] && [ ! -e readonly ] || return 1
	printf 'active=%s\nnext=%s\ntries=%s\nfailed=%s\n' "$active" "$next" "$tries" "$failed" >grubenv
}
hashsum() { [ ! -e "damaged-${4%/*}" ]; }
linux() { slotword=; for word; do case $word in mailweir.slot=*) slotword=${word#*=} ;; esac; done; }
initrd() { :; }
boot() { echo "started $slotword"; exit; }
reboot() { echo "nothing can be started"; exit; }
` + cfg
}

// TestGRUBGoesBackWithinThreeStarts plays what grub.cfg does at the starts after an update none of which tells GRUB anything.
func TestGRUBGoesBackWithinThreeStarts(t *testing.T) {
	waits := layout.Env{Active: "a", Next: "b", Tries: layout.EnvTries}
	for _, row := range []struct {
		why  string
		env  layout.Env
		file string // that is there
		want []string
		end  layout.Env
	}{
		{"nothing on trial", layout.Env{Active: "b"}, "", []string{"started b", "started b"}, layout.Env{Active: "b"}},
		{"panics, hangs, power cuts", waits, "", []string{"started b", "started b", "started a", "started a"}, layout.Env{Active: "a", Failed: "b"}},
		{"from slot b to slot a", layout.Env{Active: "b", Next: "a", Tries: layout.EnvTries}, "", []string{"started a", "started a", "started b"}, layout.Env{Active: "b", Failed: "a"}},
		{"a disk that takes no writes", waits, "readonly", []string{"started a", "started a"}, waits},
		{"the slot on trial is damaged", waits, "damaged-gpt4", []string{"started a"}, layout.Env{Active: "a", Next: "b", Tries: layout.EnvTries - 1}},
		{"the active slot is damaged", layout.Env{Active: "a"}, "damaged-gpt3", []string{"started b"}, layout.Env{Active: "a"}},
	} {
		dir := t.TempDir()
		write := func(name string, b []byte) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("grubenv", row.env.Block())
		if row.file != "" {
			write(row.file, nil)
		}
		for n, want := range row.want {
			cmd := exec.Command("sh", "-c", shell(t))
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			if lines := strings.Split(strings.TrimSpace(string(out)), "\n"); err != nil || lines[len(lines)-1] != want {
				t.Errorf("%s: start %d: %v, %q, want %q", row.why, n+1, err, out, want)
			}
		}
		text, err := os.ReadFile(filepath.Join(dir, "grubenv"))
		if err != nil {
			t.Fatal(err)
		}
		if len(text) < layout.EnvSize { // GRUB keeps the size
			text = fmt.Appendf(nil, "# GRUB Environment Block\n%s%s", text, strings.Repeat("#", layout.EnvSize-len("# GRUB Environment Block\n")-len(text)))
		}
		if got, err := layout.ParseEnv(text); err != nil || got != row.end {
			t.Errorf("%s: in the end %+v, %v, want %+v", row.why, got, err, row.end)
		}
	}
}
