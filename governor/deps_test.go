package governor_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/mailweir/mailweir"

// within tells whether path is pkg or lies below it.
func within(path, pkg string) bool { return path == pkg || strings.HasPrefix(path, pkg+"/") }

func ours(path, pkg string) bool { return within(path, module+"/"+pkg) }

func standard(path string) bool { return !strings.Contains(strings.Split(path, "/")[0], ".") }

// outward are the parts of the standard library that reach out of the process.
func outward(path string) bool {
	if path == "net/netip" {
		return false
	}
	for _, p := range []string{"os", "net", "log", "database", "syscall"} {
		if within(path, p) {
			return true
		}
	}
	return false
}

// forbidden says why the package at importer may not import path; "" if it may.
func forbidden(importer, path string) string {
	own := within(path, module)
	durable := path == module+"/appliance/durable" // a leaf, for those who write files
	sheet := path == module+"/appliance/sheet"     // another, for those who export records
	switch {
	case (importer == module+"/appliance/durable" || importer == module+"/appliance/sheet") && !standard(path):
		return "durable and sheet are leaves: the standard library and nothing else"
	case importer == module+"/governor" && (!standard(path) || outward(path)):
		return "governor is pure: standard library without os, net, log and database"
	case importer == module+"/governor/subscriber" && (outward(path) || !standard(path) && path != "github.com/gaissmai/bart"):
		return "governor/subscriber is pure: standard library and the prefix table"
	case importer == module+"/governor/store" && own && path != module+"/governor" && !durable:
		return "governor/store knows the governor, durable and nothing else of ours"
	case ours(importer, "nfq") && own && !ours(path, "nfq"):
		return "nfq knows packets and sessions, nothing right of the session event"
	case ours(importer, "web-admin") && (ours(path, "nfq") || ours(path, "appliance") && !durable && !sheet):
		return "webadmin declares what it needs; imports point down"
	case ours(importer, "image") && own && !ours(path, "image"):
		return "image builds images and knows nothing of ours"
	case ours(importer, "governor") && (ours(path, "nfq") || ours(path, "appliance") && !durable || ours(path, "web-admin")):
		return "imports point down only"
	case within(path, "github.com/spf13/viper") && !ours(importer, "appliance/config"):
		return "only appliance/config imports viper"
	case within(path, "go.etcd.io/bbolt") && !ours(importer, "governor/store"):
		return "only governor/store imports bbolt"
	}
	return ""
}

// TestImportsPointDownOnly reads the direct imports of every package, tests apart. Direct, because fmt pulls in os.
func TestImportsPointDownOnly(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", "./...")
	cmd.Dir = ".."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	packages, imports := 0, 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages++
		for _, path := range p.Imports {
			imports++
			if why := forbidden(p.ImportPath, path); why != "" {
				t.Errorf("%s imports %s: %s", strings.TrimPrefix(p.ImportPath, module+"/"), path, why)
			}
		}
	}
	t.Logf("%d packages, %d direct imports", packages, imports)
	if packages < 3 {
		t.Errorf("only %d packages were listed", packages)
	}
}

func TestTheRulesForbidWhatTheyShould(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		importer, path string
		bad            bool
	}{
		{"governor", "time", false}, {"governor", "net/netip", false}, {"governor", "fmt", false},
		{"governor", "os", true}, {"governor", "net", true}, {"governor", "net/http", true}, {"governor", "log/slog", true},
		{"governor", "database/sql", true}, {"governor", "golang.org/x/sys/unix", true}, {"governor", module + "/nfq", true},
		{"governor/subscriber", "github.com/gaissmai/bart", false}, {"governor/subscriber", "os", true},
		{"governor/store", "os", false}, {"governor/store", "go.etcd.io/bbolt/errors", false}, {"governor/store", module + "/governor", false},
		{"governor/store", module + "/appliance", true}, {"governor/store", module + "/appliance/durable", false}, {"web-admin/users", module + "/appliance/durable", false},
		{"governor", module + "/appliance/durable", true}, {"governor/subscriber", module + "/appliance/durable", true}, {"appliance/durable", module + "/governor", true},
		{"appliance/durable", "golang.org/x/sys/unix", true}, {"appliance/durable", "os", false}, {"nfq", module + "/appliance/durable", true},
		{"web-admin", module + "/appliance/sheet", false}, {"appliance/sheet", module + "/appliance/records", true}, {"governor/store", module + "/appliance/sheet", true},
		{"nfq", module + "/nfq/session", false}, {"nfq", module + "/governor", true}, {"nfq/session", module + "/appliance", true},
		{"web-admin", module + "/governor", false}, {"web-admin", module + "/nfq/session", true}, {"web-admin", module + "/appliance/records", true},
		{"appliance", module + "/nfq", false}, {"appliance", "github.com/spf13/viper", true}, {"appliance/config", "github.com/spf13/viper", false},
		{"appliance", "go.etcd.io/bbolt", true}, {"image/cmd/mkimage", module + "/governor", true}, {"image/cmd/mkimage", module + "/image", false}, {"image", "os", false},
	} {
		if why := forbidden(module+"/"+c.importer, c.path); (why != "") != c.bad {
			t.Errorf("%s imports %s: %q", c.importer, c.path, why)
		}
	}
}

// TestNobodyHereReadsAClock keeps time an argument.
func TestNobodyHereReadsAClock(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(files, more...) {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, clock := range []string{"time.Now", "time.Since", "time.Until", "time.Sleep", "time.After", "time.NewTimer", "time.NewTicker", "time.Tick("} {
			if strings.Contains(string(text), clock) {
				t.Errorf("%s uses %s: the caller gives the time", f, clock)
			}
		}
	}
}
