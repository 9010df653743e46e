package layout

import (
	"bytes"
	"strings"
	"testing"
)

func TestGRUBsEnvironmentIsReadAndWritten(t *testing.T) {
	block := func(vars string) []byte {
		s := envHead + vars
		return []byte(s + strings.Repeat("#", EnvSize-len(s)))
	}
	for _, row := range []struct {
		why  string
		text string
		want Env
	}{
		{"a fresh image", "active=a\n", Env{Active: "a"}},
		{"an update waits", "active=a\nnext=b\ntries=2\n", Env{Active: "a", Next: "b", Tries: 2}},
		{"GRUB gave it up: it leaves names without values", "active=a\nnext=\ntries=\nfailed=b\n", Env{Active: "a", Failed: "b"}},
		{"somebody else's variable", "saved_entry=x\nactive=b\n", Env{Active: "b"}},
		{"the last try is under way", "active=b\nnext=a\ntries=0\n", Env{Active: "b", Next: "a"}},
	} {
		got, err := ParseEnv(block(row.text))
		if err != nil || got != row.want {
			t.Errorf("%s: %+v, %v, want %+v", row.why, got, err, row.want)
		}
		again, err := ParseEnv(row.want.Block())
		if err != nil || again != row.want {
			t.Errorf("%s: written and read again: %+v, %v", row.why, again, err)
		}
	}
	b := Env{Active: "a", Next: "b", Tries: 2}.Block()
	if len(b) != EnvSize || !bytes.HasPrefix(b, []byte("# GRUB Environment Block\nactive=a\nnext=b\ntries=2\n#")) {
		t.Errorf("%d bytes: %.80q", len(b), b)
	}
	for why, bad := range map[string][]byte{
		"zeros": make([]byte, EnvSize), "cut short": b[:1000], "a slot that is none": block("active=c\n"), "tries without end": block("active=a\nnext=b\ntries=99\n"),
	} {
		if e, err := ParseEnv(bad); err == nil {
			t.Errorf("%s: %+v, want an error", why, e)
		}
	}
}
