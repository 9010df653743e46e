package appliance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

// What is only looked at goes by the list in memory while that is what the file says; what is put in force by the file itself, whole.
func TestLookingAtAChangeDoesNotReadTheList(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	s := &source{a: d.Appliance}
	change := webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("plans[0].budgets[0].limit", "9")}}
	try := func(why string, change webadmin.ConfigChange, says string) {
		t.Helper()
		_, err := s.TryConfig(change)
		var wrong webadmin.WrongConfig
		if got := errors.As(err, &wrong); got != (says != "") || !strings.Contains(fmt.Sprintf("%+v", []webadmin.ConfigProblem(wrong)), says) {
			t.Errorf("%s: %+v", why, err)
		}
	}
	// Other words in the same file, of the same time and length: whoever reads it sees that.
	file := filepath.Join(d.dir, "subscribers.csv")
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	d.write("subscribers.csv", strings.Repeat("x", len(homeList)))
	if err := os.Chtimes(file, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	try("the file is not read", change, "")
	if _, err := s.SetConfig(change, "me"); err == nil {
		t.Error("a save does not read the list")
	}
	d.write("subscribers.csv", homeList)
	d.looks()
	try("as it was", change, "")
	try("a plan that the list names goes", webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("plans[0]", "")}}, `Line:2 Message:subscribers.csv: unknown plan "small"`)
	d.write("subscribers.csv", "nonsense\n")
	try("a file that was not read yet", change, "nonsense")
	d.looks()
	try("one that was refused", change, "nonsense")
	d.write("subscribers.csv", homeList)
	d.looks()
	try("put right", change, "")
}

// BenchmarkTryConfig is what a pause in typing costs, by how long the list is.
func BenchmarkTryConfig(b *testing.B) {
	for _, lines := range []int{3, 300_000} {
		b.Run(fmt.Sprintf("lines=%d", lines), func(b *testing.B) {
			var list strings.Builder
			list.WriteString("subscriber,plan,prefixes,name\n")
			for i := range lines {
				fmt.Fprintf(&list, "S-%06d,small,100.%d.%d.%d,Elm Street %d\n", i, 64+i>>16, i>>8&255, i&255, i)
			}
			d := newDeaf(b, homePlans, list.String())
			s := &source{a: d.Appliance}
			change := webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("plans[0].budgets[0].limit", "9")}}
			for b.Loop() {
				if _, err := s.TryConfig(change); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
