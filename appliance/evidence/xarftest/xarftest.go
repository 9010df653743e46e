// Package xarftest holds reports against XARF 4.2.0 (https://xarf.org), category infrastructure, type botnet. Only tests import it.
//
// infrastructure-botnet.json says in our words what the specification's own schemas say, schemas/v4/xarf-core.json and
// schemas/v4/types/infrastructure-botnet.json of https://github.com/xarf/xarf-spec, tag v4.2.0 (MIT), and is stricter in that it knows no other
// members and no other version. With -xarf DIR, a checkout of that tag (make xarf SPEC=DIR), reports are held against those, too.
package xarftest

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Commit is that of the specification's tag v4.2.0.
const Commit = "37820dace8ac6a9495d33886abc9f94e3d1691fe"

// originals are the specification's own schemas at Commit, by their $id, with the SHA-256 of their files.
var originals = []struct{ id, path, sum string }{
	{"https://xarf.org/schemas/v4/xarf-core.json", "schemas/v4/xarf-core.json", "510601620f01d59e49feb0850b0e56fbfdc7a58b5ace6990644f4d98ad098453"},
	{"https://xarf.org/schemas/v4/types/infrastructure-botnet.json", "schemas/v4/types/infrastructure-botnet.json", "30a29567f2495f4c873a59f0c7e66eccabcfcbf06bdab5ceff6a79012d2bebba"},
}

var checkout = flag.String("xarf", "", "a checkout of the XARF specification, at commit "+Commit+": reports are held against its own schemas, too")

//go:embed infrastructure-botnet.json
var ours embed.FS

// Wrong are what each of the schemas has against a report; nil: it is good by all of them.
func Wrong(t testing.TB, report []byte) (all []error) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(report))
	if err != nil {
		return []error{err}
	}
	for _, s := range schemas(t) {
		if err := s.Validate(doc); err != nil {
			all = append(all, err)
		}
	}
	return all
}

// Schemas is how many a report is held against.
func Schemas() int {
	if *checkout == "" {
		return 1
	}
	return 2
}

// schemas have formats asserted.
func schemas(t testing.TB) (all []*jsonschema.Schema) {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.AssertContent()
	add := func(id string, data []byte) {
		t.Helper()
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err == nil {
			err = c.AddResource(id, doc)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	compile := func(id string) {
		t.Helper()
		s, err := c.Compile(id)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	data, err := ours.ReadFile("infrastructure-botnet.json")
	if err != nil {
		t.Fatal(err)
	}
	const id = "https://mailweir.invalid/xarf.json"
	add(id, data)
	compile(id)
	if *checkout == "" {
		return all
	}
	for _, o := range originals {
		data, err := os.ReadFile(filepath.Join(*checkout, o.path))
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != o.sum {
			t.Fatalf("%s is not that of commit %s", o.path, Commit)
		}
		add(o.id, data)
	}
	compile(originals[len(originals)-1].id)
	return all
}
