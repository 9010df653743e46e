package boot

import (
	"os"
	"path/filepath"
	"testing"
)

func TestStartsThatDoNotLastLeadToSafeMode(t *testing.T) {
	dir := t.TempDir()
	start := func(why string, want bool) {
		t.Helper()
		if safe, err := countStart(dir); err != nil || safe != want {
			t.Errorf("%s: safe mode %v, %v, want %v", why, safe, err, want)
		}
	}
	round := func() {
		t.Helper()
		for range startsMost {
			start("one of the first", false)
		}
		start("all of them ended early", true)
	}
	round()
	round() // the next start after safe mode governs again
	for range startsMost - 1 {
		start("some ended early", false)
	}
	if err := lasted(dir); err != nil {
		t.Fatal(err)
	}
	if err := lasted(dir); err != nil {
		t.Errorf("said twice: %v", err)
	}
	round()

	if err := os.WriteFile(filepath.Join(dir, startsFile), []byte("many"), 0o600); err != nil {
		t.Fatal(err)
	}
	if safe, err := countStart(dir); err == nil || safe {
		t.Errorf("a damaged count: safe mode %v, %v, want an error and none", safe, err)
	}
	for range startsMost - 1 {
		start("after the damage it counts on", false)
	}
	start("after the damage", true)
	if _, err := countStart(filepath.Join(dir, "none")); err == nil {
		t.Error("a directory that is not there takes a count")
	}
}
