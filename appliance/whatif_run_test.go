package appliance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

// newTrying is a box with the real program for what-ifs, an hour ago: their days are counted back from now.
func newTrying(t *testing.T) *deaf {
	t.Helper()
	bin := theProgram(t)
	d := newDeaf(t, fmt.Sprintf(ladderPlans, 20), "subscriber,plan,prefixes,name\nhome,small,100.64.0.1,#Elm Street 12\nother,small,100.64.0.2,\n")
	d.mu.Lock()
	d.wall = time.Now().Add(-time.Hour)
	d.mu.Unlock()
	d.cut()
	d.start()
	d.opt.Executable = bin
	return d
}

// A running box tries a candidate on its own journal, in a process of its own with the lowest priority, against the configuration in force; one
// at a time, and it ends when nobody waits for it any more.
func TestARunningBoxTriesACandidate(t *testing.T) {
	t.Parallel()
	before, err := exec.Command("nice").Output()
	if err != nil {
		t.Fatal(err)
	}
	d := newTrying(t)
	d.sends("100.64.0.1", 40)
	d.journaled()
	s := &source{a: d.Appliance}
	strict := []byte(strings.ReplaceAll(fmt.Sprintf(ladderPlans, 5), "burst: 5", "burst: 1"))
	answer, err := s.WhatIf(t.Context(), webadmin.WhatIfQuestion{Config: strict, Days: 7, Who: "me"})
	if err != nil {
		t.Fatal(err)
	}
	var v WhatIfView
	if err := json.Unmarshal(answer, &v); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	described := json.NewDecoder(bytes.NewReader(answer)) // as the API's document has it
	described.DisallowUnknownFields()
	if err := described.Decode(&webadmin.WhatIf{}); err != nil {
		t.Errorf("%v: %s", err, answer)
	}
	if v.Sessions != 40 || v.Against == nil || v.Config.Decisions.Passed >= v.Against.Decisions.Passed || len(v.Subscribers) != 1 || v.Subscribers[0].Subscriber != "home" || v.Subscribers[0].Name != "#Elm Street 12" || v.Subscribers[0].Against == nil {
		t.Errorf("%s", answer)
	}

	// Against what is in force, whatever the file says by now, until it is read.
	against := func(why string, other bool) {
		t.Helper()
		answer, err := s.WhatIf(t.Context(), webadmin.WhatIfQuestion{Config: strict, Days: 7, Who: "me"})
		if err != nil {
			t.Fatalf("%s: %v", why, err)
		}
		was := v.Against.Decisions
		v = WhatIfView{}
		if err := json.Unmarshal(answer, &v); err != nil {
			t.Fatalf("%s: %v: %s", why, err, answer)
		}
		policy := d.gov.Policy()
		if !v.Against.InForce || v.Against.File != "" || v.Against.Policy != policy.Hash || v.Config.InForce || v.Config.Policy == policy.Hash || (v.Against.Decisions != was) != other {
			t.Errorf("%s: %+v\nagainst %+v", why, v.Config, v.Against)
		}
	}
	d.write("mailweir.yaml", "mode: nonsense\n")
	against("a file with an error", false)
	d.write("mailweir.yaml", strings.ReplaceAll(fmt.Sprintf(ladderPlans, 10_000), "burst: 5", "burst: 1000"))
	against("a file that was not read", false)
	if err := d.reload(); err != nil {
		t.Fatal(err)
	}
	against("a file that was read", true)

	var wrong webadmin.WrongConfig
	if _, err := s.WhatIf(t.Context(), webadmin.WhatIfQuestion{Config: []byte("mode: enforce\nmodus: x\n"), Days: 7, Who: "me"}); !errors.As(err, &wrong) || wrong[0].Line != 2 {
		t.Errorf("a configuration that is none: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.WhatIf(gone, webadmin.WhatIfQuestion{Config: strict, Days: 7, Who: "me"}); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits, and it goes on: %v", err)
	}
	if err := s.trying.take(t.Context(), "olga 192.0.2.2", d.time, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.WhatIf(t.Context(), webadmin.WhatIfQuestion{Config: strict, Days: 7, Who: "me"}); err != (webadmin.Busy{Who: "olga 192.0.2.2", Since: webadmin.At(d.time())}) {
		t.Errorf("two at once: %v", err)
	}
	s.trying.end()

	// What it is given: the lowest priority, one processor, bounded memory, and a kernel that takes it first.
	probe := filepath.Join(t.TempDir(), "probe")
	if err := os.WriteFile(probe, []byte("#!/bin/sh\nread line\nwhile ! grep -q 1000 /proc/$$/oom_score_adj; do :; done\necho '\"'$(nice) $GOMAXPROCS $(ulimit -d) $line'\"'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	d.opt.Executable = probe
	answer, err = s.WhatIf(t.Context(), webadmin.WhatIfQuestion{Config: []byte("mode: enforce\n"), Days: 7, Who: "me"})
	if want := fmt.Sprintf(`"%d 1 %d mode: enforce"`, whatIfNice, whatIfMemory*5/4/1024); err != nil || string(answer) != want {
		t.Errorf("%s, want %s: %v", answer, want, err)
	}
	if nice, err := exec.Command("nice").Output(); err != nil || string(nice) != string(before) {
		t.Errorf("the box itself runs at nice %s, and before at %s: %v", nice, before, err)
	}
}

// Whoever may try a configuration learns nothing of the box's files by it: a file that the box does not name is not opened, and what the process says of
// those that it does open stays in the log.
func TestACandidateReadsNoFilesOut(t *testing.T) {
	t.Parallel()
	bin := theProgram(t)
	d := newDeaf(t, fmt.Sprintf(ladderPlans, 20), homeList)
	d.opt.Executable = bin
	d.write("data/admin.token", "mwt_top-secret\n")
	s := &source{a: d.Appliance}
	candidate := func(file string) []byte {
		return []byte(strings.Replace(fmt.Sprintf(ladderPlans, 5), "unmapped_plan: strangers", "unmapped_plan: strangers, subscribers_file: "+file, 1))
	}
	try := func(candidate []byte) error {
		t.Helper()
		_, err := s.WhatIf(t.Context(), webadmin.WhatIfQuestion{Config: candidate, Days: 7, Who: "me"})
		if said := fmt.Sprintf("%v %+v", err, err); strings.Contains(said, "top-secret") {
			t.Errorf("it says what is in a file: %s", said)
		}
		return err
	}
	for _, file := range []string{"data/admin.token", filepath.Join(d.dir, "data/admin.token"), "/etc/shadow", "mailweir.yaml", "/dev/stdin"} {
		var wrong webadmin.WrongConfig
		if err := try(candidate(file)); !errors.As(err, &wrong) || wrong[0].Key != "identity.subscribers_file" || wrong[0].Line != 2 {
			t.Errorf("%s: %v", file, err)
		}
	}
	for _, file := range []string{"subscribers.csv", filepath.Join(d.dir, "subscribers.csv"), `""`} {
		if err := try(candidate(file)); err != nil {
			t.Errorf("%s, which the box reads, too: %v", file, err)
		}
	}

	// The box's own list names a plan that the candidate lacks, which the log quotes.
	d.write("subscribers.csv", "subscriber,plan,prefixes\ntop-secret,small,100.64.0.1\n")
	d.looks()
	lacking := []byte(strings.ReplaceAll(string(candidate("subscribers.csv")), "name: small", "name: tiny"))
	refused := webadmin.Refused{}
	if err := try(lacking); !errors.As(err, &refused) || refused.Field != "config" {
		t.Errorf("%v", err)
	}
	if !strings.Contains(d.log.String(), "top-secret") {
		t.Errorf("the log does not say what was wrong: %s", d.log)
	}
	// Whatever else it dies of.
	for how, script := range map[string]string{"days": "kill -9 $$", "": "exit 1"} {
		d.opt.Executable = filepath.Join(t.TempDir(), "probe")
		if err := os.WriteFile(d.opt.Executable, []byte("#!/bin/sh\necho top-secret >&2\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		refused = webadmin.Refused{}
		if err := try(candidate("subscribers.csv")); err == nil || errors.As(err, &refused) != (how != "") || refused.Field != how {
			t.Errorf("%s: %v", script, err)
		}
	}
}

// While the list on the disk is not the one in force, a what-if goes by that which the box has, and says so.
func TestAWhatIfGoesByTheListInForce(t *testing.T) {
	t.Parallel()
	d := newTrying(t)
	d.sends("100.64.0.1", 40)
	d.journaled()
	s := &source{a: d.Appliance}
	with := func(limit int, burst string) string {
		return strings.NewReplacer("burst: 5", "burst: "+burst, "name: small", "name: fresh").Replace(fmt.Sprintf(ladderPlans, limit))
	}
	const name = "=Elm, \"12\""
	fresh := "subscriber,plan,prefixes,name\nhome,fresh,100.64.0.1,\"=Elm, \"\"12\"\"\"\nother,fresh,100.64.0.2,\n"
	d.write("mailweir.yaml", with(10_000, "1000"))
	d.write("subscribers.csv", fresh)
	if err := errors.Join(d.reload(), d.reload()); err != nil { // after the second one the old plan is not in force any more
		t.Fatal(err)
	}
	try := func(why, list string) {
		t.Helper()
		answer, err := s.WhatIf(t.Context(), webadmin.WhatIfQuestion{Config: []byte(with(5, "1")), Days: 7, Who: "me"})
		if err != nil {
			t.Errorf("%s: %v\n%s", why, err, d.log)
			return
		}
		var v WhatIfView
		if err := json.Unmarshal(answer, &v); err != nil {
			t.Fatalf("%s: %v: %s", why, err, answer)
		}
		// The plan that he had is in neither, so that the list says which one he is under.
		if len(v.Subscribers) == 1 && v.Subscribers[0].Name != name {
			t.Errorf("%s: the line is called %q, want %q", why, v.Subscribers[0].Name, name)
		}
		if v.Config.List != list || v.Against == nil || v.Against.List != list || len(v.Subscribers) != 1 || v.Subscribers[0].Plan != "fresh" || v.Subscribers[0].Against.Plan != "fresh" {
			t.Errorf("%s: %s", why, answer)
		}
	}
	try("it is the file's", "")
	for why, text := range map[string]string{
		"a list with an error":      "nonsense\n",
		"an empty one":              "subscriber,plan,prefixes\n",
		"one that was not read yet": "subscriber,plan,prefixes\nhome,strangers,100.64.0.1\n",
	} {
		d.write("subscribers.csv", text)
		try(why, ListInForce)
	}
	if err := os.Remove(filepath.Join(d.dir, "subscribers.csv")); err != nil {
		t.Fatal(err)
	}
	try("it is gone", ListInForce)
	d.write("subscribers.csv", fresh)
	d.looks()
	try("it is put right", "")
}

// A list that cannot be read is not needed where plans are as the journal has them, and whoever tries is told.
func TestAListThatCannotBeReadIsNotNeeded(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, fmt.Sprintf(ladderPlans, 20), homeList)
	d.sends("100.64.0.1", 40)
	was := d.whatIf(WhatIfOptions{ConfigFile: filepath.Join(d.dir, "mailweir.yaml")})
	d.write("subscribers.csv", "nonsense\n")
	opt := WhatIfOptions{ConfigFile: filepath.Join(d.dir, "mailweir.yaml")}
	told := ""
	opt.Unlisted = func(file string, why error) { told += fmt.Sprint(file, ": ", why) }
	now := d.whatIf(opt)
	if was.Run.List != "" || now.Run.List != ListRecorded || now.Run.Decisions != was.Run.Decisions || now.Run.Decisions.Cut == 0 {
		t.Errorf("%+v\n%+v", was.Run, now.Run)
	}
	if !strings.Contains(told, "subscribers.csv") || !strings.Contains(told, "nonsense") {
		t.Errorf("it says %q", told)
	}
	opt.Journal, opt.ListPlans = filepath.Join(d.dir, "data", "journal"), true
	if _, err := WhatIf(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("plans of the list: %v", err)
	}
	// One that only lacks a plan is the configuration's fault.
	d.write("subscribers.csv", strings.ReplaceAll(homeList, "small", "golden"))
	opt.ListPlans = false
	if _, err := WhatIf(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "golden") {
		t.Errorf("a plan that is not there: %v", err)
	}
}
