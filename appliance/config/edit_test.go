package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
)

// edit changes one key, given as JSON; "" takes it out.
func edit(t *testing.T, text, key, value string) string {
	t.Helper()
	c := Change{Key: key}
	if value != "" {
		c.Value = json.RawMessage(value)
	}
	out, err := Edit("mailweir.yaml", []byte(text), []Change{c})
	if err != nil {
		t.Fatalf("%s = %s: %v", key, value, err)
	}
	return string(out)
}

// Comments, order, blank lines and the way in which things are written are the operator's: a change of one key leaves them.
func TestEditChangesWhatIsAskedForAndNothingElse(t *testing.T) {
	t.Parallel()
	const file = `# Our box in the north.

mode: observe   # until Monday

# The tower
network:
    subscriber_interfaces: [ lan0 ]   # the old switch
    limited_ports: [25]

syslog:
  targets:
    # the one in the cellar
    - {url: "udp://192.0.2.1:514"}
    - {url: "tcp://192.0.2.2:514"} # Anna's
  facility: local4
# The end.
`
	for _, c := range []struct{ why, key, value, old, new string }{
		{"a word", "mode", `"enforce"`, "mode: observe   # until Monday", "mode: enforce # until Monday"},
		{"an item goes, and the comments of the others stay", "syslog.targets[0]", "", `    # the one in the cellar
    - {url: "udp://192.0.2.1:514"}
    - {url: "tcp://192.0.2.2:514"} # Anna's
`, `    - {url: "tcp://192.0.2.2:514"} # Anna's
`},
		{"an item comes", "syslog.targets[2]", `{"url": "relp://192.0.2.3"}`, "    - {url: \"tcp://192.0.2.2:514\"} # Anna's\n", "    - {url: \"tcp://192.0.2.2:514\"} # Anna's\n    - {url: 'relp://192.0.2.3'}\n"},
		{"a key comes to a group", "syslog.spool_bytes", `"1GiB"`, "  facility: local4\n", "  facility: local4\n  spool_bytes: 1GiB\n"},
		{"a group comes", "admin.listen", `":9443"`, "# The end.\n", "# The end.\nadmin:\n  listen: :9443\n"},
		{"a key of a group that is written in another way", "network.counted_ports", "[465]", "    limited_ports: [25]\n", "    limited_ports: [25]\n    counted_ports: [465]\n"},
		{"what is equal already", "network.limited_ports", "[25]", "", ""},
	} {
		got := edit(t, file, c.key, c.value)
		if want := strings.Replace(file, c.old, c.new, 1); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.why, got, want)
		}
	}
}

// Blank lines and alignment are the operator's, too, also in the group that is changed.
func TestEditKeepsTheLooksOfAGroup(t *testing.T) {
	t.Parallel()
	const file = `plans:

  - name: home     # most of them

    highest_stage: defer
    budgets:
      - {of: sessions,     limit: 20,  per: 1h}
      - {of: sessions,     limit: 100, per: 24h}   # asked for by Anna

      # the old modems
      - {of: destinations, limit: 5,   per: 1h}


  # Nobody else may send
  - name: strangers

    highest_stage: cut
    budgets:
      - {of: sessions, limit: 9, per: 1h}

identity: {unmapped_plan: strangers}
`
	for _, c := range []struct{ why, key, value, old, new string }{
		{"a value", "plans[0].budgets[2].limit", "9", "- {of: destinations, limit: 5,   per: 1h}", "- {of: destinations, limit: 9, per: 1h}"},
		{"a budget goes", "plans[0].budgets[0]", "", "      - {of: sessions,     limit: 20,  per: 1h}\n", ""},
		{"a budget comes", "plans[1].budgets[1]", `{"of": "messages", "limit": 3, "per": "1h"}`, "limit: 9, per: 1h}\n", "limit: 9, per: 1h}\n      - {of: messages, limit: 3, per: 1h}\n"},
		{"a key comes", "plans[1].highest_stage", `"warn"`, "highest_stage: cut", "highest_stage: warn"},
		{"a plan goes", "plans[0]", "", file[len("plans:\n\n") : strings.Index(file, "\n\n  # Nobody")+2], "\n"},
	} {
		got := edit(t, file, c.key, c.value)
		if want := strings.Replace(file, c.old, c.new, 1); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.why, got, want)
		}
	}
	// A blank line that is not for the eye: it is a part of the value.
	was, text := "defer:\n  text: |-\n    first\n\n\n    third\n", "defer:\n  text: |-\n    first\n\n    third\n"
	if got := laidOutAs(bytes.SplitAfter([]byte(was), []byte("\n")), []byte(text)); string(got) != text {
		t.Errorf("%s", got)
	}
}

