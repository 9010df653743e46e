package boot

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

func TestThePageIsToldWhyAndSinceWhen(t *testing.T) {
	dir := t.TempDir()
	file, said := filepath.Join(dir, "standstill"), filepath.Join(dir, "governed")
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	const up = 10 * time.Minute
	if v := standing(file, said, now, up); v.State != webadmin.StateSafe || !strings.Contains(v.Why, "Why is not known") || !v.Since.IsZero() || !v.Again || v.Lines != nil {
		t.Errorf("without a word of process 1: %+v", v)
	}
	why := &standstill{State: webadmin.StateBypass, Why: "Bypass was chosen at the console.", Since: 4 * time.Minute, Until: 15 * time.Minute, Again: true}
	if err := why.save(file); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(said, []byte("one\ntwo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	v := standing(file, said, now, up)
	if v.State != webadmin.StateBypass || v.Why != why.Why || !v.Again || !v.Since.Equal(now.Add(-6*time.Minute)) || !v.Until.Equal(now.Add(5*time.Minute)) || strings.Join(v.Lines, "|") != "one|two" {
		t.Errorf("%+v", v)
	}
	if v := standing(file, said, now, 20*time.Minute); !v.Until.IsZero() {
		t.Errorf("a time that is over is told: %v", v.Until)
	}
	for range 2 {
		if err := (*standstill)(nil).save(file); err != nil {
			t.Errorf("the box governs: %v", err)
		}
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the box governs, and the page is told otherwise")
	}
}

func TestLastWordsAreThoseOfThePanic(t *testing.T) {
	numbered := func(prefix string, n int) (s string) {
		for i := range n {
			s += fmt.Sprintf("%s%d\n", prefix, i)
		}
		return s
	}
	for _, row := range []struct {
		why, text, first, last string
		n                      int
	}{
		{"nothing", "", "", "", 0},
		{"a line", "mailweir: another mailweir runs\n", "mailweir: another mailweir runs", "mailweir: another mailweir runs", 1},
		{"many lines", numbered("time=", 100), "time=60", "time=99", 40},
		{"a panic, and stacks without end", numbered("time=", 30) + "panic: oh\n" + numbered("\tstack ", 300), "time=20", "\tstack 28", 40},
		{"a panic that was before", "panic: oh\n" + numbered("\tstack ", 300) + numbered("time=", 50), "time=10", "time=49", 40},
		{"the last of two", "panic: one\n" + numbered("stack ", 300) + "fatal error: two\n" + numbered("stack ", 300), "stack 290", "stack 28", 40},
	} {
		got := lastWords(row.text, spokenLines)
		if len(got) != row.n || row.n > 0 && (got[0] != row.first || got[len(got)-1] != row.last) {
			t.Errorf("%s: %d lines %q", row.why, len(got), got)
		}
	}
}
