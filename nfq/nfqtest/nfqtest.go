// Package nfqtest is what the tests of nfq and its packages share: captures that others made, read down to
// the IP packet, and TCP packets to order. Only tests import it.
package nfqtest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// noCaptures, set to 1, lets the tests run where the captures are not at hand.
const noCaptures = "MAILWEIR_NO_CAPTURES"

// Captures returns the paths of the capture files in the given folder of ../shared/captures, seen from the
// root of the repository, in order of name; expected values that lie beside them are left out.
//
// Without that folder the test fails, or is skipped if MAILWEIR_NO_CAPTURES=1 says that this is meant.
func Captures(t testing.TB, folder string) []string {
	t.Helper()
	dir := filepath.Join(Root(t), "..", "shared", "captures", folder)
	entries, err := os.ReadDir(dir)
	if err != nil {
		if os.Getenv(noCaptures) == "1" {
			t.Skipf("SKIPPED: %s is set and the captures cannot be read: %v", noCaptures, err)
		}
		t.Fatalf("the captures this test needs cannot be read (%s=1 skips it): %v", noCaptures, err)
	}
	var paths []string
	for _, e := range entries {
		if !e.IsDir() && !strings.Contains(e.Name(), ".expected.") {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(paths)
	if len(paths) == 0 {
		t.Fatalf("no captures in %s", dir)
	}
	return paths
}

// Expected returns the files with what other tools found in the capture at path, in order of name: the ones whose
// name goes on with ".expected." and then begins with tool ("zeek", "suricata", "ja4-python" ...).
func Expected(t testing.TB, path, tool string) []string {
	t.Helper()
	prefix := filepath.Base(path) + ".expected." + tool
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatalf("read the expected values: %v", err)
	}
	var found []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			found = append(found, filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
	slices.Sort(found)
	return found
}

// Root is the directory of go.mod, above the package under test.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the package")
		}
		dir = filepath.Dir(dir)
	}
}