// What is shared by an anchor is written out for whoever shares it, when it changes for one.
func TestEditChangesNobodyElseThroughAnAnchor(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("reference.yaml")
	if err != nil {
		t.Fatal(err)
	}
	reference := string(b)
	// Through an alias, through its anchor, and by taking away the plan that has the anchor.
	for key, change := range map[string]struct{ key, value, want string }{
		"alias":  {"plans[1].ladder.warn_at", "60", "plans[1].ladder.warn_at 50 60"},
		"anchor": {"plans[0].ladder.warn_at", "60", "plans[0].ladder.warn_at 50 60"},
	} {
		out := edit(t, reference, change.key, change.value)
		before, _ := Parse("a", b)
		after, err := Parse("a", []byte(out))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range Differences(before, after) {
			got = append(got, d.Key+" "+d.Before+" "+d.After)
		}
		if strings.Join(got, ", ") != change.want {
			t.Errorf("%s: %q", key, got)
		}
	}
	out := edit(t, reference, "plans[0]", "")
	after, err := Parse("a", []byte(out))
	if err != nil || len(after.Plans) != 3 || after.Plans[0].Ladder != DefaultLadder() {
		t.Errorf("without the plan that has the anchor: %v %+v", err, after)
	}
	for _, kept := range []string{"# Change it where another program uses these", "# letters, digits, space and _ - . +", "of the disk for records that", "# HOST:PORT, IPv6 in brackets"} {
		if !strings.Contains(reference, kept) || !strings.Contains(edit(t, reference, "plans[1].budgets[0].limit", "120"), kept) {
			t.Errorf("%q is lost", kept)
		}
	}
}

func TestEditBeginsWithWhatHoldsByDefault(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "# nothing yet\n", "mode: observe\n", "{mode: observe}\n", "mode: observe"} {
		out := edit(t, text, "plans[4]", `{"name": "webfarm", "preset": "hosting"}`)
		c, err := Parse("a", []byte(out))
		if err != nil || len(c.Plans) != 5 || c.Plans[4].Name != "webfarm" || c.Plans[0].Name != "residential" {
			t.Errorf("%q becomes %q: %v", text, out, err)
		}
		if strings.HasPrefix(text, "#") && !strings.HasPrefix(out, text) {
			t.Errorf("the comment is lost: %q", out)
		}
	}
}

// A list that comes as a whole keeps the lines of the items that stay.
func TestEditKeepsTheCommentsOfItemsThatStay(t *testing.T) {
	t.Parallel()
	const file = `plans:
  - name: home
    highest_stage: defer
    budgets:
      - {of: sessions, limit: 20, per: 1h} # since the outbreak
      - {of: sessions, limit: 100, per: 24h} # asked for by Anna
      - {of: destinations, limit: 5, per: 1h}
identity: {unmapped_plan: home}
`
	out := edit(t, file, "plans[0].budgets", `[{"of": "sessions", "limit": 100, "per": "24h"}, {"of": "destinations", "limit": 9, "per": "1h"}]`)
	want := strings.Replace(strings.Replace(file, "      - {of: sessions, limit: 20, per: 1h} # since the outbreak\n", "", 1), "limit: 5", "limit: 9", 1)
	if out != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

func TestEditRefusesWhatIsWrong(t *testing.T) {
	t.Parallel()
	const file = "mode: observe\nsyslog: {targets: []}\n"
	for _, c := range []struct{ key, value, want string }{
		{"mode", `"enforced"`, "mailweir.yaml:1: mode: \"enforced\" is not known (did you mean enforce?); allowed: observe, enforce"},
		{"syslog.targets[1]", `{"url": "udp://192.0.2.1"}`, "mailweir.yaml: syslog.targets[1]: there is no item 1"},
		{"syslog.targets[0]", "", "mailweir.yaml: syslog.targets[0]: there is no item 0"},
		{"syslog.target", `1`, "syslog.target: is not a key we know; did you mean targets?"},
		{"mode.x", `1`, "mode.x: is within a value that has no keys"},
		{"plans", `[]`, "plans: has 0 plans"},
		{"mode", `"a\nb"`, "mode: contains a line break"},
	} {
		ch := Change{Key: c.key}
		if c.value != "" {
			ch.Value = json.RawMessage(c.value)
		}
		_, err := Edit("mailweir.yaml", []byte(file), []Change{ch})
		if ps, ok := errors.AsType[Problems](err); !ok || !strings.Contains(ps.Error(), c.want) {
			t.Errorf("%s = %s: %v, want %s", c.key, c.value, err, c.want)
		}
	}
}
