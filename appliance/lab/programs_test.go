package lab

import (
	"strings"
	"testing"
)

// The lists of packages are those of the Debian that is configured, and its backports; another machine keeps its own.
func TestSourcesOfPackages(t *testing.T) {
	for _, row := range []struct{ why, targets, release, lines string }{
		{"Debian", "Debian http://mirror.example/debian/ sid main\nDebian http://mirror.example/debian/ sid-updates main\nDebian http://mirror.example/debian/ sid main\nOther http://o.example/ x main\n", "sid-backports",
			"http://mirror.example/debian/ sid main\nhttp://mirror.example/debian/ sid-backports main\nhttp://mirror.example/debian/ sid-updates main\n"},
		{"another distribution", "Ubuntu http://mirror.example/ubuntu/ noble main\n", "", ""},
		{"nothing", "", "", ""},
	} {
		list, release := sources(row.targets)
		var lines strings.Builder
		for line := range strings.Lines(list) {
			line = strings.TrimPrefix(line, "deb ")
			if _, after, ok := strings.Cut(line, "] "); ok {
				line = after
			}
			lines.WriteString(line)
		}
		if lines.String() != row.lines || release != row.release {
			t.Errorf("%s: %q, release %q", row.why, list, release)
		}
	}
}
