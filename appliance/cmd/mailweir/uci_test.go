package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The configuration is made, changed, or left as it is, and whoever reads the system's log sees what happened and why.
func TestUCICommand(t *testing.T) {
	dir := t.TempDir()
	from, file := filepath.Join(dir, "uci"), filepath.Join(dir, "m.yaml")
	said := func(text string) {
		t.Helper()
		if err := os.WriteFile(from, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	there := func() string {
		t.Helper()
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	main := func(want int, argv ...string) (stdout, stderr string) {
		t.Helper()
		var out, errs bytes.Buffer
		if code := Main(t.Context(), append([]string{"uci", "--config", file}, argv...), &out, &errs); code != want {
			t.Errorf("%q: exit %d, want %d: %s", argv, code, want, errs.String())
		}
		return out.String(), errs.String()
	}

	main(1, from) // there is none
	said("config network\n\tlist subscriber_interfaces 'br-lan'\n")
	if out, _ := main(0, from, "--dry-run"); !strings.Contains(out, "br-lan") {
		t.Errorf("a dry run prints %q", out)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a dry run wrote")
	}
	if _, errs := main(0, from); !strings.Contains(errs, "m.yaml is as ") || !strings.Contains(there(), "br-lan") {
		t.Errorf("made: %q, %s", errs, there())
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, errs := main(0, from); errs != "" {
		t.Errorf("nothing to do: %q", errs)
	}
	was := there()
	said("config network\n\tlist subscriber_interfaces 'wg0'\n\tlist limited_ports '0'\n\nconfig quue\n")
	if _, errs := main(2, from); !strings.Contains(errs, from+":5: quue: ") || there() != was {
		t.Errorf("a section that is none: %q", errs)
	}
	said("config network\n\tlist subscriber_interfaces 'wg0'\n\tlist limited_ports '0'\n")
	if _, errs := main(2, from); !strings.Contains(errs, from+":3: network.limited_ports") || there() != was {
		t.Errorf("a port that is none: %q", errs)
	}
	said("config network\n\tlist subscriber_interfaces 'wg0'\n")
	main(0, from)
	if s, err := os.Stat(file); err != nil || s.Mode().Perm() != 0o640 || !strings.Contains(there(), "wg0") {
		t.Errorf("changed: %v %v\n%s", s.Mode(), err, there())
	}
	main(2, from, from)
}
